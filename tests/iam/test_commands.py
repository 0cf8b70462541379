"""Every command does its work with its own policy, and its policy has nothing that it does not need."""

import inspect
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from nodepkg.cli.app import app
from nodepkg.clients.packer import FIRST_WITH_INIT, find
from nodepkg.permissions.commands import COMMANDS, Facts, needed
from nodepkg.permissions.statement import policy
from tests.autoscale.rollouts import HOOK, TOPIC
from tests.cli.test_start import digest
from tests.clients.test_keys import keygen
from tests.iam.conftest import Stage
from tests.packers import each_packer
from tests.rig.sshd import node
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

# What is allowed although no call of these scenarios needs it, by command, each with the reason.
UNSEEN = {
    ("instance:*", "ssm:GetParameters"): "a claim that somebody puts at the same moment is read",
    ("instance:deploy", "ec2:GetConsoleOutput"): "where deploy.host_keys is strict",
    ("autoscale:*", "ssm:GetParameters"): "a claim that somebody puts at the same moment is read",
    ("autoscale:*", "iam:CreateServiceLinkedRole"): "Auto Scaling asks for it with the first group of an account only",
    ("autoscale:run", "autoscaling:DescribeScalingActivities"): "asked when nodes are late",
    ("autoscale:update", "autoscaling:DescribeScalingActivities"): "asked when nodes are late",
    ("autoscale:rollback", "autoscaling:DescribeScalingActivities"): "asked when nodes are late",
    ("autoscale:start", "autoscaling:DescribeScalingActivities"): "asked when nodes are late",
    ("autoscale:update", "ec2:CreateLaunchTemplate"): "made anew when somebody has deleted it",
    ("packer:run", "ec2:DescribeKeyPairs"): "what a failed build has left is listed",
    ("packer:run", "ec2:DescribeRegions"): "Packer validates the region of a real account",
    ("packer:run", "ec2:DescribeSubnets"): "Packer asks in a group that names subnets",
    ("packer:run", "ec2:DescribeVpcs"): "Packer asks for the default VPC of a real account",
    ("packer:run", "iam:GetInstanceProfile"): "Packer asks where packer.builder names a profile",
    ("packer:run", "iam:PassRole"): "where packer.builder names a profile",
}


def unseen(command: str) -> set[str]:
    return {action for pattern, action in UNSEEN if fnmatchcase(command, pattern)}


def image(stage: Stage, group: str = "bee", *, days: float = 0) -> str:
    """One that is what nodes.json gives now."""
    return stage.world.image(f"{group} {days}", group, tags={"nodepkg:digest": digest(group)}, age=timedelta(days=days))


def web(stage: Stage) -> str:
    vpc = stage.client("ec2").describe_vpcs()["Vpcs"][0]["VpcId"]
    made = stage.client("elbv2").create_target_group(Name="web", Protocol="HTTP", Port=80, VpcId=vpc)
    return str(made["TargetGroups"][0]["TargetGroupArn"])


def scene(stage: Stage, **autoscale: Any) -> None:
    """A group that can be started."""
    url = f"http://{{private_ip}}:{stage.answers.port}/"
    stage.project(bee={**GROUP, "autoscale": {**GROUP["autoscale"], "health_url": url, **autoscale}})
    if not stage.client("elbv2").describe_target_groups()["TargetGroups"]:
        web(stage)


def running(stage: Stage, **autoscale: Any) -> str:
    """A group that runs, and its image."""
    scene(stage, **autoscale)
    made = image(stage, days=2)
    stage.free("autoscale:run", "bee")
    return made


def hung_on(stage: Stage, asg: str = "bee-v001", name: str = "old") -> None:
    client = stage.client("autoscaling")
    arn = client.put_scaling_policy(
        AutoScalingGroupName=asg,
        PolicyName=name,
        PolicyType="StepScaling",
        AdjustmentType="ChangeInCapacity",
        StepAdjustments=[{"MetricIntervalLowerBound": 0.0, "ScalingAdjustment": 1}],
    )["PolicyARN"]
    client.put_scheduled_update_group_action(
        AutoScalingGroupName=asg, ScheduledActionName=name, Recurrence="0 3 * * *", MinSize=1
    )
    client.put_notification_configuration(
        AutoScalingGroupName=asg, TopicARN=f"{TOPIC}-{name}", NotificationTypes=["autoscaling:EC2_INSTANCE_LAUNCH"]
    )
    client.put_lifecycle_hook(
        AutoScalingGroupName=asg,
        **HOOK | {"HeartbeatTimeout": 1},
        RoleARN="arn:aws:iam::123456789012:role/hooks",
        NotificationTargetARN=TOPIC,
    )
    stage.client("cloudwatch").put_metric_alarm(
        AlarmName=name,
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
    """The first time, and again after somebody has taken the group away, but not its launch template."""
    running(stage)
    client = stage.client("autoscaling")
    client.delete_auto_scaling_group(AutoScalingGroupName="bee-v001", ForceDelete=True)
    until = time.monotonic() + 60
    while client.describe_auto_scaling_groups(AutoScalingGroupNames=["bee-v001"])["AutoScalingGroups"]:
        assert time.monotonic() < until
        time.sleep(0.02)
    image(stage, days=1)
    stage.held("autoscale:run", "bee")
    stage.free("autoscale:delete", "bee", "--yes")
    stage.held("autoscale:run", "bee")


def update(stage: Stage) -> None:
    running(stage)
    hung_on(stage)
    image(stage, days=1)
    stage.held("autoscale:update", "bee")
    scene(stage, node_max=5)
    stage.held("autoscale:update", "bee")


def rollback(stage: Stage) -> None:
    """Of an update that was interrupted late, and to a generation that is kept."""
    running(stage, keep_old=1)
    hung_on(stage)
    image(stage, days=1)
    stage.doing.at["PutNotificationConfiguration"] = lambda: os.kill(os.getpid(), signal.SIGINT)
    assert stage.program("autoscale:update", "bee").code == 130
    stage.held("autoscale:rollback", "bee", "--yes")
    stage.free("autoscale:update", "bee")
    hung_on(stage, "bee-v002", "new")
    images = [one["ImageId"] for one in stage.client("ec2").describe_images(Owners=["self"])["Images"]]
    stage.client("ec2").delete_tags(Resources=images, Tags=[{"Key": "nodepkg:served"}])
    stage.held("autoscale:rollback", "bee", "--yes")


def status(stage: Stage) -> None:
    running(stage)
    hung_on(stage)
    stage.held("autoscale:status")
    stage.held("autoscale:status", "bee")


def resize(stage: Stage) -> None:
    running(stage)
    for size in "21":
        stage.held("autoscale:resize", "bee", "--desired", size, "--yes")


def stop(stage: Stage) -> None:
    running(stage)
    hung_on(stage)
    stage.free("autoscale:resize", "bee", "--desired", "1", "--yes")
    stage.held("autoscale:stop", "bee", "--yes")


def start(stage: Stage) -> None:
    running(stage)
    hung_on(stage)
    stage.free("autoscale:stop", "bee", "--yes")
    stage.held("autoscale:start", "bee")


def delete(stage: Stage) -> None:
    running(stage)
    hung_on(stage)
    stage.free("autoscale:resize", "bee", "--desired", "1", "--yes")
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
    builds.ended(build, started=builds.now.timestamp() - 108_000, image=stage.world.image("bee 1", managed=False))
    stage.held("packer:sweep", "--yes")
    assert builds.left() == []


def one_off(stage: Stage) -> None:
    stage.project(bee=GROUP)
    keygen(stage.folder / "key", "-t", "ed25519")
    stage.client("iam").create_instance_profile(InstanceProfileName="node")
    stage.world.images("bee", 1)


CREATE = ("instance:create", "bee", "--key", "key", "--name", "one-off")


def instance_create(stage: Stage) -> None:
    """Twice: what a claim has left is tidied up by the next."""
    one_off(stage)
    stage.held(*CREATE)
    stage.free("instance:delete", "one-off", "--yes")
    stage.held(*CREATE)


def instance_list(stage: Stage) -> None:
    running(stage)
    stage.held("instance:list")


def instance_delete(stage: Stage) -> None:
    one_off(stage)
    stage.free(*CREATE)
    stage.held("instance:delete", "one-off", "--yes")


def instance_ssh(stage: Stage) -> None:
    """Nobody listens there: it ends as ssh does."""
    one_off(stage)
    stage.free(*CREATE)
    command = [sys.executable, "-m", "nodepkg", "instance:ssh", "one-off", "--", "true"]
    with stage.authority.holding(policy(needed(["instance:ssh"], Facts()))):
        done = subprocess.run(command, cwd=stage.folder, capture_output=True, text=True, check=False, timeout=60)
    assert stage.authority.denied == []
    assert done.returncode == 255, done.stderr


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
    "instance:create": instance_create,
    "instance:list": instance_list,
    "instance:delete": instance_delete,
    "instance:ssh": instance_ssh,
}


@pytest.mark.parametrize("command", SCENARIOS)
def test_a_command_does_its_work_with_its_own_policy_and_needs_all_of_it(stage: Stage, command: str) -> None:
    SCENARIOS[command](stage)
    assert " ".join(sorted(stage.unused(command) - unseen(command))) == ""


@each_packer
def test_packer_run_does_its_work_with_its_own_policy_and_needs_all_of_it(
    stage: Stage, packer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NODEPKG_PACKER", packer)
    monkeypatch.setenv("AWS_POLL_DELAY_SECONDS", "1")
    old = find(os.environ).version < FIRST_WITH_INIT
    stage.facts = Facts(old_packer=old)
    (tmp_path / "host").mkdir()
    with node(tmp_path / "host", address="127.0.0.1") as host:
        builder = {
            "custom_endpoint_ec2": stage.account.endpoint,
            "skip_region_validation": True,
            "skip_metadata_api_check": True,
            "ssh_host": host.address,
            "ssh_port": host.port,
        }
        stage.project(bee={**GROUP, "ssh_username": host.user, "packer": {"builder": builder}})
        stage.free("group:create")
        stage.held("packer:run", "bee", "--yes")
    assert " ".join(sorted(stage.unused("packer:run") - unseen("packer:run"))) == ""
    made = stage.client("ec2")
    assert made.describe_key_pairs()["KeyPairs"] == []
    assert [one["GroupName"] for one in made.describe_security_groups()["SecurityGroups"]] == ["default"]


def test_every_command_that_talks_to_aws_says_what_it_needs() -> None:
    """Such a command takes --profile."""
    commands = {str(command.name): command.callback for command in app.registered_commands}
    known = {name for name, made in commands.items() if made and "profile" in inspect.signature(made).parameters}
    assert known == set(COMMANDS)
    assert set(SCENARIOS) | {"packer:run", "instance:deploy"} == set(COMMANDS)


def test_every_exception_is_one() -> None:
    for glob, action in UNSEEN:
        names = [name for name in COMMANDS if fnmatchcase(name, glob)]
        assert any(action in one.actions for one in needed(names, Facts())), (glob, action)
