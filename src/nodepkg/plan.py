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
    plan: Sequence[Action[World]], world: World, *, dry_run: bool, say: Callable[[str], None], at_once: int = 1
) -> Iterator[Report]:
    """Runs the actions in order, each told before it begins; with `dry_run` they are told, and that is all.

    Gives the report of each as soon as it is done. The first error ends it: what was done before stays done. With
    `at_once` that many run side by side; after an error, or Ctrl-C, none begins, and those that run are finished.
    """
    if dry_run:
        for action in plan:
            say(f"would {action}")
            yield {"action": str(action)}
    elif at_once == 1:
        for action in plan:
            say(str(action))
            yield action.run(world)
    else:
        yield from _side_by_side(plan, world, say, at_once)


def _side_by_side(
    plan: Sequence[Action[World]], world: World, say: Callable[[str], None], at_once: int
) -> Iterator[Report]:
    # Here, since it takes some 20 ms, and most plans have one action after the other.
    from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

    waiting, running = list(reversed(plan)), set[Future[Report]]()
    ended_by: BaseException | None = None
    with ThreadPoolExecutor(at_once) as pool:
        while running or (waiting and not ended_by):
            try:
                while waiting and not ended_by and len(running) < at_once:
                    say(str(waiting[-1]))
                    running.add(pool.submit(waiting.pop().run, world))
                done, _ = wait(running, return_when=FIRST_COMPLETED)
            except KeyboardInterrupt as interrupt:
                ended_by = ended_by or interrupt
                continue
            running -= done
            for one in done:
                if error := one.exception():
                    ended_by = ended_by or error
                else:
                    yield one.result()
    if ended_by:
        raise ended_by
