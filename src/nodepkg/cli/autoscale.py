"""autoscale:… Auto Scaling groups."""

from nodepkg.cli.artifacts import write_or_check
from nodepkg.cli.options import AWS, CHANGES, NODES, REGION, Call, Check, Groups, command


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


@command("autoscale:run", NODES, REGION, AWS, CHANGES)
def run(call: Call, groups: Groups = None) -> None:
    """Start the Auto Scaling group of each group from its newest image.

    Makes a version of the launch template GROUP and the Auto Scaling group GROUP-v001, tagged
    group=GROUP. Refused (4) for a group that runs already, or has no image.
    """
    import secrets

    from nodepkg.autoscale.run import plan_run
    from nodepkg.cli.account import cloud
    from nodepkg.nodes.select import scaling
    from nodepkg.plan import execute

    nodes = call.load()
    found, without = scaling(nodes.groups(call.names(nodes, groups)), groups or [])
    if without:
        call.out.note(f"left out, autoscale is false: {', '.join(without)}")
    account = cloud(call, nodes.root, found).account
    plan = plan_run(account, found, run_id=secrets.token_hex(8))
    reports = execute(plan, account, dry_run=call.dry_run, say=call.out.note)
    if call.dry_run:
        call.out.result({"plan": reports}, [])
        return
    started = [report for report in reports if "asg" in report]
    columns = ("asg", "nodes", "min", "max", "image", "template", "zones")
    rows = [
        (
            report["asg"],
            str(report["desired"]),
            str(report["min"]),
            str(report["max"]),
            report["image"],
            f"{report['template']}:{report['version']}",
            " ".join(report["zones"]),
        )
        for report in started
    ]
    call.out.table({"groups": started}, columns, rows)
