"""A group's Chef role."""

from typing import Any

from nodepkg.nodes.group import Group
from nodepkg.render.files import Artifact
from nodepkg.render.jsontext import pretty


def role_document(group: Group) -> dict[str, Any]:
    """The role, in the key order of `knife role show`, as `knife role from file` and chef-solo read it."""
    return {
        "name": group.role_name,
        "chef_type": "role",
        "json_class": "Chef::Role",
        "description": group.settings.description,
        "override_attributes": group.settings.override_attributes,
        "default_attributes": group.settings.default_attributes,
        "run_list": group.run_list,
    }


def role(group: Group) -> Artifact:
    return Artifact(group.name, f"roles/{group.name}.json", pretty(role_document(group)))
