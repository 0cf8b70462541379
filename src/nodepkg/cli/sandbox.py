"""sandbox:… the embedded AWS."""

from nodepkg.cli.options import NODES, Call, command


@command(
    "sandbox:start",
    NODES,
    examples={
        "sandbox:start": "start it for this project",
        "sandbox:start --json": "its endpoint, for another tool",
    },
)
def start(call: Call) -> None:
    """Start the embedded AWS; `--sandbox` on any command does it too.

    It is a process of its own, on a loopback address, and runs until sandbox:stop. It has the source
    images, security groups and keys that nodes.json names.
    """
    from nodepkg.sandbox import process
    from nodepkg.sandbox.needs import needs

    nodes = call.load()
    groups = nodes.groups(nodes.names)
    sandbox = process.start(call.sandbox_state())
    process.seed(sandbox, needs(groups))
    call.out.result(_document(sandbox), [f"the sandbox runs at {sandbox.endpoint} (pid {sandbox.pid})"])


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
    line = f"the sandbox runs at {sandbox.endpoint} (pid {sandbox.pid})" if sandbox else "no sandbox runs"
    call.out.result(_document(sandbox), [line])


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


def _document(sandbox: object) -> dict[str, object]:
    from nodepkg.sandbox.process import Sandbox

    if not isinstance(sandbox, Sandbox):
        return {"running": False}
    return {"running": True, "endpoint": sandbox.endpoint, "pid": sandbox.pid, "started": sandbox.started}
