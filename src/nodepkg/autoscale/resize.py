"""autoscale:resize: other sizes for a group that runs, within its own bounds."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from nodepkg.autoscale.generations import Role, is_half_stopped, is_stopped, obstacle, role, serving
from nodepkg.autoscale.journal import Sizes
from nodepkg.autoscale.operations import Site
from nodepkg.autoscale.rollout import Act, Done, Refuse, Step
from nodepkg.autoscale.steps import Change, Resize
from nodepkg.autoscale.stop import HINT, Running, sized, the_serving
from nodepkg.autoscale.view import Asg, Goal, Terms, View
from nodepkg.clients.aws.autoscaling import AutoScalingGroup
from nodepkg.errors import RefusedError, UsageError
from nodepkg.nodes.schema import Autoscale
from nodepkg.plan import Report
from nodepkg.ready import Health


@dataclass(frozen=True)
class Wish:
    """What --min, --max and --desired say; None keeps what the group has."""

    min: int | None = None
    max: int | None = None
    desired: int | None = None

    def of(self, now: Sizes) -> Sizes:
        """The sizes that a group with these is to have; raises UsageError for a contradiction."""
        own = (now.min, now.max, now.desired)
        said = (self.min, self.max, self.desired)
        wanted = Sizes(*(kept if given is None else given for given, kept in zip(said, own, strict=True)))
        for smaller, larger in (("min", "max"), ("min", "desired"), ("desired", "max")):
            low, high = getattr(wanted, smaller), getattr(wanted, larger)
            if low > high:
                raise UsageError(
                    f"{self._told(smaller, low)} is more than {self._told(larger, high)}",
                    hint="min <= desired <= max; what is left out keeps its value",
                )
        return wanted

    def _told(self, which: str, value: int) -> str:
        return f"--{which} {value}" if getattr(self, which) is not None else f"the group's {which}, {value},"


@dataclass(frozen=True)
class ResizeGroup:
    """Sets a group's sizes. `before` are those that were shown; `may_shrink`: that nodes go was agreed to."""

    region: str
    group: str
    asg: str
    before: Sizes
    wish: Wish
    window: float
    may_shrink: bool = False
    timeout: None = None
    result: ClassVar[str] = "resized"
    health: Health = Health()  # noqa: RUF009 - frozen
    _done: list[Change] = field(default_factory=list, compare=False)

    def __str__(self) -> str:
        return f"set {self.asg} to {sized(self.after)} (now {sized(self.before)})"

    @property
    def after(self) -> Sizes:
        return self.wish.of(self.before)

    @property
    def shrinks(self) -> bool:
        """Whether nodes that run now go."""
        return self.after.desired < self.before.desired

    def run(self, site: Site, /) -> Report:
        return site.begin(self)

    def watched(self, asgs: Sequence[AutoScalingGroup]) -> None:  # noqa: ARG002 - of an Operation
        return None

    def view(self, asgs: Sequence[Asg]) -> View:
        found = serving(asgs)
        old = found[0] if len(found) == 1 else None
        return View(Goal.UPDATE, Terms(window=self.window), old, None, tuple(asg for asg in asgs if asg is not old))

    def next(self, view: View, now: float) -> Step:  # noqa: ARG002 - of a Operation
        asg = view.old
        if self._done:
            return Done()
        if asg is None or (why := obstacle([asg, *view.kept])) or role(asg) is Role.STOPPED:
            return Refuse((why if asg else "") or "it was stopped meanwhile")
        wanted = self.wish.of(asg.sizes)
        if wanted == asg.sizes:
            return Done()
        if wanted.desired < asg.desired and not self.may_shrink:
            return Refuse(f"it has grown to {asg.desired} nodes meanwhile: run it again")
        desired = None if wanted.desired == asg.desired else wanted.desired
        return Act("resize", Resize(self.region, asg.name, wanted.min, wanted.max, desired))

    def did(self, change: Change, report: Report) -> None:  # noqa: ARG002 - of a Operation
        self._done.append(change)

    def report(self, view: View) -> Report:
        return self.told(self.wish.of(view.old.sizes if view.old else self.before))

    def told(self, sizes: Sizes) -> Report:
        return {"group": self.group, "asg": self.asg, "min": sizes.min, "max": sizes.max, "desired": sizes.desired}


def set_back(sizes: Sizes, settings: Autoscale | None) -> str:
    """What the next autoscale:update does about these sizes; "" if nodes.json says the same."""
    if settings is None or (sizes.min, sizes.max) == (settings.node_min, max(settings.most, sizes.desired)):
        return ""
    wanted = f"{settings.node_min} to {settings.most} nodes"
    return f"nodes.json says {wanted}: the next autoscale:update sets min and max so again"


def plan_resize(running: Running, region: str, group: str, wish: Wish, window: float) -> ResizeGroup:
    """What resizes the group; raises RefusedError if it may not be, UsageError for sizes that contradict each other."""
    asg, why = the_serving(group, running.get((region, group), ()))
    if asg is None:
        raise RefusedError(why, hint=HINT)
    if is_stopped(asg):
        raise RefusedError(f"{group} is stopped", hint=f"package autoscale:start {group}")
    if is_half_stopped(asg):
        raise RefusedError(f"{group}: a stop or a start of it broke off", hint=f"package autoscale:start {group}")
    before = Sizes(asg.min, asg.max, asg.desired)
    wish.of(before)
    return ResizeGroup(region, group, asg.name, before, wish, window)
