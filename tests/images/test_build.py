"""In which order images are built, and what a build needs before it begins."""

from pathlib import Path
from typing import Any

from nodepkg.images.build import bases_first
from nodepkg.nodes.load import Nodes
from nodepkg.nodes.source import Source


def groups(**bases: str | None) -> list[Any]:
    entries = {
        name: {"run_list": ["recipe[x]"], **({"source_group": base} if base else {"source_ami": "ami-1"})}
        for name, base in bases.items()
    }
    nodes = Nodes(Source(Path("nodes.json"), "", entries))
    return nodes.groups(nodes.names)


def order(**bases: str | None) -> list[str]:
    return [group.name for group in bases_first(groups(**bases))]


def test_a_base_is_built_before_what_is_built_on_it() -> None:
    assert order(leaf="middle", other=None, middle="base", base=None) == ["base", "middle", "leaf", "other"]


def test_a_base_that_is_not_asked_for_changes_nothing() -> None:
    (leaf, _base) = groups(leaf="base", base=None)
    assert bases_first([leaf]) == [leaf]
