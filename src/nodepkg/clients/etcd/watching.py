"""The watches of some prefixes on one endpoint, in one stream, until that is lost."""

from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass
from typing import Any

from nodepkg.clients.etcd import messages
from nodepkg.clients.etcd.connection import Connection, Stream
from nodepkg.clients.etcd.values import Changes, end_of
from nodepkg.clients.etcd.wire import message
from nodepkg.clients.etcd.words import UnansweredError
from nodepkg.errors import CompactedError, ToolError


@dataclass
class Place:
    """What is watched, and of each prefix from where. `heard`: etcd has said something of it since."""

    prefixes: tuple[str, ...]
    revisions: list[int]
    silence: float
    timeout: float
    heard: bool = False

    def check_history(self, revision: int, endpoint: str) -> None:
        """Where etcd was set up anew, a watch from a revision that is yet to come would be silent until then."""
        if revision < max(self.revisions) - 1:
            told = f"it is at revision {revision}, and had been at {max(self.revisions) - 1}"
            raise CompactedError(f"etcd at {endpoint} has lost its history: {told}")


def question(place: Place) -> Any:
    """Asks for etcd's revision, and whether these keys may be read at all."""
    return message("RangeRequest")(**_keys(place.prefixes[0]), count_only=True)


async def follow(connection: Connection, place: Place, token: dict[str, str]) -> AsyncGenerator[Changes]:
    """Raises UnansweredError if the connection is lost, or nothing is heard within `place.silence`; CompactedError."""
    # A member that has lost its leader would keep the stream, and say nothing.
    stream = connection.stream("Watch/Watch", list(_wishes(place)), {**token, "hasleader": "true"})
    numbers: dict[int, int] = {}
    try:
        answer = await stream.receive(place.timeout)
        if answer is None:
            raise _silent(connection, place.timeout)
        while True:
            _check(answer, connection, place)
            if answer.created:  # in the order in which they were asked for
                numbers[answer.watch_id] = len(numbers)
                await _check_history(answer.header.revision, connection, place, token)
            for changes in messages.changes(answer.events):
                place.heard = True
                place.revisions[numbers[answer.watch_id]] = changes.revision + 1
                yield changes
            answer = await _next(stream, connection, place)
            place.heard = True
    finally:
        await stream.close()


def _wishes(place: Place) -> Iterator[Any]:
    for prefix, revision in zip(place.prefixes, place.revisions, strict=True):
        wish = message("WatchCreateRequest")(**_keys(prefix), start_revision=revision, prev_kv=True)
        yield message("WatchRequest")(create_request=wish)


def _keys(prefix: str) -> dict[str, bytes]:
    return {"key": prefix.encode() or b"\0", "range_end": end_of(prefix)}


async def _check_history(revision: int, connection: Connection, place: Place, token: dict[str, str]) -> None:
    """A member may only be behind the others: then it answers a question when it has caught up with them."""
    if revision < max(place.revisions) - 1:
        now = await connection.ask("KV/Range", question(place), token)
        place.check_history(now.header.revision, connection.endpoint)


def _check(answer: Any, connection: Connection, place: Place) -> None:
    if answer.compact_revision:
        told = f"has been compacted at revision {answer.compact_revision}, and {min(place.revisions)} was asked for"
        raise CompactedError(f"etcd at {connection.endpoint} {told}")
    if answer.canceled:
        raise ToolError(f"etcd at {connection.endpoint} ended the watch: {answer.cancel_reason or 'it says no reason'}")


async def _next(stream: Stream, connection: Connection, place: Place) -> Any:
    """The next message. Half of the silence is waited before etcd is asked for a sign of life."""
    answer = await stream.receive(place.silence / 2)
    if answer is not None:
        return answer
    # Only a sign: etcd 3.4 may answer with a revision that is ahead of what it has sent.
    await stream.send(message("WatchRequest")(progress_request=message("WatchProgressRequest")()), place.silence / 2)
    answer = await stream.receive(place.silence / 2)
    if answer is None:
        raise _silent(connection, place.silence)
    return answer


def _silent(connection: Connection, seconds: float) -> UnansweredError:
    connection.drop()
    return UnansweredError(f"{connection.endpoint}: nothing was heard for {seconds:g} s")
