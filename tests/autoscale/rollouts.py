"""A rollout on the rig, driven by a loop that does nothing but observe, remember, decide and run."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from nodepkg.autoscale.claim import CreateNext, next_name
from nodepkg.autoscale.journal import Phase, Record
from nodepkg.autoscale.observe import Observation, Subject, observe
from nodepkg.autoscale.rollout import Act, Done, Step, Wait, decide
from nodepkg.autoscale.steps import Change
from nodepkg.autoscale.view import Goal, Seen, Terms, View, remember
from nodepkg.autoscale.writes import Writes
from nodepkg.clients.aws.autoscaling import AutoScaling, NewGroup
from nodepkg.clients.aws.scaling import Scaling
from nodepkg.errors import NotYetError
from nodepkg.launch import CreateTemplateVersion, Launch, launch
from nodepkg.nodes.schema import Autoscale
from tests.autoscale.test_run import group
from tests.fleets import REGION, STOCK_IMAGE, Rig

TERMS = Terms(min=1, max=4, ready_timeout=600, bake_time=30, timeout=60, unhealthy_after=60, window=10)
GROUP = "bee-group"
OLD, NEW = f"{GROUP}-v001", f"{GROUP}-v002"


def no_web(urls: Collection[str], *, timeout: float) -> Mapping[str, str]:
    raise AssertionError(f"nobody asked for {urls}")


def begun(
    rig: Rig, desired: int = 2, *, targets: Collection[str] = (), hooks: Sequence[Mapping[str, Any]] = ()
) -> Launch:
    """A group of nodepkg's serves, of launch template version 1; this is what the next one is to be started with."""
    rig.world()  # looks on from here
    made = launch(rig.account, group(), STOCK_IMAGE, "")
    CreateTemplateVersion(made, "first").run(rig.account)
    new = NewGroup(
        OLD,
        GROUP,
        1,
        min=1,
        max=4,
        desired=desired,
        tags={"group": GROUP},
        own_tags={"nodepkg:managed": "true", "nodepkg:phase": "serving"},
        subnets=made.placement.ids,
        target_group_arns=list(targets),
        hooks=hooks,
    )
    AutoScaling(rig.account, REGION).create_group(new)
    rig.wait(300)
    return launch(rig.account, group(key_name="new"), rig.world().image(GROUP), "")


@dataclass
class Drive:
    """One process. `steps` are the changes that it has made, `until` may end it early."""

    rig: Rig
    launch: Launch
    targets: frozenset[str] = frozenset()
    goal: Goal = Goal.UPDATE
    terms: Terms = TERMS
    run_id: str = "run-1"
    steps: list[str] = field(default_factory=list)
    aim: str = ""

    def claim(self, view: View) -> Change | None:
        if self.goal is Goal.ROLLBACK or view.old is None:
            return None
        hooks = Scaling(self.rig.account, REGION).lifecycle_hooks(view.old.name)
        old = view.old
        record = Record(
            self.run_id,
            Phase.CLAIM,
            old.name,
            old.targets,
            old.suspended,
            self.targets,
            image=self.launch.image,
            since=self.rig.clock.now(),
        )
        return CreateNext(REGION, next_name(old.name), self.launch, Autoscale(), record, hooks, self.run_id)

    def observe(self) -> Observation:
        subject = Subject(GROUP, REGION, self.terms, self.goal, aim=self.aim, claim=self.claim)
        return observe(self.rig.account, [subject], web=no_web)[GROUP]

    def ticks(self) -> Iterator[tuple[View, Step]]:
        """What is observed, and the step that follows; the step is done when the next tick is asked for."""
        clock, writes = self.rig.clock, Writes()
        seen: Seen = {}
        for _ in range(2000):
            began = clock.now()
            view = self.observe().view
            if not writes.after(began - self.terms.window).show_in(view):
                clock.sleep(2)
                continue
            self.aim = view.new.name if view.new else self.aim
            seen = remember(seen, view, clock.now())
            view = replace(view, seen=seen, aim=self.aim)
            step = decide(view, began, region=REGION)
            yield view, step
            if isinstance(step, Act):
                self.steps.append(f"{step.state}: {step.change}")
                try:
                    step.change.run(self.rig.account)
                except NotYetError:
                    clock.sleep(5)
                writes = writes.and_also(step.change, clock.now())
            elif isinstance(step, Wait):
                clock.sleep(5)
            else:
                return
        raise AssertionError(f"no end; the last steps: {self.steps[-5:]}")

    def end(self, until: Callable[[View], bool] = lambda _: False) -> Step | None:
        """The last step; None if the process was ended before: `until` saw what it waited for."""
        step: Step | None = None
        for view, last in self.ticks():
            if until(view):
                return None
            step = last
        return step


def done(step: Step | None) -> bool:
    return isinstance(step, Done) and not step.rolled_back
