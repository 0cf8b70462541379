"""What is told while groups are rolled out: a live table on a terminal, a line for each change of state elsewhere."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass

from nodepkg.autoscale.task import Standing
from nodepkg.cli.layout import aligned, printable
from nodepkg.cli.output import Output
from nodepkg.cli.progress import NARROW, REFRESH_SECONDS, Screen, cut, drawing, elapsed

_COLUMNS = ("group", "time", "state", "ready", "old", "left", "")


class Lines:
    """One line for each change of a group's state: for files, pipes, and terminals that cannot move the cursor.

    With `every` also what it does, or waits for, within a state is told.
    """

    def __init__(self, out: Output, *, every: bool = False) -> None:
        self._out, self._every = out, every
        self._states: dict[str, str] = {}

    def began(self, group: str) -> None:
        self._out.progress(group, "its lease is ours; looking for what another process may still have sent")

    def stands(self, standing: Standing) -> None:
        state = f"{standing.state}: {standing.why}" if self._every else standing.state
        if self._states.get(standing.group) != state:
            self._states[standing.group] = state
            facts = {key: value for key, value in asdict(standing).items() if key != "group"}
            self._out.progress(standing.group, _sentence(standing), **facts)

    def did(self, group: str, change: str) -> None:
        self._out.detail(f"{group}: {change}")

    def ended(self, group: str, result: str, told: str) -> None:
        self._out.progress(group, told, result=result)

    def note(self, text: str) -> None:
        self._out.note(text)

    def warning(self, text: str) -> None:
        self._out.warning(text)

    def tick(self, waiting: int) -> None:
        pass


@dataclass
class _Shown:
    since: float
    standing: Standing


class LiveTable:
    """A line for each group that is under way, and one for the whole; what ends is told above them."""

    def __init__(
        self,
        out: Output,
        screen: Screen,
        now: Callable[[], float],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`now` is AWS's clock, by which deadlines are."""
        self._out, self._screen, self._now, self._clock = out, screen, now, clock
        self._groups: dict[str, _Shown] = {}
        self._ended: dict[str, int] = {}
        self._next = 0.0

    def began(self, group: str) -> None:
        self._groups[group] = _Shown(self._clock(), Standing(group, "claim"))

    def stands(self, standing: Standing) -> None:
        self._groups[standing.group].standing = standing

    def did(self, group: str, change: str) -> None:
        self._out.detail(f"{group}: {change}")

    def ended(self, group: str, result: str, told: str) -> None:
        shown = self._groups.pop(group, None)
        self._ended[result] = self._ended.get(result, 0) + 1
        took = f" (after {elapsed(self._clock() - shown.since)})" if shown else ""
        self._out.note(f"{group}: {told}{took}")
        self._next = 0.0

    def note(self, text: str) -> None:
        self._out.note(text)

    def warning(self, text: str) -> None:
        self._out.warning(text)

    def tick(self, waiting: int) -> None:
        now = self._clock()
        if now >= self._next:
            self._next = now + REFRESH_SECONDS
            with suppress(OSError):  # the terminal is gone: that ends no rollout
                self._screen.draw(self._drawn(now, waiting))

    def _drawn(self, now: float, waiting: int) -> str:
        width = max(self._screen.width() - 1, NARROW)
        rows = [self._row(group, shown, now, width) for group, shown in self._groups.items()]
        lines = list(aligned([_COLUMNS, *rows])) if rows else []
        counts = {"under way": len(self._groups), "waiting": waiting, **self._ended}
        lines.append(", ".join(f"{number} {what}" for what, number in counts.items() if number))
        return "\n".join(cut(line, width) for line in lines)

    def _row(self, group: str, shown: _Shown, now: float, width: int) -> Sequence[str]:
        one = shown.standing
        left = "" if one.deadline is None else elapsed(max(one.deadline - self._now(), 0))
        return (
            cut(group, width // 3),
            elapsed(now - shown.since),
            one.state,
            f"{one.ready}/{one.desired}" if one.asg else "",
            str(one.old) if one.old else "",
            left,
            printable(one.why),
        )


def _sentence(one: Standing) -> str:
    nodes = f"{one.asg}: {one.ready} of {one.desired} nodes ready" if one.desired else ""
    old = f"{one.old} old" if one.old else ""
    why = one.why if not one.why.startswith(f"{one.ready} of {one.desired} nodes ready") else ""
    return f"{one.state}: " + "; ".join(part for part in (why, nodes, old) if part)


@contextmanager
def watching(out: Output, now: Callable[[], float], *, every: bool = False) -> Iterator[Lines | LiveTable]:
    """Who is to be told of a run. The live table is gone when it ends, however it ends."""
    with drawing(out) as screen:
        yield LiveTable(out, screen, now) if screen else Lines(out, every=every)
