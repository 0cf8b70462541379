"""Which entries of a chain gave the values of the merged group: the rules of the merge, followed backwards."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from nodepkg.nodes.merge import Entry
from nodepkg.nodes.source import KeyPath


@dataclass(frozen=True)
class Given:
    """A value that an entry gives, and where in the entry: for the item of a list, its index there."""

    layer: str
    path: KeyPath
    value: Any

    @property
    def place(self) -> KeyPath:
        return (self.layer, *self.path)


class Trace:
    """The values of a merged group, and for each what the entries of its chain say of it.

    `chain` are the entries by name, the group's own last; `merged` is what Nodes.merged makes of them.
    """

    def __init__(self, chain: Sequence[tuple[str, Entry]], merged: Entry) -> None:
        self.merged = merged
        self._given: dict[str, list[Given]] = {}
        for layer, entry in chain:
            for key, value in entry.items():
                if key != "inherits" or layer == chain[-1][0]:  # what a layer inherits is not the group's
                    self._given.setdefault(key, []).append(Given(layer, (key,), value))

    @property
    def keys(self) -> list[str]:
        """Every key that an entry has, also where it does not count."""
        return list(self._given)

    def has(self, path: KeyPath) -> bool:
        return present(self.merged, path) == path

    def value(self, path: KeyPath) -> Any:
        return _follow(self.merged, path)

    def given(self, path: KeyPath) -> list[Given]:
        """What the entries say of this path of the merged group, the one that counts first.

        An entry that has another type of value on the way there says that. An item of a list is told
        with its own index.
        """
        found = []
        for given, rest in self._candidates(path):
            there = present(given.value, rest)
            value = _follow(given.value, there)
            if there == rest or not isinstance(value, dict if isinstance(rest[len(there)], str) else list):
                found.append(Given(given.layer, (*given.path, *there), value))
        return found

    def _candidates(self, path: KeyPath) -> Iterator[tuple[Given, KeyPath]]:
        """Each value in which to look, nearest first, and the rest of the path."""
        given = self._given.get(str(path[0]), [])
        start = _start(given)
        if len(path) > 1 and given and isinstance(given[start].value, list):
            items = [
                Given(entry.layer, (*entry.path, index), item)
                for entry in given[start:]
                for index, item in enumerate(entry.value)
            ]
            if isinstance(path[1], int) and path[1] < len(items):
                yield items[path[1]], path[2:]
            # The items of a list that something ended have no counterpart in the one that began anew.
            yield from ((entry, ()) for entry in reversed(given[:start]))
        else:
            yield from ((entry, path[1:]) for entry in reversed(given))


def present(value: Any, path: KeyPath) -> KeyPath:
    """As much of the path as the value has."""
    for depth, part in enumerate(path):
        inside = part in value if isinstance(value, Mapping) else isinstance(value, list) and part in range(len(value))
        if not inside:
            return path[:depth]
        value = value[part]
    return path


def _follow(value: Any, path: KeyPath) -> Any:
    for part in path:
        value = value[part]
    return value


def _start(given: Sequence[Given]) -> int:
    """The first of the values that make up the merged one: those before it were overridden."""
    kinds = [type(entry.value) for entry in given]
    breaks = [index for index, (parent, child) in enumerate(pairwise(kinds), 1) if not parent == child in (list, dict)]
    return breaks[-1] if breaks else 0
