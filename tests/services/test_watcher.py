"""The watcher with an etcd that answers as it is told: what it makes of failures."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import suppress

from nodepkg.clients.etcd.client import Etcd
from nodepkg.clients.etcd.values import Changes, Listing
from nodepkg.errors import CompactedError, NodepkgError, RefusedError, ToolError, UnreachableError
from nodepkg.services.entries import Keys
from nodepkg.services.told import Tell
from nodepkg.services.view import View
from nodepkg.services.watcher import Watcher

KEYS = Keys("/nodepkg")
LOST = UnreachableError("etcd does not answer")


class Clock(asyncio.SelectorEventLoop):
    """A loop whose time can be put on."""

    ahead = 0.0

    def time(self) -> float:
        return super().time() + self.ahead


class Scripted(Etcd):
    """Its lists and its watches end with these errors, one after the other; a number is a watch that lasts so long."""

    def __init__(self, clock: Clock, *script: NodepkgError | float | None) -> None:
        super().__init__(["http://127.0.0.1:1"])
        self._clock = clock
        self._script: Iterator[NodepkgError | float | None] = iter(script)

    async def range(self, prefix: str | tuple[str, ...]) -> Listing:
        self._go_on()
        return Listing(7, ())

    async def watch(
        self, prefix: str | tuple[str, ...], from_revision: int, *, silence: float = 30.0
    ) -> AsyncGenerator[Changes]:
        self._go_on()
        yield Changes(from_revision, ())
        self._go_on()

    def _go_on(self) -> None:
        match next(self._script, asyncio.CancelledError()):
            case float(seconds):
                self._clock.ahead += seconds
            case BaseException() as error:
                raise error


def follow(*script: NodepkgError | float | None) -> tuple[list[int], list[str]]:
    """After how many failures it waited each time, and what it told."""
    waited: list[int] = []
    told: list[str] = []
    clock = Clock()

    def pause(failures: int) -> float:
        waited.append(failures)
        return 0.0

    async def work(tell: Tell) -> None:
        etcd = Scripted(clock, *script)
        watcher = Watcher(etcd, View(KEYS), [KEYS.all_leaving], lambda: None, tell, pause=pause)
        with suppress(asyncio.CancelledError):
            await watcher.run()

    with asyncio.Runner(loop_factory=lambda: clock) as runner:
        runner.run(work(lambda event, /, **_: told.append(event)))
    return waited, told


def test_a_registry_that_was_back_for_a_while_begins_to_be_waited_for_anew() -> None:
    waited, told = follow(LOST, LOST, None, LOST, None, 31.0, LOST, None, LOST)
    assert waited == [1, 2, 3, 1, 2]
    assert told == ["registry lost", *["registry back", "registry lost"] * 3]


def test_what_etcd_refuses_and_files_that_cannot_be_used_are_told_and_waited_for() -> None:
    waited, told = follow(ToolError("permission denied"), RefusedError("ca.pem: cannot be used"), None, 31.0, LOST)
    assert waited == [1, 2, 1]
    assert told == ["registry lost", "registry back", "registry lost"]


def test_compactions_that_do_not_end_are_no_busy_loop() -> None:
    gone = CompactedError("has been compacted")
    assert follow(gone, gone, None, gone) == ([1, 2, 3], ["compacted"] * 3)
