"""Many agents at once, against a real etcd: bursts of changes, a leader that is killed, everybody starting together."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from nodepkg.clients.etcd.client import Etcd
from nodepkg.services.agent import Agent, Place
from nodepkg.services.entries import Keys, Leaving, written
from nodepkg.services.identity import Said
from tests.rig.etcd import Member, etcd
from tests.services.nodes import PREFIX, provider, write

KEYS = Keys(PREFIX)
LONG = 120.0


@dataclass
class Converges:
    """What the nodes of a crowd wrote while they converged: `start NAME` and `end NAME`, in one file."""

    file: Path

    @property
    def lines(self) -> list[list[str]]:
        return [line.split() for line in self.file.read_text().splitlines()] if self.file.exists() else []

    def count(self) -> Counter[str]:
        return Counter(name for word, name in self.lines if word == "start")

    def at_once(self, names: set[str]) -> int:
        """Most of these nodes that ran at the same time."""
        running, most = 0, 0
        for word, name in self.lines:
            if name in names:
                running += 1 if word == "start" else -1
                most = max(most, running)
        return most

    def overlaps(self) -> list[str]:
        """Nodes that ran two at a time."""
        running: Counter[str] = Counter()
        twice = []
        for word, name in self.lines:
            running[name] += 1 if word == "start" else -1
            if running[name] > 1:
                twice.append(name)
        return twice


@dataclass
class Crowd:
    """Agents in this process, by name; each converges for real, with a command that notes its start and end."""

    folder: Path
    endpoints: list[str]
    seconds: float = 0.05
    agents: dict[str, Agent] = field(default_factory=dict)
    told: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    tasks: list["asyncio.Task[None]"] = field(default_factory=list)

    @property
    def converges(self) -> Converges:
        return Converges(self.folder / "converges")

    def add(self, name: str, **said: Any) -> None:
        folder = self.folder / name
        shared = self.converges.file
        command = f"echo start {name} >>{shared}; sleep {self.seconds}; echo end {name} >>{shared}"
        write(folder / "services.json", endpoints=self.endpoints, path=str(folder), command=command, **said)
        (folder / "dna.json").write_text(json.dumps({"id": name, "run_list": []}))
        self.told[name] = []
        place = Place(folder / "services.json", Said(name, f"host-{name}", "a"), folder / "home", {}, withdraw=0.1)

        def tell(event: str, /, **facts: object) -> None:
            self.told[name].append({"event": event, **facts})

        self.agents[name] = Agent(place, tell)
        self.tasks.append(asyncio.create_task(self.agents[name].run()))

    def given(self, name: str) -> dict[str, int]:
        """How many hosts of each service the last converge was given."""
        session = self.agents[name].session
        attributes = session.converger.state.attributes if session else None
        return {service: len(found) for service, found in (attributes or {"services": {}})["services"].items()}

    async def until(self, what: Callable[[], bool], why: Callable[[], object] = lambda: "") -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + LONG
        while not what():
            for task in self.tasks:
                if task.done():
                    task.result()
            assert loop.time() < end, why()
            await asyncio.sleep(0.05)


@asynccontextmanager
async def crowd(folder: Path, *endpoints: str, seconds: float = 0.05) -> AsyncIterator[Crowd]:
    made = Crowd(folder, list(endpoints), seconds)
    try:
        yield made
    finally:
        for task in made.tasks:
            task.cancel()
        await asyncio.gather(*made.tasks, return_exceptions=True)


def test_a_storm_makes_each_that_needs_it_converge_once_and_nobody_else(member: Member, tmp_path: Path) -> None:
    """A thousand changes within one burst; twice where it straddles a converge that has begun."""

    async def run() -> None:
        async with crowd(tmp_path, member.endpoint) as made, Etcd([member.endpoint], timeout=LONG) as client:
            users = [f"i-www-{number}" for number in range(12)]
            for name in users:
                made.add(name, group="www", requires=("api",), at_once=3, debounce=3, most_debounce=60)
            for name in ("i-other-1", "i-other-2"):
                made.add(name, group="other", requires=("else",), at_once=1)
            await made.until(lambda: all(made.given(name) for name in made.agents))
            before = made.converges.count()
            lease = (await client.grant(600)).id
            for number in range(1000):
                name = f"i-{number % 250}"
                await client.put(KEYS.provider("api", name), written(provider(name, 1000 + number)), lease)
            await made.until(lambda: all(made.given(name) == {"api": 250} for name in users))
            await made.until(
                lambda: not any(one.session and one.session.converger.state.run for one in made.agents.values())
            )
            after = made.converges.count()
            times = {name: after[name] - before[name] for name in made.agents}
            assert {times[name] for name in users} <= {1, 2}, times
            assert [times["i-other-1"], times["i-other-2"]] == [0, 0]
            assert made.converges.at_once(set(users)) <= 3
            assert made.converges.overlaps() == []

    asyncio.run(run())


def test_fifty_agents_that_start_at_once_are_all_there(member: Member, tmp_path: Path) -> None:
    async def run() -> None:
        async with crowd(tmp_path, member.endpoint) as made, Etcd([member.endpoint], timeout=LONG) as client:
            for number in range(50):
                made.add(f"i-{number}", group="bee", provides=("api",), requires=("api",), at_once="50%", ttl=60)
            await made.until(
                lambda: all(made.given(name) == {"api": 50} for name in made.agents),
                lambda: {name: made.given(name) for name in made.agents},
            )
            assert len((await client.range(KEYS.providers("api"))).items) == 50
            assert made.converges.overlaps() == []
            assert made.converges.at_once(set(made.agents)) <= 25
            assert not any(told["event"] == "lease gone" for log in made.told.values() for told in log)

    asyncio.run(run())


def test_the_canary_goes_first_and_one_that_fails_holds_the_others_back(member: Member, tmp_path: Path) -> None:
    async def run() -> None:
        async with crowd(tmp_path, member.endpoint) as made, Etcd([member.endpoint], timeout=LONG) as client:
            names = [f"i-{number}" for number in range(4)]
            for name in names:
                made.add(name, group="www", requires=("api",), at_once=4)
            await made.until(lambda: all(made.given(name) == {"api": 0} for name in names))
            for name in names:
                (tmp_path / name / "dna.json").write_text("{")  # whoever goes first fails
            lease = (await client.grant(600)).id
            await client.put(KEYS.provider("api", "i-9"), written(provider("i-9")), lease)
            await made.until(
                lambda: any(told["event"] == "converge failed" for log in made.told.values() for told in log)
            )
            await asyncio.sleep(1)
            failed = [name for name in names if any(told["event"] == "converge failed" for told in made.told[name])]
            assert len(failed) == 1
            for name in names:
                (tmp_path / name / "dna.json").write_text('{"run_list": []}')
            await made.until(lambda: all(made.given(name) == {"api": 1} for name in names))
            last = [told for told in made.told[failed[0]] if told["event"] == "converging"][-1]
            assert last["canary"]

    asyncio.run(run())


@pytest.fixture
def three(tmp_path: Path) -> Iterator[list[Member]]:
    with etcd(tmp_path, members=3) as members:
        yield members


def test_with_its_leader_killed_no_converge_is_lost_and_none_runs_twice(three: list[Member], tmp_path: Path) -> None:
    async def run() -> None:
        endpoints = [one.endpoint for one in three]
        async with crowd(tmp_path, *endpoints, seconds=0.3) as made, Etcd(endpoints, timeout=LONG) as client:
            users = [f"i-www-{number}" for number in range(6)]
            for name in users:
                made.add(name, group="www", requires=("api",), at_once=2, ttl=20)
            made.add("i-1", provides=("api",), ttl=20)
            await made.until(lambda: all(made.given(name) == {"api": 1} for name in users))
            made.add("i-2", provides=("api",), ttl=20)
            await made.until(lambda: made.converges.count().total() > 6)
            leader = next(one for one in three if one.leads)
            leader.kill()
            made.add("i-3", provides=("api",), ttl=20)  # announces succeed again within one election
            await made.until(
                lambda: all(made.given(name) == {"api": 3} for name in users),
                lambda: ({name: made.given(name) for name in users}, made.told),
            )
            assert made.converges.overlaps() == []
            assert made.converges.at_once(set(users)) <= 2
            assert len((await client.range(KEYS.providers("api"))).items) == 3
            assert not any(told["event"] == "doubted" for log in made.told.values() for told in log)

    asyncio.run(run())


def test_who_only_provides_a_service_is_told_of_the_others_and_does_not_converge_for_them(
    member: Member, tmp_path: Path
) -> None:
    async def run() -> None:
        async with crowd(tmp_path, member.endpoint) as made, Etcd([member.endpoint], timeout=LONG) as client:
            made.add("i-1", provides=("web",), requires=("api",))
            await made.until(lambda: made.given("i-1") == {"api": 0, "web": 1})
            lease = (await client.grant(600)).id
            await client.put(KEYS.provider("web", "i-2"), written(provider("i-2")), lease)
            await asyncio.sleep(1)
            assert made.converges.count()["i-1"] == 1
            await client.put(KEYS.provider("api", "i-3"), written(provider("i-3")), lease)
            await made.until(lambda: made.given("i-1") == {"api": 1, "web": 2})
            assert made.converges.count()["i-1"] == 2

    asyncio.run(run())


def test_a_canary_that_is_not_well_converges_for_what_comes_next_and_the_others_wait(
    member: Member, tmp_path: Path
) -> None:
    """Its service is well only while it knows of two providers."""

    async def run() -> None:
        async with crowd(tmp_path, member.endpoint) as made, Etcd([member.endpoint], timeout=LONG) as client:
            lease = (await client.grant(600)).id
            for name in ("i-1", "i-2"):
                await client.put(KEYS.provider("api", name), written(provider(name)), lease)
            for name in ("i-www-1", "i-www-2"):
                check = {"command": f"grep -q i-2 {tmp_path / name}/dna.json", "interval": 0.1, "timeout": 5}
                made.add(
                    name,
                    group="www",
                    provides=("web",),
                    requires=("api",),
                    checks={"web": {**check, "rise": 1, "fall": 2}},
                    at_once=2,
                )
            await made.until(lambda: all(made.given(name).get("api") == 2 for name in made.agents))
            before = made.converges.count()
            leaving = written(Leaving("i-2", "ann", ""))
            await client.put(KEYS.leaving("i-2"), leaving)
            await made.until(lambda: any(made.given(name).get("api") == 1 for name in made.agents))
            await asyncio.sleep(1)
            (canary,) = [name for name in made.agents if made.given(name).get("api") == 1]
            await client.delete(KEYS.leaving("i-2"))
            await made.until(lambda: all(made.given(name).get("api") == 2 for name in made.agents))
            after = made.converges.count()
            assert after[canary] - before[canary] == 2
            assert after.total() - before.total() == 2
            await client.put(KEYS.provider("api", "i-3"), written(provider("i-3")), lease)
            await made.until(lambda: all(made.given(name).get("api") == 3 for name in made.agents))

    asyncio.run(run())
