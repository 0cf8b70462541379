"""What is told during a deploy: a live table of those that run on a terminal, a line for each change elsewhere."""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from nodepkg.cli.layout import aligned, cells, printable
from nodepkg.cli.output import Output
from nodepkg.cli.progress import NARROW, REFRESH_SECONDS, Screen, cut, drawing, elapsed
from nodepkg.fleet.course import NO_FAILURE, Counts
from nodepkg.fleet.host import Host

_QUIET_STATES = frozenset({"succeeded"})


class Lines:
    """One line for each host that begins, and ends: for files, pipes, and terminals that cannot move the cursor."""

    def __init__(self, out: Output) -> None:
        self._out = out
        self._told: dict[str, str] = {}

    def stands(self, host: Host, stage: str) -> None:
        if self._told.get(host.instance) == stage:
            return
        self._told[host.instance] = stage
        self._out.progress(host.group, f"{named(host)}: {stage}", instance=host.instance, stage=stage)

    def wrote(self, host: Host, output: bytes) -> None:
        """The log has it."""

    def ended(self, host: Host, state: str, told: str) -> None:
        self._out.progress(host.group, f"{named(host)}: {told}", instance=host.instance, state=state)

    def note(self, text: str) -> None:
        self._out.note(text)

    def warning(self, text: str) -> None:
        self._out.warning(text)

    def tick(self, counts: Callable[[], Counts]) -> None:
        pass


@dataclass
class _Shown:
    host: Host
    since: float
    stage: str
    last: str = ""


@dataclass
class LiveTable:
    """A line for each host that has a place, as far as the screen has room, and one for the whole.

    Of those that end only what is no success is told above: hundreds of lines would say nothing.
    """

    out: Output
    screen: Screen
    height: Callable[[], int] = lambda: shutil.get_terminal_size().lines
    clock: Callable[[], float] = time.monotonic
    _hosts: dict[str, _Shown] = field(default_factory=dict)
    _next: float = 0.0

    def stands(self, host: Host, stage: str) -> None:
        shown = self._hosts.setdefault(host.instance, _Shown(host, self.clock(), stage))
        if shown.stage != stage:  # what it wrote before is no news any more
            shown.stage, shown.last = stage, ""

    def wrote(self, host: Host, output: bytes) -> None:
        lines = output[-2000:].decode("utf-8", errors="replace").split("\n")
        if (shown := self._hosts.get(host.instance)) and (
            last := next((one for one in lines[::-1] if one.strip()), "")
        ):
            shown.last = printable(last.strip())

    def ended(self, host: Host, state: str, told: str) -> None:
        shown = self._hosts.pop(host.instance, None)
        if state not in _QUIET_STATES:
            took = f" (after {elapsed(self.clock() - shown.since)})" if shown else ""
            self.out.note(f"{host.group} {named(host)}: {told}{took}")
        self._next = 0.0

    def note(self, text: str) -> None:
        self.out.note(text)

    def warning(self, text: str) -> None:
        self.out.warning(text)

    def tick(self, counts: Callable[[], Counts]) -> None:
        now = self.clock()
        if now >= self._next:
            self._next = now + REFRESH_SECONDS
            with suppress(OSError):  # the terminal is gone: that ends no deploy
                self.screen.draw(self.drawn(counts()))

    def drawn(self, counts: Counts) -> str:
        width, now = max(self.screen.width() - 1, NARROW), self.clock()
        most = max(self.height() - 4, 3)
        rows = [
            (cut(named(one.host), width // 3), elapsed(now - one.since), one.last or one.stage)
            for one in list(self._hosts.values())[:most]
        ]
        lines = list(aligned(rows)) if rows else []
        if len(self._hosts) > most:
            lines.append(f"… and {len(self._hosts) - most} more")
        lines.append(_counted(counts, width))
        return "\n".join(cut(line, width) for line in lines)


def _counted(counts: Counts, width: int) -> str:
    """How many are at what; what has ended badly comes first, since a narrow terminal cuts the rest."""
    order = sorted(counts.by, key=lambda what: (what in NO_FAILURE or what not in _ENDS, what == "waiting"))
    told = ", ".join(f"{counts.by[what]} {what}" for what in order)
    return told if cells(told) <= width else f"{sum(counts.by.values())} hosts: {told}"


_ENDS = frozenset({"failed", "timed out", "unreachable", "refused", "unknown", "left running"})


def named(host: Host) -> str:
    """Its name and id, as far as it has a name of its own."""
    return f"{host.name} {host.instance}" if host.name and host.name != host.group else host.instance


@contextmanager
def watching(out: Output) -> Iterator[Lines | LiveTable]:
    """Who is to be told of a deploy. The live table is gone when it ends, however it ends."""
    with drawing(out) as screen:
        yield LiveTable(out, screen) if screen else Lines(out)
