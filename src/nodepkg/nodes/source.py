"""nodes.json as text: reading it, and saying where in it something stands."""

import json
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nodepkg.errors import ConfigError

KeyPath = tuple[str | int, ...]

# Chef attributes nest a handful of levels; Python's own parsers and writers give up near 1,000.
DEEPEST = 100
WIDEST_LINE = 100


@dataclass(frozen=True)
class Source:
    """A file that was read: `path` as the user wrote it, and its parsed content."""

    path: Path
    text: str
    document: dict[str, Any]

    def lines(self, wanted: Iterable[KeyPath]) -> dict[KeyPath, int]:
        """For each path the line, from 1, of its key (or item); that of its nearest parent if it is absent."""
        lines: dict[KeyPath, int] = {}
        if not (wanted := list(wanted)):
            return lines  # to walk through a large file takes longer than to read it
        found = {place.path: place.offset for place in places(self.text)}
        for path in wanted:
            present = next((path[:end] for end in range(len(path), 0, -1) if path[:end] in found), ())
            lines[path] = line_of(self.text, found.get(present, 0))
        return lines


@dataclass(frozen=True)
class Place:
    """Where one value stands: the offset of its key (of itself in a list), and that of what holds it."""

    path: KeyPath
    offset: int
    container: int


@dataclass
class _Open:
    """A container that the walk is inside of: in an object `at` is the current key, in a list the index."""

    offset: int
    at: str | int | None
    key_offset: int = -1


_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+', re.DOTALL)


def places(text: str) -> Iterator[Place]:
    """Every value of a valid JSON text with the place where it stands, in order; it does not recurse."""
    stack: list[_Open] = []
    for token in _TOKEN.finditer(text):
        mark, inside = token[0], stack[-1] if stack else None
        if mark in "}]":
            stack.pop()
        elif mark == "," and inside is not None:
            inside.at = inside.at + 1 if isinstance(inside.at, int) else None
        elif mark == ":":
            continue
        elif inside is not None and inside.at is None:
            inside.at, inside.key_offset = json.loads(mark, strict=False), token.start()
        else:
            path = tuple(opened.at for opened in stack if opened.at is not None)
            in_object = inside is not None and isinstance(inside.at, str)
            offset = inside.key_offset if in_object and inside else token.start()
            yield Place(path, offset, inside.offset if inside else -1)
            if mark in "{[":
                stack.append(_Open(token.start(), None if mark == "{" else 0))


def line_of(text: str, offset: int) -> int:
    return text.count("\n", 0, offset) + 1


def read(path: Path) -> Source:
    """Reads and parses the file; every way in which it can be broken is a ConfigError that says where."""
    text = _text(path)
    document = _parse(path, text)
    if not isinstance(document, dict):
        raise ConfigError(f"{path}:1: has to be an object of groups, {{…}}, and is {kind_of(document)}")
    if _deeper_than(document, DEEPEST):
        raise ConfigError(f"{path}: is nested deeper than {DEEPEST} levels", hint="a bracket is probably missing")
    if re.search(r"\\u[dD][89a-fA-F]", text):
        _refuse_half_characters(path, text, document)
    return Source(path, text, document)


def _text(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ConfigError(f"{path}: is UTF-16", hint="save it as UTF-8")
    if raw.startswith(b"\xef\xbb\xbf"):
        raise ConfigError(f"{path}:1: begins with a byte order mark", hint="save it as UTF-8 without BOM")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"{path}:{line}: is not UTF-8: byte 0x{raw[error.start]:02x} at offset {error.start}",
            hint="save it as UTF-8",
        ) from error
    if not text.strip():
        raise ConfigError(f"{path}: is empty", hint='the least that it can hold is {"__base__": {}}')
    return text


class NotJsonError(ValueError):
    """A number that JSON does not have, which Python's parser would take."""


def _parse(path: Path, text: str) -> Any:
    repeated = False

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal repeated
        made = dict(pairs)
        repeated = repeated or len(made) != len(pairs)
        return made

    try:
        document = json.loads(text, object_pairs_hook=unique, parse_constant=no_constant, parse_float=finite)
    except json.JSONDecodeError as error:
        raise ConfigError(_syntax_error(path, text, error), hint=_syntax_hint(text, error)) from error
    except RecursionError as error:
        raise ConfigError(
            f"{path}: is nested deeper than {DEEPEST} levels", hint="a bracket is probably missing"
        ) from error
    except ValueError as error:
        raise ConfigError(_number_problem(path, text, error)) from error
    if repeated:
        raise ConfigError("\n".join(_duplicates(path, text)), hint="JSON would silently keep only the last one")
    return document


def no_constant(word: str) -> Any:
    """For json's `parse_constant`: NaN and Infinity are not JSON."""
    raise NotJsonError(word)


def finite(digits: str) -> float:
    """For json's `parse_float`: 1e999 would be written as Infinity."""
    number = float(digits)
    if not math.isfinite(number):
        raise NotJsonError(digits)
    return number


def _number_problem(path: Path, text: str, error: ValueError) -> str:
    if not isinstance(error, NotJsonError):
        digits = re.search(r"\d{4000}", text)
        return f"{path}:{line_of(text, digits.start() if digits else 0)}: a number of thousands of digits"
    word = str(error)
    found = re.search(rf"(?<![\w\"]){re.escape(word)}(?![\w\"])", text)
    return f"{path}:{line_of(text, found.start() if found else 0)}: {word[:40]} is not a number that JSON has"


def _duplicates(path: Path, text: str) -> Iterator[str]:
    first: dict[tuple[int, str], int] = {}
    for place in places(text):
        if not place.path or isinstance(place.path[-1], int):
            continue
        key = (place.container, place.path[-1])
        if key in first:
            where = show_path(place.path[:-1])
            inside = f" in {where}" if where else ""
            line, before = line_of(text, place.offset), line_of(text, first[key])
            yield f"{path}:{line}: duplicate key {json.dumps(key[1])}{inside}: it stands on line {before} already"
        else:
            first[key] = place.offset


def _deeper_than(document: Any, limit: int) -> bool:
    level = [document]
    for _ in range(limit):
        level = [
            item
            for value in level
            for item in (value.values() if isinstance(value, dict) else value)
            if isinstance(item, dict | list)
        ]
        if not level:
            return False
    return True


_HALF = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    r"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F][0-9a-fA-F]{2}"
)


def _refuse_half_characters(path: Path, text: str, document: Any) -> None:
    """A lone half of a surrogate pair ("\\ud800") is legal JSON, but no text: no file could hold it."""
    try:
        json.dumps(document, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        found = _HALF.search(text)
        offset = found.start() if found else 0
        place = max((place for place in places(text) if place.offset <= offset), key=lambda place: place.offset)
        message = f"{path}:{line_of(text, offset)}: {show_path(place.path)}: half of a character, {found and found[0]}"
        raise ConfigError(message, hint="write the character itself") from None


def show_path(key_path: KeyPath) -> str:
    """`('autoscale', 'target_groups', 0)` as `autoscale.target_groups[0]`."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in key_path)
    return "".join(parts).removeprefix(".")


def kind_of(value: Any) -> str:
    names = {
        dict: "an object",
        list: "a list",
        str: "a string",
        bool: "true or false",
        int: "a number",
        float: "a number",
    }
    return names.get(type(value), "null")


def _syntax_error(path: Path, text: str, error: json.JSONDecodeError) -> str:
    """The place, what is wrong, and the line with a caret below the column; a long line is cut around it."""
    pos = min(error.pos, len(text.rstrip()))  # a file that ends too early: behind its last word
    start = text.rfind("\n", 0, pos) + 1
    end = text.find("\n", pos)
    line = text[start : end if end >= 0 else None].rstrip("\r")
    column = pos - start
    cut = max(0, column - WIDEST_LINE // 2)
    shown = line[cut : cut + WIDEST_LINE]
    clean = "".join(char if char.isprintable() else " " for char in shown)
    message = error.msg[0].lower() + error.msg[1:]
    return f"{path}:{line_of(text, pos)}:{column + 1}: {message}\n    {clean}\n    {' ' * (column - cut)}^"


# What stands where the parser stopped, and what its message begins with -> what to do; the first that fits.
_HINTS = (
    (r"'", "", "JSON wants double quotes, not single ones"),
    (r"//|/\*|#", "", "JSON has no comments; in a group, a key such as x-note can hold one"),
    (r"True|False|None", "", "JSON writes true, false and null"),
    (r"", "Unterminated string", "its closing quote is missing"),
    (r"\s*\Z", "", "the file ends too early: a closing bracket or quote is missing, or it is half-written"),
    (r"[\]}:]", "Expecting ',' delimiter", "a bracket is missing before this, or is of the wrong kind"),
    (r"", "Expecting ',' delimiter", "a comma is probably missing before this"),
    (r"", "Expecting property name", "a key is written in double quotes"),
    (r"", "Invalid control character", "a string ends on its line; in it a line break is written \\n, a tab \\t"),
    (r"", "Extra data", "the first object ends before this; is there a bracket too many?"),
)


def _syntax_hint(text: str, error: json.JSONDecodeError) -> str:
    before, here = text[: error.pos].rstrip(), text[error.pos :]
    if "trailing comma" in error.msg or (before.endswith(",") and here[:1] in ("]", "}")):
        return "a trailing comma: JSON has none after the last item"
    for pattern, message, hint in _HINTS:
        if error.msg.startswith(message) and re.match(pattern, here):
            return hint
    return ""
