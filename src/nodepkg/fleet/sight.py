"""What AWS and the nodes themselves show of groups' nodes: few calls for many groups."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from nodepkg.asked import Web, target_states, wrong_answers
from nodepkg.clients.aws.account import Account
from nodepkg.clients.aws.autoscaling import AutoScaling, AutoScalingGroup, Member
from nodepkg.clients.aws.ec2 import Ec2
from nodepkg.clients.aws.machines import Machine, Machines
from nodepkg.clients.aws.tags import Tags
from nodepkg.launch import DRAINS, MANAGED
from nodepkg.ready import Health, unhealthy_in, unready

_LIVES = ("pending", "running")
# A member that is on its way out, or in a warm pool, serves nobody.
_LEAVES = ("Terminating", "Terminated", "Warmed", "Detaching", "Detached")


@dataclass(frozen=True)
class Node:
    """A node that counts. `why` is what it lacks, for people; "" if it is healthy.

    `targets` is its state in each target group that is attached to its ASG, "" where it is not registered.
    """

    instance: str
    why: str = ""
    targets: Mapping[str, str] = field(default_factory=dict)
    tags: Tags = field(default_factory=dict)
    asg: str = ""

    @cached_property
    def lacks(self) -> str:
        """Also what its target groups say; "" if it is healthy. One that no load balancer uses has no say."""
        return self.why or unhealthy_in({arn: state for arn, state in self.targets.items() if state != "unused"})

    @property
    def served_in(self) -> frozenset[str]:
        """The target groups in which it is registered, and that are used."""
        return frozenset(arn for arn, state in self.targets.items() if state not in ("", "unused", "draining"))


@dataclass(frozen=True)
class Sight:
    """One group's nodes, by instance id, and its Auto Scaling groups, by name.

    What is on its way out is no node; `departed` tells how far out it is, as long as EC2 lists it.
    """

    nodes: Mapping[str, Node] = field(default_factory=dict)
    asgs: Mapping[str, AutoScalingGroup] = field(default_factory=dict)
    departed: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def targets(self) -> frozenset[str]:
        """The target groups in which they are looked for."""
        return frozenset(arn for node in self.nodes.values() for arn in node.targets)

    @cached_property
    def healthy(self) -> frozenset[str]:
        return frozenset(name for name, node in self.nodes.items() if not node.lacks)


@dataclass(frozen=True)
class Presence:
    """The machines of groups in one region that carry their tag, whoever made them, and the ASGs that they are of.

    Besides the ASGs that have no machine, and of which a deploy has suspended processes.
    """

    machines: Sequence[Machine]
    asgs: Mapping[str, AutoScalingGroup]
    members: Mapping[str, Member]

    def lifecycle(self, machine: Machine) -> str:
        """In Auto Scaling's words; "" for a one-off, and for one that Auto Scaling does not tell of (yet)."""
        member = self.members.get(machine.id)
        return member.lifecycle if member else ""

    def counts(self, machine: Machine) -> bool:
        """Whether it is a node of nodepkg's that lives, and is going to."""
        leaves = self.lifecycle(machine).startswith(_LEAVES)
        return machine.tags.get(MANAGED) == "true" and machine.state in _LIVES and not leaves


def presence(account: Account, region: str, groups: Collection[str]) -> Presence:
    """Calls: one for up to 1,000 machines, one for up to 50 Auto Scaling groups, one where a group has no member."""
    machines, scaling = Machines(account, region).instances_of(groups), AutoScaling(account, region)
    asgs = scaling.groups_named({one.asg for one in machines if one.asg})
    if empty := set(groups) - {one.group for one in machines if one.asg}:
        asgs += [one for one in scaling.groups_with(DRAINS) if one.tags.get("group") in empty]
    members = {member.id: member for asg in asgs for member in asg.members}
    return Presence(machines, {asg.name: asg for asg in asgs}, members)


def look(
    account: Account, region: str, health: Mapping[str, Health], web: Web, *, more: Mapping[str, Iterable[str]] = {}
) -> dict[str, Sight]:
    """Each of these groups of a region, by name; `health` says what the nodes of each are asked.

    `more` are target groups (ARNs) in which a node, by instance, is looked for besides those of its ASG.
    Calls besides those of presence(): one for up to 100 nodes, one for each target group, and where urls are to be
    asked one for up to 200 nodes.
    """
    there = presence(account, region, health)
    counted = [one for one in there.machines if there.counts(one)]
    checks = Ec2(account, region).status_checks(one.id for one in counted)
    why = {one.id: _lacks(there, one, checks) for one in counted}
    urls = {one.id: health[one.group] for one in counted if health[one.group].url and not why[one.id]}
    answers = wrong_answers(Ec2(account, region), urls, web) if urls else {}
    arns = {one.id: _target_groups(there, one) | frozenset(more.get(one.id, ())) for one in counted}
    states = target_states(account, region, arns.values())
    nodes = {
        one.id: Node(
            one.id,
            why[one.id] or (f"health_url: {answers[one.id]}" if answers.get(one.id) else ""),
            {arn: states[arn].get(one.id, "") for arn in sorted(arns[one.id])},
            one.tags,
            one.asg,
        )
        for one in counted
    }
    return {group: _of_group(group, there, nodes) for group in health}


def _of_group(group: str, there: Presence, nodes: Mapping[str, Node]) -> Sight:
    mine = [one for one in there.machines if one.group == group]
    names = {one.asg for one in mine} & set(there.asgs)
    names |= {one.name for one in there.asgs.values() if one.tags.get("group") == group}
    departed = {
        one.id: there.lifecycle(one) if one.state in _LIVES else one.state for one in mine if one.id not in nodes
    }
    return Sight(
        {one.id: nodes[one.id] for one in mine if one.id in nodes},
        {name: there.asgs[name] for name in sorted(names)},
        departed,
    )


def _target_groups(there: Presence, machine: Machine) -> frozenset[str]:
    asg = there.asgs.get(machine.asg)
    return frozenset(asg.target_groups) if asg else frozenset()


def _lacks(there: Presence, machine: Machine, checks: Mapping[str, str]) -> str:
    """Why it is not healthy, as far as neither its target groups nor its health_url are concerned."""
    if machine.state != "running":
        return machine.state
    member = there.members.get(machine.id)
    lifecycle, health = (member.lifecycle, member.health) if member else ("InService", "Healthy")
    return unready(lifecycle=lifecycle, health=health, checks=checks.get(machine.id, ""), answer="")
