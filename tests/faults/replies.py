"""Calls that are refused, fail, are carried out without a reply, or are the last thing that a process does."""

import os
import signal
import threading
from collections import Counter
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from werkzeug.http import http_date
from werkzeug.wrappers import Response

from nodepkg.sandbox.calls import Call
from nodepkg.sandbox.front import Layer
from tests.faults.layers import Onward, Turns, layer

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication


def throttle(action: str, count: int | None = None) -> Layer:
    """The first calls of this action (None: all) are too many, as each service tells it."""
    return _refuse(Turns(action, count), _too_many)


def refuse(action: str, code: str, count: int | None = None) -> Layer:
    """The first `count` calls of this action (None: all) are refused with this code, which no client tries again."""
    turns = Turns(action, count)
    return layer(lambda call, onward: call.error(code, "not now", 400) if turns.take(call) else onward())


def deny(action: str) -> Layer:
    """The caller has no permission for this action."""
    return _refuse(Turns(action, None), _forbidden)


def fail(action: str, count: int | None = None, status: int = 500) -> Layer:
    """The first calls of this action (None: all) fail in AWS and are not carried out."""
    return _refuse(Turns(action, count), lambda call: call.error("InternalError", "An internal error", status))


def _refuse(turns: Turns, error: Callable[[Call], Response]) -> Layer:
    return layer(lambda call, onward: error(call) if turns.take(call) else onward())


def _too_many(call: Call) -> Response:
    if call.service == "ec2":
        return call.error("RequestLimitExceeded", "Request limit exceeded.", 503)
    return call.error("ThrottlingException" if call.speaks_json else "Throttling", "Rate exceeded", 400)


def _forbidden(call: Call) -> Response:
    if call.service == "ec2":
        return call.error("UnauthorizedOperation", "You are not authorized to perform this operation.", 403)
    told = f"User: sandbox is not authorized to perform: {call.service}:{call.action}"
    return call.error("AccessDeniedException", told, 400) if call.speaks_json else call.error("AccessDenied", told, 403)


def lose_replies(action: str, count: int = 1) -> Layer:
    """The first replies to this action do not arrive, though it was carried out."""
    turns = Turns(action, count)

    def answer(call: Call, onward: Onward) -> Response:
        reply = onward()
        return call.error("InternalError", "lost", 500) if turns.take(call) else reply

    return layer(answer)


def dated(clock: Callable[[], float]) -> Layer:
    """Replies tell the time of this clock, in seconds since the epoch, in their `Date` header."""

    def answer(call: Call, onward: Onward) -> Response:
        reply = onward()
        reply.headers["Date"] = http_date(clock())
        return reply

    return layer(answer)


class Recorder:
    """Layer that notes all `calls`, in the order in which they came, and lets them pass."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self._layer = layer(self._note)

    def __call__(self, app: "WSGIApplication") -> "WSGIApplication":
        return self._layer(app)

    def _note(self, call: Call, onward: Onward) -> Response:
        self.calls.append(call)
        return onward()

    @property
    def counts(self) -> Counter[str]:
        """How many of each action."""
        return Counter(call.action for call in self.calls)

    def of(self, action: str) -> list[Call]:
        return [call for call in self.calls if fnmatchcase(call.action, action)]


def kill_at(n: int, pid: Callable[[], int], *, after: bool = False, action: str = "*") -> Layer:
    """The n-th call of the action (from 1) is the last of the process `pid()`, which gets SIGKILL.

    Before the call is carried out, or `after`. Calls behind it pass, so that a second run can finish.
    """
    seen, lock = [0], threading.Lock()

    def answer(call: Call, onward: Onward) -> Response:
        with lock:
            seen[0] += fnmatchcase(call.action, action)
            now = seen[0] == n and fnmatchcase(call.action, action)
        if not now:
            return onward()
        reply = onward() if after else call.error("InternalError", "nobody hears this", 500)
        os.kill(pid(), signal.SIGKILL)
        return reply

    return layer(answer)
