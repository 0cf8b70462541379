"""Where a one-off instance may be started."""

from random import Random

from nodepkg.clients.aws.ec2 import Ec2, Subnet
from nodepkg.errors import AwsError, UsageError
from nodepkg.launch import placement
from nodepkg.nodes.group import Group


def places(ec2: Ec2, group: Group, zone: str | None, random: Random) -> tuple[Subnet, ...]:
    """The subnets in which it is tried, in this order: of the zone, or of all that offer the type, by chance.

    Raises UsageError for a zone that is none of the group's, AwsError if the type is offered in none of them.
    """
    kind = group.settings.instance_type
    offering = ec2.zones_offering(kind)
    found = list(placement(ec2, group).subnets) if zone is None else _in_zone(ec2, group, zone)
    able = [subnet for subnet in found if subnet.zone in offering]
    if not able:
        zones = ", ".join(sorted({subnet.zone for subnet in found}))
        hint = f"it is offered in {', '.join(sorted(offering))}" if offering else f"no zone of {ec2.region} offers it"
        raise AwsError(f"{group.name}: {kind} is not offered in {zones}", code="Unsupported", hint=hint)
    order = sorted({subnet.zone for subnet in able})
    random.shuffle(order)
    return tuple(sorted(able, key=lambda subnet: (order.index(subnet.zone), subnet.id)))


def _in_zone(ec2: Ec2, group: Group, zone: str) -> list[Subnet]:
    if group.zones and zone not in group.zones:
        raise UsageError(f"--zone {zone}: {group.name} has {', '.join(group.zones)}", hint="its zones in nodes.json")
    known = ec2.subnets(group.subnets) if group.subnets else ec2.default_subnets()
    found = [subnet for subnet in known if subnet.zone == zone]
    if not found:
        zones = ", ".join(sorted({subnet.zone for subnet in known})) or "none"
        what = "subnet of its own" if group.subnets else "default subnet"
        raise UsageError(f"--zone {zone}: {group.name} has no {what} there", hint=f"zones that have one: {zones}")
    return found
