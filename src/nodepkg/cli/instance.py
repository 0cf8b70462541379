"""instance:… one-off instances of groups, and logging in to any node."""

from pathlib import Path
from typing import Annotated

import typer

from nodepkg.cli.options import AWS, CHANGES, NODES, POLL, REGION, TAKE_OVER, Call, Group, Groups, command

Instance = Annotated[str, typer.Argument(metavar="NAME|ID", help="The instance: its tag Name, or its id.")]
Key = Annotated[Path, typer.Option("--key", metavar="PATH", help="The private key; only its public half is used.")]
OF_AN_INSTANCE = {
    "region": Annotated[
        str | None,
        typer.Option("--region", metavar="REGION", help="Where to look; else in all regions of nodes.json."),
    ]
}


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
    key: Annotated[Path | None, typer.Option("--key", metavar="PATH", help="The private key to log in with.")] = None,
) -> None:
    """Log in to a running instance with the system's ssh, as `deploy` in nodes.json says: address, user and port.

    Its host key is remembered by its id, in .nodepkg/known_hosts: accepted on first sight, refused when it has changed.
    """
    from nodepkg.cli.instances import log_in

    log_in(call, instance, words or [], key)
