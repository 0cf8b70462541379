"""From what an entry inherits: the chain global -> platform -> group."""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from nodepkg.nodes.findings import Finding
from nodepkg.nodes.names import BASE, LAYER_NAME


def chain_of(name: str, entries: Mapping[str, Any]) -> tuple[list[str], list[Finding]]:
    """The entries to merge for `name`, itself last, and what is wrong with the `inherits` on the way.

    `__base__` comes first. A layer that is reached twice counts once, where it was reached first, so
    that its lists are not appended twice.
    """
    chain: list[str] = []
    findings: list[Finding] = []
    for root in dict.fromkeys((BASE, name) if BASE in entries else (name,)):
        _follow(root, entries, chain, findings)
    return chain, findings


def _follow(root: str, entries: Mapping[str, Any], chain: list[str], findings: list[Finding]) -> None:
    """Adds what `root` inherits, parents first, and itself. The way down is a list, so that its length has no limit."""
    way = {root: iter(_parents(entries[root]))}
    while way:
        name, parents = next(reversed(way.items()))
        key_path, parent = next(parents, ((), None))
        if parent is None:
            way.popitem()
            if name not in chain:
                chain.append(name)
        elif problem := _problem(name, parent, entries, list(way)):
            findings.append(Finding(name, key_path, problem))
        elif parent not in chain:
            way[parent] = iter(_parents(entries[parent]))


def _parents(entry: dict[str, Any]) -> list[tuple[tuple[str | int, ...], str]]:
    """What an entry inherits, with the key path of each; what is not a string is the schema's to refuse."""
    inherits = entry.get("inherits")
    if isinstance(inherits, str):
        return [(("inherits",), inherits)]
    items = inherits if isinstance(inherits, list) else []
    return [(("inherits", index), item) for index, item in enumerate(items) if isinstance(item, str)]


def _problem(name: str, parent: str, entries: Mapping[str, Any], inside: list[str]) -> str | None:
    if name == BASE:
        return "__base__ is what everything inherits; it cannot inherit itself"
    if parent in entries and not LAYER_NAME.fullmatch(parent):
        return f"{parent} is a group; only layers, __like_this__, can be inherited"
    if parent in inside:
        return f"inherits in a circle: {' -> '.join([*inside[inside.index(parent) :], parent])}"
    if parent in entries:
        return None
    nearest = get_close_matches(parent, [entry for entry in entries if LAYER_NAME.fullmatch(entry)], n=1, cutoff=0.5)
    return f"no layer {parent}" + (f"; did you mean {nearest[0]}?" if nearest else "")
