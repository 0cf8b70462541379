"""Auto Scaling's calls about single nodes, about processes, and about what happened."""

from collections.abc import Callable, Mapping
from typing import Any

from nodepkg.sandbox.realistic import health, nodes
from nodepkg.sandbox.realistic.errors import invalid
from nodepkg.sandbox.realistic.group_calls import Arguments, named, paged, told_node
from nodepkg.sandbox.realistic.protocol import moment
from nodepkg.sandbox.realistic.records import PROCESSES, Activity, Group, Node
from nodepkg.sandbox.realistic.world import World

# A process that AWS no longer has, and takes all the same.
_FORMER = ("RemoveFromLoadBalancerLowPriority",)


def _member(group: Group, instance: str) -> Node:
    if instance not in group.nodes:
        raise invalid(f"The instance {instance} is not part of Auto Scaling group {group.name}.")
    return group.nodes[instance]


def _anywhere(world: World, instance: str) -> tuple[Group, Node]:
    found = world.node(instance)
    if found is None:
        raise invalid(f"Instance Id not found - No managed instance found for instance ID: {instance}")
    return found


def describe_instances(world: World, arguments: Arguments) -> dict[str, Any]:
    names = arguments.get("InstanceIds", [])
    found = [(group, node) for group in world.groups.values() for node in group.nodes.values()]
    wanted = [pair for pair in found if not names or pair[1].id in names]
    some, token = paged(arguments, wanted, lambda pair: pair[1].id, most=50)
    told = [told_node(node) | {"AutoScalingGroupName": group.name} for group, node in some]
    # Here, unlike in a group, the health is in capitals.
    told = [one | {"HealthStatus": one["HealthStatus"].upper()} for one in told]
    return {"AutoScalingInstances": told, "NextToken": token}


def terminate(world: World, arguments: Arguments) -> dict[str, Any]:
    group, node = _anywhere(world, arguments["InstanceId"])
    if arguments["ShouldDecrementDesiredCapacity"]:
        if group.desired <= group.min:
            told = f"Currently, desiredSize equals minSize ({group.min}). Terminating instance without replacement"
            raise invalid(
                f"{told} will violate group's min size constraint. Either set shouldDecrement"
                "DesiredCapacity flag to false or lower group's min size."
            )
        group.desired -= 1
    cause = f"At {nodes.told(world)} instance {node.id} was taken out of service in response to a user request."
    nodes.terminate(world, group, node, cause)
    return {"Activity": told_activity(world, node.activity)}


def detach(world: World, arguments: Arguments) -> dict[str, Any]:
    """They stay in EC2, and are no longer the group's."""
    group = named(world, arguments)
    found = [_member(group, instance) for instance in arguments.get("InstanceIds", [])]
    _decrement(group, arguments, len(found))
    return {"Activities": [told_activity(world, _detach(world, group, node)) for node in found]}


def _detach(world: World, group: Group, node: Node) -> Activity:
    nodes.to_standby(world, group, node)
    del group.nodes[node.id]
    cause = f"At {nodes.told(world)} instance {node.id} was detached in response to a user request."
    activity = world.begin(group, f"Detaching EC2 instance: {node.id}", cause, node.id)
    world.end(activity)
    return activity


def _decrement(group: Group, arguments: Arguments, by: int) -> None:
    if arguments["ShouldDecrementDesiredCapacity"]:
        if group.desired - by < group.min:
            raise invalid(
                f"AutoScalingGroup {group.name} has min-size={group.min}, max-size={group.max}, and "
                f"desired-size={group.desired}. To place into standby {by} instance, please update the "
                "AutoScalingGroup sizes appropriately."
            )
        group.desired -= by


def enter_standby(world: World, arguments: Arguments) -> dict[str, Any]:
    group = named(world, arguments)
    found = [_member(group, instance) for instance in arguments.get("InstanceIds", [])]
    for node in found:
        if node.lifecycle != "InService":
            raise invalid(f"The instance {node.id} is in {node.lifecycle} and cannot be moved to standby.")
    _decrement(group, arguments, len(found))
    return {"Activities": [_moved(world, group, node, "to standby", nodes.to_standby) for node in found]}


def exit_standby(world: World, arguments: Arguments) -> dict[str, Any]:
    group = named(world, arguments)
    found = [_member(group, instance) for instance in arguments.get("InstanceIds", [])]
    for node in found:
        if node.lifecycle != "Standby":
            raise invalid(f"The instance {node.id} is in {node.lifecycle} and cannot be moved out of standby.")
    if group.desired + len(found) > group.max:
        raise invalid(f"The group {group.name} has max-size={group.max}: update it first.")
    group.desired += len(found)
    return {"Activities": [_moved(world, group, node, "out of standby", nodes.from_standby) for node in found]}


def _moved(
    world: World, group: Group, node: Node, where: str, move: Callable[[World, Group, Node], None]
) -> dict[str, Any]:
    cause = f"At {nodes.told(world)} instance {node.id} was moved {where} in response to a user request."
    activity = world.begin(group, f"Moving EC2 instance {where}: {node.id}", cause, node.id)
    move(world, group, node)
    world.end(activity)
    return told_activity(world, activity)


def set_health(world: World, arguments: Arguments) -> dict[str, Any]:
    group, node = _anywhere(world, arguments["InstanceId"])
    wanted = arguments["HealthStatus"].capitalize()
    if wanted not in ("Healthy", "Unhealthy"):
        raise invalid("HealthStatus must be Healthy or Unhealthy")
    waits = arguments.get("ShouldRespectGracePeriod", True) and not health.grace_is_over(world, group, node)
    if wanted == "Healthy" or not waits:
        health.mark(world, group, node, wanted)
    return {}


def set_protection(world: World, arguments: Arguments) -> dict[str, Any]:
    group = named(world, arguments)
    for node in [_member(group, instance) for instance in arguments["InstanceIds"]]:
        node.protected = arguments["ProtectedFromScaleIn"]
    world.touch(group)
    return {}


def complete_lifecycle_action(world: World, arguments: Arguments) -> dict[str, Any]:
    group, node, hook = _held(world, arguments)
    nodes.complete(world, group, node, hook, arguments["LifecycleActionResult"])
    return {}


def record_heartbeat(world: World, arguments: Arguments) -> dict[str, Any]:
    group, node, hook = _held(world, arguments)
    seconds = group.hooks.get(hook, {}).get("HeartbeatTimeout", 3600)
    node.waits[hook].until = min(world.now + seconds, node.waits[hook].latest)
    return {}


def _held(world: World, arguments: Arguments) -> tuple[Group, Node, str]:
    group, hook, token = named(world, arguments), arguments["LifecycleHookName"], arguments.get("LifecycleActionToken")
    for node in group.nodes.values():
        wait = node.waits.get(hook)
        if wait and (wait.token == token or (not token and node.id == arguments.get("InstanceId"))):
            return group, node, hook
    which = f"instance {arguments.get('InstanceId')}" if not token else f"token {token}"
    raise invalid(f"No active Lifecycle Action found with {which}")


def suspend(world: World, arguments: Arguments) -> dict[str, Any]:
    group = named(world, arguments)
    for process in _processes(arguments):
        group.suspended.setdefault(process, f"User suspended at {nodes.told(world)}")
    world.touch(group)
    return {}


def resume(world: World, arguments: Arguments) -> dict[str, Any]:
    """What the group would have done meanwhile it does now, but for what it was to add to load balancers."""
    group = named(world, arguments)
    for process in _processes(arguments):
        group.suspended.pop(process, None)
        if process == "HealthCheck":
            for node in group.nodes.values():
                health.expect(world, group, node)
    world.touch(group)
    return {}


def _processes(arguments: Arguments) -> list[str]:
    given = list(arguments.get("ScalingProcesses") or PROCESSES)
    for process in given:
        if process not in PROCESSES + _FORMER:
            raise invalid(f"The process {process} is not valid")
    return given


def describe_activities(world: World, arguments: Arguments) -> dict[str, Any]:
    """Those in progress first, then the newest."""
    name, names = arguments.get("AutoScalingGroupName"), arguments.get("ActivityIds", [])
    deleted = arguments.get("IncludeDeletedGroups", False)
    if name and name not in world.groups and not deleted:
        raise invalid(f"AutoScalingGroup name not found - AutoScalingGroup {name} not found")
    found = [
        (activity.end is not None, -number, activity)
        for number, activity in enumerate(world.state.activities)
        if (not name or activity.group == name)
        and (not names or activity.id in names)
        and (deleted or activity.group in world.groups)
    ]
    some, token = paged(arguments, found, lambda one: one[:2], default=100)
    return {"Activities": [told_activity(world, one[2]) for one in some], "NextToken": token}


def told_activity(world: World, activity: Activity | None) -> dict[str, Any]:
    if activity is None:
        return {}
    group = world.groups.get(activity.group)
    return {
        "ActivityId": activity.id,
        "AutoScalingGroupName": activity.group,
        "AutoScalingGroupARN": group.arn if group else None,
        "AutoScalingGroupState": None if group else "Deleted",
        "Description": activity.description,
        "Cause": activity.cause,
        "StartTime": moment(activity.start),
        "EndTime": moment(activity.end),
        "StatusCode": activity.status,
        "StatusMessage": activity.message,
        "Progress": activity.progress,
        "Details": "{}",
    }


CALLS: Mapping[str, Callable[[World, Arguments], dict[str, Any]]] = {
    "DescribeAutoScalingInstances": describe_instances,
    "TerminateInstanceInAutoScalingGroup": terminate,
    "DetachInstances": detach,
    "EnterStandby": enter_standby,
    "ExitStandby": exit_standby,
    "SetInstanceHealth": set_health,
    "SetInstanceProtection": set_protection,
    "CompleteLifecycleAction": complete_lifecycle_action,
    "RecordLifecycleActionHeartbeat": record_heartbeat,
    "SuspendProcesses": suspend,
    "ResumeProcesses": resume,
    "DescribeScalingActivities": describe_activities,
}
