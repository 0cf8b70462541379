"""autoscale:stop and autoscale:start: a group to size 0, and back to the sizes that it remembers in its tags.

The sizes are written down before the change. A group that has some is never taken for a stopped one, so that 0/0/0 is
never remembered, and a command that was killed at any point is simply run again.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from nodepkg.autoscale.generations import Role, is_empty, is_stopped, obstacle, role, serving
from nodepkg.autoscale.journal import KEPT, OWN_SUSPENDED, Sizes, counted, kept_in
from nodepkg.autoscale.operations import Key, Site
from nodepkg.autoscale.rollout import Act, Done, Refuse, Step, Wait
from nodepkg.autoscale.steps import Change, OfAsg, RememberKept, Resize, ResumeProcesses, SuspendProcesses
from nodepkg.autoscale.terms import health_of
from nodepkg.autoscale.view import EMPTY, SCHEDULED, Asg, Goal, Terms, View, lacks, whole
from nodepkg.clients.aws.account import Account
from nodepkg.clients.aws.autoscaling import AutoScaling, AutoScalingGroup
from nodepkg.errors import RefusedError
from nodepkg.launch import MANAGED
from nodepkg.nodes.group import Group
from nodepkg.nodes.schema import Autoscale
from nodepkg.plan import Report
from nodepkg.ready import Health

HINT = "what there is: package autoscale:status"

Running = Mapping[Key, Sequence[AutoScalingGroup]]


@dataclass(frozen=True)
class StopGroup:
    """Takes a group's nodes. `asg` and `sizes` are what was shown before."""

    region: str
    group: str
    asg: str
    sizes: Sizes
    window: float
    wait: bool = True
    timeout: None = None
    result: ClassVar[str] = "stopped"
    health: Health = Health()  # noqa: RUF009 - frozen

    def __str__(self) -> str:
        return f"stop {self.group}: set {self.asg} to size 0 ({self.sizes})"

    def run(self, site: Site, /) -> Report:
        return site.begin(self)

    def watched(self, asgs: Sequence[AutoScalingGroup]) -> None:  # noqa: ARG002 - of an Operation
        return None

    def view(self, asgs: Sequence[Asg]) -> View:
        return _view(asgs, self.window)

    def next(self, view: View, now: float) -> Step:
        return next_of_stop(view, now, region=self.region, wait=self.wait)

    def did(self, change: Change, report: Report) -> None:
        pass

    def report(self, view: View) -> Report:
        return _report(self.group, view)


@dataclass(frozen=True)
class StartGroup:
    """Gives a stopped group its nodes back; `timeout` (seconds) is how long they may take until they serve."""

    region: str
    group: str
    asg: str
    sizes: Sizes
    window: float
    wait: bool = True
    timeout: float | None = None
    result: ClassVar[str] = "started"
    health: Health = Health()  # noqa: RUF009 - frozen

    def __str__(self) -> str:
        return f"start {self.group}: set {self.asg} to {self.sizes}"

    def run(self, site: Site, /) -> Report:
        return site.begin(self)

    def watched(self, asgs: Sequence[AutoScalingGroup]) -> Collection[str] | None:
        """A closer look is due when it has its sizes again."""
        return () if self.wait and any(not is_empty(asg) for asg in serving(asgs)) else None

    def view(self, asgs: Sequence[Asg]) -> View:
        return _view(asgs, self.window)

    def next(self, view: View, now: float) -> Step:  # noqa: ARG002 - of an Operation
        return next_of_start(view, region=self.region, wait=self.wait)

    def did(self, change: Change, report: Report) -> None:
        pass

    def report(self, view: View) -> Report:
        return _report(self.group, view)


@dataclass(frozen=True)
class ForgetKept(OfAsg):
    """Takes the tags off a started group that only a stopped one needs."""

    aspect = "kept"
    keys: tuple[str, ...]

    def __str__(self) -> str:
        return f"take the sizes that {self.asg} has again off its tags"

    def run(self, account: Account, /) -> Report:
        AutoScaling(account, self.region).delete_tags(self.asg, self.keys)
        return {"asg": self.asg}

    def shows_in(self, view: View) -> bool:
        asg = self.found(view)
        return asg is None or not set(self.keys) & asg.tags.keys()


def next_of_stop(view: View, now: float, *, region: str, wait: bool = True) -> Step:
    """The next step towards size 0. `view.old` is the group that serves, `view.kept` all of the others."""
    asg = view.old
    if asg is None or (why := obstacle([asg, *view.kept])):
        return Refuse(why if asg else "no Auto Scaling group of it serves any more")
    if asg.sizes == EMPTY:
        leaving = len(asg.nodes) if wait else 0
        return Wait("stop", f"{counted(leaving)} being terminated") if leaving else Done()
    return _remembered(view, asg, now, region) or Act("stop", Resize(region, asg.name, 0, 0, 0))


def _remembered(view: View, asg: Asg, now: float, region: str) -> Step | None:
    """What is missing until the sizes of a group that still has some are written down, and no schedule changes them."""
    if asg.kept is None:
        return Act("stop", RememberKept(region, asg.name, asg.sizes, asg.suspended))
    if SCHEDULED not in asg.suspended:
        return Act("stop", SuspendProcesses(region, asg.name, frozenset({SCHEDULED})))
    if not view.steady("old sizes", now):
        return Wait("stop", f"making sure of the sizes of {asg.name}", now + view.terms.window)
    if asg.kept != asg.sizes:  # a schedule or a policy came before us, or an earlier start broke off
        return Act("stop", RememberKept(region, asg.name, asg.sizes, asg.own_suspended))
    return None


def next_of_start(view: View, *, region: str, wait: bool = True) -> Step:
    """The next step towards the remembered sizes, and then until every node is ready."""
    asg = view.old
    if asg is None or (why := obstacle([asg, *view.kept])):
        return Refuse(why if asg else "no Auto Scaling group of it serves any more")
    if asg.kept and asg.sizes == EMPTY:
        return Act("start", Resize(region, asg.name, asg.kept.min, asg.kept.max, asg.kept.desired))
    if asg.kept and SCHEDULED in asg.suspended - asg.own_suspended:
        return Act("start", ResumeProcesses(region, asg.name, frozenset({SCHEDULED})))
    if keys := tuple(sorted(key for key in asg.tags if key == OWN_SUSPENDED or key.startswith(KEPT))):
        return Act("start", ForgetKept(region, asg.name, keys))
    if not wait or whole(asg, asg.targets, answering=True) is not None:
        return Done()
    return Wait("start", lacks(asg, asg.targets))


def _view(asgs: Sequence[Asg], window: float) -> View:
    """The serving group as `old`. Several, or none, are none."""
    found = serving(asgs)
    old = found[0] if len(found) == 1 else None
    return View(Goal.UPDATE, Terms(window=window), old, None, tuple(asg for asg in asgs if asg is not old))


def _report(group: str, view: View) -> Report:
    asg = view.old
    if asg is None:
        return {"group": group}
    sizes = {"min": asg.min, "max": asg.max, "desired": asg.desired}
    return {"group": group, "asg": asg.name, **sizes, "nodes": len(asg.nodes)}


@dataclass(frozen=True)
class Plan:
    """What a command does, and what it says of the groups of which it does nothing."""

    actions: tuple[StopGroup | StartGroup, ...]
    notes: tuple[str, ...] = ()


def plan_stop(running: Running, groups: Sequence[Key], *, window: float, wait: bool) -> Plan:
    """What stops these groups; raises RefusedError, before anything is changed, if one of them cannot be."""
    actions, notes, problems = list[StopGroup | StartGroup](), list[str](), list[str]()
    for region, group in groups:
        asg, why = the_serving(group, running.get((region, group), ()), removing=True)
        if asg is None:
            problems.append(why)
        elif not is_empty(asg) or asg.members:
            sizes = Sizes(asg.min, asg.max, asg.desired)
            actions.append(StopGroup(region, group, asg.name, sizes, window, wait))
        else:
            notes.append(f"{group} is {'stopped' if is_stopped(asg) else 'at size 0'} already")
    if problems:
        raise RefusedError("\n".join(problems), hint=HINT)
    return Plan(tuple(actions), tuple(notes))


def plan_start(running: Running, groups: Sequence[Group], *, window: float, wait: bool) -> Plan:
    """What starts these groups. RefusedError as in plan_stop."""
    actions, notes, problems = list[StopGroup | StartGroup](), list[str](), list[str]()
    for one in groups:
        group, region, settings = one.name, one.region, one.settings.autoscale or Autoscale()
        asg, why = the_serving(group, running.get((region, group), ()))
        if asg is None:
            problems.append(why)
        elif "Launch" in asg.suspended:
            problems.append(f"{group}: Launch is suspended on {asg.name}: no node would start")
        elif kept := kept_in(asg.tags):
            sizes = kept if is_empty(asg) else Sizes(asg.min, asg.max, asg.desired)
            health = health_of(settings)
            actions.append(StartGroup(region, group, asg.name, sizes, window, wait, settings.ready_timeout, health))
        elif is_empty(asg):
            problems.append(f"{group} was not stopped, it has the size 0 (package autoscale:resize {group})")
        else:
            notes.append(f"{group} runs already: {asg.name} has {Sizes(asg.min, asg.max, asg.desired)}")
    if problems:
        raise RefusedError("\n".join(problems), hint=HINT)
    return Plan(tuple(actions), tuple(notes))


def the_serving(
    group: str, asgs: Sequence[AutoScalingGroup], *, removing: bool = False
) -> tuple[AutoScalingGroup | None, str]:
    """The Auto Scaling group that serves, or None and why it may not be changed."""
    if why := obstacle(asgs):
        return None, f"{group}: {why}"
    found = serving(asgs)
    if not found:
        foreign = [asg.name for asg in asgs if role(asg) is Role.FOREIGN]
        if foreign:
            return None, f"{group}: {', '.join(foreign)} is not nodepkg's (no tag {MANAGED}=true)"
        return None, f"{group} does not run"
    if removing and (why := stays(found[0])):
        return None, f"{group}: {why}"
    return found[0], ""


def stays(asg: AutoScalingGroup) -> str:
    """Why AWS would not take all of the group's nodes; "" if it would."""
    if "Terminate" in asg.suspended:
        return f"Terminate is suspended on {asg.name}: its nodes would not go"
    if held := [member.id for member in asg.members if member.protected or member.lifecycle == "Standby"]:
        return f"{', '.join(held)} of {asg.name}: protected from scale-in, or in Standby"
    return ""
