"""All artefacts of a group, and the roles that it refers to: what `group:create` writes."""

from nodepkg.nodes.group import Group
from nodepkg.render.dna import asg_dna
from nodepkg.render.files import Artifact
from nodepkg.render.packer import PackerTemplates
from nodepkg.render.role import role
from nodepkg.render.services import services_artifact


def group_artifacts(templates: PackerTemplates, group: Group) -> list[Artifact]:
    """Role, Packer template and, for groups that have them, the dna of the Auto Scaling group, and the services."""
    roles = [role(owner) for owner in templates.project.groups_of_roles(group)]
    dna = asg_dna(group) if group.settings.autoscale else None
    services = services_artifact(templates.project.nodes, group)
    return [*roles, templates.template(group), *(made for made in (dna, services) if made)]


def autoscale_artifacts(group: Group) -> list[Artifact]:
    """The dna of the group's Auto Scaling group, and the role that it names."""
    return [role(group), asg_dna(group)]
