"""The converger with means that fail: it goes on, leaves nothing behind, and does not spin."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nodepkg.errors import NodepkgError, RefusedError, ToolError
from nodepkg.services.converger import Converger, Maps, Means
from nodepkg.services.entries import Keys, Leaving, written
from nodepkg.services.state import State, StateFile
from nodepkg.services.view import View
from tests.services.nodes import provider, terms


class FullDisk(StateFile):
    """Where nothing can be written for a while."""

    full = True

    def write(self, state: State) -> None:
        if self.full:
            raise RefusedError(f"{self.path} cannot be written: No space left on device")
        super().write(state)


@dataclass
class Turn:
    """A slot, and how it was given back."""

    canary: bool = False
    lease: int = 7
    deadline: float = 1e9
    released: list[bool | None] = field(default_factory=list)

    async def release(self, *, healthy: bool | None) -> bool:
        self.released.append(healthy)
        return True


@dataclass
class World:
    """What a converger is given. `fails` are raised by `idle`, one after the other."""

    fails: list[NodepkgError] = field(default_factory=list)
    gives_up: list[bool] = field(default_factory=list)
    slot: Turn = field(default_factory=Turn)
    ran: list[Maps] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    acknowledge: Callable[[int], None] = lambda revision: None

    async def idle(self) -> None:
        if self.fails:
            raise self.fails.pop(0)

    async def run(self, token: str, found: Maps, deadline: float) -> str:
        self.ran.append(found)
        return ""

    async def take(self, revision: int) -> Turn:
        return self.slot

    async def give_up(self) -> bool:
        return self.gives_up.pop(0) if self.gives_up else True

    async def well(self) -> object:
        return None

    async def nothing(self, *_: Any) -> None:
        return None

    def means(self) -> Means:
        return Means(
            take=self.take,
            idle=self.idle,
            run=self.run,
            ended=self.nothing,
            give_back=self.nothing,
            give_up=self.give_up,
            forget=self.nothing,
            well=self.well,
            acknowledge=self.acknowledge,
            tell=lambda event, /, **facts: self.events.append(event),
            clock=asyncio.get_running_loop().time,
            jitter=lambda seconds: 0.0,
        )


def converge(world: World, file: StateFile, until: Callable[[Converger], bool], view: View | None = None) -> None:
    """Runs one until this holds."""

    async def work() -> None:
        made = Converger(terms(requires=("api",), debounce=0), {}, view or View(Keys("/nodepkg")), file, world.means())
        running = asyncio.create_task(made.run())
        async with asyncio.timeout(60):
            while not until(made) and not running.done():
                await asyncio.sleep(0.01)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert running.cancelled()

    asyncio.run(work())


def test_what_fails_beside_the_converge_is_told_once_and_tried_again(tmp_path: Path) -> None:
    world = World([ToolError("/var/lib/nodepkg: Read-only file system"), RefusedError("ca.pem cannot be used")])
    converge(world, StateFile(tmp_path), lambda made: bool(world.slot.released))
    assert world.events == ["cannot converge", "converging", "converged"]
    assert len(world.ran) == 1
    assert StateFile(tmp_path).read().attributes == world.ran[0]


def test_a_disk_that_is_full_stops_no_converge_and_is_written_when_it_is_not(tmp_path: Path) -> None:
    world, file = World(), FullDisk(tmp_path)

    def done(made: Converger) -> bool:
        if world.slot.released and file.full:
            file.full = False
            made.look_again()
        return file.path.exists()

    converge(world, file, done)
    assert world.events == ["not remembered", "converging", "converged"]
    assert world.slot.released == [True]
    assert file.read().attributes == world.ran[0]


def test_a_canary_that_failed_before_a_reload_lets_others_be_it_when_it_has_nothing_to_do(tmp_path: Path) -> None:
    world = World()
    converge(world, StateFile(tmp_path), lambda made: bool(world.slot.released))
    given_up: list[int] = []

    async def give_up() -> bool:
        given_up.append(1)
        return True

    again = World()
    again.give_up = give_up  # type: ignore[method-assign]
    converge(again, StateFile(tmp_path), lambda made: bool(given_up))
    assert again.ran == []


def test_a_canary_that_does_not_get_well_holds_the_others_until_it_does(tmp_path: Path) -> None:
    """Its slot has an end, and without it another would be the canary of what has already gone wrong."""
    world, well = World(slot=Turn(canary=True, deadline=0.0)), asyncio.Event()
    given_up: list[list[bool | None]] = []
    held: list[bool] = []

    async def give_up() -> bool:
        given_up.append([*world.slot.released])
        return True

    world.give_up, world.well = give_up, well.wait  # type: ignore[method-assign]

    def done(made: Converger) -> bool:
        if world.slot.released:
            held.append(not given_up)
            well.set()
        return bool(given_up)

    converge(world, StateFile(tmp_path), done)
    assert world.slot.released == [False, True]
    assert given_up == [[False, True]]
    assert held[0]
    assert world.events == ["converging", "converged", "not well"]


def test_who_leaves_and_was_never_used_is_acknowledged_while_a_slot_is_waited_for(tmp_path: Path) -> None:
    """A slot may come long after whoever leaves has lost patience; who was used has to wait for it."""
    keys = Keys("/nodepkg")
    view, world, acknowledged = View(keys), World(), list[int]()
    view.put(keys.provider("api", "i-1"), written(provider("i-1")), 1)
    converge(world, StateFile(tmp_path), lambda made: bool(world.slot.released), view)
    assert world.ran[0]["services"] == {"api": [{"host": "host-i-1", "port": 8080}]}

    async def never(revision: int) -> Turn:
        await asyncio.Event().wait()
        raise AssertionError

    waiting = World(acknowledge=acknowledged.append)
    waiting.take = never  # type: ignore[method-assign]

    def done(made: Converger) -> bool:
        for number, (name, leaver) in enumerate([("i-2", "i-2"), ("i-3", "i-1")]):
            view.put(keys.provider("api", name), written(provider(name)), 10 * number + 2)
            made.look_again()
            view.put(keys.leaving(leaver), written(Leaving(leaver, "ann", "t")), 10 * number + 3)
            made.look_again()
        return True

    converge(waiting, StateFile(tmp_path), done, view)
    assert max(acknowledged) == 3
    assert view.heard == 13
