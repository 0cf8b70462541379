"""A picture that is not complete is none: whichever page of whichever list cannot be read, nothing is deleted."""

import threading
from collections.abc import Callable

import pytest
from werkzeug.wrappers import Response

from nodepkg.errors import AwsError, ExitCode
from nodepkg.images.usage import Usage, picture
from nodepkg.sandbox.calls import Call
from nodepkg.sandbox.front import Layer
from tests.clients.test_odd_answers import without
from tests.faults import Recorder, aws, cut_page, deny, empty_page, fail, short_pages, throttle
from tests.faults.layers import Onward, layer
from tests.worlds import World

REGION = "us-east-1"
LISTS = {
    "DescribeImages": "describe images",
    "DescribeSnapshots": "describe snapshots",
    "DescribeInstances": "describe instances",
    "DescribeLaunchTemplateVersions": "describe launch template versions",
    "DescribeLaunchConfigurations": "describe launch configurations",
    "DescribeAutoScalingGroups": "describe auto scaling groups",
}


def refuse(action: str, number: int) -> Layer:
    """The call of this action with that number, from 1, is refused."""
    calls = [0]

    def answer(call: Call, onward: Onward) -> Response:
        calls[0] += call.action == action
        refused = call.action == action and calls[0] == number
        return call.error("UnauthorizedOperation", "not yours", 403) if refused else onward()

    return layer(answer)


def stuck(action: str) -> Layer:
    """Every page of the list is the first one, with the same token."""
    first: list[bytes] = []

    def answer(call: Call, onward: Onward) -> Response:
        if call.action != action:
            return onward()
        if not first:
            first.append(onward().get_data())
        return Response(first[0], 200, mimetype="text/xml")

    return layer(answer)


def fleet() -> set[str]:
    """Three pages of two of each list, and a version that is pinned elsewhere; the images that are in use."""
    world = World()
    images = world.images("bee", 11)
    for number in range(3):
        world.template(f"t-{number}", [images[2 * number], images[10], images[2 * number + 1]])
    for number in range(5):
        world.launch_configuration(f"c-{number}", images[5 + number])
        world.group(f"g-{number}", configuration=f"c-{number}")
        world.instance(images[number])
    world.group("z-pinning", template="t-1", version="2")
    return set(images)


def taken(*layers: Layer) -> tuple[Usage, set[str]]:
    """The picture of a fleet seen through these layers, and what has to be in use in it."""
    with aws(short_pages(2), *layers) as account:
        used = fleet()
        return picture(account, REGION), used


def test_every_page_of_every_list_counts() -> None:
    recorder = Recorder()
    usage, used = taken(recorder)
    assert set(usage.references) == used
    assert str(usage) == "7 template versions, 5 launch configurations, 6 groups, 5 instances"
    # Eleven images and snapshots, five instances and configurations, six versions and groups, and one that is pinned.
    assert [recorder.counts[action] for action in LISTS] == [6, 6, 3, 4, 3, 3]


@pytest.mark.parametrize("action", LISTS)
def test_a_last_page_that_is_refused_is_an_error_that_says_what_is_missing(action: str) -> None:
    with pytest.raises(AwsError, match="no image in us-east-1 is deleted") as missing:
        taken(refuse(action, 3))
    assert f"{LISTS[action]} in us-east-1: UnauthorizedOperation" in missing.value.message
    assert missing.value.exit_code == ExitCode.AWS
    assert missing.value.code == "UnauthorizedOperation"


def test_a_pinned_version_that_cannot_be_read_is_an_error() -> None:
    with pytest.raises(AwsError, match="describe launch template versions in us-east-1: UnauthorizedOperation"):
        taken(refuse("DescribeLaunchTemplateVersions", 4))


@pytest.mark.parametrize("page", [1, 3])
@pytest.mark.parametrize("action", LISTS)
def test_an_empty_page_ends_no_list(action: str, page: int) -> None:
    usage, used = taken(empty_page(action, page))
    assert set(usage.references) == used
    assert len(usage.images) == len(usage.snapshots) == 11


@pytest.mark.parametrize("action", LISTS)
def test_a_last_page_that_breaks_off_is_an_error(action: str) -> None:
    with pytest.raises(AwsError, match="no image in us-east-1 is deleted") as missing:
        taken(cut_page(action, 3))
    (line,) = missing.value.message.splitlines()
    assert f"{LISTS[action]} in us-east-1: AWS's reply broke off" in line


def test_an_answer_without_what_each_has_is_an_error() -> None:
    with pytest.raises(AwsError, match=r"no image in us-east-1 is deleted while .*KeyError: 'ImageId'"):
        taken(without("DescribeImages", "imageId"))


def test_what_other_services_manage_counts_though_it_be_hidden() -> None:
    recorder = Recorder()
    taken(recorder)
    asked = {call.action for call in recorder.calls if call.parameters.get("IncludeManagedResources") == "true"}
    assert asked == {"DescribeInstances", "DescribeLaunchTemplateVersions", "DescribeAutoScalingGroups"}


@pytest.mark.parametrize("action", LISTS)
def test_a_token_that_comes_again_is_an_error_and_no_end(action: str) -> None:
    with pytest.raises(AwsError, match="same next token was received twice") as missing:
        taken(stuck(action))
    assert LISTS[action] in missing.value.message


def test_throttling_and_failures_that_pass_are_outlasted() -> None:
    usage, used = taken(throttle("Describe*", 2), fail("Describe*", 2))
    assert set(usage.references) == used


def test_several_lists_that_cannot_be_read_are_all_told() -> None:
    with pytest.raises(AwsError) as missing:
        taken(deny("DescribeImages"), deny("DescribeInstances"))
    assert "describe images in" in missing.value.message
    assert "describe instances in" in missing.value.message


def test_a_parameter_that_only_ec2_may_read_is_resolved_by_ec2() -> None:
    with aws(deny("GetParameters")) as account:
        world = World()
        (image,) = world.images("bee", 1)
        world.template("bee", [world.parameter("/bee", image)])
        assert set(picture(account, REGION).references) == {image}


def between(first: str, second: str, happens: Callable[[], object]) -> Layer:
    """Something happens once `first` has been answered, and before `second` is."""
    happened = threading.Event()

    def answer(call: Call, onward: Onward) -> Response:
        if call.action == second:
            assert happened.wait(timeout=30)
        reply = onward()
        if call.action == first and not happened.is_set():
            happens()
            happened.set()
        return reply

    return layer(answer)


def test_a_group_that_appears_with_its_configuration_between_two_lists_counts() -> None:
    images: list[str] = []

    def appear() -> None:
        World().group("new", configuration=World().launch_configuration("new", images[0]))

    with aws(between("DescribeLaunchConfigurations", "DescribeAutoScalingGroups", appear)) as account:
        images += World().images("bee", 1)
        assert "ASG new: launch configuration new" in picture(account, REGION).references[images[0]]


def test_a_group_that_goes_with_its_configuration_between_two_lists_is_gone() -> None:
    def go() -> None:
        World().scaling.autoscaling_groups.clear()
        World().scaling.launch_configurations.clear()

    with aws(between("DescribeAutoScalingGroups", "DescribeLaunchConfigurations", go)) as account:
        World().group("old", configuration=World().launch_configuration("old", *World().images("bee", 1)))
        assert picture(account, REGION).references == {}


def test_a_group_whose_configuration_is_not_listed_is_an_error() -> None:
    with aws() as account:
        World().group("web", configuration=World().launch_configuration("old", *World().images("bee", 1)))
        World().scaling.launch_configurations.clear()
        with pytest.raises(AwsError, match="missing: launch configuration old of ASG web"):
            picture(account, REGION)
