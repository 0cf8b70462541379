"""autoscale:… Auto Scaling groups."""

import re
from typing import TYPE_CHECKING, Annotated

import typer

from nodepkg.cli.artifacts import write_or_check
from nodepkg.cli.options import (
    AWS,
    CHANGES,
    NODES,
    POLL,
    REGION,
    TAKE_OVER,
    Call,
    Check,
    Group,
    Groups,
    SomeGroups,
    command,
)
from nodepkg.errors import UsageError

if TYPE_CHECKING:
    from nodepkg.nodes.group import Group as NodesGroup
    from nodepkg.nodes.load import Nodes

NoWait = Annotated[bool, typer.Option("--no-wait", help="End as soon as AWS has been told.")]
REGION_OF_A_GONE_GROUP = "The group's region; needed if nodes.json no longer has it."


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
    from nodepkg.render.group import autoscale_artifacts

    nodes, found = _chosen(call, groups, None, "create")
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

    nodes, found = _chosen(call, groups, image, "run")
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

    Without GROUP every group that runs. Where only min or max differ they are changed in place. Otherwise a second
    group is started beside the one that serves, and has to be ready, and healthy in its target groups, before the
    first one goes; until then everything that fails is undone, and it exits 5 with the reason. With services its nodes
    have to have announced them, and those that use the first group's hear that it leaves before it goes. A rollout
    that was left unfinished, on whatever machine, is finished first. Ctrl-C ends it at a safe point, and says how it
    is gone on with, or undone.
    """
    from nodepkg.cli.account import cloud

    nodes, found = _chosen(call, groups, image, "update")
    account = cloud(call, nodes.root, found).account

    from nodepkg.autoscale.run import Choice
    from nodepkg.cli import rollouts

    choice, rules = Choice(image, stale_ok), rollouts.Rules(force, at_once, fail_fast, groups or [])
    rollouts.update(call, account, nodes, found, choice, rules=rules)


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

    rollouts.rollback(call, account, nodes, found[0])


def _chosen(call: Call, groups: list[str] | None, image: str | None, action: str) -> "tuple[Nodes, list[NodesGroup]]":
    """nodes.json, and those of its groups that are meant and have an Auto Scaling group."""
    from nodepkg.nodes.select import scaling

    nodes = call.load()
    names = call.names(nodes, groups)
    if image is not None:
        _require_one(groups, names, image, action)
    found, without = scaling(nodes.groups(names), groups or [])
    if without:
        call.out.note(f"left out, autoscale is false: {', '.join(without)}")
    return nodes, found


def _require_one(groups: list[str] | None, names: list[str], image: str, action: str) -> None:
    """An image is one group's: which, has to be said."""
    if not re.fullmatch("ami-[A-Za-z0-9]+", image):
        raise UsageError(f"--image {image}: no image has such an id", hint="ids of images look like ami-1ebb2077")
    if not groups or len(names) != 1:
        raise UsageError("--image is for exactly one group", hint=f"package autoscale:{action} GROUP --image {image}")


@command(
    "autoscale:status",
    NODES,
    REGION,
    AWS,
    POLL,
    examples={
        "autoscale:status 12_04-bee --sandbox": "one group, and who is at it",
        "autoscale:status --watch --profile ops": "all groups, again and again until Ctrl-C",
    },
)
def status(
    call: Call,
    groups: Groups = None,
    watch: Annotated[bool, typer.Option("--watch", help="Look again and again, every --poll seconds.")] = False,
) -> None:
    """Show each group's Auto Scaling groups: images, sizes, health, and a rollout that is under way.

    A node is ready if it is in service, passes EC2's status checks, and is healthy in each of its target groups. Of a
    rollout the state, what it waits for and who works on it are shown. Without GROUP also what nodepkg has in AWS of
    groups that nodes.json does not have any more. Nothing is changed. With --watch a terminal shows a table that is
    drawn anew, and everything else gets a line for each change (with --json a document in one line).
    """
    import time

    from nodepkg.autoscale.outlook import Wanted
    from nodepkg.autoscale.terms import membership_of
    from nodepkg.cli import standings
    from nodepkg.cli.account import cloud, window

    nodes = call.load()
    names = call.names(nodes, groups)
    sound, wrong = nodes.sound(names)
    for name, problem in wrong.items():
        call.out.warning(f"{name}: {problem.removeprefix(f'{name}: ')}")
    account = cloud(call, nodes.root, sound).account
    homes = {name: nodes.region_of(name) for name in names}
    regions = () if groups else {call.region} if call.region else {*homes.values()}
    settings = {group.name: group for group in sound}
    memberships = {group.name: found for group in sound if (found := membership_of(nodes, group))}
    wanted = Wanted(homes, settings, regions, memberships)
    look = standings.looking(account, wanted, window=window(call), named=bool(groups))
    if watch:
        standings.watch(look, call.out, lambda: time.sleep(call.poll))
        return
    documents, now = look()
    call.out.table(documents, standings.COLUMNS, standings.rows(documents, now))


@command(
    "autoscale:resize",
    NODES,
    AWS,
    POLL,
    TAKE_OVER,
    CHANGES,
    examples={
        "autoscale:resize 12_04-bee --desired 3 --max 4 --sandbox": "more nodes, and room for one more",
        "autoscale:resize 12_04-bee --min 1 --dry-run --profile ops": "what would change",
    },
)
def resize(
    call: Call,
    group: Group,
    *,
    min_: Annotated[int | None, typer.Option("--min", min=0, metavar="N", help="Fewest nodes.")] = None,
    max_: Annotated[int | None, typer.Option("--max", min=0, metavar="N", help="Most nodes.")] = None,
    desired: Annotated[int | None, typer.Option("--desired", min=0, metavar="N", help="Nodes now.")] = None,
) -> None:
    """Set the sizes of a group that runs; what is left out stays as it is.

    Asks if nodes go. Refused (4) while a rollout is under way, and for a group that is stopped. nodes.json is not
    changed: the next autoscale:update sets min and max to what it says, and leaves the desired size as it is.
    """
    from nodepkg.autoscale.resize import Wish
    from nodepkg.cli.operations import resize_group

    wish = Wish(min_, max_, desired)
    if wish == Wish():
        raise UsageError("nothing to set", hint="give at least one of --min, --max and --desired")
    resize_group(call, group, wish)


@command(
    "autoscale:stop",
    NODES,
    REGION,
    AWS,
    POLL,
    TAKE_OVER,
    CHANGES,
    examples={
        "autoscale:stop 12_04-bee --sandbox --yes": "take all nodes of a group, and do not ask",
        "autoscale:stop 'test-*' --dry-run --profile ops": "what would be stopped",
    },
)
def stop(call: Call, groups: SomeGroups, no_wait: NoWait = False) -> None:
    """Take all nodes of groups; autoscale:start gives them back.

    The sizes are noted in tags of the Auto Scaling group, which stays at size 0; its scheduled actions are suspended.
    Shows what goes and asks. Waits until no node is left. Refused (4) while a rollout is under way.
    """
    from nodepkg.cli.operations import stop_groups

    stop_groups(call, groups, wait=not no_wait)


@command(
    "autoscale:start",
    NODES,
    REGION,
    AWS,
    POLL,
    TAKE_OVER,
    CHANGES,
    examples={
        "autoscale:start 12_04-bee --sandbox": "the nodes that autoscale:stop has taken",
        "autoscale:start 'test-*' --no-wait --profile ops": "do not wait until they are ready",
    },
)
def start(call: Call, groups: SomeGroups, no_wait: NoWait = False) -> None:
    """Start groups that autoscale:stop has stopped, with the sizes that they had.

    Waits until every node is ready, for autoscale.ready_timeout seconds at most. Scheduled actions go on, unless they
    had been suspended before the stop. A group that runs is left as it is. Refused (4) while a rollout is under way.
    """
    from nodepkg.cli.operations import start_groups

    start_groups(call, groups, wait=not no_wait)


@command(
    "autoscale:delete",
    NODES,
    {"region": Annotated[str | None, typer.Option("--region", metavar="REGION", help=REGION_OF_A_GONE_GROUP)]},
    AWS,
    POLL,
    TAKE_OVER,
    CHANGES,
    examples={
        "autoscale:delete 12_04-bee --dry-run --sandbox": "what would go",
        "autoscale:delete old-web --region us-east-1 --profile ops": "a group that nodes.json no longer has",
    },
)
def delete(call: Call, group: Group) -> None:
    """Delete all Auto Scaling groups of a group, and its launch template.

    Nodes leave their target groups and drain before they go. Images, files, roles and what nodepkg does not manage
    stay, as does a launch template that another Auto Scaling group uses. Refused (4) while a rollout is under way. On a
    terminal the group's name has to be typed. If it breaks off, run it again.
    """
    from nodepkg.cli.operations import delete_group

    delete_group(call, group)
