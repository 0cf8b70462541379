"""Pages as AWS gives them: a list in a stable order, cut where the last page ended, with a token that says where."""

import base64
import json
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

Item = TypeVar("Item")
Key = Callable[[Item], Any]


# The token of a first page without items; every key comes after it.
_START: list[Any] = []
_ceiling: ContextVar[int | None] = ContextVar("ceiling", default=None)


class BadTokenError(ValueError):
    """The token is none that `page` gave."""


@contextmanager
def at_most(items: int) -> Iterator[None]:
    """Pages that this thread makes have no more items than that (0: none), whatever is asked for: AWS may do so."""
    ceiling = _ceiling.get()
    before = _ceiling.set(items if ceiling is None else min(items, ceiling))
    try:
        yield
    finally:
        _ceiling.reset(before)


def page(
    items: Sequence[Item], key: Key[Item], *, token: str | None, size: int | None, ordered: bool = False
) -> tuple[list[Item], str | None]:
    """The next `size` items (None: all that are left) by `key`, and the token for those after them, if there are any.

    The token holds the key of the last item (JSON: a string, a number or a tuple of them), so items that go between
    two pages neither repeat others nor hide them. `ordered` items are in the order of their keys already.
    """
    last, blanks = _place_in(token) if token else (_START, 0)
    every = items if ordered else sorted(items, key=key)
    first = 0 if last == _START else bisect_right(every, last, key=lambda item: _as_json(key(item)))
    following = list(every[first:])
    ceiling = _ceiling.get()
    if ceiling is not None:
        size = ceiling if size is None else min(size, ceiling)
    if size is None or len(following) <= size:
        return following, None
    if size == 0:
        return [], _token_for(last, blanks + 1)
    return following[:size], _token_for(_as_json(key(following[size - 1])))


def _as_json(key: Any) -> Any:
    return list(key) if isinstance(key, tuple) else key


def _token_for(last: Any, blanks: int = 0) -> str:
    """`blanks`: pages without items since; no token comes twice in a row, which boto takes for an error."""
    return base64.urlsafe_b64encode(json.dumps([last, blanks]).encode()).decode()


def _place_in(token: str) -> tuple[Any, int]:
    try:
        last, blanks = json.loads(base64.urlsafe_b64decode(token))
    except (ValueError, TypeError) as error:
        raise BadTokenError(token) from error
    return last, blanks
