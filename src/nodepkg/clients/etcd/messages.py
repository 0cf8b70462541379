"""Our values as etcd's messages, and back."""

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

from nodepkg.clients.etcd.connection import Connection
from nodepkg.clients.etcd.values import Change, Changes, Compare, Delete, Get, Item, Operation, Outcome, Put, end_of
from nodepkg.clients.etcd.wire import message
from nodepkg.errors import ToolError

_RESULTS = {"=": 0, ">": 1, "<": 2, "!=": 3}
_TARGETS = {"version": 0, "create_revision": 1, "mod_revision": 2, "value": 3, "lease": 4}
_DELETED = 1


def ranged(get: Get) -> Any:
    return message("RangeRequest")(**_keys(get.key, prefix=get.prefix))


def page(start: bytes, end: bytes, limit: int, revision: int) -> Any:
    """So many keys at a revision, or at the current one."""
    return message("RangeRequest")(key=start, range_end=end, limit=limit, revision=revision)


def put(what: Put) -> Any:
    return message("PutRequest")(key=what.key.encode(), value=what.value.encode(), lease=what.lease)


def transaction(compares: Sequence[Compare], then: Sequence[Operation], otherwise: Sequence[Operation]) -> Any:
    return message("TxnRequest")(
        compare=[_compare(one) for one in compares],
        success=[_operation(one) for one in then],
        failure=[_operation(one) for one in otherwise],
    )


def outcome(answer: Any, *, again: bool) -> Outcome:
    return Outcome(answer.succeeded, answer.header.revision, tuple(map(_read, answer.responses)), again)


def items(kvs: Iterable[Any]) -> list[Item]:
    return [_item(kv) for kv in kvs]


def changes(events: Iterable[Any]) -> list[Changes]:
    """The events of a watch, by revision; etcd sends those of one revision together."""
    return [
        Changes(revision, tuple(_change(event) for event in of_one))
        for revision, of_one in groupby(events, key=lambda event: event.kv.mod_revision)
    ]


async def login(connection: Connection, user: str, password: str) -> str:
    """etcd's token for this user; empty where etcd asks nobody who he is."""
    request = message("AuthenticateRequest")(name=user, password=password)
    try:
        answer = await connection.ask("Auth/Authenticate", request, {})
    except ToolError as error:
        if "authentication is not enabled" in error.message:
            return ""
        raise ToolError(f"{error.message} (user {user})") from error
    return str(answer.token)


def _keys(key: str, *, prefix: bool) -> dict[str, bytes]:
    return {"key": key.encode() or b"\0", "range_end": end_of(key)} if prefix else {"key": key.encode()}


def _compare(compare: Compare) -> Any:
    operand = compare.operand.encode() if isinstance(compare.operand, str) else compare.operand
    return message("Compare")(
        result=_RESULTS[compare.result],
        target=_TARGETS[compare.target],
        key=compare.key.encode(),
        **{compare.target: operand},
    )


def _operation(operation: Operation) -> Any:
    made = message("RequestOp")
    match operation:
        case Put():
            return made(request_put=put(operation))
        case Get():
            return made(request_range=ranged(operation))
        case Delete(key, prefix):
            asked = message("DeleteRangeRequest")(**_keys(key, prefix=prefix), prev_kv=True)
            return made(request_delete_range=asked)


def _read(response: Any) -> tuple[Item, ...]:
    kvs = (*response.response_range.kvs, *response.response_delete_range.prev_kvs)
    return tuple(items(kvs))


def _change(event: Any) -> Change:
    before = _item(event.prev_kv) if event.HasField("prev_kv") else None
    return Change(_text(event.kv.key), None if event.type == _DELETED else _item(event.kv), before)


def _item(kv: Any) -> Item:
    return Item(_text(kv.key), _text(kv.value), kv.create_revision, kv.mod_revision, kv.lease)


def _text(data: bytes) -> str:
    # What others wrote need not be text; ours is.
    return data.decode(errors="backslashreplace")
