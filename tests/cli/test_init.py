"""config:init: a project that works, and nothing of the user's overwritten."""

import json
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from nodepkg.render.files import create
from nodepkg.render.starter import starter
from tests.cli.conftest import Run

PATHS = [file.path for file in starter()]
OTHERS = [path for path in PATHS if path != "nodes.json"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, as the current one."""
    made = tmp_path / "shop"
    made.mkdir()
    monkeypatch.chdir(made)
    for variable in ("NODEPKG_NODES", "NODEPKG_SANDBOX"):
        monkeypatch.delenv(variable, raising=False)
    return made


def everything_in(folder: Path) -> dict[str, bytes]:
    found = sorted(folder.rglob("*"))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found if path.is_file()}


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def states(out: str) -> dict[str, str]:
    """What is told of each path."""
    rows: list[dict[str, str]] = json.loads(out)["files"]
    return {row["path"]: row["state"] for row in rows}


def test_a_project_is_made_in_the_current_folder(run: Run, folder: Path) -> None:
    done = run("config:init")
    assert done.code == 0
    assert [line.split() for line in done.out.splitlines()] == [["created", path] for path in PATHS]
    assert sorted(everything_in(folder)) == sorted(PATHS)
    assert PATHS[-1] == "nodes.json"


def test_what_it_writes_passes_every_check(run: Run, folder: Path) -> None:
    run("config:init")
    checked = run("config:check")
    assert checked.code == 0
    told = checked.err.splitlines()
    assert len(told) == 2
    assert all("SSH to the build machine is open to the world" in line for line in told)
    assert run("group:create", "--check").code == 4
    assert run("group:create").code == 0
    assert run("group:create", "--check").code == 0


def test_what_it_writes_keeps_to_the_schema_that_it_names(run: Run, folder: Path) -> None:
    run("config:init")
    document = json.loads((folder / "nodes.json").read_text())
    schema = json.loads((folder / document["$schema"]).read_text())
    assert list(Draft202012Validator(schema).iter_errors(document)) == []
    assert schema == json.loads(run("config:schema").out)


def test_a_fresh_account_has_all_that_it_names(run: Run, folder: Path) -> None:
    run("config:init")
    for name in ("common", "web"):
        keys = json.loads(run("config:show", name).out)
        assert not keys.keys() & {"key_name", "security_groups", "subnets", "zones", "iam_instance_profile", "tags"}
    for template in (folder / "packer").glob("*.json"):
        (builder,) = json.loads(template.read_text())["builders"]
        assert not builder.keys() & {"vpc_id", "subnet_id", "security_group_id", "ssh_keypair_name"}


def test_the_folder_is_made_and_named_in_what_comes_next(run: Run, folder: Path) -> None:
    done = run("config:init", "a b/c")
    assert sorted(everything_in(folder / "a b" / "c")) == sorted(PATHS)
    assert "cd 'a b/c'" in done.err
    assert "cd " not in run("config:init", "--dry-run").err


@pytest.mark.parametrize("name", ["-dash", "-", "~", "$HOME"])
def test_the_shell_goes_into_the_folder_that_is_named(run: Run, folder: Path, name: str) -> None:
    (change,) = re.findall(r"^  (cd .*)$", run("config:init", "--", name).err, re.MULTILINE)
    there = subprocess.run(["/bin/sh", "-c", f"{change} && pwd"], capture_output=True, text=True, check=True)
    assert there.stdout == f"{folder / name}\n"


@pytest.mark.parametrize("name", ["", "."])
def test_nobody_has_to_go_where_he_is(run: Run, folder: Path, name: str) -> None:
    done = run("config:init", name)
    assert (done.code, "cd " in done.err) == (0, False)


@pytest.mark.parametrize("words", [["config:init"], ["config:init", "shop"], ["config:init", "--dry-run"]])
def test_a_current_folder_that_is_gone_is_told_as_everywhere(run: Run, folder: Path, words: list[str]) -> None:
    folder.rmdir()
    done, elsewhere = run(*words), run("config:check")
    assert done == elsewhere
    assert done.err == "error: the current folder is gone\n  hint: cd to one that exists\n"


def test_a_whole_path_needs_no_current_folder(run: Run, folder: Path, tmp_path: Path) -> None:
    folder.rmdir()
    assert run("config:init", str(tmp_path / "new")).code == 0
    assert (tmp_path / "new" / "nodes.json").is_file()


def test_what_comes_next_is_commands_that_work_and_what_they_need(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = run("config:init", "shop").err
    monkeypatch.chdir(folder / "shop")
    commands = re.findall(r"^  package (.*)$", told, re.MULTILINE)
    assert commands == ["config:check", "group:create", "packer:run --sandbox", "autoscale:run --sandbox"]
    assert [run(*shlex.split(command)).code for command in commands[:2]] == [0, 0]
    assert "pip install 'nodepkg[sandbox]'" in told
    assert "apt-get install packer" in told


@pytest.mark.parametrize("path", OTHERS)
def test_a_file_that_exists_is_kept(run: Run, folder: Path, path: str) -> None:
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_bytes(b"\xff mine")
    done = run("config:init", "--json")
    assert done.code == 0
    assert states(done.out) == {**dict.fromkeys(PATHS, "created"), path: "kept"}
    assert (folder / path).read_bytes() == b"\xff mine"


@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
def test_a_folder_with_a_nodes_json_is_refused(run: Run, folder: Path, dry: list[str]) -> None:
    (folder / "nodes.json").write_text("mine")
    done = run("config:init", *dry)
    assert done.code == 4
    assert "nodes.json is there already" in done.err
    assert everything_in(folder) == {"nodes.json": b"mine"}


def test_a_broken_link_counts_as_a_nodes_json(run: Run, folder: Path) -> None:
    (folder / "nodes.json").symlink_to("elsewhere.json")
    assert run("config:init").code == 4
    assert names_in(folder) == ["nodes.json"]


def test_a_broken_link_is_kept(run: Run, folder: Path) -> None:
    (folder / ".gitignore").symlink_to("elsewhere")
    assert states(run("config:init", "--json").out)[".gitignore"] == "kept"
    assert (folder / ".gitignore").is_symlink()
    assert not (folder / "elsewhere").exists()


def test_a_second_run_is_refused_and_changes_nothing(run: Run, folder: Path) -> None:
    run("config:init")
    before = everything_in(folder)
    assert run("config:init").code == 4
    assert everything_in(folder) == before


def test_a_run_that_broke_off_can_be_repeated(run: Run, folder: Path) -> None:
    create(folder, starter()[:-1])
    done = run("config:init", "--json")
    assert done.code == 0
    assert states(done.out) == {**dict.fromkeys(PATHS, "kept"), "nodes.json": "created"}


def test_a_dry_run_writes_nothing(run: Run, folder: Path) -> None:
    (folder / ".gitignore").write_text("mine")
    done = run("config:init", "--dry-run", "--json")
    assert done.code == 0
    assert states(done.out) == {**dict.fromkeys(PATHS, "would create"), ".gitignore": "kept"}
    assert run("config:init", "new", "--dry-run").code == 0
    assert everything_in(folder) == {".gitignore": b"mine"}
    assert names_in(folder) == [".gitignore"]


@contextmanager
def as_somebody() -> Iterator[None]:
    """Without root's right to write anywhere."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def test_a_folder_that_cannot_be_written_is_a_clean_error(run: Run, folder: Path) -> None:
    run("config:init", "--dry-run")  # reads the program while that is allowed
    folder.chmod(0o555)
    with as_somebody():
        done = run("config:init", str(folder))
    assert done.code == 4
    assert "cannot be written: Permission denied" in done.err
    assert names_in(folder) == []


@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
def test_a_file_is_no_folder(run: Run, folder: Path, dry: list[str]) -> None:
    (folder / "file").write_text("mine")
    (folder / "link").symlink_to("nowhere")
    for name in ("file", "link"):
        done = run("config:init", name, *dry)
        assert (done.code, done.err) == (4, f"error: {name} is no folder\n")


def test_a_file_in_the_way_is_named_and_nodes_json_is_not_written(run: Run, folder: Path) -> None:
    (folder / "templates").write_text("mine")
    done = run("config:init")
    assert done.code == 4
    assert "templates/packer/amazon-ebs.j2.example: cannot be written" in done.err
    assert not (folder / "nodes.json").exists()
    (folder / "templates").unlink()
    assert run("config:init").code == 0


def test_a_project_above_is_told(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run("config:init")
    done = run("config:init", "inner")
    assert done.code == 0
    assert f"{folder / 'nodes.json'} is another project" in done.err
    monkeypatch.chdir(folder / "inner")
    assert run("group:create").code == 0
    assert (folder / "inner" / "roles" / "web.json").is_file()
    assert not (folder / "roles").exists()


def test_a_variable_that_names_another_project_is_warned_of(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NODEPKG_NODES", "/other/nodes.json")
    assert "warning: NODEPKG_NODES names another nodes.json" in run("config:init").err


def provisioners(folder: Path) -> Any:
    return json.loads((folder / "packer" / "web.json").read_text())["provisioners"]


def test_the_override_does_nothing_until_it_is_copied_and_works_then(run: Run, folder: Path) -> None:
    run("config:init")
    run("group:create")
    before = provisioners(folder)
    (example,) = (folder / "templates" / "packer").iterdir()
    (copy,) = re.findall(r"^ +(cp .*)$", example.read_text(), re.MULTILINE)
    subprocess.run(shlex.split(copy), cwd=folder, check=True)
    assert run("group:create").code == 0
    assert provisioners(folder) == [*before, {"type": "shell", "inline": ["test -s /etc/hello/greeting"]}]
    assert run("config:check").code == 0


def test_the_override_serves_one_group_under_another_name(run: Run, folder: Path) -> None:
    run("config:init")
    templates = folder / "templates" / "packer"
    (templates / "amazon-ebs.j2.example").rename(templates / "mine.j2")
    nodes = json.loads((folder / "nodes.json").read_text())
    nodes["web"]["packer"] = {"template": "mine"}
    (folder / "nodes.json").write_text(json.dumps(nodes))
    assert run("group:create").code == 0
    assert "/etc/hello/greeting" in (folder / "packer" / "web.json").read_text()
    assert "/etc/hello/greeting" not in (folder / "packer" / "common.json").read_text()


def test_an_attribute_of_nodes_json_reaches_the_recipe(run: Run, folder: Path) -> None:
    run("config:init")
    run("group:create")
    said = json.loads((folder / "roles" / "web.json").read_text())["default_attributes"]
    recipe = (folder / "cookbooks" / "hello" / "recipes" / "default.rb").read_text()
    for names in re.findall(r"node((?:\[\"\w+\"\])+)", recipe):
        value = said
        for name in re.findall(r"\w+", names):
            value = value[name]
        assert value == "Hello from a web server"
    assert "node[" in recipe


def test_git_does_not_see_the_sandbox(run: Run, folder: Path) -> None:
    run("config:init")
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    state = folder / ".nodepkg" / "sandbox" / "state.json"
    state.parent.mkdir(parents=True)
    state.write_text("{}")
    seen = subprocess.run(
        ["git", "status", "--porcelain", "-uall"], cwd=folder, check=True, capture_output=True, text=True
    ).stdout.split()
    assert ".nodepkg/sandbox/state.json" not in seen
    assert "nodes.json" in seen
