"""One group's rollout as this process knows it: what it has seen and written, and what follows from the next look."""

from collections.abc import Mapping
from dataclasses import replace

from nodepkg.autoscale.journal import IMAGE, Phase, Record
from nodepkg.autoscale.observe import Observation, Subject
from nodepkg.autoscale.rollout import Act, Refuse, Step, Wait, decide
from nodepkg.autoscale.steps import Change
from nodepkg.autoscale.task import Lease, Standing, Task
from nodepkg.autoscale.view import EMPTY, Goal, Seen, View, remember
from nodepkg.autoscale.writes import Writes
from nodepkg.plan import Report

# While AWS is at work on what the next step needs it is looked at so often in a poll interval: a rollout waits for some
# five such moments, and may lose two intervals by them.
LOOKS_A_POLL = 3
# A view that lacks our own writes is looked for again after this part of the window.
PARTS_OF_WINDOW = 8
_A_MOMENT = 0.001  # seconds: moments are compared that were added up


class Course:
    """How far one group has come. Moments are seconds since the epoch, by AWS's clock."""

    def __init__(self, task: Task, lease: Lease, now: float) -> None:
        """A new holder waits for a window before its first look, since a killed one's last request may still commit."""
        self.task, self.lease = task, lease
        self.since = now
        self.wake = now + task.terms.window
        self.view: View | None = None
        self.observation: Observation | None = None
        self.standing = Standing(task.group, "claim", "waiting for what another process may still have sent")
        self.steps = 0
        self.undoing = False
        self.reason = ""
        self.resumed = False
        self.unclear = self.blind = 0
        self.not_yet_since: float | None = None
        self.asked_troubles = float("-inf")
        self.schedules: Mapping[str, float] | None = None
        self._seen: Seen = {}
        self._writes = Writes()
        self._aim = ""
        self._doubted = ("", "")
        self._left = frozenset[tuple[str, str]]()
        self._first_look: float | None = None
        self.trouble = ""

    @property
    def asg(self) -> str:
        """The group that serves, or is going to."""
        asg = self.view and (self.view.new or self.view.old)
        return asg.name if asg else self._aim

    @property
    def image(self) -> str:
        """What it runs, or is going to."""
        asg = self.view and (self.view.new or self.view.old)
        return asg.tags.get(IMAGE, "") if asg else ""

    @property
    def aim(self) -> str:
        """The new group that this process has worked on."""
        return self._aim

    @property
    def goes_forward_only(self) -> bool:
        """Whether the old group has been given up."""
        view = self.view
        return view is not None and view.new is not None and (not view.old or view.old.sizes == EMPTY)

    @property
    def begun(self) -> bool:
        """Whether something may be left that has to be finished, or undone."""
        return bool(self.view and self.view.new) or self.unclear > 0

    @property
    def subject(self) -> Subject:
        return self.task.subject(
            Goal.ROLLBACK if self.undoing else self.task.goal, self._aim, begins=not (self.undoing or self._aim)
        )

    def take(self, observation: Observation, began: float, ended: float) -> Step | None:
        """The step after an observation that lasted from `began` to `ended`.

        None if it lacks what we have written. Raises what the task's claim raised.
        """
        window, view = self.task.terms.window, observation.view
        self._writes = self._writes.after(began - window)
        if not self._writes.show_in(view):
            return None
        if not self.task.operation and (refusal := self._recognise(view)):
            return refusal
        self._seen = remember(self._seen, view, ended)
        view = replace(self._due_in(view), goal=self._goal(view), aim=self._aim, seen=self._seen)
        self.view, self.observation = view, observation
        if observation.error and view.new is None and view.steady("no new", began):
            raise observation.error
        if self._first_look is None:
            self._first_look = began
        operation, region = self.task.operation, self.task.region
        step = operation.next(view, began) if operation else decide(view, began, region=region)
        self.standing = _standing(self.task.group, view, step)
        return step

    def _due_in(self, view: View) -> View:
        """The view without the changes that this process leaves as they are."""
        registry, due = view.registry, tuple(one for one in view.housekeeping if one.changes not in self._left)
        if registry:
            say, unsay = (
                tuple(one for one in changes if one.changes not in self._left)
                for changes in (registry.say, registry.unsay)
            )
            registry = replace(registry, say=say, unsay=unsay)
        return replace(view, housekeeping=due, registry=registry)

    @property
    def deadline(self) -> float:
        """Until when an operation may wait."""
        timeout = self.task.operation.timeout if self.task.operation else None
        return float("inf") if timeout is None or self._first_look is None else self._first_look + timeout

    def _recognise(self, view: View) -> Refuse | None:
        """Takes note of whose rollout it is, and whether it is undone."""
        if not (view.new and view.record):
            return None
        if not self._aim:
            self.resumed = view.record.run != self.task.run
            if self.resumed and self.task.refuse_others:
                return Refuse(f"an update of {self.task.group} is under way: {view.new.name}")
        self._aim = view.new.name
        if view.record.phase is Phase.ROLLBACK:
            self.undoing = True
            self.reason = view.record.reason or self.reason
        return None

    def _goal(self, view: View) -> Goal:
        """A rollback of ours that is not recorded, since there was nothing to record it on, is wanted all the same."""
        unrecorded = view.record is None or view.record.phase is Phase.CLAIM
        return Goal.ROLLBACK if self.undoing and unrecorded else self.task.goal

    def after_wait(self, wait: Wait, began: float, ended: float, poll: float, origin: float) -> float:
        """When to look again: at a tick that others share, or when the wait may be over by itself."""
        watched_only = wait.until is not None and wait.state not in ("grow", "attach", "rollback")
        tick = poll if watched_only or self.task.operation else poll / LOOKS_A_POLL
        moments = [origin + ((ended - origin) // tick + 1) * tick]
        # What has to be seen twice is seen since the end of an observation, and judged at the beginning of another.
        window = self.task.terms.window
        young = [since for value, since in self._seen.values() if value is not None and began - since < window]
        moments += [max(since + window, ended) for since in young]
        if self.deadline > ended:
            moments.append(self.deadline)
        if wait.until is not None:
            moments.append(wait.until + (ended - began))
        return min(moment for moment in moments if moment >= ended) + _A_MOMENT

    def after_old_view(self, now: float, poll: float) -> float:
        return now + min(poll, self.task.terms.window / PARTS_OF_WINDOW)

    def acted(self, act: Act, report: Report, now: float) -> None:
        """A change was made: the next look has to show it, and may come at once."""
        if self.task.operation:
            self.task.operation.did(act.change, report)
        self._writes = self._writes.and_also(act.change, now)
        self.steps += 1
        self.unclear, self.not_yet_since = 0, None
        self.wake = now

    def tidies(self, change: Change) -> bool:
        """Whether the change only puts in order what a rollout leaves."""
        return self.view is not None and change in self.view.housekeeping

    def leave(self, change: Change) -> None:
        """It is not tried again by this process."""
        self._left |= {change.changes}
        self.unclear, self.not_yet_since = 0, None

    def is_untold(self, change: Change, now: float) -> bool:
        """The registry did not take a change: whether it has been tried for as long as others get for hearing of it."""
        self.not_yet_since = self.not_yet_since or now
        return self.tidies(change) or now - self.not_yet_since >= self.task.terms.timeout

    def doubts(self, act: Act, now: float) -> None:
        """A change may have been made or not, or be made yet: what was seen counts no more."""
        self._seen = {}
        self.unclear = self.unclear + 1 if act.change.changes == self._doubted else 1
        self._doubted = act.change.changes
        self.wake = now + self.task.terms.window


def _deadline(record: Record | None, step: Step) -> float | None:
    """Until when nodes have to be ready, have to stay so, or O may still be needed."""
    if isinstance(step, Wait) and step.state in ("bake", "hold"):
        return step.until
    return record.deadline if record and isinstance(step, Act | Wait) and step.state in ("grow", "attach") else None


def _standing(group: str, view: View, step: Step) -> Standing:
    state, why = ("done", "") if not isinstance(step, Act | Wait) else (step.state, "")
    why = step.why if isinstance(step, Wait) else str(step.change) if isinstance(step, Act) else why
    record, new = view.record, view.new
    shown = new or view.old
    targets = record.targets & new.targets if record and new else shown.targets if shown else frozenset[str]()
    return Standing(
        group,
        state,
        why,
        asg=shown.name if shown else "",
        ready=sum(node.ready and node.serves(targets) for node in shown.nodes) if shown else 0,
        desired=shown.desired if shown else 0,
        old=len(view.old.nodes) if new and view.old else 0,
        deadline=_deadline(record, step),
    )
