"""packer:run on the command line, against an embedded AWS in this process."""

import json
import os
import subprocess
import sys

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
