"""An agent at work with one services.json, until that changes or the agent is ended."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

from nodepkg.clients.etcd.client import Etcd
from nodepkg.errors import LeaseGoneError, NodepkgError, RefusedError
from nodepkg.services import registry
from nodepkg.services.converge import GRACE_SECONDS, Converge, Ended, Result
from nodepkg.services.converger import Converger, Maps, Means, Slot
from nodepkg.services.dna import Dna
from nodepkg.services.entries import Keys, Leaving
from nodepkg.services.health import Health
from nodepkg.services.presence import Presence
from nodepkg.services.registry import AGENT, ENDING_SECONDS, ThisNode, Withdrawn
from nodepkg.services.slots import Slots
from nodepkg.services.state import StateFile
from nodepkg.services.terms import Terms, Where
from nodepkg.services.told import Tell, backoff
from nodepkg.services.view import View
from nodepkg.services.watcher import Watcher

LEASE_SECONDS = 0.1  # how often a lease is looked for that the node is about to have
# How long consumers get to acknowledge that a service has left the run list.
RETIRE_SECONDS = 120.0
# The converge's own `timeout -k 30`, and time for the supervisor to write down the end.
SLOT_MARGIN = 90


class Session:
    """All that an agent does, with some terms."""

    def __init__(
        self, etcd: Etcd, me: ThisNode, terms: Terms, *, home: Path, before: "Session | None", tell: Tell
    ) -> None:
        self._etcd, self._me, self.terms, self._tell = etcd, me, terms, tell
        self._keys = Keys(terms.location.prefix)
        self._converge = Converge(home, terms.path, terms.command, terms.timeout)
        self.view = View(self._keys)
        self.presence: Presence = Presence(
            etcd, me, terms, self._leaves, tell, before=before.presence if before else None
        )
        self._slots = Slots(etcd, self._keys, me, terms.at_once, int(terms.timeout) + SLOT_MARGIN, jitter=_spread)
        prefixes = [self._keys.providers(name) for name in self._watched()] + [self._keys.all_leaving]
        self.watcher = Watcher(etcd, self.view, prefixes, self._changed, tell)
        self.health: Health = Health(terms, self._well, tell, before=before.health if before else None)
        # Until it has been seen whether somebody has said that the node leaves, nothing is announced.
        self._leaving = True
        self.converger = Converger(terms, self._own(), self.view, StateFile(home), self._means())

    async def run(self) -> None:
        """Until it is cancelled."""
        self.presence.retiring = set(self._gone)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.presence.run())
            tasks.create_task(self.health.run())
            tasks.create_task(self.watcher.run())
            await self._until_it_works(self._begin)
            await self.watcher.listed.wait()
            if self.terms.requires or self.converger.state.retiring:
                tasks.create_task(self.converger.run())

    async def end(self, seconds: float) -> None:
        """Says that the node leaves, waits for those that use it, and takes it out. Never raises for the registry."""
        self._tell("leaving", services=self.terms.names)
        kept = asyncio.create_task(self.presence.keep())
        try:
            withdrawn = await self._withdraw(self._told(None), self.terms.names, seconds)
            self._tell("left", unacknowledged=withdrawn.unacknowledged)
        except NodepkgError as error:
            self._tell("not left", why=error.message)
        finally:
            kept.cancel()
            await asyncio.gather(kept, return_exceptions=True)
        with suppress(NodepkgError):
            await self.presence.end()

    async def _begin(self) -> None:
        """Takes back what an agent before this one said of its end, and takes away what has left the run list."""
        await registry.announced(self._etcd, self._keys, self._me, self.terms.names)
        await registry.unsay_leaving(self._etcd, self._keys, self._me.instance, by=AGENT)
        gone = self._gone
        if gone:
            self._tell("retiring", services=gone)
            await self._withdraw(self._told(tuple(gone)), gone, RETIRE_SECONDS)
            self.presence.retiring.clear()
        retiring = [name for name in (*self.converger.state.retiring, *gone) if name not in self.terms.names]
        self.converger.remember_services(tuple(self.terms.names), tuple(dict.fromkeys(retiring)))

    @property
    def _gone(self) -> list[str]:
        """What had been announced, and has left the run list."""
        return [name for name in self.converger.state.provided if name not in self.terms.names]

    async def _withdraw(self, told: Leaving, services: list[str], seconds: float) -> Withdrawn:
        return await registry.withdraw(
            self._etcd, self._keys, self._me, told, services, seconds=seconds, lasts=ENDING_SECONDS
        )

    async def _until_it_works(self, what: Callable[[], Awaitable[None]]) -> None:
        failures = 0
        while True:
            try:
                await what()
            except NodepkgError as error:
                failures += 1
                if failures == 1:
                    event = "refused" if isinstance(error, RefusedError) else "registry lost"
                    self._tell(event, why=error.message)
                await asyncio.sleep(backoff(failures))
            else:
                return

    def _watched(self) -> list[str]:
        """Its own services besides what it requires only if it converges at all."""
        own = self.terms.names if self.terms.requires else []
        return list(dict.fromkeys((*self.terms.requires, *own)))

    def _own(self) -> dict[str, Where]:
        return {offer.name: Where(self._me.address, offer.port) for offer in self.terms.provides}

    def _told(self, services: tuple[str, ...] | None) -> Leaving:
        return Leaving(self._me.instance, AGENT, registry.now(), services)

    def _leaves(self, service: str) -> bool:
        told = self.view.leaving.get(self._me.instance)
        return not self.watcher.listed.is_set() or (told is not None and told.takes(service))

    def _well(self, well: set[str]) -> None:
        self.presence.well = well
        self.presence.put_right()

    def _changed(self) -> None:
        leaving = self._me.instance in self.view.leaving
        if self._leaving and not leaving:
            self.presence.announce_anew()
        self._leaving = leaving
        self.converger.look_again()

    def _means(self) -> Means:
        async def take(revision: int) -> Slot:
            while True:
                with suppress(LeaseGoneError):  # the node is about to have another one
                    if self.presence.lease:
                        return await self._slots.take(revision, self.presence.lease)
                await asyncio.sleep(LEASE_SECONDS)

        return Means(
            take=take,
            idle=self._converge.idle,
            run=self._run,
            ended=self._ended,
            give_back=self._give_back,
            give_up=self._slots.give_up,
            forget=self._forget,
            well=self.health.all_well,
            acknowledge=self.presence.acknowledge,
            tell=self._tell,
            clock=asyncio.get_running_loop().time,
            jitter=_spread,
        )

    async def _run(self, token: str, found: Maps, deadline: float) -> str:
        """Converges once; what is wrong, "" for nothing. Raises TimeoutError if it cannot end before the deadline."""
        dna = Dna(self.terms.attribute, self.terms.cookbook, found)
        try:
            # Another converge of this node may have come before.
            async with asyncio.timeout_at(deadline - self.terms.timeout - GRACE_SECONDS):
                running = await self._converge.start(token, dna)
            ended = await running.result()
            self._tell_problem(ended.problem)
            return _told(ended, running.log)
        except NodepkgError as error:
            return error.message

    async def _ended(self, token: str) -> str | None:
        await self._until_it_works(self._settle)
        ended = self._converge.last()
        if ended is None or ended.token != token or ended.result is Result.LOST:
            return None
        return _told(ended, self._converge.folder / f"{token}.log")

    async def _settle(self) -> None:
        self._tell_problem(await self._converge.settle(Dna(self.terms.attribute, self.terms.cookbook, {})))

    def _tell_problem(self, problem: str) -> None:
        if problem:
            self._tell("dna.json is not as before", why=problem)

    async def _forget(self) -> None:
        """What had left the run list is gone from the node. Where etcd does not answer its lease ends it."""
        with suppress(NodepkgError):
            await registry.unsay_leaving(self._etcd, self._keys, self._me.instance, by=AGENT)

    async def _give_back(self, lease: int) -> None:
        """What a converge of before had: the slot, and that it was the canary."""
        with suppress(NodepkgError):
            await self._etcd.revoke(lease)
            await self._slots.give_up()


def _told(ended: Ended, log: Path) -> str:
    """What is wrong with a converge, "" for nothing."""
    if ended.result is Result.SUCCEEDED:
        return ""
    code = f", exit code {ended.code}" if ended.code is not None else ""
    return f"{ended.result}{code}; its log: {log}"


def _spread(seconds: float) -> float:
    return random.uniform(0.0, seconds)  # noqa: S311 - nothing secret depends on it
