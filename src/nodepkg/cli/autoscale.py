"""autoscale:… Auto Scaling groups."""

from typing import Any

from nodepkg.cli.artifacts import write_or_check
from nodepkg.cli.options import AWS, CHANGES, NODES, REGION, Call, Check, Groups, command


@command(
    "autoscale:create",
    NODES,
    REGION,
    examples={
        "autoscale:create 12_04-bee": "the dna of one group's nodes, and the role that it names",
        "autoscale:create --check": "are they what nodes.json says?",
    },
)
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


@command(
    "autoscale:run",
    NODES,
    REGION,
    AWS,
    CHANGES,
    examples={
        "autoscale:run 12_04-bee --dry-run --sandbox": "what would be created",
        "autoscale:run 12_04-bee ftp-processor --sandbox": "start two groups in the embedded AWS",
    },
)
def run(call: Call, groups: Groups = None) -> None:
    """Start the Auto Scaling group of each group from its newest image.

    Makes a version of the launch template GROUP and the Auto Scaling group GROUP-v001, tagged
    group=GROUP. Refused (4) for a group that runs already, or has no image.
    """
    import secrets

    from nodepkg.autoscale.run import plan_run
    from nodepkg.cli.account import cloud
    from nodepkg.cli.plans import carry_out
    from nodepkg.nodes.select import scaling

    nodes = call.load()
    found, without = scaling(nodes.groups(call.names(nodes, groups)), groups or [])
    if without:
        call.out.note(f"left out, autoscale is false: {', '.join(without)}")
    account = cloud(call, nodes.root, found).account
    start = plan_run(account, found, run_id=secrets.token_hex(8), root=nodes.root)

    # Only now, since a group that cannot be started needs no templates.
    from nodepkg.images.due import built_from_older
    from nodepkg.render.bundle import Project
    from nodepkg.render.packer import PackerTemplates

    for group in built_from_older(PackerTemplates(Project(nodes)), found, start.images):
        call.out.warning(f"the image of {group} was built from an older nodes.json (package packer:run {group})")

    def show(reports: list[dict[str, Any]]) -> None:
        started = [report for report in reports if "asg" in report]
        call.out.table({"groups": started}, COLUMNS, [_row(report) for report in started])

    carry_out(call, start.actions, account, show)


COLUMNS = ("asg", "nodes", "min", "max", "image", "template", "zones")


def _row(report: dict[str, Any]) -> tuple[str, ...]:
    zones = [zone.removeprefix(report["region"]) for zone in report["zones"]]
    return (
        report["asg"],
        str(report["desired"]),
        str(report["min"]),
        str(report["max"]),
        report["image"],
        f"{report['template']}:{report['version']}",
        f"{report['region']} {','.join(zones)}",
    )
