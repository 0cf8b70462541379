"""Pages that are shorter than asked for, empty, or break off."""

import re
from typing import TYPE_CHECKING

from werkzeug.wrappers import Response

from nodepkg.sandbox.calls import Call, read
from nodepkg.sandbox.front import Layer
from nodepkg.sandbox.paging import at_most
from tests.faults.layers import Onward, layer

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

_TOKEN = re.compile(r"<(?:n|N)extToken>([^<]+)</")


def short_pages(items: int) -> Layer:
    """No page of any list has more items than that, whatever is asked for."""

    def answer(call: Call, onward: Onward) -> Response:
        with at_most(items):
            return onward()

    return layer(answer)


def _tokens(reply: Response) -> list[str]:
    return _TOKEN.findall(reply.get_data(as_text=True))


class _Pages:
    """Tells which page of a list a call asks for (from 1): the tokens in the replies lead from one to the next."""

    def __init__(self, action: str) -> None:
        self._action = action
        self._numbers: dict[str, int] = {}

    def number(self, call: Call) -> int | None:
        token = call.parameters.get("NextToken")
        if call.action != self._action:
            return None
        return self._numbers.get(str(token), 1) if token else 1

    def follow(self, number: int, reply: Response) -> None:
        for token in _tokens(reply):
            self._numbers[token] = number + 1


def empty_page(action: str, page: int) -> Layer:
    """That page of every list is empty, though it has a token with which the list goes on."""
    pages, resumed = _Pages(action), set[str]()

    def answer(call: Call, onward: Onward) -> Response:
        number, token = pages.number(call), str(call.parameters.get("NextToken"))
        if number != page or token in resumed:
            reply = onward()
            if number is not None:
                pages.follow(number, reply)
            return reply
        with at_most(0):
            reply = onward()
        # The token of an empty page leads to the items that would have been there.
        pages.follow(number - 1, reply)
        resumed.update(_tokens(reply))
        return reply

    return layer(answer)


def cut_page(action: str, page: int = 1, count: int | None = None) -> Layer:
    """The reply with that page (to the first `count` calls for it) breaks off in the middle of its body.

    Content-Length tells the whole body. boto takes what came all the same, and fails to parse it.
    """
    pages, left = _Pages(action), [count]

    def around(app: "WSGIApplication") -> "WSGIApplication":
        def respond(environ: "WSGIEnvironment", start_response: "StartResponse") -> "Iterable[bytes]":
            number = pages.number(read(environ))
            reply = Response.from_app(app, environ)
            if number is not None:
                pages.follow(number, reply)
            if number != page or left[0] == 0:
                return reply(environ, start_response)
            left[0] = None if left[0] is None else left[0] - 1
            body = reply.get_data()
            reply.headers["Content-Length"] = str(len(body))
            start_response(reply.status, reply.headers.to_wsgi_list())
            return [body[: len(body) // 2]]

        return respond

    return around
