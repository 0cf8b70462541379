"""autoscale:delete: all generations of a group that nodepkg manages, and its launch template."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from nodepkg.autoscale.generations import Role, obstacle, role
from nodepkg.autoscale.journal import counted, targets_in
from nodepkg.autoscale.operations import Site
from nodepkg.autoscale.rollout import Act, Done, Refuse, Step, Wait
from nodepkg.autoscale.steps import Change, DeleteAsg, DetachTargets, Resize, SuspendProcesses
from nodepkg.autoscale.stop import stays
from nodepkg.autoscale.view import EMPTY, SCHEDULED, Asg, Goal, Terms, View
from nodepkg.clients.aws.account import Account
from nodepkg.clients.aws.autoscaling import AutoScaling, AutoScalingGroup
from nodepkg.clients.aws.tags import Tags
from nodepkg.clients.aws.templates import LaunchTemplates
from nodepkg.errors import RefusedError
from nodepkg.launch import MANAGED
from nodepkg.plan import Report
from nodepkg.ready import Health


@dataclass(frozen=True)
class DeleteGroup:
    """Ends a group. `asgs` are the generations that were shown: what is not among them does not go.

    `template`: its launch template was shown to go, too.
    """

    region: str
    group: str
    asgs: tuple[str, ...]
    template: bool
    window: float
    timeout: None = None
    result: ClassVar[str] = "deleted"
    health: Health = Health()  # noqa: RUF009 - frozen
    done: list[Report] = field(default_factory=list, compare=False)
    served: set[str] = field(default_factory=set, compare=False)

    def __str__(self) -> str:
        things = [*self.asgs, *([f"launch template {self.group}"] if self.template else [])]
        return f"delete {', '.join(things)} in {self.region}"

    def run(self, site: Site, /) -> Report:
        return site.begin(self)

    def watched(self, asgs: Sequence[AutoScalingGroup]) -> Collection[str]:
        """Those in which its nodes may still drain: what AWS shows no more is remembered, here and in the tags."""
        self.served.update(arn for asg in asgs for arn in (*asg.target_groups, *targets_in(asg.tags)))
        return self.served

    def view(self, asgs: Sequence[Asg]) -> View:
        """Those that go as `new` and `kept`: that there is no new one is believed only in two observations."""
        ours = [asg for asg in asgs if role(asg) is not Role.FOREIGN]
        return View(Goal.UPDATE, Terms(window=self.window), None, ours[0] if ours else None, tuple(ours[1:]))

    def next(self, view: View, now: float) -> Step:
        asgs = [asg for asg in (view.new, *view.kept) if asg]
        if why := obstacle(asgs):
            return Refuse(why)
        if strangers := sorted({asg.name for asg in asgs} - {*self.asgs}):
            return Refuse(f"{', '.join(strangers)} came into being meanwhile: run it again")
        if asgs:
            steps = [next_of_delete(asg, region=self.region) for asg in asgs]
            return next((step for step in steps if isinstance(step, Act)), steps[0])
        if not view.steady("no new", now):
            return Wait("delete", "making sure that they are gone", now + view.terms.window)
        if self.template and not any("template" in report for report in self.done):
            return Act("delete", DeleteTemplate(self.region, self.group))
        return Done()

    def did(self, change: Change, report: Report) -> None:  # noqa: ARG002 - of a Operation
        self.done.append(report)

    def report(self, view: View) -> Report:  # noqa: ARG002 - of a Operation
        template = next((report for report in self.done if "template" in report), {"template": None})
        return {"group": self.group, "region": self.region, "asgs": list(self.asgs), "kept": None, **template}


@dataclass(frozen=True)
class DeleteTemplate:
    """A launch template that nodepkg manages, unless something has come to use it."""

    region: str
    template: str

    @property
    def changes(self) -> tuple[str, str]:
        return self.template, "launch template"

    def __str__(self) -> str:
        return f"delete launch template {self.template}"

    def run(self, account: Account, /) -> Report:
        templates = LaunchTemplates(account, self.region)
        asgs = AutoScaling(account, self.region).groups()
        if why := template_stays(templates.tags(self.template), asgs, self.template):
            return {"template": None, "kept": f"launch template {self.template} stays: {why}"}
        templates.delete_template(self.template)
        return {"template": self.template}

    def shows_in(self, view: View) -> bool:  # noqa: ARG002 - an observation of groups cannot show it
        return True


def next_of_delete(asg: Asg, *, region: str) -> Step:
    """The next step towards one generation's end: out of its target groups first, then its nodes, then itself."""
    if asg.deleting:
        return Wait("delete", f"AWS is deleting {asg.name}")
    if SCHEDULED not in asg.suspended:
        return Act("delete", SuspendProcesses(region, asg.name, frozenset({SCHEDULED})))
    if asg.targets:
        return Act("delete", DetachTargets(region, asg.name, asg.targets))
    if draining := asg.registered:
        return Wait("delete", f"{counted(draining)} of {asg.name} draining")
    return _emptied(asg, region) or Act("delete", DeleteAsg(region, asg.name))


def _emptied(asg: Asg, region: str) -> Step | None:
    if asg.sizes != EMPTY:
        return Act("delete", Resize(region, asg.name, 0, 0, 0))
    if asg.nodes:
        return Wait("delete", f"{counted(len(asg.nodes))} of {asg.name} being terminated")
    return None


@dataclass(frozen=True)
class Doomed:
    """What there is of a group in a region: what goes, and in words what stays and why."""

    asgs: tuple[AutoScalingGroup, ...]
    template: bool
    staying: tuple[str, ...]

    def plan(self, region: str, group: str, window: float) -> list[DeleteGroup]:
        """The one action that ends it; none if there is nothing to end."""
        names = tuple(asg.name for asg in self.asgs)
        return [DeleteGroup(region, group, names, self.template, window)] if names or self.template else []


def doomed(account: Account, region: str, group: str) -> Doomed:
    """What autoscale:delete would end; raises RefusedError if it may not, or AWS would not let it."""
    everything = AutoScaling(account, region).groups()
    tagged = [asg for asg in everything if asg.tags.get("group") == group]
    ours = tuple(asg for asg in tagged if role(asg) is not Role.FOREIGN)
    if why := obstacle(ours) or next(filter(None, map(stays, ours)), ""):
        raise RefusedError(f"{group}: {why}", hint=f"what there is: package autoscale:status {group}")
    staying = [f"{asg.name} stays: it has no tag {MANAGED}=true" for asg in tagged if asg not in ours]
    others = [asg for asg in everything if asg not in ours]
    why_template = template_stays(LaunchTemplates(account, region).tags(group), others, group)
    if why_template:
        staying.append(f"launch template {group} stays: {why_template}")
    return Doomed(ours, why_template == "", tuple(staying))


def template_stays(tags: Tags | None, asgs: Sequence[AutoScalingGroup], template: str) -> str | None:
    """Why a launch template with these tags does not go, with all groups that stay; "" if it does, None without one."""
    if tags is None:
        return None
    if tags.get(MANAGED) != "true":
        return f"it has no tag {MANAGED}=true"
    users = [asg.name for asg in asgs if any(pin.name == template for pin in asg.pins)]
    return f"it is used by {', '.join(users)}" if users else ""
