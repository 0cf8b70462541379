"""A host: a running instance that a deploy converges, and how it is reached."""

import re
from dataclasses import dataclass

from nodepkg.clients.aws.machines import Machine

# What a host name or an address may be: nothing that ssh could take for an option, or a shell for anything.
_ADDRESS = re.compile(r"[A-Za-z0-9:][A-Za-z0-9._:-]{0,254}")
_FIELD = re.compile(r"\{([a-z_]+|tag:[^{}]+)\}")


@dataclass(frozen=True)
class Host:
    """`instance` is its id; `asg` the Auto Scaling group it is a member of, "" for a one-off.

    `address` is "" if it has none, and `unreachable` then says why.
    """

    instance: str
    group: str
    region: str
    zone: str
    name: str
    asg: str
    address: str = ""
    unreachable: str = ""


def host(machine: Machine, region: str, template: str) -> Host:
    """The host that an instance is; `template` is the group's deploy.address."""
    address, missing = _address(template, machine)
    return Host(machine.id, machine.group, region, machine.zone, machine.name, machine.asg, address, missing)


def _address(template: str, machine: Machine) -> tuple[str, str]:
    """The address, and why there is none."""
    fields = {
        "private_ip": machine.private_ip,
        "public_ip": machine.public_ip,
        "private_dns": machine.private_dns,
        "instance_id": machine.id,
        "name": machine.name,
        "zone": machine.zone,
        **{f"tag:{key}": value for key, value in machine.tags.items()},
    }
    empty = [field for field in _FIELD.findall(template) if not fields.get(field)]
    if empty:
        return "", f"deploy.address is {template}, and it has no {empty[0]}"
    address = _FIELD.sub(lambda field: fields[field[1]], template)
    if not _ADDRESS.fullmatch(address):
        return "", f"deploy.address is {template}, which gives no address: {address[:80]!r}"
    return address, ""
