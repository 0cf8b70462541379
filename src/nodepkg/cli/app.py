"""The command line as a whole: the Typer application, its list of commands, its way out."""

import errno
import io
import os
import signal
import sys
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import typer
import typer.main
from typer.exceptions import TyperException

from nodepkg.cli.help import CommandList
from nodepkg.cli.output import Output
from nodepkg.errors import ExitCode, NodepkgError

HELP = """One nodes.json, and everything that follows from it: Chef roles, Packer templates, dna, machine images,
Auto Scaling groups.

package NAMESPACE:ACTION [GROUP...] [OPTIONS]: groups are names or globs ('12_04-*'); none means all."""


app = typer.Typer(
    cls=CommandList,
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


def has_read(words: list[str]) -> bool:
    """Whether the first word is a command, of which the namespace was read: then no other one has to be."""
    return any(read_namespace(word) for word in words[:1]) and words[0] in {
        command.name for command in app.registered_commands
    }


def read_namespace(word: str) -> bool:
    """Imports the file of the namespace that a word begins with, which adds its commands; False if there is none."""
    namespace, colon, _ = word.partition(":")
    module = f"{__package__}.{namespace}"
    if not (colon and namespace.isidentifier() and find_spec(module)):
        return False
    import_module(module)
    return True


def run(arguments: list[str]) -> int:
    """Runs one command line and returns the exit code; every error becomes one message on stderr."""
    out = Output(json="--json" in arguments, color="--no-color" not in arguments)
    _prepare_streams()
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
            signal.signal(number, _interrupt)
    answer: int = ExitCode.DONE
    try:
        built = _built(len(app.registered_commands))
        code = built(arguments or ["--help"], prog_name="package", standalone_mode=False)
        answer = code if isinstance(code, int) else ExitCode.DONE
        sys.stdout.flush()
        return answer
    except (BrokenPipeError, SystemExit) as error:
        # Typer makes an exit of 1 of a broken pipe.
        if isinstance(error, SystemExit) and not isinstance(error.__context__, BrokenPipeError):
            raise
        _forget_stdout()  # whoever read it has gone (`| head`); that something failed, it has all the same
        return answer
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the last resort, also for bugs
        if "--debug" in arguments:
            import traceback

            traceback.print_exc()
        message, hint, code = _in_words(error)
        out.error(message, hint, code)
        return code


@lru_cache(maxsize=1)
def _built(_commands: int) -> Any:
    """The application with so many commands: Typer would make them all anew for each command line."""
    return typer.main.get_command(app)


def _interrupt(*_: object) -> None:
    """A terminal that closes, or a `kill`, ends a command as Ctrl-C does: what was begun is wound down."""
    raise KeyboardInterrupt


def _in_words(error: BaseException) -> tuple[str, str, ExitCode]:
    """Message, hint and exit code of whatever ended a command."""
    if isinstance(error, NodepkgError):
        return error.message, error.hint, error.exit_code
    if isinstance(error, KeyboardInterrupt | typer.Abort):
        return "interrupted", "", ExitCode.INTERRUPTED
    if isinstance(error, TyperException):
        context = getattr(error, "ctx", None)
        told = error.format_message() if hasattr(error, "format_message") else str(error)
        command = context.command_path if context else "package"
        told = told.replace(": Value error, ", ": ", 1)  # so pydantic begins the words of a ValueError
        after = "options stand after the command; " if command == "package" and "option" in told else ""
        return told.rstrip("."), f"{after}{command} --help", ExitCode.USAGE
    if isinstance(error, OSError) and error.errno == errno.ENOSPC and error.filename is None:
        _forget_stdout()
        return f"the result cannot be written: {error.strerror}", "", ExitCode.TOOL
    told = f"a bug in nodepkg: {type(error).__name__}: {error}"
    return told, "run it again with --debug, and report it", ExitCode.BUG


def _prepare_streams() -> None:
    """Output that a locale cannot write is escaped, and a stream that was closed (`>&-`) swallows it."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("r" if name == "stdin" else "w"))  # noqa: SIM115 - for good
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _forget_stdout() -> None:
    """Python would complain once more while it closes a stream that cannot be written."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
