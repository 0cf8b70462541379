"""What must hold of a merged group: rules that no single entry can break or keep by itself."""

from collections.abc import Container, Iterator, Mapping

from nodepkg.nodes.findings import Finding
from nodepkg.nodes.group import Group
from nodepkg.nodes.merge import Entry
from nodepkg.nodes.names import role_of
from nodepkg.nodes.schema import MOST_USER_DATA, Packer
from nodepkg.nodes.source import KeyPath

# With one of these the build machine is not open to the world for another reason.
CLOSED_BUILDS = frozenset(
    {
        "security_group_filter",
        "security_group_id",
        "security_group_ids",
        "temporary_security_group_source_public_ip",
    }
)


def ssh_is_closed(packer: Packer) -> bool:
    """Whether it is said who may reach the build machine by SSH, or of which security group it is."""
    networks = packer.builder.get("temporary_security_group_source_cidrs", packer.ssh_source_cidrs)
    return bool(networks) or any(packer.builder.get(key) for key in CLOSED_BUILDS)


def broken_rules(group: Group, wrong: Container[str | int] = ()) -> Iterator[tuple[KeyPath, str]]:
    """Each rule that the group breaks: the key to point at, and why; none of a key that is `wrong` anyway."""
    if not group.run_list and "run_list" not in wrong and "post_run_list" not in wrong:
        yield ("run_list",), "the run list is empty: chef-solo would exit 0 and do nothing"
    settings = group.settings
    if settings.user_data and len(settings.user_data.encode()) > MOST_USER_DATA:
        yield ("user_data",), "EC2 takes at most 16 KB of user data"
    for name, check in settings.services.checks.items() if settings.services else ():
        if (check.command is None) == (check.http is None):
            yield ("services", "checks", name), "has to have either command or http"
    if settings.autoscale:
        low, desired, high = settings.autoscale.node_min, settings.autoscale.desired, settings.autoscale.most
        if low > high:
            yield ("autoscale", "node_min"), f"node_min ({low}) is more than node_max ({high})"
        elif not low <= desired <= high:
            yield (
                ("autoscale", "node_desired"),
                f"node_desired ({desired}) is not between node_min and node_max ({low}, {high})",
            )


def warnings(group: Group, entries: Mapping[str, Entry]) -> Iterator[Finding]:
    """What works, and yet is probably not wanted."""
    chain = [*group.layers, group.name]
    packer = group.settings.packer
    # In HCL2 nodepkg opens it to the caller's own address, unless that is switched off by name.
    own_address = packer.format == "hcl2" and packer.builder.get("temporary_security_group_source_public_ip", True)
    if not (ssh_is_closed(packer) or own_address):
        giver = next((entry for entry in reversed(chain) if "packer" in entries[entry]), group.name)
        told = "not set: SSH to the build machine is open to the world during the build"
        yield Finding(giver, ("packer", "ssh_source_cidrs"), told, (group.name,))
    for entry in chain:
        for key in ("run_list", "post_run_list"):
            for index, item in enumerate(entries[entry].get(key) or []):
                if role_of(item):
                    told = f"{item}: a role in a run list hides what runs; name its recipes"
                    yield Finding(entry, (key, index), told, (group.name,))
