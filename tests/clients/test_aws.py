"""The AWS clients against the embedded AWS: pages, names, errors in our words."""

from pathlib import Path
from typing import Any

import pytest

from nodepkg.clients.aws.account import Account, aws_errors
from nodepkg.clients.aws.autoscaling import AutoScaling, NewGroup
from nodepkg.clients.aws.ec2 import Ec2
from nodepkg.clients.aws.images import Images
from nodepkg.clients.aws.templates import LaunchTemplates
from nodepkg.errors import AwsError, CredentialsError
from nodepkg.images.usage import picture

REGION = "us-east-1"
DATA = {"ImageId": "ami-1ebb2077", "InstanceType": "m1.large"}
OURS = {"group": "bee", "nodepkg:managed": "true"}


def template(account: Account, name: str, first: bool = True, description: str = "d") -> int:
    return LaunchTemplates(account, REGION).create_version(
        name, DATA, description=description, tags=OURS, first=first, token=name + description
    )


def group(ec2: Ec2, name: str, version: int, template: str = "bee", nodes: int = 0) -> NewGroup:
    subnets = [subnet.id for subnet in ec2.default_subnets()]
    return NewGroup(
        name, template, version, nodes, nodes, nodes, {"group": "bee"}, {"nodepkg:managed": "true"}, subnets=subnets
    )


def test_lists_are_read_to_their_last_page(account: Account) -> None:
    ec2, autoscaling = Ec2(account, REGION), AutoScaling(account, REGION)
    template(account, "bee")
    names = [f"bee-v{number:03}" for number in range(1, 56)]
    for name in names:
        autoscaling.create_group(group(ec2, name, 1))
    assert [asg.name for asg in autoscaling.groups()] == names
    assert [asg.name for asg in autoscaling.groups({"group": "bee"})] == names
    assert autoscaling.groups({"group": "wasp"}) == []


def test_all_versions_of_all_templates_are_seen(account: Account) -> None:
    templates = LaunchTemplates(account, REGION)
    for number in range(20):
        template(account, f"bee-{number}")
    for number in range(20):
        template(account, "bee-0", first=False, description=f"v{number}")
    assert len({version.template for version in templates.default_and_latest()}) == 20
    assert len(templates.versions("bee-0")) == 21


def test_a_name_that_is_taken_has_aws_code(account: Account) -> None:
    ec2, autoscaling = Ec2(account, REGION), AutoScaling(account, REGION)
    template(account, "bee")
    autoscaling.create_group(group(ec2, "bee-v001", 1))
    with pytest.raises(AwsError) as refused:
        autoscaling.create_group(group(ec2, "bee-v001", 1))
    assert refused.value.code == "AlreadyExists"
    assert "bee-v001" in str(refused.value)


def test_what_is_gone_already_is_as_good_as_deleted(account: Account) -> None:
    images = Images(account, REGION)
    assert images.deregister_image("ami-0123456789abcdef0") == set()
    assert images.delete_snapshot("snap-0123456789abcdef0")


def test_an_image_that_anything_refers_to_is_in_use(account: Account) -> None:
    ec2, autoscaling = Ec2(account, REGION), AutoScaling(account, REGION)
    client = account.client("ec2", REGION)
    ids = []
    for number in range(4):
        ran = client.run_instances(ImageId="ami-1ebb2077", InstanceType="m1.large", MinCount=1, MaxCount=1)
        ids.append(client.create_image(InstanceId=ran["Instances"][0]["InstanceId"], Name=f"image {number}")["ImageId"])
    stopped, configured, pinned, unused = ids
    held = client.run_instances(ImageId=stopped, InstanceType="m1.large", MinCount=1, MaxCount=1)
    client.stop_instances(InstanceIds=[held["Instances"][0]["InstanceId"]])
    account.client("autoscaling", REGION).create_launch_configuration(
        LaunchConfigurationName="old", ImageId=configured, InstanceType="m1.large"
    )
    for number, image in enumerate((pinned, "ami-1ebb2077", "ami-1ebb2077")):
        LaunchTemplates(account, REGION).create_version(
            "bee", {**DATA, "ImageId": image}, description=str(number), tags=OURS, first=number == 0, token=str(number)
        )
    client.modify_launch_template(LaunchTemplateName="bee", DefaultVersion="2")
    autoscaling.create_group(group(ec2, "bee-v001", 1))

    usage = picture(account, REGION).references
    assert set(usage) >= {stopped, configured, pinned}
    assert usage[pinned] == ("ASG bee-v001: launch template bee version 1",)
    assert unused not in usage


def test_a_template_that_is_not_there_has_no_tags(account: Account) -> None:
    templates = LaunchTemplates(account, REGION)
    assert templates.tags("bee") is None
    template(account, "bee")
    assert templates.tags("bee") == OURS


def test_the_sandbox_account_calls_nothing_else(account: Account) -> None:
    client = account.client("ec2", REGION)

    def lead_astray(request: Any, **_: Any) -> None:
        request.url = "http://127.0.0.1:9/"

    client.meta.events.register("request-created", lead_astray)
    with pytest.raises(AssertionError, match="about to call"):
        client.describe_regions()


def test_missing_credentials_and_profiles_are_told_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(CredentialsError, match="no AWS credentials"):
        Images(Account(), REGION).owned()
    with pytest.raises(AwsError, match="nobody"):
        Images(Account(profile="nobody"), REGION).owned()


def test_an_error_of_ours_passes_through() -> None:
    with pytest.raises(AwsError, match="as it was"), aws_errors("outer"):
        raise AwsError("as it was")


def test_a_check_learns_each_operation_before_it_is_sent_and_its_own_calls_are_not_checked(account: Account) -> None:
    client, checked = account.client("ec2", REGION), list[str]()

    def outer(operation: str) -> None:
        checked.append(operation)
        client.describe_regions()

    def inner(operation: str) -> None:
        checked.append(f"inner {operation}")

    with account.checked(outer):
        client.describe_images(Owners=["self"])
        with account.checked(inner):
            client.describe_vpcs()
            with account.unchecked():
                client.describe_subnets()
        account.client("autoscaling", REGION).describe_auto_scaling_groups()
    client.describe_images(Owners=["self"])
    expected = ["DescribeImages", "DescribeVpcs", "inner DescribeVpcs", "DescribeAutoScalingGroups"]
    assert checked == expected


def test_a_check_that_fails_ends_the_call_and_checks_the_next_one_again(account: Account) -> None:
    client, checked = account.client("ec2", REGION), list[str]()

    def check(operation: str) -> None:
        checked.append(operation)
        raise AwsError("not now")

    with account.checked(check):
        for _ in range(2):
            with pytest.raises(AwsError, match="not now"):
                client.describe_regions()
    assert checked == ["DescribeRegions"] * 2
    client.describe_regions()
