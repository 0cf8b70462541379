"""packer:… templates and machine images."""

from typing import Annotated, Any

import typer

from nodepkg.cli.artifacts import warn_of_leftovers, write_or_check
from nodepkg.cli.options import AWS, CHANGES, NODES, POLL, REGION, Call, Check, Groups, command


@command(
    "packer:create",
    NODES,
    REGION,
    examples={
        "packer:create 12_04-bee": "one template",
        "packer:create --check": "are all templates what nodes.json says?",
    },
)
def create(call: Call, groups: Groups = None, check: Check = False) -> None:
    """Write the Packer template of each group: packer/GROUP.json, or packer/GROUP.pkr.hcl in HCL2.

    The template uploads the group's bundle (cookbooks, data bags, roles, dna), installs Chef and converges; it
    also works by hand, with `packer build`. Templates of your own: docs/templates.md.
    """
    from nodepkg.render.bundle import Project
    from nodepkg.render.packer import PackerTemplates

    nodes = call.load()
    found = nodes.buildable(call.names(nodes, groups))
    templates = PackerTemplates(Project(nodes))
    warn_of_leftovers(call.out, templates, found)
    write_or_check(
        call.out,
        nodes.root,
        [templates.template(group) for group in found],
        check=check,
        remedy="package packer:create",
    )


@command(
    "packer:run",
    NODES,
    REGION,
    AWS,
    CHANGES,
    POLL,
    examples={
        "packer:run 12_04-bee --sandbox": "build in the embedded AWS, if it is due",
        "packer:run -n 8 --profile ops": "all groups that are due, eight at a time",
    },
)
def run(
    call: Call,
    groups: Groups = None,
    parallel: Annotated[
        int, typer.Option("-n", "--parallel", min=1, metavar="N", help="How many builds at a time.")
    ] = 4,
    force: Annotated[bool, typer.Option("--force", help="Build also what is up to date.")] = False,
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="After a failure start nothing more.")] = False,
) -> None:
    """Build the images that are due with Packer, several side by side.

    A group is due if it has no image, or its digest or base image has changed. A group that is built on another
    waits for it; if that fails it is skipped, and the others go on. The whole output of each build is in
    .nodepkg/logs. Packer is NODEPKG_PACKER, else the one on PATH. A template or role that is not what nodes.json
    says is refused (4). With --sandbox there is no machine to log in to, so the provisioners are left out. Where a
    template in HCL2 requires a plugin that is not installed, --yes lets `packer init` download it. Ctrl-C gives
    Packer the time to remove its temporary instance; a second one ends it.
    """
    from nodepkg.cli.builds import run_builds

    nodes = call.load()
    found = nodes.buildable(call.names(nodes, groups))
    run_builds(call, nodes, found, at_once=parallel, force=force, fail_fast=fail_fast)


@command(
    "packer:clean",
    NODES,
    REGION,
    AWS,
    CHANGES,
    examples={
        "packer:clean 12_04-bee --keep 3 --sandbox --yes": "keep three, and do not ask",
        "packer:clean --dry-run --profile ops": "show what would go, of all groups",
    },
)
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
    from nodepkg.cli.layout import count
    from nodepkg.cli.output import confirm
    from nodepkg.cli.plans import carry_out
    from nodepkg.images.clean import agreed, examine, plan_clean

    nodes = call.load()
    found = nodes.groups(call.names(nodes, groups))
    account = cloud(call, nodes.root, found).account
    verdicts = examine(account, found, keep=keep)
    columns = ("image", "name", "verdict", "why")
    if not verdicts:
        call.out.note("no images")
    call.out.plan(columns, [(v.image.id, v.image.name, v.word, v.why) for v in verdicts])
    doomed = plan_clean(verdicts)
    if doomed and not call.dry_run and confirm(f"delete {count(len(doomed), 'image')}?", yes=call.yes):
        # The question may have stood for hours: what is in use by now stays.
        verdicts = agreed(verdicts, examine(account, found, keep=keep))
        doomed = plan_clean(verdicts)

    def show(reports: list[dict[str, Any]]) -> None:
        document = {"images": [verdict.document() for verdict in verdicts], "deleted": reports}
        call.out.result(document, [f"{count(len(reports), 'image')} deleted, {len(verdicts) - len(reports)} kept"])

    carry_out(call, doomed, account, show)
