"""What layers are made of: a function that gets a call and the way to its answer."""

import threading
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from werkzeug.wrappers import Response

from nodepkg.sandbox.calls import Call, read
from nodepkg.sandbox.front import Layer

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

Onward = Callable[[], Response]


def layer(answer: Callable[[Call, Onward], Response]) -> Layer:
    """`answer` may call onward() to have the call carried out, and gives what the client gets."""

    def around(app: "WSGIApplication") -> "WSGIApplication":
        def respond(environ: "WSGIEnvironment", start_response: "StartResponse") -> "Iterable[bytes]":
            call = read(environ)
            return answer(call, lambda: Response.from_app(app, environ))(environ, start_response)

        return respond

    return around


class Turns:
    """The first `count` calls of an action (None: all); safe between threads."""

    def __init__(self, action: str, count: int | None) -> None:
        self._action, self._left = action, count
        self._lock = threading.Lock()

    def take(self, call: Call) -> bool:
        if not fnmatchcase(call.action, self._action):
            return False
        if self._left is None:
            return True
        with self._lock:
            self._left -= 1
            return self._left >= 0
