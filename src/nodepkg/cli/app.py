"""The command line as a whole: the Typer application, its list of commands, its way out."""

import os
import sys
from typing import Any

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from nodepkg.errors import ExitCode, NodepkgError

HELP = """One nodes.json, and everything that follows from it: Chef roles, Packer templates, dna, machine images,
Auto Scaling groups.

package NAMESPACE:ACTION [GROUP...] [OPTIONS]: groups are names or globs ('12_04-*'); none means all."""


class Commands(TyperGroup):
    """Lists the commands by namespace, one line each."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        namespaces: dict[str, list[tuple[str, str]]] = {}
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            if command is not None and not command.hidden:
                line = (command.help or "").split("\n\n")[0].replace("\n", " ").rstrip(".")
                namespaces.setdefault(name.partition(":")[0], []).append((name, line))
        widest = max(len(name) for commands in namespaces.values() for name, _ in commands)
        for namespace, commands in namespaces.items():
            with formatter.section(namespace):
                formatter.write_dl([(name.ljust(widest), line) for name, line in commands])


app = typer.Typer(
    cls=Commands,
    help=HELP,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _version(asked: bool) -> None:
    if asked:
        from nodepkg import __version__

        typer.echo(f"nodepkg {__version__}")
        raise typer.Exit


@app.callback()
def _package(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Show the version."),
) -> None:
    """The options of the program itself."""


def run(arguments: list[str]) -> int:
    """Runs one command line and returns the exit code; every error becomes one message on stderr."""
    debug = "--debug" in arguments
    _never_fail_to_print()
    try:
        code = app(arguments or ["--help"], prog_name="package", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else ExitCode.DONE
    except NodepkgError as error:
        _tell(error.message, error.hint, debug)
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        _tell("interrupted", "", debug)
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        # Whoever read stdout has gone (`| head`). Python would complain once more while it closes it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.DONE
    except TyperException as error:
        context = getattr(error, "ctx", None)
        told = error.format_message() if hasattr(error, "format_message") else str(error)
        _tell(told, f"{context.command_path} --help" if context else "package --help", debug)
        return ExitCode.USAGE
    except Exception as error:  # noqa: BLE001 - the last resort: a bug is told as one, not as a traceback
        _tell(f"a bug in nodepkg: {type(error).__name__}: {error}", "run it again with --debug, and report it", debug)
        return ExitCode.BUG


def _tell(message: str, hint: str, debug: bool) -> None:
    if debug:
        import traceback

        traceback.print_exc()
    lines = message.rstrip(".").split("\n")
    many = len(lines) > 1 and not lines[1].startswith(" ")
    text = "\n".join(["error:", *(f"  {line}" for line in lines)]) if many else f"error: {message}"
    print(text + (f"\n  hint: {hint}" if hint else ""), file=sys.stderr)  # noqa: T201


def _never_fail_to_print() -> None:
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
