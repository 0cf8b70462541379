"""Replies that are lost when a test says so, and not before."""

from typing import TYPE_CHECKING

from werkzeug.wrappers import Response

from nodepkg.sandbox.calls import Call
from tests.faults.layers import Onward, layer

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication


class Losses:
    """Layer: the next reply to each of these `actions` does not arrive, though it was carried out."""

    def __init__(self) -> None:
        self.actions: set[str] = set()

    def __call__(self, app: "WSGIApplication") -> "WSGIApplication":
        return layer(self._answer)(app)

    def _answer(self, call: Call, onward: Onward) -> Response:
        reply = onward()
        if call.action not in self.actions:
            return reply
        self.actions.remove(call.action)
        return call.error("InternalError", "lost", 500)
