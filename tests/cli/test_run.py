"""packer:run on the command line, against an embedded AWS in this process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.worlds import World


@pytest.mark.parametrize("poll", ["0", "-1", "nan", "inf", "1e12", "soon"])
def test_what_nobody_can_wait_for_is_no_interval(run: Run, poll: str) -> None:
    done = run("packer:run", "--poll", poll)
    assert done.code == 2
    assert "--poll" in done.err


def test_that_nobody_reads_the_result_hides_no_failure(run: Run, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert world
    assert run("role:create").code == run("packer:create").code == 0
    monkeypatch.setenv("NODEPKG_PACKER", "there-is-none")
    assert run("packer:run").code == 6
    read, write = os.pipe()
    os.close(read)
    for given in ([], ["--json"]):
        command = [sys.executable, "-m", "nodepkg", "packer:run", *given]
        done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
        assert done.returncode == 6
        assert "there-is-none" in done.stderr
    os.close(write)


def test_each_group_says_what_became_of_it(run: Run, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert world
    assert run("role:create").code == run("packer:create", "bee").code == 0
    monkeypatch.setenv("NODEPKG_PACKER", "there-is-none")
    done = run("packer:run", "--json")
    assert done.code == 6
    told = {image["group"]: image["error"] for image in json.loads(done.out)["images"]}
    assert "there-is-none" in told["bee"]
    assert "packer/wasp.json" in told["wasp"]


def test_of_a_build_that_was_killed_it_is_told_what_removes_it(
    run: Run, world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """EC2 shows nothing of it yet."""
    assert world
    packer = tmp_path / "packer-stub"
    packer.write_text(
        '#!/bin/sh\n[ "$1" = version ] && echo Packer v1.16.0 && exit\n[ "$1" = build ] || exec echo '
        "/x/packer-plugin-amazon_v1.8.3_x5.0_linux_amd64\nkill -9 $$\n"
    )
    packer.chmod(0o755)
    monkeypatch.setenv("NODEPKG_PACKER", str(packer))
    assert run("role:create").code == run("packer:create").code == 0
    done = run("packer:run", "bee")
    assert done.code == 6
    (build,) = [path.stem for path in (tmp_path / ".nodepkg" / "builds").glob("*.json")]
    assert f"package packer:sweep --build {build}" in done.err
