"""What this node announces, kept alive under one lease; and what it acknowledges."""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress

from nodepkg.clients.etcd.client import Etcd
from nodepkg.clients.etcd.values import Put
from nodepkg.errors import LeaseGoneError, NodepkgError, RefusedError, ToolError
from nodepkg.services import registry
from nodepkg.services.entries import Keys, written
from nodepkg.services.registry import ThisNode
from nodepkg.services.terms import Terms
from nodepkg.services.told import Tell, backoff


class Presence:
    """Renews the lease three times within its time, and puts right what stands in the registry.

    `well` are the services whose checks say so. While the node is leaving (`leaves`) nothing is announced anew: what
    stands there stays until whoever withdraws it takes it away.
    """

    def __init__(
        self,
        etcd: Etcd,
        me: ThisNode,
        terms: Terms,
        leaves: Callable[[str], bool],
        tell: Tell,
        *,
        before: "Presence | None" = None,
    ) -> None:
        self._etcd = etcd
        self._keys = Keys(terms.location.prefix)
        self._me = me
        self._leaves = leaves
        self._tell = tell
        self._poke = asyncio.Event()
        self._since: dict[str, str] = {}
        # With its value, so that one that has changed since is announced anew.
        self._announced: dict[str, str] = {}
        self._acknowledged = 0
        self._node_is_put = False
        # Those that are to end when all stands under another one.
        self._old_leases: set[int] = set()
        self.terms = terms
        self.lease = 0
        self.well: set[str] = set()
        self.retiring: set[str] = set()
        """Services that are about to be taken away by whoever has said so first."""
        self.revision = 0
        """Up to which revision the node has done what follows from what it needs."""
        if before:
            self._go_on_from(before)

    def _go_on_from(self, before: "Presence") -> None:
        """With the lease of before, unless it lasts for another time or holds keys that are not to be any more."""
        self._since, self._old_leases = dict(before._since), set(before._old_leases)
        self.revision = before.revision if self._keys == before._keys else 0
        same = (before._keys, before._me.group, before.terms.ttl) == (self._keys, self._me.group, self.terms.ttl)
        if same and set(before.terms.requires) <= set(self.terms.requires):
            self.lease, self._announced = before.lease, dict(before._announced)
        elif before.lease:
            self._old_leases.add(before.lease)

    async def run(self) -> None:
        """Never returns."""
        failures = 0
        while True:
            self._poke.clear()
            try:
                await self._renew()
                await self._put_right()
                await self._keep_or_end_old_leases()
                failures, seconds = 0, self.terms.ttl / 3
            except LeaseGoneError:
                self._tell("lease gone", lease=f"{self.lease:x}")
                self.lease, self._node_is_put, seconds = 0, False, 0.0
            except RefusedError as error:
                self._tell("refused", why=error.message)
                seconds = self.terms.ttl / 3
            except ToolError as error:
                failures += 1
                if failures == 1:
                    self._tell("lease not renewed", why=error.message)
                seconds = backoff(failures, most=self.terms.ttl / 3)
            await self._wait(seconds)

    def put_right(self) -> None:
        """Something has changed that the registry is to show."""
        self._poke.set()

    def announce_anew(self) -> None:
        """What stood in the registry may have been taken away meanwhile."""
        self._announced = dict.fromkeys(self._announced, "")
        self._poke.set()

    def acknowledge(self, revision: int) -> None:
        """What was announced up to this revision is heeded here."""
        if revision != self.revision:  # an etcd that was set up anew begins to count anew
            self.revision = revision
            self._poke.set()

    async def keep(self) -> None:
        """Never returns. Renews, and changes nothing: for as long as those that use the node have not heard it ends."""
        while True:
            for lease in {self.lease, *self._old_leases} - {0}:
                with suppress(NodepkgError):
                    await self._etcd.renew(lease)
            await asyncio.sleep(self.terms.ttl / 3)

    async def end(self) -> None:
        """Takes everything of this node out of the registry."""
        if self.lease:
            await self._etcd.revoke(self.lease)
            self.lease = 0
        await self._end_old_leases()

    async def _keep_or_end_old_leases(self) -> None:
        """What is about to retire stands under one of them, until those that use it have heard it."""
        for lease in tuple(self._old_leases) if self.retiring else ():
            with suppress(LeaseGoneError):
                await self._etcd.renew(lease)
        if not self.retiring:
            await self._end_old_leases()

    async def _end_old_leases(self) -> None:
        for lease in tuple(self._old_leases):
            await self._etcd.revoke(lease)
            self._old_leases.discard(lease)

    async def _wait(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._poke.wait()

    async def _renew(self) -> None:
        if self.lease and self._node_is_put:
            await self._etcd.renew(self.lease)
            return
        lease = self.lease
        if not lease:
            lease = (await self._etcd.grant(self.terms.ttl)).id
            self._announced.clear()
        self._acknowledged = 0
        node = written(self._me.node(self.terms.names))
        await registry.put_own(
            self._etcd, self._keys.node(self._me.group, self._me.instance), node, lease, self._me.agent
        )
        self.lease, self._node_is_put = lease, True

    async def _put_right(self) -> None:
        offers = {offer.name: offer for offer in self.terms.provides}
        for name in sorted(self._announced.keys() - (self.well & offers.keys()) - self.retiring):
            await registry.retract(self._etcd, self._keys, self._me, [name])
            del self._announced[name]
            self._since.pop(name, None)
            self._tell("retracted", service=name)
        for name, offer in offers.items():
            if name not in self.well or self._leaves(name):
                continue
            value = written(self._me.provider(offer, self._since.setdefault(name, registry.now())))
            if self._announced.get(name) != value:
                key = self._keys.provider(name, self._me.instance)
                await registry.put_own(self._etcd, key, value, self.lease, self._me.agent)
                self._announced[name] = value
                self._tell("announced", service=name)
        if self.revision != self._acknowledged and self.terms.requires:
            revision = self.revision
            await self._etcd.txn([], list(self._acknowledgements(self.terms.requires, revision)))
            self._acknowledged = revision

    def _acknowledgements(self, services: Iterable[str], revision: int) -> Iterable[Put]:
        return (Put(self._keys.consumer(service, self._me.instance), str(revision), self.lease) for service in services)
