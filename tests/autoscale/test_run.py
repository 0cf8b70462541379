"""Where and how a group's nodes are started."""

from pathlib import Path
from typing import Any

import pytest

from nodepkg.autoscale.run import refusals
from nodepkg.clients.aws.account import Account
from nodepkg.clients.aws.autoscaling import AutoScalingGroup
from nodepkg.clients.aws.ec2 import Ec2
from nodepkg.clients.aws.images import UNDATED, Image
from nodepkg.errors import AwsError, RefusedError
from nodepkg.images.newest import unusable
from nodepkg.launch import CreateTemplateVersion, launch, placement, version_token
from nodepkg.nodes.group import Group
from nodepkg.nodes.load import Nodes
from nodepkg.nodes.source import Source


def group(**keys: Any) -> Group:
    entry = {"run_list": ["recipe[x]"], "autoscale": {}, "instance_type": "m1.large", **keys}
    return Nodes(Source(Path("nodes.json"), "", {"bee-group": entry})).group("bee-group")


def test_a_group_that_runs_or_has_no_image_is_refused_by_name() -> None:
    asg = AutoScalingGroup("bee-group-v003", {}, 1, 1, 1, (), None)
    here, elsewhere = {("us-east-1", "bee-group"): [asg]}, {("eu-west-1", "bee-group"): [asg]}
    assert refusals([group()], {}, {}) == refusals([group()], elsewhere, {}) == []
    assert refusals([group()], here, {"bee-group": "no image"}) == ["bee-group runs already: bee-group-v003"]
    assert refusals([group()], elsewhere, {"bee-group": "no image"}) == ["bee-group: no image"]


def test_a_group_that_aws_is_deleting_still_has_its_name() -> None:
    asg = AutoScalingGroup("bee-group-v001", {}, 0, 0, 0, (), None, status="Delete in progress")
    (told,) = refusals([group()], {("us-east-1", "bee-group"): [asg]}, {})
    assert told == "bee-group runs already: bee-group-v001 (AWS is deleting it)"


@pytest.mark.parametrize(
    ("state", "tags", "told"),
    [
        ("available", {"group": "bee"}, ""),
        ("available", {}, ""),
        ("available", {"group": "wasp"}, "is an image of wasp"),
        ("pending", {"group": "bee"}, "is pending, not available"),
    ],
)
def test_an_image_that_was_named_has_to_be_there_and_no_other_groups(
    state: str, tags: dict[str, str], told: str
) -> None:
    assert unusable(Image("ami-1", "x", UNDATED, state, tags), "bee") == told


def test_an_image_that_is_not_there_cannot_be_used() -> None:
    assert unusable(None, "bee") == "is no image that this account can see"


def test_without_zones_and_subnets_every_zone_that_offers_the_type_is_used(account: Account) -> None:
    ec2 = Ec2(account, "us-east-1")
    zones = {subnet.zone for subnet in placement(ec2, group()).subnets}
    assert zones == ec2.zones_offering("m1.large") & {subnet.zone for subnet in ec2.default_subnets()}
    assert zones


def test_zones_mean_their_default_subnets(account: Account) -> None:
    place = placement(Ec2(account, "us-east-1"), group(zones=["us-east-1b", "us-east-1a", "us-east-1b"]))
    assert [subnet.zone for subnet in place.subnets] == ["us-east-1a", "us-east-1b"]
    with pytest.raises(AwsError, match="us-east-1z"):
        placement(Ec2(account, "us-east-1"), group(zones=["us-east-1a", "us-east-1z"]))


def test_subnets_of_two_vpcs_are_refused(account: Account) -> None:
    ec2, client = Ec2(account, "us-east-1"), account.client("ec2", "us-east-1")
    vpc = client.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    other = client.create_subnet(VpcId=vpc, CidrBlock="10.9.1.0/24", AvailabilityZone="us-east-1a")["Subnet"][
        "SubnetId"
    ]
    assert placement(ec2, group(subnets=[other])).vpc == vpc
    with pytest.raises(RefusedError, match="several VPCs"):
        placement(ec2, group(subnets=[other, ec2.default_subnets()[0].id]))


def test_security_groups_by_name_are_those_of_the_vpc(account: Account) -> None:
    made = launch(account, group(security_groups=["bee", "sg-0123", "bee"]), "ami-1ebb2077", "#!/bin/sh")
    ids = made.data["SecurityGroupIds"]
    assert len(ids) == 2
    assert ids[1] == "sg-0123"
    with pytest.raises(AwsError, match="wasp"):
        launch(account, group(security_groups=["wasp"]), "ami-1ebb2077", "#!/bin/sh")


def test_of_two_volumes_with_one_name_the_last_is_started(account: Account) -> None:
    devices = [{"device": "/dev/sda1", "size_gb": 8}, {"device": "/dev/sdb"}, {"device": "/dev/sda1", "size_gb": 20}]
    mappings = launch(account, group(block_devices=devices), "ami-1ebb2077", "#!/bin/sh").data["BlockDeviceMappings"]
    assert [(mapping["DeviceName"], mapping["Ebs"].get("VolumeSize")) for mapping in mappings] == [
        ("/dev/sda1", 20),
        ("/dev/sdb", None),
    ]


def test_the_token_of_a_version_is_short_and_of_one_run_and_group() -> None:
    long = "group-" * 20
    tokens = {version_token(run, group) for run in ("one", "two") for group in (long, long + "2", "bee")}
    assert len(tokens) == 6
    assert max(map(len, tokens)) <= 64


def test_a_version_with_the_same_content_serves_again(account: Account) -> None:
    one = launch(account, group(), "ami-1ebb2077", "#!/bin/sh")
    other = launch(account, group(key_name="ops"), "ami-1ebb2077", "#!/bin/sh")
    numbers = [CreateTemplateVersion(made, made.description).run(account)["version"] for made in (one, other, one)]
    assert numbers == [1, 2, 1]
