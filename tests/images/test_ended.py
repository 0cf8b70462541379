"""What becomes of a build whose Packer has ended."""

from datetime import UTC, datetime
from typing import Any

import pytest

from nodepkg.clients.aws.images import Image
from nodepkg.clients.packer_output import Outcome
from nodepkg.errors import AwsError, ToolError
from nodepkg.images.ended import Ended, Fate, failure, image_in, judge


def image(state: str, name: str = "bee 1") -> Image:
    tags = {"group": "bee", "nodepkg:managed": "true"}
    return Image("ami-1", name, datetime(2026, 1, 1, tzinfo=UTC), state, tags)


def ended(code: int = 1, **said: Any) -> Ended:
    return Ended("bee", "us-east-1", code, Outcome(**{"image_name": "bee 1", "makes": True, **said}))


GOOD = ended(0, artifact="us-east-1:ami-1")
BAD = ended(image="ami-1")


@pytest.mark.parametrize(
    ("build", "seen", "waited", "fate"),
    [
        (GOOD, image("available"), 0, Fate.BUILT),
        (GOOD, None, 0, Fate.WAIT),
        (GOOD, None, 29, Fate.WAIT),
        (GOOD, None, 31, Fate.FAILED),
        (GOOD, image("failed"), 0, Fate.FAILED),
        (BAD, image("available"), 0, Fate.ADOPT),
        (BAD, image("available", "Xyz123"), 0, Fate.FAILED),
        (BAD, image("pending"), 1700, Fate.WAIT),
        (BAD, image("pending"), 1801, Fate.FAILED),
        (BAD, image("failed"), 0, Fate.FAILED),
        (BAD, None, 29, Fate.WAIT),
        (BAD, None, 31, Fate.FAILED),
        (ended(makes=False), None, 0, Fate.FAILED),
        (ended(0), None, 0, Fate.WAIT),
    ],
)
def test_a_build_is_judged_by_what_is_there(build: Ended, seen: Image | None, waited: float, fate: Fate) -> None:
    assert judge(build, seen, waited) is fate


@pytest.mark.parametrize(
    "reason",
    [
        "Error querying AMI: InvalidAMIID.NotFound: no such image\n\tstatus code: 400, request id: 1",
        "No AMI was found matching filters: {…}",
        "operation error STS: GetCallerIdentity, https response error StatusCode: 403, api error InvalidClientTokenId",
        "NoCredentialProviders: no valid providers in chain",
    ],
)
def test_what_aws_said_is_an_error_of_aws(reason: str) -> None:
    told = failure(ended(error=reason), None, "x.log")
    assert isinstance(told, AwsError)
    assert told.hint == "its log: x.log"


def test_any_other_reason_is_one_of_packer() -> None:
    told = failure(ended(error="Script exited with non-zero exit status: 3"), None, "x.log")
    assert isinstance(told, ToolError)
    assert "Script exited" in told.message
    assert "ended by signal 9" in failure(ended(-9), None, "x.log").message
    assert "ami-1 is failed" in failure(BAD, image("failed"), "x.log").message
    assert "package packer:adopt bee ami-1" in failure(BAD, image("pending"), "x.log").hint


def test_the_image_of_the_region_is_taken() -> None:
    assert image_in("us-east-1:ami-1,eu-west-1:ami-2", "eu-west-1") == "ami-2"
    with pytest.raises(ToolError, match="ap-south-1"):
        image_in("us-east-1:ami-1", "ap-south-1")
