"""What the program prints: results on stdout (table, lines or JSON), notes, progress and errors on stderr."""

import json
import os
import re
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TextIO

from nodepkg.cli.layout import GAP, aligned, cells, folded, narrow, printable, records, wrapped
from nodepkg.errors import POLICY_HINT, RefusedError

# The least room, in cells of the terminal, for the last column of a table, which is the one that wraps.
LAST_COLUMN = 30

# The commands that talk to AWS.
_ON_AWS = {
    "packer:run",
    "packer:clean",
    "packer:delete",
    "packer:list",
    "packer:sweep",
    "packer:adopt",
    "autoscale:run",
    "autoscale:status",
    "autoscale:resize",
    "autoscale:stop",
    "autoscale:start",
    "autoscale:delete",
    "autoscale:update",
    "autoscale:rollback",
    "group:status",
    "instance:deploy",
    "instance:create",
    "instance:list",
    "instance:delete",
    "instance:ssh",
}

# As clients.aws and Packer tell that IAM does not allow something.
_DENIED = re.compile(r"not allowed: [a-z0-9-]+:\w|is not authorized to perform: |UnauthorizedOperation")

_STYLES = {"bold": "1", "red": "31", "green": "32", "magenta": "35"}


@dataclass(frozen=True)
class Output:
    """How this call wants to be answered. With `json` stderr holds one JSON object a line, too."""

    json: bool = False
    quiet: bool = False
    verbose: bool = False
    color: bool = True
    given: Mapping[str, str] = field(default_factory=dict)
    command: str = "COMMAND"

    def suggested(self, text: str) -> str:
        """The text, its commands to run with those options of this call without which they would run elsewhere."""

        def with_options(found: re.Match[str]) -> str:
            on_aws = found[1] in _ON_AWS
            wanted = ("sandbox", "profile", "nodes") if on_aws else ("nodes",)
            return found[0] + "".join(self.given.get(key, "") for key in wanted)

        text = text.replace("package iam:policy COMMAND", f"package iam:policy {self.command}")
        return re.sub(r"package ([a-z]+:[a-z]+)(?: [A-Za-z0-9_][\w-]*(?::\w+)?)*", with_options, text)

    def result(self, document: Any, lines: Iterable[str]) -> None:
        """The result, as JSON or as lines."""
        if self.json:
            self.document(document)
        else:
            sys.stdout.write("".join(f"{line}\n" for line in lines))

    def table(self, document: Any, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """The result as JSON, as a table on a terminal, or as lines with aligned columns; an empty cell is a dash.

        On a terminal that is too narrow each row becomes a block of lines: a table would cut ids in two.
        """
        if self.json:
            self.document(document)
            return
        shown = self._cells(rows)
        if sys.stdout.isatty():
            width = shutil.get_terminal_size().columns
            if _fits([columns, *shown], width):
                self._rich_table([columns, *shown], width)
                return
        sys.stdout.write("".join(f"{line}\n" for line in _laid_out(columns, shown, sys.stdout)))

    def lines(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
        """A table as lines that fit where stdout is."""
        return _laid_out(columns, self._cells(rows), sys.stdout)

    def _cells(self, rows: Sequence[Sequence[str]]) -> list[list[str]]:
        return [[printable(self.suggested(cell)) or "-" for cell in row] for row in rows]

    def plan(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """What is going to be done, on stderr, before anybody is asked."""
        if not rows:
            return
        shown = [[printable(cell) or "-" for cell in row] for row in rows]
        for line in _laid_out(columns, shown, sys.stderr):
            self.note(line, wrap=False)

    def document(self, document: Any) -> None:
        escape = not (sys.stdout.encoding or "").lower().startswith("utf")  # valid JSON in every locale
        sys.stdout.write(json.dumps(document, indent=4, ensure_ascii=escape) + "\n")

    def line(self, document: Any, text: str) -> None:
        """One of several results that come one by one: a JSON document in one line, or a line of text."""
        escape = not (sys.stdout.encoding or "").lower().startswith("utf")
        told = json.dumps(document, ensure_ascii=escape) if self.json else printable(self.suggested(text))
        sys.stdout.write(f"{told}\n")
        sys.stdout.flush()

    def note(self, text: str, *, wrap: bool = True) -> None:
        """Something beside the result: what is being done, what was left out."""
        if not self.quiet:
            self._tell("note", text, wrap=wrap)

    def warning(self, text: str) -> None:
        if not self.quiet:
            self._tell("warning", text)

    def progress(self, group: str, text: str, **facts: Any) -> None:
        """One message of what is done for a group, as it comes; `facts` are told as JSON only."""
        if not self.quiet:
            text = printable(text)
            line = self._fitted(f"[{group}] {text}")
            told = self._line("progress", text, group=group, **facts) if self.json else line
            self._print(told)

    def detail(self, text: str) -> None:
        """What only --verbose shows."""
        if self.verbose:
            self._tell("detail", text)

    def error(self, message: str, hint: str, code: int) -> None:
        if _DENIED.search(message) and POLICY_HINT not in hint:  # who passed the error on may have given another hint
            hint = f"{POLICY_HINT}; {hint}" if hint else POLICY_HINT
        message, hint = self.suggested(message), self.suggested(hint)
        if self.json:
            self._print(self._line("error", message, hint=hint, exit_code=code))
            return
        message, hint = _lines(message), _lines(hint)
        lines = message.split("\n")
        several = len(lines) > 1 and not lines[1].startswith(" ")
        text = "\n".join(
            ["error:", *(f"  {line}" for line in lines)] if several else ["error: " + lines[0], *lines[1:]]
        )
        self._print(self._fitted(text).replace("error:", self._red("error:"), 1))
        if hint:
            self._print(self._fitted(f"  hint: {hint}"))

    def _tell(self, level: str, text: str, *, wrap: bool = True) -> None:
        text = self.suggested(text)
        if self.json:
            self._print(self._line(level, text))
        else:
            told = _lines(f"warning: {text}" if level == "warning" else text)
            self._print(self._fitted(told) if wrap else told)

    def _line(self, level: str, text: str, **more: Any) -> str:
        return json.dumps({"level": level, "message": text, **more}, ensure_ascii=False)

    def _fitted(self, text: str) -> str:
        """The text for the terminal that stderr is; what quotes a file (indented by four) is left as it is."""
        if not sys.stderr.isatty():
            return text
        width = shutil.get_terminal_size().columns
        lines = [
            [line] if line.startswith("    ") else wrapped(line, width, indent=4 if line.startswith("  ") else 2)
            for line in text.split("\n")
        ]
        return "\n".join(line for part in lines for line in part)

    def _print(self, text: str) -> None:
        # Whoever read stderr may have gone: that is no reason to leave a build, or a change in AWS, half done.
        with suppress(OSError, ValueError):
            # Line and end at once: threads tell things, too.
            print(f"{text}\n", end="", file=sys.stderr, flush=True)  # noqa: T201 - the one place that prints messages

    def _red(self, text: str) -> str:
        return f"\033[1;31m{text}\033[0m" if self.wants_color and sys.stderr.isatty() else text

    def painted(self, text: str, style: str) -> str:
        """A line of the result in a colour of _STYLES (or none), without what would steer the terminal."""
        clean = printable(text)
        code = _STYLES.get(style) if self.wants_color and sys.stdout.isatty() else None
        return f"\033[{code}m{clean}\033[0m" if code else clean

    def paragraph(self, text: str, *, indent: int = 2) -> list[str]:
        """Words of the result as lines for the terminal that stdout is; a file or a pipe gets one line."""
        if not sys.stdout.isatty():
            return [printable(text)]
        return wrapped(printable(text), shutil.get_terminal_size().columns, indent=indent)

    @property
    def wants_color(self) -> bool:
        return self.color and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"

    @property
    def can_move_the_cursor(self) -> bool:
        """Whether the terminal, if there is one, is one on which lines can be written anew."""
        return os.environ.get("TERM", "dumb") not in ("dumb", "unknown", "")

    def _rich_table(self, lines: Sequence[Sequence[str]], width: int) -> None:
        from rich import box
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        columns, *rows = lines
        style = "bold" if self.wants_color else ""
        table = Table(*columns, box=box.SIMPLE_HEAD, header_style=style, pad_edge=False, show_edge=False)
        table.padding = (0, GAP - 1, 0, 0)  # the box adds one cell between columns
        for column in table.columns[:-1]:
            column.no_wrap = True
        table.columns[-1].overflow = "fold"
        for row in rows:
            table.add_row(*map(Text, row))
        # Without a height, too, rich takes TERM=dumb for 80 columns.
        Console(width=width, height=25, no_color=not self.wants_color, highlight=False).print(table)


def _lines(text: str) -> str:
    """The text without what would steer the terminal: it may quote another program, or a file."""
    return "\n".join(map(printable, text.split("\n")))


def _laid_out(columns: Sequence[str], rows: Sequence[Sequence[str]], stream: TextIO) -> list[str]:
    """The rows as aligned lines, or as records on a terminal that is too narrow for those."""
    if not stream.isatty():
        return list(aligned([columns, *rows]))
    width = shutil.get_terminal_size().columns
    return folded([columns, *rows], width) if _fits([columns, *rows], width) else list(records(columns, rows, width))


def _fits(rows: Sequence[Sequence[str]], width: int) -> bool:
    """Whether a table has the room, if its last column is wrapped."""
    return min(narrow(rows) + GAP + LAST_COLUMN, max(map(cells, aligned(rows)))) <= width


def confirm(question: str, *, yes: bool, name: str | None = None) -> bool:
    """Asks on the terminal, unless `yes`; whether it asked. Raises RefusedError if it is denied, or nobody is there.

    With `name` the answer has to be that name, which nobody types by habit.
    """
    if yes:
        return False
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise RefusedError("nobody to ask: this is no terminal", hint="--yes answers the question")
    wanted = f"type {name} to confirm:" if name else "[y/N]"
    print(f"{question} {wanted} ", end="", file=sys.stderr, flush=True)  # noqa: T201
    try:
        answer = sys.stdin.readline()
    except KeyboardInterrupt:
        answer = ""
    if not answer.endswith("\n"):
        print(file=sys.stderr)  # noqa: T201 - after Ctrl-C or Ctrl-D the cursor stands behind the question
    agreed = answer.strip() == name if name else answer.strip().lower() in ("y", "yes")
    if not agreed:
        raise RefusedError("not confirmed: nothing was changed")
    return True


def prompt_secret(question: str) -> str | None:
    """What is typed on the terminal without being shown; None if nobody is there."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return None
    from getpass import getpass

    try:
        return getpass(question)
    except EOFError:
        return None
