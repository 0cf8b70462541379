"""Keeps a view of the registry: lists what a node needs, then watches it from that revision on, whatever is lost."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing
from math import inf

from nodepkg.clients.etcd.client import Etcd
from nodepkg.clients.etcd.values import Changes
from nodepkg.errors import CompactedError, NodepkgError
from nodepkg.services.told import MOST_SECONDS, Tell, backoff
from nodepkg.services.view import View


class Watcher:
    """Watches these prefixes, and no others; `changed` is called after each change of the view.

    Where the registry is lost the view stays as it is. On return all is listed from scratch, as it was at one revision,
    and watched from that on; so it is where etcd has compacted what a watch was to go on from. `pause` gives the
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
        self._lost = False
        self._pause = pause
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
            except NodepkgError as error:  # also of a certificate that is just being replaced
                if not self._lost:
                    self._lost = True
                    self._tell("registry lost", why=error.message)
            failures = 1 if clock() - since > MOST_SECONDS else failures + 1
            await asyncio.sleep(self._pause(failures))

    async def _list(self) -> int:
        """Puts all into the view; the revision at which it was so."""
        listing = await self._etcd.range(self._prefixes)
        self._view.take(listing)
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
