"""When a node converges for its services: once for each burst of changes, and never with what is doubted."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Protocol

from nodepkg.errors import NodepkgError, RefusedError
from nodepkg.services.collect import maps, wanted
from nodepkg.services.state import State, StateFile
from nodepkg.services.terms import Terms, Where
from nodepkg.services.told import Tell, backoff
from nodepkg.services.view import Belief, Quiet, View

MOST_RETRY_SECONDS = 900.0
RETRY_SECONDS = 60.0  # for what could not be written, where nothing else happens
END_SECONDS = 10.0  # of a slot's time, for telling how it went
Maps = Mapping[str, Any]


class Slot(Protocol):
    """The right to converge, as one of a few nodes of the group."""

    @property
    def canary(self) -> bool: ...

    @property
    def lease(self) -> int: ...

    @property
    def deadline(self) -> float: ...

    async def release(self, *, healthy: bool | None) -> object: ...


@dataclass(frozen=True)
class Means:
    """What a converger does its work with.

    `take` waits for a slot for the change of a revision, `idle` until nothing else converges on the node. `run`
    converges once, by a token, with these maps, and tells what is wrong, "" for nothing; it raises TimeoutError if
    there is not the time for it before the slot's deadline. `ended` tells what became of the run of a token, None if
    nobody knows; `give_back` ends the slot of a lease; `give_up` lets another node be the canary, False if that could
    not be told; `forget` is for services that were to be deleted and are; `well` waits until the services of the node
    are well again; `acknowledge` tells the registry up to where everything is heeded.
    """

    take: Callable[[int], Awaitable[Slot]]
    idle: Callable[[], Awaitable[None]]
    run: Callable[[str, Maps, float], Awaitable[str]]
    ended: Callable[[str], Awaitable[str | None]]
    give_back: Callable[[int], Awaitable[None]]
    give_up: Callable[[], Awaitable[bool]]
    forget: Callable[[], Awaitable[None]]
    well: Callable[[], Awaitable[object]]
    acknowledge: Callable[[int], None]
    tell: Tell
    clock: Callable[[], float]
    jitter: Callable[[float], float]


class Converger:
    """Compares what the registry gives with what the last converge was given, and closes the gap."""

    def __init__(self, terms: Terms, own: Mapping[str, Where], view: View, file: StateFile, means: Means) -> None:
        self._terms = terms
        self._own = own
        self._view = view
        self._file = file
        self._means = means
        self._changed = asyncio.Event()
        self._quiet = Quiet(terms.debounce, terms.most_debounce)
        self._shown: Maps | None = None
        self._revision = 0
        self._failures = 0
        self._not_before = 0.0
        self._told_doubts: frozenset[str] = frozenset()
        # As a canary that failed; a reload, or an agent that was killed, may have left it so.
        self._holds_others = True
        self._unwritten = False
        self.state = file.read()
        self.beliefs = {
            name: Belief(terms.min_providers, terms.doubt, dict(self.state.good.get(name, {})))
            for name in wanted(terms)
        }

    def remember_services(self, provided: tuple[str, ...], retiring: tuple[str, ...]) -> None:
        """Which services are announced, and which have been taken away and are to be deleted by the next converge."""
        if (provided, retiring) != (self.state.provided, self.state.retiring):
            self._remember(replace(self.state, provided=provided, retiring=retiring))

    def look_again(self) -> None:
        """The view has changed. Who leaves, and is not used here, is acknowledged also while a slot is waited for."""
        self._changed.set()
        if self._uses_none_that_leave():
            self._means.acknowledge(self._view.heard)

    def _uses_none_that_leave(self) -> bool:
        """As far as it is known: what a converge was given that runs, or has failed, may be in use as well."""
        if self.state.attributes is None or self.state.run or self._failures:
            return False
        given = self.state.attributes.get("services", {})
        leaving = [
            (name, one)
            for name in self._terms.requires
            for instance, one in self._view.present(name).items()
            if instance in self._view.leavers(name)
        ]
        return not any({"host": one.address, "port": one.port} in given.get(name, []) for name, one in leaving)

    def look(self, now: float) -> Maps:
        """What a converge would be given now."""
        for name, belief in self.beliefs.items():
            belief.look(self._view.present(name), self._view.leavers(name), now)
        used = {name: belief.used for name, belief in self.beliefs.items()}
        return maps(self._terms, used, self._own, self.state.retiring)

    async def run(self) -> None:
        """Never returns. What is seen has to be whole before."""
        failures = 0
        while True:
            try:
                await self._recover()
                await self._step()
                failures = 0
            except NodepkgError as error:  # of etcd, or of the disk
                failures += 1
                if failures == 1:
                    self._means.tell("cannot converge", why=error.message)
                await asyncio.sleep(backoff(failures))

    async def _step(self) -> None:
        self._changed.clear()
        due = self._due(self._means.clock())
        if due is not None and due <= self._means.clock():
            await self._converge()
            return
        if self._holds_others and due is None:
            self._holds_others = not await self._means.give_up()
            due = self._means.clock() + RETRY_SECONDS if self._holds_others else None
        await self._wait(due)

    def _due(self, now: float) -> float | None:
        """When there is something to do; None if only a change can bring that."""
        found = self.look(now)
        self._tell_doubts()
        if self._is_applied(found):
            self._settle(found)
            return self._next_look(now)
        if self._shown is None or not self._is_same(found, self._shown):
            self._shown, self._revision = found, self._view.revision
            self._quiet.changed(now + self._means.jitter(self._terms.debounce))
        due = self._quiet.due
        return max(due if due is not None else now, self._not_before)

    def _is_applied(self, found: Maps) -> bool:
        """Whether the last converge that succeeded was given the same, of all that this node is to converge for."""
        return self.state.attributes is not None and self._is_same(found, self.state.attributes)

    def _is_same(self, found: Maps, other: Maps) -> bool:
        """Of what a node only provides it is told who else does, but it does not converge for that."""
        required = self._terms.requires
        lists = [{name: one.get("services", {}).get(name) for name in required} for one in (found, other)]
        return lists[0] == lists[1] and found.get("available") == other.get("available")

    def _settle(self, found: Maps) -> None:
        """Nothing is to be done for what is seen."""
        self._shown, self._failures, self._not_before = found, 0, 0.0
        self._quiet.settled()
        self._means.acknowledge(self._view.heard)
        believed = self.state.believed(self.beliefs)
        if believed.good != self.state.good or self._unwritten:
            self._remember(believed)

    def _next_look(self, now: float) -> float | None:
        """When to look again even if nothing changes."""
        dues = [due for belief in self.beliefs.values() if (due := belief.due) is not None]
        return min([*dues, now + RETRY_SECONDS] if self._unwritten else dues, default=None)

    async def _wait(self, due: float | None) -> None:
        seconds = None if due is None else max(due - self._means.clock(), 0.0)
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()

    async def _converge(self) -> None:
        await self._means.idle()
        slot = await self._means.take(self._revision)
        found, heard = self.look(self._means.clock()), self._view.heard
        if self._is_applied(found):
            await slot.release(healthy=None)
            return
        self._shown = found
        self._quiet.settled()
        token = secrets.token_hex(8)
        self._remember(replace(self.state.believed(self.beliefs), run=token, run_attributes=found, run_slot=slot.lease))
        self._means.tell("converging", canary=slot.canary, revision=self._revision)
        # Whoever is ended here leaves the slot to the next agent, since the converge goes on without it.
        try:
            problem = await self._means.run(token, found, slot.deadline)
        except TimeoutError:
            self._remember(self.state.idle)
            await slot.release(healthy=None)
            return
        retired = self.state.retiring
        self._end(problem, found)
        healthy = not problem
        if healthy:
            self._means.acknowledge(heard)
            if retired:
                await self._means.forget()
            self._holds_others = False
            healthy = not slot.canary or await self._is_well(slot)
        self._holds_others = slot.canary and (self._holds_others or not healthy)
        await slot.release(healthy=healthy)

    async def _is_well(self, slot: Slot) -> bool:
        """Waits until the services of a canary are well; False if there is something new to converge for before.

        If that takes longer than its slot lasts it is a canary that failed, until it is well: the others wait on.
        """
        well = asyncio.ensure_future(self._means.well())
        failed = False
        try:
            while not well.done():
                self._changed.clear()
                if not self._is_applied(self.look(self._means.clock())):
                    self._means.tell("not well", why="and what it needs has changed meanwhile")
                    return False
                left = None if failed else max(slot.deadline - END_SECONDS - self._means.clock(), 0.0)
                changed = asyncio.ensure_future(self._changed.wait())
                done, _ = await asyncio.wait((well, changed), timeout=left, return_when=asyncio.FIRST_COMPLETED)
                changed.cancel()
                if not done and not failed:
                    failed = self._holds_others = True
                    self._means.tell("not well", why="for as long as its slot lasts: the others of the group wait")
                    await slot.release(healthy=False)
            return True
        finally:
            well.cancel()

    def _end(self, problem: str, found: Maps) -> None:
        """Writes down what became of a converge."""
        if problem:
            self._failures += 1
            seconds = backoff(self._failures + 4, most=MOST_RETRY_SECONDS)
            self._not_before = self._means.clock() + seconds
            self._remember(self.state.idle)
            self._means.tell("converge failed", why=problem, again_in=round(seconds))
            return
        self._failures, self._not_before = 0, 0.0
        available = found.get("available", {})
        retiring = tuple(name for name in self.state.retiring if available.get(name) is not False)
        attributes = {**found, "available": {name: there for name, there in available.items() if there}}
        self._remember(replace(self.state.idle, attributes=attributes, retiring=retiring))
        self._means.tell("converged", revision=self._revision)

    async def _recover(self) -> None:
        """A converge that an agent before this one had begun: its result counts if it is known."""
        if self.state.run:
            slot = self.state.run_slot
            problem = await self._means.ended(self.state.run)
            self._means.tell("converge of before", result="not known" if problem is None else problem or "succeeded")
            if problem is None or self.state.run_attributes is None:
                self._remember(self.state.idle)
            else:
                self._end(problem, self.state.run_attributes)
            await self._means.give_back(slot)

    def _tell_doubts(self) -> None:
        doubts = frozenset(name for name, belief in self.beliefs.items() if belief.doubted)
        for name in sorted(doubts - self._told_doubts):
            belief = self.beliefs[name]
            self._means.tell(
                "doubted", service=name, left=len(belief.left), kept=len(belief.good), seconds=self._terms.doubt
            )
        for name in sorted(self._told_doubts - doubts):
            self._means.tell("believed", service=name, providers=len(self.beliefs[name].used))
        self._told_doubts = doubts

    def _remember(self, state: State) -> None:
        """Without it the next agent converges once more, so a disk that is full stops nothing."""
        self.state = state
        try:
            self._file.write(state)
            self._unwritten = False
        except RefusedError as error:
            if not self._unwritten:
                self._means.tell("not remembered", why=error.message)
            self._unwritten = True
