"""What chef-solo in local mode keeps of a node from run to run: nodes/*.json beside solo.rb.

It unites lists that it kept with those of the next dna, and merges hashes (measured, 16 and 18): providers that are
gone, and what was deleted, would stay. So the maps are taken out. All else is the user's, such as a password that a
recipe makes once.
"""

import json
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from nodepkg.durable import write_through
from nodepkg.errors import ToolError

# chef-solo that is killed may leave half a file, and then fails for ever (500 "Internal Server Error"; 16 and 18).
DAMAGED = ".damaged"
Node = dict[str, Any]


def forget_maps(folder: Path, attribute: str, maps: Collection[str]) -> None:
    """Before a converge, the dna of which has these maps under the attribute. Raises ToolError."""
    _replace(folder, lambda node: without_maps(node, attribute, maps))


def forget_deleted(folder: Path, attribute: str) -> None:
    """After it: what a deploy converges with, whose dna has no maps, does not say that something is to go."""
    _replace(folder, lambda node: without_deleted(node, attribute))


def without_maps(node: Mapping[str, Any], attribute: str, maps: Collection[str]) -> Node:
    """The node as chef-solo saved it, but for these maps. Pure."""
    return _with(node, attribute, lambda told: {name: value for name, value in told.items() if name not in maps})


def without_deleted(node: Mapping[str, Any], attribute: str) -> Node:
    """The node, but for each `false` of `available`. Pure."""
    return _with(node, attribute, _only_there)


def _only_there(told: Mapping[str, Any]) -> Node:
    available = told.get("available")
    if not isinstance(available, dict):
        return dict(told)
    return {**told, "available": {name: there for name, there in available.items() if there is not False}}


def _with(node: Mapping[str, Any], attribute: str, change: Callable[[Mapping[str, Any]], Node]) -> Node:
    normal = node.get("normal")
    told = normal.get(attribute) if isinstance(normal, dict) else None
    if not isinstance(normal, dict) or not isinstance(told, dict):
        return dict(node)
    return {**node, "normal": {**normal, attribute: change(told)}}


def _replace(folder: Path, change: Callable[[Node], Node]) -> None:
    for path in sorted(Path(folder, "nodes").glob("*.json")):
        try:
            like = path.stat()
            node = _read(path)
            if node is None:
                path.replace(path.with_name(path.name + DAMAGED))
            elif (then := change(node)) != node:
                write_through(path, (json.dumps(then, indent=2) + "\n").encode(), like=like)
        except OSError as error:
            raise ToolError(
                f"{path}, in which chef-solo keeps the node, cannot be changed: {error.strerror}",
                hint="the agent runs as root, and needs room on the disk",
            ) from error


def _read(path: Path) -> Node | None:
    """None if it is damaged."""
    try:
        node = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return None
    return node if isinstance(node, dict) else None
