"""The sandbox's own paths, /_nodepkg/…: health, seed, reset and stop, for programs on this machine only."""

import json
import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from werkzeug.wrappers import Request, Response

from nodepkg.sandbox.seed import Seed

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIEnvironment

PREFIX = "/_nodepkg/"


class Control:
    """WSGI application for PREFIX. `stop` is called once the answer to a stop is on its way; without it, 501.

    `also_forget` is called by a reset.
    """

    def __init__(
        self, sandbox_id: str, stop: Callable[[], None] | None, *, also_forget: Callable[[], None] | None = None
    ) -> None:
        self._id = sandbox_id
        self._stop = stop
        self._also_forget = also_forget
        self._seed = Seed()
        self._lock = threading.Lock()
        self._paths: dict[tuple[str, str], Callable[[Request], Response]] = {
            ("GET", "health"): self._answer_health,
            ("POST", "seed"): self._answer_seed,
            ("POST", "reset"): self._answer_reset,
            ("POST", "stop"): self._answer_stop,
        }

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> "Iterable[bytes]":
        return self.answer(Request(environ))(environ, start_response)

    def answer(self, request: Request) -> Response:
        name = request.path.removeprefix(PREFIX)
        known = self._paths.get((request.method, name))
        if known:
            return known(request)
        elsewhere = any(path == name for _, path in self._paths)
        return _json({"error": f"{request.method} {request.path}: no such control"}, 405 if elsewhere else 404)

    def _answer_health(self, _request: Request) -> Response:
        return _json({"id": self._id, "pid": os.getpid()})

    def _answer_seed(self, request: Request) -> Response:
        from nodepkg.sandbox import moto_seed

        try:
            seed = Seed.from_json(json.loads(request.get_data()))
            with self._lock:
                moto_seed.apply(seed)
                self._seed = self._seed.and_also(seed)
        except (TypeError, ValueError, AttributeError) as error:
            return _json({"error": f"not a seed: {error}"}, 400)
        return _json({})

    def _answer_reset(self, _request: Request) -> Response:
        from nodepkg.sandbox import moto_seed

        with self._lock:
            moto_seed.forget_everything()
            if self._also_forget:
                self._also_forget()
            moto_seed.apply(self._seed)
        return _json({})

    def _answer_stop(self, _request: Request) -> Response:
        if not self._stop:
            return _json({"error": "nothing to stop"}, 501)
        response = _json({})
        response.call_on_close(self._stop)
        return response


def is_from_here(environ: "WSGIEnvironment") -> bool:
    """Whether a program on this machine asks: a web page sends an Origin, or (DNS rebinding) a Host name of its own."""
    host = str(environ.get("HTTP_HOST", "")).rsplit(":", 1)[0]
    return host in ("127.0.0.1", "localhost") and "HTTP_ORIGIN" not in environ


def refusal() -> Response:
    return _json({"error": "for programs on this machine, at http://127.0.0.1"}, 403)


def _json(document: dict[str, object], status: int = 200) -> Response:
    return Response(json.dumps(document), status, mimetype="application/json")
