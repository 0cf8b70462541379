"""Who goes next, for builds, rollouts and deploys alike. Pure: values in, values out."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from math import ceil

Needs = Mapping[str, Collection[str]]


@dataclass(frozen=True)
class Share:
    """A number of things, or a percentage of all."""

    number: int
    percent: bool = False

    def __str__(self) -> str:
        return f"{self.number}%" if self.percent else str(self.number)

    def down(self, total: int) -> int:
        """How many of `total`, a part of one left out."""
        return self.number * total // 100 if self.percent else self.number

    def up(self, total: int) -> int:
        """How many of `total`, a part of one counted whole."""
        return ceil(self.number * total / 100) if self.percent else self.number


def share(text: str) -> Share:
    """`3`, or `25%` (100% at most); raises ValueError that says so for anything else."""
    number = text.removesuffix("%")
    percent = number != text
    if not (number.isascii() and number.isdigit() and len(number) < 7) or (percent and int(number) > 100):
        raise ValueError(f"{text!r} is neither a number, such as 3, nor a percentage, such as 25%")
    return Share(int(number), percent)


@dataclass(frozen=True)
class Pace:
    """How fast it goes.

    At most `at_once` run at a time. The first `canary` go alone, and nothing else begins before they are done; of them
    none may fail. Once more than `max_errors` have failed nothing begins any more (None: failures stop only what needs
    them). In `waves` the next ones begin only when nothing runs any more.
    """

    at_once: int
    canary: int = 0
    max_errors: int | None = None
    waves: bool = False


@dataclass(frozen=True)
class Progress:
    """How far a run has come: the names that run, that are done, and that have failed."""

    running: frozenset[str] = frozenset()
    done: frozenset[str] = frozenset()
    failed: frozenset[str] = frozenset()

    @property
    def begun(self) -> frozenset[str]:
        return self.running | self.done | self.failed


@dataclass(frozen=True)
class Room:
    """Parts of the whole (groups) that may have only so many more begin now: part -> how many; others have no bound.

    `part_of` tells the part of each name.
    """

    left: Mapping[str, int]
    part_of: Mapping[str, str]


def skipped(needs: Needs, progress: Progress, pace: Pace) -> dict[str, str]:
    """The names that are not going to be started, each with the one that failed because of which.

    A name is skipped if something that it needs, directly or not, has failed; or anything, if nothing begins any more.
    What a name needs and that has no entry of its own counts as done.
    """
    if not progress.failed:
        return {}
    because: dict[str, str] = {name: name for name in progress.failed}
    begun = progress.begun
    waiting = [name for name in needs if name not in begun]
    left = waiting
    while found := {name: because[need] for name in left for need in needs[name] if need in because}:
        because |= found
        left = [name for name in left if name not in found]
    if is_stopped(needs, progress, pace):
        first = next(iter(name for name in needs if name in progress.failed), min(progress.failed))
        because |= dict.fromkeys(left, first)
    return {name: because[name] for name in waiting if name in because}


def is_stopped(needs: Needs, progress: Progress, pace: Pace) -> bool:
    """Whether so much has failed that nothing begins any more."""
    too_many = pace.max_errors is not None and len(progress.failed) > pace.max_errors
    return too_many or bool(progress.failed & set(islice(needs, pace.canary)))


def next_up(needs: Needs, progress: Progress, pace: Pace, room: Room | None = None) -> list[str]:
    """The names that may start now, in the order of `needs`."""
    places = _places(needs, progress, pace)
    if places <= 0:
        return []
    never, begun = skipped(needs, progress, pace), progress.begun
    canaries = list(islice(needs, pace.canary))
    alone = canaries if set(canaries) - progress.done else needs
    waiting = (name for name in alone if name not in begun and name not in never)
    ready = (name for name in waiting if all(need in progress.done or need not in needs for need in needs[name]))
    return list(islice(_fitting(ready, room), places))


def _places(needs: Needs, progress: Progress, pace: Pace) -> int:
    """How many more may begin, as far as all together are concerned."""
    if pace.waves and progress.running:
        return 0
    places = pace.at_once - len(progress.running)
    canaries = frozenset(islice(needs, pace.canary))
    if canaries - progress.done:
        return min(places, len(canaries - progress.begun))
    return places


def _fitting(names: Iterator[str], room: Room | None) -> Iterator[str]:
    left = dict(room.left) if room else {}
    for name in names:
        part = room.part_of[name] if room else ""
        if part in left:
            left[part] -= 1
        if left.get(part, 0) >= 0:
            yield name


def floor(least: Share, total: int) -> int:
    """How many of a group have to stay healthy: never more than all but one."""
    return max(min(least.up(total), total - 1), 0)


def room_above(floor: int, healthy: int, *, drains: bool) -> int | None:
    """How many more of a group may begin now; None: no bound.

    One that begins stays healthy, unless it `drains` (leaves its target groups) first.
    """
    if drains:
        return max(healthy - floor, 0)
    return None if healthy >= floor else 0
