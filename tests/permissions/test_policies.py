"""The policies themselves: held against AWS's reference, against foreign resources, and against IAM's limit."""

from typing import Any

import pytest

from nodepkg.errors import UsageError
from nodepkg.permissions.commands import COMMANDS, Facts, chosen, needed
from nodepkg.permissions.statement import MOST_CHARACTERS, Statement, characters, merged, partition_of, policy
from tests.iam import Request, allows
from tests.iam.evaluation import as_list
from tests.permissions.reference import action, plain_key

FACTS = Facts(buckets=("example-deploys",), old_packer=True)
OLD_PACKER = "AnySecurityGroupForOldPacker"
EVERYTHING = policy(needed(chosen([]), Facts(buckets=("example-deploys",))))
STATEMENTS = policy(needed(chosen([]), FACTS))["Statement"]
MANAGED = "nodepkg:managed"

# Changes that no condition narrows, each with the reason.
OPEN = {
    ("CreateFrom", "ec2:CreateImage"): "the image is new, and Packer before 1.7 tags it afterwards",
    ("CreateFrom", "ec2:RunInstances"): "images, subnets, key pairs and security groups are whosever nodes.json names",
    ("CreateSecurityGroupsIn", "ec2:CreateSecurityGroup"): "VPCs are the user's; the group itself has to be tagged",
    ("KeyPairsOfBuilds", "ec2:CreateKeyPair"): "narrowed by its name",
    ("KeyPairsOfBuilds", "ec2:DeleteKeyPair"): "narrowed by its name",
    ("Leases", "ssm:AddTagsToResource"): "narrowed by its path",
    ("Leases", "ssm:DeleteParameters"): "narrowed by its path",
    ("Leases", "ssm:PutParameter"): "narrowed by its path",
    ("LeaveAndJoinTargetGroups", "elasticloadbalancing:DeregisterTargets"): "target groups are the user's",
    ("LeaveAndJoinTargetGroups", "elasticloadbalancing:RegisterTargets"): "target groups are the user's",
    ("RunShellScripts", "ssm:SendCommand"): "the document; the instances have a condition",
    ("CancelCommands", "ssm:CancelCommand"): "AWS knows neither resource nor condition",
    ("Bundles", "s3:PutObject"): "narrowed to the user's bucket",
    (OLD_PACKER, "ec2:AuthorizeSecurityGroupIngress"): "Packer before 1.7 does not tag its groups",
    (OLD_PACKER, "ec2:CreateSecurityGroup"): "Packer before 1.7 does not tag its groups",
    (OLD_PACKER, "ec2:DeleteSecurityGroup"): "Packer before 1.7 does not tag its groups",
}


def keys_of(statement: dict[str, Any]) -> list[str]:
    return [plain_key(key) for keys in statement.get("Condition", {}).values() for key in keys]


def takes(name: str, resource: str, statement: dict[str, Any]) -> bool:
    """Whether AWS knows the action on the resource, with the statement's keys."""
    known, keys = action(name), {*keys_of(statement)}
    return any(kind.keys | known.keys >= keys for kind in known.kinds_in(resource))


@pytest.mark.parametrize("statement", STATEMENTS, ids=lambda one: str(one["Sid"]))
def test_aws_knows_every_action_with_its_resources_and_keys(statement: dict[str, Any]) -> None:
    resources = [one for one in as_list(statement["Resource"]) if one != "*"]
    used = set[str]()
    for name in as_list(statement["Action"]):
        meant = {resource for resource in resources if takes(name, resource, statement)}
        assert meant or (not resources and action(name).keys >= {*keys_of(statement)}), name
        used |= meant
    assert used == set(resources)


@pytest.mark.parametrize("statement", STATEMENTS, ids=lambda one: str(one["Sid"]))
def test_what_is_changed_without_a_condition_is_listed_with_the_reason(statement: dict[str, Any]) -> None:
    changes = {name for name in as_list(statement["Action"]) if action(name).changes}
    listed = {name for sid, name in OPEN if sid == statement["Sid"]}
    assert (set() if "Condition" in statement else changes) == listed


def test_what_takes_no_resource_is_only_looked_at_or_cannot_be_narrowed() -> None:
    everywhere = [one for one in STATEMENTS if one["Resource"] == "*"]
    assert {one["Sid"] for one in everywhere} == {"Look", "CancelCommands"}
    assert not [name for name in everywhere[0]["Action"] if action(name).changes]


def ec2(resource: str) -> str:
    return f"arn:aws:ec2:us-east-1:123456789012:{resource}"


ASG = "arn:aws:autoscaling:us-east-1:123456789012:autoScalingGroup:some-id:autoScalingGroupName/other-v001"
FOREIGN = {"aws:ResourceTag/Name": "other", "aws:ResourceTag/nodepkg:managed": "false"}
AS_OWN: dict[str, str | tuple[str, ...]] = {"aws:RequestTag/nodepkg:managed": "true", "aws:TagKeys": (MANAGED,)}
OWN = {"aws:ResourceTag/nodepkg:managed": "true"}
DENIED = [
    Request("ec2:TerminateInstances", ec2("instance/i-1"), FOREIGN),
    Request("ec2:TerminateInstances", ec2("instance/i-1")),
    Request("ec2:StopInstances", ec2("instance/i-1"), FOREIGN),
    Request("ec2:GetConsoleOutput", ec2("instance/i-1"), FOREIGN),
    Request("ec2:RunInstances", ec2("instance/*")),
    Request("ec2:CreateImage", ec2("instance/i-1"), FOREIGN),
    Request("ec2:CreateTags", ec2("instance/i-1"), {**FOREIGN, **AS_OWN}),
    Request("ec2:CreateTags", ec2("launch-template/lt-1"), {**FOREIGN, **AS_OWN}),
    Request("ec2:CreateTags", ec2("image/ami-1"), {**FOREIGN, "aws:TagKeys": ("nodepkg:served",)}),
    Request("ec2:DeleteTags", ec2("instance/i-1"), {**OWN, "aws:TagKeys": (MANAGED,)}),
    Request("ec2:DeleteTags", ec2("instance/i-1"), {**FOREIGN, "aws:TagKeys": ("nodepkg:run",)}),
    Request("ec2:DeregisterImage", "arn:aws:ec2:us-east-1::image/ami-1", FOREIGN),
    Request("ec2:DeleteSnapshot", "arn:aws:ec2:us-east-1::snapshot/snap-1", FOREIGN),
    Request("ec2:DeleteLaunchTemplate", ec2("launch-template/lt-1"), FOREIGN),
    Request("ec2:DeleteLaunchTemplateVersions", ec2("launch-template/lt-1"), FOREIGN),
    Request("ec2:CreateLaunchTemplateVersion", ec2("launch-template/lt-1"), FOREIGN),
    Request("ec2:ModifyLaunchTemplate", ec2("launch-template/lt-1"), FOREIGN),
    Request("ec2:CreateLaunchTemplate", ec2("launch-template/*")),
    Request("ec2:RunInstances", ec2("launch-template/lt-1"), FOREIGN),
    Request("ec2:DeleteSecurityGroup", ec2("security-group/sg-1"), FOREIGN),
    Request("ec2:AuthorizeSecurityGroupIngress", ec2("security-group/sg-1"), FOREIGN),
    Request("ec2:CreateSecurityGroup", ec2("security-group/*")),
    Request("ec2:DeleteKeyPair", ec2("key-pair/ops"), FOREIGN),
    Request("ec2:ImportKeyPair", ec2("key-pair/ops"), AS_OWN),
    Request("autoscaling:DeleteAutoScalingGroup", ASG, FOREIGN),
    Request("autoscaling:UpdateAutoScalingGroup", ASG, FOREIGN),
    Request("autoscaling:CreateOrUpdateTags", ASG, {**FOREIGN, **AS_OWN}),
    Request("autoscaling:SetInstanceHealth", ASG, FOREIGN),
    Request("autoscaling:DetachLoadBalancerTargetGroups", ASG, FOREIGN),
    Request("autoscaling:CreateAutoScalingGroup", ASG),
    Request("ssm:PutParameter", "arn:aws:ssm:us-east-1:123456789012:parameter/app/password"),
    Request("ssm:DeleteParameters", "arn:aws:ssm:us-east-1:123456789012:parameter/nodepkg/other"),
    Request("ssm:SendCommand", ec2("instance/i-1"), {"ssm:resourceTag/Name": "other"}),
    Request("ssm:SendCommand", "arn:aws:ssm:us-east-1::document/AWS-RunPowerShellScript"),
    Request("s3:PutObject", "arn:aws:s3:::other/nodepkg/bundles/x.tar.gz"),
    Request("s3:PutObject", "arn:aws:s3:::example-deploys/logs/x"),
    Request("iam:PassRole", "arn:aws:iam::123456789012:role/x", {"iam:PassedToService": "lambda.amazonaws.com"}),
    Request(
        "cloudwatch:PutMetricAlarm",
        "arn:aws:cloudwatch:us-east-1:123456789012:alarm:x",
        {"cloudwatch:AlarmActions": ("arn:aws:sns:us-east-1:123456789012:ops",)},
    ),
]


@pytest.mark.parametrize("request_", DENIED, ids=lambda one: f"{one.action} {one.resource.rpartition(':')[2]}")
def test_not_even_all_commands_together_change_what_is_not_nodepkgs(request_: Request) -> None:
    assert not allows(EVERYTHING, request_)


def test_what_is_nodepkgs_they_do_change() -> None:
    """So that the ones above are not denied for another reason."""
    for one in DENIED:
        if one.context == FOREIGN and "key-pair" not in one.resource:
            assert allows(EVERYTHING, Request(one.action, one.resource, OWN)), one


def test_all_of_it_fits_into_one_managed_policy() -> None:
    assert characters(policy(needed(chosen([]), FACTS))) <= MOST_CHARACTERS


def granted(document: dict[str, Any]) -> set[tuple[str, str, str]]:
    """Sid, action and resource, as far as AWS knows the action on it."""
    return {
        (one["Sid"], name, resource)
        for one in document["Statement"]
        for name in as_list(one["Action"])
        for resource in as_list(one["Resource"])
        if resource == "*" or takes(name, resource, one)
    }


# What a statement of several commands allows and none of theirs does: on what is nodepkg's, and of no consequence.
TOGETHER = {
    ("ChangeOwn", "ec2:RunInstances", "arn:aws:ec2:*:*:image/*"),
    ("ChangeOwn", "ec2:RunInstances", "arn:aws:ec2:*:*:security-group/*"),
    ("ChangeOwn", "ec2:RunInstances", "arn:aws:ec2:*:*:snapshot/*"),
    ("NotesOnOwn", "ec2:DeleteTags", "arn:aws:ec2:*:*:image/*"),
}


def test_together_commands_may_nothing_that_none_of_them_may() -> None:
    alone = set[tuple[str, str, str]]()
    for command in COMMANDS:
        alone |= granted(policy(needed([command], FACTS)))
    assert granted(policy(needed(chosen([]), FACTS))) - alone == TOGETHER


def test_commands_are_chosen_by_name_and_glob_and_a_typo_is_told_with_the_nearest() -> None:
    assert chosen(["packer:adopt", "group:*"]) == ["group:status", "packer:adopt"]
    assert chosen([]) == list(COMMANDS)
    with pytest.raises(UsageError) as error:
        chosen(["packer:claen"])
    assert "packer:clean" in error.value.hint


def test_statements_of_one_purpose_become_one() -> None:
    (one,) = merged([Statement("Look", frozenset({"ec2:A"})), Statement("Look", frozenset({"ec2:B"}))])
    assert one.actions == {"ec2:A", "ec2:B"}
    sids = [statement["Sid"] for statement in STATEMENTS]
    assert len(set(sids)) == len(sids)
    assert all(sid.isalnum() for sid in sids)


def test_arns_are_those_of_the_partition_of_the_regions() -> None:
    assert partition_of(["cn-north-1"]) == "aws-cn"
    assert partition_of(["us-gov-west-1"]) == "aws-us-gov"
    assert partition_of([]) == partition_of(["eu-west-1"]) == "aws"
    told = str(policy(needed(chosen([]), FACTS), partition="aws-cn"))
    assert "arn:aws-cn:ec2" in told
    assert "arn:aws:" not in told
