"""packer:… templates and machine images."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from nodepkg.cli.artifacts import warn_of_leftovers, write_or_check
from nodepkg.cli.options import AWS, CHANGES, NODES, POLL, REGION, Call, Check, Group, Groups, command, duration

_REGION_OF_A_GONE_GROUP = "The group's region; needed if nodes.json no longer has it."

KeepServed = Annotated[
    int,
    typer.Option(
        "--keep-served", min=0, metavar="N", help="How many images that have served count as in use, per group."
    ),
]
AllVersions = Annotated[
    bool, typer.Option("--all-versions", help="Count every version of a launch template, not just those in use.")
]

SWEPT_REGION = {
    "region": Annotated[
        str | None, typer.Option("--region", metavar="REGION", help="Only this region; none: those of nodes.json.")
    ]
}


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
        "packer:clean --older-than 14d --dry-run --profile ops": "show what would go, of all groups",
    },
)
def clean(
    call: Call,
    groups: Groups = None,
    *,
    keep: Annotated[int, typer.Option("-n", "--keep", min=0, metavar="N", help="How many images to keep.")] = 10,
    older_than: Annotated[
        timedelta | None,
        typer.Option("--older-than", parser=duration, metavar="AGE", help="Delete only what is older, as 14d."),
    ] = None,
    max_delete: Annotated[
        int, typer.Option("--max-delete", min=0, metavar="N", help="Refuse a plan that deletes more.")
    ] = 500,
    keep_served: KeepServed = 2,
    all_versions: AllVersions = False,
) -> None:
    """Delete all but the newest N images of each group, with their snapshots.

    What anything refers to stays: instances, launch templates, launch configurations, Auto Scaling groups, other
    images, other accounts. So does what is pending, disabled, protected or tagged nodepkg:keep. Snapshots whose
    image is gone go, too, if Packer made them for it. Shows what it would delete and why, and asks.
    """
    from nodepkg.cli.account import cloud
    from nodepkg.cli.removals import carry_out_clean
    from nodepkg.images.clean import Rules
    from nodepkg.images.removal import Removal

    nodes = call.load()
    found = nodes.groups(call.names(nodes, groups))
    account = cloud(call, nodes.root, found).account
    by_region: dict[str, list[str]] = {}
    for group in found:
        by_region.setdefault(group.region, []).append(group.name)
    rules = Rules(by_region, keep, datetime.now(UTC), older_than or timedelta())
    world = Removal.of(account, rules.judge, keep_served=keep_served, all_versions=all_versions)
    carry_out_clean(call, world, rules, max_delete)


@command(
    "packer:delete",
    NODES,
    {"region": Annotated[str | None, typer.Option("--region", metavar="REGION", help=_REGION_OF_A_GONE_GROUP)]},
    AWS,
    CHANGES,
    examples={
        "packer:delete ftp-listener --dry-run --profile ops": "show what would go",
        "packer:delete old-web --region us-east-1 --sandbox": "a group that nodes.json no longer has",
    },
)
def delete(call: Call, group: Group) -> None:
    """Delete all images of a group with their snapshots, and packer/GROUP.*.

    Refused (4) if anything uses one of them, and it says what. Pending, disabled and protected images, and those tagged
    nodepkg:keep, are kept and shown. Nothing else is touched: no Auto Scaling group, no other file. On a terminal the
    group's name has to be typed.
    """
    from nodepkg.cli.account import cloud
    from nodepkg.cli.removals import carry_out_delete
    from nodepkg.images.delete import WholeGroup, region_of
    from nodepkg.images.removal import Removal

    nodes = call.load()
    region = region_of(nodes, group, call.region)
    known = nodes.sound([group])[0] if group in nodes.names else []
    account = cloud(call, nodes.root, known).account
    rules = WholeGroup(group, datetime.now(UTC))
    carry_out_delete(call, Removal.of(account, rules.judge), rules, region, nodes.root)


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
    from nodepkg.cli.account import cloud
    from nodepkg.cli.images import COLUMNS, not_known, row, told
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
    for line in not_known(digests.unknown):
        call.out.warning(line)
    for stranger in elsewhere:
        call.out.note(told(stranger))


@command(
    "packer:sweep",
    NODES,
    SWEPT_REGION,
    AWS,
    POLL,
    CHANGES,
    examples={
        "packer:sweep --dry-run --profile ops": "show what builds left behind, and what would go",
        "packer:sweep --older-than 1h --yes --sandbox": "remove what is older than an hour, and do not ask",
    },
)
def sweep(
    call: Call,
    older_than: Annotated[
        timedelta | None,
        typer.Option(
            "--older-than",
            metavar="DURATION",
            parser=duration,
            help="Only what is older than this: 24h, or 0s with --build.",
        ),
    ] = None,
    build: Annotated[
        list[str] | None, typer.Option("--build", metavar="ID", help="Only what this build left; may be repeated.")
    ] = None,
) -> None:
    """Remove what builds left behind: temporary instances, key pairs and security groups.

    What belongs to a build whose process lives stays, and whatever carries neither tag nor name of a build. Of a
    build that was started on another machine nobody here can tell whether it lives: only its age counts. Shows what
    would go and asks.
    """
    from nodepkg.cli.leftovers import sweep_leftovers

    sweep_leftovers(call, call.load(), older_than=older_than, builds=build or [])


@command(
    "packer:adopt",
    NODES,
    AWS,
    CHANGES,
    examples={
        "packer:adopt 12_04-bee ami-0a1b2c3d --profile ops": "an image of which Packer did not wait for the end",
        "packer:adopt 12_04-bee ami-0a1b2c3d --sandbox --dry-run": "would it do, and what would it be tagged with?",
    },
)
def adopt(call: Call, group: Group, image: Annotated[str, typer.Argument(metavar="IMAGE", help="Its id.")]) -> None:
    """Make an image count that Packer made, and reported as failed.

    It has to be this account's own, available, and of no other group. It gets the tags that a build of the group
    would have given it, its snapshots too. If the build was started from here, what the image was made from is known;
    otherwise it counts without being current. Shows what it would do and asks.
    """
    from nodepkg.cli.leftovers import adopt_image
    from nodepkg.nodes.select import one

    nodes = call.load()
    adopt_image(call, nodes.root, nodes.group(one(nodes, group)), image)
