"""packer:clean and packer:delete as processes: killed, interrupted, two at once, and asked on a terminal."""

import json
import os
import pty
import signal
import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path

import pytest
from werkzeug.wrappers import Response

from nodepkg.clients.aws.account import Account
from nodepkg.sandbox.calls import Call
from nodepkg.sandbox.throttling import Throttling, latency
from tests.e2e.program import CLEAN
from tests.faults import aws, kill_at
from tests.faults.layers import Onward, layer
from tests.images.test_clean_faults import ACTIONS, LISTS, Fleet, clean_up
from tests.images.test_removal import left, without_delete_associated
from tests.projects import make_project
from tests.worlds import World

NODES = {"bee": {"run_list": ["recipe[x]"], "source_ami": "ami-1ebb2077"}}


class Programs:
    """`package` in a project of one group, with an account; `pid` is the process that was started last."""

    def __init__(self, folder: Path) -> None:
        make_project(folder, NODES)
        self.folder = folder
        self.pid = 0
        self.environ = {**CLEAN, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}

    def start(self, account: Account, *arguments: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-m", "nodepkg", *arguments],
            cwd=self.folder,
            env={**self.environ, "AWS_ENDPOINT_URL": str(account.endpoint)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.pid = process.pid
        return process

    def run(self, account: Account, *arguments: str) -> tuple[int, str, str]:
        with self.start(account, *arguments) as process:
            out, err = process.communicate(timeout=120)
        return process.returncode, out, err


@pytest.fixture
def programs(tmp_path: Path) -> Programs:
    return Programs(tmp_path)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(
    ("action", "n"), [*((action, 1) for action in ACTIONS), ("DeregisterImage", 3), ("DeleteSnapshot", 3)]
)
def test_a_clean_up_that_is_killed_is_finished_by_the_next(
    programs: Programs, action: str, n: int, after: bool
) -> None:
    kill = kill_at(n, lambda: programs.pid, action=action, after=after)
    with aws(without_delete_associated, kill) as account:
        fleet = Fleet()
        code, _, told = programs.run(account, "packer:clean", "-n", "1", "--yes")
        assert code == -signal.SIGKILL, told
        assert fleet.spared()
        assert action not in LISTS or fleet.doomed <= left(fleet.world)[0]
        clean_up(account, fleet.world)
        assert fleet.clean()


class InterruptAt:
    """Layer that sends a process SIGINT while its n-th deregistration is under way."""

    def __init__(self, programs: Programs, n: int, number: signal.Signals) -> None:
        self._programs, self._left, self._number = programs, n, number

    def __call__(self, call: Call, onward: Onward) -> Response:
        self._left -= call.action == "DeregisterImage"
        if call.action == "DeregisterImage" and self._left == 0:
            os.kill(self._programs.pid, self._number)
        return onward()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_it_and_what_was_done_is_reported(programs: Programs, number: signal.Signals) -> None:
    with aws(latency(0.05), layer(InterruptAt(programs, 5, number))) as account:
        world = World()
        images = set(world.images("bee", 80))
        code, out, told = programs.run(account, "packer:clean", "-n", "0", "--yes", "--json")
        assert code == 130, told
        document = json.loads(out)
        gone = {report["image"] for report in document["deleted"]}
        assert gone == images - left(world)[0]
        assert 5 <= len(gone) < 80
        assert document["frees_gb"] == 8 * len(gone)
        assert programs.run(account, "packer:clean", "-n", "0", "--yes")[0] == 0
        assert left(world)[0] == set()


class Meeting:
    """Layer that lets nobody deregister before two have listed the images."""

    def __init__(self) -> None:
        self._lists, self._met = 0, threading.Event()

    def __call__(self, call: Call, onward: Onward) -> Response:
        reply = onward()
        if call.action == "DescribeImages":
            self._lists += 1
            if self._lists == 2:
                self._met.set()
        elif call.action == "DescribeImageAttribute":
            assert self._met.wait(timeout=60)
        return reply


def test_two_at_once_do_no_harm(programs: Programs) -> None:
    calls = Throttling()
    with aws(latency(0.02), calls, layer(Meeting())) as account:
        world = World()
        images, used = world.images("bee", 60, snapshots=2), world.image("used", "bee", age=timedelta(days=99))
        world.instance(used)
        both = [programs.start(account, "packer:clean", "-n", "3", "--yes", "--json") for _ in range(2)]
        done = [(process.communicate(timeout=120), process.wait()) for process in both]
        assert [code for _, code in done] == [0, 0], done
        images_left, snapshots = left(world)
        assert images_left == {*images[-3:], used}
        assert len(snapshots) == 2 * 3 + 1 + 1  # and that of the image which was there before
        assert calls.calls["DeregisterImage"] > 57  # both were at it
        told = [{report["image"] for report in json.loads(out)["deleted"]} for (out, _), _ in done]
        assert told[0] | told[1] == set(images[:-3])


def typed(programs: Programs, account: Account, answer: bytes, *arguments: str) -> tuple[int, bytes]:
    """The exit code and what the terminal showed, after this answer."""
    ours, theirs = pty.openpty()
    environ = {**programs.environ, "AWS_ENDPOINT_URL": str(account.endpoint)}
    command = [sys.executable, "-m", "nodepkg", *arguments]
    with subprocess.Popen(
        command, cwd=programs.folder, env=environ, stdin=theirs, stdout=theirs, stderr=theirs
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
    return asked.returncode, shown


def test_a_group_is_deleted_only_if_its_name_is_typed(programs: Programs) -> None:
    with aws() as account:
        world = World()
        world.images("bee", 2)
        for answer, code in ((b"y\n", 4), (b"\n", 4), (b"beee\n", 4), (b"bee\n", 0)):
            assert len(left(world)[0]) == 2
            found, shown = typed(programs, account, answer, "packer:delete", "bee")
            assert found == code, shown
            assert b"type bee to confirm" in shown
        assert left(world)[0] == set()


def test_what_comes_into_use_while_the_question_stands_is_kept(programs: Programs) -> None:
    """The picture is taken anew after the answer, however young it is."""
    instances: list[str] = []

    def start_an_instance(call: Call, onward: Onward) -> Response:
        reply = onward()
        if call.action == "DescribeImageAttribute" and not instances:  # the last call before the question
            instances.append(World().instance(images[0]))
        return reply

    with aws(layer(start_an_instance)) as account:
        world = World()
        images = world.images("bee", 2)
        code, shown = typed(programs, account, b"y\n", "packer:clean", "-n", "1")
        assert code == 0, shown
        assert f"in use by {instances[0]}".encode() in shown
        assert left(world)[0] == set(images)
