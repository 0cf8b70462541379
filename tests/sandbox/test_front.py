"""The front in one process, as the tests of the whole project use it: layers see what the client sees."""

import json
from collections.abc import Iterable
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from werkzeug.test import Client
from werkzeug.wrappers import Response

from nodepkg.sandbox.front import Front

EC2 = {"Authorization": "AWS4-HMAC-SHA256 Credential=sandbox/20260101/us-east-1/ec2/aws4_request, Signature=x"}
BODY = b"<RunInstancesResponse><privateIpAddress>10.1.2.3</privateIpAddress><v>10.1.2.3</v></RunInstancesResponse>"


def one_instance(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    return Response(BODY, mimetype="text/xml")(environ, start_response)


def broken(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    raise NotImplementedError("snapshots <&>")


def test_the_length_follows_the_rewritten_body() -> None:
    response = Client(Front(one_instance)).post("/", data={"Action": "DescribeInstances"}, headers=EC2)
    assert response.data == BODY.replace(b"s>10.1", b"s>127.1")
    assert int(response.headers["Content-Length"]) == len(response.data)


def test_other_services_and_answers_pass_through() -> None:
    s3 = {"Authorization": EC2["Authorization"].replace("/ec2/", "/s3/")}
    assert Client(Front(one_instance)).post("/", headers=s3).data == BODY


def test_the_last_layer_is_the_outermost_and_sees_what_the_client_sees() -> None:
    seen: list[tuple[str, bytes]] = []

    def layer(name: str) -> "type[object]":
        class Noting:
            def __init__(self, app: WSGIApplication) -> None:
                self.app = app

            def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
                body = b"".join(self.app(environ, start_response))
                seen.append((name, body))
                return [body]

        return Noting

    front = Front(one_instance, layers=[layer("inner"), layer("outer")])  # type: ignore[list-item]
    body = Client(front).post("/", headers=EC2).data
    assert seen == [("inner", body), ("outer", body)]


def test_a_failure_of_moto_is_an_error_of_aws_form() -> None:
    answer = Client(Front(broken)).post("/", headers=EC2)
    assert answer.status_code == 501
    assert (
        b"<Code>SandboxLimit</Code><Message>the sandbox cannot do this: NotImplementedError snapshots &lt;"
        in answer.data
    )
    answer = Client(Front(broken)).post("/", content_type="application/x-amz-json-1.1")
    assert json.loads(answer.data)["__type"] == "SandboxLimit"


def test_without_a_process_there_is_nothing_to_stop() -> None:
    assert Client(Front(one_instance)).post("/_nodepkg/stop", base_url="http://127.0.0.1").status_code == 501
