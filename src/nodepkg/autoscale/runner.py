"""Rollouts of several groups, side by side in one loop without threads: it looks, decides, and makes one change."""

from collections.abc import Sequence

from nodepkg.autoscale.course import Course
from nodepkg.autoscale.failures import Verdict, is_undecided, judge
from nodepkg.autoscale.journal import Phase
from nodepkg.autoscale.observe import Observation
from nodepkg.autoscale.reports import Reports
from nodepkg.autoscale.rollout import Act, Done, Refuse, Step, Wait
from nodepkg.autoscale.steps import Enter
from nodepkg.autoscale.task import Order, Result, Task, Watcher, World
from nodepkg.autoscale.view import Goal
from nodepkg.errors import AwsError, CredentialsError, NodepkgError, RefusedError
from nodepkg.images.interrupts import Interrupts
from nodepkg.lease.claim import LostLeaseError
from nodepkg.pace import Pace, Progress, next_up, skipped

STEP_SECONDS = 1.0  # so often at least the display lives, and a heartbeat may be due
OLD_SECONDS = 2.0  # an observation older than that decides nothing: others had their turn meanwhile
UNCLEAR_TRIES = 5
BLIND_LOOKS = 10
NOT_YET_SECONDS = 900.0


class Runner:
    """Carries out an order; `results` has what became of each group."""

    def __init__(self, world: World, order: Order, watcher: Watcher, interrupts: Interrupts) -> None:
        self._world = world
        self._order = order
        self._watcher = watcher
        self._interrupts = interrupts
        self._tasks = {task.group: task for task in order.tasks}
        self._reports = Reports(world, watcher)
        self._progress = Progress()
        self._running: dict[str, Course] = {}
        self._origin = world.now()
        self._given_up = False
        self.results: dict[str, Result] = {}

    @property
    def interrupted(self) -> bool:
        return self._interrupts.count > 0

    def run(self) -> None:
        """Returns when nothing runs any more. Leases are released, however it ends, but by Ctrl-C twice."""
        with self._interrupts.counted():
            try:
                if self._order.together:
                    self._claim_all()
                while self._step():
                    self._pause()
            except KeyboardInterrupt:  # in the middle of a change: the second wish
                self._given_up = True
            finally:
                for course in list(self._running.values()):
                    why = f"interrupted in {course.standing.state}: {course.standing.why}"
                    self._end(course, "interrupted", why=why)
        for name, task in self._tasks.items():
            if name not in self.results:
                self._keep(Result(name, task.region, "skipped", why="interrupted before it began"))

    def _claim_all(self) -> None:
        self._start_some()
        for failed in sorted(self._progress.failed):
            for course in list(self._running.values()):
                self._end(course, "skipped", why=f"nothing was done, since {failed} failed")

    def _step(self) -> bool:
        """One round; whether there is another one."""
        self._start_some()
        for course in list(self._running.values()):
            self._beat(course)
        now = self._world.now()
        due = sorted((one for one in self._running.values() if one.wake <= now), key=lambda one: one.wake)
        if due and not self.interrupted:
            self._look(due)
        waiting = len(self._tasks) - len(self.results) - len(self._running)
        self._watcher.tick(waiting)
        return not self.interrupted and (bool(self._running) or waiting > 0)

    def _pause(self) -> None:
        now = self._world.now()
        next_look = min((course.wake for course in self._running.values()), default=now)
        if next_look <= now:
            return
        try:
            with self._interrupts.at_once():
                self._world.sleep(min(next_look - now, STEP_SECONDS))
        except KeyboardInterrupt:
            return  # it is counted

    def _start_some(self) -> None:
        needs: dict[str, list[str]] = {name: [] for name in self._tasks}
        together = self._order.together
        fail_fast = self._order.fail_fast or together
        pace = Pace(len(needs) if together else self._order.at_once, max_errors=0 if fail_fast else None)
        for name in next_up(needs, self._progress, pace):
            if self.interrupted or (together and self._progress.failed):
                return
            self._start(self._tasks[name])
        for name, because in skipped(needs, self._progress, pace).items():
            if name not in self.results:
                self._keep(Result(name, self._tasks[name].region, "skipped", why=f"skipped, since {because} failed"))

    def _start(self, task: Task) -> None:
        try:
            with self._interrupts.at_once(after=1):
                lease = self._world.claim(task)
        except NodepkgError as error:
            self._progress = _with(self._progress, failed=self._progress.failed | {task.group})
            result = "refused" if isinstance(error, RefusedError) else "failed"
            self._keep(Result(task.group, task.region, result, error=error))
            return
        self._watcher.began(task.group)
        self._running[task.group] = Course(task, lease, self._world.now())
        self._progress = _with(self._progress, running=self._progress.running | {task.group})

    def _beat(self, course: Course) -> None:
        try:
            with self._interrupts.at_once(after=1):
                course.lease.beat(course.standing.state)
        except LostLeaseError as error:
            self._end(course, "refused", error)
        except NodepkgError as error:  # the fence refuses changes when it has lasted too long
            self._reports.once(course.task.group, f"the heartbeat cannot be written: {error.message}")

    def _look(self, due: Sequence[Course]) -> None:
        began = self._world.now()
        try:
            with self._interrupts.at_once():
                seen = self._world.observe([course.subject for course in due])
        except KeyboardInterrupt:
            return
        except CredentialsError as error:
            for course in due:
                self._stop(course, error)
            return
        except NodepkgError as error:
            self._look_at_each(due, error)
            return
        ended = self._world.now()
        for course in due:
            if self.interrupted:
                return
            self._follow(course, seen[course.task.group], began, ended)

    def _look_at_each(self, due: Sequence[Course], error: NodepkgError) -> None:
        """What is wrong with one group is no trouble of the others."""
        if len(due) > 1 and not (isinstance(error, AwsError) and is_undecided(error)):
            for course in due:
                self._look([course])
            return
        for course in due:
            self._saw_nothing(course, error)

    def _saw_nothing(self, course: Course, error: NodepkgError) -> None:
        course.blind += 1
        course.wake = self._world.now() + self._order.poll
        if course.blind >= BLIND_LOOKS:
            self._stop(course, error)
        elif course.blind == 1:
            told = "AWS cannot be looked at: " if isinstance(error, AwsError) else ""
            self._watcher.note(f"{course.task.group}: {told}{error.message}")

    def _follow(self, course: Course, seen: Observation, began: float, ended: float) -> None:
        try:
            step = course.take(seen, began, ended)
        except RefusedError as error:
            self._end(course, "refused", error)
            return
        except NodepkgError as error:  # what the claim needs cannot be read
            self._saw_nothing(course, error)
            return
        course.blind = 0
        if step is None:
            course.wake = course.after_old_view(ended, self._order.poll)
            return
        self._watcher.stands(course.standing)
        self._reports.sees(course)
        self._take_step(course, step, began, ended)

    def _take_step(self, course: Course, step: Step, began: float, ended: float) -> None:
        match step:
            case Wait() if began >= course.deadline:
                why = "; ".join(filter(None, (step.why, course.trouble)))
                late = f"{course.task.group} was not ready in time: {why}"
                self._end(course, "failed", AwsError(late, hint=_hint(course)))
            case Wait():
                course.wake = course.after_wait(step, began, ended, self._order.poll, self._origin)
                self._reports.waits(course, step, ended)
            case Act():
                if self._world.now() - ended > OLD_SECONDS:
                    course.wake = self._world.now()
                else:
                    self._act(course, step)
            case Refuse():
                self._end(course, "refused", RefusedError(f"{course.task.group}: {step.why}", hint=_hint(course)))
            case Done():
                self._done(course, step)

    def _act(self, course: Course, act: Act) -> None:
        act = self._reports.with_reason(course, act)
        self._watcher.did(course.task.group, str(act.change))
        self._reports.acts(course, act)
        try:
            with self._interrupts.at_once(after=1), course.lease.fenced():
                report = self._world.act(act.change)
        except NodepkgError as error:
            self._failed(course, act, error)
            return
        course.acted(act, report, self._world.now())

    def _failed(self, course: Course, act: Act, error: NodepkgError) -> None:
        now, told = self._world.now(), f"{act.change}: {error.message}"
        match judge(error):
            case Verdict.LOST:
                self._end(course, "refused", error)
            case Verdict.STALE:
                course.wake = now
            case Verdict.CREDENTIALS:
                self._stop(course, error)
            case Verdict.NOT_YET:
                course.not_yet_since = course.not_yet_since or now
                course.wake = now + self._order.poll
                if now - course.not_yet_since > NOT_YET_SECONDS:
                    self._give_up(course, act, type(error)(told))
            case Verdict.UNTOLD:
                self._untold(course, act, error)
            case Verdict.UNCLEAR:
                course.doubts(act, now)
                self._reports.once(course.task.group, f"it is not known whether AWS did it: {told}")
                if course.unclear > UNCLEAR_TRIES:
                    self._give_up(course, act, AwsError(told))
            case Verdict.NO:
                self._refused(course, act, error)

    def _untold(self, course: Course, act: Act, error: NodepkgError) -> None:
        """What the registry does not take is tried for a while, and keeps no rollout from its end."""
        now = self._world.now()
        if course.is_untold(act.change, now):
            self._leave(course, act, error)
        else:
            course.wake = now + self._order.poll
            self._reports.once(course.task.group, f"not done yet: {act.change}: {error.message}")

    def _refused(self, course: Course, act: Act, error: NodepkgError) -> None:
        """What AWS refuses is undone, as long as there is a way back, and the undoing is not what it refuses."""
        view = course.view
        forward = course.task.operation or course.goes_forward_only
        if course.tidies(act.change):
            self._leave(course, act, error)
        elif course.undoing or course.task.goal is Goal.ROLLBACK or forward or view is None:
            self._stop(course, error)
        elif view.new is None and isinstance(error, RefusedError):
            self._end(course, "refused", error)
        else:
            course.undoing, course.reason = True, f"{act.change}: {error.message}"
            course.wake = self._world.now()
            if view.new:
                now = self._world.now()
                note = Enter(course.task.region, view.new.name, Phase.ROLLBACK, now, course.reason)
                self._act(course, Act("rollback", note))

    def _give_up(self, course: Course, act: Act, error: NodepkgError) -> None:
        """After too many tries."""
        if course.tidies(act.change):
            self._leave(course, act, error)
        else:
            self._stop(course, error)

    def _leave(self, course: Course, act: Act, error: NodepkgError) -> None:
        """What only tidies up, or only tells others, keeps no group from serving: a later one does it."""
        course.leave(act.change)
        course.wake = self._world.now()
        told = f"left as it is: {act.change}: {error.message}; the next rollout tries it again"
        self._reports.once(course.task.group, told)

    def _done(self, course: Course, done: Done) -> None:
        task = course.task
        if task.operation:
            self._end(course, task.operation.result)
        elif done.rolled_back and task.goal is not Goal.ROLLBACK:
            reason = course.reason or "it was gone before it was finished"
            result = "rolled back" if course.aim else "failed"
            self._end(course, result, AwsError(f"{task.group}: {result}: {reason}"))
        elif done.rolled_back:
            self._end(
                course, "rolled back" if course.aim else "up to date", why="" if course.aim else "nothing to undo"
            )
        else:
            self._reports.done(course)
            self._end(course, task.result if course.aim else "changed" if course.steps else "up to date")

    def _stop(self, course: Course, error: NodepkgError) -> None:
        """It cannot go on; what it has come to stays as it is."""
        told = f"{course.task.group}: stopped in {course.standing.state}: {error.message}"
        self._end(course, "failed", _same(error, told, _way_on(course) or error.hint))

    def _end(self, course: Course, result: str, error: NodepkgError | None = None, *, why: str = "") -> None:
        group = course.task.group
        self._release(course)
        seconds = self._world.now() - course.since
        self._running.pop(group, None)
        kind = "failed" if error else "done"
        ended = {kind: getattr(self._progress, kind) | {group}}
        self._progress = _with(self._progress, running=self._progress.running - {group}, **ended)
        way_on = _way_on(course) if result == "interrupted" else ""
        operation, view = course.task.operation, course.view
        report = operation.report(view) if operation and view and result == operation.result else None
        self._keep(
            Result(
                group,
                course.task.region,
                result,
                course.asg,
                course.image,
                seconds,
                course.standing.state,
                error,
                why,
                way_on,
                report,
            )
        )

    def _release(self, course: Course) -> None:
        if self._given_up:
            return
        try:
            with self._interrupts.at_once(after=1):
                course.lease.release()
        except KeyboardInterrupt:
            self._given_up = True
        except NodepkgError as error:
            self._watcher.warning(f"{course.task.group}: its lease is not released: {error.message}")

    def _keep(self, result: Result) -> None:
        self.results[result.group] = result
        told = result.error.message.removeprefix(f"{result.group}: ") if result.error else result.why or result.result
        if result.result in ("rolled back", "refused"):
            told = result.result  # the reason is the error in the end; that of a rollback was told when it began
        self._watcher.ended(result.group, result.result, told)


def _way_on(course: Course) -> str:
    """The commands that go on with what was begun, or undo it."""
    if course.task.operation or not course.begun:
        return ""
    return commands(course.task.group, back=not course.goes_forward_only)


def _hint(course: Course) -> str:
    if course.task.operation:
        return f"where it stands: package autoscale:status {course.task.group}"
    return _way_on(course)


def commands(group: str, *, back: bool = True) -> str:
    """How an unfinished rollout is gone on with, or undone."""
    on = f"to go on: package autoscale:update {group}"
    return f"{on}; to undo it: package autoscale:rollback {group}" if back else on


def _same(error: NodepkgError, message: str, hint: str) -> NodepkgError:
    if isinstance(error, AwsError):
        return type(error)(message, code=error.code, hint=hint)
    return type(error)(message, hint=hint)


def _with(progress: Progress, **changes: frozenset[str]) -> Progress:
    return Progress(**{**vars(progress), **changes})
