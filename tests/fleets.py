"""Auto Scaling groups that take their time, in this process and on a virtual clock: an hour in a millisecond.

`with fleet(*layers, pending=30, drain=60) as rig:` gives `rig.account`, whose waiting is the clock's too, `rig.clock`,
and `rig.world(region)`: what a test may do to a region, and what it has seen of it.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from botocore.awsrequest import AWSResponse
from botocore.retries import standard
from werkzeug.http import http_date
from werkzeug.serving import make_server
from werkzeug.test import EnvironBuilder, run_wsgi_app

from nodepkg.clients.aws.buckets import Bucket, Buckets
from nodepkg.sandbox import moto_seed
from nodepkg.sandbox.front import Layer
from nodepkg.sandbox.realistic import Clock, Realism, Realistic, VirtualClock
from nodepkg.sandbox.seed import Seed, SeedImage, SeedRegion
from nodepkg.sandbox.server import front
from tests.answers import Answers, answers_of
from tests.faults.server import QuickAccount, Quiet
from tests.regions import Region

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

REGION = "us-east-1"
STOCK_IMAGE = "ami-1ebb2077"
# Of every rig: of the machine's own time of day it would depend which scheduled actions become due while a test runs.
MORNING = datetime(2026, 1, 7, 3, tzinfo=UTC).timestamp()


class Killed(BaseException):
    """The process would have been killed here: no `except Exception` of the program sees it."""


class Direct:
    """Handler of `before-send` that has a WSGI application answer, as of the clock's time."""

    def __init__(self, app: "WSGIApplication", clock: Clock) -> None:
        self._app, self._clock = app, clock

    def __call__(self, request: Any, **_: Any) -> AWSResponse:
        headers = {
            key: value.decode() if isinstance(value, bytes) else str(value) for key, value in request.headers.items()
        }
        body = request.body.encode() if isinstance(request.body, str) else request.body or b""
        parts = urlsplit(request.url)
        builder = EnvironBuilder(
            parts.path, f"{parts.scheme}://{parts.netloc}", parts.query, request.method, headers=headers, data=body
        )
        told, status, answered = run_wsgi_app(self._app, builder.get_environ())
        reply = {**dict(answered), "Date": http_date(self._clock.now())}
        return AWSResponse(request.url, int(status.split()[0]), reply, _Raw(b"".join(told)))


class _Raw(BytesIO):
    """What botocore reads replies from."""

    def stream(self, **_: Any) -> Iterator[bytes]:
        yield self.read()


class FleetAccount(QuickAccount):
    """Waits on the rig's clock: for its turn, and before it tries again. Can be stopped at its n-th request.

    `direct` answers requests in this thread, without a server in between.
    """

    def __init__(self, endpoint: str, clock: Clock, direct: Direct | None = None) -> None:
        super().__init__(endpoint=endpoint)
        self.uptime = clock.now  # what ages are counted by
        self._rig_clock, self._direct = clock, direct
        self.sent: list[str] = []
        self._stop: tuple[int, str] | None = None
        self._counting = threading.Lock()

    def now(self) -> float:
        return self._rig_clock.now()

    def stop_at(self, n: int, when: str) -> None:
        """The n-th request from now on (from 1; each try is one) raises Killed `before` it is sent, or `after`."""
        with self._counting:
            self._stop = (len(self.sent) + n, when)

    def stop_never(self) -> None:
        with self._counting:
            self._stop = None

    def _make(self, service: str, region: str) -> Any:
        client = super()._make(service, region)
        events, name = client.meta.events, client.meta.service_model.service_id.hyphenize()
        events.unregister(f"needs-retry.{name}", unique_id=f"retry-config-{name}")
        handler = standard.register_retry_handler(client, 10)
        events.unregister(f"needs-retry.{name}", unique_id=f"retry-config-{name}")
        events.register(f"needs-retry.{name}", partial(self._wait_for_retry, handler))
        events.register_last("before-send", self._count)
        if self._direct:
            events.register_last("before-send", self._direct)
        events.register_first("response-received", self._came_back)
        return client

    def _new_buckets(self) -> Buckets:
        """The request limits that the program keeps by itself."""
        return Buckets(partial(Bucket, clock=self._rig_clock.now, sleep=self._rig_clock.sleep))

    def _wait_for_retry(self, handler: Any, **event: Any) -> float | None:
        delay = handler.needs_retry(**event)
        if delay is None:
            return None
        self._rig_clock.sleep(delay)
        return 0.0

    def _count(self, event_name: str, **_: Any) -> None:
        with self._counting:
            self.sent.append(event_name.rpartition(".")[2])
            stop = self._stop == (len(self.sent), "before")
        if stop:
            raise Killed(f"before request {len(self.sent)}, {self.sent[-1]}")

    def _came_back(self, event_name: str, **_: Any) -> None:
        with self._counting:
            stop = self._stop is not None and self._stop == (len(self.sent), "after")
        if stop:
            raise Killed(f"after request {len(self.sent)}, {self.sent[-1]}")


class Rig:
    """An embedded AWS on a virtual clock."""

    def __init__(self, realistic: Realistic, clock: Clock, account: FleetAccount, until_the_end: ExitStack) -> None:
        self.realistic, self.clock, self.account = realistic, clock, account
        self.direct: Direct | None = None
        self._answers: Answers | None = None
        self._until_the_end = until_the_end
        self._regions: dict[str, Region] = {}
        realistic.whenever_made(lambda world: world.listeners.append(self.world(world.region).note))

    @property
    def answers(self) -> Answers:
        """What the nodes answer to HTTP, at their addresses, on `answers.port`; before it is asked for, they do not."""
        if self._answers is None:
            self._answers = self._until_the_end.enter_context(answers_of(self.realistic))
        return self._answers

    @property
    def endpoint(self) -> str:
        return str(self.account.endpoint)

    def client(self, service: str, region: str = REGION) -> Any:
        return self.account.client(service, region)

    def world(self, region: str = REGION) -> Region:
        if region not in self._regions:
            self._regions[region] = Region(self.realistic, region)
        return self._regions[region]

    def group(
        self,
        name: str,
        desired: int = 1,
        *,
        least: int = 0,
        most: int = 4,
        tag: str = "bee",
        image: str = STOCK_IMAGE,
        target_groups: Sequence[str] = (),
        zones: Sequence[str] = ("us-east-1a", "us-east-1b"),
        **settings: Any,
    ) -> str:
        """A new Auto Scaling group with the tag `group`; its nodes are only just launched. No layer sees its making.

        `settings` are further ones of CreateAutoScalingGroup. Raises AwsRefusalError for what AWS refuses.
        """
        region = self.world()
        region.create(
            {
                "AutoScalingGroupName": name,
                "MinSize": least,
                "MaxSize": most,
                "DesiredCapacity": desired,
                "AvailabilityZones": list(zones),
                "LaunchTemplate": {"LaunchTemplateName": region.template(image), "Version": "1"},
                "TargetGroupARNs": list(target_groups),
                "Tags": [{"Key": "group", "Value": tag, "PropagateAtLaunch": True}],
                **settings,
            }
        )
        return name

    def operator(self) -> FleetAccount:
        """The account in the hands of somebody else."""
        return FleetAccount(self.endpoint, self.clock, self.direct)

    def wait(self, seconds: float) -> None:
        """So much later; everything that was due has happened."""
        self.clock.sleep(seconds)
        self.realistic.catch_up()


def _handler(clock: Clock) -> type[Quiet]:
    """The Date header of every reply is the rig's time."""

    class Handler(Quiet):
        def date_time_string(self, timestamp: float | None = None) -> str:
            return http_date(clock.now() if timestamp is None else timestamp)

    return Handler


@contextmanager
def fleet(
    *layers: Layer,
    pending: float = 30,
    checks: float = 60,
    healthy: float = 20,
    drain: float = 60,
    termination: float = 30,
    notice: float = 15,
    retry: float = 60,
    delete: float = 20,
    remembers: float = 0,
    clock: Clock | None = None,
    direct: bool = False,
) -> Iterator[Rig]:
    """A rig of which each of these takes so many (virtual) seconds, behind the layers, the last outermost.

    The clock is a VirtualClock of its own, at MORNING. A layer that needs it gets the same:
    `fleet(Throttling(clock=clock.now), clock=clock)`; a program in a process of its own needs a RealClock, and short
    times. For `tests.faults.stale` the rig has to remember as many seconds as replies may be old.
    It has the image STOCK_IMAGE and the type m1.large in REGION. A `direct` one has no server, and takes half the time.
    """
    clock = clock or VirtualClock(MORNING)
    realistic = Realistic(
        clock,
        Realism(
            pending_seconds=pending,
            status_check_seconds=checks,
            health_seconds=healthy,
            drain_seconds=drain,
            termination_seconds=termination,
            notice_seconds=notice,
            retry_seconds=retry,
            delete_seconds=delete,
        ),
        remembers=remembers,
    )
    app = front(layers=layers, realistic=realistic)
    moto_seed.forget_everything()
    moto_seed.apply(
        Seed({REGION: SeedRegion(images=(SeedImage(STOCK_IMAGE, "precise"),), instance_types=("m1.large",))})
    )
    if direct:
        answers = Direct(app, clock)
        with ExitStack() as until_the_end:
            rig = Rig(realistic, clock, FleetAccount("http://127.0.0.1:1", clock, answers), until_the_end)
            rig.direct = answers
            yield rig
        return
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=_handler(clock))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    account = FleetAccount(f"http://127.0.0.1:{server.port}", clock)
    try:
        with ExitStack() as until_the_end:
            yield Rig(realistic, clock, account, until_the_end)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
