"""instance:… single machines, and deploys to running ones."""

from datetime import timedelta
from typing import Annotated

import typer

from nodepkg.cli.options import (
    AWS,
    CHANGES,
    NODES,
    POLL,
    REGION,
    TAKE_OVER,
    Call,
    Groups,
    command,
    duration,
)
from nodepkg.errors import UsageError


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
    at_once: Annotated[str, typer.Option("-n", metavar="N|%", help="How many at a time.")] = "10",
    canary: Annotated[int, typer.Option("--canary", min=0, metavar="N", help="So many go first, alone.")] = 0,
    max_errors: Annotated[
        str, typer.Option("--max-errors", metavar="N|%", help="Begin no more once more than that have failed.")
    ] = "0",
    timeout: Annotated[
        timedelta | None,
        typer.Option("--timeout", metavar="DURATION", parser=duration, help="Longest for one host; 30m."),
    ] = None,
    pause: Annotated[
        timedelta | None,
        typer.Option("--pause", metavar="DURATION", parser=duration, help="In waves, with that pause between them."),
    ] = None,
    name: Annotated[
        list[str] | None, typer.Option("--name", metavar="NAME", help="Only nodes of this name or id; also a glob.")
    ] = None,
    zone: Annotated[list[str] | None, typer.Option("--zone", metavar="ZONE", help="Only nodes in this zone.")] = None,
    list_: Annotated[bool, typer.Option("--list", help="Show who would be touched, and do nothing.")] = False,
    retry: Annotated[
        bool, typer.Option("--retry", help="Go on with a deploy, the newest or that of the ID given for GROUP.")
    ] = False,
) -> None:
    """Converge the running nodes of groups with the current repository, over SSH or SSM.

    Without GROUP all groups. The group's bundle goes to each node that does not have it yet, and deploy.command runs
    there. Nobody starts while fewer nodes of the group are healthy than deploy.min_healthy, and a node behind a target
    group has to be healthy again before the next one takes its place. Each host's output goes to
    .nodepkg/deploys/ID/INSTANCE.log. It exits 6 if any failed; --retry runs only those that did not succeed. Ctrl-C
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
    )
    if wish.timeout <= 0:
        raise UsageError("--timeout has to be more than nothing", hint="for example 10m")
    if retry:
        deploys.retry(call, groups or [], wish, listing=list_)
    else:
        deploys.deploy(call, groups or [], wish, listing=list_)
