"""The wheel, without the repository: what is in it, what it needs, and the way from nothing to a running group."""

import ast
import json
import re
import shlex
import subprocess
import sys
import tomllib
import venv
import zipfile
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from nodepkg import __version__
from nodepkg.sandbox import process
from tests.e2e.conftest import ROOT
from tests.e2e.program import CLEAN, Program
from tests.packers import packers

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
README = (ROOT / "README.md").read_text("utf-8")
SOURCE = ROOT / "src" / "nodepkg"

# For pip and pipx: the user's own registry and cache, the versions of the project, and nothing of its code.
INSTALLING = {
    **{key: value for key, value in CLEAN.items() if not key.startswith(("PYTHON", "PIPX_", "VIRTUAL_ENV"))},
    "PIP_CONSTRAINT": str(ROOT / "constraints.txt"),
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
}


def pip(*arguments: str) -> None:
    """What it says is shown if it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "pip", *arguments],
        env=INSTALLING,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{shlex.join(arguments)}\n{done.stdout}\n{done.stderr}"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(ROOT))
    (built,) = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment that was empty, with the wheel and its extra `sandbox`."""
    folder = tmp_path_factory.mktemp("installed") / "venv"
    venv.create(folder, symlinks=True)
    pip("--python", str(folder), "install", "--quiet", f"{wheel}[sandbox]")
    return folder


@pytest.fixture
def elsewhere(installed: Path, tmp_path: Path) -> Iterator[Program]:
    """`package` of that environment in an empty folder, with nothing of the developer's in its environment."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    environ = {key: CLEAN[key] for key in CLEAN if key.startswith("AWS_")}
    environ |= {"PATH": f"{installed / 'bin'}:/usr/bin:/bin", "HOME": str(tmp_path), "NODEPKG_PACKER": packers()[0]}
    package = Program(folder, environ, (str(installed / "bin" / "package"),))
    yield package
    process.stop(package.folder / ".nodepkg" / "sandbox")


def test_the_wheel_has_every_file_of_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as content:
        names = {name for name in content.namelist() if ".dist-info/" not in name}
        described = [name for name in content.namelist() if ".dist-info/" in name]
    there = {
        f"nodepkg/{path.relative_to(SOURCE).as_posix()}"
        for path in SOURCE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert names == there
    assert names > {"nodepkg/nodes.schema.json", "nodepkg/templates/amazon-ebs.j2", "nodepkg/starter/nodes.json"}
    assert any(name.endswith("/licenses/LICENSE") for name in described)


def test_the_readme_leads_from_nothing_to_a_running_group(elsewhere: Program) -> None:
    (block,) = re.findall(r"```console\n(\$ pip install 'nodepkg\[sandbox\]'\n.*?)```", README, re.DOTALL)
    lines = [shlex.split(line.removeprefix("$ ")) for line in block.splitlines()]
    for program, *arguments in lines[1:]:
        if program == "cd":
            elsewhere.folder /= arguments[0]
        else:
            elsewhere(*arguments)
    rows = {row["group"]: row for row in json.loads(elsewhere("group:status", "--sandbox", "--json").stdout)}
    assert [asg["newest"] for asg in rows["web"]["asg"]] == [True]
    assert {row["next"] for row in rows.values()} == {None}
    assert json.loads(elsewhere("sandbox:stop", "--json").stdout) == {"stopped": True}


def test_all_ways_to_call_it_are_the_installed_one(elsewhere: Program, installed: Path) -> None:
    python = str(installed / "bin" / "python")
    for command in (("package",), ("nodepkg",), (python, "-m", "nodepkg")):
        called = Program(elsewhere.folder, elsewhere.environ, (str(installed / "bin" / command[0]), *command[1:]))
        assert called("--version").stdout == f"nodepkg {__version__}\n"
    where = Program(elsewhere.folder, elsewhere.environ, (python, "-c", "import nodepkg; print(nodepkg.__file__)"))
    assert Path(where().stdout.strip()).is_relative_to(installed)


def test_pipx_runs_it_and_the_base_install_has_all_but_the_sandbox(wheel: Path, tmp_path: Path) -> None:
    folder, home = tmp_path / "shop", tmp_path / "pipx"
    folder.mkdir()
    environ = {**INSTALLING, "PIPX_HOME": str(home), "PIPX_BIN_DIR": str(home / "bin"), "PIPX_MAN_DIR": str(home)}
    pipx = (sys.executable, "-m", "pipx", "run", "--skip-maintenance", "--no-path-check", "--spec", str(wheel))
    package = Program(folder, environ, (*pipx, "nodepkg"))
    assert package("--version").stdout == f"nodepkg {__version__}\n"
    package("config:init")
    package("group:create")
    refused = package("packer:run", "--sandbox", code=6)
    assert "pip install 'nodepkg[sandbox]'" in refused.stderr

    (ours,) = home.rglob("nodepkg-*.dist-info")
    names = {canonicalize_name(path.name.split("-")[0]) for path in ours.parent.glob("*.dist-info")}
    assert names >= required(PROJECT["dependencies"])
    assert not names & required(PROJECT["optional-dependencies"]["sandbox"])
    assert not names & required(PROJECT["optional-dependencies"]["agent"])
    assert not names & (required(PROJECT["optional-dependencies"]["dev"]) - {"nodepkg"})


def required(lines: list[str]) -> set[str]:
    return {canonicalize_name(Requirement(line).name) for line in lines}


def imported_below(folder: Path) -> set[str]:
    """The distributions that the files import, also inside functions; imports for type checkers do not count."""
    modules = set()
    for file in folder.rglob("*.py"):
        for node in at_run_time(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                modules |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                modules.add(node.module.split(".")[0])
    known = packages_distributions()
    return {canonicalize_name(name) for module in modules for name in known.get(module, ())}


def at_run_time(node: ast.AST) -> Iterator[ast.AST]:
    yield node
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"):
            yield from at_run_time(child)


def test_every_dependency_is_imported_somewhere() -> None:
    assert required(PROJECT["dependencies"]) - imported_below(SOURCE) == set()


def test_the_extra_is_imported_by_the_sandbox_only() -> None:
    extra = required(PROJECT["optional-dependencies"]["sandbox"])
    assert {"moto", "werkzeug"} <= extra & imported_below(SOURCE / "sandbox")
    for folder in SOURCE.iterdir():
        if folder.is_dir() and folder.name != "sandbox":
            assert not extra & imported_below(folder), folder.name
