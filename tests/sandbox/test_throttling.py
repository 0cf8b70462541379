"""EC2's buckets: what is within them passes, what is over them is refused as EC2 does it."""

from collections.abc import Iterable
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import pytest
from werkzeug.test import Client
from werkzeug.wrappers import Response

from nodepkg.sandbox.throttling import Throttling, latency

SCOPE = "AWS4-HMAC-SHA256 Credential=sandbox/20260101/{region}/{service}/aws4_request, Signature=x"


def fine(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    return Response(b"fine")(environ, start_response)


class Aws:
    def __init__(self) -> None:
        self.now = 0.0
        self.throttling = Throttling(clock=lambda: self.now)
        self.client = Client(self.throttling(fine))

    def call(self, action: str, *, region: str = "us-east-1", service: str = "ec2", **parameters: str) -> int:
        headers = {"Authorization": SCOPE.format(region=region, service=service)}
        data = {"Action": action, "Version": "2016-11-15"} | parameters
        return self.client.post("/", data=data, headers=headers).status_code

    def admitted(self, action: str, count: int, **parameters: str) -> int:
        return [self.call(action, **parameters) for _ in range(count)].count(200)


@pytest.mark.parametrize(
    ("action", "burst", "per_second"),
    [
        ("DescribeLaunchTemplates", 100, 20),
        ("CreateImage", 50, 5),
        ("ModifyImageAttribute", 50, 5),
        ("DeregisterImage", 100, 5),
        ("DeleteSnapshot", 100, 5),
        ("TerminateInstances", 100, 5),
        ("CreateLaunchTemplateVersion", 100, 5),
        ("CreateTags", 100, 10),
        ("CopyImage", 100, 1),
        ("RunInstances", 5, 2),
        ("DescribeImages", 50, 10),
        ("DescribeInstances", 50, 10),
        ("DescribeSnapshots", 50, 10),
    ],
)
def test_a_bucket_is_full_at_first_and_fills_again(action: str, burst: int, per_second: int) -> None:
    aws = Aws()
    assert aws.admitted(action, burst + 3) == burst
    aws.now = 1.0
    assert aws.admitted(action, per_second + 3) == per_second
    aws.now = 1000.0
    assert aws.admitted(action, burst + 3) == burst
    assert aws.throttling.refused == {action: 9}
    assert aws.throttling.calls == {action: 2 * burst + per_second + 9}


@pytest.mark.parametrize("parameter", ["MaxResults", "Filter.1.Name", "ImageId.1"])
def test_lists_that_ask_for_something_in_particular_may_be_read_more_often(parameter: str) -> None:
    assert Aws().admitted("DescribeImages", 101, **{parameter: "x"}) == 100


def test_actions_and_regions_have_buckets_of_their_own() -> None:
    aws = Aws()
    aws.admitted("RunInstances", 6)
    assert aws.call("CreateImage") == 200
    assert aws.call("RunInstances", region="eu-west-1") == 200
    assert aws.call("RunInstances") == 503


def test_other_services_are_not_limited() -> None:
    assert Aws().admitted("DescribeAutoScalingGroups", 300, service="autoscaling") == 300


def test_what_is_refused_is_told_as_ec2_does() -> None:
    client = Client(Throttling(clock=lambda: 0.0)(fine))
    headers = {"Authorization": SCOPE.format(region="us-east-1", service="ec2")}
    answers = [client.post("/", data={"Action": "RunInstances"}, headers=headers) for _ in range(6)]
    assert b"<Response><Errors><Error><Code>RequestLimitExceeded</Code>" in answers[-1].data


def test_every_call_takes_its_time() -> None:
    slept: list[float] = []
    app: WSGIApplication = latency(0.02, sleep=slept.append)(fine)
    assert Client(app).post("/").data == b"fine"
    assert slept == [0.02]
