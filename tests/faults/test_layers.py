"""Each fault is what the client of a real AWS would see."""

import os
import subprocess
import sys
import threading
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.parsers import ResponseParserError

from nodepkg.clients.aws.account import Account
from nodepkg.sandbox.environment import child_environment
from tests.faults import (
    Recorder,
    aws,
    cut_page,
    deny,
    empty_page,
    fail,
    kill_at,
    lose_replies,
    pending_images,
    short_pages,
    slow_termination,
    throttle,
)
from tests.worlds import STOCK_IMAGE, World

ONCE = Config(retries={"total_max_attempts": 1})


def client(account: Account, service: str = "ec2") -> Any:
    """One that tries once."""
    return boto3.client(
        service,
        region_name="us-east-1",
        endpoint_url=account.endpoint,
        aws_access_key_id="x",
        aws_secret_access_key="x",
        config=ONCE,
    )


def refusal(call: Any, **arguments: Any) -> tuple[str, int]:
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    response = caught.value.response
    return str(response["Error"]["Code"]), int(response["ResponseMetadata"]["HTTPStatusCode"])


@pytest.mark.parametrize(
    ("service", "operation", "throttled", "denied"),
    [
        ("ec2", "describe_images", ("RequestLimitExceeded", 503), ("UnauthorizedOperation", 403)),
        ("autoscaling", "describe_auto_scaling_groups", ("Throttling", 400), ("AccessDenied", 403)),
        ("ssm", "describe_parameters", ("ThrottlingException", 400), ("AccessDeniedException", 400)),
    ],
)
def test_refusals_have_the_form_of_their_service(
    service: str, operation: str, throttled: tuple[str, int], denied: tuple[str, int]
) -> None:
    with aws(throttle("Describe*", 1)) as account:
        call = getattr(client(account, service), operation)
        assert refusal(call) == throttled
        call()
    with aws(deny("Describe*")) as account:
        assert refusal(getattr(client(account, service), operation)) == denied


def test_a_failure_is_not_carried_out_and_a_lost_reply_is() -> None:
    with aws(fail("DeregisterImage", 1, status=503)) as account:
        (image,) = World().images("bee", 1)
        assert refusal(client(account).deregister_image, ImageId=image) == ("InternalError", 503)
        client(account).deregister_image(ImageId=image)
    with aws(lose_replies("DeregisterImage")) as account:
        (image,) = World().images("bee", 1)
        assert refusal(client(account).deregister_image, ImageId=image) == ("InternalError", 500)
        gone = refusal(client(account).deregister_image, ImageId=image)
        assert gone[0] == "InvalidAMIID.Unavailable"


def test_retries_of_the_account_outlast_a_few_faults() -> None:
    with aws(throttle("DescribeImages", 1), fail("DescribeImages", 1)) as account:
        World().images("bee", 3)
        assert len(account.pages("ec2", "us-east-1", "describe_images", "Images", Owners=["self"])) == 3


def test_all_calls_are_recorded_with_what_they_ask_for() -> None:
    recorder = Recorder()
    with aws(recorder) as account:
        client(account).describe_images(Owners=["self"], MaxResults=5)
        client(account, "ssm").get_parameters(Names=["/a"])
    assert recorder.counts == {"DescribeImages": 1, "GetParameters": 1}
    (call,) = recorder.of("Describe*")
    assert (call.service, call.region) == ("ec2", "us-east-1")
    assert (call.parameters["MaxResults"], call.parameters["Owner.1"]) == ("5", "self")
    assert recorder.calls[1].parameters["Names"] == ["/a"]


def listed(account: Account, service: str, operation: str, key: str, **arguments: Any) -> list[list[Any]]:
    return [page[key] for page in client(account, service).get_paginator(operation).paginate(**arguments)]


def test_pages_are_shorter_than_asked_for() -> None:
    with aws(short_pages(2)) as account:
        made = World().images("bee", 5)
        World().launch_configuration("lc", STOCK_IMAGE)
        for name in "abc":
            World().group(name, configuration="lc")
        pages = listed(account, "ec2", "describe_images", "Images", Owners=["self"], PaginationConfig={"PageSize": 100})
        assert [len(page) for page in pages] == [2, 2, 1]
        assert sorted(image["ImageId"] for page in pages for image in page) == sorted(made)
        pages = listed(account, "autoscaling", "describe_auto_scaling_groups", "AutoScalingGroups")
        assert [len(page) for page in pages] == [2, 1]


@pytest.mark.parametrize("page", [1, 2, 3])
def test_a_page_in_a_list_is_empty_and_hides_nothing(page: int) -> None:
    with aws(short_pages(2), empty_page("DescribeImages", page)) as account:
        World().images("bee", 5)
        expected = [2, 2, 1]
        expected.insert(page - 1, 0)
        for _ in range(2):
            pages = listed(account, "ec2", "describe_images", "Images", Owners=["self"])
            assert [len(one) for one in pages] == expected


@pytest.mark.parametrize("count", [None, 1])
def test_one_page_breaks_off(count: int | None) -> None:
    with aws(short_pages(2), cut_page("DescribeImages", 2, count)) as account:
        World().images("bee", 5)
        first = client(account).describe_images(Owners=["self"])
        second = {"Owners": ["self"], "NextToken": first["NextToken"]}
        with pytest.raises(ResponseParserError, match="Unable to parse response"):
            client(account).describe_images(**second)
        if count is None:
            with pytest.raises(ResponseParserError):
                client(account).describe_images(**second)
        else:
            assert len(client(account).describe_images(**second)["Images"]) == 2


DELETE = """
import boto3, sys
ec2 = boto3.client("ec2", region_name="us-east-1")
for image in sys.argv[1:]:
    ec2.deregister_image(ImageId=image)
"""


@pytest.mark.parametrize(("after", "left"), [(False, 2), (True, 1)])
def test_a_process_dies_in_the_middle_of_its_calls(after: bool, left: int) -> None:
    process: list[subprocess.Popen[bytes]] = []
    with aws(kill_at(2, lambda: process[0].pid, after=after, action="DeregisterImage")) as account:
        made = World().images("bee", 3)
        environment = child_environment(os.environ, str(account.endpoint))
        process.append(subprocess.Popen([sys.executable, "-c", DELETE, *made], env=environment))
        assert process[0].wait(60) == -9
        assert len(client(account).describe_images(Owners=["self"])["Images"]) == left


def states(account: Account, looks: int) -> list[str]:
    return [client(account).describe_images(Owners=["self"])["Images"][0]["State"] for _ in range(looks)]


def test_a_new_image_is_pending_for_some_looks() -> None:
    with aws(pending_images(2, becomes="failed")) as account:
        client(account).create_image(InstanceId=World().instance(STOCK_IMAGE), Name="bee")
        assert states(account, 3) == ["pending", "pending", "failed"]


def test_a_new_image_is_pending_until_it_is_released() -> None:
    released = threading.Event()
    with aws(pending_images(released)) as account:
        client(account).create_image(InstanceId=World().instance(STOCK_IMAGE), Name="bee")
        assert states(account, 3) == ["pending"] * 3
        released.set()
        assert states(account, 1) == ["available"]


def test_an_instance_shuts_down_and_holds_its_group_for_some_looks() -> None:
    with aws(slow_termination(2)) as account:
        ec2 = client(account)
        group = ec2.create_security_group(GroupName="temporary", Description="x")["GroupId"]
        launched = {"ImageId": STOCK_IMAGE, "InstanceType": "m1.large", "MinCount": 1, "MaxCount": 1}
        instance = ec2.run_instances(**launched, SecurityGroupIds=[group])["Instances"][0]["InstanceId"]
        ec2.terminate_instances(InstanceIds=[instance])
        seen: list[str] = []
        for _ in range(3):
            held = seen[-1:] != ["terminated"]
            assert not held or refusal(ec2.delete_security_group, GroupId=group)[0] == "DependencyViolation"
            (reservation,) = ec2.describe_instances()["Reservations"]
            seen.append(reservation["Instances"][0]["State"]["Name"])
        assert seen == ["shutting-down", "shutting-down", "terminated"]
        ec2.delete_security_group(GroupId=group)
