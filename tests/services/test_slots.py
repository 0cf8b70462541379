"""The fleet's semaphore against a real etcd: who holds a slot is counted by the tests themselves."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from nodepkg.clients.etcd.client import Etcd
from nodepkg.clients.etcd.values import Compare, Lease, Operation, Outcome, Put
from nodepkg.errors import LeaseGoneError, UnreachableError
from nodepkg.pace import Share
from nodepkg.services import slots as module
from nodepkg.services.entries import Keys
from nodepkg.services.registry import ThisNode
from nodepkg.services.slots import Slot, Slots
from nodepkg.services.turn import FAILED, canary
from tests.rig.etcd import Member, etcd

LONG = 30.0  # where it comes; nobody waits for it
SHORT = 0.2  # where it must not come
TTL = 60
KEYS = Keys("/nodepkg")
PACE = KEYS.pace("bee")
CHANCE = random.Random(8)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Member]:
    with etcd(tmp_path_factory.mktemp("shared")) as [member]:
        yield member


@pytest.fixture
def one(shared: Member) -> Member:
    """One etcd that runs, with no keys in it."""
    shared.empty()
    return shared


def using(member: Member, use: Callable[[Etcd], Awaitable[None]]) -> None:
    async def run() -> None:
        async with asyncio.timeout(4 * LONG), Etcd([member.endpoint], timeout=LONG) as client:
            await use(client)

    asyncio.run(run())


def soon(seconds: float) -> float:
    return CHANCE.uniform(0, seconds / 20)


def slots_of(client: Etcd, name: str, at_once: int | Share = 1, ttl: int = TTL) -> Slots:
    me = ThisNode(f"i-{name}", "bee", "127.0.0.1", "a", "d1", f"agent-{name}")
    share = at_once if isinstance(at_once, Share) else Share(at_once)
    return Slots(client, KEYS, me, share, ttl, jitter=soon)


async def agent_lease(client: Etcd) -> int:
    return (await client.grant(TTL)).id


async def names(client: Etcd) -> dict[str, str]:
    """What stands below the pace of the group."""
    return {item.key.removeprefix(PACE): item.value for item in (await client.range(PACE)).items}


async def stays_away(*tasks: asyncio.Task[Slot]) -> None:
    """None of them gets on."""
    done, _ = await asyncio.wait(tasks, timeout=SHORT, return_when=asyncio.FIRST_COMPLETED)
    assert not done


async def end(task: asyncio.Task[Any]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


@dataclass
class Floor:
    """Who is converging, as the nodes themselves know it."""

    inside: int = 0
    most: int = 0
    total: int = 0
    full: asyncio.Event = field(default_factory=asyncio.Event)

    async def converge(self, taken: Slot, until: int) -> None:
        """The first ones wait until so many are at it."""
        self.inside += 1
        self.total += 1
        self.most = max(self.most, self.inside)
        if self.inside >= until:
            self.full.set()
        async with asyncio.timeout(LONG):
            await self.full.wait()
        await asyncio.sleep(soon(0.1))
        self.inside -= 1
        while not await taken.release(healthy=True):
            await asyncio.sleep(0.05)


def test_a_slot_takes_one_look_at_the_others_the_canarys_too(one: Member) -> None:
    async def use(client: Etcd) -> None:
        lease = await agent_lease(client)
        for revision, name in ((7, "a"), (7, "b")):
            before = one.calls()
            slot = await slots_of(client, name).take(revision, lease)
            assert await slot.release(healthy=True)
            assert slot.canary is (name == "a")
            # It looks, takes the slot, and as the canary says how it went.
            asked = {"Txn": 3 if slot.canary else 2, "LeaseGrant": 1, "LeaseRevoke": 1, "Watch": 1}
            assert one.calls() - before == asked

    using(one, use)


def test_never_more_than_so_many_hold_a_slot_while_nodes_come_and_go(one: Member) -> None:
    async def use(client: Etcd) -> None:
        await client.put(f"{PACE}proven", "9")
        floor, lease = Floor(), await agent_lease(client)

        async def node(name: str) -> None:
            mine = slots_of(client, name, 3)
            for _ in range(2):
                with suppress(TimeoutError):
                    async with asyncio.timeout(CHANCE.choice([0.02, 0.1, None])):  # then it has enough of waiting
                        taken = await mine.take(9, lease)
                    assert not taken.canary
                    await floor.converge(taken, 3)
            await floor.converge(await mine.take(9, lease), 3)

        await asyncio.gather(*(node(f"n{number}") for number in range(30)))
        assert (floor.most, floor.inside) == (3, 0)
        assert floor.total >= 30
        assert await names(client) == {"proven": "9"}

    using(one, use)


def test_a_canary_goes_first_and_alone_until_it_is_healthy(one: Member) -> None:
    async def use(client: Etcd) -> None:
        lease = await agent_lease(client)
        waiting = [asyncio.ensure_future(slots_of(client, f"n{n}", 3).take(7, lease)) for n in range(5)]
        done, others = await asyncio.wait(waiting, timeout=LONG, return_when=asyncio.FIRST_COMPLETED)
        [first] = [task.result() for task in done]
        assert first.canary
        await stays_away(*others)
        assert await first.release(healthy=True)
        assert (await names(client))["proven"] == "7"
        for task in asyncio.as_completed(others):
            taken = await task
            assert not taken.canary
            assert await taken.release(healthy=True)
        assert await names(client) == {"proven": "7"}

    using(one, use)


def test_a_canary_that_failed_holds_the_others_back_until_it_does_better_or_dies(one: Member) -> None:
    async def use(client: Etcd) -> None:
        lease, theirs = await agent_lease(client), await agent_lease(client)
        mine = slots_of(client, "a", 3)
        assert await (await mine.take(7, lease)).release(healthy=False)
        found = canary((await names(client))["canary"])
        assert found
        assert (found.instance, found.revision, found.state) == ("i-a", 7, FAILED)
        other = asyncio.ensure_future(slots_of(client, "b", 3).take(8, theirs))
        await stays_away(other)
        again = await mine.take(8, lease)
        assert again.canary
        await stays_away(other)
        await again.release(healthy=False)
        await stays_away(other)
        await client.revoke(lease)
        taken = await other
        assert taken.canary
        await taken.release(healthy=True)
        assert await names(client) == {"proven": "8"}

    using(one, use)


@pytest.mark.parametrize("failed", [False, True])
def test_a_canary_with_nothing_to_do_any_more_makes_way(one: Member, failed: bool) -> None:
    async def use(client: Etcd) -> None:
        lease = await agent_lease(client)
        mine = slots_of(client, "a")
        taken = await mine.take(7, lease)
        other = slots_of(client, "b")
        assert await other.give_up()  # it is not its own
        assert "canary" in await names(client)
        if failed:
            await taken.release(healthy=False)
            assert await mine.give_up()
        else:
            assert await taken.release(healthy=None)
        assert await names(client) == {}
        assert (await other.take(7, lease)).canary

    using(one, use)


def test_what_is_proven_never_falls_behind(one: Member) -> None:
    async def use(client: Etcd) -> None:
        taken = await slots_of(client, "a").take(7, await agent_lease(client))
        await client.put(f"{PACE}proven", "9")
        await taken.release(healthy=True)
        assert await names(client) == {"proven": "9"}

    using(one, use)


def test_who_converged_though_another_is_the_canary_by_now_has_still_proven_it(one: Member) -> None:
    async def use(client: Etcd) -> None:
        lease, theirs = await agent_lease(client), await agent_lease(client)
        taken = await slots_of(client, "a", 2).take(7, lease)
        await client.revoke(lease)
        other = await slots_of(client, "b", 2).take(8, theirs)
        assert other.canary
        assert await taken.release(healthy=True)
        assert set(await names(client)) == {"proven", "canary", f"slot/{other.index}"}
        assert (await names(client))["proven"] == "7"
        assert not (await slots_of(client, "c", 2).take(7, theirs)).canary

    using(one, use)


def test_a_canary_whose_slot_ran_out_holds_nobody_back(one: Member) -> None:
    async def use(client: Etcd) -> None:
        lease = await agent_lease(client)
        lost = await slots_of(client, "a").take(7, lease)
        other = asyncio.ensure_future(slots_of(client, "b").take(7, lease))
        await stays_away(other)
        await client.revoke(lost.lease)
        taken = await other
        assert taken.canary
        assert await lost.release(healthy=False)  # the canary is another's, and so is the slot
        assert set(await names(client)) == {"canary", "slot/0"}
        assert "agent-b" in (await names(client))["canary"]

    using(one, use)


def test_who_is_cut_off_keeps_its_slot_until_it_ends(one: Member) -> None:
    async def use(client: Etcd) -> None:
        await client.put(f"{PACE}proven", "9")
        loop = asyncio.get_running_loop()
        lease = await agent_lease(client)
        before = loop.time()
        async with Etcd([one.endpoint]) as theirs:
            gone = await slots_of(theirs, "a", ttl=2).take(9, lease)
        assert before < gone.deadline <= before + 2 + LONG
        taken = await slots_of(client, "b").take(9, lease)
        assert loop.time() > gone.deadline
        assert taken.index == gone.index

    using(one, use)


def test_how_many_may_converge_grows_with_the_group_and_is_one_at_least(one: Member) -> None:
    async def use(client: Etcd) -> None:
        await client.put(f"{PACE}proven", "9")
        lease, tenth = await agent_lease(client), Share(10, percent=True)

        async def nodes(first: int, count: int) -> None:
            for number in range(first, first + count):
                await client.put(KEYS.node("bee", f"i-{number}"), "{}")

        for first, count, name in ((0, 0, "a"), (0, 29, "b"), (29, 1, "c")):
            await nodes(first, count)
            await slots_of(client, name, tenth).take(9, lease)
            another = asyncio.ensure_future(slots_of(client, "z", tenth).take(9, lease))
            await stays_away(another)
            await end(another)
        assert set(await names(client)) == {"proven", "slot/0", "slot/1", "slot/2"}

    using(one, use)


def test_who_has_waited_for_long_counts_the_group_again(one: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "COUNT_SECONDS", SHORT)

    async def use(client: Etcd) -> None:
        await client.put(f"{PACE}proven", "9")
        lease, half = await agent_lease(client), Share(50, percent=True)
        for number in range(4):
            await client.put(KEYS.node("bee", f"i-{number}"), "{}")
        first, second = [await slots_of(client, name, half).take(9, lease) for name in "ab"]
        other = asyncio.ensure_future(slots_of(client, "c", half).take(9, lease))
        await stays_away(other)
        await asyncio.sleep(SHORT)
        for number in range(1, 4):
            await client.delete(KEYS.node("bee", f"i-{number}"))
        await first.release(healthy=True)
        await stays_away(other)
        await second.release(healthy=True)
        await other

    using(one, use)


Call = Callable[[], Coroutine[Any, Any, Outcome]]
Disturbance = Callable[[Call], Awaitable[Outcome]]


class Disturbed(Etcd):
    """Something happens, once, around the transaction that takes a slot. `takes`: how many of those there were."""

    disturbance: Disturbance | None = None
    takes = 0

    async def txn(
        self, compares: Sequence[Compare], then: Sequence[Operation], otherwise: Sequence[Operation] = ()
    ) -> Outcome:
        def call() -> Coroutine[Any, Any, Outcome]:
            return super(Disturbed, self).txn(compares, then, otherwise)

        takes = any(isinstance(one, Put) and one.key.startswith(f"{PACE}slot/") for one in then)
        self.takes += takes
        if takes and self.disturbance:
            disturbance, self.disturbance = self.disturbance, None
            return await disturbance(call)
        return await call()


async def cancelled_before(call: Call) -> Outcome:
    task = asyncio.current_task()
    assert task
    task.cancel()
    return await call()


async def cancelled_after(call: Call) -> Outcome:
    outcome = await call()
    task = asyncio.current_task()
    assert task
    task.cancel()
    return outcome


async def answered_late(call: Call) -> Outcome:
    """What etcd answers a client whose first answer was lost."""
    await call()
    return replace(await call(), again=True)


async def not_answered(call: Call) -> Outcome:
    await call()
    raise UnreachableError("etcd does not answer", passing=True)


def disturbed(member: Member, disturbance: Disturbance, use: Callable[[Disturbed], Awaitable[None]]) -> None:
    async def run() -> None:
        client = Disturbed([member.endpoint], timeout=LONG)
        client.disturbance = disturbance
        async with asyncio.timeout(4 * LONG), client:
            await use(client)

    asyncio.run(run())


def test_who_becomes_the_canary_while_another_is_about_to_is_not_pushed_aside(one: Member) -> None:
    class Granting(Etcd):
        async def grant(self, ttl: int) -> Lease:
            lease = await super().grant(ttl)
            await slots_of(client, "a", 2).take(7, agents)
            await asyncio.sleep(SHORT)  # the watch tells of it meanwhile
            granted.set()
            return lease

    client, granted, agents = Etcd([one.endpoint], timeout=LONG), asyncio.Event(), 0

    async def run() -> None:
        nonlocal agents
        async with asyncio.timeout(LONG), client, Granting([one.endpoint], timeout=LONG) as theirs:
            agents = await agent_lease(client)
            other = asyncio.ensure_future(slots_of(theirs, "b", 2).take(7, agents))
            await granted.wait()
            await stays_away(other)
            found = canary((await names(client))["canary"])
            assert found
            assert found.agent == "agent-a"
            await end(other)

    asyncio.run(run())


@pytest.mark.parametrize("disturbance", [cancelled_before, cancelled_after])
def test_a_take_that_is_cancelled_leaves_no_key(one: Member, disturbance: Disturbance) -> None:
    async def use(client: Disturbed) -> None:
        lease = await agent_lease(client)
        with pytest.raises(asyncio.CancelledError):
            await asyncio.ensure_future(slots_of(client, "a").take(7, lease))
        assert await names(client) == {}
        assert (await slots_of(client, "b").take(7, lease)).canary

    disturbed(one, disturbance, use)


def test_a_canary_that_failed_is_still_one_when_its_next_take_is_cancelled(one: Member) -> None:
    async def use(client: Disturbed) -> None:
        lease = await agent_lease(client)
        mine = slots_of(client, "a")
        client.disturbance = None
        await (await mine.take(7, lease)).release(healthy=False)
        before = await names(client)
        client.disturbance = cancelled_after
        with pytest.raises(asyncio.CancelledError):
            await asyncio.ensure_future(mine.take(8, lease))
        assert await names(client) == before

    disturbed(one, cancelled_after, use)


def test_takes_that_wait_are_cancelled_without_a_trace(one: Member) -> None:
    async def use(client: Etcd) -> None:
        lease = await agent_lease(client)
        taken = await slots_of(client, "a").take(7, lease)
        before = await names(client)
        other = asyncio.ensure_future(slots_of(client, "b").take(7, lease))
        await stays_away(other)
        await end(other)
        assert await names(client) == before
        await taken.release(healthy=True)
        assert await names(client) == {"proven": "7"}

    using(one, use)


def test_an_earlier_try_that_was_carried_out_is_known_again(one: Member) -> None:
    async def use(client: Disturbed) -> None:
        taken = await slots_of(client, "a").take(7, await agent_lease(client))
        assert taken.canary
        assert client.takes == 1
        assert set(await names(client)) == {"canary", "slot/0"}
        assert await taken.release(healthy=True)
        assert await names(client) == {"proven": "7"}

    disturbed(one, answered_late, use)


def test_what_was_taken_without_an_answer_is_given_back_before_the_next_try(one: Member) -> None:
    async def use(client: Disturbed) -> None:
        mine = slots_of(client, "a")
        taken = await mine.take(7, await agent_lease(client))
        assert taken.canary
        found = [item for item in (await client.range(PACE)).items if "slot/" in item.key]
        assert [item.lease for item in found] == [taken.lease]

    disturbed(one, not_answered, use)


def test_a_compaction_before_the_watch_begins_is_made_good_by_a_new_look(one: Member) -> None:
    class Compacted(Etcd):
        looks = 0

        def watch(self, *args: Any, **options: Any) -> Any:
            self.looks += 1
            if self.looks == 1:
                one.call("kv/put", key="L2E=", value="")
                one.compact(int(one.call("kv/put", key="L2E=", value="")["header"]["revision"]))
            return super().watch(*args, **options)

    async def use(client: Etcd) -> None:
        lease = await agent_lease(client)
        taken = await slots_of(client, "a").take(7, lease)
        theirs = Compacted([one.endpoint], timeout=LONG)
        async with theirs:
            other = asyncio.ensure_future(slots_of(theirs, "b").take(7, lease))
            await stays_away(other)
            await taken.release(healthy=True)
            assert not (await other).canary
            assert theirs.looks == 2

    using(one, use)


def test_the_end_of_the_agents_lease_is_told(one: Member) -> None:
    async def use(client: Etcd) -> None:
        lease = await agent_lease(client)
        await client.revoke(lease)
        with pytest.raises(LeaseGoneError):
            await slots_of(client, "a").take(7, lease)
        assert await names(client) == {}

    using(one, use)


def test_a_release_is_told_as_soon_as_etcd_answers_again(one: Member) -> None:
    async def use(client: Etcd) -> None:
        taken = await slots_of(client, "a").take(7, await agent_lease(client))
        one.kill()
        released = asyncio.ensure_future(taken.release(healthy=True))
        done, _ = await asyncio.wait({released}, timeout=SHORT)
        assert not done
        one.restart()
        assert await released
        assert await names(client) == {"proven": "7"}
        assert await taken.release(healthy=True)  # of no use any more, and no harm

    using(one, use)


def test_a_release_that_etcd_does_not_hear_in_time_is_given_up(one: Member) -> None:
    async def use(client: Etcd) -> None:
        mine = slots_of(client, "a", ttl=1)
        taken = await mine.take(7, await agent_lease(client))
        one.kill()
        assert not await taken.release(healthy=True)
        assert not await mine.give_up()

    using(one, use)


def test_a_slot_that_an_earlier_agent_of_the_node_left_over_is_ended(one: Member) -> None:
    async def use(client: Etcd) -> None:
        lease = await agent_lease(client)
        await slots_of(client, "a").take(7, lease)
        again = await slots_of(client, "a").take(8, lease)
        assert again.canary
        found = [item for item in (await client.range(PACE)).items if "slot/" in item.key]
        assert [item.lease for item in found] == [again.lease]

    using(one, use)


def test_what_another_proves_while_a_canary_converges_is_heeded(one: Member) -> None:
    async def use(client: Etcd) -> None:
        for proven, is_so_then in (("5", "7"), ("9", "9")):
            await client.delete(f"{PACE}proven")
            taken = await slots_of(client, "a").take(7, await agent_lease(client))
            await client.put(f"{PACE}proven", proven)
            assert await taken.release(healthy=True)
            assert await names(client) == {"proven": is_so_then}

    using(one, use)


def test_nodes_that_wait_while_etcd_is_killed_and_started_all_get_on(one: Member) -> None:
    async def use(client: Etcd) -> None:
        floor, lease = Floor(), await agent_lease(client)

        async def node(name: str) -> None:
            async with Etcd([one.endpoint], timeout=LONG) as mine:
                taken = await slots_of(mine, name, 2).take(7, lease)
                if taken.canary:
                    await asyncio.to_thread(one.restart)
                await floor.converge(taken, 2 - taken.canary)

        await asyncio.gather(*(node(f"n{number}") for number in range(8)))
        assert (floor.total, floor.inside) == (8, 0)
        assert floor.most <= 2
        assert await names(client) == {"proven": "7"}

    using(one, use)
