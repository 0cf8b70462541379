"""What nodes.json refers to exists, once, and a reset comes back to it."""

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError  # type: ignore[import-untyped,unused-ignore]

from nodepkg.errors import ToolError
from nodepkg.sandbox import process
from nodepkg.sandbox.process import Sandbox
from nodepkg.sandbox.seed import Seed, SeedRegion
from tests.sandbox.conftest import SEED, Client


def inventory(client: Client) -> dict[str, Any]:
    ec2, iam = client("ec2"), client("iam")
    return {
        "images": sorted(
            (image["ImageId"], image["Name"], image["OwnerId"]) for image in ec2.describe_images()["Images"]
        ),
        "groups": sorted(
            (one["GroupId"], one["GroupName"]) for one in ec2.describe_security_groups()["SecurityGroups"]
        ),
        "keys": [(key["KeyName"], key["KeyPairId"]) for key in ec2.describe_key_pairs()["KeyPairs"]],
        "subnets": sorted((one["SubnetId"], one["CidrBlock"]) for one in ec2.describe_subnets()["Subnets"]),
        "profiles": [one["Arn"] for one in iam.list_instance_profiles()["InstanceProfiles"]],
    }


def test_a_seed_goes_through_json() -> None:
    assert Seed.from_json(json.loads(json.dumps(SEED.to_json()))) == SEED
    assert Seed.from_json({}) == Seed()


def test_what_is_seeded_exists(client: Client) -> None:
    found = inventory(client)
    assert ("ami-1ebb2077", "ubuntu-12.04", "137112412989") in found["images"]
    assert {"bee", "external", "default"} <= {name for _, name in found["groups"]}
    assert "sg-0123456789abcdef0" in {group for group, _ in found["groups"]}
    assert [name for name, _ in found["keys"]] == ["ops"]
    assert {"subnet-0aaaaaaaaaaaaaaaa", "subnet-0bbbbbbbbbbbbbbbb"} <= {subnet for subnet, _ in found["subnets"]}
    assert found["profiles"] == [
        "arn:aws:iam::123456789012:instance-profile/web",
        "arn:aws:iam::111122223333:instance-profile/path/db",
    ]
    assert [bucket["Name"] for bucket in client("s3").list_buckets()["Buckets"]] == ["example-deploys"]


def test_images_are_as_told(client: Client) -> None:
    (image,) = client("ec2").describe_images(Owners=["amazon"])["Images"]
    assert (image["ImageId"], image["State"], image["Architecture"]) == ("ami-1ebb2077", "available", "x86_64")
    assert (image["VirtualizationType"], image["RootDeviceType"], image["RootDeviceName"]) == (
        "hvm",
        "ebs",
        "/dev/sda1",
    )
    assert image["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"].startswith("snap-")

    by_name = [{"Name": "name", "Values": ["ubuntu/images/*jammy*"]}]
    (image,) = client("ec2").describe_images(Owners=["099720109477"], Filters=by_name)["Images"]
    assert image["Architecture"] == "arm64"


def test_seeding_again_changes_nothing(seeded: Sandbox, client: Client) -> None:
    before = inventory(client)
    process.seed(seeded, SEED)
    assert inventory(client) == before


def test_reset_keeps_the_seed_and_nothing_else(seeded: Sandbox, client: Client) -> None:
    ec2 = client("ec2")
    ec2.create_key_pair(KeyName="mine")
    ec2.delete_key_pair(KeyName="ops")
    ec2.deregister_image(ImageId="ami-1ebb2077")
    client("s3").create_bucket(Bucket="mine")
    process.reset(seeded)
    assert [key["KeyName"] for key in ec2.describe_key_pairs()["KeyPairs"]] == ["ops"]
    assert len(ec2.describe_images()["Images"]) == 2
    assert [bucket["Name"] for bucket in client("s3").list_buckets()["Buckets"]] == ["example-deploys"]


def test_an_unknown_region_is_a_tool_error(sandbox: Sandbox) -> None:
    with pytest.raises(ToolError, match="no such region: atlantis-1"):
        process.seed(sandbox, Seed({"atlantis-1": SeedRegion()}))


def test_a_seeded_type_is_offered_in_every_zone(client: Client) -> None:
    ec2 = client("ec2")
    zones = {zone["ZoneName"] for zone in ec2.describe_availability_zones()["AvailabilityZones"]}
    only_old = [{"Name": "instance-type", "Values": ["m1.large"]}]
    offers = ec2.describe_instance_type_offerings(LocationType="availability-zone", Filters=only_old)
    locations = [offer["Location"] for offer in offers["InstanceTypeOfferings"]]
    assert sorted(locations) == sorted(zones)


def test_everything_seeded_starts_an_instance(client: Client) -> None:
    answer = client("ec2").run_instances(
        ImageId="ami-1ebb2077",
        InstanceType="m1.large",
        KeyName="ops",
        SecurityGroupIds=["sg-0123456789abcdef0"],
        SubnetId="subnet-0bbbbbbbbbbbbbbbb",
        IamInstanceProfile={"Arn": "arn:aws:iam::111122223333:instance-profile/path/db"},
        MinCount=1,
        MaxCount=1,
    )
    assert answer["Instances"][0]["SecurityGroups"][0]["GroupId"] == "sg-0123456789abcdef0"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"ImageId": "ami-0bad"}, "InvalidAMIID.NotFound"),
        ({"KeyName": "nobody"}, "InvalidKeyPair.NotFound"),
        ({"InstanceType": "m9.huge"}, "InvalidInstanceType.NotFound"),
        ({"SecurityGroupIds": ["sg-0bad"]}, "InvalidGroup.NotFound"),
        ({"SecurityGroups": ["nobody"]}, "SandboxLimit"),
    ],
)
def test_what_is_not_there_is_refused(client: Client, change: dict[str, Any], code: str) -> None:
    request = {"ImageId": "ami-1ebb2077", "InstanceType": "m1.large", "MinCount": 1, "MaxCount": 1}
    with pytest.raises(ClientError) as caught:
        client("ec2").run_instances(**request | change)
    assert caught.value.response["Error"]["Code"] == code
    assert caught.value.response["ResponseMetadata"]["RetryAttempts"] == 0


def test_create_image_tags_the_snapshot(client: Client) -> None:
    ec2 = client("ec2")
    (instance,) = ec2.run_instances(ImageId="ami-1ebb2077", MinCount=1, MaxCount=1)["Instances"]
    tags = [{"Key": "group", "Value": "bee"}]
    image = ec2.create_image(
        InstanceId=instance["InstanceId"],
        Name="bee 1",
        TagSpecifications=[{"ResourceType": kind, "Tags": tags} for kind in ("image", "snapshot")],
    )
    (image,) = ec2.describe_images(ImageIds=[image["ImageId"]])["Images"]
    snapshot_id = image["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"]
    (snapshot,) = ec2.describe_snapshots(SnapshotIds=[snapshot_id])["Snapshots"]
    assert image["Tags"] == snapshot["Tags"] == tags
