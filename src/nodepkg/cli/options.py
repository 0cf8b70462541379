"""The options that commands share, stated once: `@command(name, *sets)` gives a command those of its sets."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nodepkg.cli.app import app
from nodepkg.cli.output import Output
from nodepkg.errors import UsageError

if TYPE_CHECKING:
    from nodepkg.nodes.load import Nodes

Groups = Annotated[list[str] | None, typer.Argument(metavar="[GROUP]...", help="Groups, by name or glob; none: all.")]
Group = Annotated[str, typer.Argument(metavar="GROUP", help="The group.")]
Check = Annotated[bool, typer.Option("--check", help="Write nothing; exit 4 if anything on disk is stale or missing.")]

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
CHANGES = {
    "dry_run": Annotated[bool, typer.Option("--dry-run", help="Show what would be done, and do nothing.")],
    "yes": Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")],
}


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

    def load(self) -> "Nodes":
        """The nodes.json that the call means."""
        from nodepkg.nodes.load import load

        path = self._file()
        self.out.detail(f"reading {path}")
        return load(path)

    def root(self) -> Path:
        """The folder of that nodes.json, whatever is in the file."""
        return self._file().parent

    def _file(self) -> Path:
        import os

        from nodepkg.nodes.source import find

        try:
            here = Path.cwd()
        except FileNotFoundError:
            raise UsageError("the current folder is gone", hint="cd to one that exists") from None
        return find(here, os.environ, self.nodes)

    def names(self, nodes: "Nodes", patterns: list[str] | None) -> list[str]:
        """The groups that the call means, by name."""
        from nodepkg.nodes.select import select

        return select(nodes, patterns or [], self.region)


def command(name: str, *sets: dict[str, Any], hidden: bool = False) -> Callable[..., Any]:
    """Adds a function `(call, …own arguments)` to the program, with the options of the sets and of OUTPUT."""

    def add(function: Callable[..., None]) -> Callable[..., None]:
        shared = {key: option for options in (*sets, OUTPUT) for key, option in options.items()}
        own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
        added = [
            inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=_default(option), annotation=option)
            for key, option in shared.items()
        ]

        def invoke(**given: Any) -> None:
            said = {key: given.pop(key) for key in shared}
            out = Output(
                json=said.pop("json"),
                quiet=said.pop("quiet"),
                verbose=said.pop("verbose"),
                color=not said.pop("no_color"),
            )
            said.pop("debug")  # it is the error handler's
            function(Call(out, **said), **given)

        invoke.__doc__ = function.__doc__
        invoke.__signature__ = inspect.Signature([*own, *added])  # type: ignore[attr-defined]
        invoke.__annotations__ = {}
        app.command(name, hidden=hidden)(invoke)
        return function

    return add


def _default(option: Any) -> Any:
    return False if option.__origin__ is bool else None
