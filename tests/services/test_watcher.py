"""The watcher with an etcd that answers as it is told: what it makes of failures."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import suppress

from nodepkg.clients.etcd.client import Etcd
from nodepkg.clients.etcd.values import Changes, Listing
from nodepkg.errors import CompactedError, NodepkgError, RefusedError, ToolError, UnreachableError
from nodepkg.services.entries import Keys
from nodepkg.services.view import View
from nodepkg.services.watcher import Watcher

KEYS = Keys("/nodepkg")
LOST = UnreachableError("etcd does not answer")


class Scripted(Etcd):
    """Its lists and its watches end with these errors, one after the other; None is a list that is answered."""

    def __init__(self, *errors: NodepkgError | None) -> None:
        super().__init__(["http://127.0.0.1:1"])
        self._script: Iterator[NodepkgError | None] = iter(errors)

    async def range(self, prefix: str) -> Listing:
        self._end(next(self._script, asyncio.CancelledError()))
        return Listing(7, ())

    async def watch(self, prefix: str, from_revision: int, *, silence: float = 30.0) -> AsyncGenerator[Changes]:
        self._end(next(self._script, asyncio.CancelledError()))
        yield Changes(from_revision, ())

    @staticmethod
    def _end(error: BaseException | None) -> None:
        if error:
            raise error


def follow(*errors: NodepkgError | None) -> tuple[list[int], list[str]]:
    """After how many failures it waited each time, and what it told."""
    waited: list[int] = []
    told: list[str] = []

    def pause(failures: int) -> float:
        waited.append(failures)
        return 0.0

    async def work(tell: Callable[..., None]) -> None:
        view = View(KEYS)
        watcher = Watcher(Scripted(*errors), view, [KEYS.all_leaving], lambda: None, tell, pause=pause)
        with suppress(asyncio.CancelledError):
            await watcher.run()

    asyncio.run(work(lambda event, /, **_: told.append(event)))
    return waited, told


def test_a_registry_that_was_back_begins_to_be_waited_for_anew() -> None:
    waited, told = follow(LOST, LOST, LOST, None, LOST, None, LOST)
    assert waited == [1, 2, 3, 1, 1]
    assert told == ["registry lost", "registry back", "registry lost", "registry back", "registry lost"]


def test_what_etcd_refuses_and_files_that_cannot_be_used_are_told_and_waited_for() -> None:
    waited, told = follow(ToolError("permission denied"), RefusedError("ca.pem: cannot be used"), None, LOST)
    assert waited == [1, 2, 1]
    assert told == ["registry lost", "registry back", "registry lost"]


def test_compactions_that_do_not_end_are_no_busy_loop() -> None:
    gone = CompactedError("has been compacted")
    assert follow(gone, gone, None, gone) == ([1, 2, 1], ["compacted"] * 3)
