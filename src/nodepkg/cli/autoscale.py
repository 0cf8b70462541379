"""autoscale:… Auto Scaling groups."""

from nodepkg.cli.artifacts import write_or_check
from nodepkg.cli.options import NODES, REGION, Call, Check, Groups, command


@command("autoscale:create", NODES, REGION)
def create(call: Call, groups: Groups = None, check: Check = False) -> None:
    """Write the dna of each group's Auto Scaling group to dna/asg/GROUP.json, and its role.

    A group with "autoscale": false is refused when it is named, and left out otherwise.
    """
    from nodepkg.nodes.select import scaling
    from nodepkg.render.group import autoscale_artifacts

    nodes = call.load()
    found, without = scaling(nodes.groups(call.names(nodes, groups)), groups or [])
    if without:
        call.out.note(f"left out, autoscale is false: {', '.join(without)}")
    artifacts = [artifact for group in found for artifact in autoscale_artifacts(group)]
    write_or_check(call.out, nodes.root, artifacts, check=check, remedy="package autoscale:create")
