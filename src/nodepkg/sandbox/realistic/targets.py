"""Targets of target groups, in time: initial, healthy or unhealthy, draining, gone."""

from typing import Any

from moto.elbv2.exceptions import TargetGroupNotFoundError

from nodepkg.sandbox.realistic.errors import AwsRefusalError
from nodepkg.sandbox.realistic.records import Group, Node, Target
from nodepkg.sandbox.realistic.world import IMPAIRED, UNHEALTHY, World

DRAINING = ("draining", "Target.DeregistrationInProgress")
_DESCRIPTIONS = {
    "Elb.RegistrationInProgress": "Target registration is in progress",
    "Target.DeregistrationInProgress": "Target deregistration is in progress",
    "Target.FailedHealthChecks": "Health checks failed",
    "Target.NotRegistered": "Target is not registered to the target group",
    "Target.NotInUse": "Target group is not configured to receive traffic from the load balancer",
    "Target.InvalidState": "Target is in the stopped state",
}


def described(reason: str | None) -> str | None:
    return _DESCRIPTIONS.get(reason or "")


def target_group(world: World, arn: str) -> Any:
    """moto's; raises TargetGroupNotFound."""
    found = world.balancing.target_groups.get(arn)
    if found is None:
        raise AwsRefusalError("TargetGroupNotFound", TargetGroupNotFoundError().message)
    return found


def register(world: World, arn: str, instance: str, port: int | None = None) -> None:
    """A target that drains, or is healthy already, starts anew only if it drains."""
    targets = world.state.targets.setdefault(arn, {})
    known = targets.get(instance)
    if known and known.state != "draining":
        return
    target = Target(instance, int(port or target_group(world, arn).port), since=world.now)
    if arn in world.unused_target_groups:
        target.state, target.reason = "unused", "Target.NotInUse"
    targets[instance] = target
    world.after(world.realism.health_seconds, _answer, arn, target)
    _touch_owner(world, instance)


def deregister(world: World, arn: str, instance: str) -> None:
    """It drains; what is not registered, or unused, is gone at once."""
    target = world.state.targets.get(arn, {}).get(instance)
    if target is None or target.state == "draining":
        return
    if target.state == "unused":
        del world.state.targets[arn][instance]
    else:
        (target.state, target.reason), target.since = DRAINING, world.now
        world.after(world.realism.drain_seconds, _drained, arn, target)
    _touch_owner(world, instance)


def _drained(world: World, arn: str, target: Target) -> None:
    targets = world.state.targets.get(arn, {})
    if targets.get(target.id) is target and target.state == "draining":
        del targets[target.id]
        _touch_owner(world, target.id)
        for group in world.groups.values():
            if arn in group.target_groups:
                world.touch(group)


def _answer(world: World, arn: str, target: Target) -> None:
    if world.state.targets.get(arn, {}).get(target.id) is target and target.state == "initial":
        look(world, arn, target)


def look(world: World, arn: str, target: Target) -> None:
    """The load balancer asks the target how it is."""
    found = world.node(target.id)
    bad = found is not None and bool(world.sickness(found[1]) & {UNHEALTHY, IMPAIRED})
    instance = world.instance(target.id)
    if target.state in ("draining",):
        return
    if arn in world.unused_target_groups:
        state, reason = "unused", "Target.NotInUse"
    elif instance is None or instance.state != "running":
        state, reason = "unused", "Target.InvalidState"
    elif bad:
        state, reason = "unhealthy", "Target.FailedHealthChecks"
    else:
        state, reason = "healthy", ""
    if state != target.state:
        target.state, target.reason, target.since = state, reason or None, world.now
        _touch_owner(world, target.id, check=True)


def look_again(world: World, instance: str) -> None:
    """Something about the instance has changed."""
    for arn, targets in world.state.targets.items():
        target = targets.get(instance)
        if target and target.state != "initial":
            look(world, arn, target)


def of_node(world: World, node: Node) -> dict[str, Target]:
    """Target group -> what the node is in it."""
    return {arn: targets[node.id] for arn, targets in world.state.targets.items() if node.id in targets}


def attach(world: World, group: Group, arn: str) -> None:
    """All nodes in service are registered, unless AddToLoadBalancer is suspended."""
    target_group(world, arn)
    if group.target_groups.get(arn, "Removing") != "Removing":
        return
    group.target_groups[arn] = "Adding"
    if group.runs("AddToLoadBalancer"):
        for node in group.held("InService"):
            register(world, arn, node.id)
    world.touch(group)


def detach(world: World, group: Group, arn: str) -> None:
    """The nodes drain; that the group is attached is no longer told from now on."""
    if arn not in group.attached:
        return
    group.target_groups[arn] = "Removing"
    for node in group.nodes.values():
        deregister(world, arn, node.id)
    world.touch(group)


def note_attachments(world: World, group: Group) -> None:
    """How far attaching and detaching has come: Added once all are registered, InService once one is healthy."""
    for arn, state in list(group.target_groups.items()):
        there = world.state.targets.get(arn, {})
        mine = [there[name] for name in group.nodes if name in there]
        if state == "Removing":
            if not mine:
                del group.target_groups[arn]
        elif any(target.state == "healthy" for target in mine):
            group.target_groups[arn] = "InService"
        elif not any(target.state == "initial" for target in mine):
            group.target_groups[arn] = "Added"


def _touch_owner(world: World, instance: str, *, check: bool = False) -> None:
    from nodepkg.sandbox.realistic import health

    world.changes += 1
    found = world.node(instance)
    if found:
        group, node = found
        world.touch(group)
        if check:
            health.expect(world, group, node)
