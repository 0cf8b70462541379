"""Keeps a view of the registry: lists what a node needs, then watches it from that revision on, whatever is lost."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import aclosing

from nodepkg.clients.etcd.client import Etcd
from nodepkg.clients.etcd.values import Changes
from nodepkg.errors import CompactedError, NodepkgError
from nodepkg.services.told import Tell, backoff
from nodepkg.services.view import View


class Watcher:
    """Watches these prefixes, and no others; `changed` is called after each change of the view.

    Where the registry is lost the view stays as it is. On return each prefix is listed from scratch, and watched from
    the revision of its list; so it is where etcd has compacted what a watch was to go on from. `pause` gives the
    seconds to wait after so many failures in a row.
    """

    def __init__(
        self,
        etcd: Etcd,
        view: View,
        prefixes: Sequence[str],
        changed: Callable[[], None],
        tell: Tell,
        *,
        pause: Callable[[int], float] = backoff,
    ) -> None:
        self._etcd = etcd
        self._view = view
        self._prefixes = tuple(prefixes)
        self._changed = changed
        self._tell = tell
        self._unlisted = set(prefixes)
        self._lost: set[str] = set()
        self._failures: Counter[str] = Counter()
        self._pause = pause
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
        while True:
            try:
                await self._follow(prefix)
            except CompactedError as error:
                self._tell("compacted", prefix=prefix, why=error.message)
            except NodepkgError as error:  # also of a certificate that is just being replaced
                if prefix not in self._lost:
                    self._lost.add(prefix)
                    self._tell("registry lost", prefix=prefix, why=error.message)
            self._failures[prefix] += 1
            await asyncio.sleep(self._pause(self._failures[prefix]))

    async def _follow(self, prefix: str) -> None:
        """Lists and watches until the registry is lost, which raises."""
        listing = await self._etcd.range(prefix)
        self._failures[prefix] = 0
        self._view.take(prefix, listing)
        self._seen(prefix)
        if prefix in self._lost:
            self._lost.discard(prefix)
            self._tell("registry back", prefix=prefix, revision=listing.revision)
        async with aclosing(self._etcd.watch(prefix, listing.revision + 1)) as watched:
            async for changes in watched:
                self._take(prefix, changes)

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
