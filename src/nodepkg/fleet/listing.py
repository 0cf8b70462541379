"""instance:list: the instances of the groups, and what is to be known of each."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nodepkg.clients.aws.account import Account
from nodepkg.clients.aws.autoscaling import AutoScaling
from nodepkg.clients.aws.ec2 import Ec2
from nodepkg.clients.aws.images import Images
from nodepkg.clients.aws.machines import Machine, Machines
from nodepkg.fleet.host import host
from nodepkg.fleet.order import PHASE
from nodepkg.images.newest import managed_images, newest_available
from nodepkg.launch import MANAGED


@dataclass(frozen=True)
class ListedInstance:
    """`checks` is the worst of EC2's status checks, `member` what its Auto Scaling group says of it; "": nothing.

    `newest` is the newest image of its group, "" if it has none.
    """

    region: str
    machine: Machine
    address: str
    checks: str
    member: str
    newest: str
    in_nodes_json: bool

    @property
    def current(self) -> bool | None:
        return self.machine.image == self.newest if self.newest else None

    @property
    def health(self) -> str:
        """In one word or two: of what runs the worst that anybody says, of anything else its state."""
        if self.machine.state != "running":
            return self.machine.state
        if self.member and self.member != "InService Healthy":
            return self.member
        return self.checks

    def age(self, now: float) -> int:
        """In seconds."""
        return int(now - self.machine.launched.timestamp())

    def document(self, now: float) -> dict[str, Any]:
        machine = self.machine
        return {
            "instance": machine.id,
            "name": machine.name or None,
            "group": machine.group,
            "in_nodes_json": self.in_nodes_json,
            "region": self.region,
            "zone": machine.zone,
            "address": self.address or None,
            "private_ip": machine.private_ip or None,
            "public_ip": machine.public_ip or None,
            "image": machine.image,
            "current": self.current,
            "newest_image": self.newest or None,
            "state": machine.state,
            "phase": machine.tags.get(PHASE),
            "launched": machine.launched.isoformat(),
            "age_seconds": self.age(now),
            "health": self.health or None,
            "checks": self.checks or None,
            "asg": machine.asg or None,
            "asg_health": self.member or None,
        }


@dataclass(frozen=True)
class Listing:
    """By group and name. `unmanaged` counts those with the tag of a group, but not ours."""

    instances: Sequence[ListedInstance]
    unmanaged: int


@dataclass(frozen=True)
class Scope:
    """What is looked at: the groups that were `named`, or all of the regions.

    `named` has their regions, by name; `template` gives the deploy.address of a group, `known` are those of nodes.json.
    """

    regions: Collection[str]
    template: Callable[[str], str]
    known: Collection[str]
    named: Mapping[str, str]


def listing(account: Account, scope: Scope) -> Listing:
    found, unmanaged = list[ListedInstance](), 0
    for region in sorted(set(scope.regions)):
        machines = Machines(account, region)
        if scope.named:
            here = machines.instances_of([name for name, home in scope.named.items() if home == region])
        else:
            here = machines.instances({MANAGED: "true"}, tagged="group")
        ours = [one for one in here if one.tags.get(MANAGED) == "true"]
        unmanaged += len(here) - len(ours)
        found += _listed(account, region, ours, scope)
    by_group = sorted(found, key=lambda one: (one.machine.group, one.machine.name, one.machine.id))
    return Listing(by_group, unmanaged)


def _listed(account: Account, region: str, machines: Sequence[Machine], scope: Scope) -> list[ListedInstance]:
    if not machines:
        return []
    checks = Ec2(account, region).status_checks(one.id for one in machines if one.state == "running")
    members = _members(account, region, {one.asg for one in machines if one.asg})
    images = managed_images(Images(account, region))
    newest = {group: found.id for group, made in images.items() if (found := newest_available(made))}
    return [
        ListedInstance(
            region,
            one,
            host(one, region, scope.template(one.group)).address,
            checks.get(one.id, ""),
            members.get(one.id, ""),
            newest.get(one.group, ""),
            one.group in scope.known,
        )
        for one in machines
    ]


def _members(account: Account, region: str, asgs: Collection[str]) -> dict[str, str]:
    """Instance -> its place in its Auto Scaling group, as `InService Healthy`."""
    found = AutoScaling(account, region).groups_named(sorted(asgs)) if asgs else []
    return {member.id: f"{member.lifecycle} {member.health}" for asg in found for member in asg.members}
