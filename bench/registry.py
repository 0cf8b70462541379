"""Usage: python registry.py notify WATCHERS PROCESSES CHANGES | reads NODES AT_ONCE CHANGES | idle SECONDS.

A real etcd on loopback; what was measured is printed as JSON. Times are in seconds, memory in KiB.
"""

import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.rig.agents import AgentNode, agents, eventually
from tests.rig.etcd import Member, etcd
from tests.services.nodes import PREFIX, provider

from nodepkg.clients.etcd.client import Etcd
from nodepkg.clients.etcd.values import Put
from nodepkg.services.entries import Keys, written

BENCH = Path(__file__).parent
KEYS = Keys(PREFIX)


async def _announce(etcd: Etcd, number: int) -> int:
    name = f"i-provider-{number}"
    outcome = await etcd.txn([], [Put(KEYS.provider("api", name), written(provider(name)))])
    return outcome.revision


@contextmanager
def watching(member: Member, count: int, processes: int) -> "Iterator[list[subprocess.Popen[str]]]":
    """Processes that share so many nodes, and all of them watch."""
    command = [sys.executable, str(BENCH / "watching.py"), member.endpoint, str(count // processes)]
    with ExitStack() as until_the_end:
        started = []
        for _ in range(processes):
            process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            until_the_end.callback(process.wait)
            until_the_end.callback(process.kill)
            started.append(process)
        for process in started:
            assert _line(process) == []
        yield started


def _line(process: "subprocess.Popen[str]") -> Any:
    assert process.stdout
    return json.loads(process.stdout.readline())


def notify(member: Member, count: int, processes: int, changes: int) -> dict[str, Any]:
    """Of each change: when it was answered, when each node knew it, when all did, since it was asked for."""
    told: dict[str, Any] = {"answered": [], "each": [], "all": []}

    async def change(client: Etcd, number: int) -> None:
        begun = time.monotonic()
        revision = await _announce(client, number)
        told["answered"].append(time.monotonic() - begun)
        knew = []
        for process in started:
            seen, moments = await asyncio.to_thread(_line, process)
            assert seen == revision, (seen, revision)
            knew += [moment - begun for moment in moments]
        assert len(knew) == count
        told["each"] += knew
        told["all"].append(max(knew))

    async def run() -> None:
        async with Etcd([member.endpoint]) as client:
            for number in range(changes):
                await change(client, number)

    with watching(member, count, processes) as started:
        every = [process.pid for process in started] + [member.process.pid if member.process else 0]
        before, begun = sum(map(cpu, every)), time.monotonic()
        asyncio.run(run())
        told |= {"seconds": time.monotonic() - begun, "cpu": sum(map(cpu, every)) - before}
    return told


def reads(member: Member, folder: Path, count: int, at_once: int, changes: int) -> Mapping[str, int]:
    """The calls that so many nodes make for all changes.

    `reads`: those that only read; `late`: tries to take a slot that another node was quicker with.
    """

    async def announce(number: int) -> None:
        async with Etcd([member.endpoint]) as client:
            await _announce(client, number)

    with agents(folder, member.endpoint) as make:
        nodes = [
            make(f"i-{number}", requires=("api",), ttl=600, at_once=at_once, debounce=0.5) for number in range(count)
        ]
        for number in range(changes + 1):
            if number == 1:  # those of the first come after what an agent reads at its start
                _settle(member)
                before, revision = member.calls(), _revision(member)
            asyncio.run(announce(number))
            hosts = [f"host-i-provider-{known}" for known in range(number + 1)]
            for node in nodes:
                _converged(node, sorted(hosts))
        _settle(member)
        made = member.calls() - before
        grown = _revision(member) - revision
    # The revision was asked for twice, and each change was a transaction of ours.
    made -= Counter({"Txn": changes, "LeaseKeepAlive": made["LeaseKeepAlive"], "Status": made["Status"]})
    late = made["LeaseGrant"] - count * changes
    return {**made, "late": late, "reads": made["Range"] + _only_reading(made, grown - changes, late)}


def _only_reading(made: Counter[str], revisions: int, late: int) -> int:
    """The transactions that were to write nothing: any other is a revision, as each lease is that ends with a key."""
    wrote = revisions - made["Put"] - (made["LeaseRevoke"] - late)
    return made["Txn"] - wrote - late


def _converged(node: AgentNode, hosts: list[str]) -> None:
    eventually(lambda: node.given and node.given[-1] == {"api": hosts}, lambda: (node.given, node.events()))


def _settle(member: Member) -> None:
    """Until nobody has anything to say for a second."""
    said = None
    while said != (said := member.calls()):
        time.sleep(1)


def _revision(member: Member) -> int:
    return int(member.call("maintenance/status")["header"]["revision"])


def idle(member: Member, folder: Path, seconds: float) -> dict[str, Any]:
    """What an agent costs while nothing happens."""
    with agents(folder, member.endpoint) as make:
        begun = time.monotonic()
        said = {"provides": ("api",), "requires": ("db", "cache", "search"), "ttl": 30, "debounce": 2, "doubt": 30}
        node = make("i-1", **said)
        node.said_that("announced")
        start = time.monotonic() - begun
        node.said_that("converged")
        time.sleep(5)
        assert node.process
        before, used, since = member.calls("msg_received"), cpu(node.process.pid), time.monotonic()
        time.sleep(seconds)
        lasted = time.monotonic() - since
        requests = member.calls("msg_received") - before
        return {
            "start": start,
            "cpu": (cpu(node.process.pid) - used) / lasted,
            "memory": memory(node.process.pid),
            "requests": {name: number / lasted * 60 for name, number in requests.items()},
        }


def cpu(pid: int) -> float:
    """Seconds that all threads of a process have run."""
    threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9


def memory(pid: int) -> dict[str, int]:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    found = {name: int(number.split()[0]) for name, _, number in (line.partition(":") for line in lines)}
    return {**found, "Private": found["Private_Clean"] + found["Private_Dirty"]}


def main(part: str, *numbers: str) -> Any:
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    with tempfile.TemporaryDirectory(prefix="nodepkg-etcd-") as name, etcd(Path(name)) as [member]:
        match part, list(map(int, numbers)):
            case "notify", [count, processes, changes]:
                return notify(member, count, processes, changes)
            case "reads", [count, at_once, changes]:
                return reads(member, Path(name), count, at_once, changes)
            case "idle", [seconds]:
                return idle(member, Path(name), seconds)
    raise SystemExit(__doc__)


if __name__ == "__main__":
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    print(json.dumps(main(*sys.argv[1:])))
