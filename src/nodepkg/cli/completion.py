"""completion:… completion of command lines by the shell."""

from typing import Annotated, Any, Literal

import typer

from nodepkg.cli.options import DRY_RUN, Call, command

Shell = Annotated[
    Literal["bash", "zsh", "fish"] | None,
    typer.Argument(metavar="SHELL", help="bash, zsh or fish; none: the shell that this is called from."),
]

NOW = {
    "bash": "every new bash has it; to have it in this one: exec bash",
    "zsh": "every new zsh has it; to have it in this one: exec zsh",
    "fish": "fish has it from now on",
}


@command(
    "completion:install",
    DRY_RUN,
    examples={
        "completion:install": "for the shell that this is called from",
        "completion:install zsh --dry-run": "show what would be written for another one",
    },
)
def install(call: Call, shell: Shell = None) -> None:
    """Make the shell complete commands, groups and options.

    Writes the completion where bash, zsh or fish looks for it, and for bash and zsh one line at the end of ~/.bashrc or
    .zshrc, which reads it. What is there already stays as it is.
    """
    import os

    from nodepkg.cli.plans import carry_out
    from nodepkg.cli.shells import pieces, plan_install
    from nodepkg.render.files import Outcome, State

    name = shell or _calling_shell()
    states = [(piece, piece.state()) for piece in pieces(name, os.environ)]

    def show(reports: list[dict[str, Any]]) -> None:
        done = {report["path"]: report["state"] for report in reports}
        rest = {
            str(piece.path): str(Outcome.UNCHANGED) if state is State.FRESH else "failed" for piece, state in states
        }
        found = {path: done.get(path, state) for path, state in rest.items()}
        document = {"shell": name, "files": [{"path": path, "state": state} for path, state in found.items()]}
        call.out.result(document, [f"{state:<9} {path}" for path, state in found.items()])

    carry_out(call, plan_install(states), None, show)
    if not call.dry_run:
        call.out.note(NOW[name])


def _calling_shell() -> str:
    """The nearest shell among the processes that called this one, or that of SHELL; raises UsageError for any other."""
    import os

    import shellingham

    from nodepkg.errors import UsageError

    try:
        nearest = shellingham.detect_shell()[0]
    except (shellingham.ShellDetectionFailure, OSError):
        nearest = ""
    for name in (nearest, os.path.basename(os.environ.get("SHELL", ""))):  # noqa: PTH119 - a word, not a path
        if name in NOW:
            return name
    raise UsageError(
        "cannot tell which shell this is called from", hint="name it: package completion:install bash, zsh or fish"
    )
