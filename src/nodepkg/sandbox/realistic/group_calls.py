"""Auto Scaling's calls about whole groups: create, update, describe, delete, and their sizes."""

from collections.abc import Mapping, Sequence
from typing import Any

from nodepkg.sandbox.paging import BadTokenError, Item, Key, page
from nodepkg.sandbox.realistic import launching, nodes, scaling, tag_calls, targets
from nodepkg.sandbox.realistic.errors import AwsRefusalError, invalid
from nodepkg.sandbox.realistic.protocol import moment
from nodepkg.sandbox.realistic.records import Group, Node
from nodepkg.sandbox.realistic.world import World

Arguments = Mapping[str, Any]
DELETING = "Delete in progress"
# What a group has in places of its own; all else of its creation is told back as it was given.
_OWN = (
    "AutoScalingGroupName",
    "MinSize",
    "MaxSize",
    "DesiredCapacity",
    "AvailabilityZones",
    "Tags",
    "TargetGroupARNs",
    "TrafficSources",
    "LifecycleHookSpecificationList",
    "InstanceId",
    "SkipZonalShiftValidation",
)
_SOURCES = ("LaunchTemplate", "LaunchConfigurationName", "MixedInstancesPolicy")
_DEFAULTS = {
    "DefaultCooldown": 300,
    "HealthCheckType": "EC2",
    "HealthCheckGracePeriod": 0,
    "TerminationPolicies": ["Default"],
    "NewInstancesProtectedFromScaleIn": False,
    "CapacityRebalance": False,
    "VPCZoneIdentifier": "",
    "LoadBalancerNames": [],
}


def named(world: World, arguments: Arguments) -> Group:
    """The group that a changing call names; raises ValidationError if there is none, or it is being deleted."""
    name = arguments["AutoScalingGroupName"]
    group = world.groups.get(name)
    if group is None:
        raise invalid(f"AutoScalingGroup name not found - AutoScalingGroup {name} not found")
    if group.status:
        raise invalid(f"AutoScalingGroup {name} is pending delete")
    return group


def paged(arguments: Arguments, items: Sequence[Item], key: Key[Item], *, default: int = 50, most: int = 100) -> Any:
    """A page, and the token for the next one."""
    size = arguments.get("MaxRecords", default)
    if not 1 <= size <= most:
        raise invalid(f"MaxRecords must be between 1 and {most}, not {size}")
    try:
        return page(items, key, token=arguments.get("NextToken"), size=size)
    except BadTokenError as error:
        raise AwsRefusalError("InvalidNextToken", "The NextToken value is not valid.") from error


def create(world: World, arguments: Arguments) -> dict[str, Any]:
    name = arguments["AutoScalingGroupName"]
    known = world.groups.get(name)
    if known:
        more = " and is pending delete" if known.status else ""
        raise AwsRefusalError("AlreadyExists", f"AutoScalingGroup by this name already exists{more} - {name}")
    if sum(source in arguments for source in _SOURCES) != 1:
        raise invalid(
            "Valid requests must contain either LaunchTemplate, LaunchConfigurationName, InstanceId or "
            "MixedInstancesPolicy parameter."
        )
    settings = {key: value for key, value in arguments.items() if key not in _OWN}
    group = Group(name, world.arn(name), world.now, 0, 0, 0, [], settings)
    _place(world, group, arguments)
    _complete_source(world, group)
    launching.check(world, group)
    tag_calls.put(group, arguments.get("Tags", []))
    arns = [*arguments.get("TargetGroupARNs", []), *_arns(arguments)]
    for arn in arns:
        targets.target_group(world, arn)
    desired = arguments.get("DesiredCapacity", arguments["MinSize"])
    scaling.resize(world, group, least=arguments["MinSize"], most=arguments["MaxSize"], desired=desired)
    for hook in arguments.get("LifecycleHookSpecificationList", []):
        group.hooks[hook["LifecycleHookName"]] = dict(hook)
    world.groups[name] = group
    for arn in arns:
        targets.attach(world, group, arn)
    return {}


def _arns(arguments: Arguments) -> list[str]:
    return [one["Identifier"] for one in arguments.get("TrafficSources", [])]


def _place(world: World, group: Group, arguments: Arguments) -> None:
    zones, names = arguments.get("AvailabilityZones", []), arguments.get("VPCZoneIdentifier", "")
    if names:
        try:
            subnets = world.ec2.describe_subnets(subnet_ids=[name.strip() for name in names.split(",")])
        except Exception as error:
            raise invalid(f"The subnet ID '{names}' does not exist") from error
        of_subnets = sorted({str(subnet.availability_zone) for subnet in subnets})
        if zones and set(zones) != set(of_subnets):
            raise invalid("The availability zones of the specified subnets and the Auto Scaling group do not match")
        zones = of_subnets
    if not zones and not group.zones:
        raise invalid("At least one Availability Zone or VPC Subnet is required.")
    group.zones = sorted(zones) or group.zones


def _complete_source(world: World, group: Group) -> None:
    """AWS tells a launch template by id and name, whichever it was given by, and the version as it was given."""
    given = group.settings.get("LaunchTemplate")
    mixed = group.settings.get("MixedInstancesPolicy", {}).get("LaunchTemplate", {})
    for one in filter(None, (given, mixed.get("LaunchTemplateSpecification"))):
        for template in world.ec2.launch_templates.values():
            if template.id == one.get("LaunchTemplateId") or template.name == one.get("LaunchTemplateName"):
                one.update(LaunchTemplateId=template.id, LaunchTemplateName=template.name)


def update(world: World, arguments: Arguments) -> dict[str, Any]:
    group = named(world, arguments)
    before = (dict(group.settings), group.zones)
    try:
        changed = {key: value for key, value in arguments.items() if key not in _OWN}
        if any(source in changed for source in _SOURCES):
            group.settings = {key: value for key, value in group.settings.items() if key not in _SOURCES}
        group.settings |= changed
        _place(world, group, arguments)
        if any(source in changed for source in _SOURCES):
            _complete_source(world, group)
            launching.check(world, group)
        sizes = (arguments.get("MinSize"), arguments.get("MaxSize"), arguments.get("DesiredCapacity"))
        scaling.resize(world, group, least=sizes[0], most=sizes[1], desired=sizes[2])
    except AwsRefusalError:
        group.settings, group.zones = before
        raise
    return {}


def set_desired(world: World, arguments: Arguments) -> dict[str, Any]:
    group, wanted = named(world, arguments), arguments["DesiredCapacity"]
    if wanted > group.max:
        raise invalid(f"New SetDesiredCapacity value {wanted} is above max value {group.max} for the AutoScalingGroup.")
    if wanted < group.min:
        raise invalid(f"New SetDesiredCapacity value {wanted} is below min value {group.min} for the AutoScalingGroup.")
    scaling.resize(world, group, desired=wanted)
    return {}


def delete(world: World, arguments: Arguments) -> dict[str, Any]:
    group = named(world, arguments)
    force = arguments.get("ForceDelete", False)
    if group.nodes and not force:
        if all(node.is_leaving for node in group.nodes.values()):
            told = (
                "You cannot delete an AutoScalingGroup while there are scaling activities in progress for that group."
            )
            raise AwsRefusalError("ScalingActivityInProgress", told)
        told = "You cannot delete an AutoScalingGroup while there are instances or pending Spot instance request(s)"
        raise AwsRefusalError("ResourceInUse", f"{told} still in the group.")
    group.status = DELETING
    for node in list(group.nodes.values()):
        nodes.terminate(world, group, node, f"At {nodes.told(world)} the group was deleted by force.")
    world.after(world.realism.delete_seconds, _deleted, group)
    world.touch(group)
    return {}


def _deleted(world: World, group: Group) -> None:
    if group.nodes:
        world.after(max(world.realism.delete_seconds, 0.05), _deleted, group)
    elif world.groups.get(group.name) is group:
        from nodepkg.sandbox.realistic import policy_calls

        for policy in list(group.policies.values()):
            policy_calls.remove(world, group, policy)
        del world.groups[group.name]
        world.touch(group)


def describe(world: World, arguments: Arguments) -> dict[str, Any]:
    names, filters = arguments.get("AutoScalingGroupNames", []), arguments.get("Filters", [])
    found = [
        group
        for group in world.groups.values()
        if (not names or group.name in names) and all(_passes(group, one) for one in filters)
    ]
    some, token = paged(arguments, found, lambda group: group.name)
    return {"AutoScalingGroups": [told(group) for group in some], "NextToken": token}


def _passes(group: Group, wanted: Mapping[str, Any]) -> bool:
    name, values = wanted.get("Name", ""), wanted.get("Values", [])
    if name == "tag-key":
        return any(key in values for key in group.tags)
    if name == "tag-value":
        return any(tag["Value"] in values for tag in group.tags.values())
    if name.startswith("tag:"):
        tag = group.tags.get(name.removeprefix("tag:"))
        return tag is not None and (not values or tag["Value"] in values)
    raise invalid(f"The filter {name} is not valid: tag-key, tag-value and tag:KEY are.")


def told(group: Group) -> dict[str, Any]:
    """A group as DescribeAutoScalingGroups has it."""
    return {
        **_DEFAULTS,
        **group.settings,
        "AutoScalingGroupName": group.name,
        "AutoScalingGroupARN": group.arn,
        "MinSize": group.min,
        "MaxSize": group.max,
        "DesiredCapacity": group.desired,
        "AvailabilityZones": group.zones,
        "TargetGroupARNs": group.attached,
        "TrafficSources": [{"Identifier": arn, "Type": "elbv2"} for arn in group.attached],
        "Instances": [told_node(node) for node in group.nodes.values()],
        "CreatedTime": moment(group.created),
        "SuspendedProcesses": [
            {"ProcessName": name, "SuspensionReason": reason} for name, reason in group.suspended.items()
        ],
        "EnabledMetrics": [{"Metric": name, "Granularity": "1Minute"} for name in group.metrics],
        "Status": group.status,
        "Tags": list(group.tags.values()),
        "WarmPoolConfiguration": group.warm_pool,
        "WarmPoolSize": 0 if group.warm_pool else None,
        "ServiceLinkedRoleARN": "arn:aws:iam::123456789012:role/aws-service-role/autoscaling.amazonaws.com/"
        "AWSServiceRoleForAutoScaling",
    }


def told_node(node: Node) -> dict[str, Any]:
    """An instance, as groups have it."""
    return {
        "InstanceId": node.id,
        "InstanceType": node.type,
        "AvailabilityZone": node.zone,
        "LifecycleState": node.lifecycle,
        "HealthStatus": node.health,
        "LaunchTemplate": node.template,
        "LaunchConfigurationName": node.launch_configuration,
        "ImageId": node.image,
        "ProtectedFromScaleIn": node.protected,
    }


CALLS = {
    "CreateAutoScalingGroup": create,
    "UpdateAutoScalingGroup": update,
    "SetDesiredCapacity": set_desired,
    "DeleteAutoScalingGroup": delete,
    "DescribeAutoScalingGroups": describe,
}
