"""What a request to AWS asks for, and answers that tell an error in the form that the service has."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

from werkzeug.wrappers import Response

if TYPE_CHECKING:
    from wsgiref.types import WSGIEnvironment

# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
_SCOPE = re.compile(r"Credential=[^/,]+/\d+/([^/,]+)/([^/,]+)/aws4_request")


@dataclass(frozen=True)
class Call:
    """One request. `action` is "" for services such as S3, which name it by method and path.

    The parameters are those of the wire: `Filter.1.Name` for EC2, the document's keys where the service speaks JSON.
    """

    service: str
    region: str
    action: str
    parameters: Mapping[str, Any]
    speaks_json: bool = False

    def error(self, code: str, message: str, status: int) -> Response:
        """The answer that the service would give."""
        if self.speaks_json:
            document = json.dumps({"__type": code, "message": message})
            return Response(document, status, mimetype="application/x-amz-json-1.1")
        error = f"<Code>{escape(code)}</Code><Message>{escape(message)}</Message>"
        if self.service == "ec2":
            body = f"<Response><Errors><Error>{error}</Error></Errors><RequestID>sandbox</RequestID></Response>"
        else:
            body = f"<ErrorResponse><Error>{error}</Error><RequestId>sandbox</RequestId></ErrorResponse>"
        return Response(body, status, mimetype="text/xml")


def read(environ: "WSGIEnvironment") -> Call:
    """The call in a request, whose body can be read again afterwards."""
    scope = _SCOPE.search(environ.get("HTTP_AUTHORIZATION", ""))
    region, service = scope.groups() if scope else ("", "")
    kind, target = environ.get("CONTENT_TYPE", ""), environ.get("HTTP_X_AMZ_TARGET", "")
    if "json" in kind:
        return Call(service, region, target.rpartition(".")[2], _document(_body(environ)), speaks_json=True)
    is_form = kind.startswith("application/x-www-form-urlencoded")
    text = _body(environ).decode() if is_form else environ.get("QUERY_STRING", "")
    parameters = dict(parse_qsl(text, keep_blank_values=True))
    return Call(service, region, parameters.get("Action", ""), parameters)


def _body(environ: "WSGIEnvironment") -> bytes:
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    environ["wsgi.input"] = BytesIO(body)
    return bytes(body)


def _document(body: bytes) -> Mapping[str, Any]:
    try:
        document = json.loads(body or b"{}")
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
