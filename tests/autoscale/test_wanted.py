"""What nodes.json wants against what runs, key by key, and what forbids a rollout."""

from dataclasses import replace
from typing import Any

import pytest

from nodepkg.autoscale.generations import is_stopped
from nodepkg.autoscale.journal import MOST_TAGS, Phase, Record, most_tags
from nodepkg.autoscale.update import refuse
from nodepkg.autoscale.wanted import (
    Difference,
    Wanted,
    forbids,
    forbids_too,
    in_place,
    in_template,
    next_targets,
    replacing,
    serving,
    sizes,
)
from nodepkg.clients.aws.autoscaling import AutoScalingGroup, Member
from nodepkg.clients.aws.ec2 import Subnet
from nodepkg.errors import RefusedError
from nodepkg.launch import Launch, Placement
from nodepkg.nodes.schema import Autoscale

WEB, HAND = "arn:aws:tg:targetgroup/web/1", "arn:aws:tg:targetgroup/hand/2"
TAGS = {"group": "bee", "nodepkg:managed": "true", "nodepkg:phase": "serving", "nodepkg:target:0": WEB}
DATA = {"ImageId": "ami-1", "InstanceType": "t3.small", "SecurityGroupIds": ["sg-1", "sg-2"]}


def asg(**more: Any) -> AutoScalingGroup:
    runs = AutoScalingGroup("bee-v001", TAGS, 1, 4, 2, (), None, subnets=("subnet-a",), target_groups=(WEB,))
    runs = replace(runs, health_check_type="ELB", health_check_grace_period=300)
    return replace(runs, **more)


def wanted(data: dict[str, Any] | None = None, **settings: Any) -> Wanted:
    place = Placement((Subnet("subnet-a", "us-east-1a", "vpc-1"),))
    launch = Launch("bee", "us-east-1", "ami-1", place, DATA | (data or {}))
    return Wanted(launch, frozenset({WEB}), Autoscale(node_max=4, **settings))


def keys(found: list[Difference]) -> list[str]:
    return [one.key for one in found]


def test_what_is_the_same_does_not_differ() -> None:
    assert replacing(wanted(), asg(), DATA | {"SecurityGroupIds": ["sg-2", "sg-1"]}) == []
    assert sizes(wanted().settings, asg()) == []


def test_every_key_that_differs_is_named_and_secrets_are_not_shown() -> None:
    new = wanted({"ImageId": "ami-2", "UserData": "c2VjcmV0", "KeyName": "ops"}, health_check_grace_period=60)
    found = replacing(new, asg(subnets=("subnet-b",)), DATA)
    assert [str(one) for one in found] == [
        "image: ami-1 -> ami-2",
        "key_name: none -> ops",
        "user_data differs",
        "subnets: subnet-b -> subnet-a",
        "health_check_grace_period: 300 -> 60",
    ]


def test_a_template_version_that_is_gone_differs() -> None:
    assert keys(in_template(DATA, None)) == ["launch_template"]


GIVEN: dict[str, Any] = {
    "MetadataOptions": {"HttpTokens": "required", "HttpEndpoint": "enabled"},
    "IamInstanceProfile": {"Name": "node"},
    "UserData": "IyEvYmluL3NoCg==",
    "BlockDeviceMappings": [
        {"DeviceName": "/dev/sda1", "Ebs": {"VolumeType": "gp3", "VolumeSize": 20, "DeleteOnTermination": True}},
        {"DeviceName": "/dev/sdb", "Ebs": {"VolumeType": "gp3", "DeleteOnTermination": False, "Encrypted": True}},
    ],
    "TagSpecifications": [
        {"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": "bee"}, {"Key": "group", "Value": "bee"}]},
        {"ResourceType": "volume", "Tags": [{"Key": "Name", "Value": "bee"}]},
    ],
}
# The same in other words, with what AWS adds.
TOLD: dict[str, Any] = {
    "MetadataOptions": {**GIVEN["MetadataOptions"], "State": "applied", "HttpPutResponseHopLimit": 1},
    "IamInstanceProfile": {"Arn": "arn:aws:iam::123456789012:instance-profile/web/node"},
    "UserData": "IyEvYmlu\nL3NoCg==\n",
    "BlockDeviceMappings": [
        {"DeviceName": "/dev/sdb", "Ebs": {**GIVEN["BlockDeviceMappings"][1]["Ebs"], "Throughput": 125}},
        {"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": 20, "VolumeType": "gp3", "Iops": 3000, "Encrypted": False}},
    ],
    "TagSpecifications": [
        {"ResourceType": "volume", "Tags": [{"Key": "Name", "Value": "bee"}]},
        {"ResourceType": "network-interface", "Tags": []},
        {"ResourceType": "instance", "Tags": [{"Key": "group", "Value": "bee"}, {"Key": "Name", "Value": "bee"}]},
    ],
    "EbsOptimized": False,
    "NetworkInterfaces": [],
    "KernelId": "",
    "Monitoring": {"Enabled": False},
}


def test_what_aws_tells_in_other_words_does_not_differ() -> None:
    assert in_template(DATA | GIVEN, DATA | TOLD) == []
    assert replacing(wanted(), asg(health_check_type="EC2,ELB"), DATA) == []


@pytest.mark.parametrize(
    ("key", "runs", "told"),
    [
        ("MetadataOptions", {"HttpEndpoint": "enabled", "HttpPutResponseHopLimit": 1}, "metadata_options"),
        ("MetadataOptions", None, "metadata_options"),
        ("IamInstanceProfile", {"Name": "other"}, "iam_instance_profile"),
        ("IamInstanceProfile", None, "iam_instance_profile"),
        ("BlockDeviceMappings", GIVEN["BlockDeviceMappings"][:1], "block_devices"),
        ("BlockDeviceMappings", [GIVEN["BlockDeviceMappings"][0], {"DeviceName": "/dev/sdb"}], "block_devices"),
        ("TagSpecifications", GIVEN["TagSpecifications"][:1], "tags"),
        ("Monitoring", {"Enabled": True}, "Monitoring"),
    ],
)
def test_what_is_otherwise_differs_whatever_aws_adds(key: str, runs: Any, told: str) -> None:
    assert keys(in_template(DATA | GIVEN, DATA | GIVEN | {key: runs})) == [told]


@pytest.mark.parametrize("runs", ["EC2", "EC2,EBS", "ELB,EBS"])
def test_another_judge_of_health_differs(runs: str) -> None:
    assert keys(replacing(wanted(), asg(health_check_type=runs), DATA)) == ["health_check_type"]


def test_target_groups_that_people_have_attached_are_kept_and_no_difference() -> None:
    runs = asg(target_groups=(WEB, HAND))
    assert next_targets([WEB], runs) == {WEB, HAND}
    assert replacing(wanted(), runs, DATA) == []
    without_tags = replace(runs, tags={})
    assert next_targets([], without_tags) == {WEB, HAND}
    assert next_targets([], runs) == {HAND}
    assert keys(replacing(replace(wanted(health_check_type="ELB"), targets=frozenset()), runs, DATA)) == [
        "target_groups"
    ]


@pytest.mark.parametrize(
    ("least", "most", "desired", "expected"),
    [(1, 4, 2, []), (1, 6, 6, []), (1, 6, 3, ["node_max"]), (2, 4, 2, ["node_min"])],
)
def test_a_max_above_node_max_is_right_while_so_many_are_desired(
    least: int, most: int, desired: int, expected: list[str]
) -> None:
    runs = replace(asg(), min=least, max=most, desired=desired)
    assert keys(sizes(wanted().settings, runs)) == expected
    assert in_place(wanted().settings, runs) == (1, max(4, desired))


def test_a_stopped_group_remembers_its_sizes() -> None:
    kept = {"nodepkg:kept-min": "1", "nodepkg:kept-max": "4", "nodepkg:kept-desired": "2"}
    assert is_stopped(replace(asg(), min=0, max=0, desired=0, tags=TAGS | kept))
    assert not is_stopped(replace(asg(), min=0, max=0, desired=0))
    assert not is_stopped(replace(asg(), tags=TAGS | kept))


def test_which_group_serves_has_to_be_clear() -> None:
    kept = replace(asg(), name="bee-v000", tags=TAGS | {"nodepkg:phase": "kept"})
    assert serving("bee", [kept, asg()]).name == "bee-v001"
    for asgs, told in (
        ([kept], "does not run"),
        ([asg(), replace(asg(), name="other")], "more than one"),
        ([replace(asg(), tags={"group": "bee"})], "not nodepkg's"),
        ([replace(asg(), tags={"group": "bee", "nodepkg:managed": "true"})], "not marked"),
    ):
        with pytest.raises(RefusedError, match=told):
            serving("bee", asgs)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"other_sources": ("classic",)}, "traffic from classic"),
        ({"mixed": True}, "mixed instances policy"),
        ({"undeletable": True}, "protected from deletion"),
    ],
)
def test_what_a_new_group_would_lack_forbids_a_rollout(more: dict[str, Any], told: str) -> None:
    (line,) = forbids(asg(**more))
    assert told in line


def test_of_a_launch_configuration_its_name_is_told() -> None:
    runs = asg(launch_configuration="bee-lc")
    assert list(map(str, replacing(wanted(), runs, None))) == [
        "launch_template: launch configuration bee-lc -> a launch template"
    ]


def test_so_many_target_groups_that_their_tags_would_not_fit_forbid_a_rollout() -> None:
    few, many = (frozenset(f"arn:tg:{number}" for number in range(count)) for count in (16, 20))
    record = Record("run", Phase.CLAIM, "bee-v001", few, targets=few, version=1, image="ami-1")
    assert most_tags(record) <= MOST_TAGS
    refuse(asg(), record)
    with pytest.raises(RefusedError, match="20 and 20"):
        refuse(asg(), replace(record, old_targets=many, targets=many))


def test_what_forbids_a_rollout_is_named_each_with_what_to_do() -> None:
    members = (Member("i-1", "Standby", "Healthy"), Member("i-2", "InService", "Healthy", protected=True))
    told = forbids(replace(asg(), members=members, warm_pool=True, suspended=frozenset({"Launch", "AZRebalance"})))
    assert len(told) == 4
    assert all(
        word in line
        for word, line in zip(("i-1 in Standby", "i-2 protected", "warm pool", "Launch suspended"), told, strict=True)
    )
    assert forbids(asg()) == []
    assert len(forbids_too("bee-v001", ["r-1"], ["up: of a type that is not known"])) == 2


def test_what_a_deploy_that_was_cut_off_has_suspended_it_brings_back_itself() -> None:
    tags = {"group": "bee", "nodepkg:drains": "HealthCheck ReplaceUnhealthy"}
    (told,) = forbids(replace(asg(), tags=tags, suspended=frozenset({"HealthCheck", "ReplaceUnhealthy"})))
    assert "suspended by a deploy that was cut off: package instance:deploy bee" in told
