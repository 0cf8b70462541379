"""The door to etcd, against Debian's: what it answers, and what becomes of calls and watches when it does not."""

import asyncio
import gc
import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing, suppress
from pathlib import Path

import pytest

from nodepkg.clients.etcd.client import PAGE, Etcd
from nodepkg.clients.etcd.values import Changes, Compare, Delete, Get, Put, Tls, absent, present, unchanged
from nodepkg.errors import (
    CompactedError,
    ConfigError,
    ExitCode,
    LeaseGoneError,
    RefusedError,
    ToolError,
    UnreachableError,
)
from tests.rig.etcd import Member, certificates, etcd
from tests.rig.gates import Gate, Gates

LONG = 30.0  # where an answer comes; nobody waits for it
SHORT = 0.4  # where none comes
Use = Callable[[Etcd], Awaitable[None]]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Member]:
    with etcd(tmp_path_factory.mktemp("shared")) as [member]:
        yield member


@pytest.fixture
def one(shared: Member) -> Member:
    """One etcd that runs, with no keys in it. Its revision is anything."""
    shared.empty()
    return shared


@pytest.fixture
def gate(one: Member) -> Iterator[Gate]:
    with Gates() as gates:
        yield gates.gate("127.0.0.1", one.port + 1, behind=one.port, elsewhere=one.port)


def using(endpoints: list[str] | Member, use: Use, *, timeout: float = LONG) -> None:
    async def run() -> None:
        async with Etcd(
            [endpoints.endpoint] if isinstance(endpoints, Member) else endpoints, timeout=timeout
        ) as client:
            await use(client)

    asyncio.run(run())


async def some(watched: AsyncGenerator[Changes], count: int) -> list[Changes]:
    """The first changes of a watch, which is ended then."""
    got: list[Changes] = []
    async with asyncio.timeout(LONG), aclosing(watched):
        async for changes in watched:
            got.append(changes)
            if len(got) == count:
                break
    return got


async def failure(watched: AsyncGenerator[Changes]) -> ToolError:
    """What ends a watch."""
    with pytest.raises(ToolError) as raised:
        await some(watched, sys.maxsize)
    return raised.value


def test_what_was_put_is_read_with_its_revisions(one: Member) -> None:
    async def use(client: Etcd) -> None:
        await client.put("/a/x", "1")
        await client.put("/a/x", "2")
        await client.put("/b", "3")
        item = await client.get("/a/x")
        assert item
        assert (item.value, item.mod_revision - item.create_revision, item.lease) == ("2", 1, 0)
        listing = await client.range("/a/")
        assert listing.items == (item,)
        assert listing.revision == item.mod_revision + 1
        assert await client.get("/a") is None

    using(one, use)


def test_a_key_is_created_once_and_replaced_unless_it_was_changed(one: Member) -> None:
    async def use(client: Etcd) -> None:
        assert [await client.create("/k", value) for value in ("mine", "theirs")] == [True, False]
        item = await client.get("/k")
        assert item
        assert await client.replace("/k", "new", item.mod_revision)
        assert not await client.replace("/k", "newer", item.mod_revision)
        assert not await client.delete("/k", item.mod_revision)
        assert [found.value for found in (await client.range("")).items] == ["new"]
        assert await client.delete("/k")
        assert not await client.delete("/k")

    using(one, use)


def test_a_transaction_does_all_of_one_side_and_says_what_it_read(one: Member) -> None:
    async def use(client: Etcd) -> None:
        await client.put("/slots/1", "a")
        outcome = await client.txn(
            [absent("/slots/2"), present("/slots/1"), Compare("/slots/1", "value", "a")],
            [Put("/slots/2", "b"), Get("/slots/", prefix=True), Delete("/slots/1")],
            [Get("/slots/2")],
        )
        assert outcome.succeeded
        assert [[item.value for item in items] for items in outcome.items] == [[], ["a", "b"], ["a"]]
        lost = await client.txn(
            [unchanged("/slots/2", outcome.revision - 1)], [Delete("/", prefix=True)], [Get("/slots/2")]
        )
        assert (lost.succeeded, [item.mod_revision for item in lost.items[0]]) == (False, [outcome.revision])

    using(one, use)


def test_more_keys_than_a_page_are_listed_as_of_one_revision(one: Member) -> None:
    async def use(client: Etcd) -> None:
        wanted = [f"/many/{number:05}" for number in range(PAGE + 1)]
        for start in range(0, len(wanted), 100):
            await client.txn([], [Put(key, "") for key in wanted[start : start + 100]])
        assert [item.key for item in (await client.range("/many/")).items] == wanted

    using(one, use)


def test_what_is_bound_to_a_lease_goes_with_it(one: Member) -> None:
    async def use(client: Etcd) -> None:
        lease = await client.grant(20)
        await client.put("/leased", "x", lease.id)
        item = await client.get("/leased")
        assert item
        assert item.lease == lease.id
        assert await client.renew(lease.id) == lease.ttl == 20
        assert 0 < await client.time_to_live(lease.id) <= 20
        await client.revoke(lease.id)
        await client.revoke(lease.id)
        assert await client.get("/leased") is None
        for call in (client.renew(lease.id), client.time_to_live(lease.id), client.put("/leased", "y", lease.id)):
            with pytest.raises(LeaseGoneError):
                await call

    using(one, use)


def test_a_watch_tells_each_revision_with_what_was_before(one: Member) -> None:
    async def use(client: Etcd) -> None:
        revision = (await client.range("")).revision
        await client.put("/w/a", "1")
        await client.txn([], [Put("/w/a", "2"), Put("/w/b", "3"), Put("/other", "4")])
        await client.delete("/w/a")
        got = await some(client.watch("/w/", revision + 1), 3)
        assert [changes.revision - revision for changes in got] == [1, 2, 3]
        told = [
            [(one.key, one.now and one.now.value, one.before and one.before.value) for one in c.changes] for c in got
        ]
        assert told == [[("/w/a", "1", None)], [("/w/a", "2", "1"), ("/w/b", "3", None)], [("/w/a", None, "2")]]
        assert [len(changes.puts) for changes in got] == [1, 2, 0]
        assert [change.key for change in got[2].deletes] == ["/w/a"]

    using(one, use)


def test_a_quiet_watch_is_no_lost_one(one: Member) -> None:
    async def use(client: Etcd) -> None:
        watching = asyncio.ensure_future(
            some(client.watch("/quiet/", (await client.range("")).revision + 1, silence=0.2), 1)
        )
        await asyncio.sleep(1)
        await client.put("/quiet/a", "1")
        assert [change.key for change in (await watching)[0].puts] == ["/quiet/a"]

    using(one, use, timeout=LONG)


def test_several_prefixes_are_listed_at_one_revision_and_watched_in_one_stream(one: Member) -> None:
    async def use(client: Etcd) -> None:
        for key in ("/p/1", "/q/1", "/r/1"):
            await client.put(key, "")
        before = one.calls()
        listing = await client.range(("/r/", "/p/"))
        assert [item.key for item in listing.items] == ["/r/1", "/p/1"]
        watching = asyncio.ensure_future(some(client.watch(("/r/", "/p/"), listing.revision + 1, silence=0.2), 3))
        await asyncio.sleep(1)
        await client.txn([], [Put("/p/1", "a"), Put("/q/1", "a"), Put("/r/1", "a")])
        await client.delete("/p/1")
        got = [
            (changes.revision - listing.revision, change.key)
            for changes in await watching
            for change in changes.changes
        ]
        assert sorted(got) == [(1, "/p/1"), (1, "/r/1"), (2, "/p/1")]
        assert got.index((1, "/p/1")) < got.index((2, "/p/1"))
        assert one.calls() - before == {"Range": 2, "Watch": 1, "Txn": 2}

    using(one, use)


def test_each_prefix_of_a_watch_goes_on_from_its_own_place_at_another_endpoint(one: Member, gate: Gate) -> None:
    async def use(client: Etcd) -> None:
        got: list[str] = []
        revision = (await client.range("")).revision
        for key in ("/p/1", "/p/2", "/q/1"):
            await client.put(key, "")
        async with asyncio.timeout(LONG), aclosing(client.watch(("/p/", "/q/"), revision + 1)) as watched:
            async for changes in watched:
                got += [change.key for change in changes.changes]
                if len(got) == 3:
                    gate.refuse()
                    gate.cut()
                    for key in ("/q/2", "/p/3"):
                        await client.put(key, "")
                if len(got) == 5:
                    break
        assert sorted(got) == ["/p/1", "/p/2", "/p/3", "/q/1", "/q/2"]

    using([f"http://127.0.0.1:{gate.port}", one.endpoint], use)


def test_a_watch_from_a_compacted_revision_says_so(one: Member) -> None:
    async def use(client: Etcd) -> None:
        for value in "123":
            await client.put("/c", value)
        revision = (await client.range("")).revision
        one.compact(revision)
        assert isinstance(await failure(client.watch("/c", revision - 1)), CompactedError)
        assert [changes.revision for changes in await some(client.watch("/c", revision), 1)] == [revision]

    using(one, use)


def test_a_watch_that_is_cut_again_and_again_misses_nothing(one: Member, gate: Gate) -> None:
    count = 40

    async def write() -> None:
        async with Etcd([one.endpoint], timeout=LONG) as client:
            for number in range(count):
                await client.put("/cut/", str(number))

    async def use(client: Etcd) -> None:
        got, lost, first = list[int](), 0, (await client.range("")).revision + 1
        writing = asyncio.ensure_future(write())
        while len(got) < count:
            with suppress(UnreachableError):
                async with aclosing(client.watch("/cut/", first + len(got))) as watched:
                    async for changes in watched:
                        got.append(changes.revision)
                        lost += gate.cut()
                        if len(got) == count:
                            break
        await writing
        assert got == list(range(first, first + count))
        assert lost

    using([f"http://127.0.0.1:{gate.port}"], use)


def test_an_etcd_that_hangs_holds_neither_calls_nor_watches(one: Member) -> None:
    async def use(client: Etcd) -> None:
        watching = asyncio.ensure_future(
            failure(client.watch("/h/", (await client.range("")).revision + 1, silence=SHORT))
        )
        await asyncio.sleep(0.1)
        one.stop()
        with pytest.raises(UnreachableError, match=rf"{one.endpoint}: no answer within {SHORT:g} s"):
            await client.put("/h/", "x")
        assert f"{one.endpoint}: nothing was heard for {SHORT:g} s" in str(await watching)
        one.go_on()
        await client.put("/h/", "y")

    using(one, use, timeout=SHORT)


def test_a_restart_ends_a_watch_that_resumes_where_it_was(one: Member) -> None:
    async def use(client: Etcd) -> None:
        lease = await client.grant(60)
        await client.put("/r/a", "1", lease.id)
        revision = (await client.range("")).revision
        watching = asyncio.ensure_future(failure(client.watch("/r/", revision + 1)))
        await asyncio.sleep(0.1)
        one.kill()
        assert isinstance(await watching, UnreachableError)
        with pytest.raises(UnreachableError, match="connection refused") as raised:
            await client.get("/r/a")
        assert raised.value.exit_code is ExitCode.TOOL
        one.start()
        one.ready()
        await client.put("/r/b", "2")
        assert [changes.revision for changes in await some(client.watch("/r/", revision + 1), 1)] == [revision + 1]
        assert await client.renew(lease.id) == 60

    using(one, use)


def test_an_etcd_that_was_set_up_anew_has_lost_its_history(tmp_path: Path) -> None:
    async def use(client: Etcd) -> None:
        for value in "123":
            await client.put("/k", value)
        revision = (await client.range("")).revision
        member.wipe()
        member.start()
        member.ready()
        assert "has lost its history" in str(await failure(client.watch("/k", revision + 1)))

    with etcd(tmp_path) as [member]:
        using(member, use)


def test_what_an_earlier_try_may_have_done_counts_as_done(one: Member, gate: Gate) -> None:
    async def use(client: Etcd) -> None:
        lease = await client.grant(60)
        one.stop()
        creating = asyncio.ensure_future(client.create("/once", "mine", lease.id))
        await asyncio.sleep(0.1)  # it is with etcd, which has not read it
        gate.refuse()
        gate.freeze()  # its answer will not come
        one.go_on()
        assert await creating
        item = await client.get("/once")
        assert item
        assert item.lease == lease.id

    using([f"http://127.0.0.1:{gate.port}", one.endpoint], use, timeout=1.0)


def test_a_cluster_goes_on_without_its_leader(tmp_path: Path) -> None:
    async def use(client: Etcd) -> None:
        revision = (await client.range("")).revision
        watching = asyncio.ensure_future(some(client.watch("/l/", revision + 1, silence=2), 4))
        await client.put("/l/", "0")
        leader.kill()
        put = 1
        while put < 4:
            try:
                await client.put("/l/", str(put))
            except UnreachableError:
                continue
            put += 1
        # A put that got no answer may be there twice, but never none.
        assert [changes.revision for changes in await watching] == list(range(revision + 1, revision + 5))
        item = await client.get("/l/")
        assert item
        assert item.value == "3"

    with etcd(tmp_path, members=3) as members:
        [leader] = [member for member in members if member.leads]
        others = [member for member in members if member is not leader]
        using([leader.endpoint, *(member.endpoint for member in others)], use, timeout=2.0)


def test_tls_and_password_are_asked_for_and_never_told(tmp_path: Path) -> None:
    files = certificates(tmp_path)
    tls = Tls(files.authority, *files.client)

    async def refused(tls: Tls, user: str, password: str) -> str:
        client = Etcd([member.endpoint], tls=tls, user=user, password=password, timeout=LONG)
        async with client:
            with pytest.raises(ToolError) as raised:
                await client.put("/nodepkg/a", "1")
        assert "s3cret" not in f"{raised.value!r} {raised.value.__cause__!r} {client!r}"
        return str(raised.value)

    async def use() -> None:
        assert "not trusted" in await refused(Tls(), "agent", "s3cret")
        assert "it wants a certificate" in await refused(Tls(files.authority), "agent", "s3cret")
        assert "authentication failed" in await refused(tls, "agent", "s3cret?")
        async with Etcd([member.endpoint], tls=tls, user="agent", password="s3cret", timeout=LONG) as client:
            await client.put("/nodepkg/a", "1")
            with pytest.raises(ToolError, match="permission denied"):
                await client.put("/other", "1")
            assert isinstance(await failure(client.watch("/other", 1)), ToolError)
            member.restart()  # it has forgotten its tokens
            await client.put("/nodepkg/a", "2")
            member.restart()
            item = await client.get("/nodepkg/a")
            assert item
            [changes] = await some(client.watch("/nodepkg/", item.mod_revision), 1)
            assert changes.puts[0].now == item

    with etcd(tmp_path, certificates=files) as [member]:
        member.protect("r00t", "agent", "s3cret", "/nodepkg/")
        asyncio.run(use())


def test_a_password_where_etcd_asks_for_none_is_well(one: Member) -> None:
    async def run() -> None:
        async with Etcd([one.endpoint], user="agent", password="s3cret") as client:
            await client.put("/a", "1")

    asyncio.run(run())


@pytest.mark.parametrize(
    "endpoint", ["127.0.0.1:2379", "ftp://h:1", "http://", "http://h:x", "http://u:s3cret@h:1", "http://h/a"]
)
def test_what_is_no_endpoint_is_refused(endpoint: str) -> None:
    async def run() -> None:
        with pytest.raises(ConfigError, match="an endpoint of etcd is") as raised:
            Etcd([endpoint])
        assert "s3cret" not in str(raised.value)

    asyncio.run(run())


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    async def run() -> None:
        async with Etcd(["https://127.0.0.1:1"], tls=Tls(tmp_path / "none.pem")) as client:
            with pytest.raises(RefusedError, match=r"none\.pem"):
                await client.get("/a")

    asyncio.run(run())


def test_without_the_library_the_extra_is_named() -> None:
    code = "import sys; sys.modules['grpclib'] = None; import nodepkg.clients.etcd.client"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False).stderr
    assert "ToolError: etcd is spoken to with grpclib and protobuf" in told


def test_a_call_that_is_given_up_from_outside_leaves_nothing_for_asyncio_to_tell(shared: Member) -> None:
    told: list[str] = []

    async def run() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["message"]))
        async with Etcd([shared.endpoint], timeout=LONG) as client:
            await client.get("/a")
            shared.stop()
            try:
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.1):
                        await client.get("/a")
            finally:
                shared.go_on()
        gc.collect()

    asyncio.run(run())
    gc.collect()
    assert told == []
