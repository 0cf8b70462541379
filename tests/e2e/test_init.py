"""From an empty folder to a running group: what config:init writes, with the real Packer."""

import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from nodepkg.sandbox import process
from tests.e2e.program import CLEAN, Program
from tests.packers import each_packer


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Program]:
    """The program in a folder that config:init filled."""
    folder = tmp_path / "shop"
    folder.mkdir()
    program = Program(folder)
    program("config:init")
    yield program
    process.stop(folder / ".nodepkg" / "sandbox")


@each_packer
def test_every_command_that_it_suggests_works(tmp_path: Path, packer: str) -> None:
    told = Program(tmp_path)("config:init", "shop").stderr
    assert "\n  cd shop\n" in told
    package = Program(tmp_path / "shop", {**CLEAN, "NODEPKG_PACKER": packer})
    try:
        for command in re.findall(r"^  package (.*)$", told, re.MULTILINE):
            package(*shlex.split(command))
        rows = {row["group"]: row for row in json.loads(package("group:status", "--sandbox", "--json").stdout)}
    finally:
        process.stop(tmp_path / "shop" / ".nodepkg" / "sandbox")
    assert {name: row["next"] for name, row in rows.items()} == {"common": None, "web": None}
    assert [asg["newest"] for asg in rows["web"]["asg"]] == [True]


@each_packer
def test_packer_takes_the_templates_with_and_without_the_override(started: Program, packer: str) -> None:
    (example,) = (started.folder / "templates" / "packer").iterdir()
    for copied in (False, True):
        if copied:
            example.with_suffix("").write_text(example.read_text())
        started("group:create")
        for template in (started.folder / "packer").iterdir():
            subprocess.run([packer, "validate", str(template)], env=validating(started), check=True, timeout=60)
        started("packer:run", "--sandbox", NODEPKG_PACKER=packer)


def validating(program: Program) -> dict[str, str]:
    """Packer looks for a region and credentials even where it calls nobody."""
    return {**program.environ, "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_REGION": "us-east-1"}
