"""What an instance asks EC2 of itself, of a server on loopback that answers as EC2's does."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from nodepkg.clients.metadata import Identity, identity
from nodepkg.errors import ToolError

DOCUMENT = {"instanceId": "i-1", "privateIp": "10.0.0.7", "availabilityZone": "us-east-1a", "region": "us-east-1"}


class Ec2(BaseHTTPRequestHandler):
    """IMDSv2: nothing without a token."""

    answers: ClassVar[dict[str, str]] = {}

    def do_PUT(self) -> None:
        wanted = self.headers["X-aws-ec2-metadata-token-ttl-seconds"]
        self._answer("a token" if self.path == "/latest/api/token" and wanted else None)

    def do_GET(self) -> None:
        if self.headers["X-aws-ec2-metadata-token"] != "a token":
            self.send_error(401)
            return
        self._answer(self.answers.get(self.path.removeprefix("/latest/")))

    def _answer(self, text: str | None) -> None:
        if text is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def ec2() -> Iterator[dict[str, str]]:
    """The environment that leads there."""
    Ec2.answers = {
        "dynamic/instance-identity/document": json.dumps(DOCUMENT),
        "meta-data/public-ipv4": "198.51.100.7",
        "meta-data/local-hostname": "ip-10-0-0-7.ec2.internal",
    }
    with ThreadingHTTPServer(("127.0.0.1", 0), Ec2) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield {"AWS_EC2_METADATA_SERVICE_ENDPOINT": f"http://127.0.0.1:{server.server_address[1]}/"}
        server.shutdown()
        thread.join()


def test_an_instance_knows_who_it_is(ec2: dict[str, str]) -> None:
    found = identity(ec2)
    assert found == Identity("i-1", "10.0.0.7", "198.51.100.7", "ip-10-0-0-7.ec2.internal", "us-east-1a")


def test_what_it_does_not_have_is_empty(ec2: dict[str, str]) -> None:
    del Ec2.answers["meta-data/public-ipv4"]
    assert identity(ec2).public_ip == ""


@pytest.mark.parametrize("document", ["{", "[]", "{}", json.dumps({**DOCUMENT, "instanceId": None})])
def test_what_is_no_answer_of_ec2_is_told(ec2: dict[str, str], document: str) -> None:
    Ec2.answers["dynamic/instance-identity/document"] = document
    with pytest.raises(ToolError) as raised:
        identity(ec2)
    assert "EC2's metadata at http://127.0.0.1" in raised.value.message
    assert "--instance and --address" in raised.value.hint


def test_elsewhere_than_on_ec2_nobody_answers() -> None:
    with pytest.raises(ToolError) as raised:
        identity({"AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:9"})
    assert "does not answer" in raised.value.message


def test_it_can_be_switched_off() -> None:
    with pytest.raises(ToolError) as raised:
        identity({"AWS_EC2_METADATA_DISABLED": "true"})
    assert "AWS_EC2_METADATA_DISABLED" in raised.value.message
