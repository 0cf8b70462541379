"""Requests and replies of AWS's query protocol, read and written by the services' own models; and those in JSON."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from typing import Any
from xml.sax.saxutils import escape

from moto.core.parse import PROTOCOL_PARSERS
from moto.core.utils import get_service_model
from werkzeug.wrappers import Response

from nodepkg.sandbox.calls import Call

_PROTOCOLS = {"autoscaling": "query", "elasticloadbalancing": "query", "ec2": "ec2"}
_MODELS = {"elasticloadbalancing": "elbv2"}
_Write = Callable[[Any, list[str]], None]


@cache
def _operation(service: str, action: str) -> Any:
    return get_service_model(_MODELS.get(service, service)).operation_model(action)


def arguments(call: Call) -> dict[str, Any]:
    """What the request gives, under the model's names and with its types; what it leaves out is not there."""
    if call.speaks_json:
        return dict(call.parameters)
    parser = PROTOCOL_PARSERS[_PROTOCOLS[call.service]](_operation(call.service, call.action), map_type=dict)
    request: Any = {"headers": {}, "body": b"", "query_string": "", "url_path": "/", "values": dict(call.parameters)}
    return dict(parser.parse(request))


def reply(call: Call, result: dict[str, Any]) -> Response:
    """The reply with this result; what is None is left out."""
    if call.speaks_json:
        told = {key: value for key, value in result.items() if value is not None}
        return Response(json.dumps(told, default=datetime.timestamp), 200, mimetype="application/x-amz-json-1.1")
    shape = _operation(call.service, call.action).output_shape
    parts: list[str] = []
    if call.service == "ec2":
        _members(shape)(result, parts)
        parts.append("<requestId>sandbox</requestId>")
    else:
        if shape is not None:
            wrapper = shape.serialization.get("resultWrapper", f"{call.action}Result")
            parts.append(f"<{wrapper}>")
            _members(shape)(result, parts)
            parts.append(f"</{wrapper}>")
        parts.append("<ResponseMetadata><RequestId>sandbox</RequestId></ResponseMetadata>")
    body = f'<?xml version="1.0" encoding="utf-8"?><{call.action}Response>{"".join(parts)}</{call.action}Response>'
    return Response(body, 200, mimetype="text/xml")


def moment(seconds: float | None) -> datetime | None:
    """As replies have it."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


# moto's writer would do as well, and take ten times as long: a hundred groups are asked for again and again.
@cache
def _members(shape: Any) -> _Write:
    """Writes the members of a structure."""
    writers = [
        (key, _element(member, member.serialization.get("name", key)))
        for key, member in (shape.members.items() if shape is not None else ())
    ]

    def write(value: Any, parts: list[str]) -> None:
        for key, member in writers:
            found = value.get(key)
            if found is not None:
                member(found, parts)

    return write


@cache
def _element(shape: Any, name: str) -> _Write:
    """Writes one element, with what is in it."""
    start, end = f"<{name}>", f"</{name}>"
    if shape.type_name == "structure":
        inner = _members(shape)
    elif shape.type_name == "list":
        inner = _items(_element(shape.member, shape.member.serialization.get("name", "member")))
    else:
        text = _text(shape.type_name)
        return lambda value, parts: parts.append(f"{start}{text(value)}{end}")

    def write(value: Any, parts: list[str]) -> None:
        parts.append(start)
        inner(value, parts)
        parts.append(end)

    return write


def _items(item: _Write) -> _Write:
    def write(value: Any, parts: list[str]) -> None:
        for one in value:
            item(one, parts)

    return write


def _text(type_name: str) -> Callable[[Any], str]:
    if type_name == "timestamp":
        return lambda value: value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    if type_name == "boolean":
        return lambda value: "true" if value else "false"
    return lambda value: escape(str(value))
