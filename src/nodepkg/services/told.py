"""What an agent tells of itself, and how long it waits before it tries again."""

import random
from typing import Protocol

FIRST_SECONDS, MOST_SECONDS = 0.5, 30.0


class Tell(Protocol):
    """Takes an event, in a few words, and facts beside it: one structured line of the log."""

    def __call__(self, event: str, /, **facts: object) -> None: ...


def backoff(failures: int, *, most: float = MOST_SECONDS) -> float:
    """Seconds to wait after so many failures in a row: doubled each time, and spread over all that wait."""
    seconds: float = min(most, FIRST_SECONDS * 2 ** min(failures - 1, 16))
    return seconds * random.uniform(0.5, 1.0)  # noqa: S311 - nothing secret depends on it
