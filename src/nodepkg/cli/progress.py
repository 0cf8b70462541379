"""What is told while images are built: a live line for each build on a terminal, plain prefixed lines elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from nodepkg.cli.layout import cells, printable
from nodepkg.cli.output import Output

REFRESH_SECONDS = 0.25
NARROW = 20  # cells; on a terminal that says it has less, that much is written all the same


class Lines:
    """One line for each message, with its group: for files, pipes, and terminals that cannot move the cursor."""

    def __init__(self, out: Output) -> None:
        self._out = out

    def began(self, group: str, log: str) -> None:
        self._out.progress(group, f"building; the log is {log}")

    def said(self, group: str, line: str, *, step: bool) -> None:  # noqa: ARG002 - a live display shows them apart
        self._out.progress(group, line)

    def ended(self, group: str, result: str, told: str) -> None:  # noqa: ARG002
        self._out.progress(group, told)

    def note(self, text: str) -> None:
        self._out.note(text)

    def tick(self, waiting: int) -> None:
        pass


@dataclass
class _Shown:
    since: float
    step: str = "starting"
    last: str = ""


class LiveLines:
    """A line for each build that runs, and one for the whole; what ends is told above them."""

    def __init__(
        self,
        out: Output,
        draw: Callable[[str], None],
        width: Callable[[], int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._out = out
        self._draw = draw
        self._width = width
        self._clock = clock
        self._builds: dict[str, _Shown] = {}
        self._ended: dict[str, int] = {}
        self._next = 0.0

    def began(self, group: str, log: str) -> None:  # noqa: ARG002 - the table at the end names it where it is needed
        self._builds[group] = _Shown(self._clock())

    def said(self, group: str, line: str, *, step: bool) -> None:
        if shown := self._builds.get(group):
            text = printable(line.removeprefix("==> ").strip())
            text = text.partition(": ")[2] or text  # without the builder's name, which is the same in every line
            shown.last = text
            if step:
                shown.step = text

    def ended(self, group: str, result: str, told: str) -> None:
        shown = self._builds.pop(group, None)
        self._ended[result] = self._ended.get(result, 0) + 1
        took = f" (after {elapsed(self._clock() - shown.since)})" if shown else ""
        self._out.note(f"{group}: {told}{took}")
        self._next = 0.0

    def note(self, text: str) -> None:
        self._out.note(text)

    def tick(self, waiting: int) -> None:
        now = self._clock()
        if now >= self._next:
            self._next = now + REFRESH_SECONDS
            with suppress(OSError):  # the terminal is gone: that ends no build
                self._draw(self._drawn(now, waiting))

    def _drawn(self, now: float, waiting: int) -> str:
        width = max(self._width() - 1, NARROW)
        name = max(map(cells, self._builds), default=0)
        lines = [_line(group, shown, now, min(name, width // 3), width) for group, shown in self._builds.items()]
        counts = {"building": len(self._builds), "waiting": waiting, **self._ended}
        lines.append(", ".join(f"{number} {what}" for what, number in counts.items() if number))
        return "\n".join(cut(line, width) for line in lines)


def _line(group: str, shown: _Shown, now: float, name: int, width: int) -> str:
    head = f"{cut(group, name):<{name}}  {elapsed(now - shown.since):>6}  "
    if shown.last == shown.step:
        return head + shown.step
    room = width - cells(head)
    return f"{head}{cut(shown.step, max(room // 2, NARROW // 2))}  {shown.last}".rstrip()


def cut(text: str, width: int) -> str:
    """The text in at most `width` cells; what is left out is shown by an ellipsis."""
    if cells(text) <= width:
        return text
    while text and cells(text) > width - 1:
        text = text[:-1]
    return f"{text}…" if width > 0 else ""


def elapsed(seconds: float) -> str:
    """`7s`, `3m12s`, `1h05m`."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    return f"{whole // 60}m{whole % 60:02d}s" if whole < 3600 else f"{whole // 3600}h{whole // 60 % 60:02d}m"


@contextmanager
def watching(out: Output) -> Iterator[Lines | LiveLines]:
    """Who is to be told of a run. The live lines are gone when it ends, however it ends."""
    with drawing(out) as screen:
        yield LiveLines(out, screen.draw, screen.width) if screen else Lines(out)


@dataclass(frozen=True)
class Screen:
    """A part of a terminal that `draw` writes anew, as `width` says how many cells wide."""

    draw: Callable[[str], None]
    width: Callable[[], int]


@contextmanager
def drawing(out: Output) -> Iterator[Screen | None]:
    """Where live lines can be drawn, if stderr is such a terminal; they are gone at the end."""
    if out.json or out.quiet or not sys.stderr.isatty() or not out.can_move_the_cursor:
        yield None
        return
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console(stderr=True, no_color=not out.wants_color, highlight=False)
    live = Live(console=console, auto_refresh=False, transient=True, redirect_stdout=False)

    def draw(text: str) -> None:
        live.update(Text(text, no_wrap=True, overflow="ellipsis"), refresh=True)

    try:
        with suppress(OSError):
            live.start()
        yield Screen(draw, lambda: console.width)
    finally:
        with suppress(OSError):
            live.stop()
