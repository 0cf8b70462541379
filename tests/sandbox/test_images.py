"""What moto lets pass, or leaves out, with images and snapshots: EC2's rules, through boto."""

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from nodepkg.clients.aws.account import Account
from tests.faults import aws
from tests.worlds import World

Ids = list[str]


@pytest.fixture(scope="module")
def account() -> Iterator[Account]:
    with aws() as made:
        yield made


@pytest.fixture
def ec2(account: Account) -> Any:
    from nodepkg.sandbox import moto_seed

    moto_seed.forget_everything()
    return account.client("ec2", "us-east-1")


def code(call: Any, **arguments: Any) -> str:
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    return str(caught.value.response["Error"]["Code"])


def listed(ec2: Any, **arguments: Any) -> Ids:
    return [image["ImageId"] for image in ec2.describe_images(Owners=["self"], **arguments)["Images"]]


def snapshots(ec2: Any) -> set[str]:
    return {one["SnapshotId"] for one in ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]}


def test_images_come_in_pages(ec2: Any) -> None:
    made = World().images("bee", 12)
    pages = list(ec2.get_paginator("describe_images").paginate(Owners=["self"], PaginationConfig={"PageSize": 5}))
    found = [image["ImageId"] for page in pages for image in page["Images"]]
    assert [len(page["Images"]) for page in pages] == [5, 5, 2]
    assert sorted(found) == sorted(made)
    assert len(listed(ec2)) == 12


def test_a_page_has_five_items_or_more_and_a_token_of_ec2(ec2: Any) -> None:
    assert code(ec2.describe_images, MaxResults=4) == "InvalidParameterValue"
    assert code(ec2.describe_images, NextToken="x") == "InvalidNextToken"


def test_ids_owners_and_filters_all_count(ec2: Any) -> None:
    bee, wasp = World().image("bee [1]", "bee"), World().image("wasp [1]", "wasp")
    World().image("bee [1]", "bee", owner="111122223333")
    assert listed(ec2, Filters=[{"Name": "name", "Values": ["bee [1]"]}]) == [bee]
    assert listed(ec2, Filters=[{"Name": "tag:group", "Values": ["b?e", "x*"]}]) == [bee]
    assert listed(ec2, ImageIds=[bee, wasp], Filters=[{"Name": "tag:group", "Values": ["wasp"]}]) == [wasp]
    assert code(ec2.describe_images, ImageIds=[bee, "ami-00000000000000000"]) == "InvalidAMIID.NotFound"
    ec2.deregister_image(ImageId=bee)
    assert listed(ec2, ImageIds=[bee]) == []


def test_a_disabled_image_is_shown_on_demand_only(ec2: Any) -> None:
    (image,) = World().images("bee", 1)
    ec2.disable_image(ImageId=image)
    assert listed(ec2) == []
    (found,) = ec2.describe_images(Owners=["self"], IncludeDisabled=True)["Images"]
    assert found["State"] == "disabled"
    ec2.enable_image(ImageId=image)
    assert listed(ec2) == [image]


def test_a_name_is_given_once_in_an_account(ec2: Any) -> None:
    World().image("theirs", owner="111122223333")
    World().image("ours")
    assert code(ec2.register_image, Name="ours") == "InvalidAMIName.Duplicate"
    assert ec2.register_image(Name="theirs")["ImageId"] in listed(ec2)
    source = World().image("source")
    duplicate = {"Name": "ours", "SourceRegion": "us-east-1", "SourceImageId": source}
    assert code(ec2.copy_image, **duplicate) == "InvalidAMIName.Duplicate"
    assert code(ec2.create_image, InstanceId=World().instance(source), Name="ours") == "InvalidAMIName.Duplicate"


def test_an_image_of_an_instance_has_its_volumes(ec2: Any) -> None:
    instance = World().instance(World().image("source"))
    volume = ec2.create_volume(Size=7, AvailabilityZone="us-east-1a")["VolumeId"]
    ec2.attach_volume(VolumeId=volume, InstanceId=instance, Device="/dev/sdf")
    tags = [{"ResourceType": kind, "Tags": [{"Key": "kind", "Value": kind}]} for kind in ("image", "snapshot")]
    made = ec2.create_image(InstanceId=instance, Name="bee", TagSpecifications=tags)["ImageId"]
    (image,) = ec2.describe_images(ImageIds=[made])["Images"]
    assert image["Tags"] == [{"Key": "kind", "Value": "image"}]
    assert image["DeregistrationProtection"] == "disabled"
    devices = {one["DeviceName"]: one["Ebs"] for one in image["BlockDeviceMappings"]}
    assert {name: device["VolumeSize"] for name, device in devices.items()} == {"/dev/sda1": 8, "/dev/sdf": 7}
    for snapshot in ec2.describe_snapshots(SnapshotIds=[one["SnapshotId"] for one in devices.values()])["Snapshots"]:
        assert snapshot["Description"] == f"Created by CreateImage({instance}) for {made}"
        assert snapshot["Tags"] == [{"Key": "kind", "Value": "snapshot"}]


def test_snapshots_stay_unless_they_are_to_go_with_their_image(ec2: Any) -> None:
    kept, doomed = World().images("bee", 2, snapshots=2)
    before = snapshots(ec2)
    ec2.deregister_image(ImageId=kept)
    assert snapshots(ec2) == before
    results = ec2.deregister_image(ImageId=doomed, DeleteAssociatedSnapshots=True)["DeleteSnapshotResults"]
    assert [one["ReturnCode"] for one in results] == ["success", "success"]
    assert snapshots(ec2) == before - {one["SnapshotId"] for one in results}
    assert code(ec2.deregister_image, ImageId=doomed) == "InvalidAMIID.Unavailable"


def test_a_snapshot_of_two_images_goes_with_the_last(ec2: Any) -> None:
    first = World().image("first")
    (shared,) = snapshots(ec2)
    mapping = [{"DeviceName": "/dev/sda1", "Ebs": {"SnapshotId": shared}}]
    second = ec2.register_image(Name="second", RootDeviceName="/dev/sda1", BlockDeviceMappings=mapping)["ImageId"]
    assert snapshots(ec2) == {shared}
    gone = ec2.deregister_image(ImageId=first, DeleteAssociatedSnapshots=True)
    assert gone["DeleteSnapshotResults"] == [{"SnapshotId": shared, "ReturnCode": "skipped"}]
    assert code(ec2.delete_snapshot, SnapshotId=shared) == "InvalidSnapshot.InUse"
    ec2.deregister_image(ImageId=second)
    ec2.delete_snapshot(SnapshotId=shared)
    assert code(ec2.delete_snapshot, SnapshotId=shared) == "InvalidSnapshot.NotFound"


def test_a_protected_image_stays(ec2: Any) -> None:
    (image,) = World().images("bee", 1)
    ec2.enable_image_deregistration_protection(ImageId=image)
    (found,) = ec2.describe_images(Owners=["self"])["Images"]
    assert found["DeregistrationProtection"] == "enabled-without-cooldown"
    assert code(ec2.deregister_image, ImageId=image) == "OperationNotPermitted"
    ec2.disable_image_deregistration_protection(ImageId=image)
    ec2.deregister_image(ImageId=image)
    assert listed(ec2) == []


def test_a_protection_with_cooldown_outlives_its_end(ec2: Any) -> None:
    (image,) = World().images("bee", 1)
    ec2.enable_image_deregistration_protection(ImageId=image, WithCooldown=True)
    ec2.disable_image_deregistration_protection(ImageId=image)
    assert code(ec2.deregister_image, ImageId=image) == "OperationNotPermitted"


def test_snapshots_come_in_pages_of_their_owner(ec2: Any) -> None:
    World().images("bee", 6, snapshots=2)
    World().image("theirs", owner="111122223333")
    pages = list(ec2.get_paginator("describe_snapshots").paginate(OwnerIds=["self"], PaginationConfig={"PageSize": 5}))
    assert [len(page["Snapshots"]) for page in pages] == [5, 5, 2]
    assert len({one["SnapshotId"] for page in pages for one in page["Snapshots"]}) == 12


def test_an_image_is_shared_with_accounts_everybody_and_organisations(ec2: Any) -> None:
    (image,) = World().images("bee", 1)
    arn = "arn:aws:organizations::111122223333:organization/o-1"
    for added in ({"UserId": "111122223333"}, {"Group": "all"}, {"OrganizationArn": arn}):
        ec2.modify_image_attribute(ImageId=image, LaunchPermission={"Add": [added]})
    told = ec2.describe_image_attribute(ImageId=image, Attribute="launchPermission")["LaunchPermissions"]
    assert told == [{"UserId": "111122223333"}, {"Group": "all"}, {"OrganizationArn": arn}]
    ec2.deregister_image(ImageId=image)
    gone = {"ImageId": image, "Attribute": "launchPermission"}
    assert code(ec2.describe_image_attribute, **gone) == "InvalidAMIID.Unavailable"


def test_an_image_that_is_gone_or_pending_launches_nothing_and_what_is_gone_takes_no_tags(ec2: Any) -> None:
    gone, pending = World().image("gone"), World().image("pending", state="pending")
    ec2.deregister_image(ImageId=gone)
    launch = {"InstanceType": "m3.large", "MinCount": 1, "MaxCount": 1}
    assert code(ec2.run_instances, ImageId=gone, **launch) == "InvalidAMIID.NotFound"
    assert code(ec2.run_instances, ImageId=pending, **launch) == "InvalidAMIID.Unavailable"
    assert code(ec2.create_tags, Resources=[gone], Tags=[{"Key": "a", "Value": "b"}]) == "InvalidAMIID.NotFound"
