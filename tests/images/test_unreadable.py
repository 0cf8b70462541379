"""A picture that is not complete is none: whichever page of whichever list cannot be read."""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from nodepkg.clients.aws.account import Account
from nodepkg.errors import AwsError, ExitCode
from nodepkg.images.usage import picture
from nodepkg.sandbox.calls import read
from tests.faults import aws
from tests.images.test_usage import REGION, traced
from tests.worlds import World

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment


@dataclass
class Fault:
    """Which call of an action is refused: the first one has number 0."""

    action: str = ""
    number: int = 0

    def layer(self, app: "WSGIApplication") -> "WSGIApplication":
        def answer(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
            call = read(environ)
            if call.action == self.action:
                self.number -= 1
                if self.number == -1:
                    return call.error("UnauthorizedOperation", "not yours", 403)(environ, start_response)
            return app(environ, start_response)

        return answer


@dataclass(frozen=True)
class Fleet:
    account: Account
    fault: Fault


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    """More than one page of each list, and a version that is pinned elsewhere."""
    fault = Fault()
    with aws(fault.layer) as account:
        world = World()
        images = world.images("bee", 1010)
        for number in range(210):
            world.template(f"t-{number}", [images[number]] * 3)
        for number in range(101):
            world.launch_configuration(f"c-{number}", images[number])
            world.group(f"g-{number}", configuration=f"c-{number}")
        for _ in range(1001):
            world.instance(images[0])
        world.group("pinning", template="t-1", version="2")
        yield Fleet(account, fault)


@pytest.mark.parametrize(
    ("action", "number"),
    [
        *itertools.product(
            [
                "DescribeImages",
                "DescribeSnapshots",
                "DescribeInstances",
                "DescribeLaunchTemplateVersions",
                "DescribeLaunchConfigurations",
                "DescribeAutoScalingGroups",
            ],
            [0, 1],
        ),
        ("DescribeLaunchTemplateVersions", 2),  # the third page
        ("DescribeLaunchTemplateVersions", 3),  # the version that is pinned
    ],
)
def test_a_page_that_cannot_be_read_is_an_error_that_says_what_is_missing(
    fleet: Fleet, action: str, number: int
) -> None:
    fleet.fault.action, fleet.fault.number = action, number
    with pytest.raises(AwsError, match="no image in us-east-1 is deleted") as missing:
        picture(fleet.account, REGION)
    words = "".join(f" {char.lower()}" if char.isupper() else char for char in action).strip()
    assert f"{words} in us-east-1: UnauthorizedOperation" in missing.value.message
    assert missing.value.exit_code == ExitCode.AWS
    assert missing.value.code == "UnauthorizedOperation"


def test_all_pages_are_read_if_none_is_refused(fleet: Fleet) -> None:
    fleet.fault.action = ""
    watched, calls = traced(fleet.account)
    told = "421 template versions, 101 launch configurations, 102 groups, 1001 instances"
    assert str(picture(watched, REGION)) == told
    assert len(calls) == 2 * 5 + 3 + 1


def test_several_lists_that_cannot_be_read_are_all_told() -> None:
    refused = [Fault(action).layer for action in ("DescribeImages", "DescribeInstances")]
    with aws(*refused) as account, pytest.raises(AwsError) as missing:
        picture(account, REGION)
    assert "describe images in" in missing.value.message
    assert "describe instances in" in missing.value.message


def test_a_parameter_that_only_ec2_may_read_is_resolved_by_ec2() -> None:
    with aws(Fault("GetParameters").layer) as account:
        world = World()
        (image,) = world.images("bee", 1)
        world.template("bee", [world.parameter("/bee", image)])
        assert set(picture(account, REGION).references) == {image}
