"""Every way in which a process may end: one that is forked where it is killed tries each, and the process goes on."""

import os
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from tests.fleets import FleetAccount, Killed, Rig

READS = ("Describe", "Get", "List", "Head")


class MortalAccount(FleetAccount):
    """Of a process that may end `before` and `after` each changing request; then it sends nothing any more.

    `passes` is asked at each with the number of the request (from 1), its operation, and which of both.
    """

    passes: Callable[[int, str, str], bool] = staticmethod(lambda *_: True)
    changes = 0
    dead = False

    def _count(self, event_name: str, **event: Any) -> None:
        operation = event_name.rpartition(".")[2]
        self._live_on()
        super()._count(event_name, **event)
        if not operation.startswith(READS):
            self.changes += 1
            self._meet(operation, "before")

    def _came_back(self, event_name: str, **event: Any) -> None:
        self._live_on()
        super()._came_back(event_name, **event)
        operation = event_name.rpartition(".")[2]
        if not operation.startswith(READS):
            self._meet(operation, "after")

    def _meet(self, operation: str, when: str) -> None:
        self.dead = not self.passes(self.changes, operation, when)
        self._live_on()

    def _live_on(self) -> None:
        if self.dead:
            raise Killed(f"at change {self.changes}")


@dataclass
class Ends:
    """What came of each end: its point, and what was wrong, "" for nothing."""

    outcomes: dict[str, str] = field(default_factory=dict)

    @property
    def wrong(self) -> str:
        return "\n\n".join(f"{point}: {told}" for point, told in self.outcomes.items() if told)


class OnRig(Protocol):
    """What happens on a rig."""

    @property
    def rig(self) -> Rig: ...


def mortal(scene: OnRig) -> MortalAccount:
    return MortalAccount(scene.rig.endpoint, scene.rig.clock, scene.rig.direct)


def each_end(
    scene: OnRig,
    first: Callable[[FleetAccount], object],
    then: Callable[[], object],
    chosen: Callable[[int, str, str], bool],
) -> Ends:
    """`first` is carried out, and at each of its points that is chosen also cut off there; `then` follows that."""
    ends, account, branch = Ends(), mortal(scene), 0

    def passes(number: int, operation: str, when: str) -> bool:
        nonlocal branch
        if branch or not chosen(number, operation, when):
            return True
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            os.close(reading)
            branch = writing
            return False
        os.close(writing)
        with os.fdopen(reading) as told:
            ends.outcomes[f"{when} change {number}, {operation}"] = told.read().removesuffix("\0ended")
        os.waitpid(child, 0)
        return True

    account.passes = passes
    try:
        first(account)
    except BaseException:
        if not branch:
            raise
        _try(then, branch)
    return ends


def _try(then: Callable[[], object], report: int) -> None:
    """Says what went wrong, and ends this process without any of what pytest does at its end."""
    try:
        then()
        told = ""
    except BaseException:  # noqa: BLE001 - a failed assertion, too, is told by who has forked
        told = traceback.format_exc()
    os.write(report, told[-3000:].encode())
    os._exit(0)
