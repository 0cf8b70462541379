"""Auto Scaling's calls about scheduled actions."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from moto.core.models import DEFAULT_ACCOUNT_ID

from nodepkg.sandbox.realistic import schedules
from nodepkg.sandbox.realistic.errors import AwsRefusalError, invalid
from nodepkg.sandbox.realistic.group_calls import Arguments, named, paged
from nodepkg.sandbox.realistic.records import Group
from nodepkg.sandbox.realistic.world import World

_SIZES = ("MinSize", "MaxSize", "DesiredCapacity")


def put(world: World, arguments: Arguments) -> dict[str, Any]:
    group = named(world, arguments)
    _put(world, group, arguments)
    return {}


def put_many(world: World, arguments: Arguments) -> dict[str, Any]:
    group, failed = named(world, arguments), []
    for given in arguments["ScheduledUpdateGroupActions"]:
        try:
            _put(world, group, given)
        except AwsRefusalError as error:
            told = {"ErrorCode": error.code, "ErrorMessage": error.message}
            failed.append({"ScheduledActionName": given["ScheduledActionName"], **told})
    return {"FailedScheduledUpdateGroupActions": failed}


def _put(world: World, group: Group, given: Arguments) -> None:
    name = given["ScheduledActionName"]
    if not any(size in given for size in _SIZES):
        raise invalid("At least one of desired capacity, max size, or min size is required")
    action = {key: value for key, value in given.items() if key != "AutoScalingGroupName"}
    if "StartTime" not in action and "Time" in action:
        action["StartTime"] = action["Time"]
    if "StartTime" not in action and "Recurrence" not in action:
        raise invalid("Either StartTime or Recurrence is required")
    known = group.schedules.get(name)
    prefix = f"arn:aws:autoscaling:{world.region}:{DEFAULT_ACCOUNT_ID}:scheduledUpdateGroupAction:{world.id()}"
    arn = f"{prefix}:autoScalingGroupName/{group.name}:scheduledActionName/{name}"
    action["ScheduledActionARN"] = known["ScheduledActionARN"] if known else arn
    if action.get("StartTime") and _seconds(action["StartTime"]) < world.now:
        raise invalid(f"Given start time is in the past: {action['StartTime']:%Y-%m-%dT%H:%M:%SZ}")
    schedules.due(action, world.now)
    group.schedules[name] = action
    schedules.plan(world, group, action)
    world.touch(group)


def _seconds(moment: datetime) -> float:
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def describe(world: World, arguments: Arguments) -> dict[str, Any]:
    wanted = arguments.get("ScheduledActionNames", [])
    found = [
        {**action, "AutoScalingGroupName": group.name}
        for group in world.groups.values()
        for action in group.schedules.values()
        if arguments.get("AutoScalingGroupName", group.name) == group.name
        and (not wanted or action["ScheduledActionName"] in wanted or action["ScheduledActionARN"] in wanted)
    ]
    some, token = paged(arguments, found, lambda one: (one["AutoScalingGroupName"], one["ScheduledActionName"]))
    return {"ScheduledUpdateGroupActions": some, "NextToken": token}


def delete(world: World, arguments: Arguments) -> dict[str, Any]:
    group, name = named(world, arguments), arguments["ScheduledActionName"]
    if name not in group.schedules:
        raise invalid(f"Scheduled action name not found - {name}")
    del group.schedules[name]
    world.touch(group)
    return {}


def delete_many(world: World, arguments: Arguments) -> dict[str, Any]:
    group, failed = named(world, arguments), []
    for name in arguments["ScheduledActionNames"]:
        if group.schedules.pop(name, None) is None:
            told = {"ErrorCode": "ValidationError", "ErrorMessage": f"Scheduled action name not found - {name}"}
            failed.append({"ScheduledActionName": name, **told})
    world.touch(group)
    return {"FailedScheduledActions": failed}


CALLS: dict[str, Callable[[World, Arguments], dict[str, Any]]] = {
    "PutScheduledUpdateGroupAction": put,
    "BatchPutScheduledUpdateGroupAction": put_many,
    "DescribeScheduledActions": describe,
    "DeleteScheduledAction": delete,
    "BatchDeleteScheduledAction": delete_many,
}
