"""What a policy does not allow fails, and what is missing is told with the command that prints it."""

from collections.abc import Callable
from typing import Any

import pytest

from nodepkg.permissions.commands import Facts, needed
from nodepkg.permissions.statement import policy
from tests.iam.conftest import Stage
from tests.iam.test_commands import CREATE, image, one_off, running, scene, used_images


def without(command: str, action: str) -> dict[str, Any]:
    """The command's policy but for one action."""
    document = policy(needed([command], Facts()))
    for statement in document["Statement"]:
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        statement["Action"] = [name for name in actions if name != action] or ["none:None"]
    return document


def started(stage: Stage) -> None:
    scene(stage)
    image(stage)


def outdated(stage: Stage) -> None:
    running(stage)
    image(stage, days=1)


@pytest.mark.parametrize(
    ("line", "action", "on", "setting"),
    [
        (("packer:list",), "ec2:DescribeSnapshots", "", used_images),
        (("packer:clean", "-n", "1", "--yes"), "ec2:DeregisterImage", "arn:aws:ec2:us-east-1::image/ami-", used_images),
        (("autoscale:run", "bee"), "autoscaling:CreateAutoScalingGroup", "arn:aws:autoscaling:us-east-1:", started),
        (("autoscale:run", "bee"), "ec2:RunInstances", "arn:aws:ec2:us-east-1:", started),
        (("autoscale:run", "bee"), "ssm:PutParameter", "arn:aws:ssm:us-east-1:", started),
        (("autoscale:update", "bee"), "autoscaling:UpdateAutoScalingGroup", "arn:aws:autoscaling:", outdated),
        (("autoscale:status",), "autoscaling:DescribeAutoScalingGroups", "", running),
        (("group:status",), "ec2:DescribeImages", "", running),
        (CREATE, "ec2:RunInstances", "arn:aws:ec2:us-east-1:", one_off),
        (CREATE, "ec2:ImportKeyPair", "arn:aws:ec2:us-east-1:123456789012:key-pair/nodepkg-", one_off),
    ],
    ids=lambda value: " ".join(value[:1]) if isinstance(value, tuple) else None,
)
def test_what_is_missing_is_told_with_the_command_that_prints_it(
    stage: Stage, line: tuple[str, ...], action: str, on: str, setting: Callable[[Stage], object]
) -> None:
    setting(stage)
    done = stage.under(without(line[0], action), *line)
    assert done.code == 5, done.err
    assert f"not allowed: {action}{on and f' on {on}'}" in done.err
    assert f"package iam:policy {line[0]}" in done.err
    assert "Encoded" not in done.err


def test_what_is_not_nodepkgs_is_refused_by_aws_itself(stage: Stage) -> None:
    """The layer looks at the tags that there are."""
    stage.project(bee={"run_list": ["recipe[x]"]})
    foreign, own = (
        stage.world.instance("ami-1ebb2077", tags=tags) for tags in ({"Name": "other"}, {"nodepkg:managed": "true"})
    )
    machines = stage.client("ec2")
    with stage.authority.holding(policy(needed(["instance:delete"], Facts()))):
        with pytest.raises(
            Exception, match="not authorized to perform: ec2:TerminateInstances on resource: .*" + foreign
        ):
            machines.terminate_instances(InstanceIds=[own, foreign])
        machines.terminate_instances(InstanceIds=[own])
    assert [one.resource.rpartition("/")[2] for one in stage.authority.denied] == [foreign]
