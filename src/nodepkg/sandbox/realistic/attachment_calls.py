"""Auto Scaling's calls about what hangs on a group: target groups, hooks, notifications, warm pools, refreshes."""

from collections.abc import Callable
from typing import Any

from nodepkg.sandbox.realistic import targets
from nodepkg.sandbox.realistic.errors import AwsRefusalError, invalid
from nodepkg.sandbox.realistic.group_calls import Arguments, named, paged
from nodepkg.sandbox.realistic.protocol import moment
from nodepkg.sandbox.realistic.world import World

_RUNNING = ("Pending", "InProgress", "Baking", "RollbackInProgress", "Cancelling")


def attach_target_groups(world: World, arguments: Arguments) -> dict[str, Any]:
    return _attach(world, arguments, arguments["TargetGroupARNs"])


def attach_sources(world: World, arguments: Arguments) -> dict[str, Any]:
    return _attach(world, arguments, [one["Identifier"] for one in arguments["TrafficSources"]])


def _attach(world: World, arguments: Arguments, arns: list[str]) -> dict[str, Any]:
    group = named(world, arguments)
    for arn in arns:
        targets.target_group(world, arn)
    for arn in arns:
        targets.attach(world, group, arn)
    return {}


def detach_target_groups(world: World, arguments: Arguments) -> dict[str, Any]:
    return _detach(world, arguments, arguments["TargetGroupARNs"])


def detach_sources(world: World, arguments: Arguments) -> dict[str, Any]:
    return _detach(world, arguments, [one["Identifier"] for one in arguments["TrafficSources"]])


def _detach(world: World, arguments: Arguments, arns: list[str]) -> dict[str, Any]:
    group = named(world, arguments)
    missing = [arn for arn in arns if arn not in group.attached]
    if missing:
        raise invalid(f"Trying to remove Target Groups that are not part of the group: {missing}")
    for arn in arns:
        targets.detach(world, group, arn)
    return {}


def describe_target_groups(world: World, arguments: Arguments) -> dict[str, Any]:
    some, token = paged(arguments, list(named(world, arguments).target_groups.items()), lambda one: one[0], default=100)
    told = [{"LoadBalancerTargetGroupARN": arn, "State": state} for arn, state in some]
    return {"LoadBalancerTargetGroups": told, "NextToken": token}


def describe_sources(world: World, arguments: Arguments) -> dict[str, Any]:
    some, token = paged(arguments, list(named(world, arguments).target_groups.items()), lambda one: one[0])
    told = [{"Identifier": arn, "TrafficSource": arn, "State": state, "Type": "elbv2"} for arn, state in some]
    return {"TrafficSources": told, "NextToken": token}


def put_hook(world: World, arguments: Arguments) -> dict[str, Any]:
    """What an existing one has and is not given stays."""
    group, name = named(world, arguments), arguments["LifecycleHookName"]
    known = group.hooks.get(name, {})
    if not known and "LifecycleTransition" not in arguments:
        raise invalid("LifecycleTransition is required for a new lifecycle hook")
    group.hooks[name] = known | {key: value for key, value in arguments.items() if key != "AutoScalingGroupName"}
    world.touch(group)
    return {}


def describe_hooks(world: World, arguments: Arguments) -> dict[str, Any]:
    group, wanted = named(world, arguments), arguments.get("LifecycleHookNames", [])
    defaults = {"HeartbeatTimeout": 3600, "DefaultResult": "ABANDON", "AutoScalingGroupName": group.name}
    told = []
    for name, hook in sorted(group.hooks.items()):
        whole: dict[str, Any] = defaults | hook
        whole["GlobalTimeout"] = min(100 * whole["HeartbeatTimeout"], 172800)
        if not wanted or name in wanted:
            told.append(whole)
    return {"LifecycleHooks": told}


def delete_hook(world: World, arguments: Arguments) -> dict[str, Any]:
    """Nodes that it holds go on."""
    from nodepkg.sandbox.realistic import nodes

    group, name = named(world, arguments), arguments["LifecycleHookName"]
    if group.hooks.pop(name, None) is None:
        raise invalid(f"No Lifecycle Hook found with name: {name}")
    for node in [node for node in group.nodes.values() if name in node.waits]:
        nodes.complete(world, group, node, name, "CONTINUE")
    world.touch(group)
    return {}


def put_notification(world: World, arguments: Arguments) -> dict[str, Any]:
    """The types of a topic are replaced by those given."""
    group, topic = named(world, arguments), arguments["TopicARN"]
    kept = [one for one in group.notifications if one["TopicARN"] != topic]
    new = [
        {"AutoScalingGroupName": group.name, "TopicARN": topic, "NotificationType": kind}
        for kind in arguments["NotificationTypes"]
    ]
    group.notifications = kept + new
    world.touch(group)
    return {}


def describe_notifications(world: World, arguments: Arguments) -> dict[str, Any]:
    names = arguments.get("AutoScalingGroupNames", [])
    found = [one for group in world.groups.values() if not names or group.name in names for one in group.notifications]
    some, token = paged(
        arguments, found, lambda one: (one["AutoScalingGroupName"], one["TopicARN"], one["NotificationType"])
    )
    return {"NotificationConfigurations": some, "NextToken": token}


def delete_notification(world: World, arguments: Arguments) -> dict[str, Any]:
    group = named(world, arguments)
    group.notifications = [one for one in group.notifications if one["TopicARN"] != arguments["TopicARN"]]
    world.touch(group)
    return {}


def put_warm_pool(world: World, arguments: Arguments) -> dict[str, Any]:
    """It is told, and has no instances here."""
    group = named(world, arguments)
    given = {key: value for key, value in arguments.items() if key != "AutoScalingGroupName"}
    group.warm_pool = {"MinSize": 0, "PoolState": "Stopped"} | given
    world.touch(group)
    return {}


def delete_warm_pool(world: World, arguments: Arguments) -> dict[str, Any]:
    group = named(world, arguments)
    group.warm_pool = None
    world.touch(group)
    return {}


def describe_warm_pool(world: World, arguments: Arguments) -> dict[str, Any]:
    return {"WarmPoolConfiguration": named(world, arguments).warm_pool, "Instances": []}


def start_refresh(world: World, arguments: Arguments) -> dict[str, Any]:
    """It stays in progress until it is cancelled, and replaces nothing here."""
    group = named(world, arguments)
    if any(one["Status"] in _RUNNING for one in group.refreshes):
        raise AwsRefusalError(
            "InstanceRefreshInProgress", "An Instance Refresh is already in progress and blocks the call"
        )
    refresh = {
        "InstanceRefreshId": world.id(),
        "AutoScalingGroupName": group.name,
        "Status": "InProgress",
        "StartTime": moment(world.now),
        "PercentageComplete": 0,
        "InstancesToUpdate": len(group.nodes),
        "Preferences": arguments.get("Preferences"),
        "DesiredConfiguration": arguments.get("DesiredConfiguration"),
    }
    group.refreshes.insert(0, refresh)
    world.touch(group)
    return {"InstanceRefreshId": refresh["InstanceRefreshId"]}


def cancel_refresh(world: World, arguments: Arguments) -> dict[str, Any]:
    group = named(world, arguments)
    for one in group.refreshes:
        if one["Status"] in _RUNNING:
            one.update(Status="Cancelled", EndTime=moment(world.now))
            world.touch(group)
            return {"InstanceRefreshId": one["InstanceRefreshId"]}
    raise AwsRefusalError("ActiveInstanceRefreshNotFound", f"No in progress Instance Refresh found for {group.name}")


def describe_refreshes(world: World, arguments: Arguments) -> dict[str, Any]:
    group, wanted = named(world, arguments), arguments.get("InstanceRefreshIds", [])
    found = [
        (number, one) for number, one in enumerate(group.refreshes) if not wanted or one["InstanceRefreshId"] in wanted
    ]
    some, token = paged(arguments, found, lambda one: one[0])
    return {"InstanceRefreshes": [one[1] for one in some], "NextToken": token}


def enable_metrics(world: World, arguments: Arguments) -> dict[str, Any]:
    group = named(world, arguments)
    group.metrics = sorted({*group.metrics, *arguments.get("Metrics", ["GroupDesiredCapacity"])})
    world.touch(group)
    return {}


def disable_metrics(world: World, arguments: Arguments) -> dict[str, Any]:
    group = named(world, arguments)
    gone = arguments.get("Metrics", group.metrics)
    group.metrics = [name for name in group.metrics if name not in gone]
    world.touch(group)
    return {}


CALLS: dict[str, Callable[[World, Arguments], dict[str, Any]]] = {
    "AttachLoadBalancerTargetGroups": attach_target_groups,
    "DetachLoadBalancerTargetGroups": detach_target_groups,
    "DescribeLoadBalancerTargetGroups": describe_target_groups,
    "AttachTrafficSources": attach_sources,
    "DetachTrafficSources": detach_sources,
    "DescribeTrafficSources": describe_sources,
    "PutLifecycleHook": put_hook,
    "DescribeLifecycleHooks": describe_hooks,
    "DeleteLifecycleHook": delete_hook,
    "PutNotificationConfiguration": put_notification,
    "DescribeNotificationConfigurations": describe_notifications,
    "DeleteNotificationConfiguration": delete_notification,
    "PutWarmPool": put_warm_pool,
    "DescribeWarmPool": describe_warm_pool,
    "DeleteWarmPool": delete_warm_pool,
    "StartInstanceRefresh": start_refresh,
    "CancelInstanceRefresh": cancel_refresh,
    "DescribeInstanceRefreshes": describe_refreshes,
    "EnableMetricsCollection": enable_metrics,
    "DisableMetricsCollection": disable_metrics,
}
