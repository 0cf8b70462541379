"""What differs between two merged entries, key by key, as the merge sees them."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from enum import StrEnum
from typing import Any

from nodepkg.nodes.merge import Entry
from nodepkg.nodes.source import KeyPath, show_path


class Kind(StrEnum):
    """What became of a value."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"
    MOVED = "moved"


@dataclass(frozen=True)
class Change:
    """One value that differs. Of a list's item that moved, `path` is where it is now and `was` where it was."""

    kind: Kind
    path: KeyPath
    before: Any = None
    after: Any = None
    was: KeyPath | None = None

    @property
    def key(self) -> str:
        return show_path(self.path)


def changes(before: Entry, after: Entry) -> list[Change]:
    """Top-level lists item by item, objects down to the deepest key that differs, all else whole."""
    return list(_object((), before, after))


def _object(path: KeyPath, before: Entry, after: Entry) -> Iterator[Change]:
    for key in dict.fromkeys([*before, *after]):
        here = (*path, key)
        if key not in after:
            yield Change(Kind.REMOVED, here, before=before[key])
        elif key not in before:
            yield Change(Kind.ADDED, here, after=after[key])
        else:
            yield from _value(here, before[key], after[key])


def _value(path: KeyPath, before: Any, after: Any) -> Iterator[Change]:
    if isinstance(before, dict) and isinstance(after, dict):
        yield from _object(path, before, after)
    elif isinstance(before, list) and isinstance(after, list) and len(path) == 1:
        yield from _list(path, before, after)
    elif _spelt(before) != _spelt(after):
        yield Change(Kind.CHANGED, path, before, after)


def _list(path: KeyPath, before: list[Any], after: list[Any]) -> Iterator[Change]:
    old, new = [_spelt(item) for item in before], [_spelt(item) for item in after]
    gone: list[int] = []
    come: list[int] = []
    for what, start, end, new_start, new_end in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        pairs = list(zip(range(start, end), range(new_start, new_end), strict=False))
        if what == "replace" and all(isinstance(before[a], dict) and isinstance(after[b], dict) for a, b in pairs):
            for a, b in pairs:
                yield from _object((*path, b), before[a], after[b])
            start, new_start = start + len(pairs), new_start + len(pairs)  # noqa: PLW2901 - the rest of both
        if what != "equal":
            gone += range(start, end)
            come += range(new_start, new_end)
    for index in gone:
        moved = next((there for there in come if new[there] == old[index]), None)
        if moved is None:
            yield Change(Kind.REMOVED, (*path, index), before=before[index])
        else:
            come.remove(moved)
            yield Change(Kind.MOVED, (*path, moved), before[index], after[moved], was=(*path, index))
    for index in come:
        yield Change(Kind.ADDED, (*path, index), after=after[index])


def _spelt(value: Any) -> str:
    """So that 1, 1.0 and true differ, as they do in nodes.json; the order of keys does not count."""
    return f'"{value}' if isinstance(value, str) else json.dumps(value, sort_keys=True)
