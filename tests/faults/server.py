"""The server: the sandbox's own front, on a free loopback port."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from moto.moto_server.werkzeug_app import MotoRequestHandler
from werkzeug.serving import make_server

from nodepkg.clients.aws.account import Account
from nodepkg.clients.aws.models import Models
from nodepkg.sandbox import moto_seed
from nodepkg.sandbox.front import Layer
from nodepkg.sandbox.realistic import Realistic
from nodepkg.sandbox.seed import Seed, SeedImage, SeedRegion
from nodepkg.sandbox.server import front


class Quiet(MotoRequestHandler):
    """Thousands of calls are not worth a line each. A reply has one `Date`: that of the layers if they give it."""

    _has_date = False

    def log_request(self, *_: object) -> None:
        pass

    def send_response(self, code: int, message: str | None = None) -> None:
        self._has_date = False
        self.send_response_only(code, message)

    def send_header(self, keyword: str, value: str) -> None:
        self._has_date |= keyword.lower() == "date"
        super().send_header(keyword, value)

    def end_headers(self) -> None:
        if not self._has_date:
            self.send_header("Date", self.date_time_string())
        super().end_headers()


class QuickAccount(Account):
    """One that after a throttled call does not slow down, and that reads botocore's models once for all tests."""

    retry_mode = "standard"
    _models = Models(None)

    def _boto(self) -> Any:
        session = super()._boto()
        session.register_component("data_loader", self._models)
        return session


@contextmanager
def aws(*layers: Layer, realistic: Realistic | None = None) -> Iterator[Account]:
    """An account, with one source image, that is reached through these layers; `account.endpoint` is for others."""
    app = front(layers=layers, realistic=realistic)
    moto_seed.forget_everything()
    moto_seed.apply(
        Seed({"us-east-1": SeedRegion(images=(SeedImage("ami-1ebb2077", "precise"),), instance_types=("m1.large",))})
    )
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Quiet)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield QuickAccount(endpoint=f"http://127.0.0.1:{server.port}")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
