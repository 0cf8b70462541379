"""autoscale:… Auto Scaling groups."""

import re
from typing import Annotated

import typer

from nodepkg.cli.artifacts import write_or_check
from nodepkg.cli.options import AWS, CHANGES, NODES, POLL, REGION, TAKE_OVER, Call, Check, Groups, command
from nodepkg.errors import UsageError

NoWait = Annotated[bool, typer.Option("--no-wait", help="End as soon as AWS has been told.")]


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
    POLL,
    TAKE_OVER,
    CHANGES,
    examples={
        "autoscale:run 12_04-bee --dry-run --sandbox": "what would be created",
        "autoscale:run 12_04-bee ftp-processor --sandbox": "start two groups in the embedded AWS",
    },
)
def run(
    call: Call,
    groups: Groups = None,
    image: Annotated[
        str | None, typer.Option("--image", metavar="AMI", help="Start one group from this image, also an old one.")
    ] = None,
    stale_ok: Annotated[
        bool, typer.Option("--stale-ok", help="Start also from an image that is not what nodes.json gives now.")
    ] = False,
    no_wait: NoWait = False,
) -> None:
    """Start the Auto Scaling group of each group from its newest image.

    Makes a version of the launch template GROUP and the Auto Scaling group GROUP-v001, tagged group=GROUP, and
    waits until its nodes are ready: in service, status checks passed, autoscale.health_url answered, healthy in
    every target group. If they are not within autoscale.ready_timeout it exits 5 with AWS's reason, and the group
    stays. Refused (4) for a group that runs already, that somebody else is at, or whose image is missing or stale.
    """
    from nodepkg.cli.account import cloud
    from nodepkg.nodes.select import scaling

    nodes = call.load()
    names = call.names(nodes, groups)
    if image is not None:
        _require_one(groups, names, image)
    found, without = scaling(nodes.groups(names), groups or [])
    if without:
        call.out.note(f"left out, autoscale is false: {', '.join(without)}")
    account = cloud(call, nodes.root, found).account

    from nodepkg.autoscale.run import Choice
    from nodepkg.cli.starts import start

    start(call, account, nodes, found, Choice(image, stale_ok), wait=not no_wait)


def _require_one(groups: list[str] | None, names: list[str], image: str) -> None:
    """An image is one group's: which, has to be said."""
    if not re.fullmatch("ami-[A-Za-z0-9]+", image):
        raise UsageError(f"--image {image}: no image has such an id", hint="ids of images look like ami-1ebb2077")
    if not groups or len(names) != 1:
        raise UsageError("--image is for exactly one group", hint=f"package autoscale:run GROUP --image {image}")
