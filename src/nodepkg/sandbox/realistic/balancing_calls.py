"""Elastic Load Balancing's calls about targets."""

from collections.abc import Mapping
from typing import Any

from nodepkg.sandbox.realistic import targets
from nodepkg.sandbox.realistic.errors import AwsRefusalError
from nodepkg.sandbox.realistic.records import Target
from nodepkg.sandbox.realistic.world import World

Arguments = Mapping[str, Any]


def describe_health(world: World, arguments: Arguments) -> dict[str, Any]:
    """All that are registered or drain; those that are named also if they are not."""
    arn = arguments["TargetGroupArn"]
    group = targets.target_group(world, arn)
    there = world.state.targets.get(arn, {})
    names = [one["Id"] for one in arguments.get("Targets", [])]
    found = [there.get(name) or _unknown(world, name, group) for name in names] if names else list(there.values())
    return {"TargetHealthDescriptions": [_told(target) for target in found]}


def _unknown(world: World, name: str, group: Any) -> Target:
    if name.startswith("i-") and world.instance(name) is None:
        raise AwsRefusalError("InvalidTarget", f"The following targets are not valid instances: '{name}'")
    return Target(name, int(group.port), "unused", "Target.NotRegistered")


def _told(target: Target) -> dict[str, Any]:
    health = {"State": target.state, "Reason": target.reason, "Description": targets.described(target.reason)}
    return {
        "Target": {"Id": target.id, "Port": target.port},
        "HealthCheckPort": str(target.port),
        "TargetHealth": health,
    }


def register(world: World, arguments: Arguments) -> dict[str, Any]:
    arn = arguments["TargetGroupArn"]
    targets.target_group(world, arn)
    for one in arguments["Targets"]:
        instance = world.instance(one["Id"])
        if instance is None:
            raise AwsRefusalError("InvalidTarget", f"The following targets are not valid instances: '{one['Id']}'")
        if instance.state != "running":
            told = f"The following targets are not in a running state and cannot be registered: '{one['Id']}'"
            raise AwsRefusalError("InvalidTarget", told)
    for one in arguments["Targets"]:
        targets.register(world, arn, one["Id"], one.get("Port"))
    return {}


def deregister(world: World, arguments: Arguments) -> dict[str, Any]:
    arn = arguments["TargetGroupArn"]
    targets.target_group(world, arn)
    for one in arguments["Targets"]:
        targets.deregister(world, arn, one["Id"])
    return {}


CALLS = {
    "DescribeTargetHealth": describe_health,
    "RegisterTargets": register,
    "DeregisterTargets": deregister,
}
