"""Pages as AWS gives them: a list in a stable order, cut where the last page ended, with a token that says where."""

import base64
import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

Item = TypeVar("Item")
Key = Callable[[Item], Any]


class BadTokenError(ValueError):
    """The token is none that `page` gave."""


def page(
    items: Sequence[Item], key: Key[Item], *, token: str | None, size: int | None
) -> tuple[list[Item], str | None]:
    """The next `size` items (None: all that are left) by `key`, and the token for those after them, if there are any.

    The token is the key of the last item (JSON: strings, numbers or lists of them), so items that go between two
    pages neither repeat others nor hide them.
    """
    ordered = sorted(items, key=key)
    if token:
        last = _key_in(token)
        ordered = [item for item in ordered if _as_json(key(item)) > last]
    if size is None or len(ordered) <= size:
        return ordered, None
    return ordered[:size], _token_for(_as_json(key(ordered[size - 1])))


def _as_json(key: Any) -> Any:
    return list(key) if isinstance(key, tuple) else key


def _token_for(key: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(key).encode()).decode()


def _key_in(token: str) -> Any:
    try:
        return json.loads(base64.urlsafe_b64decode(token))
    except ValueError as error:
        raise BadTokenError(token) from error
