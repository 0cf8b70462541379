"""What AWS and the nodes themselves show of groups: calls grow with pages, target groups and urls, not with groups."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from nodepkg.asked import Web, target_states, wrong_answers
from nodepkg.autoscale.carry import invoking_alarms, plan_alarms, plan_carry
from nodepkg.autoscale.claim import generation
from nodepkg.autoscale.housekeeping import running_version, served, surplus, template_changes
from nodepkg.autoscale.journal import PHASE, Phase, Record, read
from nodepkg.autoscale.registered import Membership, Reading, Registries
from nodepkg.autoscale.steps import Change
from nodepkg.autoscale.view import Asg, Goal, Node, Terms, View
from nodepkg.clients.aws.account import Account
from nodepkg.clients.aws.alarms import Alarm, Alarms
from nodepkg.clients.aws.autoscaling import AutoScaling, AutoScalingGroup, Member
from nodepkg.clients.aws.ec2 import Ec2
from nodepkg.clients.aws.images import Image, Images
from nodepkg.clients.aws.scaling import Extras, Scaling
from nodepkg.clients.aws.templates import LaunchTemplates, Template
from nodepkg.errors import NodepkgError
from nodepkg.launch import MANAGED
from nodepkg.ready import Health, unready
from nodepkg.services.blocking import EtcdRegistries, Picture
from nodepkg.services.terms import Location

_ETCD = EtcdRegistries()


def readiness(
    account: Account,
    region: str,
    asgs: Sequence[AutoScalingGroup],
    *,
    health: Mapping[str, Health],
    web: Web,
    also: Mapping[str, Collection[str]] = {},
) -> dict[str, tuple[Node, ...]]:
    """The nodes of each group, by the group's name.

    `health` says what the nodes of a group, by its name, are asked. In its attached target groups each node is looked
    for, and in those that `also` has for the group (ARNs), from which it may have been detached. Calls: one for up to
    100 nodes in service, one for each target group, and where urls are to be asked one for up to 200 nodes.
    """
    ec2 = Ec2(account, region)
    checks = ec2.status_checks(one.id for asg in asgs for one in asg.members if one.lifecycle == "InService")
    asked = {asg.name: health[asg.name] for asg in asgs if asg.name in health and health[asg.name].url}
    to_ask = {
        member.id: asked[asg.name]
        for asg in asgs
        if asg.name in asked
        for member in asg.members
        if not _lacks(member, checks, "")
    }
    wrong = wrong_answers(ec2, to_ask, web)
    targets = {asg.name: {*asg.target_groups, *also.get(asg.name, ())} for asg in asgs}
    states = target_states(account, region, targets.values())
    return {
        asg.name: tuple(
            _node(
                member,
                checks=checks,
                wrong=wrong.get(member.id, ""),
                answers=asg.name not in asked or wrong.get(member.id) == "",
                states={arn: states[arn] for arn in sorted(targets[asg.name])},
            )
            for member in asg.members
        )
        for asg in asgs
    }


def _node(
    member: Member, *, checks: Mapping[str, str], wrong: str, answers: bool, states: Mapping[str, Mapping[str, str]]
) -> Node:
    return Node(
        member.id,
        member.lifecycle,
        healthy=_is_healthy(member),
        checks=checks.get(member.id) == "ok",
        answers=answers,
        targets=tuple((arn, found[member.id]) for arn, found in states.items() if member.id in found),
        protected=member.protected,
        why=_lacks(member, checks, wrong),
    )


def _is_healthy(member: Member) -> bool:
    return member.health.lower() == "healthy"


def _lacks(member: Member, checks: Mapping[str, str], answer: str) -> str:
    return unready(lifecycle=member.lifecycle, health=member.health, checks=checks.get(member.id, ""), answer=answer)


class Sight(Protocol):
    """How a group is looked at of which no other generation is wanted."""

    def watched(self, asgs: Sequence[AutoScalingGroup], /) -> Collection[str] | None:
        """None if the nodes of these need no closer look, else the target groups (ARNs) that they may have left."""
        ...

    def view(self, asgs: Sequence[Asg], /) -> View:
        """What the decision is made on; `asgs` are all that carry the group's tag."""
        ...


@dataclass(frozen=True)
class Subject:
    """Of which group an observation is wanted, and by whom: see View for `goal`, `terms` and `aim`.

    `claim` is given the observation of a group without a new one, and says what begins what is wanted; None: nothing.
    With a `sight` no rollout is looked for (outlook.look). `membership` is None for a group without services.
    """

    group: str
    region: str
    terms: Terms
    goal: Goal = Goal.UPDATE
    health: Health = Health()  # noqa: RUF009 - frozen
    aim: str = ""
    claim: "Callable[[Observation], Change | None]" = lambda _: None
    sight: Sight | None = None
    membership: Membership | None = None


@dataclass(frozen=True)
class Observation:
    """`asgs` are all that carry the group's tag, by name, also those that are not nodepkg's.

    `error`: what the subject's `claim` raised; the view has none then.
    """

    view: View
    asgs: tuple[AutoScalingGroup, ...] = ()
    error: NodepkgError | None = None


@dataclass(frozen=True)
class Cast:
    """Who is who among the ASGs of a group; see View."""

    subject: Subject
    asgs: tuple[AutoScalingGroup, ...]
    old: AutoScalingGroup | None = None
    new: AutoScalingGroup | None = None
    kept: tuple[AutoScalingGroup, ...] = ()
    record: Record | None = None

    @property
    def pair(self) -> tuple[AutoScalingGroup, AutoScalingGroup] | None:
        return (self.old, self.new) if self.old and self.new else None

    @property
    def holds(self) -> bool:
        """Whether the old group still has what may have to be carried over: at size 0 it is given up."""
        if self.pair is None or self.record is None or self.record.phase is not Phase.HOLD:
            return False
        return not self.pair[0].status and (self.pair[0].min, self.pair[0].max, self.pair[0].desired) != (0, 0, 0)

    @property
    def undoes(self) -> bool:
        return self.pair is not None and self.record is not None and self.record.phase is Phase.ROLLBACK

    @property
    def is_done(self) -> bool:
        return self.record is not None and self.record.phase is Phase.DONE

    @property
    def players(self) -> list[AutoScalingGroup]:
        return [asg for asg in (self.old, self.new) if asg]

    @property
    def left(self) -> dict[str, frozenset[str]]:
        """The target groups that nodes of O and N may have been detached from: only there it shows that they drain."""
        return (
            {self.old.name: self.record.old_targets, self.new.name: self.record.targets}
            if self.old and self.new and self.record
            else {}
        )


def cast(subject: Subject, asgs: Sequence[AutoScalingGroup]) -> Cast:
    """An ASG is the group's only with nodepkg's tag, or if its record names it; what is not has no part."""
    tagged = tuple(asg for asg in asgs if asg.tags.get("group") == subject.group)
    ours = sorted((asg for asg in tagged if asg.tags.get(MANAGED) == "true"), key=lambda asg: generation(asg.name))
    new = next((asg for asg in reversed(ours) if read(asg.tags)), None)
    record = read(new.tags) if new else None
    if record:
        old = next((asg for asg in asgs if asg.name == record.old), None)
    else:
        old = next((asg for asg in ours if asg.tags.get(PHASE) == Phase.SERVING), None)
    kept = tuple(asg for asg in ours if asg.tags.get(PHASE) == Phase.KEPT and asg is not old)
    return Cast(subject, tagged, old, new, kept, record)


def observe(
    account: Account, subjects: Iterable[Subject], *, web: Web, registries: Registries = _ETCD
) -> dict[str, Observation]:
    """By group. Raises AwsError if anything cannot be read; what a claim raises is in that group's observation."""
    by_region: dict[str, list[Subject]] = {}
    for subject in subjects:
        by_region.setdefault(subject.region, []).append(subject)
    return {
        name: observation
        for region, wanted in by_region.items()
        for name, observation in _Region(account, region, web, registries).observe(wanted).items()
    }


@dataclass
class _Region:
    """One observation of one region."""

    account: Account
    region: str
    web: Web
    registries: Registries
    extras: dict[str, Extras] = field(default_factory=dict)
    alarms: dict[str, Alarm] = field(default_factory=dict)

    def observe(self, subjects: Sequence[Subject]) -> dict[str, Observation]:
        scaling = AutoScaling(self.account, self.region)
        found = scaling.groups_tagged("group", {one.group for one in subjects})
        casts = [cast(subject, found) for subject in subjects]
        if missing := [one.record.old for one in casts if one.record and one.record.old and not one.old]:
            # It is gone, or somebody has taken the group's tag off it: that alone does not end its rollout.
            found += scaling.groups_named(missing)
            casts = [cast(subject, found) for subject in subjects]
        nodes = self._nodes(casts)
        self._read_extras(casts)
        pictures = self._pictures(casts)
        observations = {one.subject.group: self._observation(one, nodes, pictures) for one in casts}
        for name, changes in self._housekeeping(casts, observations).items():
            before = observations[name]
            observations[name] = replace(before, view=replace(before.view, housekeeping=changes))
        return observations

    def _nodes(self, casts: Sequence[Cast]) -> Mapping[str, tuple[Node, ...]]:
        asgs = [asg for one in casts for asg in one.players]
        health = {asg.name: one.subject.health for one in casts for asg in one.players}
        also = {name: targets for one in casts for name, targets in one.left.items()}
        return readiness(self.account, self.region, asgs, health=health, web=self.web, also=also)

    def _read_extras(self, casts: Iterable[Cast]) -> None:
        """Only of groups whose rollout is where something of it counts."""
        hold = [asg.name for one in casts if one.holds and one.pair for asg in one.pair]
        rollback = [asg.name for one in casts if one.undoes and one.pair for asg in one.pair]
        scaling = Scaling(self.account, self.region)
        if hold or rollback:
            policies = scaling.policies([*hold, *rollback])
            self.extras = {name: Extras(name, found) for name, found in policies.items()}
        if hold:
            schedules, notifications = scaling.scheduled_actions(hold), scaling.notifications(hold)
            for name in hold:
                self.extras[name] = replace(
                    self.extras[name], schedules=schedules[name], notifications=notifications[name]
                )
        names = {name for extras in self.extras.values() for name in invoking_alarms(extras.policies)}
        if names:
            self.alarms = {alarm.name: alarm for alarm in Alarms(self.account, self.region).named(names)}

    def _pictures(self, casts: Iterable[Cast]) -> Mapping[Location, Picture | NodepkgError]:
        """What the registries show: each is asked once for all of its groups."""
        asked: dict[Location, dict[str, list[str]]] = {}
        for one in casts:
            if membership := one.subject.membership:
                leavers = [member.id for member in one.old.members] if one.pair and one.old else []
                asked.setdefault(membership.location, {})[one.subject.group] = leavers
        return self.registries.look(asked) if asked else {}

    def _observation(
        self,
        one: Cast,
        nodes: Mapping[str, tuple[Node, ...]],
        pictures: Mapping[Location, Picture | NodepkgError],
    ) -> Observation:
        subject = one.subject
        old, new = (observed(asg, nodes.get(asg.name, ())) if asg else None for asg in (one.old, one.new))
        kept = tuple(observed(asg, nodes.get(asg.name, ())) for asg in one.kept)
        view = View(subject.goal, subject.terms, old, new, kept, aim=subject.aim)
        if membership := subject.membership:
            picture, now = pictures[membership.location], self.account.now()
            reading = Reading(subject.group, self.region, membership, self.registries, picture, now)
            view = reading.shown_in(view)
        if one.pair:
            return Observation(self._with_extras(view, one), one.asgs)
        if one.new is None and not subject.aim:
            try:
                claim = subject.claim(Observation(view, one.asgs))
                return Observation(replace(view, claim=claim), one.asgs)
            except NodepkgError as error:
                return Observation(view, one.asgs, error)
        return Observation(view, one.asgs)

    def _with_extras(self, view: View, one: Cast) -> View:
        if not one.pair or not (one.holds or one.undoes):
            return view
        old, new = (self.extras[asg.name] for asg in one.pair)
        source, target = (old, new) if one.holds else (new, old)
        alarms = plan_alarms(source, target, self.alarms.values(), region=self.region)
        carry = plan_carry(old, new, region=self.region, now=self.account.now()) if one.holds else ()
        return replace(view, carry=carry, alarms=alarms)

    def _housekeeping(
        self, casts: Iterable[Cast], observations: Mapping[str, Observation]
    ) -> dict[str, tuple[Change, ...]]:
        """Of the groups whose rollout is done, and of those that have none, and of which nothing is wanted."""
        due = {
            one.subject.group: one
            for one in casts
            if one.is_done or (one.new is None and one.old and not _begins(observations[one.subject.group]))
        }
        if not due:
            return {}
        templates = LaunchTemplates(self.account, self.region).named(due)
        served_by = {name: one.record.image for name, one in due.items() if one.record and one.is_done}
        images = {image.id: image for image in Images(self.account, self.region).owned_of(served_by.values())}
        lists = _Versions(self.account, self.region)
        return {
            name: (
                *self._surplus(one, observations[name].view),
                *lists.changes(one, templates.get(name)),
                *self._served(one, images),
                *_leftover(observations[name].view),
            )
            for name, one in due.items()
        }

    def _surplus(self, one: Cast, view: View) -> tuple[Change, ...]:
        if not one.is_done:
            return ()
        kept = (*view.kept, *([view.old] if view.old and view.old.phase == Phase.KEPT else []))
        return surplus(self.region, kept, one.subject.terms.keep_old)

    def _served(self, one: Cast, images: Mapping[str, Image]) -> tuple[Change, ...]:
        if not (one.new and one.record and one.is_done):
            return ()
        return served(self.region, one.new.name, images.get(one.record.image))


def _leftover(view: View) -> tuple[Change, ...]:
    return view.registry.leftover if view.registry else ()


def _begins(observation: Observation) -> bool:
    return observation.view.claim is not None or observation.error is not None


@dataclass
class _Versions:
    """Of launch templates; all ASGs of the region are read if a version may have to go, and then once."""

    account: Account
    region: str
    users: list[AutoScalingGroup] | None = None

    def changes(self, one: Cast, template: Template | None) -> tuple[Change, ...]:
        running = one.new or one.old
        number = running_version(running, template) if running else None
        if not running or not template or number is None:
            return ()
        if not one.is_done and number == template.default == template.latest:
            return ()  # as the last rollout has left it
        versions = LaunchTemplates(self.account, self.region).all_versions(template.id)
        if self.users is None:
            self.users = AutoScaling(self.account, self.region).groups()
        return template_changes(self.region, running, template, versions, self.users)


def observed(asg: AutoScalingGroup, nodes: Sequence[Node]) -> Asg:
    """The ASG with what is known of its nodes."""
    return Asg(
        name=asg.name,
        min=asg.min,
        max=asg.max,
        desired=asg.desired,
        tags=asg.tags,
        suspended=asg.suspended,
        targets=frozenset(asg.target_groups),
        nodes=tuple(nodes),
        deleting=bool(asg.status),
    )
