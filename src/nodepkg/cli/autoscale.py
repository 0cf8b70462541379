"""autoscale:… Auto Scaling groups."""

import re
from typing import Annotated

import typer

from nodepkg.cli.artifacts import write_or_check
from nodepkg.cli.options import AWS, CHANGES, NODES, POLL, REGION, TAKE_OVER, Call, Check, Group, Groups, command
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


@command(
    "autoscale:update",
    NODES,
    REGION,
    AWS,
    POLL,
    TAKE_OVER,
    CHANGES,
    examples={
        "autoscale:update 12_04-bee --dry-run --sandbox": "what differs, and what would be done",
        "autoscale:update -n 10 --profile ops": "every group that runs, ten at a time",
    },
)
def update(
    call: Call,
    groups: Groups = None,
    *,
    image: Annotated[
        str | None, typer.Option("--image", metavar="AMI", help="Bring one group to this image, also an old one.")
    ] = None,
    stale_ok: Annotated[
        bool, typer.Option("--stale-ok", help="Take also an image that is not what nodes.json gives now.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the nodes also where nothing differs.")] = False,
    at_once: Annotated[int, typer.Option("-n", min=1, metavar="N", help="How many groups at a time.")] = 5,
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="Begin no other group once one has failed.")] = False,
) -> None:
    """Bring each Auto Scaling group to its newest image and to nodes.json, without losing a request.

    Where only min or max differ they are changed in place. Otherwise a second group is started beside the one that
    serves, and has to be ready, and healthy in its target groups, before the first one goes; until then everything
    that fails is undone, and it exits 5 with the reason. A rollout that was left unfinished, on whatever machine, is
    finished first. Ctrl-C ends it at a safe point, and says how it is gone on with, or undone.
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
    from nodepkg.cli import rollouts

    choice = Choice(image, stale_ok)
    rollouts.update(call, account, nodes, found, choice, force=force, at_once=at_once, fail_fast=fail_fast)


@command(
    "autoscale:rollback",
    NODES,
    AWS,
    POLL,
    TAKE_OVER,
    CHANGES,
    examples={
        "autoscale:rollback 12_04-bee --sandbox --yes": "undo an update that is under way, or was left unfinished",
        "autoscale:rollback 12_04-bee --dry-run --profile ops": "what would be done?",
    },
)
def rollback(call: Call, group: Group) -> None:
    """Undo the rollout of a group that is in progress, or bring back its last kept generation.

    The group that served before gets back its target groups, sizes and processes. When that has no nodes any more
    an update can only be finished (4). Without a rollout the newest generation that autoscale.keep_old has kept takes
    the place of the one that serves. Shows what it would do and asks.
    """
    from nodepkg.cli.account import cloud
    from nodepkg.nodes.select import one, scaling

    nodes = call.load()
    name = one(nodes, group)
    found, _ = scaling([nodes.group(name)], [name])
    account = cloud(call, nodes.root, found).account

    from nodepkg.cli import rollouts

    rollouts.rollback(call, account, found[0])


def _require_one(groups: list[str] | None, names: list[str], image: str) -> None:
    """An image is one group's: which, has to be said."""
    if not re.fullmatch("ami-[A-Za-z0-9]+", image):
        raise UsageError(f"--image {image}: no image has such an id", hint="ids of images look like ami-1ebb2077")
    if not groups or len(names) != 1:
        raise UsageError("--image is for exactly one group", hint=f"package autoscale:run GROUP --image {image}")
