"""Agents in the test's own process against a real etcd: reloads, ends, twins, and what is refused meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from nodepkg.clients.etcd.client import Etcd
from nodepkg.errors import RefusedError
from nodepkg.services import registry
from nodepkg.services.agent import Agent, Place
from nodepkg.services.entries import Keys, Leaving, written
from nodepkg.services.identity import Said
from tests.rig.etcd import Member, etcd
from tests.services.nodes import PREFIX, node, write

KEYS = Keys(PREFIX)
LONG = 60.0


@dataclass
class Inside:
    """An agent that runs in this process. What it converges with goes into `ran`."""

    folder: Path
    name: str
    said: dict[str, Any]
    environ: dict[str, str] = field(default_factory=dict)
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True)
        (self.folder / "dna.json").write_text('{"run_list": []}')
        self.write()
        place = Place(self.file, Said(self.name, f"host-{self.name}", "a"), self.folder / "home", self.environ, LONG)
        self.agent = Agent(place, lambda event, /, **facts: self.events.append((event, facts)))

    @property
    def file(self) -> Path:
        return self.folder / "services.json"

    def write(self, **said: Any) -> None:
        self.said = {**self.said, **said}
        write(self.file, **{"path": str(self.folder), "command": f"cat {self.folder}/dna.json", **self.said})

    def reload(self, **said: Any) -> None:
        self.write(**said)
        self.agent.reload()

    def heard(self, name: str) -> list[dict[str, Any]]:
        return [facts for event, facts in self.events if event == name]

    async def said_that(self, name: str, count: int = 1) -> dict[str, Any]:
        await until(lambda: len(self.heard(name)) >= count, lambda: (name, self.events))
        return self.heard(name)[count - 1]


async def until(what: Callable[[], Any], why: Callable[[], object] = lambda: "") -> Any:
    """The first true value of it, which may have to be awaited."""
    try:
        async with asyncio.timeout(LONG):
            while True:
                found = what()
                found = await found if isinstance(found, Awaitable) else found
                if found:
                    return found
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(why()) from None


@dataclass
class Rig:
    """The folder of the agents, their etcd, and a client of it."""

    folder: Path
    member: Member
    etcd: Etcd

    @asynccontextmanager
    async def running(
        self, name: str, *, folder: str = "", said: dict[str, Any] | None = None, **more: Any
    ) -> AsyncIterator[Inside]:
        """An agent; it ends with the block, whatever happens."""
        document = {"endpoints": (self.member.endpoint,), **(said or {}), **more}
        one = Inside(self.folder / (folder or name), name, document)
        task = asyncio.create_task(one.agent.run())
        try:
            yield one
        finally:
            one.agent.stop()
            await task

    async def keys(self, below: str = "") -> list[str]:
        listed = await self.etcd.range(f"{PREFIX}/{below}")
        return [item.key.removeprefix(f"{PREFIX}/") for item in listed.items]

    async def shows(self, below: str, *keys: str) -> None:
        """Waits until just these keys are there."""

        async def there() -> bool:
            return await self.keys(below) == [*keys]

        await until(there)


def within(member: Member, folder: Path, use: Callable[[Rig], Awaitable[None]]) -> None:
    async def work() -> None:
        async with Etcd([member.endpoint], timeout=30) as client:
            await use(Rig(folder, member, client))

    asyncio.run(work())


def test_what_a_node_needs_no_more_is_not_waited_for_any_more(member: Member, tmp_path: Path) -> None:
    """Its key as a consumer would stay under the lease, and never acknowledge anything again."""

    async def use(rig: Rig) -> None:
        async with rig.running("i-www", group="www", requires=("api", "db"), provides=("web",)) as www:
            await until(lambda: rig.keys("consumers/api/"))
            await www.said_that("announced")
            www.reload(requires=["db"])
            await www.said_that("started", 2)
            await rig.shows("consumers/", "consumers/db/i-www")
            assert await rig.keys("services/") == ["services/web/i-www"]

    within(member, tmp_path, use)


def test_another_ttl_group_or_prefix_counts_after_a_reload(member: Member, tmp_path: Path) -> None:
    async def use(rig: Rig) -> None:
        async with rig.running("i-1", provides=("api",), ttl=3) as one:
            await one.said_that("announced")
            one.reload(ttl=300, group="wasp")
            await one.said_that("announced", 2)
            await rig.shows("nodes/", "nodes/wasp/i-1")
            there = await rig.etcd.get(KEYS.provider("api", "i-1"))
            assert there
            assert await rig.etcd.time_to_live(there.lease) > 200
            one.reload(prefix="/else")
            await one.said_that("announced", 3)
            await rig.shows("")
            assert [item.key for item in (await rig.etcd.range("/else/services/")).items] == ["/else/services/api/i-1"]
            assert not one.heard("lease gone")
        assert not (await rig.etcd.range("/else/services/")).items

    within(member, tmp_path, use)


def test_what_retires_stays_until_it_is_heard_also_under_a_lease_of_before(member: Member, tmp_path: Path) -> None:
    """Another ttl means another lease; the wait may be much longer than that of before."""

    async def use(rig: Rig) -> None:
        async with rig.running("i-1", provides=("api", "web"), ttl=2) as one:
            await one.said_that("announced", 2)
            await rig.etcd.put(KEYS.consumer("api", "c-1"), "1")
            one.reload(provides=("web",), ttl=3)
            await one.said_that("announced", 3)
            await asyncio.sleep(3.5)
            assert await rig.keys("services/") == ["services/api/i-1", "services/web/i-1"]
            await rig.etcd.delete(KEYS.consumer("api", "c-1"))
            await one.said_that("converged")
            assert await rig.keys("services/") == ["services/web/i-1"]
            assert not one.heard("lease gone")

    within(member, tmp_path, use)


def test_a_reload_that_cannot_work_is_told_and_the_last_good_one_goes_on(member: Member, tmp_path: Path) -> None:
    async def use(rig: Rig) -> None:
        async with rig.running("i-1", provides=("api",)) as one:
            await one.said_that("announced")
            secret = one.folder / "password"
            wrongs: list[dict[str, Any]] = [
                {"password_file": str(secret), "user": "nodes"},
                {"endpoints": ["ftp://elsewhere"], "password_file": None},
                {"endpoints": [], "etcd": []},
            ]
            for number, wrong in enumerate(wrongs, start=1):
                one.reload(**wrong)
                assert (await one.said_that("not reloaded", number))["why"]
            one.file.unlink()
            one.agent.reload()
            assert "is not there" in (await one.said_that("not reloaded", 4))["why"]
            assert len(one.heard("started")) == 1
            del one.said["etcd"]
            one.reload(endpoints=[member.endpoint], ttl=4)
            await one.said_that("started", 2)

    within(member, tmp_path, use)


def test_a_password_that_was_rotated_is_read_by_a_reload(tmp_path: Path) -> None:
    """Also where services.json is as before. etcd refuses the old one meanwhile, and that ends nothing."""
    with etcd(tmp_path) as [member]:
        secret = tmp_path / "password"
        secret.write_text("oldsecret")
        member.protect("rootsecret", "nodes", "newsecret", PREFIX)

        async def use(rig: Rig) -> None:
            said = {"user": "nodes", "password_file": str(secret), "provides": ("api",), "requires": ("db",)}
            async with rig.running("i-1", said=said) as one:
                assert "authentication failed" in (await one.said_that("registry lost"))["why"]
                secret.write_text("newsecret")
                one.agent.reload()
                await one.said_that("announced")
                await one.said_that("converged")
                assert "secret" not in repr((one.events, vars(one.agent)))

        within(member, tmp_path, use)


def test_a_twin_that_ends_does_not_say_that_the_other_one_leaves(member: Member, tmp_path: Path) -> None:
    async def use(rig: Rig) -> None:
        async with rig.running("i-1", provides=("api",)) as one:
            await one.said_that("announced")
            async with rig.running("i-1", folder="twin", provides=("api",)) as twin:
                assert "another node that calls itself i-1" in (await twin.said_that("refused"))["why"]
            assert "another node" in twin.heard("not left")[0]["why"]
            assert await rig.keys("leaving/") == []
            assert await rig.keys("services/") == ["services/api/i-1"]

    within(member, tmp_path, use)


def test_two_that_need_each_other_end_together(member: Member, tmp_path: Path) -> None:
    """Neither converges any more, so neither could acknowledge: they would wait for each other for a minute."""

    async def use(rig: Rig) -> None:
        async with (
            rig.running("i-1", provides=("api",), requires=("web",)) as one,
            rig.running("i-2", group="www", provides=("web",), requires=("api",)) as two,
        ):
            await rig.shows("consumers/", "consumers/api/i-2", "consumers/web/i-1")
            one.agent.stop()
            two.agent.stop()
            assert [await x.said_that("left") for x in (one, two)] == [{"unacknowledged": {}}] * 2
        assert not one.heard("not left")

    within(member, tmp_path, use)


def test_an_agent_that_ends_with_what_it_never_announced_waits_for_nobody(member: Member, tmp_path: Path) -> None:
    async def use(rig: Rig) -> None:
        check = {"command": "false", "interval": 1, "timeout": 5, "rise": 1, "fall": 1}
        await rig.etcd.put(KEYS.consumer("api", "c-1"), "1")
        async with rig.running("i-1", provides=("api",), checks={"api": check}) as one:
            await until(lambda: rig.keys("nodes/"))
        assert one.heard("left") == [{"unacknowledged": {}}]

    within(member, tmp_path, use)


def test_what_a_user_withdrew_after_the_agent_had_ended_stays_withdrawn(member: Member, tmp_path: Path) -> None:
    async def use(rig: Rig) -> None:
        async with rig.running("i-1", provides=("api",)) as one:
            await one.said_that("announced")
        await registry.say_leaving(rig.etcd, KEYS, Leaving("i-1", "ann", "t"))
        async with rig.running("i-1", folder="again", provides=("api",)):
            await until(lambda: rig.keys("nodes/"))
            assert await rig.keys("leaving/") == ["leaving/i-1"]
            assert await rig.keys("services/") == []

    within(member, tmp_path, use)


def test_a_withdrawal_of_what_another_node_announces_is_refused(member: Member, tmp_path: Path) -> None:
    async def use(rig: Rig) -> None:
        lease = (await rig.etcd.grant(60)).id
        one = node("i-1")
        await registry.announce(rig.etcd, KEYS, one, [], lease)
        await registry.put_own(rig.etcd, KEYS.node("bee", "i-1"), "garbage", lease, one.agent)
        told = Leaving("i-1", "ann", "t")
        assert (await registry.withdraw(rig.etcd, KEYS, one, told, ["api"], seconds=LONG)).services == ()
        await rig.etcd.delete(KEYS.leaving("i-1"))
        await rig.etcd.put(KEYS.node("bee", "i-1"), written(one.node(["api"])), lease)
        with pytest.raises(RefusedError):
            await registry.withdraw(rig.etcd, KEYS, replace(one, agent="twin"), told, ["api"], seconds=LONG)
        assert await rig.keys("leaving/") == []

    within(member, tmp_path, use)


def test_a_check_that_is_another_one_takes_nothing_back_until_it_has_said_so(member: Member, tmp_path: Path) -> None:
    """A deploy brings it to all providers of a service at once."""

    async def use(rig: Rig) -> None:
        check = {"command": "true", "interval": 0.1, "timeout": 5, "rise": 1, "fall": 1}
        async with rig.running("i-1", provides=("api",), checks={"api": check}) as one:
            await one.said_that("announced")
            one.reload(checks={"api": {**check, "interval": 0.2, "rise": 1000}}, ttl=4)
            await one.said_that("announced", 2)  # under the lease that another ttl makes
            assert not one.heard("retracted")
            one.reload(checks={"api": {**check, "command": "false"}})
            await one.said_that("retracted")
            assert len(one.heard("unwell")) == 1

    within(member, tmp_path, use)


def test_without_a_registry_an_agent_ends_and_says_that_it_could_not_leave(member: Member, tmp_path: Path) -> None:
    async def use(rig: Rig) -> None:
        nowhere = ["http://127.0.0.1:1", "http://127.0.0.1:2"]
        async with rig.running("i-1", provides=("api",), requires=("db",), endpoints=nowhere) as one:
            await one.said_that("registry lost")
            for _ in range(100):
                one.agent.reload()
                await asyncio.sleep(0)
        assert "etcd does not answer" in one.heard("not left")[0]["why"]
        assert len(one.heard("started")) == 1
        assert not one.heard("converging")

    within(member, tmp_path, use)
