"""Nodes that leave their target groups for a converge, and come back: the changes, and what is noted before each.

The tag `nodepkg:drained` of an instance names what it has left, from before it leaves until after it is back; the tag
`nodepkg:drains` of an Auto Scaling group the processes that are suspended meanwhile, since it would replace a node that
its load balancer does not know. Whoever deploys the group next finds what a deploy that was killed has left.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from nodepkg.clients.aws.account import Account
from nodepkg.clients.aws.autoscaling import AutoScaling, AutoScalingGroup
from nodepkg.clients.aws.balancing import LoadBalancing
from nodepkg.clients.aws.machines import Machines
from nodepkg.clients.aws.tags import Tags
from nodepkg.fleet.sight import Sight
from nodepkg.launch import DRAINS

DRAINED = "nodepkg:drained"
# It marks nodes unhealthy, and replaces those that are marked: a mark outlasts the drain.
_PROCESSES = ("HealthCheck", "ReplaceUnhealthy")
_TAG_VALUE = 256


@dataclass(frozen=True)
class Leave:
    """Takes nodes out of target groups (ARNs); what they leave is noted first."""

    region: str
    instances: tuple[str, ...]
    arns: tuple[str, ...]

    def __str__(self) -> str:
        return f"take {', '.join(self.instances)} out of {', '.join(map(short, self.arns))}"

    def run(self, account: Account, /) -> None:
        Machines(account, self.region).tag_instances(self.instances, drained_tags(self.arns))
        for arn in self.arns:
            LoadBalancing(account, self.region).deregister_targets(arn, self.instances)


@dataclass(frozen=True)
class Return:
    """Brings nodes back into target groups (ARNs)."""

    region: str
    instances: tuple[str, ...]
    arns: tuple[str, ...]

    def __str__(self) -> str:
        return f"bring {', '.join(self.instances)} back into {', '.join(map(short, self.arns))}"

    def run(self, account: Account, /) -> None:
        for arn in self.arns:
            LoadBalancing(account, self.region).register_targets(arn, self.instances)


@dataclass(frozen=True)
class Forget:
    """Removes the note of nodes that are back."""

    region: str
    instances: tuple[str, ...]
    keys: tuple[str, ...]

    def __str__(self) -> str:
        return f"note that {', '.join(self.instances)} are back"

    def run(self, account: Account, /) -> None:
        Machines(account, self.region).untag_instances(self.instances, self.keys)


@dataclass(frozen=True)
class Hold:
    """Keeps an Auto Scaling group from replacing nodes that have left their target groups."""

    region: str
    asg: str
    processes: tuple[str, ...]

    def __str__(self) -> str:
        return f"suspend {', '.join(self.processes)} of {self.asg}"

    def run(self, account: Account, /) -> None:
        scaling = AutoScaling(account, self.region)
        scaling.create_or_update_tags(self.asg, {DRAINS: " ".join(self.processes)})
        scaling.suspend_processes(self.asg, self.processes)


@dataclass(frozen=True)
class LetGo:
    """Lets an Auto Scaling group replace nodes again. `healthy` are those that it takes for Unhealthy wrongly."""

    region: str
    asg: str
    processes: tuple[str, ...]
    healthy: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"resume {', '.join(self.processes)} of {self.asg}"

    def run(self, account: Account, /) -> None:
        scaling = AutoScaling(account, self.region)
        for instance in self.healthy:
            scaling.set_instance_health(instance, "Healthy")
        if self.processes:
            scaling.resume_processes(self.asg, self.processes)
        scaling.delete_tags(self.asg, [DRAINS])


Change = Leave | Return | Forget | Hold | LetGo


def hold(region: str, asg: AutoScalingGroup) -> Hold | None:
    """What has to be done before a node of this group leaves a target group; None for nothing.

    What a deploy that was killed has noted, it may not have suspended any more.
    """
    if asg.health_check_type == "EC2":
        return None
    noted = asg.tags.get(DRAINS, "").split()
    processes = tuple(name for name in _PROCESSES if name in noted or name not in asg.suspended)
    return Hold(region, asg.name, processes) if processes else None


def held(sight: Sight) -> dict[str, tuple[str, ...]]:
    """The Auto Scaling groups of which processes are suspended by a deploy, with those."""
    return {
        name: tuple(one for one in asg.tags[DRAINS].split() if one in _PROCESSES)
        for name, asg in sight.asgs.items()
        if DRAINS in asg.tags
    }


def drained_tags(arns: Iterable[str]) -> dict[str, str]:
    """What notes on an instance that it has left these target groups: a value of a tag has room for a few of them."""
    values = [""]
    for name in sorted(map(short, arns)):
        longer = f"{values[-1]} {name}".lstrip()
        if len(longer) > _TAG_VALUE:
            values.append(name)
        else:
            values[-1] = longer
    return {DRAINED if n == 0 else f"{DRAINED}-{n + 1}": value for n, value in enumerate(values)}


def drained_keys(tags: Tags) -> tuple[str, ...]:
    return tuple(sorted(key for key in tags if key == DRAINED or key.startswith(f"{DRAINED}-")))


def left_by(tags: Tags, attached: Iterable[str]) -> frozenset[str]:
    """The target groups (ARNs) that the tags of an instance say it has left, of those that are attached to its ASG."""
    names = {name for key in drained_keys(tags) for name in tags[key].split()}
    return frozenset(arn for arn in attached if short(arn) in names)


def short(arn: str) -> str:
    """NAME/ID, of arn:…:targetgroup/NAME/ID."""
    return arn.partition(":targetgroup/")[2] or arn
