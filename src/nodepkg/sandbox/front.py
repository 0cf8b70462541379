"""What the sandbox serves: moto behind layers of ours, next to the sandbox's own control paths."""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from nodepkg.sandbox.addresses import LoopbackAddresses
from nodepkg.sandbox.control import PREFIX, Control, is_from_here, refusal
from nodepkg.sandbox.crashes import Crashes

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from nodepkg.sandbox.realistic import Realistic

Layer = Callable[["WSGIApplication"], "WSGIApplication"]


class Front:
    """The WSGI application of a sandbox.

    A layer wraps an application in another one (time, throttling, faults); each wraps those before it, and all of them
    wrap the addresses, so a layer sees what the client sees. `realistic` is next to moto.
    """

    def __init__(
        self,
        app: "WSGIApplication",
        *,
        sandbox_id: str = "",
        stop: Callable[[], None] | None = None,
        layers: Sequence[Layer] = (),
        realistic: "Realistic | None" = None,
    ) -> None:
        self._control = Control(sandbox_id, stop, also_forget=realistic.forget if realistic else None)
        self._aws: WSGIApplication = LoopbackAddresses(Crashes(realistic(app) if realistic else app))
        for layer in layers:
            self._aws = layer(self._aws)

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        path = str(environ.get("PATH_INFO", ""))
        # moto's own controls can undo everything as well, so they take the same guard.
        if path.startswith((PREFIX, "/moto-api")) and not is_from_here(environ):
            return refusal()(environ, start_response)
        if path.startswith(PREFIX):
            return self._control(environ, start_response)
        return self._aws(environ, start_response)
