"""sandbox:… the embedded AWS."""

from typing import TYPE_CHECKING, Annotated

import typer

from nodepkg.cli.options import NODES, Call, command

if TYPE_CHECKING:
    from nodepkg.sandbox.process import Sandbox


@command(
    "sandbox:start",
    NODES,
    examples={
        "sandbox:start": "start it for this project",
        "sandbox:start --realistic": "one in which nodes take some seconds to come, and to go",
    },
)
def start(
    call: Call,
    realistic: Annotated[
        bool,
        typer.Option("--realistic", help="Nodes and load balancers take their time, as in AWS; seconds, not minutes."),
    ] = False,
) -> None:
    """Start the embedded AWS; `--sandbox` on any command does it too.

    It is a process of its own, on a loopback address, and runs until sandbox:stop. It has the source
    images, security groups and keys that nodes.json names. Auto Scaling groups there have all their nodes at once;
    with --realistic they are launched, checked, registered, drained and ended as in AWS, each in 5 seconds, and
    what the group's processes, hooks, schedules and health checks say happens. Refused (4) if one without it runs.
    """
    from nodepkg.sandbox import process
    from nodepkg.sandbox.needs import needs

    nodes = call.load()
    groups = nodes.groups(nodes.names)
    sandbox = process.start(call.sandbox_state(), realistic=realistic)
    process.seed(sandbox, needs(groups))
    call.out.result(_document(sandbox), [_line(sandbox)])


@command(
    "sandbox:stop",
    NODES,
    examples={
        "sandbox:stop": "end it",
        "sandbox:stop --nodes staging/nodes.json": "end that of another project",
    },
)
def stop(call: Call) -> None:
    """End the embedded AWS, with everything in it.

    Images, launch templates and groups that commands made there are gone with it; files are not touched. If none
    runs, that is said, and no error.
    """
    from nodepkg.sandbox import process

    stopped = process.stop(call.sandbox_state())
    call.out.result({"stopped": stopped}, ["stopped the sandbox" if stopped else "no sandbox runs"])


@command(
    "sandbox:status",
    NODES,
    examples={
        "sandbox:status": "does it run, and where?",
        "sandbox:status --json": "the same, for another tool",
    },
)
def status(call: Call) -> None:
    """Show whether the embedded AWS runs, and where.

    Each project has its own, beside its nodes.json in .nodepkg/sandbox. Any AWS tool can talk to its endpoint, with
    any keys.
    """
    from nodepkg.sandbox import process

    sandbox = process.running(call.sandbox_state())
    call.out.result(_document(sandbox), [_line(sandbox)])


@command(
    "sandbox:reset",
    NODES,
    examples={
        "sandbox:reset": "start over with an empty account",
        "sandbox:reset --quiet": "the same in a script",
    },
)
def reset(call: Call) -> None:
    """Empty the embedded AWS: what commands made is gone.

    The process keeps its endpoint, and has again what nodes.json names: source images, security groups, keys,
    target groups. Refused (4) if none runs.
    """
    from nodepkg.errors import RefusedError
    from nodepkg.sandbox import process

    sandbox = process.running(call.sandbox_state())
    if sandbox is None:
        raise RefusedError("no sandbox runs", hint="package sandbox:start")
    process.reset(sandbox)
    call.out.result(_document(sandbox), ["emptied the sandbox"])


def _line(sandbox: "Sandbox | None") -> str:
    if sandbox is None:
        return "no sandbox runs"
    kind = "a realistic sandbox" if sandbox.realistic else "the sandbox"
    return f"{kind} runs at {sandbox.endpoint} (pid {sandbox.pid})"


def _document(sandbox: "Sandbox | None") -> dict[str, object]:
    if sandbox is None:
        return {"running": False}
    about = {"endpoint": sandbox.endpoint, "pid": sandbox.pid, "started": sandbox.started}
    return {"running": True, **about, "realistic": sandbox.realistic}
