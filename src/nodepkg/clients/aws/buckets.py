"""EC2's request limits, modelled on our side: a run waits for its turn instead of being told RequestLimitExceeded.

The figures are those of "Request throttling for the Amazon EC2 API" in AWS's developer guide: each action has a
bucket of tokens, for each account and region, which every request takes one from.
"""

import threading
import time
from collections.abc import Callable

# Others use the account as well, and requests do not arrive as evenly as they are sent.
MARGIN_BURST, MARGIN_RATE = 0.95, 0.99

# Action -> tokens of a full bucket, and how many are added a second.
LIMITS = {
    "CopyImage": (100, 1),
    "CreateLaunchTemplateVersion": (100, 5),
    "CreateTags": (100, 10),
    "DeleteSnapshot": (100, 5),
    "DeregisterImage": (100, 5),
    "RunInstances": (5, 2),
    "TerminateInstances": (100, 5),
}
READING = ("Describe", "Get", "List")
READS, CHANGES = (100, 20), (50, 5)


class Bucket:
    """A bucket of tokens: full at first, refilled steadily. Threads may share one."""

    def __init__(
        self,
        capacity: float,
        per_second: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._capacity = capacity
        self._per_second = per_second
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._tokens = capacity
        self._at = clock()

    def take(self) -> None:
        """Takes one token, and waits until there is one; those who wait get theirs in turn."""
        with self._lock:
            self._refill()
            self._tokens -= 1
            wait = -self._tokens / self._per_second
        if wait > 0:
            self._sleep(wait)

    def try_take(self) -> bool:
        """Takes one token if there is one; False otherwise."""
        with self._lock:
            self._refill()
            if self._tokens < 1:
                return False
            self._tokens -= 1
            return True

    def _refill(self) -> None:
        now = self._clock()
        self._tokens = min(self._capacity, self._tokens + (now - self._at) * self._per_second)
        self._at = now


class Buckets:
    """Those of EC2 in one region, as far as they have been needed."""

    def __init__(self, bucket: Callable[[float, float], Bucket] = Bucket) -> None:
        self._bucket = bucket
        self._lock = threading.Lock()
        self._of: dict[str, Bucket] = {}

    def take(self, action: str) -> None:
        """Waits until EC2 would take a request of this action, `DeregisterImage`."""
        with self._lock:
            if action not in self._of:
                burst, rate = LIMITS.get(action) or (READS if action.startswith(READING) else CHANGES)
                self._of[action] = self._bucket(max(1, burst * MARGIN_BURST), rate * MARGIN_RATE)
            bucket = self._of[action]
        bucket.take()
