"""An embedded AWS in this process, with faults between it and its clients."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING

from moto.moto_server.werkzeug_app import MotoRequestHandler
from werkzeug.serving import make_server
from werkzeug.wrappers import Request, Response

from nodepkg.clients.aws.account import Account
from nodepkg.sandbox import moto_seed
from nodepkg.sandbox.seed import Seed, SeedImage, SeedRegion
from nodepkg.sandbox.server import front

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication


class Quiet(MotoRequestHandler):
    """Thousands of calls are not worth a line each."""

    def log_request(self, *_: object) -> None:
        pass


Layer = Callable[["WSGIApplication"], "WSGIApplication"]
FAILURE = "<Response><Errors><Error><Code>InternalError</Code><Message>lost</Message></Error></Errors></Response>"


def lose_replies(action: str, count: int = 1) -> Layer:
    """The first replies to this action do not arrive, though it was carried out."""
    left = [count]

    def layer(app: "WSGIApplication") -> "WSGIApplication":
        @Request.application
        def answer(request: Request) -> Response:
            body = request.get_data()
            reply = Response.from_app(app, {**request.environ, "wsgi.input": BytesIO(body)})
            if left[0] and f"Action={action}&" in body.decode() + "&":
                left[0] -= 1
                return Response(FAILURE, 500, mimetype="text/xml")
            return reply

        return answer

    return layer


@contextmanager
def aws(*layers: Layer) -> Iterator[Account]:
    """An account, with one source image, that is reached through these layers."""
    app = front(layers=layers)
    moto_seed.forget_everything()
    moto_seed.apply(
        Seed({"us-east-1": SeedRegion(images=(SeedImage("ami-1ebb2077", "precise"),), instance_types=("m1.large",))})
    )
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Quiet)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield Account(endpoint=f"http://127.0.0.1:{server.port}")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
