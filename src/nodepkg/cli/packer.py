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
    lines = [f"{report['group']}: {report['image']} in {report['region']}" for report in reports if "image" in report]
    call.out.result({"images": reports}, lines)


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
    from nodepkg.images.clean import examine, plan_clean
    from nodepkg.plan import execute

    nodes = call.load()
    found = nodes.groups(call.names(nodes, groups))
    account = cloud(call, nodes.root, found).account
    verdicts = examine(account, found, keep=keep)
    reports = []
    for region, judged in verdicts.items():
        plan = plan_clean(judged)
        for verdict in judged:
            word = "keep" if verdict.kept else "delete"
            call.out.note(f"{word:<7} {verdict.image.id}  {verdict.image.name}: {verdict.why}")
        if plan and not call.dry_run:
            confirm(f"delete {len(plan)} images in {region}?", yes=call.yes)
        reports += execute(plan, Ec2(account, region), dry_run=call.dry_run, say=call.out.note)
    count = f"{len(reports)} images {'would be ' if call.dry_run else ''}deleted"
    call.out.result({"deleted" if not call.dry_run else "would_delete": reports}, [count])
