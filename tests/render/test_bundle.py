"""What a node gets: exactly these files, each role under its own name."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nodepkg.cli import commands
from nodepkg.cli.app import run
from nodepkg.errors import ConfigError, RefusedError
from nodepkg.render.bundle import Bundle, Project, bundle, missing_roles
from nodepkg.render.digest import bundle_digest
from tests.projects import copy_example, make_project

FILES = {"cookbooks/a/recipes/default.rb": "log 'a'\n", "data_bags/users/ann.json": '{"id": "ann"}\n'}
BASE: dict[str, Any] = {"run_list": ["recipe[a]"]}


def bundle_of(folder: Path, name: str, files: dict[str, str] | None = None, **groups: Any) -> Bundle:
    nodes = make_project(folder, {"__base__": BASE, **groups}, FILES if files is None else files)
    return bundle(Project(nodes), nodes.group(name))


def all_paths(made: Bundle) -> list[str]:
    return sorted([*made.shared, *made.own])


def a_role(name: str, *run_list: str, **more: object) -> str:
    return json.dumps({"name": name, "json_class": "Chef::Role", "run_list": run_list, **more})


def test_a_bundle_is_exactly_these_files(tmp_path: Path) -> None:
    files = {
        **FILES,
        "cookbooks/a/.hidden": "",
        "cookbooks/top.txt": "",
        "roles/bee.json": "{}",
        "roles/ant.json": a_role("role-ant"),
        "roles/stray.json": a_role("stray"),
        "dna/asg/ant.json": "{}",
        "templates/packer/web.j2": "",
        "README": "",
    }
    assert all_paths(bundle_of(tmp_path, "bee", files, bee={}, ant={})) == [
        "cookbooks/a/.hidden",
        "cookbooks/a/recipes/default.rb",
        "cookbooks/top.txt",
        "data_bags/users/ann.json",
        "dna.json",
        "roles/role-bee.json",
        "solo.rb",
    ]


def test_no_group_of_the_example_gets_role_or_dna_of_another(tmp_path: Path) -> None:
    nodes = copy_example(tmp_path)
    for name in nodes.names:
        made = bundle(Project(nodes), nodes.group(name))
        assert [path for path in made.own if path.startswith("roles/")] == [f"roles/role-{name}.json"]
        assert json.loads(made.own["dna.json"]) == {"id": name, "run_list": [f"role[role-{name}]"]}
        assert {path.split("/")[0] for path in made.shared} == {"cookbooks", "data_bags"}


def test_the_role_in_a_bundle_is_what_nodes_json_says_not_what_is_on_disk(tmp_path: Path) -> None:
    made = bundle_of(tmp_path, "bee", {"roles/bee.json": "stale"}, bee={})
    assert json.loads(made.own["roles/role-bee.json"])["name"] == "role-bee"


def test_a_bundle_needs_no_cookbooks_and_no_data_bags(tmp_path: Path) -> None:
    assert all_paths(bundle_of(tmp_path, "bee", {}, bee={})) == ["dna.json", "roles/role-bee.json", "solo.rb"]


def test_the_projects_own_solo_rb_goes_first(tmp_path: Path) -> None:
    assert bundle_of(tmp_path / "own", "bee", {"solo.rb": "# mine\n"}, bee={}).own["solo.rb"] == b"# mine\n"
    assert b"role_path" in bundle_of(tmp_path / "shipped", "bee", {}, bee={}).own["solo.rb"]


# Roles that a role refers to


def roles_of(folder: Path, files: dict[str, str], **groups: Any) -> list[str]:
    """The roles in the bundle of the group bee, without the folder."""
    made = bundle_of(folder, "bee", files, **groups)
    return [path.removeprefix("roles/") for path in made.own if path.startswith("roles/")]


def test_the_role_of_another_group_comes_under_its_own_name(tmp_path: Path) -> None:
    roles = roles_of(tmp_path, {}, bee={"run_list": ["role[worker]"]}, ant={"role_name": "worker"}, fly={})
    assert roles == ["role-bee.json", "worker.json"]


def test_roles_are_followed_through_groups_and_files(tmp_path: Path) -> None:
    files = {
        "roles/hand.json": a_role("hand", "role[ruby]"),
        "roles/ruby.rb": 'name "ruby"\nrun_list "role[role-ant]", "recipe[a]"\n',
        "roles/never.json": a_role("never"),
    }
    bee = {"post_run_list": ["role[role-fly]"]}
    roles = roles_of(tmp_path, files, bee=bee, fly={"run_list": ["role[hand]"]}, ant={})
    assert sorted(roles) == ["hand.json", "role-ant.json", "role-bee.json", "role-fly.json", "ruby.rb"]


def test_roles_of_env_run_lists_are_followed(tmp_path: Path) -> None:
    files = {"roles/hand.json": a_role("hand", env_run_lists={"production": ["role[role-ant]"]})}
    assert "role-ant.json" in roles_of(tmp_path, files, bee={"run_list": ["role[hand]"]}, ant={})


def test_a_cycle_of_roles_ends(tmp_path: Path) -> None:
    files = {"roles/hand.json": a_role("hand", "role[role-bee]", "role[hand]")}
    assert sorted(roles_of(tmp_path, files, bee={"run_list": ["role[hand]", "role[role-bee]"]})) == [
        "hand.json",
        "role-bee.json",
    ]


def test_a_file_that_is_called_otherwise_is_found_by_the_name_in_it(tmp_path: Path) -> None:
    files = {"roles/other.json": a_role("hand"), "roles/broken.json": "{", "roles/list.json": "[]"}
    assert roles_of(tmp_path, files, bee={"run_list": ["role[hand]"]}) == ["role-bee.json", "hand.json"]


def test_the_words_of_a_hand_written_role_refer_to_nothing(tmp_path: Path) -> None:
    files = {"roles/hand.json": a_role("hand", "recipe[a]", description="was role[gone] once")}
    assert roles_of(tmp_path, files, bee={"run_list": ["role[hand]"]}) == ["role-bee.json", "hand.json"]


def test_a_missing_role_is_an_error_that_says_who_wants_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"role\[gone\], which bee refers to"):
        bundle_of(tmp_path / "group", "bee", {}, bee={"run_list": ["role[gone]"]})
    files = {"roles/hand.json": a_role("hand", "role[gone]")}
    with pytest.raises(ConfigError, match=r"role\[gone\], which roles/hand\.json refers to"):
        bundle_of(tmp_path / "file", "bee", files, bee={"run_list": ["role[hand]"]})


def test_all_missing_roles_are_told_at_once(tmp_path: Path) -> None:
    groups = {"bee": {"run_list": ["role[gone]", "role[lost]"]}, "ant": {"run_list": ["role[away]"]}}
    nodes = make_project(tmp_path, {"__base__": BASE, **groups})
    project = Project(nodes)
    found = [finding.text() for name in nodes.names for finding in missing_roles(project, nodes.group(name))]
    assert [name for name in ("gone", "lost", "away") if not any(f"role[{name}]" in text for text in found)] == []


def check(folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """What config:check says of the nodes.json in the folder."""
    assert commands
    assert run(["config:check", "--nodes", str(folder / "nodes.json")]) == 3
    return capsys.readouterr().err.replace(f"{folder}/", "")


def test_a_missing_role_is_told_beside_all_other_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    groups = {"bee": {"run_list": ["role[gone]"]}, "ant": {"zzz": 1}}
    make_project(tmp_path, {"__base__": {**BASE, "source_ami": "ami-1"}, **groups})
    said = check(tmp_path, capsys)
    assert "ant: zzz: unknown key" in said
    assert "role[gone]" in said


def test_a_missing_role_is_told_where_it_stands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = {"source_ami": "ami-1", "run_list": ["recipe[a]", "role[gone]"]}
    make_project(tmp_path, {"__base__": base, "bee": {"run_list": ["recipe[b]", "role[lost]"]}, "ant": {}})
    said = check(tmp_path, capsys)
    assert "nodes.json:6: bee and 1 more: run_list[1]: " in said
    assert "nodes.json:12: bee: run_list[1]: " in said
    assert said.count("role[gone]") == 1


def test_the_role_artefact_of_a_group_answers_to_its_own_name_only(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"role\[ant\]"):
        bundle_of(tmp_path, "bee", {"roles/ant.json": a_role("role-ant")}, bee={"run_list": ["role[ant]"]}, ant={})


def test_a_folder_among_the_roles_is_passed_by(tmp_path: Path) -> None:
    (tmp_path / "roles" / "folder.json").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"role\[gone\]"):
        bundle_of(tmp_path, "bee", {}, bee={"run_list": ["role[gone]"]})


@pytest.mark.timeout(20)
def test_a_pipe_among_the_roles_is_passed_by(tmp_path: Path) -> None:
    (tmp_path / "roles").mkdir()
    os.mkfifo(tmp_path / "roles" / "pipe.json")
    with pytest.raises(ConfigError, match=r"role\[gone\]"):
        bundle_of(tmp_path, "bee", {}, bee={"run_list": ["role[gone]"]})


# Files that are none


def broken_link(folder: Path) -> None:
    (folder / "link.rb").symlink_to("nowhere.rb")


def broken_folder_link(folder: Path) -> None:
    (folder / "folder").symlink_to("nowhere/")


def link_to_itself(folder: Path) -> None:
    (folder / "link").symlink_to("link")


def link_to_a_folder_above(folder: Path) -> None:
    (folder / "above").symlink_to("..")


def link_to_its_own_folder(folder: Path) -> None:
    (folder / "here").symlink_to(".")


def links_into_each_other(folder: Path) -> None:
    for one, other in (("left", "right"), ("right", "left")):
        (folder / one).mkdir(exist_ok=True)
        (folder / one / "to").symlink_to(f"../{other}")
        (folder / one / "again").symlink_to(f"../{other}")


def pipe(folder: Path) -> None:
    os.mkfifo(folder / "pipe")


def device(folder: Path) -> None:
    (folder / "zeros").symlink_to("/dev/zero")


def control_character(folder: Path) -> None:
    (folder / "a\nb").write_text("")


STRANGE = [
    broken_link,
    broken_folder_link,
    link_to_itself,
    link_to_a_folder_above,
    link_to_its_own_folder,
    links_into_each_other,
    pipe,
    device,
    control_character,
]


@pytest.mark.timeout(20)
@pytest.mark.parametrize("put", STRANGE)
@pytest.mark.parametrize("place", ["cookbooks/a", "data_bags"])
def test_what_cannot_go_to_a_node_is_refused_and_named(tmp_path: Path, put: Callable[[Path], None], place: str) -> None:
    nodes = make_project(tmp_path, {"bee": BASE}, FILES)
    put(tmp_path / place)
    with pytest.raises(RefusedError, match=str(tmp_path / place)):
        bundle(Project(nodes), nodes.group("bee"))


def test_links_to_files_and_folders_are_followed(tmp_path: Path) -> None:
    nodes = make_project(tmp_path / "project", {"bee": BASE}, FILES)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "b.rb").write_text("b")
    (tmp_path / "project" / "cookbooks" / "b").symlink_to(outside)
    (tmp_path / "project" / "cookbooks" / "c.rb").symlink_to(outside / "b.rb")
    assert {"cookbooks/b/b.rb", "cookbooks/c.rb"} <= set(bundle(Project(nodes), nodes.group("bee")).shared)


def test_the_cookbooks_may_be_a_link(tmp_path: Path) -> None:
    nodes = make_project(tmp_path / "project", {"bee": BASE})
    (tmp_path / "shared" / "a").mkdir(parents=True)
    (tmp_path / "shared" / "a" / "metadata.rb").write_text("")
    (tmp_path / "project" / "cookbooks").symlink_to(tmp_path / "shared")
    assert list(bundle(Project(nodes), nodes.group("bee")).shared) == ["cookbooks/a/metadata.rb"]


def test_a_file_in_place_of_cookbooks_is_no_cookbook(tmp_path: Path) -> None:
    assert list(bundle_of(tmp_path, "bee", {"cookbooks": ""}, bee={}).shared) == []


def test_a_name_that_is_no_utf8_is_a_name_all_the_same(tmp_path: Path) -> None:
    nodes = make_project(tmp_path, {"bee": BASE}, FILES)
    Path(os.fsdecode(os.fsencode(tmp_path / "cookbooks") + b"/\xff.rb")).write_text("")
    made = bundle(Project(nodes), nodes.group("bee"))
    assert len(made.shared) == 3
    assert len(bundle_digest(made)) == 64
