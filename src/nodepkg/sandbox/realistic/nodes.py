"""The life of a node: Pending, held by hooks, InService; Terminating, drained, held, gone."""

from nodepkg.sandbox.realistic import health, launching, targets
from nodepkg.sandbox.realistic.records import Group, Node, Wait
from nodepkg.sandbox.realistic.world import FAILING, World

LAUNCHING, TERMINATING = "autoscaling:EC2_INSTANCE_LAUNCHING", "autoscaling:EC2_INSTANCE_TERMINATING"
_HEARTBEAT = 3600
_MOST_HEARTBEATS, _MOST_SECONDS = 100, 172800


def add(world: World, group: Group, node: Node, cause: str) -> None:
    """A node that was just launched becomes one of the group's."""
    group.nodes[node.id] = node
    node.activity = world.begin(group, f"Launching a new EC2 instance: {node.id}", cause, node.id)
    world.after(world.realism.pending_seconds, _started, group, node)
    world.touch(group)


def _started(world: World, group: Group, node: Node) -> None:
    if not group.has(node) or node.ec2 != "pending":
        return
    if FAILING in world.sickness(node):
        _fail(world, group, node)
        return
    instance = world.instance(node.id)
    launching.set_state(instance, "running")
    node.ec2, node.started = "running", world.now
    world.after(world.realism.status_check_seconds, health.checked, group, node)
    world.touch(group)
    if not node.is_leaving and not _hold(world, group, node, LAUNCHING, "Pending:Wait"):
        serve(world, group, node)


def _fail(world: World, group: Group, node: Node) -> None:
    """It ends before it ran: Client.InternalError, as with an image whose volume key may not be used."""
    world.end(
        node.activity,
        "Failed",
        f"Instance failed to launch: {node.id}. Client.InternalError: Client error on launch. "
        "Launching EC2 instance failed.",
    )
    launching.end(world.instance(node.id))
    node.ec2, node.lifecycle = "terminated", "Terminated"
    del group.nodes[node.id]
    delay(world, group)


def delay(world: World, group: Group) -> None:
    """After a failed launch the group waits before it tries again."""
    group.retry_at = world.now + world.realism.retry_seconds
    world.at(group.retry_at, _retry, group)


def _retry(world: World, group: Group) -> None:
    if world.groups.get(group.name) is group:
        world.touch(group)


def serve(world: World, group: Group, node: Node) -> None:
    """It comes into service, and is registered with the target groups."""
    node.lifecycle, node.in_service, node.waits = "InService", world.now, {}
    world.end(node.activity)
    if group.runs("AddToLoadBalancer"):
        for arn in group.attached:
            targets.register(world, arn, node.id)
    health.came_into_service(world, group, node)
    world.touch(group)


def _hold(world: World, group: Group, node: Node, transition: str, lifecycle: str) -> bool:
    """Whether a lifecycle hook holds it."""
    hooks = [hook for hook in group.hooks.values() if hook["LifecycleTransition"] == transition]
    if not hooks:
        return False
    node.lifecycle = lifecycle
    for hook in hooks:
        seconds = hook.get("HeartbeatTimeout", _HEARTBEAT)
        latest = world.now + min(_MOST_HEARTBEATS * seconds, _MOST_SECONDS)
        wait = Wait(world.id(), world.now + seconds, latest)
        node.waits[hook["LifecycleHookName"]] = wait
        world.at(wait.until, _time_out, group, node, hook["LifecycleHookName"])
    world.touch(group)
    return True


def _time_out(world: World, group: Group, node: Node, hook: str) -> None:
    wait = node.waits.get(hook)
    if not group.has(node) or wait is None:
        return
    if wait.until > world.now:
        world.at(wait.until, _time_out, group, node, hook)
        return
    complete(world, group, node, hook, group.hooks.get(hook, {}).get("DefaultResult", "ABANDON"))


def complete(world: World, group: Group, node: Node, hook: str, result: str) -> None:
    """A hook lets go of a node with CONTINUE or ABANDON."""
    del node.waits[hook]
    world.touch(group)
    if node.lifecycle == "Pending:Wait":
        if result == "ABANDON":
            node.waits = {}
            world.end(node.activity, "Cancelled", f"Lifecycle hook {hook} was abandoned")
            terminate(world, group, node, f"At {told(world)} an instance was abandoned by the lifecycle hook {hook}.")
        elif not node.waits:
            serve(world, group, node)
    elif node.lifecycle == "Terminating:Wait" and (result == "ABANDON" or not node.waits):
        node.waits = {}
        _shut_down(world, group, node)


def terminate(world: World, group: Group, node: Node, cause: str) -> None:
    """It leaves: first its targets drain, then hooks may hold it, then EC2 ends it."""
    if node.is_leaving:
        return
    served = node.in_service is not None
    world.end(node.activity, "Cancelled")
    node.lifecycle, node.waits = "Terminating", {}
    node.activity = world.begin(group, f"Terminating EC2 instance: {node.id}", cause, node.id)
    for arn in group.target_groups:
        targets.deregister(world, arn, node.id)
    draining = any(target.state == "draining" for target in targets.of_node(world, node).values())
    wait = world.realism.drain_seconds if draining and node.ec2 == "running" else 0
    world.after(wait, _drained, group, node, served)
    world.touch(group)


def _drained(world: World, group: Group, node: Node, served: bool) -> None:
    if not group.has(node):
        return
    if not (served and node.ec2 == "running" and _hold(world, group, node, TERMINATING, "Terminating:Wait")):
        _shut_down(world, group, node)


def _shut_down(world: World, group: Group, node: Node) -> None:
    node.lifecycle = "Terminating:Proceed" if node.lifecycle == "Terminating:Wait" else "Terminating"
    instance = world.instance(node.id)
    if instance is not None and instance.state not in ("terminated",):
        launching.set_state(instance, "shutting-down")
    node.ec2 = "shutting-down"
    targets.look_again(world, node.id)
    world.after(world.realism.termination_seconds, _gone, group, node)
    world.touch(group)


def _gone(world: World, group: Group, node: Node) -> None:
    launching.end(world.instance(node.id))
    node.ec2, node.lifecycle = "terminated", "Terminated"
    for found in world.state.targets.values():
        found.pop(node.id, None)
    if group.has(node):
        del group.nodes[node.id]
    world.end(node.activity)
    world.touch(group)


def to_standby(world: World, group: Group, node: Node) -> None:
    for arn in group.target_groups:
        targets.deregister(world, arn, node.id)
    node.lifecycle = "Standby"
    world.touch(group)


def from_standby(world: World, group: Group, node: Node) -> None:
    """It comes back by Pending, and hooks may hold it again."""
    node.lifecycle = "Pending"
    if not _hold(world, group, node, LAUNCHING, "Pending:Wait"):
        serve(world, group, node)


def ended_by_others(world: World, instance: str) -> None:
    """EC2 was told to end, stop or start it, or it died."""
    found, seen = world.node(instance), world.instance(instance)
    if found and seen is not None and not found[1].is_leaving:
        group, node = found
        node.ec2 = seen.state
        world.touch(group)
        if node.lifecycle.startswith("Pending") and node.ec2 not in ("pending", "running"):
            terminate(world, group, node, f"At {told(world)} an instance ended before it was in service.")
        health.expect(world, group, node)
    targets.look_again(world, instance)


def told(world: World) -> str:
    """The moment, as causes of activities have it."""
    from nodepkg.sandbox.realistic.protocol import moment

    now = moment(world.now)
    return now.strftime("%Y-%m-%dT%H:%M:%SZ") if now else ""
