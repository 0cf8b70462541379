"""All artefacts of a group: what `group:create` writes and `group:status` compares."""

from nodepkg.nodes.group import Group
from nodepkg.render.dna import asg_dna
from nodepkg.render.files import Artifact
from nodepkg.render.packer import PackerTemplates
from nodepkg.render.role import role


def group_artifacts(templates: PackerTemplates, group: Group) -> list[Artifact]:
    """Role, Packer template and, for a group that has an Auto Scaling group, its dna."""
    made = [role(group), templates.template(group)]
    return [*made, asg_dna(group)] if group.settings.autoscale else made


def autoscale_artifacts(group: Group) -> list[Artifact]:
    """The dna of the group's Auto Scaling group, and the role that it names."""
    return [role(group), asg_dna(group)]
