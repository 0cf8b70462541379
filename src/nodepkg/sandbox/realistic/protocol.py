"""Requests and replies of AWS's query protocol, read and written by the services' own models."""

from datetime import UTC, datetime
from functools import cache
from typing import Any

from moto.core.parse import PROTOCOL_PARSERS
from moto.core.serialize import get_serializer_class
from moto.core.utils import get_service_model
from werkzeug.wrappers import Response

from nodepkg.sandbox.calls import Call

_PROTOCOLS = {"autoscaling": "query", "elasticloadbalancing": "query", "ec2": "ec2"}
_MODELS = {"elasticloadbalancing": "elbv2"}


@cache
def _operation(service: str, action: str) -> Any:
    return get_service_model(_MODELS.get(service, service)).operation_model(action)


def arguments(call: Call) -> dict[str, Any]:
    """What the request gives, under the model's names and with its types; what it leaves out is not there."""
    parser = PROTOCOL_PARSERS[_PROTOCOLS[call.service]](_operation(call.service, call.action), map_type=dict)
    request: Any = {"headers": {}, "body": b"", "query_string": "", "url_path": "/", "values": dict(call.parameters)}
    return dict(parser.parse(request))


def reply(call: Call, result: dict[str, Any]) -> Response:
    """The reply with this result; what is None is left out."""
    serializer = get_serializer_class(call.service, _PROTOCOLS[call.service])(
        operation_model=_operation(call.service, call.action),
        value_picker=lambda wanted: wanted.obj.get(wanted.key),
    )
    made = serializer.serialize(result)
    return Response(made["body"], made["status_code"], mimetype="text/xml")


def moment(seconds: float | None) -> datetime | None:
    """As replies have it."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
