"""Two commands in turn, each as a process of its own: seconds, memory, ratios."""

import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median


@dataclass(frozen=True)
class Command:
    """What to start and where; `before` is done each time, and not measured."""

    arguments: Sequence[str]
    folder: Path
    environ: Mapping[str, str] = field(default_factory=dict)
    before: Callable[[], None] = lambda: None
    exit_code: int = 0


@dataclass(frozen=True)
class Run:
    seconds: float
    megabytes: float


@dataclass(frozen=True)
class Figure:
    """One line of the table; `ours` and `peer` in seconds (or MB), `limit` of their ratio (or of ours)."""

    name: str
    ours: Sequence[float]
    peer: Sequence[float]
    limit: float | None
    unit: str = "s"

    @property
    def ratio(self) -> float:
        return median(self.ours) / median(self.peer)

    @property
    def least_ratio(self) -> float:
        return min(self.ours) / min(self.peer)

    def row(self) -> str:
        digits = 0 if self.unit == "MB" else 3
        ours = f"{median(self.ours):.{digits}f} {self.unit}"
        if not self.peer:
            holds = median(self.ours) < (self.limit or 0)
            return f"| {self.name} | {ours} | | | | {self.limit:.0f} {self.unit} | {_word(holds)} |"
        limit = f"{self.limit:.1f}" if self.limit else "-"
        holds = _word(self.ratio <= self.limit) if self.limit else "-"
        peer = f"{median(self.peer):.{digits}f} {self.unit}"
        return f"| {self.name} | {ours} | {peer} | {self.ratio:.2f} | {self.least_ratio:.2f} | {limit} | {holds} |"


HEAD = "| figure | ours | peer | ratio | of the least | limit | holds |\n|---|---|---|---|---|---|---|"


def _word(holds: bool) -> str:
    return "yes" if holds else "NO"


def run(command: Command) -> Run:
    """Starts it and waits for its end; its memory is the peak that the system counted."""
    command.before()
    begin = time.perf_counter()
    process = subprocess.Popen(
        command.arguments,
        cwd=command.folder,
        env={**os.environ, **command.environ},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    assert process.stderr
    said = process.stderr.read()
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != command.exit_code:
        raise RuntimeError(f"{' '.join(command.arguments)}: exit {process.returncode}: {said.decode()[-2000:]}")
    return Run(seconds, used.ru_maxrss / 1024)


def pairs(ours: Command, peer: Command, times: int) -> tuple[list[Run], list[Run]]:
    """After one run of each that does not count: ours, peer, ours, peer …"""
    run(ours), run(peer)
    done = [(run(ours), run(peer)) for _ in range(times)]
    return [pair[0] for pair in done], [pair[1] for pair in done]


def compare(name: str, ours: Command, peer: Command, *, times: int, limit: float | None) -> Figure:
    mine, theirs = pairs(ours, peer, times)
    return Figure(name, [one.seconds for one in mine], [one.seconds for one in theirs], limit)
