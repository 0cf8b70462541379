"""One command of Run Command on its way: from SendCommand to the end of every job that it carries."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from nodepkg.clients.aws.run_command import Command, Invocation, Order, RunCommand
from nodepkg.errors import AwsError, CredentialsError
from nodepkg.fleet.ssm_words import outcome, written
from nodepkg.fleet.transport import Began, Ended, Event, Job, Result, Wrote

# Of so many failed hosts of a command the whole output is fetched, for a call each; of others its beginning is known.
WHOLE_OUTPUTS = 50
_ONE_PAGE = 50
_QUIET = 60.0  # after so many seconds without an end it is looked who has the places
_FAILED = (Result.FAILED, Result.TIMED_OUT, Result.REFUSED)
_BEGUN = ("InProgress", "Cancelling")
_UNDER_WAY = ("InProgress", "Delayed", "Pending")


@dataclass
class Errand:
    """`jobs` by instance are those that have not ended. `patience`: for how long, in seconds, one may show no sign.

    `offline` are instances that the command may hit although their jobs have ended already, as unreachable.
    """

    client: RunCommand
    order: Order
    token: str
    jobs: dict[str, Job]
    patience: float
    window: float
    now: Callable[[], float]
    offline: frozenset[str] = frozenset()
    id: str = ""
    failed: int = 0
    again: list[Job] = field(default_factory=list)
    strangers: set[str] = field(default_factory=set)
    _began: dict[str, float] = field(default_factory=dict)
    _told: Command | None = None
    _listed: tuple[int, int] = (-1, 0)
    _changed: float = 0.0
    _looked: float = 0.0
    _concluded: float | None = None
    _is_listed: bool = False
    _is_open: bool = False
    _cancelled: set[str] = field(default_factory=set)
    _outputs: int = 0
    _trouble: str = ""

    @property
    def is_over(self) -> bool:
        return not self.jobs

    @property
    def has_one_page(self) -> bool:
        return len(self.jobs) + len(self.offline) <= _ONE_PAGE

    def send(self, sleep: Callable[[float], None]) -> None:
        """Raises AwsError."""
        self.id = self.client.send(self.order, window=self.window, sleep=sleep).id
        self._changed = self.now()

    def poll(self) -> list[Event]:
        """What is new, for one call, and some more if it is worth while."""
        try:
            told = self.client.command(self.id)
        except CredentialsError as error:
            return self.lose(f"it was begun, and then: {error.message}")
        except AwsError as error:
            told, self._trouble = None, error.message
        if told and (self._told is None or told.completed > self._told.completed or told.ended > self._told.ended):
            self._told, self._changed = told, self.now()
        if self.now() - self._changed > self.patience:
            return self._give_up()
        if told and told.ended:
            return self._conclude(told)
        if told is None:
            return self._look() if self.has_one_page else []
        return self._glance(told)

    def stop(self) -> tuple[list[Event], list[Job]]:
        """It begins on no further node. What that ends, and the jobs that had begun, which may be followed."""
        events = self._look()
        self.cancel()
        events += self._look(cancelled=True)
        following = [self.jobs.pop(name) for name in list(self.jobs) if name in self._began]
        return [*events, *self._end_all(Result.NOT_STARTED, "it was stopped before its turn")], following

    def cancel(self, instances: Sequence[str] = ()) -> None:
        """If that cannot be asked for, it goes on: the deploy id sees to it that nothing runs twice at a time."""
        try:
            self.client.cancel_command(self.id, instances)
        except AwsError as error:
            self._trouble = error.message

    def lose(self, why: str) -> list[Event]:
        """All that is left may run, and nobody knows."""
        return self._end_all(Result.UNKNOWN, why)

    def _glance(self, told: Command) -> list[Event]:
        """Long lists only when as many again have ended: so all of them together are twice the last one, or so."""
        completed, errors = self._listed
        if self.has_one_page:
            some = told.completed != completed or len(self._began) < len(self.jobs) or self._late()
            return self._look() if some else []
        if told.completed >= max(2 * completed, _ONE_PAGE):
            return self._look()
        if told.errors >= max(2 * errors, 1):
            self._listed = (completed, told.errors)
            return self._look("Failed")
        quiet = self.now() - max(self._changed, self._looked)
        if quiet > (_QUIET if self.offline - self._cancelled else self.patience / 4):
            return [event for status in _UNDER_WAY for event in self._look(status)]
        return []

    def _late(self) -> list[str]:
        since = self.now() - self.patience
        return [name for name, began in self._began.items() if began < since and name in self.jobs]

    def _look(self, status: str = "", *, cancelled: bool = False) -> list[Event]:
        """What the list of invocations, or of those with this Status, has that is new."""
        try:
            found = self.client.invocations(self.id, status=status)
        except AwsError as error:
            self._trouble, self._is_listed = error.message, False
            return []
        self._is_listed, self._looked = True, self.now()
        if not status:
            self._listed = (self._told.completed, self._told.errors) if self._told else (0, 0)
            self._is_open = any(not one.ended for one in found if one.instance in self.jobs)
        events: list[Event] = []
        for one in found:
            events += self._seen(one, cancelled=cancelled)
        hold = [one.instance for one in found if not one.ended and one.instance in self.offline - self._cancelled]
        late = self._late()
        if hold or late:
            # Nodes that nothing is heard of would keep their places.
            self.cancel(hold + late)
            self._cancelled.update(hold, late)
        for name in late:
            events += self._ended(name, Result.UNKNOWN, "it began, and nothing more was heard of it")
        return events

    def _seen(self, one: Invocation, *, cancelled: bool) -> list[Event]:
        job = self.jobs.get(one.instance)
        if job is None:
            if one.instance not in self.offline and one.instance not in self._began:
                self.strangers.add(one.instance)
            return []
        events: list[Event] = []
        if one.instance not in self._began and (one.status in _BEGUN or one.started):
            self._began[one.instance] = self.now()
            events.append(Began(one.instance))
        if one.ended and not (cancelled and one.status == "Cancelled"):
            events += self._result(job, one)
        return events

    def _result(self, job: Job, one: Invocation) -> list[Event]:
        output = one.output
        if one.status == "Failed" and self._outputs < WHOLE_OUTPUTS:
            self._outputs += 1
            output = self._whole_output(one.instance) or output
        self._changed = self.now()
        found = outcome(one, output, self.token, began=one.instance in self._began)
        del self.jobs[one.instance]
        if found.rerun:
            self.again.append(job)
            return []
        events: list[Event] = []
        if one.instance not in self._began and one.code is not None and found.ended.result is not Result.REFUSED:
            events.append(Began(one.instance))
        self._began.setdefault(one.instance, self.now())
        text = written(output, self.token)
        if text:
            events.append(Wrote(one.instance, text))
        self.failed += found.ended.result in _FAILED
        return [*events, found.ended]

    def _whole_output(self, instance: str) -> str:
        try:
            return self.client.output(self.id, instance)
        except AwsError:
            return ""

    def _conclude(self, told: Command) -> list[Event]:
        """The command is over; the list may show that a window later."""
        pause = self.window if self.has_one_page else max(self.window, _QUIET)
        if self._concluded is not None and self.now() - self._concluded < pause:
            return []
        events = self._look()
        if not self.jobs or not self._is_listed:
            return events
        if (self._concluded is None and self.window > 0) or self._is_open:
            self._concluded = self.now()
            return events
        return [*events, *self._leave(told)]

    def _leave(self, told: Command) -> list[Event]:
        """The command is over, and did not come to those that are left."""
        begun = [name for name in self.jobs if name in self._began]
        events = [one for name in begun for one in self._ended(name, Result.UNKNOWN, "its end was not told")]
        if told.status == "NoInstancesInTag":
            why = "Systems Manager knows no such node: has it an agent, and an instance profile that lets it report?"
            return [*events, *self._end_all(Result.UNREACHABLE, why)]
        if told.status == "RateExceeded":
            why = "Systems Manager took no more commands: the account has too many under way"
            return [*events, *self._end_all(Result.NOT_STARTED, why)]
        most = self.order.max_errors
        if told.status == "Cancelled" or (most is not None and told.errors > most):
            stopped = "the command was cancelled" if told.status == "Cancelled" else "too many had failed"
            return [*events, *self._end_all(Result.NOT_STARTED, f"{stopped} before its turn")]
        why = "Systems Manager did not hand it the command: is its agent running and registered?"
        return [*events, *self._end_all(Result.UNREACHABLE, why)]

    def _give_up(self) -> list[Event]:
        """Nothing has ended for longer than anything may take."""
        events = self._look()
        if any(isinstance(event, Ended) for event in events) and self.jobs:
            self._changed = self.now()
            return events
        if self._told is None or not self._told.ended:
            self.cancel()
        trouble = f": {self._trouble}" if self._trouble else ""
        begun = [name for name in self.jobs if name in self._began or not self._is_listed]
        for name in begun:
            events += self._ended(name, Result.UNKNOWN, f"nothing was heard of it any more{trouble}")
        return [
            *events,
            *self._end_all(Result.NOT_STARTED, "nothing ended any more, so it was given up before its turn"),
        ]

    def _end_all(self, result: Result, why: str) -> list[Event]:
        return [one for name in list(self.jobs) for one in self._ended(name, result, why)]

    def _ended(self, name: str, result: Result, why: str) -> list[Event]:
        del self.jobs[name]
        return [Ended(name, result, None, why)]
