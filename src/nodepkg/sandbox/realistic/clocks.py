"""What time it is: for the sandbox, and for whoever waits for it."""

import threading
import time
from typing import Protocol


class Clock(Protocol):
    """`now()` is in seconds since the epoch; `sleep` comes back when so many of them have passed."""

    def now(self) -> float: ...

    def sleep(self, seconds: float) -> None: ...


class RealClock:
    """The machine's own."""

    def now(self) -> float:
        return time.time()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class VirtualClock:
    """Time that passes only when somebody waits: an hour in a millisecond. Threads may share one."""

    def __init__(self, start: float | None = None) -> None:
        self._now = time.time() if start is None else start
        self._lock = threading.Lock()

    def now(self) -> float:
        with self._lock:
            return self._now

    def advance(self, seconds: float) -> None:
        """Later by so many seconds; raises ValueError for fewer than none."""
        if seconds < 0:
            raise ValueError(f"time does not go back: {seconds}")
        with self._lock:
            self._now += seconds

    sleep = advance
