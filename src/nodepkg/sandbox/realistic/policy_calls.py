"""Scaling policies, told back as they were given, with the alarms that invoke them; and what they do."""

import math
from typing import Any

from moto.cloudwatch.models import cloudwatch_backends
from moto.core.models import DEFAULT_ACCOUNT_ID

from nodepkg.sandbox.realistic import scaling
from nodepkg.sandbox.realistic.errors import invalid
from nodepkg.sandbox.realistic.group_calls import Arguments, named, paged
from nodepkg.sandbox.realistic.records import Group
from nodepkg.sandbox.realistic.world import World

TRACKING = "TargetTrackingScaling"


def put(world: World, arguments: Arguments) -> dict[str, Any]:
    """A policy of the same name is replaced; what is not given is then gone, as in AWS. Its ARN stays."""
    group, name = named(world, arguments), arguments["PolicyName"]
    kind = arguments.get("PolicyType", "SimpleScaling")
    known = group.policies.get(name)
    arn = known["PolicyARN"] if known else _arn(world, group, name)
    policy = {"Enabled": True, **arguments, "PolicyType": kind, "PolicyARN": arn}
    _check(policy)
    if kind == "StepScaling":
        policy.setdefault("MetricAggregationType", "Average")
    if kind == TRACKING:
        policy["TargetTrackingConfiguration"] = {"DisableScaleIn": False} | policy["TargetTrackingConfiguration"]
        policy["alarms"] = known["alarms"] if known else [_tracking_alarm(world, group, side) for side in _SIDES]
    group.policies[name] = policy
    world.touch(group)
    return {"PolicyARN": arn, "Alarms": alarms_of(world, policy)}


_SIDES = ("AlarmHigh", "AlarmLow")


def _check(policy: dict[str, Any]) -> None:
    kind = policy["PolicyType"]
    needed = {
        "SimpleScaling": ("AdjustmentType", "ScalingAdjustment"),
        "StepScaling": ("AdjustmentType", "StepAdjustments"),
        TRACKING: ("TargetTrackingConfiguration",),
        "PredictiveScaling": ("PredictiveScalingConfiguration",),
    }
    if kind not in needed:
        raise invalid(f"The policy type {kind} is not valid")
    for key in needed[kind]:
        if key not in policy:
            raise invalid(f"{key} is required for policy type {kind}")


def _arn(world: World, group: Group, name: str) -> str:
    prefix = f"arn:aws:autoscaling:{world.region}:{DEFAULT_ACCOUNT_ID}:scalingPolicy:{world.id()}"
    return f"{prefix}:autoScalingGroupName/{group.name}:policyName/{name}"


def _tracking_alarm(world: World, group: Group, side: str) -> dict[str, str]:
    """AWS makes these alarms itself, and manages them; CloudWatch does not have them here."""
    name = f"TargetTracking-{group.name}-{side}-{world.id()}"
    return {"AlarmName": name, "AlarmARN": f"arn:aws:cloudwatch:{world.region}:{DEFAULT_ACCOUNT_ID}:alarm:{name}"}


def alarms_of(world: World, policy: dict[str, Any]) -> list[dict[str, str]]:
    """Those in CloudWatch that invoke it, by name."""
    backend = cloudwatch_backends[DEFAULT_ACCOUNT_ID][world.region]
    found = [
        {"AlarmName": alarm.name, "AlarmARN": alarm.alarm_arn}
        for alarm in backend.alarms.values()
        if policy["PolicyARN"] in [*alarm.alarm_actions, *alarm.ok_actions, *alarm.insufficient_data_actions]
    ]
    return [*policy.get("alarms", []), *sorted(found, key=lambda alarm: alarm["AlarmName"])]


def describe(world: World, arguments: Arguments) -> dict[str, Any]:
    wanted, kinds = arguments.get("PolicyNames", []), arguments.get("PolicyTypes", [])
    found = [
        policy
        for group in world.groups.values()
        for policy in group.policies.values()
        if arguments.get("AutoScalingGroupName", group.name) == group.name
        and (not wanted or policy["PolicyName"] in wanted or policy["PolicyARN"] in wanted)
        and (not kinds or policy["PolicyType"] in kinds)
    ]
    some, token = paged(arguments, found, lambda policy: (policy["AutoScalingGroupName"], policy["PolicyName"]))
    told = [{key: value for key, value in policy.items() if key != "alarms"} for policy in some]
    told = [one | {"Alarms": alarms_of(world, policy)} for one, policy in zip(told, some, strict=True)]
    return {"ScalingPolicies": told, "NextToken": token}


def delete(world: World, arguments: Arguments) -> dict[str, Any]:
    group, policy = _named(world, arguments)
    remove(world, group, policy)
    return {}


def remove(world: World, group: Group, policy: dict[str, Any]) -> None:
    """Its alarms no longer have it as their action."""
    del group.policies[policy["PolicyName"]]
    for alarm in cloudwatch_backends[DEFAULT_ACCOUNT_ID][world.region].alarms.values():
        if policy["PolicyARN"] in alarm.alarm_actions:
            alarm.alarm_actions = [arn for arn in alarm.alarm_actions if arn != policy["PolicyARN"]]
    world.touch(group)


def _named(world: World, arguments: Arguments) -> tuple[Group, dict[str, Any]]:
    """By name, or by ARN, which needs no group."""
    wanted = arguments["PolicyName"]
    for group in world.groups.values():
        for policy in group.policies.values():
            in_group = arguments.get("AutoScalingGroupName", group.name) == group.name
            if in_group and wanted in (policy["PolicyARN"], policy["PolicyName"]):
                return group, policy
    raise invalid(f"No policy found with name {wanted}")


def execute(world: World, arguments: Arguments) -> dict[str, Any]:
    """A user's own execution, which suspended alarms do not hold back."""
    group, policy = _named(world, arguments)
    wanted = adjusted(group, policy)
    cause = f"a user's execution of the policy {policy['PolicyName']}"
    scaling.resize(world, group, desired=min(max(wanted, group.min), group.max), cause=cause)
    return {}


def adjusted(group: Group, policy: dict[str, Any]) -> int:
    """The number of nodes that a simple policy asks for; a step policy's first step counts."""
    steps = policy.get("StepAdjustments") or [{"ScalingAdjustment": policy.get("ScalingAdjustment", 0)}]
    change = int(steps[0]["ScalingAdjustment"])
    kind = policy.get("AdjustmentType")
    if kind == "ExactCapacity":
        return change
    if kind == "PercentChangeInCapacity":
        part = group.desired * change / 100
        whole = math.floor(part) if part > 1 or -1 < part < 0 else math.ceil(part)
        return group.desired + whole
    return group.desired + change


def scale(world: World, group: Group, change: int) -> bool:
    """What an alarm would do: within min and max, and nothing while AlarmNotification is suspended."""
    if group.status or not group.runs("AlarmNotification"):
        return False
    wanted = min(max(group.desired + change, group.min), group.max)
    if wanted == group.desired:
        return False
    scaling.resize(world, group, desired=wanted, cause="a monitor alarm in state ALARM")
    return True


CALLS = {
    "PutScalingPolicy": put,
    "DescribePolicies": describe,
    "DeletePolicy": delete,
    "ExecutePolicy": execute,
}
