"""How many calls it takes to know what nodes.json wants of many groups."""

from collections import Counter

import pytest

from nodepkg.autoscale.known import Known
from nodepkg.autoscale.update import wanted
from nodepkg.autoscale.wanted import in_template
from nodepkg.clients.aws.templates import TemplatePin
from nodepkg.errors import AwsError
from nodepkg.launch import CreateTemplateVersion
from nodepkg.nodes.group import Group
from tests.autoscale.test_run import group
from tests.fleets import REGION, STOCK_IMAGE, Rig, fleet

ONCE = {
    "DescribeInstanceTypeOfferings": 1,
    "DescribeSubnets": 1,
    "DescribeSecurityGroups": 1,
    "DescribeTargetGroups": 1,
    "DescribeLaunchTemplateVersions": 1,
}


def one(rig: Rig, name: str) -> Group:
    """A group with a security group and a target group of its own."""
    vpc = rig.client("ec2").describe_vpcs()["Vpcs"][0]["VpcId"]
    rig.client("ec2").create_security_group(GroupName=name, Description=name, VpcId=vpc)
    rig.client("elbv2").create_target_group(Name=name, Protocol="HTTP", Port=80, VpcId=vpc)
    return group(security_groups=[name], autoscale={"target_groups": [name]})


@pytest.mark.parametrize("count", [4, 20])
def test_what_many_groups_want_takes_as_many_calls_as_what_one_wants(count: int) -> None:
    with fleet() as rig:
        groups = [one(rig, f"web-{number}") for number in range(count)]
        alone = [wanted(Known(rig.account), one, STOCK_IMAGE, "") for one in groups]
        CreateTemplateVersion(alone[0].launch, "token").run(rig.account)
        rig.account.sent.clear()
        known = Known(rig.account, many=True)
        assert [wanted(known, one, STOCK_IMAGE, "") for one in groups] == alone
        for _ in groups:
            data = known.template_data(REGION, TemplatePin(None, "bee-group", "1"))
            assert data and data["ImageId"] == STOCK_IMAGE
        assert Counter(rig.account.sent) == ONCE


@pytest.mark.parametrize("many", [False, True])
def test_what_is_not_there_is_told_by_its_name(many: bool) -> None:
    with fleet() as rig:
        known = Known(rig.account, many=many)
        with pytest.raises(AwsError, match="no security group nobodys"):
            wanted(known, group(security_groups=["nobodys"]), STOCK_IMAGE, "")
        with pytest.raises(AwsError, match="nobodys"):
            wanted(known, group(autoscale={"target_groups": ["nobodys"]}), STOCK_IMAGE, "")


def test_a_version_that_cannot_be_seen_yet_is_asked_for_again() -> None:
    with fleet() as rig:
        known, pin = Known(rig.account), TemplatePin(None, "bee-group", "1")
        assert known.template_data(REGION, pin) is None
        CreateTemplateVersion(wanted(known, group(), STOCK_IMAGE, "").launch, "token").run(rig.account)
        assert known.template_data(REGION, pin) is not None


@pytest.mark.parametrize("profile", ["node", "arn:aws:iam::123456789012:instance-profile/web/node"])
def test_a_template_that_was_just_made_is_what_is_wanted(profile: str) -> None:
    devices = [
        {"device": "/dev/sdb", "size_gb": 8, "type": "io1", "iops": 200, "encrypted": True},
        {"device": "/dev/sda1", "throughput": 250, "delete_on_termination": False},
        {"device": "/dev/sdc", "iops": 3000, "encrypted": False},
    ]
    with fleet() as rig:
        known, pin = Known(rig.account), TemplatePin(None, "bee-group", "1")
        full = group(
            block_devices=devices,
            iam_instance_profile=profile,
            key_name="ops",
            security_groups=["default"],
            tags={"b": "2", "a": "1", "empty": ""},
        )
        one = wanted(known, full, STOCK_IMAGE, "#!/bin/sh\necho ä\n")
        CreateTemplateVersion(one.launch, "token").run(rig.account)
        assert in_template(one.launch.data, known.template_data(REGION, pin)) == []
