"""What the program prints: results on stdout (table, plain lines or JSON), notes and progress on stderr."""

import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Output:
    """How this call wants to be answered."""

    json: bool = False
    quiet: bool = False
    verbose: bool = False
    color: bool = True

    def result(self, document: Any, lines: Iterable[str]) -> None:
        """The result, as JSON or as lines."""
        if self.json:
            self.document(document)
        else:
            sys.stdout.write("".join(f"{line}\n" for line in lines))

    def table(self, document: Any, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """The result as JSON, as a table on a terminal, or as lines whose fields a tab separates."""
        if self.json:
            self.document(document)
        elif sys.stdout.isatty():
            self._rich_table(columns, rows)
        else:
            sys.stdout.write("".join("\t".join(row) + "\n" for row in rows))

    def document(self, document: Any) -> None:
        import json

        sys.stdout.write(json.dumps(document, indent=4, ensure_ascii=False) + "\n")

    def note(self, text: str) -> None:
        """Something beside the result, on stderr."""
        if not self.quiet:
            print(text, file=sys.stderr, flush=True)  # noqa: T201

    def warning(self, text: str) -> None:
        self.note(f"warning: {text}")

    def detail(self, text: str) -> None:
        if self.verbose:
            print(text, file=sys.stderr, flush=True)  # noqa: T201

    @property
    def wants_color(self) -> bool:
        return self.color and not os.environ.get("NO_COLOR")

    def _rich_table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        from rich import box
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(*columns, box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False, show_edge=False)
        for row in rows:
            table.add_row(*(Text(cell) for cell in row))
        Console(no_color=not self.wants_color, highlight=False).print(table)


def confirm(question: str, *, yes: bool) -> None:
    """Asks on the terminal; raises RefusedError if the answer is no, or if there is nobody to ask."""
    from nodepkg.errors import RefusedError

    if yes:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise RefusedError("nobody to ask: this is no terminal", hint="--yes answers the question")
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)  # noqa: T201
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise RefusedError("not confirmed; nothing was changed")


def age(seconds: int) -> str:
    """`90` as `1m`, `7200` as `2h`, `200000` as `2d`."""
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= length:
            return f"{seconds // length}{unit}"
    return f"{max(seconds, 0)}s"
