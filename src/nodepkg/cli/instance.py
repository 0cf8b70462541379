"""instance:… one-off instances of groups, logging in to any node, and deploys to all."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from nodepkg.cli.options import AWS, CHANGES, NODES, POLL, REGION, TAKE_OVER, Call, Group, Groups, command, duration
from nodepkg.errors import UsageError

Instance = Annotated[str, typer.Argument(metavar="NAME|ID", help="The instance: its tag Name, or its id.")]
Key = Annotated[Path, typer.Option("--key", metavar="PATH", help="The private key; only its public half is used.")]
OF_AN_INSTANCE = {
    "region": Annotated[
        str | None,
        typer.Option("--region", metavar="REGION", help="Where to look; else in all regions of nodes.json."),
    ]
}
AtOnce = Annotated[str, typer.Option("-n", metavar="N|%", help="How many hosts at a time, of all together.")]
Canary = Annotated[int, typer.Option("--canary", min=0, metavar="N", help="So many hosts go first, alone.")]
MaxErrors = Annotated[
    str, typer.Option("--max-errors", metavar="N|%", help="Start no more hosts once more than that have failed.")
]
Timeout = Annotated[
    timedelta | None,
    typer.Option(
        "--timeout",
        metavar="DURATION",
        parser=duration,
        show_default="30m",
        help="How long one host's converge may take, and each wait before and after it.",
    ),
]
Pause = Annotated[
    timedelta | None,
    typer.Option("--pause", metavar="DURATION", parser=duration, help="Go in waves of -n, that long apart."),
]
Names = Annotated[
    list[str] | None,
    typer.Option("--name", metavar="NAME", help="Only nodes of this name or id, or glob; may be repeated."),
]
Zones = Annotated[
    list[str] | None,
    typer.Option("--zone", metavar="ZONE", help="Only nodes in this zone, or glob; may be repeated."),
]
LoginKey = Annotated[Path | None, typer.Option("--key", metavar="PATH", help="The private key to log in with.")]
Listing = Annotated[bool, typer.Option("--list", help="Show who would be touched, and do nothing.")]
Retry = Annotated[
    bool, typer.Option("--retry", help="Go on with the newest deploy, or with that of the ID given as GROUP.")
]


@command(
    "instance:create",
    NODES,
    AWS,
    POLL,
    TAKE_OVER,
    CHANGES,
    examples={
        "instance:create 12_04-bee --key ~/.ssh/ops.pem --name bee-debug --sandbox": "one more machine of a group",
        "instance:create 12_04-bee --key ops.pem --name bee-debug --dry-run --profile ops": "what would be done?",
    },
)
def create(
    call: Call,
    group: Group,
    *,
    key: Key,
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="Its name, with the grammar of a group's.")],
    zone: Annotated[
        str | None, typer.Option("--zone", metavar="ZONE", help="This zone only; else one by chance that has room.")
    ] = None,
    image: Annotated[
        str | None, typer.Option("--image", metavar="AMI", help="This image, also an old one; else the newest.")
    ] = None,
) -> None:
    """Start one instance of a group, outside of its Auto Scaling group, and wait until it runs.

    The key's public half is imported as an EC2 key pair unless the account has it already. Writes
    dna/instances/GROUP-INSTANCE_ID.json, and prints the address and the ssh command. Refused (4) if an instance of that
    name lives. One that a call was interrupted with, also by kill -9, is finished by the same command.
    """
    from nodepkg.cli.instances import Asked, create_instance

    create_instance(call, group, Asked(key, name, zone, image))


@command(
    "instance:list",
    NODES,
    REGION,
    AWS,
    examples={
        "instance:list 12_04-bee --sandbox": "the instances of one group",
        "instance:list --json --profile ops": "all that nodepkg has, as JSON",
    },
)
def list_(call: Call, groups: Groups = None) -> None:
    """List the instances of groups, also those of their Auto Scaling groups.

    With zone, address, image (and whether it is the group's newest), age, health and Auto Scaling group. Without GROUP
    also those of groups that nodes.json does not have any more.
    """
    from nodepkg.cli.instances import list_instances

    list_instances(call, groups or [])


@command(
    "instance:delete",
    NODES,
    OF_AN_INSTANCE,
    AWS,
    TAKE_OVER,
    CHANGES,
    examples={
        "instance:delete bee-debug --sandbox --yes": "terminate it, and do not ask",
        "instance:delete i-0123456789abcdef0 --dry-run --profile ops": "what would go",
    },
)
def delete(call: Call, instance: Instance) -> None:
    """Terminate a one-off instance, and remove its dna file.

    Shows what goes, and which volumes stay, and asks. Refused (4) for nodes of Auto Scaling groups, machines of builds,
    and what nodepkg does not manage. If it breaks off, run it again.
    """
    from nodepkg.cli.instances import delete_instance

    delete_instance(call, instance)


@command(
    "instance:ssh",
    NODES,
    OF_AN_INSTANCE,
    AWS,
    examples={
        "instance:ssh bee-debug --key ~/.ssh/ops.pem --sandbox": "log in",
        "instance:ssh i-0123456789abcdef0 --profile ops -- uptime": "run a command there",
    },
)
def ssh(
    call: Call,
    instance: Instance,
    words: Annotated[
        list[str] | None, typer.Argument(metavar="COMMAND", help="A command for ssh, behind `--`; none: log in.")
    ] = None,
    *,
    key: LoginKey = None,
) -> None:
    """Log in to a running instance with the system's ssh.

    Address, user and port are those of `deploy` in nodes.json; nodes of Auto Scaling groups can be logged in to, too.
    The host key is remembered by the instance's id, in .nodepkg/known_hosts: accepted on first sight, refused when it
    has changed.
    """
    from nodepkg.cli.instances import log_in

    log_in(call, instance, words or [], key)


@command(
    "instance:deploy",
    NODES,
    REGION,
    AWS,
    POLL,
    TAKE_OVER,
    CHANGES,
    examples={
        "instance:deploy 12_04-bee --dry-run --sandbox": "who would be converged, with what, at which pace",
        "instance:deploy -n 20% --canary 1 --profile ops": "all running nodes: one first, then 20 % at a time",
    },
)
def deploy(
    call: Call,
    groups: Groups = None,
    *,
    at_once: AtOnce = "10",
    canary: Canary = 0,
    max_errors: MaxErrors = "0",
    timeout: Timeout = None,
    pause: Pause = None,
    name: Names = None,
    zone: Zones = None,
    key: LoginKey = None,
    listing: Listing = False,
    retry: Retry = False,
) -> None:
    """Converge the running nodes of groups with the current repository, over SSH or SSM.

    Without GROUP all groups. The group's bundle goes to each node that does not have it yet, and deploy.command runs
    there. Nobody starts while fewer nodes of the group are healthy than deploy.min_healthy, and a node behind a target
    group has to be healthy again before the next one takes its place. Each host's output goes to
    .nodepkg/deploys/ID/INSTANCE.log. Over SSH it logs in as ~/.ssh/config, the agent and ~/.ssh's keys say, or with
    --key alone. It exits 6 if any failed; --retry runs only those that did not succeed. Ctrl-C
    starts no more and waits for those that run; a second one leaves them.
    """
    from nodepkg.cli import deploys
    from nodepkg.fleet.targets import Narrowing

    wish = deploys.Wish(
        deploys.some("-n", at_once),
        canary,
        deploys.some("--max-errors", max_errors, least=0),
        1800.0 if timeout is None else timeout.total_seconds(),
        pause.total_seconds() if pause else 0.0,
        Narrowing(tuple(name or ()), tuple(zone or ())),
        deploys.opened(key) if key else None,
    )
    if "" in (*wish.narrowing.names, *wish.narrowing.zones):
        raise UsageError("--name and --zone take no empty value", hint="without them all running nodes are meant")
    if wish.timeout <= 0:
        raise UsageError("--timeout has to be more than nothing", hint="for example 10m")
    if retry:
        deploys.retry(call, groups or [], wish, listing=listing)
    else:
        deploys.deploy(call, groups or [], wish, listing=listing)
