"""Keeps a view of the registry: lists what a node needs, then watches it from that revision on, whatever is lost."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing
from math import inf

from nodepkg.clients.etcd.client import Etcd
from nodepkg.clients.etcd.values import Changes
from nodepkg.errors import CompactedError, ToolError
from nodepkg.services.told import MOST_SECONDS, Tell, backoff
from nodepkg.services.view import View


class Watcher:
    """Watches these prefixes, and no others; `changed` is called after each change of the view.

    Where the registry is lost the view stays as it is. On return all is listed from scratch, as it was at one revision,
    and watched from that on; so it is where etcd has compacted what a watch was to go on from.
    """

    def __init__(
        self, etcd: Etcd, view: View, prefixes: Sequence[str], changed: Callable[[], None], tell: Tell
    ) -> None:
        self._etcd = etcd
        self._view = view
        self._prefixes = tuple(prefixes)
        self._changed = changed
        self._tell = tell
        self._lost = False
        self.listed = asyncio.Event()
        """Everything has been listed once."""

    @property
    def connected(self) -> bool:
        return self.listed.is_set() and not self._lost

    async def run(self) -> None:
        """Never returns."""
        clock, failures = asyncio.get_running_loop().time, 0
        while True:
            since = inf
            try:
                revision = await self._list()
                since = clock()
                await self._watch(revision)
            except CompactedError as error:
                self._tell("compacted", why=error.message)
            except ToolError as error:
                failures = 1 if clock() - since > MOST_SECONDS else failures + 1
                if not self._lost:
                    self._lost = True
                    self._tell("registry lost", why=error.message)
                await asyncio.sleep(backoff(failures))

    async def _list(self) -> int:
        """Puts all into the view; the revision at which it was so."""
        listing = await self._etcd.range(self._prefixes)
        for prefix in self._prefixes:
            self._view.forget(prefix)
        for item in listing.items:
            self._view.put(item.key, item.value, item.mod_revision)
        self._view.heard = max(self._view.heard, listing.revision)
        if self._lost:
            self._lost = False
            self._tell("registry back", revision=listing.revision)
        self.listed.set()
        self._changed()
        return listing.revision

    async def _watch(self, revision: int) -> None:
        """Follows it until the registry is lost, which raises."""
        async with aclosing(self._etcd.watch(self._prefixes, revision + 1)) as watched:
            async for changes in watched:
                self._take(changes)

    def _take(self, changes: Changes) -> None:
        for change in changes.changes:
            if change.now is None:
                self._view.delete(change.key, changes.revision)
            else:
                self._view.put(change.key, change.now.value, changes.revision)
        self._changed()
