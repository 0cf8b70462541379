"""iam:… what has to be allowed."""

import os
from typing import TYPE_CHECKING, Annotated

import typer

from nodepkg.cli.options import NODES, Call, command

if TYPE_CHECKING:
    from nodepkg.permissions.commands import Facts

Commands = Annotated[
    list[str] | None,
    typer.Argument(metavar="COMMAND", help="Commands, by name or glob; none: all that talk to AWS."),
]


@command(
    "iam:policy",
    NODES,
    examples={
        "iam:policy 'packer:*' > packer-policy.json": "for those who build images, and do no more",
        "iam:policy autoscale:update autoscale:rollback": "for those who roll out",
    },
)
def policy(call: Call, commands: Commands = None) -> None:
    """Print the least IAM policy with which commands can do their work in AWS.

    What is changed has to have the tag nodepkg:managed; docs/permissions.md says where AWS knows no such condition.
    If nodes.json can be read, the S3 buckets are those that it names. A Packer here that is older than 1.7 needs more
    for packer:run: it does not tag the security groups that it makes.
    """
    from nodepkg.permissions.commands import chosen, needed
    from nodepkg.permissions.statement import MOST_CHARACTERS, characters, partition_of
    from nodepkg.permissions.statement import policy as policy_of

    names = chosen(commands or [])
    facts, regions = _facts(call, names)
    document = policy_of(needed(names, facts), partition=partition_of(regions))
    call.out.document(document)
    if (length := characters(document)) > MOST_CHARACTERS:
        call.out.note(
            f"it has {length} characters, and IAM takes {MOST_CHARACTERS} in one managed policy: make one policy for"
            " each kind of work, as: package iam:policy 'autoscale:*'"
        )


def _facts(call: Call, names: list[str]) -> "tuple[Facts, set[str]]":
    """What the policy depends on, and the regions of nodes.json."""
    from nodepkg.errors import ConfigError
    from nodepkg.permissions.commands import Facts

    buckets, regions = set[str](), set[str]()
    try:
        nodes = call.load()
        regions = {nodes.region_of(name) for name in nodes.names}
        if "instance:deploy" in names:
            groups = nodes.sound(nodes.names)[0]
            buckets = {group.settings.deploy.bucket for group in groups if group.settings.deploy.bucket}
    except ConfigError as error:
        if call.nodes:
            raise
        call.out.detail(f"no nodes.json is read: {error.message}")
    if "instance:deploy" in names and not buckets:
        call.out.note("no deploy.bucket is known, so the bundles may be in any S3 bucket")
    return Facts(tuple(sorted(buckets)), old_packer="packer:run" in names and _is_old_packer(call)), regions


def _is_old_packer(call: Call) -> bool:
    """Whether the Packer of this machine does not tag the security groups that it makes."""
    from nodepkg.clients.packer import FIRST_WITH_INIT, find
    from nodepkg.errors import ToolError

    try:
        packer = find(os.environ)
    except ToolError:
        return False
    if packer.version >= FIRST_WITH_INIT:
        return False
    call.out.note(
        f"Packer {packer.version_text} does not tag the security groups that it makes: packer:run may change any; a"
        " newer Packer needs no more than its own"
    )
    return True
