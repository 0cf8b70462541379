"""What a node's dna.json is told for a converge of its agent: the collected maps, and what is to be deleted."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nodepkg.durable import write_through
from nodepkg.errors import ToolError
from nodepkg.nodes.names import DELETE

DNA = "dna.json"
_AGAIN = "package instance:deploy brings the bundle again"


@dataclass(frozen=True)
class Dna:
    """`maps` are those of collect.maps, which go under `attribute`.

    A service whose `available` is false in them is deleted: by the recipe `<cookbook>::delete-<name>`.
    """

    attribute: str
    cookbook: str
    maps: Mapping[str, Any]


def changed(document: Mapping[str, Any], dna: Dna) -> dict[str, Any]:
    """The document for one converge. What an earlier one had put into it, and could not take out, is taken out. Pure.

    Raises ValueError for a document that no bundle has.
    """
    before = restored(document, dna)
    old = before.get(dna.attribute)
    return {
        **before,
        dna.attribute: {**(old if isinstance(old, dict) else {}), **dna.maps},
        "run_list": [*before.get("run_list", []), *(_recipe(dna, name) for name in _deleted(dna.maps))],
    }


def restored(document: Mapping[str, Any], dna: Dna) -> dict[str, Any]:
    """The document after the converge: nothing is to be deleted any more. Pure.

    With the recipe goes the `false` in `available` that it was for, so where there is none there is no recipe of ours.
    """
    run_list = document.get("run_list", [])
    if not isinstance(run_list, list):
        raise ValueError("its run_list is no list")
    maps = document.get(dna.attribute)
    if not isinstance(maps, dict) or not (gone := _deleted(maps)):
        return dict(document)
    left = {name: there for name, there in maps["available"].items() if name not in gone}
    whole = {**document, dna.attribute: {**maps, "available": left}}
    return {**whole, "run_list": _without_last(run_list, (_recipe(dna, name) for name in gone))}


def _deleted(maps: Mapping[str, Any]) -> list[str]:
    available = maps.get("available")
    return [name for name, there in available.items() if there is False] if isinstance(available, Mapping) else []


def _recipe(dna: Dna, name: str) -> str:
    return f"recipe[{dna.cookbook}::{DELETE}{name}]"


def _without_last(run_list: Iterable[Any], items: Iterable[str]) -> list[Any]:
    """Without one of each of the items, that which was appended; the user's own run list may have it, too."""
    left = list(run_list)[::-1]
    for item in items:
        if item in left:
            left.remove(item)
    return left[::-1]


class DnaFile:
    """dna.json of a bundle. Who changes it has the node's lock: a deploy replaces it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / DNA

    def change(self, dna: Dna) -> None:
        """For one converge. Raises ToolError for a file that is missing or damaged, or cannot be written."""
        self._replace(lambda document: changed(document, dna))

    def restore(self, dna: Dna) -> None:
        """After it. Raises ToolError as `change`."""
        self._replace(lambda document: restored(document, dna))

    def _replace(self, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        try:
            like = self.path.stat()
            document = json.loads(self.path.read_bytes())
            if not isinstance(document, dict):
                raise ValueError("it is no object")
            then = change(document)
        except FileNotFoundError:
            raise ToolError(f"{self.path} is not there", hint=_AGAIN) from None
        except (ValueError, RecursionError) as error:
            raise ToolError(f"{self.path} is damaged: {error}", hint=f"remove it, and {_AGAIN}") from error
        except OSError as error:
            raise ToolError(f"{self.path} cannot be read: {error.strerror}") from error
        if then == document:
            return
        text = json.dumps(then, indent=4) + "\n"  # in ASCII, as a value of the registry may hold half a character
        try:
            # A deploy sends the bundle again if this file is newer than its record of the bundle.
            write_through(self.path, text.encode(), like=like)
        except OSError as error:
            raise ToolError(f"{self.path} cannot be written: {error.strerror}", hint="is the disk full?") from error
