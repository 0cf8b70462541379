"""packer:… templates and machine images."""

from typing import Annotated

import typer

from nodepkg.cli.artifacts import write_or_check
from nodepkg.cli.options import AWS, CHANGES, NODES, REGION, Call, Check, Groups, command


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


@command("packer:run", NODES, REGION, AWS, CHANGES)
def run(call: Call, groups: Groups = None) -> None:
    """Build the image of each group with Packer.

    Packer is NODEPKG_PACKER, else the one on PATH. A template or role that is not what nodes.json says
    is refused (4). With --sandbox there is no machine to log in to, so the provisioners are left out.
    """
    import secrets

    from nodepkg.cli.account import cloud
    from nodepkg.clients import git
    from nodepkg.clients.packer import find
    from nodepkg.images.build import Workbench, plan_builds
    from nodepkg.plan import execute
    from nodepkg.render.bundle import Project
    from nodepkg.render.packer import PackerTemplates

    nodes = call.load()
    found = nodes.buildable(call.names(nodes, groups))
    plan = plan_builds(
        PackerTemplates(Project(nodes)), found, commit=git.commit(nodes.root), new_id=lambda: secrets.token_hex(8)
    )
    place = cloud(call, nodes.root, found)
    packer = find(place.environ)
    for builder in sorted({group.settings.type for group in found}):
        packer.require(builder)
    if place.stage:
        call.out.note("sandbox: provisioners are skipped, there is no machine to log in to")
    bench = Workbench(nodes.root, packer, call.out.note, place.stage)
    reports = execute(plan, bench, dry_run=call.dry_run, say=call.out.note)
    if call.dry_run:
        call.out.result({"plan": reports}, [])
        return
    rows = [(report["group"], report["image"], report["region"], report["digest"][:12]) for report in reports]
    call.out.table({"images": reports}, ("group", "image", "region", "digest"), rows)


@command("packer:clean", NODES, REGION, AWS, CHANGES)
def clean(
    call: Call,
    groups: Groups = None,
    keep: Annotated[int, typer.Option("-n", "--keep", min=0, metavar="N", help="How many images to keep.")] = 10,
) -> None:
    """Delete all but the newest N images of each group, with their snapshots.

    What is in use stays: images that instances, launch templates, launch configurations or other
    images refer to. Shows what it would delete and asks.
    """
    from nodepkg.cli.account import cloud
    from nodepkg.cli.output import confirm
    from nodepkg.clients.aws.ec2 import Ec2
    from nodepkg.images.clean import examine, plan_clean, spare_all_but
    from nodepkg.plan import execute

    nodes = call.load()
    found = nodes.groups(call.names(nodes, groups))
    account = cloud(call, nodes.root, found).account
    verdicts = examine(account, found, keep=keep)
    judged = [verdict for region in verdicts.values() for verdict in region]
    if not call.out.json:
        columns = ("image", "name", "verdict", "why")
        rows = [(v.image.id, v.image.name, "keep" if v.kept else "delete", v.why) for v in judged]
        call.out.table(None, columns, rows)
    count = sum(not verdict.kept for verdict in judged)
    if count and not call.dry_run and confirm(f"delete {count} image{'s' * (count != 1)}?", yes=call.yes):
        # The question may have stood for hours: what is in use by now stays.
        shown = {verdict.image.id for verdict in judged if not verdict.kept}
        verdicts = spare_all_but(shown, examine(account, found, keep=keep))
    for region, in_region in verdicts.items():
        execute(plan_clean(in_region), Ec2(account, region), dry_run=call.dry_run, say=call.out.note)
    judged = [verdict for region in verdicts.values() for verdict in region]
    call.out.result({"images": [verdict.document() for verdict in judged]}, [])
