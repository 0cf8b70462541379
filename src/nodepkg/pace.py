"""Who goes next: n at a time, each after what it is built on. Pure: values in, values out."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

Needs = Mapping[str, Collection[str]]


@dataclass(frozen=True)
class Progress:
    """How far a run has come: the names that run, that are done, and that have failed."""

    running: frozenset[str] = frozenset()
    done: frozenset[str] = frozenset()
    failed: frozenset[str] = frozenset()


def skipped(needs: Needs, progress: Progress, *, fail_fast: bool = False) -> dict[str, str]:
    """The names that are not going to be started, each with the one that failed because of which.

    A name is skipped if something that it needs, directly or not, has failed; with `fail_fast` any failure skips all
    that has not begun. What a name needs and that has no entry of its own counts as done.
    """
    because: dict[str, str] = {name: name for name in progress.failed}
    waiting = [name for name in needs if name not in progress.running | progress.done | progress.failed]
    left = waiting
    while found := {name: because[need] for name in left for need in needs[name] if need in because}:
        because |= found
        left = [name for name in left if name not in found]
    if fail_fast and progress.failed:
        first = next(iter(name for name in needs if name in progress.failed), min(progress.failed))
        because |= dict.fromkeys(left, first)
    return {name: because[name] for name in waiting if name in because}


def next_up(needs: Needs, progress: Progress, *, at_once: int, fail_fast: bool = False) -> list[str]:
    """The names that may start now, in the order of `needs`: at most `at_once` run at a time."""
    never = skipped(needs, progress, fail_fast=fail_fast)
    begun = progress.running | progress.done | progress.failed
    waiting = [name for name in needs if name not in begun and name not in never]
    ready = [name for name in waiting if all(need in progress.done or need not in needs for need in needs[name])]
    return ready[: max(at_once - len(progress.running), 0)]
