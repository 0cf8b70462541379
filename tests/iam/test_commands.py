"""Every command does its work with its own policy, and its policy has nothing that it does not need."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import pytest

from tests.autoscale.rollouts import HOOK, TOPIC
from tests.cli.test_start import digest
from tests.iam.conftest import REGION, Stage
from tests.worlds import STOCK_IMAGE

GROUP: dict[str, Any] = {
    "run_list": ["recipe[x]"],
    "source_ami": STOCK_IMAGE,
    "instance_type": "m1.large",
    "key_name": "ops",
    "iam_instance_profile": "node",
    "security_groups": ["default"],
    "autoscale": {"bake_time": 0, "timeout": 0, "node_max": 4, "target_groups": ["web"]},
}

# What is allowed although no call of these scenarios needs it, each with the reason.
ONLY_IN_AWS = {
    "iam:CreateServiceLinkedRole": "Auto Scaling asks for it with the first group of an account only",
    "ec2:DescribeRegions": "Packer validates the region of a real account",
    "ec2:DescribeSubnets": "Packer asks in a group that names subnets",
    "ec2:DescribeVpcs": "Packer asks for the default VPC of a real account",
    "iam:GetInstanceProfile": "Packer asks where packer.builder names a profile",
}


def image(stage: Stage, group: str = "bee", *, days: float = 0) -> str:
    """One that is what nodes.json gives now."""
    return stage.world.image(f"{group} {days}", group, tags={"nodepkg:digest": digest(group)}, age=timedelta(days=days))


def web(stage: Stage) -> str:
    vpc = stage.client("ec2").describe_vpcs()["Vpcs"][0]["VpcId"]
    made = stage.client("elbv2").create_target_group(Name="web", Protocol="HTTP", Port=80, VpcId=vpc)
    return str(made["TargetGroups"][0]["TargetGroupArn"])


def scene(stage: Stage, **autoscale: Any) -> None:
    """A group that can be started."""
    stage.project(bee={**GROUP, "autoscale": {**GROUP["autoscale"], **autoscale}})
    web(stage)


def running(stage: Stage, **autoscale: Any) -> str:
    """A group that runs, and its image."""
    scene(stage, **autoscale)
    made = image(stage, days=2)
    stage.free("autoscale:run", "bee")
    return made


def hung_on(stage: Stage, asg: str = "bee-v001") -> None:
    client = stage.client("autoscaling")
    arn = client.put_scaling_policy(
        AutoScalingGroupName=asg,
        PolicyName="up",
        PolicyType="StepScaling",
        AdjustmentType="ChangeInCapacity",
        StepAdjustments=[{"MetricIntervalLowerBound": 0.0, "ScalingAdjustment": 1}],
    )["PolicyARN"]
    client.put_scheduled_update_group_action(
        AutoScalingGroupName=asg, ScheduledActionName="night", Recurrence="0 3 * * *", MinSize=1
    )
    client.put_notification_configuration(
        AutoScalingGroupName=asg, TopicARN=TOPIC, NotificationTypes=["autoscaling:EC2_INSTANCE_LAUNCH"]
    )
    client.put_lifecycle_hook(
        AutoScalingGroupName=asg, **HOOK, RoleARN="arn:aws:iam::123456789012:role/hooks", NotificationTargetARN=TOPIC
    )
    stage.client("cloudwatch").put_metric_alarm(
        AlarmName="busy",
        AlarmActions=[TOPIC, arn],
        MetricName="CPUUtilization",
        Namespace="AWS/EC2",
        Statistic="Average",
        Dimensions=[{"Name": "AutoScalingGroupName", "Value": asg}],
        Period=60,
        EvaluationPeriods=2,
        Threshold=70.0,
        ComparisonOperator="GreaterThanThreshold",
    )


def run_(stage: Stage) -> None:
    scene(stage)
    image(stage)
    stage.held("autoscale:run", "bee")


def update(stage: Stage) -> None:
    running(stage)
    hung_on(stage)
    image(stage, days=1)
    stage.held("autoscale:update", "bee")
    stage.project(bee={**GROUP, "autoscale": {**GROUP["autoscale"], "node_max": 5}})
    stage.held("autoscale:update", "bee")


def rollback(stage: Stage) -> None:
    running(stage, keep_old=1)
    hung_on(stage)
    image(stage, days=1)
    stage.free("autoscale:update", "bee")
    stage.held("autoscale:rollback", "bee", "--yes")


def status(stage: Stage) -> None:
    running(stage)
    hung_on(stage)
    stage.held("autoscale:status")
    stage.held("autoscale:status", "bee")


def resize(stage: Stage) -> None:
    running(stage)
    stage.held("autoscale:resize", "bee", "--desired", "2", "--yes")


def stop(stage: Stage) -> None:
    running(stage)
    hung_on(stage)
    stage.held("autoscale:stop", "bee", "--yes")


def start(stage: Stage) -> None:
    running(stage)
    hung_on(stage)
    stage.free("autoscale:stop", "bee", "--yes")
    stage.held("autoscale:start", "bee")


def delete(stage: Stage) -> None:
    running(stage)
    hung_on(stage)
    stage.held("autoscale:delete", "bee", "--yes")


def group_status(stage: Stage) -> None:
    running(stage)
    stage.held("group:status")


def used_images(stage: Stage) -> None:
    """Three images, an orphaned snapshot, and one of everything that refers to images."""
    stage.project(bee=GROUP)
    world = stage.world
    world.images("bee", 3)
    tags = {"nodepkg:image-snapshot": "true", "nodepkg:managed": "true", "group": "bee"}
    world.snapshot(age=timedelta(hours=2), tags=tags)
    world.template("other", [STOCK_IMAGE, world.parameter("/images/web", STOCK_IMAGE)])
    world.launch_configuration("old", STOCK_IMAGE)
    world.group("old", configuration="old")


def packer_list(stage: Stage) -> None:
    used_images(stage)
    stage.held("packer:list")


def clean(stage: Stage) -> None:
    used_images(stage)
    stage.held("packer:clean", "-n", "1", "--all-versions", "--yes")


def packer_delete(stage: Stage) -> None:
    used_images(stage)
    stage.held("packer:delete", "bee", "--yes")


def adopt(stage: Stage) -> None:
    stage.project(bee=GROUP)
    stage.held("packer:adopt", "bee", stage.world.image("bee 1", managed=False), "--yes")


def sweep(stage: Stage) -> None:
    from tests.images.test_sweep import World as Builds

    stage.project(bee=GROUP)
    builds = Builds(stage.account, stage.folder)
    build = builds.build(1, timedelta(hours=30))
    builds.everything_of(build)
    builds.ended(build, started=builds.now.timestamp() - 108_000)
    stage.held("packer:sweep", "--yes")
    assert builds.left() == []


SCENARIOS: Mapping[str, Callable[[Stage], None]] = {
    "group:status": group_status,
    "packer:clean": clean,
    "packer:delete": packer_delete,
    "packer:list": packer_list,
    "packer:sweep": sweep,
    "packer:adopt": adopt,
    "autoscale:run": run_,
    "autoscale:update": update,
    "autoscale:rollback": rollback,
    "autoscale:status": status,
    "autoscale:resize": resize,
    "autoscale:stop": stop,
    "autoscale:start": start,
    "autoscale:delete": delete,
}


@pytest.mark.parametrize("command", SCENARIOS)
def test_a_command_does_its_work_with_its_own_policy_and_needs_all_of_it(stage: Stage, command: str) -> None:
    SCENARIOS[command](stage)
    assert stage.unused(command) - ONLY_IN_AWS.keys() == set()
