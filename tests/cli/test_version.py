"""version: whatever Packer is there, or none."""

import json
import platform
from pathlib import Path

import pytest

from nodepkg import __version__
from tests.cli.conftest import Run
from tests.packers import packers


@pytest.mark.parametrize("packer", packers())
def test_versions_are_those_of_what_is_there(run: Run, monkeypatch: pytest.MonkeyPatch, packer: str) -> None:
    monkeypatch.setenv("NODEPKG_PACKER", packer)
    told = json.loads(run("version", "--json").out)
    assert (told["nodepkg"], told["python"]) == (__version__, platform.python_version())
    assert told["packer_path"] == packer
    assert told["packer"].count(".") == 2
    assert told["amazon_plugin"]
    assert told["problem"] is None
    lines = run("version").out.splitlines()
    assert [line.split()[0] for line in lines] == ["nodepkg", "Python", "Packer", "amazon", "system"]
    assert told["packer"] in lines[2]


def test_no_packer_is_no_error(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NODEPKG_PACKER", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    done = run("version")
    assert done.code == 0
    assert "no Packer: packer is not an executable on PATH" in done.out
    told = json.loads(run("version", "--json").out)
    assert (told["packer"], told["amazon_plugin"]) == (None, None)
    assert told["problem"] == "no Packer: packer is not an executable on PATH"


def test_the_version_is_told_where_the_plugins_cannot_be(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    packer = tmp_path / "packer"
    packer.write_text('#!/bin/sh\ncase "$1" in version) echo Packer v1.17.0-dev;; *) echo oh; exit 1;; esac\n')
    packer.chmod(0o755)
    monkeypatch.setenv("NODEPKG_PACKER", str(packer))
    told = json.loads(run("version", "--json").out)
    problem = f"{packer} plugins installed failed (exit 1): oh"
    assert (told["packer"], told["amazon_plugin"], told["problem"]) == ("1.17.0-dev", None, problem)
    lines = run("version").out.splitlines()
    assert lines[2:4] == [f"Packer         1.17.0-dev ({packer})", f"amazon plugin  {problem}"]
