"""Keeps a view of the registry: lists what a node needs, then watches it from that revision on, whatever is lost."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing

from nodepkg.clients.etcd.client import Etcd
from nodepkg.clients.etcd.values import Changes
from nodepkg.errors import CompactedError, ToolError
from nodepkg.services.told import Tell, backoff
from nodepkg.services.view import View


class Watcher:
    """Watches these prefixes, and no others; `changed` is called after each change of the view.

    Where the registry is lost the view stays as it is. On return each prefix is listed from scratch, and watched from
    the revision of its list; so it is where etcd has compacted what a watch was to go on from.
    """

    def __init__(
        self, etcd: Etcd, view: View, prefixes: Sequence[str], changed: Callable[[], None], tell: Tell
    ) -> None:
        self._etcd = etcd
        self._view = view
        self._prefixes = tuple(prefixes)
        self._changed = changed
        self._tell = tell
        self._unlisted = set(prefixes)
        self._lost: set[str] = set()
        self.listed = asyncio.Event()
        """Everything has been listed once."""

    @property
    def connected(self) -> bool:
        return self.listed.is_set() and not self._lost

    async def run(self) -> None:
        """Never returns."""
        async with asyncio.TaskGroup() as tasks:
            for prefix in self._prefixes:
                tasks.create_task(self._keep(prefix))

    async def _keep(self, prefix: str) -> None:
        failures = 0
        while True:
            try:
                failures = 0 if await self._follow(prefix) else failures
            except CompactedError as error:
                self._tell("compacted", prefix=prefix, why=error.message)
                failures = 0
            except ToolError as error:
                failures += 1
                if prefix not in self._lost:
                    self._lost.add(prefix)
                    self._tell("registry lost", prefix=prefix, why=error.message)
                await asyncio.sleep(backoff(failures))

    async def _follow(self, prefix: str) -> bool:
        """Lists and watches until the registry is lost, which raises."""
        listing = await self._etcd.range(prefix)
        self._view.forget(prefix)
        for item in listing.items:
            self._view.put(item.key, item.value, item.mod_revision)
        if prefix == self._view.keys.all_leaving:
            self._view.heard = max(self._view.heard, listing.revision)
        self._seen(prefix)
        if prefix in self._lost:
            self._lost.discard(prefix)
            self._tell("registry back", prefix=prefix, revision=listing.revision)
        async with aclosing(self._etcd.watch(prefix, listing.revision + 1)) as watched:
            async for changes in watched:
                self._take(prefix, changes)
        return True

    def _take(self, prefix: str, changes: Changes) -> None:
        for change in changes.changes:
            if change.now is None:
                self._view.delete(change.key, changes.revision)
            else:
                self._view.put(change.key, change.now.value, changes.revision)
        self._seen(prefix)

    def _seen(self, prefix: str) -> None:
        self._unlisted.discard(prefix)
        if not self._unlisted:
            self.listed.set()
        self._changed()
