"""Text laid out for people: columns, records, and lines that break between words."""

import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence

# `package packer:run web --sandbox`, up to what cannot belong to it: it stays on one line, so that it can be copied.
_COMMAND = re.compile(r"package [a-z]+:[a-z]+(?: (?:--[a-z][a-z-]*|[A-Za-z0-9_'\"./*-]*[A-Za-z0-9_'\"*]))*")
_UNBREAKABLE = "\u00a0"
_SECOND_CELL = "\ufdd0"  # stands behind a character that is two cells wide, while lines are measured
GAP = 2  # cells between two columns


def printable(text: str) -> str:
    """Without what would move the cursor or colour the terminal: a description is anybody's text. A tab is a space."""
    return "".join(char if char.isprintable() else " " if char == "\t" else ascii(char)[1:-1] for char in text)


def cells(text: str) -> int:
    """How many cells of a terminal the text takes: two for most characters of East Asia, none for a combining one."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len  # here: what is piped into another program mostly does without rich

    return cell_len(text)


def aligned(rows: Sequence[Sequence[str]]) -> Iterable[str]:
    """The rows as lines, each column as wide as its widest cell."""
    widths = [max(cells(cell) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        filled = (cell + " " * (width - cells(cell)) for cell, width in zip(row, widths, strict=True))
        yield (" " * GAP).join(filled).rstrip()


def folded(rows: Sequence[Sequence[str]], width: int) -> list[str]:
    """As `aligned`, but that the last column, which has words, goes on below itself instead of beyond the width."""
    parts = [wrapped(row[-1], width - narrow(rows) - GAP) for row in rows]
    lines = [
        (*(row[:-1] if number == 0 else [""] * (len(row) - 1)), part)
        for row, its in zip(rows, parts, strict=True)
        for number, part in enumerate(its)
    ]
    return list(aligned(lines))


def narrow(rows: Sequence[Sequence[str]]) -> int:
    """How many cells the rows take without their last column."""
    return max(map(cells, aligned([row[:-1] for row in rows])))


def records(columns: Sequence[str], rows: Iterable[Sequence[str]], width: int) -> Iterator[str]:
    """Each row as a block of lines, for a table that is wider than the terminal; what is empty is left out."""
    widest = max(map(len, columns[1:]))
    for row in rows:
        yield row[0]
        for name, cell in zip(columns[1:], row[1:], strict=True):
            if cell != "-":
                yield from wrapped(f"  {name.ljust(widest)}  {cell}", width, indent=widest + 4)


def wrapped(text: str, width: int, *, indent: int = 2) -> list[str]:
    """The text in lines of at most `width` cells, broken between words only; those after the first are indented.

    A word that is longer (a path, an id) and a command that could be copied stay whole.
    """
    whole = _COMMAND.sub(lambda command: command[0].replace(" ", _UNBREAKABLE), text)
    if not whole.isascii():
        whole = "".join(char + _SECOND_CELL * (cells(char) - 1) for char in whole)
    made = textwrap.wrap(
        whole,
        max(width, 20),
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
        replace_whitespace=False,
        drop_whitespace=True,
    )
    return [line.replace(_UNBREAKABLE, " ").replace(_SECOND_CELL, "") for line in made] or [""]


def count(number: int, noun: str) -> str:
    """`1 image`, `2 images`."""
    return f"{number} {noun}{'s' * (number != 1)}"


def age(seconds: int) -> str:
    """`90` as `1m`, `7200` as `2h`, `200000` as `2d`."""
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= length:
            return f"{seconds // length}{unit}"
    return f"{max(seconds, 0)}s"
