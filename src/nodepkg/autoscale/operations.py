"""Carrying a change of a group through to its end, under its lease: many groups side by side, in one loop.

Each says what comes next by what was observed; nothing is remembered from one process to the next but what stands
in AWS, so that a command that was killed is simply run again.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Protocol

from nodepkg.autoscale.rollout import Act, Done, Refuse, Step, Wait
from nodepkg.autoscale.steps import Change
from nodepkg.autoscale.view import Asg, Seen, View, remember
from nodepkg.autoscale.writes import Writes
from nodepkg.clients.aws.account import Account
from nodepkg.clients.aws.autoscaling import AutoScaling, AutoScalingGroup
from nodepkg.errors import AwsError, CredentialsError, NodepkgError, NotYetError, RefusedError
from nodepkg.lease import Lease, claim
from nodepkg.plan import Report
from nodepkg.ready import Health

LOST_REPLIES = 3
LONGEST_PAUSE = 30.0  # seconds, so that there is a heartbeat in time
# What AWS answers without having decided anything, after all the tries that botocore makes.
_UNDECIDED = ("Throttl", "RequestLimitExceeded", "Internal", "ServiceUnavailable", "Unavailable", "5")

Key = tuple[str, str]  # region and group


class Operation(Protocol):
    """What is to become of one group. `timeout`: within how many seconds, by AWS's clock; None for no end.

    `health` is what its nodes are asked.
    """

    @property
    def region(self) -> str: ...
    @property
    def group(self) -> str: ...
    @property
    def timeout(self) -> float | None: ...

    def __str__(self) -> str: ...

    def run(self, site: "Site", /) -> Report:
        """As an action of a plan: claims the group."""
        ...

    @property
    def health(self) -> Health: ...

    def watched(self, asgs: Sequence[AutoScalingGroup]) -> Collection[str] | None:
        """None if the nodes of these need no closer look, else the target groups (ARNs) that they may have left."""
        ...

    def view(self, asgs: Sequence[Asg]) -> View:
        """What the decision is made on; `asgs` are all that carry the group's tag, by name."""
        ...

    def next(self, view: View, now: float) -> Step: ...

    def did(self, change: Change, report: Report) -> None:
        """Told of each change that was made."""
        ...

    def report(self, view: View) -> Report: ...


Look = Callable[[Account, Sequence[Operation]], Mapping[Key, Sequence[Asg]]]


@dataclass
class Site:
    """What a command works with: the account, its leases, its clock. Seconds throughout.

    `look` observes the groups of all operations in as few calls as it can; `tell` hears of each change of state.
    """

    account: Account
    look: Look
    command: str
    run_id: str
    window: float
    poll: float
    sleep: Callable[[float], None]
    tell: Callable[[str, str], None]
    take_over: bool = False
    reports: list[Report] = field(default_factory=list)
    _held: list["_Held"] = field(default_factory=list)

    def begin(self, operation: Operation) -> None:
        """Claims the group: nothing is changed before all groups of a command are claimed."""
        lease = claim(
            self.account,
            operation.region,
            operation.group,
            command=self.command,
            run=self.run_id,
            take_over=self.take_over,
            window=self.window,
            sleep=self.sleep,
        )
        self._held.append(_Held(self, operation, lease))

    def pursue(self) -> None:
        """Ends when each group has come to its end; raises what went wrong with some after all the others are done."""
        if self._held:
            self.sleep(self.window)  # what a holder that was killed had sent may still show only now
        running, failed = list(self._held), list[NodepkgError]()
        while running:
            began = self.account.now()
            sights = self.look(self.account, [one.operation for one in running])
            seen = self.account.now()
            pause = min(self.poll, LONGEST_PAUSE)
            for one in list(running):
                operation = one.operation
                try:
                    rest = one.step(sights.get((operation.region, operation.group), ()), began, seen)
                except NodepkgError as error:
                    failed.append(error)
                    rest = None
                if rest is None:
                    self._release(one)
                    running.remove(one)
                else:
                    pause = min(pause, rest)
            if running and pause:
                self.sleep(pause)
        if failed:
            raise _together(failed)

    @contextmanager
    def holding(self) -> Iterator[None]:
        """Whatever was claimed within it is released in the end."""
        try:
            yield
        finally:
            for one in self._held:
                self._release(one)

    def _release(self, one: "_Held") -> None:
        """That it cannot be released is no failure of what was done: it is free as soon as this process has ended."""
        try:
            one.lease.release()
        except NodepkgError as error:
            self.tell(one.operation.group, f"its lease is not released: {error.message}")


@dataclass
class _Held:
    """A group under its lease, and what this process knows of it."""

    site: Site
    operation: Operation
    lease: Lease
    writes: Writes = field(default_factory=Writes)
    seen: Seen = field(default_factory=dict)
    deadline: float | None = None
    lost: int = 0
    told: str = ""

    def step(self, asgs: Sequence[Asg], began: float, ended: float) -> float | None:
        """Does what comes next; in how many seconds to look again, None when the group has come to its end."""
        if self.deadline is None and self.operation.timeout is not None:
            self.deadline = began + self.operation.timeout
        self.writes = self.writes.after(began - self.site.window)
        view = self.operation.view(asgs)
        if not self.writes.show_in(view):
            self.lease.beat()
            return self.site.poll
        self.seen = remember(self.seen, view, ended)
        view = replace(view, seen=self.seen)
        match self.operation.next(view, began):
            case Act(state, change):
                self.lease.beat(state)
                return self._do(change)
            case Wait() as wait:
                return self._wait(wait, view, began)
            case Refuse(why):
                raise RefusedError(f"{self.operation.group}: {why}", hint=self._hint)
            case Done():
                self.site.reports.append(self.operation.report(view))
                return None

    def _wait(self, wait: Wait, view: View, now: float) -> float:
        why = "; ".join(part for part in (wait.why, self._trouble(view)) if part)
        self._tell(f"{wait.state}: {why}")
        self.lease.beat(wait.state)
        if self.deadline is not None and now >= self.deadline:
            raise AwsError(f"{self.operation.group} was not ready in time: {why}", hint=self._hint)
        return self.site.poll if wait.until is None else min(self.site.poll, max(wait.until - now, 0.1))

    def _trouble(self, view: View) -> str:
        """Why AWS cannot start nodes that are due, in its own words."""
        asg = view.old
        if self.deadline is None or asg is None or len(asg.nodes) >= asg.desired:
            return ""
        last = AutoScaling(self.site.account, self.operation.region).activities(asg.name, most=1)
        return last[0].reason if last and last[0].failed else ""

    def _do(self, change: Change) -> float:
        self._tell(str(change))
        try:
            with self.lease.fenced():
                report = change.run(self.site.account)
        except NotYetError as error:
            self._tell(f"AWS is not ready for it: {error.message}")
            return self.site.poll
        except AwsError as error:
            if self.lost >= LOST_REPLIES or not is_undecided(error):
                raise
            # Whether it was done, nobody has told: everybody sees it after a window.
            self.lost += 1
            self.seen = {}
            self._tell(f"{error.message}: looking again")
            return self.site.window
        self.lost = 0
        self.writes = self.writes.and_also(change, self.site.account.now())
        self.operation.did(change, report)
        return 0.0

    def _tell(self, text: str) -> None:
        if text != self.told:
            self.told = text
            self.site.tell(self.operation.group, text)

    @property
    def _hint(self) -> str:
        return f"where it stands: package autoscale:status {self.operation.group}"


@dataclass(frozen=True)
class Pursue:
    """The last action of a plan: all groups that were claimed come to their end."""

    says: str

    def __str__(self) -> str:
        return self.says

    def run(self, site: Site, /) -> Report:
        site.pursue()
        return {"groups": site.reports}


def is_undecided(error: AwsError) -> bool:
    """Whether it is not known if the change was made, or will be."""
    return not isinstance(error, CredentialsError) and (not error.code or error.code.startswith(_UNDECIDED))


def _together(errors: Sequence[NodepkgError]) -> NodepkgError:
    """One error for all: that of AWS before that of a rule, since its remedy is needed first."""
    if len(errors) == 1:
        return errors[0]
    chief = next((error for error in errors if isinstance(error, AwsError)), errors[0])
    kind = AwsError if isinstance(chief, AwsError) else RefusedError
    return kind("\n".join(error.message for error in errors), hint=chief.hint)
