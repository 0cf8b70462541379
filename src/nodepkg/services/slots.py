"""The fleet's semaphore in etcd: at most so many nodes of a group converge at once, and of each change one goes first.

A slot is a key under a lease of its own that is never renewed, so whoever is cut off loses it in time, and nobody else
has it before.
"""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import aclosing, suppress
from dataclasses import dataclass, field

from nodepkg.clients.etcd.client import Etcd
from nodepkg.clients.etcd.values import (
    Changes,
    Compare,
    Delete,
    Get,
    Item,
    Operation,
    Put,
    absent,
    unchanged,
)
from nodepkg.errors import CompactedError, LeaseGoneError, UnreachableError
from nodepkg.pace import Share
from nodepkg.services import registry
from nodepkg.services.entries import Keys
from nodepkg.services.registry import ThisNode
from nodepkg.services.turn import (
    CANARY,
    FAILED,
    PROVEN,
    SLOT,
    Canary,
    Holder,
    Picture,
    Turn,
    Who,
    canary,
    holder,
    picture,
    turn,
)

# Of those that see that a slot is free, few are to try before they see that it was taken. Whoever was too late for one
# is among many, and doubles it.
SPREAD_SECONDS = 1.0
WIDEST_SPREAD = 8.0
# How old the count of a group's nodes may be when a slot is taken.
COUNT_SECONDS = 60.0
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 30.0
MARGIN_SECONDS = 1.0


@dataclass(frozen=True)
class Slot:
    """This node may converge, until `deadline` (of the loop's time) at most: from then on another may have the slot.

    `canary`: the others wait until it is released as healthy. `index` is its number.
    """

    canary: bool
    index: int
    deadline: float
    revision: int
    lease: int
    agent_lease: int
    taken: int
    """The revision of etcd at which it was taken."""
    seen: tuple[Item, ...] = field(repr=False)
    """What stood below the pace of the group when it was taken."""
    slots: "Slots" = field(repr=False)

    async def release(self, *, healthy: bool | None) -> bool:
        """Gives it back. If etcd does not answer it tries until the deadline; False: it ends by itself.

        `healthy`: whether the node converged and is healthy; None: nothing was done, and nothing is to be.
        """
        return await self.slots.release(self, healthy=healthy)


@dataclass
class _Wish:
    """One try to get on. `lease` is what was granted for it; `put` and `before` what became of the canary's key."""

    revision: int
    agent_lease: int
    seen: bool = False
    lease: int = 0
    put: Put | None = None
    before: Put | None = None


class Slots:
    """The slots of this node's group. One `take` at a time, when nothing converges: it ends a slot that was left over.

    `ttl` in seconds is for a slot, and has to outlive a converge. `jitter` gives a random part of so many seconds.
    """

    def __init__(
        self, etcd: Etcd, keys: Keys, me: ThisNode, at_once: Share, ttl: int, *, jitter: Callable[[float], float]
    ) -> None:
        self._etcd = etcd
        self._pace = keys.pace(me.group)
        self._nodes = keys.nodes(me.group) if at_once.percent else ""
        self._who = Who(me.instance, me.agent)
        self._at_once = at_once
        self._ttl = ttl
        self._jitter = jitter
        self._owed: set[int] = set()

    async def take(self, revision: int, agent_lease: int) -> Slot:
        """Waits until this node may converge for a revision of the registry, however long that is.

        Whoever cancels it leaves nothing behind, as far as etcd answers. `agent_lease` holds the key of the canary.
        Raises LeaseGoneError if that lease is gone, and ToolError for what etcd refuses.
        """
        pause = FIRST_PAUSE
        while True:
            wish = _Wish(revision, agent_lease)
            try:
                return await self._in_turn(wish)
            except CompactedError:
                await self._undo(wish)
            except UnreachableError:
                await self._undo(wish)
                pause = FIRST_PAUSE if wish.seen else min(2 * pause, LONGEST_PAUSE)
                await asyncio.sleep(pause / 2 + self._jitter(pause / 2))
            except (Exception, asyncio.CancelledError):
                await self._undo(wish)
                raise

    async def release(self, slot: Slot, *, healthy: bool | None) -> bool:
        """See Slot.release."""
        self._owed.add(slot.lease)
        pause = FIRST_PAUSE
        while True:
            try:
                if slot.canary:
                    await self._conclude(slot, healthy=healthy)
                await self._revoke_owed()
                return True
            except UnreachableError:
                # Until then all of the group that wait would wait for this one.
                if asyncio.get_running_loop().time() >= slot.deadline:
                    return False
            await asyncio.sleep(pause / 2 + self._jitter(pause / 2))
            pause = min(2 * pause, LONGEST_PAUSE)

    async def give_up(self) -> bool:
        """A canary that failed, and has nothing to do any more, lets another be it; False if etcd does not answer."""
        try:
            there = await self._etcd.get(self._pace + CANARY)
            known = canary(there.value) if there else None
            if there and known and known.who == self._who:
                await self._etcd.delete(there.key, there.mod_revision)
        except UnreachableError:
            return False
        return True

    async def _in_turn(self, wish: _Wish) -> Slot:
        await self._revoke_owed()
        loop = asyncio.get_running_loop()
        due, spread = None, SPREAD_SECONDS
        async with _Sight(self._etcd, self._pace, self._nodes) as sight:
            wish.seen = True
            self._owed |= sight.leases_of(self._who)
            await self._revoke_owed()
            while True:
                now = loop.time()
                at_once = max(self._at_once.down(sight.nodes), 1)
                mine = turn(sight.picture, self._who, wish.revision, at_once)
                if mine is None:
                    due = None
                    await sight.change(None)
                elif due is None:
                    due = now + self._jitter(spread)
                elif now < due:
                    await sight.change(due - now)
                elif self._nodes and now - sight.counted_at > COUNT_SECONDS:
                    await sight.count()
                elif slot := await self._try(sight, mine, wish):
                    return slot
                else:
                    due, spread = None, min(2 * spread, WIDEST_SPREAD)

    async def _try(self, sight: "_Sight", mine: Turn, wish: _Wish) -> Slot | None:
        asked = asyncio.get_running_loop().time()
        key = f"{self._pace}{SLOT}{mine.slot}"
        compares, puts = [absent(key)], []
        if mine.canary:
            # As it was when the turn was decided: while a lease is granted, the watch goes on.
            compares += [unchanged(self._pace + name, sight.changed_at(name)) for name in (CANARY, PROVEN)]
            puts = [self._as_canary(sight, wish)]
        wish.lease = (await self._etcd.grant(self._ttl)).id
        holder = Holder(self._who.instance, self._who.agent, registry.now())
        taken = await self._put(compares, [Put(key, holder.written(), wish.lease), *puts], wish)
        if taken is None:
            return None
        deadline = asked + self._ttl - MARGIN_SECONDS
        seen = sight.and_written(puts, taken)
        return Slot(mine.canary, mine.slot, deadline, wish.revision, wish.lease, wish.agent_lease, taken, seen, self)

    async def _put(self, compares: list[Compare], puts: list[Put], wish: _Wish) -> int | None:
        """The revision at which they were put, or None where others were quicker."""
        try:
            outcome = await self._etcd.txn(compares, puts, [Get(puts[0].key)])
        except LeaseGoneError:
            await self._etcd.time_to_live(wish.agent_lease)  # else it was the slot's
        else:
            if outcome.succeeded:
                return outcome.revision
            for item in outcome.items[0]:
                if item.lease == wish.lease:  # an earlier try without an answer has done it
                    return item.mod_revision
        wish.put = None
        await self._undo(wish)
        return None

    def _as_canary(self, sight: "_Sight", wish: _Wish) -> Put:
        key = self._pace + CANARY
        known = sight.picture.canary
        wish.before = None
        if known and (known.who, known.state) == (self._who, FAILED):
            wish.before = Put(key, known.written(), wish.agent_lease)
        wish.put = Put(key, Canary(self._who.instance, self._who.agent, wish.revision).written(), wish.agent_lease)
        return wish.put

    async def _undo(self, wish: _Wish) -> None:
        """Takes back what was, or may have been, written for a wish; what cannot be is tried again later."""
        if not wish.lease:
            return
        self._owed.add(wish.lease)
        wish.lease = 0
        with suppress(UnreachableError, LeaseGoneError):
            # First, since what was sent and not answered cannot be carried out any more without its lease.
            await self._revoke_owed()
            if wish.put:
                back = wish.before or Delete(wish.put.key)
                await self._etcd.txn([Compare(wish.put.key, "value", wish.put.value)], [back])

    async def _revoke_owed(self) -> None:
        for lease in tuple(self._owed):
            await self._etcd.revoke(lease)
            self._owed.discard(lease)

    async def _conclude(self, slot: Slot, *, healthy: bool | None) -> None:
        """Says of a canary how it went. Nobody else is likely to have written meanwhile, so nothing is read before."""
        items: Iterable[Item] = slot.seen
        while True:
            compares, operations = self._conclusion(slot, items, healthy=healthy)
            if not operations:
                return
            try:
                outcome = await self._etcd.txn(compares, operations, [Get(self._pace, prefix=True)])
            except LeaseGoneError:  # and with it the key of the canary
                return
            if outcome.succeeded:
                return
            items = outcome.items[0]

    def _conclusion(
        self, slot: Slot, items: Iterable[Item], *, healthy: bool | None
    ) -> tuple[list[Compare], list[Operation]]:
        """What is to be written if nobody changes these keys meanwhile. The canary may be another one by now."""
        there = {item.key.removeprefix(self._pace): item for item in items}
        compares: list[Compare] = []
        operations: list[Operation] = []
        key = self._pace + CANARY
        if CANARY in there and there[CANARY].mod_revision == slot.taken:
            failed = Canary(self._who.instance, self._who.agent, slot.revision, FAILED)
            compares.append(unchanged(key, slot.taken))
            operations.append(Put(key, failed.written(), slot.agent_lease) if healthy is False else Delete(key))
        if healthy and _picture(there).proven < slot.revision:
            key = self._pace + PROVEN
            compares.append(unchanged(key, there[PROVEN].mod_revision if PROVEN in there else 0))
            operations.append(Put(key, str(slot.revision)))
        return compares, operations


class _Sight:
    """What stands below the pace of a group, kept up to date by a watch; and how many nodes there were at a time."""

    def __init__(self, etcd: Etcd, pace: str, nodes: str) -> None:
        self._etcd, self._pace, self._counted = etcd, pace, nodes
        self._items: dict[str, Item] = {}
        self._news = asyncio.Event()
        self.nodes = 0
        self.counted_at = 0.0

    async def __aenter__(self) -> "_Sight":
        self._watching = asyncio.ensure_future(self._watch(await self._read() + 1))
        self._watching.add_done_callback(lambda _: self._news.set())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._watching.cancel()
        await asyncio.gather(self._watching, return_exceptions=True)

    @property
    def picture(self) -> Picture:
        return _picture(self._items)

    def changed_at(self, name: str) -> int:
        """The revision of the last change of a key; 0 if it is not there."""
        return self._items[name].mod_revision if name in self._items else 0

    def and_written(self, puts: Iterable[Put], revision: int) -> tuple[Item, ...]:
        """All of it, with what was written at a revision."""
        written = {put.key: Item(put.key, put.value, revision, revision, put.lease) for put in puts}
        return (*(item for item in self._items.values() if item.key not in written), *written.values())

    def leases_of(self, who: Who) -> set[int]:
        """The leases of the slots that a node holds."""
        slots = [item for name, item in self._items.items() if name.startswith(SLOT) and item.lease]
        return {item.lease for item in slots if holder(item.value) == who}

    async def count(self) -> None:
        """Counts the nodes again."""
        self.counted_at = asyncio.get_running_loop().time()
        self.nodes = len((await self._etcd.range(self._counted)).items)

    async def _read(self) -> int:
        """One look at all of it; its revision."""
        self.counted_at = asyncio.get_running_loop().time()
        counted = [Get(self._counted, prefix=True)] if self._counted else []
        outcome = await self._etcd.txn([], [Get(self._pace, prefix=True), *counted])
        self.nodes = len(outcome.items[1]) if counted else 0
        self._items = {item.key.removeprefix(self._pace): item for item in outcome.items[0]}
        return outcome.revision

    async def change(self, seconds: float | None) -> None:
        """Waits for a change, but for so many seconds at most. Raises what ended the watch."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._news.wait()
        self._news.clear()
        if self._watching.done():
            self._watching.result()

    async def _watch(self, revision: int) -> None:
        async with aclosing(self._etcd.watch(self._pace, revision)) as watched:
            async for changes in watched:
                self._apply(changes)

    def _apply(self, changes: Changes) -> None:
        for change in changes.changes:
            name = change.key.removeprefix(self._pace)
            if change.now:
                self._items[name] = change.now
            else:
                self._items.pop(name, None)
        self._news.set()


def _picture(items: dict[str, Item]) -> Picture:
    return picture({name: item.value for name, item in items.items()})
