"""packer:sweep when AWS or the machine fails at any of its calls: what lives stays, and a second run finishes."""

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nodepkg.clients.aws.account import Account
from nodepkg.errors import AwsError
from nodepkg.sandbox.environment import child_environment
from nodepkg.sandbox.front import Layer
from tests.e2e.program import CLEAN
from tests.faults import aws, cut_page, fail, kill_at, lose_replies, slow_termination, throttle
from tests.images.test_sweep import World

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

LISTS = ("DescribeInstances", "DescribeSecurityGroups", "DescribeKeyPairs")
CHANGES = ("CreateTags", "TerminateInstances", "DeleteSecurityGroup", "DeleteKeyPair")
FAULTS: list[Callable[[str], Layer]] = [
    lambda action: throttle(action, 1),
    lambda action: fail(action, 1),
    lose_replies,
]


def when(armed: threading.Event, fault: Layer) -> Layer:
    """The fault as soon as the event is set: the world is made without it."""

    def around(app: "WSGIApplication") -> "WSGIApplication":
        faulty = fault(app)

        def respond(environ: "WSGIEnvironment", start_response: "StartResponse") -> "Iterable[bytes]":
            return (faulty if armed.is_set() else app)(environ, start_response)

        return respond

    return around


class Fleet:
    """A world with one build that has ended, one that lives, and things of others."""

    def __init__(self, account: Account, folder: Path) -> None:
        self.world = World(account, folder)
        ended, living = self.world.build(1), self.world.build(2)
        self.world.ended(ended)
        self._entry = self.world.journal.begin(self.world.record(living))
        self.gone = set(self.world.everything_of(ended))
        self.world.everything_of(living)
        self.world.key_pair("theirs")
        self.world.instance(self.world.group("theirs"), **{"nodepkg:build": "by hand, and not managed"})
        self.kept = set(self.world.left()) - self.gone

    def close(self) -> None:
        self._entry.close()


@pytest.fixture
def armed() -> threading.Event:
    return threading.Event()


@pytest.mark.parametrize("fault", FAULTS, ids=["throttled", "failed", "lost"])
@pytest.mark.parametrize("action", LISTS + CHANGES)
def test_what_fails_once_is_done_all_the_same(
    tmp_path: Path, armed: threading.Event, action: str, fault: Callable[[str], Layer]
) -> None:
    with aws(when(armed, fault(action))) as account, closing(Fleet(account, tmp_path)) as fleet:
        armed.set()
        assert set(fleet.world.swept()) == fleet.gone
        assert set(fleet.world.left()) == fleet.kept


@pytest.mark.parametrize("action", LISTS)
def test_a_list_that_breaks_off_removes_nothing(tmp_path: Path, armed: threading.Event, action: str) -> None:
    with aws(when(armed, cut_page(action))) as account, closing(Fleet(account, tmp_path)) as fleet:
        armed.set()
        with pytest.raises(AwsError):
            fleet.world.swept()
        armed.clear()
        assert set(fleet.world.left()) == fleet.kept | fleet.gone
        assert set(fleet.world.swept()) == fleet.gone


def sweep(account: Account, folder: Path) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "nodepkg", "packer:sweep", "--older-than", "0s", "--poll", "0.1", "--yes", "-q"]
    return subprocess.Popen(command, cwd=folder, env=child_environment(CLEAN, str(account.endpoint)))


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("action", CHANGES)
def test_a_sweep_that_is_killed_is_finished_by_the_next(tmp_path: Path, action: str, after: bool) -> None:
    (tmp_path / "nodes.json").write_text('{"bee": {"run_list": ["x"], "source_ami": "ami-1ebb2077"}}')
    running: list[subprocess.Popen[bytes]] = []
    armed = threading.Event()
    with (
        aws(when(armed, kill_at(1, lambda: running[0].pid, after=after, action=action))) as account,
        closing(Fleet(account, tmp_path)) as fleet,
    ):
        armed.set()
        running.append(sweep(account, tmp_path))
        assert running[0].wait(60) == -signal.SIGKILL
        assert fleet.kept <= set(fleet.world.left())
        assert sweep(account, tmp_path).wait(60) == 0
        assert set(fleet.world.left()) == fleet.kept


def test_two_sweeps_at_once_do_no_harm(tmp_path: Path) -> None:
    (tmp_path / "nodes.json").write_text('{"bee": {"run_list": ["x"], "source_ami": "ami-1ebb2077"}}')
    with aws(slow_termination(5)) as account, closing(Fleet(account, tmp_path)) as fleet:
        both = [sweep(account, tmp_path) for _ in range(2)]
        assert [one.wait(60) for one in both] == [0, 0]
        assert set(fleet.world.left()) == fleet.kept
