"""AWS's clock, as its replies tell it, and a local one that does not stop while the machine sleeps."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime

# It goes on while the machine sleeps (elsewhere than on Linux the monotonic one does).
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def uptime() -> float:
    """The clock that ages are measured by, in seconds."""
    return time.clock_gettime(_CLOCK)


def moment(told: str | float) -> datetime:
    """A moment as a reply tells it, aware: botocore's reader, which is slow for what nearly all of them look like.

    It took a third of the time of a long list. Raises ValueError for what is no moment.
    """
    if isinstance(told, str) and told.endswith("Z"):
        with suppress(ValueError):
            return datetime.fromisoformat(told)
    from botocore.utils import parse_timestamp

    return parse_timestamp(told)  # type: ignore[no-any-return]  # botocore has no types


class AwsClock:
    """What time it is for AWS, which is what moments are told in that other machines read.

    Each reply says it in its `Date` header (RFC 9110, 6.6.1), in whole seconds that were cut off, and some time before
    the reply is read. So every header is a lower bound, and the one that is the farthest ahead of the local clock is
    the nearest. It also brings the clock forward after a sleep that stopped the local one.
    """

    def __init__(self, local: Callable[[], float] = uptime) -> None:
        self._local = local
        self._ahead: float | None = None
        self._lock = threading.Lock()

    def hear(self, date: str | None) -> None:
        """Takes the `Date` of a reply that has just come; what is none is passed over."""
        from email.utils import parsedate_to_datetime

        try:
            told = parsedate_to_datetime(date or "")
        except (TypeError, ValueError, OverflowError):
            return
        seconds = (told if told.tzinfo else told.replace(tzinfo=UTC)).timestamp()
        with self._lock:
            ahead = seconds - self._local()
            self._ahead = ahead if self._ahead is None else max(self._ahead, ahead)

    def now(self) -> float:
        """Seconds since the epoch; before the first reply by the clock of this machine."""
        return time.time() if self._ahead is None else self._local() + self._ahead
