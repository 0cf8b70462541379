"""Answers of AWS that lack what others have, or have something twice: they are read, and nothing is made up."""

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from werkzeug.wrappers import Response

from nodepkg.clients.aws.autoscaling import AutoScaling
from nodepkg.clients.aws.ec2 import Ec2
from nodepkg.clients.aws.images import UNDATED, Images
from nodepkg.sandbox.calls import Call
from nodepkg.sandbox.front import Layer
from tests.faults import Recorder, aws
from tests.faults.layers import Onward, layer
from tests.worlds import STOCK_IMAGE, World

REGION = "us-east-1"


def edited(action: str, edit: Callable[[str], str]) -> Layer:
    """The answers to this action, as `edit` makes them."""

    def answer(call: Call, onward: Onward) -> Response:
        reply = onward()
        if call.action != action:
            return reply
        return Response(edit(reply.get_data(as_text=True)), reply.status_code, mimetype="text/xml")

    return layer(answer)


def without(action: str, element: str) -> Layer:
    return edited(action, lambda text: re.sub(rf"<{element}>.*?</{element}>|<{element}/>", "", text, flags=re.DOTALL))


def twice(action: str, listed: str) -> Layer:
    """Everything in the list is in it twice."""

    def edit(text: str) -> str:
        return re.sub(rf"(<{listed}>)(.*)(</{listed}>)", r"\1\2\2\3", text, flags=re.DOTALL)

    return edited(action, edit)


def test_an_image_that_is_on_two_pages_is_one() -> None:
    with aws(twice("DescribeImages", "imagesSet"), twice("DescribeSnapshots", "snapshotSet")) as account:
        made = World().images("bee", 3)
        images = Images(account, REGION)
        assert [image.id for image in images.owned()] == made
        assert len(images.snapshots({"nodepkg:image-snapshot": "true"})) == 3


@pytest.mark.parametrize("element", ["creationDate", "imageState", "tagSet", "blockDeviceMapping", "name"])
def test_an_image_may_lack_what_others_have(element: str) -> None:
    with aws(without("DescribeImages", element)) as account:
        made = World().image("bee", "bee", age=timedelta(days=3))
        (image,) = Images(account, REGION).owned()
        assert image.id == made
        assert (image.created == UNDATED) == (element == "creationDate")
        assert image.state == ("unknown" if element == "imageState" else "available")


def test_a_date_without_a_time_zone_is_utc() -> None:
    with aws(edited("DescribeImages", lambda text: text.replace(".000Z</creationDate>", "</creationDate>"))) as account:
        World().image("bee", "bee", age=timedelta(days=3))
        (image,) = Images(account, REGION).owned()
        assert image.created.utcoffset() == timedelta(0)


def test_an_instance_without_a_state_refers_to_its_image() -> None:
    with aws(without("DescribeInstances", "instanceState")) as account:
        World().instance(STOCK_IMAGE)
        (instance,) = Ec2(account, REGION).instances()
        assert (instance.state, instance.image) == ("unknown", STOCK_IMAGE)


def test_groups_are_asked_for_without_an_empty_filter() -> None:
    calls = Recorder()
    with aws(calls) as account:
        AutoScaling(account, REGION).groups()
    (call,) = calls.calls
    assert "Filters" not in call.parameters
