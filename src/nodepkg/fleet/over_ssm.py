"""The transport `ssm`: bundles through a bucket, the converge by AWS's Run Command, at AWS's pace."""

import secrets
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from math import ceil

from nodepkg.clients.aws.account import CONSISTENCY_SECONDS, Account
from nodepkg.clients.aws.regional import in_parts
from nodepkg.clients.aws.run_command import IDS_OF_ONE, LONGEST_COMMENT, ONLINE, Order, RunCommand
from nodepkg.clients.supervised import HOME
from nodepkg.errors import AwsError, CredentialsError
from nodepkg.fleet.ssm_bundles import Bundles
from nodepkg.fleet.ssm_errand import Errand
from nodepkg.fleet.ssm_script import script
from nodepkg.fleet.transport import Ended, Event, Job, Parcel, Result

POLL_SECONDS = 5.0
# What a node needs besides the converge: until its agent has the command, and for the bundle.
GRACE_SECONDS = 120.0
_LEFT_BEHIND = 7 * 86400.0  # how far back commands of former deploys are looked for
_SELDOM = 3  # so many times less often is asked for what has more than a page
_SOON = 1.0  # the first look after a command
_RERUNS = 2
_IDLE = 1.0


@dataclass(frozen=True)
class _Batch:
    """Jobs for one command: of instances, or, with `by_tag`, of all of a group.

    `offline` are others that it may hit. Of the nodes that are not `listed` Systems Manager has told nothing. Those
    that `run` already are only followed: no limit holds for them.
    """

    parcel: Parcel
    jobs: Sequence[Job]
    token: str
    by_tag: bool = False
    offline: frozenset[str] = frozenset()
    listed: bool = True
    run: bool = False


class OverSsm:
    """Implements fleet.transport.Transport. All is done in the caller's thread, by start() and events().

    `buckets`: group -> bucket. At most `at_once` nodes converge at a time, and after more than `max_errors` failures
    (None: never) no further one begins. `tagged`: group -> how many running instances its tags reach; if as many jobs
    are started together, one command by tag serves them. Otherwise commands name instances, 50 at most, so that
    nobody else is hit. `note` is told what is odd.

    The caller holds the leases of the groups: commands of former deploys that are still under way there are cancelled,
    since nobody can be waiting for them. What runs on nodes is not disturbed by that.
    """

    def __init__(
        self,
        account: Account,
        *,
        buckets: Mapping[str, str],
        at_once: int,
        max_errors: int | None = 0,
        tagged: Mapping[str, int] = {},
        poll: float = POLL_SECONDS,
        window: float = CONSISTENCY_SECONDS,
        grace: float = GRACE_SECONDS,
        sleep: Callable[[float], None] = time.sleep,
        note: Callable[[str], None] = lambda _: None,
        home: str = HOME,
    ) -> None:
        self._account, self._bundles, self._tagged = account, Bundles(account, buckets, home=home), tagged
        self._at_once, self._max_errors = max(at_once, 1), max_errors
        self._poll, self._window, self._grace = poll, window, grace
        self._sleep, self._note = sleep, note
        self._waiting: deque[_Batch] = deque()
        self._under_way: list[Errand] = []
        self._news: deque[Event] = deque()
        self._failed = 0
        self._is_stopped = False
        self._cleared: set[str] = set()
        self._next_look = 0.0
        self._reruns: Counter[str] = Counter()

    def start(self, jobs: Sequence[Job], /) -> None:
        """Sends what may be sent. Raises AwsError if that is refused: then none of these jobs has begun."""
        groups: dict[str, list[Job]] = {}
        for job in jobs:
            groups.setdefault(job.parcel.group, []).append(job)
        before = len(self._under_way)
        try:
            for some in groups.values():
                self._prepare(some[0].parcel, some)
            self._send()
        except AwsError:
            if len(self._under_way) == before:
                self._waiting.clear()
                raise
            self._leave_waiting(Result.NOT_STARTED, "Systems Manager takes no more commands")

    def events(self, seconds: float, /) -> Sequence[Event]:
        """What has happened since; waits up to so many seconds for the first."""
        until = self._account.uptime() + seconds
        while not self._news and self._under_way:
            now = self._account.uptime()
            if now >= self._next_look:
                self._look()
            elif now >= until:
                break
            else:
                self._sleep(min(self._next_look, until) - now)
        if not self._news and (left := until - self._account.uptime()) > 0:
            self._sleep(min(left, _IDLE))  # nothing is under way: the caller waits for something else
        found, self._news = list(self._news), deque()
        return found

    def stop(self) -> None:
        if self._is_stopped:
            return
        self._is_stopped = True
        self._leave_waiting(Result.NOT_STARTED, _STOPPED)
        for errand in self._under_way:
            events, running = errand.stop()
            self._news.extend(events)
            self._by_instances(running, errand.token, run=True)
        self._go_on()

    def close(self) -> None:
        """Begins on no further node; what runs goes on, and is no longer followed."""
        self._waiting.clear()
        for errand in self._under_way:
            errand.cancel()
        self._under_way.clear()

    # Before a command.

    def _prepare(self, parcel: Parcel, jobs: Sequence[Job]) -> None:
        client = RunCommand(self._account, parcel.region)
        self._clear(client, parcel.group)
        self._bundles.put(parcel)
        whole = len(jobs) == self._tagged.get(parcel.group)
        pings = self._pings(client, parcel.group, [] if whole else [job.host.instance for job in jobs])
        there, offline = self._reachable(pings or {}, jobs, whole=whole)
        if whole and there:
            self._waiting.append(_Batch(parcel, there, _token(), by_tag=True, offline=offline))
        else:
            self._by_instances(there, _token(), listed=pings != {})

    def _by_instances(self, jobs: Sequence[Job], token: str, *, listed: bool = True, run: bool = False) -> None:
        parts = in_parts(jobs, IDS_OF_ONE)
        self._waiting.extend(_Batch(part[0].parcel, part, token, listed=listed, run=run) for part in parts)

    def _clear(self, client: RunCommand, group: str) -> None:
        """Cancels what a deploy that was killed has left to Systems Manager."""
        if group in self._cleared:
            return
        try:
            for command in client.commands(_LEFT_BEHIND, running=True):
                if not command.ended and command.comment.startswith(_MARK) and command.comment.endswith(_sign(group)):
                    client.cancel_command(command.id)
                    self._note(f"{group}: an earlier deploy's command was under way; it begins on no further node")
        except CredentialsError:
            raise
        except AwsError as error:
            self._note(f"{group}: whether an earlier deploy is still under way is not known: {error.message}")
        self._cleared.add(group)

    def _pings(self, client: RunCommand, group: str, instances: Sequence[str]) -> dict[str, str] | None:
        """Of these instances, or of all of the group; None if they cannot be had."""
        try:
            return client.pings(instances=instances) if instances else client.pings(tags={"group": group})
        except CredentialsError:
            raise
        except AwsError as error:
            self._note(f"{group}: which nodes are online is not known: {error.message}")
            return None

    def _reachable(
        self, pings: Mapping[str, str], jobs: Sequence[Job], *, whole: bool
    ) -> tuple[list[Job], frozenset[str]]:
        """The jobs whose nodes may be online, and the instances that are not; their jobs end."""
        instances = [job.host.instance for job in jobs]
        offline = frozenset(name for name in instances if pings.get(name, ONLINE) != ONLINE)
        # A command by tag goes past unknown nodes; one by instances would be refused for all.
        unknown = {name for name in instances if name not in pings} if pings and not whole else set()
        for name in sorted(offline):
            self._end(name, Result.UNREACHABLE, f"its agent is not online: Systems Manager says {pings[name]}")
        for name in sorted(unknown):
            self._end(name, Result.UNREACHABLE, _UNKNOWN_NODE)
        return [job for job in jobs if job.host.instance not in offline | unknown], offline

    # Commands.

    def _send(self) -> None:
        """Sends what there are places for. Raises AwsError; what could not be sent waits."""
        while self._waiting:
            batch = self._waiting[0]
            places = self._at_once - sum(errand.order.at_once for errand in self._under_way)
            if batch.run:
                places = len(batch.jobs)
            elif self._max_errors is not None and self._failed > self._max_errors:
                self._leave_waiting(Result.NOT_STARTED, "too many had failed before its turn")
                return
            if places <= 0:
                return
            self._send_one(self._waiting.popleft(), places)

    def _send_one(self, batch: _Batch, places: int) -> None:
        errand = self._errand(batch, min(places, len(batch.jobs)))
        try:
            errand.send(self._sleep)
        except AwsError as error:
            if error.code == "InvalidInstanceId" and not batch.by_tag:
                self._halve(batch)
            elif error.code and not isinstance(error, CredentialsError):
                self._waiting.appendleft(batch)
                raise
            else:
                self._news.extend(errand.lose(f"nobody knows whether it was begun: {error.message}"))
            return
        self._under_way.append(errand)
        self._next_look = self._account.uptime() + min(self._poll, _SOON)

    def _halve(self, batch: _Batch) -> None:
        """One instance that cannot take commands has all of them refused."""
        if len(batch.jobs) == 1 or not batch.listed:
            for job in batch.jobs:
                self._end(job.host.instance, Result.UNREACHABLE, _UNKNOWN_NODE)
            return
        half = len(batch.jobs) // 2
        for part in (batch.jobs[half:], batch.jobs[:half]):
            self._waiting.appendleft(replace(batch, jobs=part))

    def _errand(self, batch: _Batch, at_once: int) -> Errand:
        parcel, most = batch.parcel, self._max_errors
        each = parcel.timeout + self._grace
        waves = ceil(len(batch.jobs) / at_once)
        sent = self._bundles.sent(parcel, batch.jobs, batch.token, waves * each)
        order = Order(
            comment=f"{_MARK}{parcel.deploy} {secrets.token_hex(4)}{_sign(parcel.group)}"[:LONGEST_COMMENT],
            script=script(parcel, sent),
            tags={"group": parcel.group, "nodepkg:managed": "true"} if batch.by_tag else {},
            instances=[] if batch.by_tag else [job.host.instance for job in batch.jobs],
            at_once=at_once,
            max_errors=None if most is None or batch.run else max(most - self._failed, 0),
            delivery=waves * each,
            execution=each,
        )
        return Errand(
            client=RunCommand(self._account, parcel.region),
            order=order,
            token=batch.token,
            jobs={job.host.instance: job for job in batch.jobs},
            patience=each + self._grace,
            window=self._window,
            now=self._account.uptime,
            offline=batch.offline,
        )

    def _look(self) -> None:
        for errand in self._under_way:
            self._news.extend(errand.poll())
        self._go_on()
        seldom = self._under_way and not any(errand.has_one_page for errand in self._under_way)
        self._next_look = self._account.uptime() + self._poll * (_SELDOM if seldom else 1)

    def _go_on(self) -> None:
        """Lets go of what is over, and sends what has a place now."""
        for errand in [errand for errand in self._under_way if errand.is_over]:
            self._under_way.remove(errand)
            self._failed += errand.failed
            self._ask_again(errand)
            if errand.strangers:
                self._note(f"{len(errand.strangers)} nodes beside those of this deploy got its command as well")
        try:
            self._send()
        except AwsError as error:
            self._leave_waiting(Result.NOT_STARTED, error.message)

    def _ask_again(self, errand: Errand) -> None:
        """Nodes where a run of another session was followed and lost."""
        for job in errand.again:
            self._reruns[job.host.instance] += 1
            if self._reruns[job.host.instance] > _RERUNS:
                self._end(job.host.instance, Result.UNKNOWN, "its result was lost again and again")
        left = [job for job in errand.again if self._reruns[job.host.instance] <= _RERUNS]
        if not self._is_stopped:
            self._by_instances(left, _token())
            return
        for job in left:
            self._end(job.host.instance, Result.NOT_STARTED, _STOPPED)

    def _leave_waiting(self, result: Result, why: str) -> None:
        for batch in self._waiting:
            for job in batch.jobs:
                self._end(job.host.instance, Result.UNKNOWN if batch.run else result, why)
        self._waiting.clear()

    def _end(self, instance: str, result: Result, why: str) -> None:
        self._news.append(Ended(instance, result, None, why))


_MARK = "nodepkg "
_STOPPED = "it was stopped before its turn"
_UNKNOWN_NODE = (
    "Systems Manager does not know it: has it an agent that runs, and an instance profile that lets it report "
    "(AmazonSSMManagedInstanceCore)?"
)


def _sign(group: str) -> str:
    """How a command's comment ends, in at most 60 characters."""
    return f" {group}" if len(group) < 60 else f" {sha256(group.encode()).hexdigest()[:32]}"


def _token() -> str:
    return secrets.token_hex(8)
