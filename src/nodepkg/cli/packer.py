"""packer:… templates and machine images."""

from nodepkg.cli.artifacts import write_or_check
from nodepkg.cli.options import NODES, REGION, Call, Check, Groups, command


@command("packer:create", NODES, REGION)
def create(call: Call, groups: Groups = None, check: Check = False) -> None:
    """Write the Packer template of each group to packer/GROUP.json."""
    from nodepkg.render.bundle import Project
    from nodepkg.render.packer import PackerTemplates

    nodes = call.load()
    found = nodes.buildable(call.names(nodes, groups))
    templates = PackerTemplates(Project(nodes))
    write_or_check(
        call.out,
        nodes.root,
        [templates.template(group) for group in found],
        check=check,
        remedy="package packer:create",
    )
