"""sandbox:… the embedded AWS."""

from nodepkg.cli.options import NODES, Call, command


@command("sandbox:start", NODES)
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


@command("sandbox:stop", NODES)
def stop(call: Call) -> None:
    """End the embedded AWS, with everything in it."""
    from nodepkg.sandbox import process

    stopped = process.stop(call.sandbox_state())
    call.out.result({"stopped": stopped}, ["stopped the sandbox" if stopped else "no sandbox runs"])


@command("sandbox:status", NODES)
def status(call: Call) -> None:
    """Show whether the embedded AWS runs, and where."""
    from nodepkg.sandbox import process

    sandbox = process.running(call.sandbox_state())
    line = f"the sandbox runs at {sandbox.endpoint} (pid {sandbox.pid})" if sandbox else "no sandbox runs"
    call.out.result(_document(sandbox), [line])


@command("sandbox:reset", NODES)
def reset(call: Call) -> None:
    """Empty the embedded AWS: what commands made is gone, what nodes.json names is there again."""
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
