"""What the word under the cursor may become: the program's half of shell completion.

The other half is templates/completion/, which calls the program with `VARIABLE` set to the name of the shell. The
library knows the commands and their options; its parser is used without its conversion of values, which would load
pydantic and take as long as everything else together.
"""

import os
import shlex
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import typer

VARIABLE = "_PACKAGE_COMPLETE"

# Instead of candidates: the shell shall offer file names, which it can do better.
FILES = "<files>"

# What a word can be completed to, each with its description; None: file names.
Candidates = list[tuple[str, str]] | None


@dataclass(frozen=True)
class Line:
    """A command line without the program: the words before the cursor's, that one up to the cursor, and those after."""

    before: Sequence[str]
    word: str
    after: Sequence[str] = ()


def answer(shell: str, arguments: Sequence[str]) -> str:
    """The lines that the function of this shell (bash, zsh or fish) expects for its arguments."""
    if shell == "bash":
        before, after, replaced = arguments
        line = bash_line(before, after)
        found = candidates(line)
        return FILES if found is None else "\n".join(bash_replies(found, line.word, replaced))
    position, *words = arguments
    index = int(position)
    found = candidates(Line(words[:index], words[index], words[index + 1 :]))
    if found is None:
        return FILES
    show = {"zsh": _zsh, "fish": _fish}[shell]
    return "\n".join(show(value, description) for value, description in found)


def _zsh(value: str, description: str) -> str:
    """As `_describe` wants it."""
    value = value.replace("\\", "\\\\").replace(":", "\\:")
    return f"{value}:{description}" if description else value


def _fish(value: str, description: str) -> str:
    return f"{value}\t{description}" if description else value


def bash_line(before: str, after: str) -> Line:
    """The line as bash has it: what stands before the cursor and what follows, quoted as the user left it."""
    program_and_words = _words(before)
    rest = _words(after + " ")[:-1]
    return Line(program_and_words[1:-1], program_and_words[-1], rest if after[:1].isspace() else rest[1:])


def bash_replies(found: Iterable[tuple[str, str]], word: str, replaced: str) -> list[str]:
    """The candidates that fit the word, without what bash leaves in place.

    Bash replaces only what follows the last of COMP_WORDBREAKS, which is `replaced`: of `role:cr` the `cr`.
    """
    replaced = _words(replaced)[-1]
    kept = len(word) - len(replaced) if word.endswith(replaced) else 0
    return [value[kept:] for value, _ in found if value.startswith(word)]


def _words(text: str) -> list[str]:
    """The words of a piece of a command line, the last of which may lack its end, or be yet to come ("")."""
    end = "\0"  # what no command line can hold
    for quote in ("", '"', "'"):
        with suppress(ValueError):
            words = shlex.split(text + end + quote)
            return [*words[:-1], words[-1].removesuffix(end)]
    return [""]


def candidates(line: Line) -> Candidates:
    """What the word can become. They need not begin with it: how a word is matched is the shell's affair, or bash's."""
    from nodepkg.cli.app import app

    _add_commands(line.before)
    program: Any = typer.main.get_command(app)
    context = _context(program, line.before)
    if context.args:
        command = program.get_command(context, context.args[0])
        if command is None:
            return []
        # The option that names the nodes.json may stand behind the cursor.
        context = _context(command, [*context.args[1:], *line.after], parent=context)
    return _of(_meant(context, line), context, line)


def _add_commands(words: Iterable[str]) -> None:
    """Imports the namespace of the command that stands on the line, which is all that is needed of them, or all."""
    from nodepkg.cli.app import read_namespace

    if not read_namespace(next((word for word in words if ":" in word), "")):
        import_module("nodepkg.cli.commands")


def _context(command: Any, words: Sequence[str], parent: Any = None) -> Any:
    """The context of the command after these words: in `params` what they give as text, in `args` what is left over."""
    settings = {"resilient_parsing": True, **command.context_settings}
    context = command.context_class(command, info_name=command.name, parent=parent, **settings)
    given, left, _ = command.make_parser(context).parse_args(args=list(words))
    context.params.update({name: value for name, value in given.items() if value})
    context.args = left
    return context


def _meant(context: Any, line: Line) -> Any:
    """The parameter whose value the word is, or None: it is a command, or an option's name."""
    parameters = context.command.get_params(context)
    last, name = line.before[-1] if line.before else "", line.word.partition("=")[0]
    for parameter in parameters:
        takes_value = parameter.param_type_name == "option" and not parameter.is_flag and not parameter.count
        if takes_value and (last in parameter.opts or ("=" in line.word and name in parameter.opts)):
            return parameter
    if line.word.startswith("-") and "--" not in line.before:
        return None
    arguments = (parameter for parameter in parameters if parameter.param_type_name == "argument")
    return next((each for each in arguments if each.nargs == -1 or each.name not in context.params), None)


def _of(parameter: Any, context: Any, line: Line) -> Candidates:
    if parameter is None:
        dash = "-" if line.word.startswith("-") and "--" not in line.before else ""
        found = context.command.shell_complete(context, dash)
        used = {name for each in context.command.params if each.name in context.params for name in each.opts}
    elif parameter.type_descriptor.is_path:
        return None
    else:
        found = parameter.shell_complete(context, "")
        used = {*line.before, *line.after}
    return [(each.value, each.help or "") for each in found if each.value not in used]


def known_groups(ctx: typer.Context) -> list[str]:
    """The groups of the nodes.json that the line means."""
    from nodepkg.errors import ConfigError
    from nodepkg.nodes.glance import group_names
    from nodepkg.nodes.nearest import find

    given = ctx.params.get("nodes")
    try:
        path = find(Path.cwd(), os.environ, Path(given).expanduser() if given else None)
    except (ConfigError, OSError, RuntimeError):
        return []
    return group_names(path)


def complete(arguments: Sequence[str], write: Callable[[bytes], Any]) -> None:
    """Answers the shell. Nothing that goes wrong here may be seen on the line that somebody is typing."""
    with suppress(Exception):
        text = answer(os.environ[VARIABLE], arguments)
        write(f"{text}\n".encode() if text else b"")
