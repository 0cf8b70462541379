"""The door to etcd v3, for one event loop: keys, transactions, leases, watches."""

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from typing import Any

from nodepkg.clients.etcd.values import (
    Changes,
    Compare,
    Delete,
    Get,
    Item,
    Lease,
    Listing,
    Operation,
    Outcome,
    Put,
    Tls,
    absent,
    end_of,
    several,
    unchanged,
)
from nodepkg.clients.etcd.words import LoginNeededError, UnansweredError, unreachable
from nodepkg.errors import CompactedError, ConfigError, LeaseGoneError, ToolError

try:
    from nodepkg.clients.etcd import messages, watching
    from nodepkg.clients.etcd.connection import Connection
    from nodepkg.clients.etcd.wire import message
except ModuleNotFoundError as missing:
    raise ToolError("etcd is spoken to with grpclib and protobuf", hint="pip install 'nodepkg[agent]'") from missing

PAGE = 1000
TRIES_TO_LIST = 3


class Etcd:
    """`async with Etcd(["http://127.0.0.1:2379"]) as etcd:` endpoints are tried in turn, the last that answered first.

    `timeout` in seconds is for one try, so a call takes at most that for each endpoint. Every method raises
    UnreachableError (nobody answered; says who was tried), and ToolError for what etcd refuses. A try without an answer
    may still be carried out, even later: what must not happen twice, or late, is to be a `create`, a `replace`, or
    a transaction with a comparison. The other errors: ConfigError (no endpoint), RefusedError (a file of `tls`).
    """

    def __init__(
        self,
        endpoints: Sequence[str],
        *,
        tls: Tls | None = None,
        user: str = "",
        password: str = "",
        timeout: float = 5.0,
    ) -> None:
        if not endpoints:
            raise ConfigError("no endpoint of etcd is given")
        self._timeout = timeout
        self._asked = [Connection(endpoint, tls, timeout) for endpoint in endpoints]
        # Of their own, so that a call without an answer, which drops its connection, ends no watch.
        self._watched = [Connection(endpoint, tls, timeout) for endpoint in endpoints]
        self._user, self._password = user, password
        self._token = ""
        self._login = asyncio.Lock()
        self._answered = 0

    async def __aenter__(self) -> "Etcd":
        return self

    async def __aexit__(self, *_: object) -> None:
        for connection in (*self._asked, *self._watched):
            connection.drop()
        for _turn in range(3):  # what was closed is gone in the next turns of the loop
            await asyncio.sleep(0)

    async def get(self, key: str) -> Item | None:
        answer, _ = await self._ask("KV/Range", messages.ranged(Get(key)))
        found = messages.items(answer.kvs)
        return found[0] if found else None

    async def range(self, prefix: str | tuple[str, ...]) -> Listing:
        """All keys that begin with `prefix`, or with one of several, as they were at one revision."""
        for _ in range(TRIES_TO_LIST - 1):
            try:
                return await self._range(several(prefix))
            except CompactedError:  # while the pages were read
                continue
        return await self._range(several(prefix))

    async def put(self, key: str, value: str, lease: int = 0) -> None:
        """Raises LeaseGoneError."""
        await self._ask("KV/Put", messages.put(Put(key, value, lease)))

    async def create(self, key: str, value: str, lease: int = 0) -> bool:
        """Whether the key was not there, and is ours now; the value should tell whose it is. Raises LeaseGoneError."""
        return await self._put_if(absent(key), Put(key, value, lease))

    async def replace(self, key: str, value: str, mod_revision: int, lease: int = 0) -> bool:
        """Whether nobody had changed it since `mod_revision`, and it is so now. Raises LeaseGoneError."""
        return await self._put_if(unchanged(key, mod_revision), Put(key, value, lease))

    async def delete(self, key: str, mod_revision: int | None = None) -> bool:
        """Whether it was there, and with `mod_revision` unchanged; after a lost answer False may mean that it was."""
        compares = [] if mod_revision is None else [unchanged(key, mod_revision)]
        outcome = await self.txn(compares, [Delete(key)])
        return outcome.succeeded and bool(outcome.items[0])

    async def txn(
        self, compares: Sequence[Compare], then: Sequence[Operation], otherwise: Sequence[Operation] = ()
    ) -> Outcome:
        """Carries out `then` if all of `compares` hold, else `otherwise`. Raises LeaseGoneError."""
        answer, again = await self._ask("KV/Txn", messages.transaction(compares, then, otherwise))
        return messages.outcome(answer, again=again)

    async def grant(self, ttl: int) -> Lease:
        """A new lease of at least so many seconds."""
        answer, _ = await self._ask("Lease/LeaseGrant", message("LeaseGrantRequest")(TTL=ttl))
        return Lease(answer.ID, answer.TTL)

    async def renew(self, lease: int) -> int:
        """The seconds that it has now. Raises LeaseGoneError."""
        request = message("LeaseKeepAliveRequest")(ID=lease)
        answer, _ = await self._ask("Lease/LeaseKeepAlive", request, streamed=True)
        return self._left(lease, answer.TTL)

    async def time_to_live(self, lease: int) -> int:
        """The seconds that it has left. Raises LeaseGoneError."""
        answer, _ = await self._ask("Lease/LeaseTimeToLive", message("LeaseTimeToLiveRequest")(ID=lease))
        return self._left(lease, answer.TTL)

    async def revoke(self, lease: int) -> None:
        """Ends it, and with it the keys that are bound to it; one that is gone already is well."""
        try:
            await self._ask("Lease/LeaseRevoke", message("LeaseRevokeRequest")(ID=lease))
        except LeaseGoneError:
            return

    async def watch(
        self, prefix: str | tuple[str, ...], from_revision: int, *, silence: float = 30.0
    ) -> AsyncGenerator[Changes]:
        """Every change from `from_revision` on of keys that begin with `prefix`, in order, one revision at a time.

        With several prefixes that is so for each of them. Nothing is left out: another endpoint goes on where one was
        lost. Raises CompactedError if etcd no longer has all since then, and UnreachableError if the only endpoint was
        lost, or none says anything within `silence` seconds each (halfway etcd is asked for a sign of life). Whoever
        resumes with one prefix from the last revision + 1 misses nothing.
        """
        unheard: list[str] = []
        turn = self._answered
        place = watching.Place(several(prefix), [from_revision] * len(several(prefix)), silence, self._timeout)
        while len(unheard) < len(self._watched):
            connection = self._watched[turn % len(self._watched)]
            place.heard = False
            try:
                if self._user:  # a watch would not say that it is for this that etcd refuses
                    await self._ask_at(connection, "KV/Range", watching.question(place))
                async with aclosing(watching.follow(connection, place, await self._metadata(connection))) as followed:
                    async for changes in followed:
                        unheard = []
                        yield changes
            except (LoginNeededError, UnansweredError) as error:
                unheard = [] if place.heard else unheard
                unheard.append(str(error))
                turn += 1
        raise unreachable(unheard)

    async def _range(self, prefixes: Sequence[str]) -> Listing:
        found: list[Item] = []
        revision = 0
        for prefix in prefixes:
            start, more = prefix.encode() or b"\0", True
            while more:
                request = messages.page(start, end_of(prefix), PAGE, revision)
                answer, _ = await self._ask("KV/Range", request)
                revision, more = revision or answer.header.revision, answer.more
                found += messages.items(answer.kvs)
                start = answer.kvs[-1].key + b"\0" if answer.kvs else start
        return Listing(revision, tuple(found))

    async def _put_if(self, compare: Compare, put: Put) -> bool:
        outcome = await self.txn([compare], [put], [Get(put.key)])
        if outcome.succeeded or not outcome.again:
            return outcome.succeeded
        # An earlier try may have done it.
        return [(item.value, item.lease) for item in outcome.items[0]] == [(put.value, put.lease)]

    @staticmethod
    def _left(lease: int, ttl: int) -> int:
        if ttl <= 0:
            raise LeaseGoneError(f"etcd: the lease {lease:x} is gone")
        return ttl

    async def _ask(self, method: str, request: Any, *, streamed: bool = False) -> tuple[Any, bool]:
        """The answer of the first endpoint that gives one, and whether there was a try before."""
        tried: list[str] = []
        for number in self._turns():
            try:
                answer, again = await self._ask_at(self._asked[number], method, request, streamed=streamed)
            except UnansweredError as error:
                tried.append(str(error))
            else:
                self._answered = number
                return answer, again or bool(tried)
        raise unreachable(tried)

    def _turns(self) -> Iterator[int]:
        first, count = self._answered, len(self._asked)
        return iter([(first + turn) % count for turn in range(count)])

    async def _ask_at(
        self, connection: Connection, method: str, request: Any, *, streamed: bool = False
    ) -> tuple[Any, bool]:
        """The answer of one endpoint, and whether it was asked twice, since its connection turned out to be dead."""
        try:
            return await self._ask_one(connection, method, request, streamed=streamed), False
        except UnansweredError as error:
            if not error.stale:
                raise
        return await self._ask_one(connection, method, request, streamed=streamed), True

    async def _ask_one(self, connection: Connection, method: str, request: Any, *, streamed: bool) -> Any:
        metadata = await self._metadata(connection)
        try:
            return await connection.ask(method, request, metadata, streamed=streamed)
        except LoginNeededError:
            self._forget(metadata)
        try:
            return await connection.ask(method, request, await self._metadata(connection), streamed=streamed)
        except LoginNeededError as error:
            raise ToolError(f"etcd at {connection.endpoint} refuses: {error}") from error

    async def _metadata(self, connection: Connection) -> dict[str, str]:
        """What shows etcd who asks; logs in where that is needed."""
        if not self._user:
            return {}
        async with self._login:
            if not self._token:
                self._token = await messages.login(connection, self._user, self._password)
        return {"token": self._token} if self._token else {}

    def _forget(self, metadata: dict[str, str]) -> None:
        if metadata.get("token") == self._token:
            self._token = ""
