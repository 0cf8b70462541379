"""The registry in etcd: who provides a service, who is about to leave, and who has heard of it."""

import asyncio
from collections.abc import Collection, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from nodepkg.clients.etcd.client import Etcd
from nodepkg.clients.etcd.values import Changes, Delete, Get, Item, Listing, Put, Tls, absent, unchanged
from nodepkg.errors import CompactedError, RefusedError, UnreachableError
from nodepkg.services import entries
from nodepkg.services.entries import Keys, Leaving, Node, Provider, written
from nodepkg.services.terms import Location, Offer

# Who withdrew a node and never came back would leave its key for ever; nobody drains for longer than that.
LEAVING_SECONDS = 30 * 24 * 3600
# By whom a node leaves that its own agent announces: the next agent takes that back.
AGENT = "agent"
# How long a call may take at one endpoint. A member whose leader has died forgets what it was asked, and says nothing:
# where there are several the call is made again about when an election is over (etcd's default is a second).
SECONDS_OF_ONE, SECONDS_OF_SEVERAL = 5.0, 2.0
# An agent that ends says so; that is for those who look while, or soon after, its other keys go.
ENDING_SECONDS = 3600
LOOK_SECONDS = 0.2  # how often it is looked whether an agent has announced


def connect(location: Location, environ: Mapping[str, str], *, timeout: float | None = None) -> Etcd:
    """The etcd of a registry. Raises RefusedError for a file of passwords that cannot be read."""
    tls = Tls(_path(location.ca), _path(location.certificate), _path(location.key))
    user, password = login(location, environ)
    if timeout is None:
        timeout = SECONDS_OF_SEVERAL if len(location.endpoints) > 1 else SECONDS_OF_ONE
    return Etcd(location.endpoints, tls=tls, user=user, password=password, timeout=timeout)


def login(location: Location, environ: Mapping[str, str]) -> tuple[str, str]:
    """User and password, "" for none. Raises RefusedError for a file of passwords that cannot be read."""
    user = environ.get("NODEPKG_ETCD_USER") or location.user
    password = environ.get("NODEPKG_ETCD_PASSWORD") or ""
    if user and not password and location.password_file:
        try:
            password = Path(location.password_file).read_text(encoding="utf-8").strip("\r\n")
        except (OSError, ValueError) as error:
            told = error.strerror if isinstance(error, OSError) else "it is no text"
            raise RefusedError(f"{location.password_file} (services.password_file) cannot be read: {told}") from error
    return user, password


def _path(text: str) -> Path | None:
    return Path(text) if text else None


@dataclass(frozen=True)
class ThisNode:
    """This node, as it announces itself. `agent` tells its announcements from those of a node with the same id."""

    instance: str
    group: str
    address: str
    zone: str
    digest: str
    agent: str

    def provider(self, offer: Offer, since: str) -> Provider:
        return Provider(self.instance, self.group, self.address, offer.port, self.zone, since, self.digest, self.agent)

    def node(self, services: Iterable[str]) -> Node:
        return Node(self.instance, self.group, self.address, self.zone, self.digest, self.agent, tuple(services))


@dataclass(frozen=True)
class Snapshot:
    """All that is announced. `providers`: service -> instance -> who it is; `leaving` and `nodes` by instance.

    `said`: at which revision it was announced that an instance leaves.
    """

    revision: int
    providers: Mapping[str, Mapping[str, Provider]]
    leaving: Mapping[str, Leaving]
    nodes: Mapping[str, Node] = field(default_factory=dict)
    said: Mapping[str, int] = field(default_factory=dict)


async def snapshot(etcd: Etcd, keys: Keys) -> Snapshot:
    """Who announces what. Who leaves is read last, so nobody who has said so before is missed."""
    nodes = await etcd.range(f"{keys.prefix}/nodes/")
    listed = await etcd.range(keys.services)
    leaving = await etcd.range(keys.all_leaving)
    providers: dict[str, dict[str, Provider]] = {}
    for item in listed.items:
        service, _, instance = item.key.removeprefix(keys.services).partition("/")
        if found := entries.provider(item.value):
            providers.setdefault(service, {})[instance] = found
    return Snapshot(
        leaving.revision,
        providers,
        {told.key.removeprefix(keys.all_leaving): entries.leaving(told.key, told.value) for told in leaving.items},
        {item.key.rpartition("/")[2]: node for item in nodes.items if (node := entries.node(item.value))},
        {told.key.removeprefix(keys.all_leaving): told.mod_revision for told in leaving.items},
    )


async def put_own(etcd: Etcd, key: str, value: str, lease: int, agent: str) -> None:
    """Writes a key of this node: a new one, or one that this agent wrote. Raises RefusedError for anybody else's."""
    outcome = await etcd.txn([absent(key)], [Put(key, value, lease)], [Get(key)])
    while not outcome.succeeded:
        (there,) = outcome.items[0] or (None,)
        if there and (there.value, there.lease) == (value, lease):
            return
        if there:
            _refuse_another(there, agent)
        condition = unchanged(key, there.mod_revision) if there else absent(key)
        outcome = await etcd.txn([condition], [Put(key, value, lease)], [Get(key)])


def _refuse_another(there: Item, agent: str) -> None:
    known = entries.owner(there.value)
    if known and known.agent != agent:
        raise RefusedError(
            f"{there.key} is announced by another node that calls itself {known.instance} ({known.address})",
            hint="each node needs an id of its own, and keeps its state (--home); what a node that is gone announced "
            "vanishes by itself",
        )


async def announced(etcd: Etcd, keys: Keys, me: ThisNode, services: Collection[str]) -> list[str]:
    """Which of these services this node announces. Raises RefusedError if another node is known by its name."""
    own = {name: keys.provider(name, me.instance) for name in services}
    outcome = await etcd.txn([], [Get(key) for key in (keys.node(me.group, me.instance), *own.values())])
    there = [item for items in outcome.items for item in items]
    for item in there:
        _refuse_another(item, me.agent)
    found = {item.key for item in there}
    return [name for name, key in own.items() if key in found]


async def await_announced(etcd: Etcd, keys: Keys, me: ThisNode, services: Collection[str], seconds: float) -> list[str]:
    """As `announced`, when all of them are, or so many seconds have passed."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while True:
        found = await announced(etcd, keys, me, services)
        if len(found) == len(services) or loop.time() >= until:
            return found
        await asyncio.sleep(LOOK_SECONDS)


def now() -> str:
    """The moment as the registry has it: ISO, UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


async def announce(etcd: Etcd, keys: Keys, me: ThisNode, offers: Iterable[Offer], lease: int) -> None:
    """Announces services of this node, under a lease: they vanish when nobody renews it."""
    since = now()
    for offer in offers:
        await put_own(etcd, keys.provider(offer.name, me.instance), written(me.provider(offer, since)), lease, me.agent)


async def say_leaving(etcd: Etcd, keys: Keys, told: Leaving, seconds: int = LEAVING_SECONDS) -> int:
    """Announces that an instance is about to go, for everybody that uses it; returns the revision to acknowledge.

    If that is announced already, of the same services or of more, it stands as it is; but what an agent says of its
    end gives way to anybody else's word, which the next agent does not take back. It lasts for `seconds`.
    """
    key, lease, condition = keys.leaving(told.instance), 0, absent(keys.leaving(told.instance))
    while True:
        lease = lease or (await etcd.grant(seconds)).id
        outcome = await etcd.txn([condition], [Put(key, written(told), lease)], [Get(key)])
        if outcome.succeeded:
            return outcome.revision
        if not outcome.items[0]:
            condition = absent(key)
            continue
        there = outcome.items[0][0]
        before = entries.leaving(key, there.value)
        told = told.with_all_of(before) if before.by == AGENT else before.with_all_of(told)
        if (told.services, told.by) == (before.services, before.by):
            await etcd.revoke(lease)
            return there.mod_revision
        condition = unchanged(key, there.mod_revision)


async def unsay_leaving(etcd: Etcd, keys: Keys, instance: str, *, by: str | None = None) -> bool:
    """The instance stays; with `by` only if that is who said that it leaves. Whether anybody had."""
    there = await etcd.get(keys.leaving(instance))
    if there is None or (by is not None and entries.leaving(there.key, there.value).by != by):
        return False
    return await etcd.delete(there.key, there.mod_revision)


def unacknowledged(
    keys: Keys, listed: Listing, told: Mapping[str, int], services: Mapping[str, Collection[str]]
) -> dict[str, list[str]]:
    """Who uses a service and has not acknowledged yet that instances of it leave: service -> consumers.

    `listed` are all consumers. `told`: instance -> the revision at which it was announced that it leaves; `services`:
    service -> those of these instances that provide it. Who leaves itself is not waited for. Pure.
    """
    waiting: dict[str, list[str]] = {}
    for item in listed.items:
        service, _, consumer = item.key.removeprefix(keys.all_consumers).partition("/")
        wanted = max((told[name] for name in services.get(service, ()) if name in told), default=0)
        if consumer not in told and _revision(item.value) < wanted:
            waiting.setdefault(service, []).append(consumer)
    return waiting


def _revision(value: str) -> int:
    return int(value) if value.isascii() and value.isdigit() else 0


async def await_acknowledged(
    etcd: Etcd, keys: Keys, told: Mapping[str, int], services: Mapping[str, Collection[str]], timeout: float
) -> dict[str, list[str]]:
    """Waits until all have acknowledged, or `timeout` seconds have passed; returns who has not.

    A consumer that leaves with all that it has is not waited for: two that need each other may end together.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + timeout
    while True:
        leaving = (await etcd.range(keys.all_leaving)).items
        listed = await etcd.range(keys.all_consumers)
        waiting = unacknowledged(keys, listed, {**_all_gone(keys, leaving), **told}, services)
        left = until - loop.time()
        if not waiting or left <= 0:
            return waiting
        await _next_change(etcd, keys.all_consumers, listed.revision + 1, left)


def _all_gone(keys: Keys, leaving: Iterable[Item]) -> dict[str, int]:
    """The instances that leave with all that they have, and since which revision."""
    return {
        item.key.removeprefix(keys.all_leaving): item.mod_revision
        for item in leaving
        if entries.leaving(item.key, item.value).services is None
    }


async def _next_change(etcd: Etcd, prefix: str, revision: int, seconds: float) -> Changes | None:
    """The next change below a prefix, or None after so many seconds; or where etcd was lost, a while later."""
    try:
        async with asyncio.timeout(seconds), aclosing(etcd.watch(prefix, revision)) as changes:
            async for change in changes:
                return change
    except TimeoutError:
        pass
    except (UnreachableError, CompactedError):
        await asyncio.sleep(min(seconds, 1.0))
    return None


async def retract(etcd: Etcd, keys: Keys, me: ThisNode, services: Iterable[str]) -> None:
    """Takes services of this node out of the registry; those that another node announces stay."""
    for service in services:
        there = await etcd.get(keys.provider(service, me.instance))
        found = entries.provider(there.value) if there else None
        if there and (found is None or found.agent == me.agent):
            await etcd.txn([unchanged(there.key, there.mod_revision)], [Delete(there.key)])


@dataclass(frozen=True)
class Withdrawn:
    """What was taken out: `services`; and who had not acknowledged that in time: service -> consumers."""

    services: tuple[str, ...]
    unacknowledged: Mapping[str, list[str]]


async def withdraw(
    etcd: Etcd,
    keys: Keys,
    me: ThisNode,
    told: Leaving,
    services: Collection[str],
    *,
    seconds: float,
    lasts: int = LEAVING_SECONDS,
) -> Withdrawn:
    """Takes services of this node out of the registry: as leaving first, gone when those that use them have heard it.

    What it does not announce nobody uses, so nobody is waited for. Who has not acknowledged when `seconds` are over is
    told, and they are taken out all the same. Raises RefusedError if another node is known by its name.
    """
    await announced(etcd, keys, me, services)
    revision = await say_leaving(etcd, keys, told, lasts)
    there = await announced(etcd, keys, me, services)
    used = {name: [me.instance] for name in there}
    waiting = await await_acknowledged(etcd, keys, {me.instance: revision}, used, seconds)
    await retract(etcd, keys, me, services)
    return Withdrawn(tuple(there), waiting)
