"""Where moto itself fails, the client gets an error of AWS's form that says so, instead of an HTML page."""

import json
import logging
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from werkzeug.wrappers import Response

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
        try:
            return self._app(environ, start_response)
        except Exception as error:
            _logger.exception("moto failed")
            message = f"the sandbox cannot do this: {type(error).__name__} {error}".rstrip()
            return _error(environ, message)(environ, start_response)


def _error(environ: "WSGIEnvironment", message: str) -> Response:
    if "json" in environ.get("CONTENT_TYPE", ""):
        return Response(json.dumps({"__type": _CODE, "message": message}), 501, mimetype="application/x-amz-json-1.1")
    error = f"<Error><Code>{_CODE}</Code><Message>{escape(message)}</Message></Error>"
    if "/ec2/aws4_request" in environ.get("HTTP_AUTHORIZATION", ""):
        body = f"<Response><Errors>{error}</Errors><RequestID>sandbox</RequestID></Response>"
    else:
        body = f"<ErrorResponse>{error}<RequestId>sandbox</RequestId></ErrorResponse>"
    return Response(body, 501, mimetype="text/xml")
