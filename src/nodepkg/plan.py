"""A plan: a list of frozen actions, each of which says itself in one line and does itself."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

World = TypeVar("World", contravariant=True)  # noqa: PLC0105 - what it is says more than how it varies
Report = dict[str, Any]


class Action(Protocol[World]):
    """One change. `str(action)` is its line, in the imperative; `run` does it, and returns what there is to report."""

    def __str__(self) -> str: ...

    def run(self, world: World, /) -> Report: ...


def execute(
    plan: Sequence[Action[World]], world: World, *, dry_run: bool, say: Callable[[str], None]
) -> Iterator[Report]:
    """Runs the actions in order, each told before it begins; with `dry_run` they are told, and that is all.

    Gives the report of each as soon as it is done. The first error ends it: what was done before stays done.
    """
    for action in plan:
        say(f"would {action}" if dry_run else str(action))
        yield {"action": str(action)} if dry_run else action.run(world)
