"""The registry in a real etcd: announcing, leaving, acknowledging."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from nodepkg.clients.etcd.client import Etcd
from nodepkg.errors import RefusedError
from nodepkg.services import registry
from nodepkg.services.entries import Keys, Leaving
from nodepkg.services.registry import Snapshot, Withdrawn
from nodepkg.services.terms import Location, Offer
from tests.rig.etcd import Member
from tests.services.nodes import PREFIX, node

KEYS = Keys(PREFIX)
API, WEB = Offer("api", 8080, None), Offer("web", None, None)
ONE, TWO = node("i-1"), node("i-2", "www")
LONG = 30.0


def using(member: Member, use: Callable[[Etcd], Awaitable[object]]) -> None:
    async def run() -> None:
        async with Etcd([member.endpoint], timeout=LONG) as etcd:
            await use(etcd)

    asyncio.run(run())


async def lease(etcd: Etcd) -> int:
    return (await etcd.grant(60)).id


def shown(found: Snapshot) -> dict[str, list[str]]:
    return {service: sorted(listed) for service, listed in found.providers.items()}


def test_what_is_announced_is_listed_and_goes_with_its_lease(member: Member) -> None:
    async def use(etcd: Etcd) -> None:
        own = await lease(etcd)
        await registry.announce(etcd, KEYS, ONE, [API, WEB], own)
        await registry.announce(etcd, KEYS, TWO, [API], await lease(etcd))
        found = await registry.snapshot(etcd, KEYS)
        assert shown(found) == {"api": ["i-1", "i-2"], "web": ["i-1"]}
        one = found.providers["api"]["i-2"]
        assert (one.group, one.address, one.port, one.zone) == ("www", "host-i-2", 8080, "a")
        await etcd.revoke(own)
        assert shown(await registry.snapshot(etcd, KEYS)) == {"api": ["i-2"]}

    using(member, use)


def test_who_announces_again_replaces_only_its_own(member: Member) -> None:
    async def use(etcd: Etcd) -> None:
        await registry.announce(etcd, KEYS, ONE, [API], await lease(etcd))
        newer = await lease(etcd)
        await registry.announce(etcd, KEYS, replace(ONE, address="new"), [API], newer)
        there = await etcd.get(KEYS.provider("api", "i-1"))
        assert there
        assert there.lease == newer
        with pytest.raises(RefusedError) as raised:
            await registry.announce(etcd, KEYS, replace(ONE, agent="twin", address="other"), [API], newer)
        assert "another node that calls itself i-1 (new)" in raised.value.message
        assert await etcd.get(KEYS.provider("api", "i-1")) == there
        await registry.retract(etcd, KEYS, replace(ONE, agent="twin"), ["api"])
        assert await etcd.get(KEYS.provider("api", "i-1")) == there
        await registry.retract(etcd, KEYS, ONE, ["api", "web"])
        assert await etcd.get(KEYS.provider("api", "i-1")) is None

    using(member, use)


def test_a_value_of_somebody_else_is_overwritten_by_whose_key_it_is(member: Member) -> None:
    async def use(etcd: Etcd) -> None:
        await etcd.put(KEYS.provider("api", "i-1"), "garbage")
        await registry.announce(etcd, KEYS, ONE, [API], await lease(etcd))
        assert shown(await registry.snapshot(etcd, KEYS)) == {"api": ["i-1"]}

    using(member, use)


def test_leaving_is_said_once_by_whoever_said_it_first(member: Member) -> None:
    async def use(etcd: Etcd) -> None:
        first = await registry.say_leaving(etcd, KEYS, Leaving("i-1", "ann", "t"))
        assert await registry.say_leaving(etcd, KEYS, Leaving("i-1", "agent", "t")) == first
        assert (await registry.snapshot(etcd, KEYS)).leaving["i-1"].by == "ann"
        assert not await registry.unsay_leaving(etcd, KEYS, "i-1", by="agent")
        assert await registry.unsay_leaving(etcd, KEYS, "i-1", by="ann")
        assert not await registry.unsay_leaving(etcd, KEYS, "i-1")
        assert (await registry.snapshot(etcd, KEYS)).leaving == {}

    using(member, use)


def test_an_agent_that_ends_gives_way_to_anybody_else_who_says_so(member: Member) -> None:
    """The next agent takes back what the one before it has said, and not what a user has."""

    async def use(etcd: Etcd) -> None:
        first = await registry.say_leaving(etcd, KEYS, Leaving("i-1", "agent", "t"))
        assert await registry.say_leaving(etcd, KEYS, Leaving("i-1", "ann", "t")) > first
        assert not await registry.unsay_leaving(etcd, KEYS, "i-1", by="agent")
        await registry.say_leaving(etcd, KEYS, Leaving("i-2", "agent", "t", ("api",)))
        await registry.say_leaving(etcd, KEYS, Leaving("i-2", "ann", "t", ("web",)))
        told = (await registry.snapshot(etcd, KEYS)).leaving["i-2"]
        assert (told.by, sorted(told.services or ())) == ("ann", ["api", "web"])

    using(member, use)


def test_who_leaves_with_some_services_may_leave_with_more(member: Member) -> None:
    async def use(etcd: Etcd) -> None:
        revisions = [
            await registry.say_leaving(etcd, KEYS, Leaving("i-1", "agent", "t", services))
            for services in [("api",), ("api",), ("web",), None, ("api",)]
        ]
        assert revisions[0] == revisions[1] < revisions[2] < revisions[3] == revisions[4]
        assert (await registry.snapshot(etcd, KEYS)).leaving["i-1"].services is None

    using(member, use)


def test_a_node_is_taken_away_when_all_that_use_it_have_heard_it(member: Member) -> None:
    async def use(etcd: Etcd) -> None:
        await registry.announce(etcd, KEYS, ONE, [API], await lease(etcd))
        for name in ("c-1", "c-2"):
            await etcd.put(KEYS.consumer("api", name), "1")
        await etcd.put(KEYS.consumer("other", "c-3"), "1")  # of another service
        withdrawn = asyncio.create_task(
            registry.withdraw(etcd, KEYS, ONE, Leaving("i-1", "ann", "t"), ["api"], seconds=LONG)
        )
        while not (leaving := await etcd.get(KEYS.leaving("i-1"))):
            await asyncio.sleep(0.01)
        await etcd.put(KEYS.consumer("api", "c-1"), str(leaving.mod_revision))
        await asyncio.sleep(0.2)
        assert not withdrawn.done()
        assert await etcd.get(KEYS.provider("api", "i-1"))  # said before it is taken away
        await etcd.put(KEYS.consumer("api", "c-2"), str(leaving.mod_revision + 9))
        assert await withdrawn == Withdrawn(("api",), {})
        assert await etcd.get(KEYS.provider("api", "i-1")) is None
        assert await etcd.get(KEYS.leaving("i-1"))

    using(member, use)


def test_a_consumer_that_vanishes_or_leaves_itself_is_not_waited_for(member: Member) -> None:
    async def use(etcd: Etcd) -> None:
        gone = await lease(etcd)
        await etcd.put(KEYS.consumer("api", "c-1"), "1", gone)
        await etcd.put(KEYS.consumer("api", "i-1"), "1")
        told = {"i-1": await registry.say_leaving(etcd, KEYS, Leaving("i-1", "ann", "t"))}
        waiting = asyncio.create_task(registry.await_acknowledged(etcd, KEYS, told, {"api": ["i-1"]}, LONG))
        await asyncio.sleep(0.1)
        assert not waiting.done()
        await etcd.revoke(gone)
        assert await waiting == {}

    using(member, use)


def test_who_does_not_acknowledge_in_time_is_told(member: Member) -> None:
    async def use(etcd: Etcd) -> None:
        await registry.announce(etcd, KEYS, ONE, [API], await lease(etcd))
        await etcd.put(KEYS.consumer("api", "c-1"), "garbage")
        told = Leaving("i-1", "ann", "t")
        withdrawn = await registry.withdraw(etcd, KEYS, ONE, told, ["api"], seconds=0.2)
        assert withdrawn.unacknowledged == {"api": ["c-1"]}
        assert await etcd.get(KEYS.provider("api", "i-1")) is None

    using(member, use)


def test_a_password_comes_from_the_environment_or_a_file(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("from a file\n")
    location = Location(("http://127.0.0.1:1",), PREFIX, user="nodes", password_file=str(secret))
    for environ, user, password in [
        ({}, "nodes", "from a file"),
        ({"NODEPKG_ETCD_PASSWORD": "said"}, "nodes", "said"),
        ({"NODEPKG_ETCD_USER": "ann", "NODEPKG_ETCD_PASSWORD": "said"}, "ann", "said"),
    ]:
        assert registry.login(location, environ) == (user, password)
    secret.unlink()
    with pytest.raises(RefusedError) as raised:
        registry.login(location, {})
    assert str(secret) in raised.value.message
