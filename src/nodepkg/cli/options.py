"""The options that commands share, stated once: `@command(name, *sets)` gives a command those of its sets."""

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nodepkg.cli.app import app
from nodepkg.cli.candidates import known_groups
from nodepkg.cli.help import CommandPage
from nodepkg.cli.output import Output
from nodepkg.errors import ConfigError, NodepkgError, UsageError

if TYPE_CHECKING:
    from nodepkg.nodes.load import Nodes

Groups = Annotated[
    list[str] | None,
    typer.Argument(metavar="GROUP", help="Groups, by name or glob; none: all.", autocompletion=known_groups),
]
SomeGroups = Annotated[
    list[str], typer.Argument(metavar="GROUP", help="Groups, by name or glob.", autocompletion=known_groups)
]
Group = Annotated[str, typer.Argument(metavar="GROUP", help="The group.", autocompletion=known_groups)]
Folder = Annotated[
    Path | None, typer.Argument(metavar="FOLDER", help="The folder; none: this one. It is made if it is not there.")
]
Key = Annotated[
    str | None, typer.Argument(metavar="KEY.PATH", help="A key, as packer.chef.path or run_list.0; none: all.")
]
Rev = Annotated[str, typer.Argument(metavar="REV", help="A git revision: a branch, a tag, a commit, HEAD~2.")]
Check = Annotated[bool, typer.Option("--check", help="Write nothing; exit 4 if anything on disk is stale or missing.")]

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def duration(text: str) -> timedelta:
    """`14d`, `24h`, `1h30m`, `90s`, `2w`, `0`; raises typer.BadParameter for anything else."""
    parts = re.findall(r"(\d+)([smhdw])", text)
    if text != "0" and (not parts or "".join(map("".join, parts)) != text):
        raise typer.BadParameter(f"{text!r} is no duration: write 14d, 24h, 90m, 30s or 1h30m")
    try:
        return sum((timedelta(**{_UNITS[unit]: int(number)}) for number, unit in parts), timedelta())
    except OverflowError:
        raise typer.BadParameter(f"{text!r} is longer than anything lasts") from None


OUTPUT = {
    "json": Annotated[bool, typer.Option("--json", help="Print one JSON document.")],
    "quiet": Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no notes; results and errors only.")],
    "verbose": Annotated[bool, typer.Option("--verbose", "-v", help="Say more of what is done.")],
    "debug": Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")],
    "no_color": Annotated[bool, typer.Option("--no-color", help="No colours (as NO_COLOR does).")],
}
NODES = {"nodes": Annotated[Path | None, typer.Option("--nodes", metavar="PATH", help="The nodes.json to read.")]}
REGION = {
    "region": Annotated[str | None, typer.Option("--region", metavar="REGION", help="Only the groups of this region.")]
}
AWS = {
    "profile": Annotated[str | None, typer.Option("--profile", metavar="NAME", help="The AWS profile to use.")],
    "sandbox": Annotated[
        bool, typer.Option("--sandbox", envvar="NODEPKG_SANDBOX", help="Use the embedded AWS, not a real account.")
    ],
}
POLL = {
    "poll": Annotated[
        float,
        typer.Option(
            "--poll",
            envvar="NODEPKG_POLL_SECONDS",
            min=0.01,
            max=3600,
            metavar="SECONDS",
            help="How often to look while waiting.",
        ),
    ]
}
DRY_RUN = {
    "dry_run": Annotated[bool, typer.Option("--dry-run", help="Show what would be done, and do nothing.")],
}
CHANGES = {
    **DRY_RUN,
    "yes": Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")],
}
TAKE_OVER = {
    "take_over": Annotated[
        bool,
        typer.Option("--take-over", help="Take it from who holds it and has not been heard of for 20 minutes."),
    ]
}


class _Page(CommandPage):
    output = frozenset(OUTPUT)


SANDBOX_STATE = Path(".nodepkg", "sandbox")


@dataclass(frozen=True)
class Call:
    """What the shared options of one command line say; those that a command does not take have their defaults."""

    out: Output
    nodes: Path | None = None
    region: str | None = None
    profile: str | None = None
    sandbox: bool = False
    dry_run: bool = False
    yes: bool = False
    take_over: bool = False
    poll: float = 5.0
    services: Path | None = None
    instance: str | None = None
    address: str | None = None
    zone: str | None = None
    home: Path | None = None

    def load(self) -> "Nodes":
        """The nodes.json that the call means."""
        from nodepkg.nodes.load import load

        path = self._file()
        self.out.detail(f"reading {path}")
        return load(path)

    def _file(self) -> Path:
        import os

        from nodepkg.nodes.nearest import find

        return find(current_folder(), os.environ, self.nodes)

    def sandbox_state(self) -> Path:
        """Where the sandbox of this project keeps its state; also where nodes.json has gone meanwhile."""
        try:
            return self._file().parent / SANDBOX_STATE
        except ConfigError:
            here = Path.cwd()
            found = [folder for folder in (here, *here.parents) if (folder / SANDBOX_STATE).is_dir()]
            if not found:
                raise
            return found[0] / SANDBOX_STATE

    def names(self, nodes: "Nodes", patterns: list[str] | None) -> list[str]:
        """The groups that the call means, by name."""
        from nodepkg.nodes.select import select

        if not nodes.names:
            self.out.note(f"{nodes.source.path} has no groups")
        return select(nodes, patterns or [], self.region)


def current_folder() -> Path:
    """The folder in which the command is run; raises UsageError if somebody has removed it."""
    try:
        return Path.cwd()
    except FileNotFoundError:
        raise UsageError("the current folder is gone", hint="cd to one that exists") from None


def command(name: str, *sets: dict[str, Any], examples: Mapping[str, str], hidden: bool = False) -> Callable[..., Any]:
    """Adds a function `(call, …own arguments)` to the program, with the options of the sets and of OUTPUT.

    Its docstring is the help. The examples are command lines without `package`, each with what it does; they
    end the help.
    """

    def add(function: Callable[..., None]) -> Callable[..., None]:
        shared = {key: option for options in (*sets, OUTPUT) for key, option in options.items()}
        own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
        added = [
            inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=_default(option), annotation=option)
            for key, option in shared.items()
        ]

        def invoke(**given: Any) -> None:
            said = {key: given.pop(key) for key in shared}
            debug, out = said.pop("debug"), _output(name, said)
            try:
                function(Call(out, **said), **given)
            except NodepkgError as error:
                if debug:  # the traceback is shown by who called us
                    raise
                out.error(error.message, error.hint, error.exit_code)
                raise typer.Exit(error.exit_code) from error
            except KeyboardInterrupt as error:
                raise typer.Abort from error  # Typer would end without a word

        invoke.__doc__ = function.__doc__
        invoke.__signature__ = inspect.Signature([*own, *added])  # type: ignore[attr-defined]
        invoke.__annotations__ = {}
        shown = "\n".join(f"# {does}\npackage {line}" for line, does in examples.items())
        line = (function.__doc__ or "").split("\n\n")[0].replace("\n", " ").rstrip(".")
        app.command(name, cls=_Page, short_help=line, hidden=hidden, epilog=shown)(invoke)
        return function

    return add


def _output(command: str, said: dict[str, Any]) -> Output:
    """The Output that the options ask for; those that only it needs are taken out of `said`."""
    repeat = {"nodes": ("--nodes", said.get("nodes")), "profile": ("--profile", said.get("profile"))}
    given = {key: f" {option} {quote(str(value))}" for key, (option, value) in repeat.items() if value}
    if said.get("sandbox"):
        given["sandbox"] = " --sandbox"
    return Output(
        json=said.pop("json"),
        quiet=said.pop("quiet"),
        verbose=said.pop("verbose"),
        color=not said.pop("no_color"),
        given=given,
        command=command,
    )


def _default(option: Any) -> Any:
    """What an option is that is not given: what a Call has by itself."""
    return {bool: False, float: Call.poll}.get(option.__origin__)
