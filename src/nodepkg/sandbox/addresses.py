"""EC2 instances of the sandbox have loopback addresses: rewritten in answers, put back in requests."""

import re
from io import BytesIO
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode

from werkzeug.wrappers import Response

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

_KINDS = {
    b"privateIpAddress": "address",
    b"ipAddress": "address",
    b"publicIp": "address",
    b"privateIp": "address",
    b"privateDnsName": "private name",
    b"publicDnsName": "public name",
    b"dnsName": "public name",
}
_ANSWER = re.compile(rb"<\w*(?:Instance|NetworkInterface|Address|NatGateway)\w*Response[ >]")
_ELEMENT = re.compile(rb"<(" + b"|".join(_KINDS) + rb")>([^<]+)</\1>")
_ADDRESS = re.compile(r"(\d+)\.(\d+)\.(\d+)\.(\d+)")
_NAME = re.compile(r"(?:ip|ec2)-(\d+)-(\d+)-(\d+)-(\d+)\..+")
_ADDRESS_FIELD = re.compile(r"(?:.+\.)?(?:PublicIp|PrivateIpAddress)(?:\.\d+(?:\.PrivateIpAddress)?)?")
_FILTER_VALUE = re.compile(r"(Filter\.\d+)\.Value\.\d+")


def loopback(text: str) -> str:
    """The address in 127.0.0.0/8 for an IPv4 address or for EC2's name of one; anything else comes back as it is.

    10.1.2.3 is 127.1.2.3. 127.0.0.x belongs to the machine itself, so 10.0.0.3 is 127.255.10.3.
    """
    match = _ADDRESS.fullmatch(text) or _NAME.fullmatch(text)
    if not match:
        return text
    first, second, third, fourth = match.groups()
    if second == third == "0":
        return f"127.255.{first}.{fourth}"
    return f"127.{second}.{third}.{fourth}"


class LoopbackAddresses:
    """WSGI layer: a client of EC2 sees, and may name, loopback addresses only; moto keeps its own."""

    def __init__(self, app: "WSGIApplication") -> None:
        self._app = app
        self._originals: dict[tuple[str, str], str] = {}

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> "Iterable[bytes]":
        if "/ec2/aws4_request" not in environ.get("HTTP_AUTHORIZATION", ""):
            return self._app(environ, start_response)
        self._restore(environ)
        response = Response.from_app(self._app, environ)
        body = response.get_data()
        if _ANSWER.search(body[:400]):
            response.set_data(_ELEMENT.sub(self._rewrite, body))
        return response(environ, start_response)

    def _rewrite(self, match: re.Match[bytes]) -> bytes:
        element, original = match[1], match[2].decode()
        address = loopback(original)
        if address != original:
            self._originals[_KINDS[element], address] = original
        return b"<%b>%b</%b>" % (element, address.encode(), element)

    def _restore(self, environ: "WSGIEnvironment") -> None:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        if b"127." in body:
            body = self._with_originals(body)
            environ["CONTENT_LENGTH"] = str(len(body))
        environ["wsgi.input"] = BytesIO(body)

    def _with_originals(self, body: bytes) -> bytes:
        fields = parse_qsl(body.decode(), keep_blank_values=True)
        filters = {key.removesuffix(".Name"): value for key, value in fields if key.endswith(".Name")}
        return urlencode(
            [(key, self._originals.get((_kind_of_field(key, filters), value), value)) for key, value in fields]
        ).encode()


def _kind_of_field(key: str, filters: dict[str, str]) -> str:
    """What an address in this request field means; "" where it is only text, such as a tag's value or a CIDR block."""
    if _ADDRESS_FIELD.fullmatch(key):
        return "address"
    value = _FILTER_VALUE.fullmatch(key)
    name = filters.get(value[1], "") if value else ""
    if name.startswith("tag"):
        return ""
    if name.endswith(("ip-address", "public-ip")):
        return "address"
    if name.endswith("private-dns-name"):
        return "private name"
    return "public name" if name.endswith("dns-name") else ""
