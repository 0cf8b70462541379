"""Ctrl-C as a number that a loop looks at, so that it never comes between starting a process and knowing of it."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# A closing terminal sends several at once, and a finger may slip: that is one wish.
SAME_SECONDS = 0.5


class Interrupts:
    """`count` is how often somebody has asked to end: by Ctrl-C, SIGTERM, or by closing the terminal."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.count = 0
        self._clock = clock
        self._last = float("-inf")
        self._raises_after: int | None = None

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Within it a signal is counted; one that is ignored (nohup, a job in the background) stays so."""
        before = {number: signal.getsignal(number) for number in SIGNALS}
        heeded = {number: handler for number, handler in before.items() if handler is not signal.SIG_IGN}
        for number in heeded:
            signal.signal(number, self.heard)
        try:
            yield
        finally:
            for number, handler in heeded.items():
                signal.signal(number, handler)

    @contextmanager
    def at_once(self, *, after: int = 0) -> Iterator[None]:
        """Within it a signal raises KeyboardInterrupt, too: for waiting, and reading.

        What must not be left half done is ended by a wish `after` that many others only.
        """
        self._raises_after = after
        try:
            yield
        finally:
            self._raises_after = None

    def heard(self, _number: int = 0, _frame: FrameType | None = None) -> None:
        now = self._clock()
        if now - self._last >= SAME_SECONDS:
            self.count += 1
            self._last = now
        if self._raises_after is not None and self.count > self._raises_after:
            self._raises_after = None  # it may be on its way out of at_once
            raise KeyboardInterrupt
