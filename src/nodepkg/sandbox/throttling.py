"""EC2's request limits: a bucket of tokens for each action and region; and the time that a call takes.

https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from werkzeug.wrappers import Response

from nodepkg.sandbox.calls import Call, read

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

Clock = Callable[[], float]
_READING = ("Describe", "Get", "List", "Search")


@dataclass(frozen=True)
class Limit:
    """So many calls at once, and so many a second from then on."""

    burst: int
    per_second: float


_READS, _UNPAGED_READS, _WRITES = Limit(100, 20), Limit(50, 10), Limit(50, 5)
_WRITES_OF_THEIR_OWN = {
    "DeregisterImage": Limit(100, 5),
    "DeleteSnapshot": Limit(100, 5),
    "CreateLaunchTemplateVersion": Limit(100, 5),
    "TerminateInstances": Limit(100, 5),
    "CreateTags": Limit(100, 10),
    "CopyImage": Limit(100, 1),
    "RunInstances": Limit(5, 2),
}
# Those that answer with everything if they are asked for nothing in particular, and what asks for something.
_LARGE = ("DescribeInstances", "DescribeSnapshots", "DescribeImages")
_PARTICULAR = ("Filter.", "MaxResults", "InstanceId.", "SnapshotId.", "ImageId.")


def limit_of(call: Call) -> Limit:
    """The limit of the bucket that a call to EC2 takes its token from."""
    if call.action.startswith(_READING):
        return _UNPAGED_READS if _asks_for_everything(call) else _READS
    return _WRITES_OF_THEIR_OWN.get(call.action, _WRITES)


def _asks_for_everything(call: Call) -> bool:
    return call.action in _LARGE and not any(name.startswith(_PARTICULAR) for name in call.parameters)


class _Bucket:
    def __init__(self, limit: Limit, now: float) -> None:
        self._limit, self._tokens, self._filled = limit, float(limit.burst), now

    def take(self, now: float) -> bool:
        grown = (now - self._filled) * self._limit.per_second
        self._tokens, self._filled = min(self._limit.burst, self._tokens + grown), now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class Throttling:
    """Layer that refuses what is over EC2's limits.

    Those of other services are not published; `services` may give one a bucket for all its calls, `{"autoscaling":
    Limit(100, 20)}`. `calls` and `refused` count by action; what is refused counts among the calls as well. `clock`
    tells seconds.
    """

    def __init__(self, *, clock: Clock = time.monotonic, services: Mapping[str, Limit] | None = None) -> None:
        self.calls: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self._clock = clock
        self._services = services or {}
        self._lock = threading.Lock()
        self._buckets: dict[tuple[str, str, Limit], _Bucket] = {}

    def __call__(self, app: "WSGIApplication") -> "WSGIApplication":
        def answer(environ: "WSGIEnvironment", start_response: "StartResponse") -> "Iterable[bytes]":
            call = read(environ)
            if self._admits(call):
                return app(environ, start_response)
            return _refusal(call)(environ, start_response)

        return answer

    def _admits(self, call: Call) -> bool:
        with self._lock:
            self.calls[call.action] += 1
            if call.service != "ec2" and call.service not in self._services:
                return True
            own = call.service == "ec2"
            limit, now = limit_of(call) if own else self._services[call.service], self._clock()
            of = call.action if own else call.service
            bucket = self._buckets.setdefault((call.region, of, limit), _Bucket(limit, now))
            admitted = bucket.take(now)
            if not admitted:
                self.refused[call.action] += 1
            return admitted


def _refusal(call: Call) -> Response:
    if call.service == "ec2":
        return call.error("RequestLimitExceeded", "Request limit exceeded.", 503)
    return call.error("ThrottlingException" if call.speaks_json else "Throttling", "Rate exceeded", 400)


def latency(
    seconds: float, *, sleep: Callable[[float], object] = time.sleep
) -> "Callable[[WSGIApplication], WSGIApplication]":
    """Layer that lets every call take so much longer."""

    def layer(app: "WSGIApplication") -> "WSGIApplication":
        def answer(environ: "WSGIEnvironment", start_response: "StartResponse") -> "Iterable[bytes]":
            sleep(seconds)
            return app(environ, start_response)

        return answer

    return layer
