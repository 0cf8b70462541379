"""A node's dna: what chef-solo is started with."""

from typing import Any

from nodepkg.nodes.group import Group
from nodepkg.render.files import Artifact
from nodepkg.render.jsontext import pretty


def dna_document(group: Group) -> dict[str, Any]:
    return _document(group, group.name)


def _document(group: Group, node: str) -> dict[str, Any]:
    return {"id": node, "run_list": [f"role[{group.role_name}]"]}


def asg_dna(group: Group) -> Artifact:
    """The dna of the nodes of the group's Auto Scaling group."""
    return Artifact(group.name, f"dna/asg/{group.name}.json", pretty(dna_document(group)))


def instance_dna(group: Group, instance: str) -> Artifact:
    """The dna of a one-off instance of the group."""
    node = f"{group.name}-{instance}"
    return Artifact(group.name, f"dna/instances/{node}.json", pretty(_document(group, node)))
