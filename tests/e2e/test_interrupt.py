"""Ctrl-C in the middle of a build: Packer gets the time to remove what it made."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nodepkg.sandbox import process
from tests.e2e.program import Program
from tests.e2e.test_build import client, reach, seed
from tests.packers import each_packer
from tests.rig.sshd import node


@each_packer
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_packer_removes_its_temporary_resources(
    on_aws: Program, aws: process.Sandbox, tmp_path: Path, packer: str, number: signal.Signals
) -> None:
    seed(aws)
    with node(tmp_path, address="127.0.0.1") as host:
        reach(on_aws.folder, host, aws.endpoint)
        nodes = json.loads((on_aws.folder / "nodes.json").read_text())
        nodes["12_04-bee"]["packer"] = {"chef": {"command": "touch /tmp/began; sleep 60"}}
        (on_aws.folder / "nodes.json").write_text(json.dumps(nodes))
        on_aws("group:create")
        command = [sys.executable, "-m", "nodepkg", "packer:run", "12_04-bee"]
        environ = {**on_aws.environ, "NODEPKG_PACKER": packer}
        with subprocess.Popen(command, cwd=on_aws.folder, env=environ, stderr=subprocess.PIPE, text=True) as running:
            deadline = time.monotonic() + 120
            while not host.path("/tmp/began").exists():
                assert time.monotonic() < deadline, "the converge never began"
                assert running.poll() is None
                time.sleep(0.1)
            running.send_signal(number)
            _, told = running.communicate(timeout=120)
    assert running.returncode == 130, told
    ec2 = client(aws)
    states = {
        instance["State"]["Name"]
        for reservation in ec2.describe_instances()["Reservations"]
        for instance in reservation["Instances"]
    }
    assert states == {"terminated"}
    assert ec2.describe_key_pairs()["KeyPairs"] == []
    assert ec2.describe_images(Owners=["self"])["Images"] == []


def test_a_terminal_is_asked_before_images_go(package: Program) -> None:
    """On a terminal packer:clean asks, and anything but yes changes nothing."""
    package("group:create")
    package("packer:run", "12_04-bee", "--sandbox")
    command = [sys.executable, "-m", "nodepkg", "packer:clean", "12_04-bee", "-n", "0", "--sandbox"]
    for answer, code in ((b"n\n", 4), (b"y\n", 0)):
        ours, theirs = pty.openpty()
        with subprocess.Popen(
            command, cwd=package.folder, env=package.environ, stdin=theirs, stdout=theirs, stderr=theirs
        ) as asked:
            os.close(theirs)
            os.write(ours, answer)
            shown = b""
            try:
                while chunk := os.read(ours, 4096):
                    shown += chunk
            except OSError:  # how Linux says that the other end of a terminal is gone
                pass
        os.close(ours)
        assert asked.returncode == code, shown
        assert b"[y/N]" in shown
