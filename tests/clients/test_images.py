"""Images, snapshots and parameters, as the clients read and change them in the embedded AWS."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from nodepkg.clients.aws.account import Account
from nodepkg.clients.aws.images import Images
from nodepkg.clients.aws.ssm import Parameters
from nodepkg.clients.aws.templates import LaunchTemplates, TemplatePin
from nodepkg.errors import AwsError
from tests.faults import Recorder, aws, deny
from tests.worlds import STOCK_IMAGE, World

REGION = "us-east-1"
GONE = "ami-0123456789abcdef0"


@pytest.fixture
def calls() -> Recorder:
    return Recorder()


@pytest.fixture
def account(calls: Recorder) -> Iterator[Account]:
    with aws(calls) as account:
        yield account


@pytest.fixture
def images(account: Account) -> Images:
    return Images(account, REGION)


def test_own_images_are_listed_in_every_state_the_oldest_first(images: Images) -> None:
    world = World()
    made = [
        world.image(state, "bee", state=state, age=timedelta(days=5 - number))
        for number, state in enumerate(("failed", "available", "disabled", "pending"))
    ]
    world.image("another's", "bee", owner="099720109477")
    world.protect(made[1])
    assert [(image.id, image.state, image.protected) for image in images.owned({"group": "bee"})] == [
        (made[0], "failed", False),
        (made[1], "available", True),
        (made[2], "disabled", False),
        (made[3], "pending", False),
    ]


def test_an_image_has_the_sum_of_its_volumes_and_their_snapshots(images: Images) -> None:
    found = images.image(World().image("bee", "bee", size_gb=5, snapshots=3))
    assert found is not None
    assert (found.size_gb, len(found.snapshots)) == (15, 3)
    assert {snapshot.id for snapshot in images.snapshots({"nodepkg:image-snapshot": "true"})} == set(found.snapshots)


def test_a_snapshot_has_what_an_orphan_is_known_by(images: Images) -> None:
    world = World()
    tags = {"nodepkg:image-snapshot": "true", "group": "bee"}
    made = world.snapshot(size_gb=7, description="for ami-1", tags=tags, age=timedelta(hours=2))
    world.snapshot(tags={"group": "bee"})
    (found,) = images.snapshots({"nodepkg:image-snapshot": "true"})
    assert (found.id, found.size_gb, found.description, found.tags) == (made, 7, "for ami-1", tags)
    assert abs(world.now - timedelta(hours=2) - found.started) < timedelta(seconds=1)


def test_images_are_found_by_exactly_their_name(images: Images) -> None:
    world = World()
    made = world.image("bee 1", "bee")
    world.image("bee 12", "bee")
    assert [image.id for image in images.named("bee 1")] == [made]
    assert images.named("bee *") == []


def test_the_newest_of_a_pattern_is_available_and_of_these_owners(images: Images) -> None:
    world = World()
    wanted = world.image("ubuntu 1", owner="099720109477", age=timedelta(days=2))
    world.image("ubuntu 0", owner="099720109477", age=timedelta(days=3))
    world.image("ubuntu 2", owner="099720109477", state="pending")
    world.image("ubuntu 3", owner="123456789012")
    found = images.newest(["099720109477"], "ubuntu *")
    assert found is not None
    assert found.id == wanted
    assert images.newest(["099720109477"], "debian *") is None


def test_existing_images_are_told_whoever_owns_them(images: Images, calls: Recorder) -> None:
    own = World().image("bee", "bee", state="disabled")
    assert images.existing([own, STOCK_IMAGE, GONE]) == {own, STOCK_IMAGE}
    assert images.existing([]) == set()
    assert calls.counts["DescribeImages"] == 1
    images.existing([f"ami-{number:017}" for number in range(201)])  # a filter takes 200 values
    assert calls.counts["DescribeImages"] == 3


def test_launch_permissions_are_told_in_words(images: Images) -> None:
    world = World()
    image = world.image("bee", "bee")
    assert images.launch_permissions(image) == []
    world.share(image, UserId="123456789012")
    world.share(image, Group="all")
    world.share(image, OrganizationArn="arn:o")
    world.share(image, OrganizationalUnitArn="arn:ou")
    assert images.launch_permissions(image) == [
        "account 123456789012",
        "everybody",
        "organization arn:o",
        "organizational unit arn:ou",
    ]
    assert images.launch_permissions(GONE) == []


def test_deregistering_tells_the_snapshots_that_ec2_saw_to(images: Images) -> None:
    world = World()
    image = world.image("bee", "bee", snapshots=2)
    twin = world.image("twin", "bee", shares_with=image)
    (found,) = [one for one in images.owned() if one.id == image]
    assert images.deregister_image(image) == set(found.snapshots)
    assert {one.id for one in images.snapshots({})} == set(found.snapshots)  # the twin has them still
    assert images.deregister_image(twin) == set(found.snapshots)
    assert images.snapshots({}) == []
    assert images.deregister_image(twin) == set()


def test_a_snapshot_that_an_image_has_stays(images: Images) -> None:
    found = images.image(World().image("bee", "bee"))
    assert found is not None
    assert not images.delete_snapshot(found.snapshots[0])
    assert images.delete_snapshot("snap-0123456789abcdef0")


def test_a_protected_image_is_not_deregistered(images: Images) -> None:
    world = World()
    image = world.image("bee", "bee")
    world.protect(image)
    with pytest.raises(AwsError, match=f"deregister {image}"):
        images.deregister_image(image)


def test_tags_are_added_to_images_and_snapshots(images: Images) -> None:
    made = World().image("bee", "bee")
    (snapshot,) = [one for image in images.owned({"group": "bee"}) for one in image.snapshots]
    images.add_tags([made, snapshot], {"nodepkg:keep": "1"})
    (image,) = images.owned({"group": "bee"})
    assert image.tags["nodepkg:keep"] == "1"
    assert [one.id for one in images.snapshots({"nodepkg:keep": "1"})] == [snapshot]


def test_parameters_are_told_by_version_label_and_arn(account: Account) -> None:
    world = World()
    for value in ("ami-1", "ami-2"):
        world.parameter("/a/b", value)
    world.parameter("plain", "ami-3")
    client = account.client("ssm", REGION)
    client.label_parameter_version(Name="/a/b", ParameterVersion=1, Labels=["old"])
    arn = client.get_parameter(Name="/a/b")["Parameter"]["ARN"]
    wanted = {"/a/b": "ami-2", "/a/b:1": "ami-1", "/a/b:old": "ami-1", "plain": "ami-3", arn: "ami-2"}
    assert Parameters(account, REGION).values([*wanted, "/gone", "plain:7"]) == wanted


def test_parameters_that_may_not_be_read_are_left_out() -> None:
    with aws(deny("GetParameters")) as account:
        World().parameter("/a", "ami-1")
        assert Parameters(account, REGION).values(["/a", "/b", "/c"]) == {}


def test_pinned_versions_of_one_template_are_one_call(account: Account, calls: Recorder) -> None:
    World().template("bee", [f"ami-{number}" for number in range(1, 31)])
    pins = [TemplatePin(None, "bee", str(number)) for number in (3, 17, 3)]
    found = LaunchTemplates(account, REGION).pinned(pins)
    assert sorted((version.number, version.image) for version in found) == [(3, "ami-3"), (17, "ami-17")]
    assert calls.counts["DescribeLaunchTemplateVersions"] == 1
    assert LaunchTemplates(account, REGION).pinned([TemplatePin(None, "gone", "1")]) == []
