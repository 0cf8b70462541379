"""The node's half of `services`: services/GROUP.json, which a bundle takes as services.json."""

import re
from collections.abc import Iterable, Sequence
from shlex import quote
from typing import Any

from nodepkg.nodes.group import Group
from nodepkg.nodes.load import Nodes
from nodepkg.nodes.names import DELETE
from nodepkg.nodes.service_graph import expanded_run_list, provides
from nodepkg.nodes.services import Services
from nodepkg.render.files import Artifact
from nodepkg.render.jsontext import pretty

SERVICES = "services.json"
_RECIPE_SUFFIXES = (".rb", ".yml", ".yaml")  # Chef 16 and newer take recipes in YAML
_COLLECT = "recipe[nodepkg-services::collect]"
# Seen with Chef 16 and 18: nodes are kept where the agent does not look, or not at all, and a deploy's dna has no maps.
_SETTINGS = {
    "node_path": "Chef may bring back providers that are gone",
    "solo_legacy_mode": "a deploy converges with no providers",
}
# What the agent does, and when, in the words of nodes.json.
_TERMS = ("ttl", "debounce", "most_debounce", "at_once", "timeout", "min_providers", "doubt")


def services_document(nodes: Nodes, group: Group, services: Services) -> dict[str, Any]:
    """What the agent on the group's nodes is told; the order of its keys is the file's."""
    chef = group.settings.packer.chef
    command = group.settings.deploy.command or chef.command
    return {
        "group": group.name,
        "cookbook": services.cookbook,
        "provides": {name: _offer(services, name) for name in provides(nodes, group)},
        "requires": list(dict.fromkeys(services.requires)),
        "external": {name: [one.model_dump() for one in found] for name, found in services.external.items()},
        "etcd": list(dict.fromkeys(services.etcd)),
        "prefix": services.prefix,
        "tls": services.tls.model_dump(exclude_none=True),
        "user": services.user,
        "password_file": services.password_file,
        "attribute": services.attribute,
        "address": services.address,
        "path": chef.path,
        "command": command.replace("{path}", quote(chef.path)),
        **{key: getattr(services, key) for key in _TERMS},
    }


def _offer(services: Services, name: str) -> dict[str, Any]:
    check = services.checks.get(name)
    return {"port": services.ports.get(name), "check": check.model_dump(exclude_none=True) if check else None}


def services_content(nodes: Nodes, group: Group) -> str | None:
    """services.json as a node gets it; None for a group that takes no part."""
    services = group.settings.services
    return pretty(services_document(nodes, group, services)) if services else None


def services_artifact(nodes: Nodes, group: Group) -> Artifact | None:
    """services/GROUP.json, for a group that takes part."""
    content = services_content(nodes, group)
    return Artifact(group.name, f"services/{group.name}.json", content) if content is not None else None


def undeletable(nodes: Nodes, groups: Iterable[Group]) -> list[str]:
    """What config:check warns of: services whose cookbook has no recipe that deletes them."""
    missing: dict[tuple[str, str], list[str]] = {}
    for group in groups:
        cookbook = group.settings.services.cookbook if group.settings.services else ""
        for name in provides(nodes, group):
            recipes = nodes.root / "cookbooks" / cookbook / "recipes"
            if not any((recipes / f"{DELETE}{name}{suffix}").is_file() for suffix in _RECIPE_SUFFIXES):
                missing.setdefault((cookbook, name), []).append(group.name)
    return [
        f"{_first(names)}: the service {name} cannot be taken off a"
        f" node: there is no cookbooks/{cookbook}/recipes/{DELETE}{name}.rb"
        for (cookbook, name), names in missing.items()
    ]


def outdated(nodes: Nodes, groups: Iterable[Group]) -> list[str]:
    """What config:check warns of: a solo.rb with which the dna alone does not give recipes the right providers."""
    names = [group.name for group in groups if _relies_on_dna(nodes, group)]
    solo_rb = nodes.root / "solo.rb"
    if not names or not solo_rb.is_file():
        return []
    text = solo_rb.read_text("utf-8", errors="replace")
    remedy = f"leave it out, or put {_COLLECT} first into the run list"
    return [
        f"{_first(names)}: {solo_rb.name} sets {setting}, so {what}: {remedy}"
        for setting, what in _SETTINGS.items()
        if re.search(rf"^[ \t]*{setting}\b", text, re.MULTILINE)
    ]


def _relies_on_dna(nodes: Nodes, group: Group) -> bool:
    """Whether its recipes know of services by the dna alone."""
    services = group.settings.services
    return bool(services and services.requires) and _COLLECT not in expanded_run_list(nodes, group.name)


def _first(names: Sequence[str]) -> str:
    return f"{names[0]} and {len(names) - 1} more" if len(names) > 1 else names[0]
