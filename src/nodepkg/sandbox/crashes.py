"""Where moto itself fails, the client gets an error of AWS's form that says so, instead of an HTML page."""

import logging
from typing import TYPE_CHECKING

from nodepkg.sandbox.calls import read

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

_CODE = "SandboxLimit"
_logger = logging.getLogger(__name__)


class Crashes:
    """WSGI layer right around moto. The status is 501, since SDKs try every other 5xx again, Packer for two minutes."""

    def __init__(self, app: "WSGIApplication") -> None:
        self._app = app

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> "Iterable[bytes]":
        call = read(environ)
        try:
            return self._app(environ, start_response)
        except Exception as error:
            _logger.exception("moto failed")
            message = f"the sandbox cannot do this: {type(error).__name__} {error}".rstrip()
            return call.error(_CODE, message, 501)(environ, start_response)
