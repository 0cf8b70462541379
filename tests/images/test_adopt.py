"""Which images may be adopted, and what they are tagged with: on plain values, and in an embedded AWS."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from nodepkg.clients.aws.account import Account
from nodepkg.clients.aws.images import Image, Images
from nodepkg.errors import AwsError, RefusedError, UsageError
from nodepkg.images.adopt import adopt, check, plan_adoption, record_of, require_image
from nodepkg.images.journal import Record
from nodepkg.images.newest import belongs
from tests.faults import aws, deny

CREATED = datetime(2026, 11, 21, 12, tzinfo=UTC)
IMAGE = Image("ami-1", "bee 1", CREATED, "available", {}, ("snap-1", "snap-2"))
RECORD = Record(
    "6ab13b8000abcdef",
    "bee",
    "us-east-1",
    "t",
    "d1",
    "c1",
    CREATED.timestamp() - 600,
    "l",
    source="ami-0",
    image_name="bee 1",
)


def refusal(**more: Any) -> tuple[str, str]:
    with pytest.raises(RefusedError) as error:
        check(replace(IMAGE, **more), "bee")
    return error.value.message, error.value.hint


def test_an_available_image_of_nobody_may_be_adopted() -> None:
    check(IMAGE, "bee")
    check(replace(IMAGE, tags={"group": "bee", "nodepkg:managed": "true"}), "bee")


def test_a_pending_image_is_refused_with_how_to_wait() -> None:
    told, hint = refusal(state="pending")
    assert told == "ami-1 (bee 1) is still pending: it can be adopted when it is available"
    assert hint.startswith("aws ec2 wait image-available --image-ids ami-1")


@pytest.mark.parametrize("state", ["failed", "disabled", "invalid", "deregistered", "transient", "error", ""])
def test_an_image_that_cannot_be_used_is_refused(state: str) -> None:
    assert state in refusal(state=state)[0]


@pytest.mark.parametrize("tags", [{"group": "wasp"}, {"group": "wasp", "nodepkg:managed": "true"}, {"group": ""}])
def test_an_image_of_another_group_is_refused(tags: Mapping[str, str]) -> None:
    told, _ = refusal(tags=tags)
    assert told == f"ami-1 (bee 1) is an image of {tags['group']}"


def test_it_gets_the_tags_of_a_build() -> None:
    plan = plan_adoption("us-east-1", IMAGE, "bee", tags={"team": "ops"}, record=RECORD)
    assert plan.tags == {
        "team": "ops",
        "group": "bee",
        "nodepkg:managed": "true",
        "nodepkg:source_ami": "ami-0",
        "nodepkg:commit": "c1",
        "nodepkg:digest": "d1",
    }


def test_what_is_not_known_here_is_not_made_up() -> None:
    plan = plan_adoption("us-east-1", replace(IMAGE, tags={"nodepkg:digest": "own"}), "bee", tags={}, record=None)
    assert plan.tags == {"group": "bee", "nodepkg:managed": "true"}
    assert plan.all_tags["nodepkg:digest"] == "own"


def test_a_build_is_known_by_the_image_or_its_name() -> None:
    named = replace(RECORD, image="ami-1", image_name=None)
    assert record_of(IMAGE, "bee", "us-east-1", [RECORD]) == RECORD
    assert record_of(IMAGE, "bee", "us-east-1", [RECORD, named]) == named


@pytest.mark.parametrize(
    "more",
    [
        {"group": "wasp"},
        {"region": "eu-west-1"},
        {"image_name": "bee 2"},
        {"image_name": None},
        {"image": "ami-2"},
        {"started": CREATED.timestamp() + 3600},
    ],
)
def test_another_build_says_nothing_of_it(more: dict[str, Any]) -> None:
    assert record_of(IMAGE, "bee", "us-east-1", [replace(RECORD, **more)]) is None


def test_of_two_builds_of_one_name_the_later_counts() -> None:
    later = replace(RECORD, started=RECORD.started + 60)
    assert record_of(IMAGE, "bee", "us-east-1", [RECORD, later]) == later


def made(account: Account) -> Image:
    """An image as Packer leaves it before it sets the tags."""
    ec2 = account.client("ec2", "us-east-1")
    machine = ec2.run_instances(ImageId="ami-1ebb2077", MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]
    found = Images(account, "us-east-1").image(ec2.create_image(InstanceId=machine, Name="bee 1")["ImageId"])
    assert found is not None
    return found


def test_an_adopted_image_counts_and_its_snapshots_are_ours() -> None:
    with aws() as account:
        image = made(account)
        assert not belongs(image, "bee")
        report = adopt(account, "us-east-1", image, "bee", tags={"team": "ops"}, record=RECORD)
        images = Images(account, "us-east-1")
        assert (report["image"], report["adopted"], report["digest"]) == (image.id, True, "d1")
        assert {snapshot.id for snapshot in images.snapshots({"nodepkg:image-snapshot": "true", "group": "bee"})} == {
            *image.snapshots
        }
        after = images.image(image.id)
        assert after is not None
        assert belongs(after, "bee")
        assert after.tags == plan_adoption("us-east-1", image, "bee", tags={"team": "ops"}, record=RECORD).tags


def test_one_that_is_half_adopted_does_not_count_yet() -> None:
    with aws(deny("CreateTags")) as account:
        image = made(account)
        with pytest.raises(AwsError, match=f"tag {image.snapshots[0]}"):
            adopt(account, "us-east-1", image, "bee", tags={}, record=None)
        after = Images(account, "us-east-1").image(image.id)
        assert after is not None
        assert not belongs(after, "bee")


def test_only_an_image_of_this_account_is_found() -> None:
    with aws() as account:
        images = Images(account, "us-east-1")
        image = made(account)
        assert require_image(images, image.id) == image
        with pytest.raises(RefusedError, match="ami-1ebb2077 is no image of this account in us-east-1"):
            require_image(images, "ami-1ebb2077")
        with pytest.raises(UsageError, match="is no id of an image"):
            require_image(images, "bee 1")
        assert image.created - datetime.now(UTC) < timedelta(minutes=5)
