"""Replies that are some seconds old: what was just made may be invisible, what was just changed as before."""

from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from nodepkg.sandbox.calls import Call, read
from nodepkg.sandbox.front import Layer
from nodepkg.sandbox.realistic.layer import AGO

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment


def stale(seconds: float | Callable[[Call], float], *actions: str) -> Layer:
    """Replies to these actions (patterns; none: `Describe*`) are that old: a number, or what is chosen for a call.

    For `fleet(..., remembers=…)` only, which remembers groups, target health, instances and their status, images,
    launch templates, EC2's tags, SSM parameters and alarms; all else is always new.
    """
    patterns = actions or ("Describe*",)

    def around(app: "WSGIApplication") -> "WSGIApplication":
        def respond(environ: "WSGIEnvironment", start_response: "StartResponse") -> "Iterable[bytes]":
            call = read(environ)
            if any(fnmatchcase(call.action, pattern) for pattern in patterns):
                environ[AGO] = seconds(call) if callable(seconds) else seconds
            return app(environ, start_response)

        return respond

    return around
