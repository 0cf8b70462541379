"""The node's half of `services`: services/GROUP.json, which a bundle takes as services.json."""

from collections.abc import Iterable
from shlex import quote
from typing import Any

from nodepkg.nodes.group import Group
from nodepkg.nodes.load import Nodes
from nodepkg.nodes.names import DELETE
from nodepkg.nodes.service_graph import provides
from nodepkg.nodes.services import Services
from nodepkg.render.files import Artifact
from nodepkg.render.jsontext import pretty

SERVICES = "services.json"
_RECIPE_SUFFIXES = (".rb", ".yml", ".yaml")  # Chef 16 and newer take recipes in YAML
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
        f"{names[0]}{f' and {len(names) - 1} more' if len(names) > 1 else ''}: the service {name} cannot be taken off a"
        f" node: there is no cookbooks/{cookbook}/recipes/{DELETE}{name}.rb"
        for (cookbook, name), names in missing.items()
    ]
