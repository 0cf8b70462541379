"""What is told of rollouts beside their states: AWS's own reasons, and what is not as one might expect; each once."""

from contextlib import suppress
from dataclasses import replace

from nodepkg.autoscale.course import Course
from nodepkg.autoscale.rollout import Act, Wait
from nodepkg.autoscale.steps import Enter, Resize, ResumeProcesses
from nodepkg.autoscale.task import Watcher, World
from nodepkg.autoscale.view import SCHEDULED, Goal
from nodepkg.errors import NodepkgError

TROUBLE_SECONDS = 15.0
_NEED_NODES = frozenset({"grow", "attach", "match", "start"})


class Reports:
    """Tells the watcher, of each group each thing once."""

    def __init__(self, world: World, watcher: Watcher) -> None:
        self._world = world
        self._watcher = watcher
        self._told: set[tuple[str, str]] = set()
        self._nodes: dict[str, frozenset[str]] = {}

    def once(self, group: str, text: str) -> None:
        """A warning that may come again and again."""
        if (group, text) not in self._told:
            self._told.add((group, text))
            self._watcher.warning(f"{group}: {text}")

    def sees(self, course: Course) -> None:
        """That the registry cannot be asked is told also where a rollout goes on without it."""
        registry = course.view.registry if course.view else None
        if registry and registry.lost:
            self.once(course.task.group, f"the registry of services cannot be asked: {registry.lost}")

    def waits(self, course: Course, wait: Wait, now: float) -> None:
        """While nodes are missing, or when some have gone, AWS is asked now and then why."""
        asg = course.view and (course.view.new or course.view.old)
        if not asg or wait.state not in _NEED_NODES or now - course.asked_troubles < TROUBLE_SECONDS:
            return
        ids = frozenset(node.id for node in asg.nodes)
        lost = self._nodes.get(asg.name, frozenset()) - ids
        self._nodes[asg.name] = ids
        if not lost and sum(node.lifecycle == "InService" for node in asg.nodes) >= asg.desired:
            return
        course.asked_troubles = now
        with suppress(NodepkgError):
            since = course.since if course.task.operation else 0.0
            for why in self._world.troubles(course.task, asg.name, since):
                course.trouble = why
                self.once(course.task.group, why)

    def with_reason(self, course: Course, act: Act) -> Act:
        """With AWS's own reason, where a rollout is given up since nodes do not come."""
        change, why = act.change, course.trouble
        if not (why and isinstance(change, Enter) and change.reason and act.state in ("grow", "attach")):
            return act
        return replace(act, change=replace(change, reason=f"{change.reason}; {why}"))

    def acts(self, course: Course, act: Act) -> None:
        """What a change entails that one would not think of."""
        group, view, change = course.task.group, course.view, act.change
        if view is None or view.new is None:
            return
        record, most = view.record, course.task.terms.max
        if isinstance(change, Enter) and change.reason and course.task.goal is not Goal.ROLLBACK:
            self.once(group, f"is rolled back: {change.reason}")
        if record and view.old and record.old_suspended:
            processes = ", ".join(sorted(record.old_suspended))
            told = f"its user has suspended {processes} of {view.old.name}: that is not carried over to {view.new.name}"
            self.once(group, told)
        if view.old and course.schedules is None and act.state != "claim":
            with suppress(NodepkgError):
                course.schedules = self._world.schedules(course.task, view.old.name)
        if act.state == "done" and isinstance(change, Resize) and change.max > most:
            desired = view.new.desired
            self.once(group, f"max is {change.max}, larger than node_max ({most}), since {desired} nodes are desired")
        gives_up = act.state == "retire" and isinstance(change, Resize)
        resumes = isinstance(change, ResumeProcesses) and act.state == "rollback" and SCHEDULED in change.processes
        if gives_up or resumes:
            now = self._world.now()
            for name, due in (course.schedules or {}).items():
                if due <= now:
                    self.once(group, f"the scheduled action {name} was due while it was suspended: it is lost")

    def done(self, course: Course) -> None:
        """After a rollout that another process had begun: what is wanted beyond it."""
        if course.resumed and course.observation:
            with suppress(NodepkgError):
                for told in course.task.afterwards(course.observation):
                    self._watcher.note(f"{course.task.group}: {told}")
