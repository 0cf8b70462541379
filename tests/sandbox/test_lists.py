"""Lists of templates, configurations, groups and instances, page by page, through boto."""

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from nodepkg.clients.aws.account import Account
from nodepkg.sandbox import moto_seed
from tests.faults import aws
from tests.worlds import World


@pytest.fixture(scope="module")
def shared() -> Iterator[Account]:
    with aws() as made:
        yield made


@pytest.fixture
def account(shared: Account) -> Account:
    moto_seed.forget_everything()
    return shared


def code(call: Any, **arguments: Any) -> str:
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    return str(caught.value.response["Error"]["Code"])


def sizes(account: Account, service: str, operation: str, key: str, size: int | None, **arguments: Any) -> list[int]:
    """Of the pages, none of whose items comes twice."""
    paginator = account.client(service, "us-east-1").get_paginator(operation)
    pages = [page[key] for page in paginator.paginate(**arguments, PaginationConfig={"PageSize": size})]
    items = [str(item) for page in pages for item in page]
    assert len(set(items)) == len(items)
    return [len(page) for page in pages]


def test_launch_configurations_come_fifty_at_a_time(account: Account) -> None:
    for number in range(101):
        World().launch_configuration(f"lc-{number}", "ami-1")
    asked = (account, "autoscaling", "describe_launch_configurations", "LaunchConfigurations")
    assert sizes(*asked, None) == [50, 50, 1]
    assert sizes(*asked, 100) == [100, 1]
    client = account.client("autoscaling", "us-east-1")
    assert code(client.describe_launch_configurations, MaxRecords=101) == "ValidationError"
    assert code(client.describe_launch_configurations, NextToken="x") == "InvalidNextToken"


def test_a_page_follows_one_whose_last_group_is_gone(account: Account) -> None:
    World().launch_configuration("lc", "ami-1")
    for name in ("a", "b", "c"):
        World().group(name, configuration="lc")
    client = account.client("autoscaling", "us-east-1")
    first = client.describe_auto_scaling_groups(MaxRecords=2)
    client.delete_auto_scaling_group(AutoScalingGroupName="b")
    (last,) = client.describe_auto_scaling_groups(MaxRecords=2, NextToken=first["NextToken"])["AutoScalingGroups"]
    assert last["AutoScalingGroupName"] == "c"


def test_overrides_come_back_with_their_images_and_templates(account: Account) -> None:
    template = World().template("bee", ["ami-1", "ami-2"])
    overrides = [
        {"InstanceType": "m1.large", "ImageId": "ami-3"},
        {
            "InstanceType": "m3.large",
            "LaunchTemplateSpecification": {"LaunchTemplateId": template, "Version": "2"},
        },
    ]
    specification = {"LaunchTemplateName": "bee", "Version": "$Latest"}
    client = account.client("autoscaling", "us-east-1")
    client.create_auto_scaling_group(
        AutoScalingGroupName="mixed",
        MinSize=0,
        MaxSize=0,
        AvailabilityZones=["us-east-1a"],
        MixedInstancesPolicy={"LaunchTemplate": {"LaunchTemplateSpecification": specification, "Overrides": overrides}},
    )
    (group,) = client.describe_auto_scaling_groups()["AutoScalingGroups"]
    told = group["MixedInstancesPolicy"]["LaunchTemplate"]
    assert told["Overrides"] == overrides
    assert told["LaunchTemplateSpecification"] == specification | {"LaunchTemplateId": template}


def test_templates_and_versions_come_two_hundred_at_a_time(account: Account) -> None:
    for number in range(201):
        World().template(f"lt-{number}", ["ami-1", "ami-2"])
    assert sizes(account, "ec2", "describe_launch_templates", "LaunchTemplates", None) == [200, 1]
    versions = (account, "ec2", "describe_launch_template_versions", "LaunchTemplateVersions")
    assert sizes(*versions, None, Versions=["$Default", "$Latest"]) == [200, 200, 2]
    assert sizes(*versions, 150, Versions=["$Latest"]) == [150, 51]


def test_versions_of_one_template_are_chosen_by_number(account: Account) -> None:
    World().template("bee", [f"ami-{number}" for number in range(1, 31)], default=3)
    ec2 = account.client("ec2", "us-east-1")

    def images(**asked: Any) -> list[str]:
        found = ec2.describe_launch_template_versions(LaunchTemplateName="bee", **asked)["LaunchTemplateVersions"]
        return [version["LaunchTemplateData"]["ImageId"] for version in found]

    assert len(images()) == 30
    assert images(Versions=["$Default", "$Latest", "3", "7"]) == ["ami-3", "ami-7", "ami-30"]
    assert images(MinVersion="29") == ["ami-29", "ami-30"]
    assert images(MaxVersion="2") == ["ami-1", "ami-2"]


def test_a_deleted_version_is_gone_and_its_number_is_not_given_again(account: Account) -> None:
    World().template("bee", ["ami-1", "ami-2"])
    ec2 = account.client("ec2", "us-east-1")
    assert (
        code(ec2.delete_launch_template_versions, LaunchTemplateName="bee", Versions=["1"]) == "OperationNotPermitted"
    )
    told = ec2.delete_launch_template_versions(LaunchTemplateName="bee", Versions=["2", "9"])
    assert [one["VersionNumber"] for one in told["SuccessfullyDeletedLaunchTemplateVersions"]] == [2]
    assert [one["VersionNumber"] for one in told["UnsuccessfullyDeletedLaunchTemplateVersions"]] == [9]
    asked = {"LaunchTemplateName": "bee", "Versions": ["2"]}
    assert code(ec2.describe_launch_template_versions, **asked) == "InvalidLaunchTemplateId.VersionNotFound"
    made = ec2.create_launch_template_version(LaunchTemplateName="bee", LaunchTemplateData={"ImageId": "ami-3"})
    assert made["LaunchTemplateVersion"]["VersionNumber"] == 3


def test_an_image_in_a_parameter_is_resolved_on_demand(account: Account) -> None:
    world = World()
    world.parameter("/bee", "ami-old")
    world.parameter("/bee", "ami-new")
    world.template("bee", ["resolve:ssm:/bee:1", "resolve:ssm:/bee"])
    world.template("lost", ["resolve:ssm:/none"])
    ec2 = account.client("ec2", "us-east-1")

    def images(name: str, *, resolve: bool) -> list[str]:
        found = ec2.describe_launch_template_versions(LaunchTemplateName=name, ResolveAlias=resolve)
        return [version["LaunchTemplateData"]["ImageId"] for version in found["LaunchTemplateVersions"]]

    assert images("bee", resolve=False) == ["resolve:ssm:/bee:1", "resolve:ssm:/bee"]
    assert images("bee", resolve=True) == ["ami-old", "ami-new"]
    assert code(ec2.describe_launch_template_versions, LaunchTemplateName="lost", ResolveAlias=True) == (
        "InvalidParameterValue"
    )


def test_instances_come_in_pages_and_by_filters(account: Account) -> None:
    world = World()
    image = world.image("bee")
    for state in ("running", "stopped", "terminated") * 4:
        world.instance(image, state, tags={"nodepkg:build": f"{state}-1"})
    asked = (account, "ec2", "describe_instances", "Reservations")
    assert sizes(*asked, None) == [12]
    assert sizes(*asked, 5) == [5, 5, 2]
    living = [{"Name": "instance-state-name", "Values": ["running", "stopped"]}]
    assert sizes(*asked, 1000, Filters=living) == [8]
    assert sizes(*asked, 1000, Filters=[{"Name": "tag-key", "Values": ["nodepkg:build"]}]) == [12]
    assert sizes(*asked, 1000, Filters=[{"Name": "tag:nodepkg:build", "Values": ["st*"]}]) == [4]
    assert sizes(*asked, 1000, Filters=[{"Name": "image-id", "Values": [image]}]) == [12]


def test_a_security_group_goes_only_when_nothing_uses_it(account: Account) -> None:
    ec2 = account.client("ec2", "us-east-1")
    tags = [{"ResourceType": "security-group", "Tags": [{"Key": "nodepkg:build", "Value": "1"}]}]
    group = ec2.create_security_group(GroupName="packer_1", Description="x", TagSpecifications=tags)["GroupId"]
    other = ec2.create_security_group(GroupName="other", Description="x")["GroupId"]
    pair = [{"GroupId": group}]
    rule = [{"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "UserIdGroupPairs": pair}]
    ec2.authorize_security_group_ingress(GroupId=other, IpPermissions=rule)
    image = World().image("bee")
    launched = {"ImageId": image, "InstanceType": "m3.large", "MinCount": 1, "MaxCount": 1}
    instance = ec2.run_instances(**launched, SecurityGroupIds=[group])["Instances"][0]["InstanceId"]
    found = ec2.describe_security_groups(Filters=[{"Name": "tag:nodepkg:build", "Values": ["*"]}])["SecurityGroups"]
    assert [one["GroupId"] for one in found] == [group]
    assert code(ec2.delete_security_group, GroupId=group) == "DependencyViolation"
    ec2.terminate_instances(InstanceIds=[instance])
    assert code(ec2.delete_security_group, GroupId=group) == "DependencyViolation"
    ec2.delete_security_group(GroupId=other)
    ec2.delete_security_group(GroupId=group)
    assert code(ec2.delete_security_group, GroupId=group) == "InvalidGroup.NotFound"


def test_key_pairs_are_found_by_name_and_tag_and_tell_their_age(account: Account) -> None:
    ec2 = account.client("ec2", "us-east-1")
    tags = [{"ResourceType": "key-pair", "Tags": [{"Key": "nodepkg:build", "Value": "1"}]}]
    made = ec2.create_key_pair(KeyName="nodepkg-1", KeyType="ed25519", TagSpecifications=tags)
    ec2.create_key_pair(KeyName="ops", KeyType="ed25519")
    by_name = ec2.describe_key_pairs(Filters=[{"Name": "key-name", "Values": ["nodepkg-*"]}])["KeyPairs"]
    by_tag = ec2.describe_key_pairs(Filters=[{"Name": "tag:nodepkg:build", "Values": ["1"]}])["KeyPairs"]
    by_tag_key = ec2.describe_key_pairs(Filters=[{"Name": "tag-key", "Values": ["nodepkg:build"]}])["KeyPairs"]
    assert by_name == by_tag == by_tag_key
    assert by_name[0]["KeyName"] == "nodepkg-1"
    assert by_name[0]["CreateTime"].tzinfo
    ec2.delete_key_pair(KeyPairId=made["KeyPairId"])
    assert [one["KeyName"] for one in ec2.describe_key_pairs()["KeyPairs"]] == ["ops"]
    ec2.delete_key_pair(KeyName="never there")
