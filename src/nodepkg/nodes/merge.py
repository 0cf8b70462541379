"""How an entry of nodes.json is laid over its parents: the rules of the merge, stated once."""

from collections.abc import Iterable
from functools import reduce
from typing import Any

from deepmerge import Merger

Entry = dict[str, Any]


def _append(_merger: Merger, _path: list[Any], parent: list[Any], child: list[Any]) -> list[Any]:
    return parent + child  # a new list: the parent's own is shared by every group that inherits it


def _merge_at_level_1(merger: Merger, path: list[Any], parent: Entry, child: Entry) -> Entry:
    if path:
        return {**parent, **child}
    merged = dict(parent)
    for key, value in child.items():
        merged[key] = merger.value_strategy([key], parent[key], value) if key in parent else value
    return merged


RULES = Merger(
    type_strategies=[(list, _append), (dict, _merge_at_level_1)],
    fallback_strategies="override",
    type_conflict_strategies="override",
)


def merge(chain: Iterable[Entry]) -> Entry:
    """The entries of a chain, parent first, as one.

    Lists append (parent first), dicts merge at level 1 (of a key that both have, the child's value
    whole), everything else: the child overrides, also when the types differ, and with null. No
    argument is changed, but the result shares values with them.
    """
    return reduce(RULES.merge, chain, {})
