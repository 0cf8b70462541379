"""instance:deploy as one loop without threads: it looks, decides who starts, and hears what the transport tells."""

from collections.abc import Sequence
from contextlib import suppress

from nodepkg.errors import NodepkgError
from nodepkg.fleet import course as courses
from nodepkg.fleet.course import FAILED, GONE, LEFT, NOT_STARTED, SUCCEEDED, Counts, Course, Ledger, Order, Stage
from nodepkg.fleet.drains import Drains
from nodepkg.fleet.looks import BLIND_LOOKS, Looks
from nodepkg.fleet.record import Entry, Record
from nodepkg.fleet.sight import Sight
from nodepkg.fleet.transport import Began, Contact, Ended, Event, Result, Transport, Wrote
from nodepkg.fleet.world import Watcher, World
from nodepkg.images.interrupts import Interrupts
from nodepkg.lease.claim import LostLeaseError
from nodepkg.pace import Room

STEP_SECONDS = 1.0  # so often at least the display lives, and a heartbeat may be due


class Runner:
    """Carries out an order; `courses` has what became of each host, `error` what ended it early."""

    def __init__(
        self,
        world: World,
        transport: Transport,
        order: Order,
        *,
        record: Record,
        watcher: Watcher,
        interrupts: Interrupts,
    ) -> None:
        self._world, self._transport, self._order = world, transport, order
        self._record, self._watcher, self._interrupts = record, watcher, interrupts
        self.courses = {job.host.instance: Course(job) for job in order.jobs}
        self.error: NodepkgError | None = None
        self.stuck = ""
        self._ledger = Ledger(self.courses)
        self._room: tuple[object, Room] | None = None
        self._looks = Looks(world, order)
        self._wants_look = False
        self._judged = -1
        self._drains = Drains(world, order, self._say_once)
        self._stuck_since: float | None = None
        self._told: set[str] = set()
        self._closing = False

    @property
    def interrupted(self) -> bool:
        return self._interrupts.count > 0

    @property
    def broke_off(self) -> bool:
        """Whether it ended before everybody had had a turn."""
        return self._closing or courses.stopped(self._ledger.standing, self._order.pace)

    def run(self) -> None:
        """Returns when nothing runs any more; the leases are the caller's."""
        with self._interrupts.counted():
            try:
                while self._step():
                    for event in self._transport.events(self._patience()):
                        self._hear(event)
            finally:
                self._leave_the_rest()
                self._transport.close()

    def _step(self) -> bool:
        """One round; whether there is another one."""
        self._heed_interrupts()
        if self._interrupts.count > 1:
            return False
        self._beat()
        if self._is_look_due():
            self._look()
        for course in self._with_place():
            if course.stage is not Stage.CONVERGING:  # of those the transport tells; there may be hundreds
                self._advance(course)
        if not self._closing:
            self._start_some()
        ending = not self._may_start_more() and not self._unseen()
        looks = self._looks
        self._drains.carry_out(self._with_place(), looks.sights, looks.looked, ending=ending, failing=self._lose)
        self._watcher.tick(lambda: Counts.of(self.courses.values()))
        goes_on = self._with_place() or self._may_start_more() or self._unseen()
        return bool(goes_on) or self._drains.busy(self._with_place())

    def _unseen(self) -> set[str]:
        """The groups of which only what an earlier deploy has left is wanted, and that were not looked at yet."""
        return set() if self._closing else {group for group in self._order.mends if group not in self._looks.looked}

    # Who is at what.

    def _with_place(self) -> list[Course]:
        return list(self._ledger.placed.values())

    def _may_start_more(self) -> bool:
        standing = self._ledger.standing
        return not self._closing and standing.waits and not courses.stopped(standing, self._order.pace)

    def _patience(self) -> float:
        now = self._world.now()
        waits = self._wants_look or any(one.stage is not Stage.CONVERGING for one in self._with_place())
        due = [self._looks.next] if waits else []
        if not self._with_place():
            due.append(now + courses.pause_left(self._ledger.standing, self._order, now))
        return min(max(min((moment for moment in due if moment > now), default=now + STEP_SECONDS) - now, 0.0), 1.0)

    # Ctrl-C, and leases.

    def _heed_interrupts(self) -> None:
        if not self.interrupted:
            return
        running = [one for one in self._with_place() if one.stage is Stage.CONVERGING]
        if self._interrupts.count == 1 and not self._closing:
            self._close(
                f"interrupted: nobody starts any more; {_counted(running)} finishing (again Ctrl-C leaves them)"
            )
        for course in self._with_place():
            if course.stage is Stage.LEAVING:
                self._turn_back(course, NOT_STARTED, "interrupted before it began")

    def _close(self, told: str) -> None:
        """Nobody starts any more, also of those that the transport has and did not begin with."""
        self._closing = True
        self._watcher.note(told)
        with suppress(KeyboardInterrupt), self._interrupts.at_once(after=1):
            self._transport.stop()

    def _beat(self) -> None:
        try:
            self._world.beat(self._state())
        except LostLeaseError as error:
            self._lose(error)
        except NodepkgError as error:  # the fence refuses changes when it has lasted too long
            self._say_once(f"the heartbeat cannot be written: {error.message}")

    def _state(self) -> str:
        progress = self._ledger.standing.progress
        over = len((progress.done | progress.failed) - progress.running)
        return f"deploy {self._record.plan.id}: {over} of {len(self.courses)} hosts"

    def _lose(self, error: NodepkgError) -> None:
        if self.error is None:
            self.error = error
            self._close(f"nobody starts any more: {error.message}")
        for course in self._with_place():
            if course.stage is Stage.LEAVING:
                self._turn_back(course, NOT_STARTED, error.message)

    # Looks.

    def _awaited(self) -> set[str]:
        """The groups that have to be looked at: somebody waits for what the next look shows."""
        waits = {one.group for one in self._with_place() if one.lost or one.stage in (Stage.LEAVING, Stage.RETURNING)}
        now, standing = self._world.now(), self._ledger.standing
        if not self._closing:
            names = {*courses.candidates(standing, self._order, now), *self._might_start(now)}
            waits |= {group for name in names if self._looks.is_stale(group := standing.group_of[name], now)}
        return waits | self._unseen() | self._drains.awaited(self._with_place())

    def _might_start(self, now: float) -> list[str]:
        """Who starts as far as is known, be it old."""
        out = self._out()
        key = (self._looks.count, out)
        if self._room is None or self._room[0] != key:
            self._room = key, courses.room(self._order.terms, self._looks.sights, out, self.courses)
        return courses.starts(self._ledger.standing, self._order, self._room[1], now)

    def _out(self) -> frozenset[str]:
        """Who is out of its target groups by our doing."""
        return self._drains.out | {one.name for one in self._with_place() if one.left}

    def _is_look_due(self) -> bool:
        return self._world.now() >= self._looks.next and bool(self._awaited())

    def _look(self) -> None:
        groups = self._awaited()
        try:
            with self._interrupts.at_once(after=1):
                seen = self._looks.look(groups)
        except KeyboardInterrupt:
            return
        except NodepkgError as error:
            self._saw_nothing(error)
            return
        for group, sight in seen.items():
            self._drains.find_left_over(group, sight)
        for course in self.courses.values():
            if course.group in seen and not course.is_over:
                self._note_presence(course, seen[course.group], self._looks.began(course.group))

    def _saw_nothing(self, error: NodepkgError) -> None:
        hopeless = self._looks.failed(error)
        self._say_once(f"AWS cannot be looked at: {error.message}")
        if hopeless:
            self._lose(error)
            for course in self._with_place():
                if course.stage is Stage.RETURNING and (not course.asks or self._looks.blind >= 2 * BLIND_LOOKS):
                    self._end(course, course.state, course.why or "AWS cannot be asked whether it is healthy")
            if self._looks.blind >= 2 * BLIND_LOOKS:
                self._drains.leave()

    def _note_presence(self, course: Course, sight: Sight, began: float) -> None:
        """What is gone, is gone: at once if AWS says so, after a window if it does not tell of it any more."""
        why = sight.departed.get(course.name, "")
        if course.name in sight.nodes:
            course.missing_since = None
            return
        if course.missing_since is None:
            course.missing_since = began
        if not why and began - course.missing_since < self._order.window:
            return
        if course.lost or course.stage is not Stage.CONVERGING:
            course.failed = False
            self._end(course, GONE, f"its instance is {why or 'gone'}")

    # Starts.

    def _start_some(self) -> None:
        now = self._world.now()
        might = self._might_start(now)
        chosen = [name for name in might if self._is_ready(self.courses[name], now)]
        self._wants_look = len(chosen) < len(might)
        self._note_stuck(might, now)
        if chosen:
            self._start([self.courses[name] for name in chosen])

    def _is_ready(self, course: Course, now: float) -> bool:
        if course.missing_since is not None or self._looks.is_stale(course.group, now):
            return False
        return self._drains.is_settled(course.name, self._looks.looked[course.group])

    def _start(self, chosen: Sequence[Course]) -> None:
        for course in chosen:
            node = self._looks.sights[course.group].nodes[course.name]
            course.needs = node.served_in
            if self._order.terms[course.group].drains and node.served_in:
                course.left, course.asks = node.served_in, True
                self._enter(course, Stage.LEAVING)
        self._converge([one for one in chosen if one.stage is Stage.WAITING])

    def _converge(self, chosen: Sequence[Course]) -> None:
        for course in chosen:
            course.began = self._world.now()
            self._enter(course, Stage.CONVERGING)
        try:
            if chosen:
                self._transport.start([one.job for one in chosen])
        except NodepkgError as error:  # none of them has begun
            self._lose(error)
            for course in chosen:
                self._turn_back(course, NOT_STARTED, error.message)

    def _note_stuck(self, might: Sequence[str], now: float) -> None:
        """If nothing runs, and floors let nobody start for too long, it ends."""
        if might or not self._may_start_more():
            self._stuck_since = None
            return
        if self._ledger.placed and self._judged == self._looks.count:
            return
        self._judged = self._looks.count
        waiting = {one.group for one in self.courses.values() if one.stage is Stage.WAITING}
        sights = {group: sight for group, sight in self._looks.sights.items() if group in waiting}
        below = courses.below(self._order.terms, sights, self._out())
        for group, why in below.items():
            self._say_once(f"{group}: nobody else is started: {why}", key=f"{group} is below its floor")
        if self._ledger.placed or not below:
            self._stuck_since = None
            return
        self._stuck_since = now if self._stuck_since is None else self._stuck_since
        if now - self._stuck_since >= self._order.patience:
            self._closing = True
            self.stuck = "\n".join(f"{group}: nobody else was started: {why}" for group, why in below.items())

    # How hosts go on.

    def _hear(self, event: Event) -> None:
        course = self.courses.get(event.instance)
        if course is None or course.stage is not Stage.CONVERGING:
            return
        match event:
            case Began():
                self._watcher.stands(course.job.host, "converging")
            case Wrote():
                try:
                    self._record.wrote(event.instance, event.output)
                except OSError as error:  # a disk may be full: the converge itself goes on
                    self._say_once(f"{self._record.shown_log(event.instance)}: cannot be written: {error.strerror}")
                self._watcher.wrote(course.job.host, event.output)
            case Contact():
                course.lost = event.lost
            case Ended():
                self._converged(course, event)

    def _converged(self, course: Course, ended: Ended) -> None:
        course.code, course.why = ended.code, ended.why
        course.state = str(ended.result)
        if course.began is not None and ended.result is not Result.NOT_STARTED:
            course.seconds = self._world.now() - course.began
        if ended.again:
            course.why = "this deploy had succeeded there before"
        course.failed = course.state not in (SUCCEEDED, NOT_STARTED)
        course.asks = bool(course.left)
        waits = bool(course.needs) or bool(self._order.terms[course.group].health.url)
        if course.failed or course.left or (waits and ended.result is Result.SUCCEEDED):
            self._enter(course, Stage.RETURNING)
        else:
            self._end(course, course.state, course.why)

    def _turn_back(self, course: Course, state: str, why: str) -> None:
        """It does not converge after all, and gets back what it has left."""
        course.state, course.why, course.failed = state, why, state not in courses.NO_FAILURE
        course.asks = True
        self._enter(course, Stage.RETURNING)

    def _advance(self, course: Course) -> None:
        now, looked = self._world.now(), self._looks.began(course.group)
        late = now - course.since > self._order.patience
        sight = self._looks.sights.get(course.group)
        node = sight.nodes.get(course.name) if sight else None
        if course.stage is Stage.LEAVING:
            gone_from = node is not None and not any(node.targets.get(arn) for arn in course.left)
            if courses.stopped(self._ledger.standing, self._order.pace):
                # What has failed may turn out to be gone, and then does not count.
                if not any(one.failed for one in self._with_place()):
                    self._turn_back(course, NOT_STARTED, "")
            elif not course.asks and gone_from and looked > course.since:
                self._converge([course])
            elif late:
                self._turn_back(course, FAILED, f"it has not left its target groups within {now - course.since:.0f} s")
        elif course.stage is Stage.RETURNING and (node or late):
            believed = looked >= course.since + self._order.window and not course.asks
            lack = courses.lacks(course, node) if node else "AWS does not show it"
            if believed and (not lack or self._nobody_waits_for(course)):
                self._end(course, course.state, course.why)
            elif late:
                self._end_late(course, lack)

    def _nobody_waits_for(self, course: Course) -> bool:
        """Whether its place goes to nobody: what has failed, or did not start, need not be awaited then."""
        return course.state != SUCCEEDED and not self._may_start_more()

    def _end_late(self, course: Course, lack: str) -> None:
        if course.state == SUCCEEDED:
            course.failed, course.state = True, FAILED
            course.why = f"it converged, and is not healthy within {self._order.patience:g} s: {lack}"
        self._end(course, course.state, course.why)

    def _enter(self, course: Course, stage: Stage) -> None:
        course.stage, course.since = stage, self._world.now()
        self._ledger.changed(course)
        told = f"{course.state}, {stage}" if course.state else str(stage)
        self._watcher.stands(course.job.host, told)
        self._note(course, told)

    def _end(self, course: Course, state: str, why: str) -> None:
        had_place = course.has_place
        course.stage, course.state, course.why = Stage.OVER, state, why
        if had_place:
            self._ledger.freed = self._world.now()
        self._ledger.changed(course)
        if had_place and course.left:
            self._drains.back(course)
        self._note(course, state)
        self._watcher.ended(course.job.host, state, f"{state}: {why}" if why else state)
        standing = self._ledger.standing
        if had_place and not self._closing and standing.waits and courses.stopped(standing, self._order.pace):
            self._say_once(f"{len(standing.progress.failed)} failed: nobody else is started", key="stopped")

    def _note(self, course: Course, state: str) -> None:
        at, code, why = self._world.epoch(), course.code, course.why
        try:
            self._record.note(Entry(course.name, state, at, code, course.seconds, why, course.is_over))
        except NodepkgError as error:
            self._say_once(error.message)

    def _leave_the_rest(self) -> None:
        """What still runs goes on on the nodes; what has not begun never did."""
        for course in self.courses.values():
            if course.stage is Stage.CONVERGING:
                course.failed = True
                self._end(course, LEFT, "it may still run there")
            elif course.stage is Stage.RETURNING:
                self._end(course, course.state, course.why or "it was not waited for until it is healthy")
            elif not course.is_over:
                course.stage, course.state = Stage.OVER, NOT_STARTED
                self._ledger.changed(course)

    def _say_once(self, text: str, *, key: str = "") -> None:
        if (key or text) not in self._told:
            self._told.add(key or text)
            with suppress(OSError):
                self._watcher.warning(text)


def _counted(running: Sequence[Course]) -> str:
    return "1 host is" if len(running) == 1 else f"{len(running)} hosts are"
