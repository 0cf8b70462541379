"""Hosts that converge in a test, on a virtual clock: a small simulator in the place of a transport."""

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from nodepkg.fleet.transport import Began, Contact, Ended, Event, Job, Result, Wrote


@dataclass(frozen=True)
class Behaviour:
    """How a host's converge goes: it takes `seconds`, and ends like this; it is lost sight of after `lost`."""

    seconds: float = 30.0
    result: Result = Result.SUCCEEDED
    code: int | None = 0
    why: str = ""
    output: bytes = b"converged\n"
    lost: float | None = None


@dataclass
class Hosts:
    """The Transport. `sleep` and `now` are the clock's; `behaves` tells how the n-th converge of a host (from 0) goes.

    `log` has what happened: (moment, what, instance). `most` is how many ran at the same time.
    """

    now: Callable[[], float]
    sleep: Callable[[float], None]
    behaves: Callable[[str, int], Behaviour] = lambda instance, n: Behaviour()
    watches: Callable[[str, str], None] = lambda what, instance: None
    log: list[tuple[float, str, str]] = field(default_factory=list)
    running: set[str] = field(default_factory=set)
    most: int = 0
    stops: int = 0
    closed: bool = False
    _due: list[tuple[float, int, Event]] = field(default_factory=list)
    _runs: dict[str, int] = field(default_factory=dict)

    def start(self, jobs: Sequence[Job], /) -> None:
        for job in jobs:
            name = job.host.instance
            assert name not in self.running, f"{name} runs twice at a time"
            self.running.add(name)
            self.most = max(self.most, len(self.running))
            n = self._runs.get(name, 0)
            self._runs[name] = n + 1
            how = self.behaves(name, n)
            self._happens(0, "began", Began(name, 100))
            if how.output:
                self._happens(how.seconds / 2, "wrote", Wrote(name, how.output))
            if how.lost is not None:
                self._happens(how.lost, "lost", Contact(name, lost=True))
            self._happens(how.seconds, str(how.result), Ended(name, how.result, how.code, how.why))
            self._note("start", name)

    def events(self, seconds: float, /) -> Sequence[Event]:
        until = self.now() + seconds
        if self._due and self._due[0][0] <= until:
            until = max(self._due[0][0], self.now())
        self.sleep(max(until - self.now(), 0.001 if not self._due else 0.0))
        found = []
        while self._due and self._due[0][0] <= self.now() + 1e-9:
            _, _, event = heapq.heappop(self._due)
            if isinstance(event, Ended):
                self.running.discard(event.instance)
                self._note(str(event.result), event.instance)
            found.append(event)
        return found

    def stop(self) -> None:
        self.stops += 1

    def close(self) -> None:
        self.closed = True

    def started(self) -> list[str]:
        """The instances in the order of their starts."""
        return [name for _, what, name in self.log if what == "start"]

    def _happens(self, after: float, what: str, event: Event) -> None:
        heapq.heappush(self._due, (self.now() + after, len(self._due) + len(self.log) * 1000, event))

    def _note(self, what: str, name: str) -> None:
        self.log.append((self.now(), what, name))
        self.watches(what, name)
