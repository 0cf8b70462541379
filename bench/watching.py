"""Usage: python watching.py ENDPOINT COUNT. So many nodes that need one service and watch it as their agents do.

Each has a client and connections of its own; they share an event loop. Prints a line when all have listed, and for each
revision, once all have it in their view, the revision and the moment (of the machine's monotonic clock) of each.
"""

import asyncio
import json
import resource
import sys
import time
from collections import defaultdict
from contextlib import AsyncExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.services.nodes import PREFIX

from nodepkg.clients.etcd.client import Etcd
from nodepkg.services.entries import Keys
from nodepkg.services.view import View
from nodepkg.services.watcher import Watcher

SERVICE = "api"
AT_ONCE = 20


class Nodes:
    """What all nodes of this process have seen."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._listed = 0
        self._known: dict[int, list[float]] = defaultdict(list)

    async def watch(self, etcd: Etcd, few: asyncio.Semaphore) -> None:
        view, seen = View(Keys(PREFIX)), 0

        def changed() -> None:
            nonlocal seen
            if view.revision > seen and watcher.listed.is_set():
                seen = view.revision
                self._saw(seen, time.monotonic())

        prefixes = [view.keys.providers(SERVICE), view.keys.all_leaving]
        watcher = Watcher(etcd, view, prefixes, changed, lambda event, **facts: sys.exit(f"{event}: {facts}"))
        async with asyncio.TaskGroup() as tasks:
            async with few:
                tasks.create_task(watcher.run())
                await watcher.listed.wait()
            self._listed += 1
            if self._listed == self.count:
                await asyncio.sleep(1)  # what is listed is about to be watched
                print("[]", flush=True)

    def _saw(self, revision: int, moment: float) -> None:
        self._known[revision].append(moment)
        if len(self._known[revision]) == self.count:
            print(json.dumps([revision, self._known.pop(revision)]), flush=True)


async def main(endpoint: str, count: int) -> None:
    nodes, few = Nodes(count), asyncio.Semaphore(AT_ONCE)
    async with AsyncExitStack() as clients, asyncio.TaskGroup() as tasks:
        for _ in range(count):
            etcd = await clients.enter_async_context(Etcd([endpoint]))
            tasks.create_task(nodes.watch(etcd, few))


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
