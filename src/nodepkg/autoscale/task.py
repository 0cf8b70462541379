"""What a run of rollouts is given, and what it gives."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from nodepkg.autoscale.observe import Observation, Sight, Subject
from nodepkg.autoscale.registered import Membership
from nodepkg.autoscale.rollout import Step
from nodepkg.autoscale.steps import Change
from nodepkg.autoscale.view import Goal, Terms, View
from nodepkg.errors import NodepkgError
from nodepkg.plan import Report
from nodepkg.ready import Health


def nothing(_: Observation) -> Change | None:
    """The claim of a task that begins nothing."""
    return None


def silent(_: Observation) -> Sequence[str]:
    """What a task has to say that has nothing to say."""
    return ()


class Operation(Sight, Protocol):
    """What is to become of a group other than a rollout. `timeout`: in how many seconds; None for no end.

    `result` is what is said of one that went through.
    """

    @property
    def result(self) -> str: ...

    @property
    def timeout(self) -> float | None: ...

    def next(self, view: View, now: float, /) -> Step: ...

    def did(self, change: Change, report: Report, /) -> None:
        """Told of each change that was made."""
        ...

    def report(self, view: View, /) -> Report: ...


@dataclass(frozen=True)
class Task:
    """What is wanted of one group, by the run of this id.

    `claim` gives the change that begins it, None if nothing differs; it is asked where there is no new group, and may
    raise RefusedError. `afterwards` says what is still to be done when a rollout was finished that another process had
    begun. `result` is what is said of one that went through. `refuse_others`: an unfinished rollout is not gone on
    with, but refused. With an `operation` there is no rollout: it says how the group is seen, and what comes next.
    `membership` is None for a group without services.
    """

    group: str
    region: str
    run: str
    terms: Terms
    goal: Goal = Goal.UPDATE
    health: Health = Health()  # noqa: RUF009 - frozen
    claim: Callable[[Observation], Change | None] = nothing
    afterwards: Callable[[Observation], Sequence[str]] = silent
    result: str = "updated"
    refuse_others: bool = False
    operation: Operation | None = None
    membership: Membership | None = None

    def subject(self, goal: Goal, aim: str, *, begins: bool) -> Subject:
        """The observation that is asked for; a task that `begins` nothing any more has no claim."""
        claim = self.claim if begins else nothing
        return Subject(
            self.group, self.region, self.terms, goal, self.health, aim, claim, self.operation, self.membership
        )


@dataclass(frozen=True)
class Standing:
    """How far a rollout is. `ready` of `desired` nodes of the new group; `old` are the nodes of the other one.

    `deadline` is until when the nodes have to be ready, or, in bake and hold, what is waited for takes; in seconds
    since the epoch by AWS's clock.
    """

    group: str
    state: str
    why: str = ""
    asg: str = ""
    ready: int = 0
    desired: int = 0
    old: int = 0
    deadline: float | None = None


@dataclass(frozen=True)
class Result:
    """What became of a group: updated, changed, up to date, rolled back, refused, failed, interrupted or skipped.

    `error` is why it is no success; `why` says more of what is none and no failure either, and `way_on` the commands
    that go on with what is unfinished; `report` is what an operation that went through has to report.
    """

    group: str
    region: str
    result: str
    asg: str = ""
    image: str = ""
    seconds: float | None = None
    state: str = ""
    error: NodepkgError | None = None
    why: str = ""
    way_on: str = ""
    report: Report | None = None

    def document(self) -> Report:
        return {
            "group": self.group,
            "result": self.result,
            "region": self.region,
            "asg": self.asg or None,
            "image": self.image or None,
            "state": self.state or None,
            "duration_seconds": None if self.seconds is None else round(self.seconds, 1),
            "error": self.error.message if self.error else self.why or None,
        }


class Lease(Protocol):
    """A held claim (lease.Lease)."""

    def fenced(self) -> AbstractContextManager[None]: ...

    def beat(self, state: str | None = None) -> None: ...

    def release(self) -> None: ...


class World(Protocol):
    """AWS, its clock (seconds since the epoch), and this machine's sleep. Each call of AWS may raise AwsError."""

    def now(self) -> float: ...

    def sleep(self, seconds: float) -> None: ...

    def claim(self, task: Task) -> Lease:
        """The group's lease; raises RefusedError if somebody else has it."""
        ...

    def observe(self, subjects: Sequence[Subject]) -> Mapping[str, Observation]:
        """What there is, by group: one look at all of them."""
        ...

    def act(self, change: Change) -> Report: ...

    def troubles(self, task: Task, asg: str, since: float) -> Sequence[str]:
        """Why AWS could not start nodes of an Auto Scaling group since then, in its own words, the last one last."""
        ...

    def schedules(self, task: Task, asg: str) -> Mapping[str, float]:
        """When each of the scheduled actions of an Auto Scaling group is due next, by its name."""
        ...


class Watcher(Protocol):
    """Who is told of a run."""

    def began(self, group: str) -> None: ...

    def stands(self, standing: Standing) -> None:
        """After each observation."""
        ...

    def did(self, group: str, change: str) -> None: ...

    def ended(self, group: str, result: str, told: str) -> None: ...

    def note(self, text: str) -> None: ...

    def warning(self, text: str) -> None: ...

    def tick(self, waiting: int) -> None: ...


@dataclass(frozen=True)
class Order:
    """The tasks, and how they are carried out: `at_once` of them, looking every `poll` seconds.

    `together`: all at once, and none is looked at before each is claimed; if one cannot be, nothing is done.
    """

    tasks: Sequence[Task]
    at_once: int = 5
    fail_fast: bool = False
    poll: float = 5.0
    together: bool = False
