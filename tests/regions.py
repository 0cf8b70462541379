"""What a test does to one region of a rig, and what it has seen of it."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from nodepkg.sandbox.realistic import Realistic, group_calls, health, launching, nodes, policy_calls, scaling, targets
from nodepkg.sandbox.realistic import World as RegionInTime
from nodepkg.sandbox.realistic.records import Group, Node
from tests.worlds import World


@dataclass(frozen=True)
class Count:
    """How many nodes served from that moment on."""

    at: float
    serving: int


class Region:
    """Controls of one region. A group is meant by its name; groups of one kind by the value of their tag `group`."""

    def __init__(self, realistic: Realistic, region: str) -> None:
        self._realistic, self.region = realistic, region
        self._counts: dict[str, list[Count]] = {}
        self._target_groups: dict[str, set[str]] = {}

    @property
    def now_there(self) -> RegionInTime:
        return self._realistic.world(self.region)

    # What a test does.

    def sick(self, what: str, how: str = "unhealthy") -> None:
        """An image, or an instance, is sick: `impaired` (status checks), `unhealthy` (its targets), `failing` (it ends
        before it runs)."""
        with self._realistic.lock:
            world = self.now_there
            world.sick.setdefault(what, set()).add(how)
            self._look_again(world, what)

    def well(self, what: str) -> None:
        """It is no longer sick; nodes that were taken for Unhealthy stay so, as in AWS."""
        with self._realistic.lock:
            world = self.now_there
            world.sick.pop(what, None)
            self._look_again(world, what)

    def _look_again(self, world: RegionInTime, what: str) -> None:
        for group in list(world.groups.values()):
            for node in [node for node in group.nodes.values() if what in (node.id, node.image)]:
                if node.checks != "initializing":
                    health.look(world, group, node)
                targets.look_again(world, node.id)
        self._realistic.catch_up()

    def short(self, *zones: str) -> None:
        """These zones have no capacity; none: all have."""
        with self._realistic.lock:
            self.now_there.short_zones = set(zones)

    def quota(self, nodes: int | None) -> None:
        """No more nodes than that in the region."""
        with self._realistic.lock:
            self.now_there.quota = nodes

    def scale(self, group: str, change: int) -> bool:
        """What an alarm does through a policy; False if it changed nothing (suspended, or at its limit)."""
        with self._realistic.lock:
            world = self.now_there
            done = policy_calls.scale(world, world.groups[group], change)
            self._realistic.catch_up()
            return done

    def kill(self, instance: str) -> None:
        """It ends all at once, as when its machine dies."""
        with self._realistic.lock:
            world = self.now_there
            launching.end(world.instance(instance))
            nodes.ended_by_others(world, instance)
            self._realistic.catch_up()

    def unused(self, target_group: str) -> None:
        """No load balancer uses this target group (ARN)."""
        with self._realistic.lock:
            self.now_there.unused_target_groups.add(target_group)

    def rebalance(self, group: str) -> bool:
        """What AZRebalance does: one node more in a zone with few, then one less where many are. False if suspended."""
        with self._realistic.lock:
            world = self.now_there
            done = scaling.rebalance(world, world.groups[group])
            self._realistic.catch_up()
            return done

    def image(self, group: str = "bee", name: str | None = None) -> str:
        """A new image, tagged as the program's."""
        number = len(self.now_there.ec2.amis)
        return World(self.region).image(name or f"{group} {number}", group)

    def template(self, image: str) -> str:
        """The name of a launch template whose version 1 has this image."""
        name, ec2 = f"template-{image}", self.now_there.ec2
        if name not in ec2.launch_template_name_to_ids:
            ec2.create_launch_template(name, "", {"ImageId": image, "InstanceType": "m1.large"}, {})
        return name

    def create(self, settings: dict[str, Any]) -> None:
        """A group, with the arguments of CreateAutoScalingGroup; raises AwsRefusalError."""
        with self._realistic.lock:
            group_calls.create(self.now_there, settings)
            self._realistic.catch_up()

    def target_group(self, name: str) -> str:
        """The ARN of a new one."""
        from nodepkg.sandbox import moto_seed
        from nodepkg.sandbox.seed import Seed, SeedRegion

        moto_seed.apply(Seed({self.region: SeedRegion(target_groups=(name,))}))
        found = self.now_there.balancing.target_groups.values()
        return next(str(one.arn) for one in found if one.name == name)

    # What it sees.

    def group(self, name: str) -> Group | None:
        """As it is now; None if there is none."""
        return self.now_there.groups.get(name)

    def nodes(self, name: str) -> list[Node]:
        group = self.group(name)
        return list(group.nodes.values()) if group else []

    def target_states(self, target_group: str) -> dict[str, str]:
        """Instance -> initial, healthy …"""
        found = self.now_there.state.targets.get(target_group, {})
        return {name: target.state for name, target in found.items()}

    def serving(self, tag: str, target_groups: Collection[str] | None = None) -> int:
        """How many nodes of the groups with this tag serve: InService, Healthy, running, their status checks not
        failed, and healthy in each of the target groups; by default those that a group with the tag ever had."""
        return self._serving(self.now_there, tag, target_groups)

    def _serving(self, world: RegionInTime, tag: str, target_groups: Collection[str] | None = None) -> int:
        arns = self._target_groups.get(tag, set()) if target_groups is None else target_groups
        members = [node for group in world.tagged("group", tag) for node in group.nodes.values()]
        return sum(_serves(world, node, arns) for node in members)

    def note(self, world: RegionInTime, group: Group) -> None:
        """Listens to the region."""
        tag = group.tags.get("group", {}).get("Value")
        if tag is None:
            return
        self._target_groups.setdefault(tag, set()).update(group.target_groups)
        counts, serving = self._counts.setdefault(tag, []), self._serving(world, tag)
        if counts and counts[-1].serving == serving:
            return
        # Nodes that come one by one at one moment are one step; but not if others go at that moment.
        if len(counts) > 1 and counts[-1].at == world.now:
            before, last = counts[-2].serving, counts[-1].serving
            if (last > before) == (serving > last):
                counts.pop()
        counts.append(Count(world.now, serving))

    def history(self, tag: str) -> Sequence[Count]:
        """How many nodes served, at each moment at which that changed; from the moment at which they had the tag."""
        self._realistic.catch_up()
        return self._counts.get(tag, [])

    def low_water(self, tag: str, since: float) -> int:
        """The least number of nodes that ever served from that moment on."""
        counts = self.history(tag)
        before = [count for count in counts if count.at <= since]
        return min((count.serving for count in [*before[-1:], *(one for one in counts if one.at > since)]), default=0)


def _serves(world: RegionInTime, node: Node, arns: Collection[str]) -> bool:
    if node.lifecycle != "InService" or node.health != "Healthy" or node.ec2 != "running" or node.checks == "impaired":
        return False
    there: dict[str, Any] = targets.of_node(world, node)
    return all(arn in there and there[arn].state == "healthy" for arn in arns)
