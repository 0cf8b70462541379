"""group:… the groups as a whole."""

from nodepkg.cli.artifacts import write_or_check
from nodepkg.cli.options import AWS, NODES, REGION, Call, Check, Groups, command


@command("group:list", NODES, REGION)
def list_(call: Call, groups: Groups = None) -> None:
    """List the groups: layers, region, type and what they are for."""
    nodes = call.load()
    found = nodes.groups(call.names(nodes, groups))
    document = [
        {
            "group": group.name,
            "layers": list(group.layers),
            "region": group.region,
            "instance_type": group.settings.instance_type,
            "autoscale": group.settings.autoscale is not None,
            "description": group.settings.description,
        }
        for group in found
    ]
    rows = [
        (
            group.name,
            " ".join(group.layers),
            group.region,
            group.settings.instance_type,
            _sizes(group.settings.autoscale),
            group.settings.description,
        )
        for group in found
    ]
    call.out.table(document, ("group", "layers", "region", "type", "nodes", "description"), rows)


def _sizes(autoscale: object) -> str:
    from nodepkg.nodes.schema import Autoscale

    return f"{autoscale.node_min}-{autoscale.most}" if isinstance(autoscale, Autoscale) else "-"


@command("group:create", NODES, REGION)
def create(call: Call, groups: Groups = None, check: Check = False) -> None:
    """Write role, Packer template and dna of each group: run it after every edit.

    The dna is that of the Auto Scaling group; a group without one gets none.
    """
    from nodepkg.render.bundle import Project
    from nodepkg.render.group import group_artifacts
    from nodepkg.render.packer import PackerTemplates

    nodes = call.load()
    found = nodes.buildable(call.names(nodes, groups))
    templates = PackerTemplates(Project(nodes))
    artifacts = [artifact for group in found for artifact in group_artifacts(templates, group)]
    write_or_check(call.out, nodes.root, artifacts, check=check, remedy="package group:create")
