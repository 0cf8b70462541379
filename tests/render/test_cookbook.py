"""The cookbook nodepkg-services: its files, the wheel of this nodepkg, and wheels of what the agent requires."""

import re
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from packaging.version import Version

import nodepkg
from nodepkg.errors import RefusedError
from nodepkg.render import wheelhouse
from nodepkg.render.cookbook import WHEELS, chef_version, cookbook, remove
from nodepkg.render.files import Outcome, write
from nodepkg.render.own_wheel import own_wheel

LINUX = {**wheelhouse.node_environment([]), "python_version": "3.12", "python_full_version": "3.12.0"}


def make_wheel(folder: Path, name: str, version: str, *requires: str, tag: str = "py3-none-any") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{version}-{tag}.whl"
    lines = [f"Name: {name}", f"Version: {version}", *(f"Requires-Dist: {one}" for one in requires)]
    with zipfile.ZipFile(path, "w") as made:
        made.writestr(f"{name}-{version}.dist-info/METADATA", "Metadata-Version: 2.1\n" + "\n".join(lines) + "\n")
    return path


def missing(folder: Path, *requires: str, environment: Mapping[str, str] = LINUX) -> list[str]:
    """What is missing in the folder of what a wheel with these requirements needs for its extra `agent`."""
    own = make_wheel(folder.parent, "own", "1", *requires)
    there = [wheelhouse.wheel(path.name, path) for path in wheelhouse.wheels_of(folder)]
    return [str(one) for one in wheelhouse.missing(wheelhouse.wheel(own.name, own), "agent", there, environment)]


def test_the_cookbook_is_whole_and_names_no_host(tmp_path: Path) -> None:
    made = cookbook(tmp_path)
    texts = {artifact.path.removeprefix("nodepkg-services/"): artifact.text for artifact in made.texts}
    assert set(texts) == {
        "metadata.rb",
        "attributes/default.rb",
        "libraries/nodepkg_services.rb",
        "recipes/collect.rb",
        "recipes/decommission.rb",
        "recipes/default.rb",
        "recipes/notify.rb",
        "resources/agent.rb",
    }
    assert f"version '{nodepkg.__version__}'" in texts["metadata.rb"]
    assert "chef_version '>= 16'" in texts["metadata.rb"]
    assert not [path for path, text in texts.items() if re.search(r"://|pypi", text)]
    assert [blob.path for blob in made.wheels] == [f"{WHEELS}/nodepkg-{nodepkg.__version__}-py3-none-any.whl"]


def test_every_attribute_that_is_read_has_a_default(tmp_path: Path) -> None:
    texts = {artifact.path: artifact.text for artifact in cookbook(tmp_path).texts}
    (defaults,) = (text for path, text in texts.items() if path.endswith("attributes/default.rb"))
    known = set(re.findall(r"^default\['nodepkg-services'\]\['(\w+)'\]", defaults, re.MULTILINE))
    read = {
        name
        for text in texts.values()
        for name in re.findall(r"(?:settings\(node\)|node\['[\w-]+'\])\['(\w+)'\]", text)
    }
    assert read - {"services", "available"} == known


def test_the_unit_lets_converges_outlive_the_agent_and_confines_none(tmp_path: Path) -> None:
    (text,) = (made.text for made in cookbook(tmp_path).texts if made.path.endswith("nodepkg_services.rb"))
    unit = text[text.index("[Unit]") : text.index("    UNIT\n")]
    lines = [line.strip() for line in unit.splitlines()]
    assert {"KillMode=process", "Restart=always", "ExecReload=/bin/kill -HUP $MAINPID"} <= set(lines)
    assert not [line for line in lines if re.match(r"Protect|Private|NoNewPrivileges|Memory|Limit|User=", line)]


@pytest.mark.parametrize(
    ("version", "chef"), [("0.1.0", "0.1.0"), ("1.2", "1.2"), ("2", "2.0"), ("1.2.0rc1", "1.2.0"), ("1.2.3.4", "1.2.3")]
)
def test_a_version_as_chef_takes_it(version: str, chef: str) -> None:
    assert chef_version(version) == chef


def test_the_wheel_is_the_same_each_time_and_tells_nothing_of_this_machine() -> None:
    name, content = own_wheel()
    assert (name, content) == own_wheel()
    assert str(Path(nodepkg.__file__).parents[2]).encode() not in content


def test_a_changed_file_gives_another_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copied = tmp_path / "nodepkg"
    copied.mkdir()
    (copied / "__init__.py").write_text("")
    monkeypatch.setattr(nodepkg, "__file__", str(copied / "__init__.py"))
    before = own_wheel()[1]
    (copied / "__pycache__").mkdir()
    (copied / "__pycache__" / "a.pyc").write_bytes(b"x")
    (copied / ".a.swp").write_bytes(b"x")
    assert own_wheel()[1] == before
    (copied / "a.py").write_text("")
    assert own_wheel()[1] != before


def test_another_version_than_the_installed_one_makes_no_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodepkg, "__version__", "99.0")
    with pytest.raises(RefusedError, match=r"nodepkg 99\.0 runs, and .* was installed") as error:
        own_wheel()
    assert "pip install" in error.value.hint


def test_pip_installs_the_wheel_and_its_command_answers(tmp_path: Path) -> None:
    name, content = own_wheel()
    (tmp_path / name).write_bytes(content)
    folder = tmp_path / "venv"
    venv.create(folder, symlinks=True)
    options = ("--quiet", "--disable-pip-version-check", "--no-index", "--no-deps")
    pip = [sys.executable, "-m", "pip", "--python", str(folder), "install", *options, str(tmp_path / name)]
    subprocess.run(pip, check=True, timeout=120)
    (site,) = folder.glob("lib/python*/site-packages")
    # What it requires is lent by this environment, but for its nodepkg: that is found by a .pth file of its own.
    (site / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")
    asked = [str(folder / "bin" / "package"), "--version"]
    done = subprocess.run(asked, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert (done.stdout, done.stderr) == (f"nodepkg {nodepkg.__version__}\n", "")
    found = [str(folder / "bin" / "python"), "-c", "import nodepkg; print(nodepkg.__file__)"]
    where = subprocess.run(found, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=True).stdout
    assert Path(where.strip()).is_relative_to(folder)


def test_requirements_are_followed_through_wheels_and_extras(tmp_path: Path) -> None:
    folder = tmp_path / "wheels"
    make_wheel(folder, "A_b", "2.0", "deep[fast]>=1")
    make_wheel(folder, "deep", "1.5", "quick; extra == 'fast'", "slow; extra == 'other'")
    assert missing(folder, "a-b>=1", "only-agent; extra == 'agent'", "only-dev; extra == 'dev'") == [
        "only-agent, which own requires",
        "quick, which deep requires",
    ]


def test_a_version_that_does_not_do_is_told_with_those_that_are_there(tmp_path: Path) -> None:
    folder = tmp_path / "wheels"
    make_wheel(folder, "a", "1.0")
    make_wheel(folder, "a", "1.1")
    assert missing(folder, "a>=2") == ["a>=2, which own requires (there: 1.0, 1.1)"]


def test_circles_end(tmp_path: Path) -> None:
    folder = tmp_path / "wheels"
    make_wheel(folder, "a", "1", "b")
    make_wheel(folder, "b", "1", "a[x]", "c; extra == 'x'")
    assert missing(folder, "a") == []


def test_markers_are_read_for_the_python_that_the_wheels_are_for(tmp_path: Path) -> None:
    folder = tmp_path / "wheels"
    make_wheel(folder, "a", "1", tag="cp312-cp312-manylinux_2_17_x86_64")
    make_wheel(folder, "b", "1", tag="cp39-abi3-manylinux_2_17_x86_64")
    environment = wheelhouse.node_environment(path.name for path in wheelhouse.wheels_of(folder))
    assert environment["python_version"] == "3.12"
    needs = ("old; python_version < '3.12'", "new; python_version >= '3.12'", "w; sys_platform == 'win32'")
    assert missing(folder, *needs, environment=environment) == ["new, which own requires"]


def test_a_file_that_is_no_wheel_is_named(tmp_path: Path) -> None:
    broken = tmp_path / "a-1-py3-none-any.whl"
    broken.write_bytes(b"no zip")
    with pytest.raises(RefusedError, match=r"a-1-py3-none-any\.whl: is no wheel"):
        wheelhouse.wheel(broken.name, broken)


def test_what_lacks_in_the_folder_is_refused_with_how_to_get_it(tmp_path: Path) -> None:
    make_wheel(tmp_path / "wheels", "typer", "0.1")
    with pytest.raises(RefusedError) as error:
        cookbook(tmp_path / "cookbooks", tmp_path / "wheels")
    assert "has no wheel for typer>=" in error.value.message
    assert "(there: 0.1)" in error.value.message
    assert "grpclib" in error.value.message
    assert "moto" not in error.value.message
    assert "pip download" in error.value.hint


def test_all_wheels_are_shipped_but_another_nodepkg(tmp_path: Path) -> None:
    name, content = own_wheel()
    (tmp_path / name).write_bytes(content)
    folder = tmp_path / "wheels"
    # Each requirement is met by a wheel that requires nothing itself.
    for requirement in wheelhouse.wheel(name, tmp_path / name).requires:
        version = max((Version(one.version) for one in requirement.specifier), default=Version("1"))
        make_wheel(folder, re.sub("[-.]+", "_", requirement.name), str(version))
    make_wheel(folder, "nodepkg", "0.0.1")
    shipped = [Path(blob.path).name for blob in cookbook(tmp_path / "cookbooks", folder).wheels]
    assert shipped == [name, *sorted(path.name for path in folder.iterdir() if not path.name.startswith("nodepkg-"))]


def test_wheels_of_an_earlier_version_go_and_other_files_stay(tmp_path: Path) -> None:
    make_wheel(tmp_path / WHEELS, "nodepkg", "0.0.1")
    (tmp_path / WHEELS / "README").write_text("mine")
    made = cookbook(tmp_path)
    assert made.leftovers == [f"{WHEELS}/nodepkg-0.0.1-py3-none-any.whl"]
    write(tmp_path, made.files)
    remove(tmp_path, made.leftovers)
    names = {path.name for path in (tmp_path / WHEELS).iterdir()}
    assert names == {"README", f"nodepkg-{nodepkg.__version__}-py3-none-any.whl"}
    again = cookbook(tmp_path)
    assert again.leftovers == []
    assert {outcome for _, outcome in write(tmp_path, again.files)} == {Outcome.UNCHANGED}
