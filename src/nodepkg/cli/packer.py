"""packer:… templates and machine images."""

from typing import Annotated, Any

import typer

from nodepkg.cli.artifacts import warn_of_leftovers, write_or_check
from nodepkg.cli.options import AWS, CHANGES, NODES, REGION, Call, Check, Groups, command


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
    examples={
        "packer:run 12_04-bee --sandbox": "build in the embedded AWS",
        "packer:run 12_04-base ftp-processor --profile ops": "build a group and one that is built on its image",
    },
)
def run(call: Call, groups: Groups = None) -> None:
    """Build the image of each group with Packer.

    Packer is NODEPKG_PACKER, else the one on PATH. A template or role that is not what nodes.json says
    is refused (4). With --sandbox there is no machine to log in to, so the provisioners are left out. Where
    a template in HCL2 requires a plugin that is not installed, --yes lets `packer init` download it.
    """
    import secrets

    from nodepkg.cli.account import cloud
    from nodepkg.cli.plans import carry_out
    from nodepkg.clients import git
    from nodepkg.clients.packer import find
    from nodepkg.images.build import (
        Workbench,
        bases_first,
        image_exists,
        plan_builds,
        require_bases,
        require_packer,
        require_plugins,
    )
    from nodepkg.render.bundle import Project
    from nodepkg.render.packer import PackerTemplates

    nodes = call.load()
    found = bases_first(nodes.buildable(call.names(nodes, groups)))
    templates = PackerTemplates(Project(nodes))
    plan = plan_builds(templates, found, commit=git.commit(nodes.root), new_id=lambda: secrets.token_hex(8))
    place = cloud(call, nodes.root, found)
    packer = find(place.environ)
    require_packer(packer, templates, found, in_sandbox=place.stage is not None)
    require_plugins(packer, plan, nodes.root, install=call.yes and not call.dry_run)
    require_bases(place.account, found)
    if place.stage:
        call.out.note("sandbox: provisioners are skipped, there is no machine to log in to")
    bench = Workbench(nodes.root, packer, call.out.note, image_exists(place.account, found), place.stage)

    def show(reports: list[dict[str, Any]]) -> None:
        rows = [(report["group"], report["image"], report["region"], report["digest"][:12]) for report in reports]
        call.out.table({"images": reports}, ("group", "image", "region", "digest"), rows)

    carry_out(call, plan, bench, show)


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


@command(
    "packer:list",
    NODES,
    REGION,
    AWS,
    examples={
        "packer:list 12_04-bee --sandbox": "one group's images in the embedded AWS, the newest first",
        "packer:list --profile ops --json": "those of all groups, with all that refers to each",
    },
)
def list_(call: Call, groups: Groups = None) -> None:
    """List the images of each group: age, size, state, digest, commit, base image, and what uses them.

    An image is current if nodes.json and the cookbooks would give the same one now. Without GROUP it also
    tells which groups have images although nodes.json does not have them.
    """
    from datetime import UTC, datetime

    from nodepkg.cli.account import cloud
    from nodepkg.cli.images import COLUMNS, row, told
    from nodepkg.images.listing import Digests, listing, strangers
    from nodepkg.images.usage import picture
    from nodepkg.render.bundle import Project
    from nodepkg.render.packer import PackerTemplates

    nodes = call.load()
    homes = {name: nodes.region_of(name) for name in call.names(nodes, groups)}
    sound, wrong = nodes.sound(homes)
    account = cloud(call, nodes.root, sound).account
    usages = {region: picture(account, region) for region in sorted(set(homes.values()))}
    for region, usage in usages.items():
        call.out.note(f"looked at {usage} in {region}")
    digests = Digests(PackerTemplates(Project(nodes)), sound, wrong)
    images, now = listing(usages, homes, digests), datetime.now(UTC)
    everywhere = {name: nodes.region_of(name) for name in nodes.names}
    elsewhere = [] if groups else strangers(usages.values(), everywhere.get)
    document = {
        "images": [image.document(now) for image in images],
        "elsewhere": [stranger.document() for stranger in elsewhere],
    }
    if not images:
        call.out.note("no images")
    call.out.table(document, COLUMNS, [row(image, now) for image in images])
    for name, why in digests.unknown.items():
        call.out.warning(f"{name}: whether its images are current is not known: {why}")
    for stranger in elsewhere:
        call.out.note(told(stranger))
