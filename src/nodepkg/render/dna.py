"""A node's dna: what chef-solo is started with."""

from typing import Any

from nodepkg.nodes.group import Group
from nodepkg.render.files import Artifact
from nodepkg.render.jsontext import pretty


def dna_document(group: Group) -> dict[str, Any]:
    return {"id": group.name, "run_list": [f"role[{group.role_name}]"]}


def asg_dna(group: Group) -> Artifact:
    """The dna of the nodes of the group's Auto Scaling group."""
    return Artifact(group.name, f"dna/asg/{group.name}.json", pretty(dna_document(group)))
