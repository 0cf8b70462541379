"""How many nodes a group has: what it launches, replaces and ends to come to its desired number."""

from nodepkg.sandbox.realistic import health, launching, nodes, targets
from nodepkg.sandbox.realistic.errors import LaunchFailureError, invalid
from nodepkg.sandbox.realistic.records import Group, Node
from nodepkg.sandbox.realistic.world import World


def reconcile(world: World, group: Group) -> None:
    """One step towards the desired number; whatever it changes leads to the next one."""
    targets.note_attachments(world, group)
    if group.status:
        return
    _replace_unhealthy(world, group)
    _end_rebalancing(group)
    missing = group.desired + len(group.rebalancing) - len(group.counted)
    if missing > 0 and group.runs("Launch") and world.now >= group.retry_at:
        _launch(world, group, missing)
    elif missing < 0:
        _scale_in(world, group, -missing)


def _replace_unhealthy(world: World, group: Group) -> None:
    if not (group.runs("ReplaceUnhealthy") and group.runs("Terminate")):
        return
    for node in list(group.held("InService")):
        if node.health == "Unhealthy":
            reason = health.why(world, group, node)
            cause = f"At {nodes.told(world)} an instance was taken out of service in response to {reason}."
            nodes.terminate(world, group, node, cause)


def _launch(world: World, group: Group, missing: int) -> None:
    now, have = nodes.told(world), len(group.counted)
    cause = (
        f"{group.cause}At {now} an instance was started in response to a difference between desired and actual "
        f"capacity, increasing the capacity from {have} to {group.desired}."
    )
    for _ in range(missing):
        node = _launch_somewhere(world, group, cause)
        if node is None:
            nodes.delay(world, group)
            return
        nodes.add(world, group, node, cause)
    group.cause = ""


def _launch_somewhere(world: World, group: Group, cause: str) -> Node | None:
    """In the zone with the fewest nodes that has capacity; an activity tells each failure."""
    counts = {zone: sum(node.zone == zone for node in group.counted) for zone in group.zones}
    for zone in sorted(counts, key=lambda zone: (counts[zone], zone)):
        try:
            return launching.launch(world, group, zone)
        except LaunchFailureError as error:
            activity = world.begin(group, "Launching a new EC2 instance", cause)
            world.end(activity, "Failed", str(error))
            world.changes += 1
    return None


def rebalance(world: World, group: Group) -> bool:
    """One node more in the zone with the fewest; once it is in service, one goes from the zone with the most.

    False if AZRebalance, Launch or Terminate is suspended, or there is no capacity.
    """
    if group.status or not all(group.runs(process) for process in ("AZRebalance", "Launch", "Terminate")):
        return False
    cause = f"At {nodes.told(world)} instances were launched to balance instances in zones."
    node = _launch_somewhere(world, group, cause)
    if node is None:
        return False
    group.rebalancing.append(node)
    nodes.add(world, group, node, cause)
    return True


def _end_rebalancing(group: Group) -> None:
    group.rebalancing = [node for node in group.rebalancing if group.has(node) and node.lifecycle != "InService"]


def _scale_in(world: World, group: Group, surplus: int) -> None:
    """Those that are not yet in service go even while Terminate is suspended."""
    free = [node for node in group.counted if not node.protected]
    if not group.runs("Terminate"):
        free = [node for node in free if node.lifecycle != "InService"]
    cause = group.cause or f"At {nodes.told(world)} the group had more instances than its desired capacity. "
    for _ in range(min(surplus, len(free))):
        node = _next_to_go(world, group, free)
        free.remove(node)
        said = f"At {nodes.told(world)} instance {node.id} was selected for termination."
        nodes.terminate(world, group, node, f"{cause}{said}")
    group.cause = ""


def _next_to_go(world: World, group: Group, free: list[Node]) -> Node:
    """Unhealthy ones first, then of the zone with most nodes those of another template version, then the oldest."""
    counts = {zone: sum(node.zone == zone for node in group.counted) for zone in {node.zone for node in free}}
    try:
        current = launching.source(world, group).template
    except LaunchFailureError:
        current = None

    def rank(node: Node) -> tuple[object, ...]:
        age = (node.template == current, node.launched, node.id)
        return (node.health == "Healthy", -counts[node.zone], *age)

    return min(free, key=rank)


def resize(
    world: World,
    group: Group,
    *,
    least: int | None = None,
    most: int | None = None,
    desired: int | None = None,
    cause: str = "a user request",
) -> None:
    """New bounds and number, as UpdateAutoScalingGroup has them; raises ValidationError, and then changes nothing."""
    low = group.min if least is None else least
    high = group.max if most is None else most
    if low < 0 or high < 0:
        raise invalid("Min and max size must not be negative")
    if low > high:
        raise invalid(f"Min bound, {low}, must be less than or equal to max bound, {high}")
    wanted = min(max(group.desired, low), high) if desired is None else desired
    if wanted < low:
        raise invalid(f"Desired capacity:{wanted} must be between the specified min size:{low} and max size:{high}")
    if wanted > high:
        raise invalid(f"Desired capacity:{wanted} must be between the specified min size:{low} and max size:{high}")
    said = f"min from {group.min} to {low}, max from {group.max} to {high}"
    if wanted != group.desired or (low, high) != (group.min, group.max):
        group.cause = (
            f"At {nodes.told(world)} {cause} changed the group: {said}, "
            f"desired capacity from {group.desired} to {wanted}. "
        )
    if wanted > group.desired:
        group.retry_at = world.now
    group.min, group.max, group.desired = low, high, wanted
    world.touch(group)
