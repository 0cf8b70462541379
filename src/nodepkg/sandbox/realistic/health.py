"""Whether a node is well: EC2's status checks and the load balancers say it, the group believes it after a while."""

from nodepkg.sandbox.realistic import targets
from nodepkg.sandbox.realistic.records import Group, Node
from nodepkg.sandbox.realistic.world import World

_RUNNING = ("pending", "running")


def expect(world: World, group: Group, node: Node) -> None:
    """Something about the node's health may have changed: the group will notice."""
    world.after(world.realism.notice_seconds, notice, group, node)


def notice(world: World, group: Group, node: Node) -> None:
    """The group looks at one of its nodes."""
    if not group.has(node) or node.lifecycle != "InService" or not group.runs("HealthCheck"):
        return
    gone = node.ec2 not in _RUNNING
    if not gone and not grace_is_over(world, group, node):
        return
    if gone or node.checks == "impaired" or _fails_balancing(world, group, node):
        mark(world, group, node, "Unhealthy")


def grace_is_over(world: World, group: Group, node: Node) -> bool:
    return node.in_service is not None and world.now >= node.in_service + grace(group)


def grace(group: Group) -> float:
    return float(group.settings.get("HealthCheckGracePeriod", 0))


def _fails_balancing(world: World, group: Group, node: Node) -> bool:
    if "ELB" not in group.settings.get("HealthCheckType", "EC2"):
        return False
    found = targets.of_node(world, node)
    return any(found[arn].state == "unhealthy" for arn in group.attached if arn in found)


def mark(world: World, group: Group, node: Node, health: str) -> None:
    if node.health != health:
        node.health = health
        world.touch(group)


def why(world: World, group: Group, node: Node) -> str:
    """In the words of the activity that replaces it."""
    if node.ec2 not in _RUNNING:
        return f"an EC2 health check indicating it has been terminated or stopped ({node.ec2})"
    if node.checks == "impaired":
        return "an EC2 instance status checks failure"
    if _fails_balancing(world, group, node):
        return "an ELB system health check failure"
    return "a user health-check"


def came_into_service(world: World, group: Group, node: Node) -> None:
    world.after(grace(group), notice, group, node)


def checked(world: World, group: Group, node: Node) -> None:
    """The status checks have come to a result."""
    if not group.has(node) or node.ec2 != "running":
        return
    look(world, group, node)


def look(world: World, group: Group, node: Node) -> None:
    """What the status checks say now."""
    result = "impaired" if "impaired" in world.sickness(node) else "ok"
    if result != node.checks:
        node.checks = result
        world.touch(group)
        expect(world, group, node)
