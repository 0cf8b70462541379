"""The program in this process, in a copy of the example."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from nodepkg.cli import commands
from nodepkg.cli.app import run as run_program

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


Run = Callable[..., Done]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """One command line."""
    assert commands

    def call(*arguments: str) -> Done:
        code = run_program(list(arguments))
        said = capsys.readouterr()
        return Done(int(code), said.out, said.err)

    return call


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the example project, without artefacts, as the current folder."""
    folder = tmp_path / "project"
    folder.mkdir()
    shutil.copy(ROOT / "nodes.json", folder)
    for part in ("cookbooks", "data_bags", "templates"):
        shutil.copytree(ROOT / part, folder / part)
    monkeypatch.chdir(folder)
    for variable in ("NODEPKG_NODES", "NODEPKG_SANDBOX"):
        monkeypatch.delenv(variable, raising=False)
    return folder
