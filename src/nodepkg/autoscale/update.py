"""autoscale:update: what is wanted of each group, and how it begins where something differs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from nodepkg.autoscale.carry import cannot_carry
from nodepkg.autoscale.claim import CreateNext, TakeKept, next_name
from nodepkg.autoscale.generations import is_half_stopped, is_stopped
from nodepkg.autoscale.journal import IMAGE, MOST_TAGS, VERSION, Phase, Record, between, counted, most_tags
from nodepkg.autoscale.known import ONE_BY_ONE, Known
from nodepkg.autoscale.observe import Observation
from nodepkg.autoscale.registered import Membership
from nodepkg.autoscale.run import Choice, chosen_images
from nodepkg.autoscale.steps import Change, OfAsg, Resize
from nodepkg.autoscale.task import Task
from nodepkg.autoscale.terms import health_of, membership_of, terms_of
from nodepkg.autoscale.view import View
from nodepkg.autoscale.wanted import (
    Difference,
    Wanted,
    forbids,
    forbids_too,
    in_place,
    in_template,
    next_targets,
    replacing,
    serving,
    sizes,
)
from nodepkg.clients.aws.account import Account
from nodepkg.clients.aws.autoscaling import AutoScaling, AutoScalingGroup
from nodepkg.clients.aws.scaling import Scaling
from nodepkg.errors import NodepkgError, RefusedError, ToolError
from nodepkg.launch import CreateTemplateVersion, Launch, launch, version_token
from nodepkg.nodes.group import Group
from nodepkg.nodes.load import Nodes
from nodepkg.nodes.schema import Autoscale
from nodepkg.plan import Report


@dataclass(frozen=True)
class Begin(OfAsg):
    """Makes or takes the new group (`asg`), after a last look at what forbids it and has to be asked for."""

    aspect = "life"
    first: CreateNext | TakeKept

    def __str__(self) -> str:
        return str(self.first)

    def run(self, account: Account, /) -> Report:
        """Raises RefusedError for what cannot be carried over to the new group."""
        self.require_carried(account)
        if isinstance(self.first, CreateNext):
            hooks = Scaling(account, self.region).lifecycle_hooks(self.first.record.old)
            return replace(self.first, hooks=hooks).run(account)
        return self.first.run(account)

    def require_carried(self, account: Account) -> None:
        """Raises RefusedError for a running instance refresh, and for policies that the next group cannot have."""
        asg, scaling = self.first.record.old, Scaling(account, self.region)
        refreshes, policies = scaling.running_refreshes(asg), scaling.policies([asg])[asg]
        if told := forbids_too(asg, refreshes, cannot_carry(policies, asg, self.first.record.targets)):
            raise RefusedError("\n".join(told))

    def shows_in(self, view: View, /) -> bool:
        return self.first.shows_in(view)


@dataclass(frozen=True)
class SetTemplate(OfAsg):
    """Has a group without nodes, as a stopped one, start them from another template version, when it starts some."""

    aspect = "template"
    launch: Launch
    token: str

    def __str__(self) -> str:
        return f"set {self.asg}, which has no nodes, to a launch template version with image {self.launch.image}"

    def run(self, account: Account, /) -> Report:
        version = int(CreateTemplateVersion(self.launch, self.token).run(account)["version"])
        scaling = AutoScaling(account, self.region)
        scaling.update_template(self.asg, self.launch.template, version)
        scaling.create_or_update_tags(self.asg, {VERSION: str(version), IMAGE: self.launch.image})
        return {"asg": self.asg, "action": str(self), "template": self.launch.template, "version": version}

    def shows_in(self, view: View, /) -> bool:
        asg = self.found(view)
        return asg is None or asg.tags.get(IMAGE) == self.launch.image


@dataclass
class Wish:
    """What nodes.json wants of one group, which it says of each observation; AWS is asked for each template once.

    `problem` is why no rollout may start, where one would: no image, or a stale one. Without `wanted` nothing can be
    compared because of it. `stale` says how the image is older than nodes.json, if it is.
    """

    account: Account
    group: Group
    run: str
    wanted: Wanted | None = None
    problem: NodepkgError | None = None
    force: bool = False
    stale: str = ""
    known: Known | None = None
    membership: Membership | None = None

    def differences(self, asg: AutoScalingGroup) -> list[Difference]:
        """All of them; raises the problem if nothing can be compared."""
        if self.wanted is None:
            raise self.problem or RefusedError(f"{self.group.name} has no image")
        if is_stopped(asg):
            return in_template(self.wanted.launch.data, self._runs(asg))
        return [*replacing(self.wanted, asg, self._runs(asg)), *sizes(self.wanted.settings, asg)]

    def claim(self, seen: Observation) -> Change | None:
        """What begins an update; None if nothing differs. Raises RefusedError if it cannot begin."""
        asg = serving(self.group.name, seen.asgs)
        require_settled(self.group.name, asg)
        keys = {one.key for one in self.differences(asg)}
        if self.wanted is None or not (keys or self.force):
            return None
        region, settings = self.group.region, self.wanted.settings
        if keys and keys <= {"node_min", "node_max"} and not self.force:
            least, most = in_place(settings, asg)
            return Resize(region, asg.name, least, most)
        if self.problem:
            raise self.problem
        token = version_token(self.run, self.group.name)
        if is_stopped(asg):
            return SetTemplate(region, asg.name, self.wanted.launch, token) if keys else None
        if (asg.min, asg.max, asg.desired) == (0, 0, 0) and in_template(self.wanted.launch.data, self._runs(asg)):
            # There is nothing to replace; its nodes come with the sizes, which are changed in place next.
            return SetTemplate(region, asg.name, self.wanted.launch, token)
        name = next_name(asg.name, self.group.name)
        record = first_record(self.run, asg, next_targets(self.wanted.targets, asg), self.account.now())
        record = replace(record, image=self.wanted.launch.image)
        refuse(asg, record)
        require_registry(seen.view)
        # What people have attached to the old group does not decide who judges the new nodes.
        settings = settings.model_copy(update={"health_check_type": self.wanted.health_check_type})
        return Begin(region, name, CreateNext(region, name, self.wanted.launch, settings, record, (), token))

    def afterwards(self, seen: Observation) -> Sequence[str]:
        """What still differs when a rollout was finished that had recorded another target."""
        view = seen.view
        asg = next((one for one in seen.asgs if view.old and one.name == view.old.name), None)
        if asg is None:
            return ()
        found = {one.key: one for one in self.differences(asg)}
        newer = [f"a newer image exists, {found.pop('image').wanted}"] if "image" in found else []
        told = [*newer, *([f"nodes.json wants more ({', '.join(found)})"] if found else [])]
        return [f"{one}: package autoscale:update {self.group.name}" for one in told]

    def task(self, window: float) -> Task:
        settings = self.group.settings.autoscale or Autoscale()
        name, region, terms = self.group.name, self.group.region, terms_of(settings, window)
        return Task(
            name,
            region,
            self.run,
            terms,
            health=health_of(settings),
            claim=self.claim,
            afterwards=self.afterwards,
            membership=self.membership,
        )

    def _runs(self, asg: AutoScalingGroup) -> Mapping[str, Any] | None:
        """The data of the template version that the group runs, which never changes."""
        self.known = self.known or Known(self.account)
        return self.known.template_data(self.group.region, asg.template) if asg.template else None


def wishes(
    account: Account, nodes: Nodes, groups: Sequence[Group], choice: Choice, *, run: str, force: bool
) -> dict[str, Wish]:
    """By group. What is wrong with one is in its wish: it may be no matter, as where a rollout is under way."""
    from nodepkg.images.due import stale_images
    from nodepkg.render.bundle import Project
    from nodepkg.render.packer import PackerTemplates
    from nodepkg.render.user_data import UserData

    images, missing = chosen_images(account, groups, choice)
    stale = [] if choice.image else stale_images(PackerTemplates(Project(nodes)), groups, images)
    older, user_data, found = {one.group: one for one in stale}, UserData(nodes.root), dict[str, Wish]()
    known = Known(account, many=len(groups) > ONE_BY_ONE)
    for group in groups:
        wish = Wish(account, group, run, force=force, known=known, membership=membership_of(nodes, group))
        if group.name in missing:
            wish.problem = RefusedError(f"{group.name}: {missing[group.name]}")
        else:
            try:
                wish.wanted = wanted(known, group, images[group.name].id, user_data.text(group))
            except NodepkgError as error:
                wish.problem = error
        if (one := older.get(group.name)) and wish.wanted:
            remedy = f"package packer:run {group.name}, or --stale-ok"
            wish.problem = None if choice.stale_ok else RefusedError(str(one), hint=remedy)
            wish.stale = str(one)
        found[group.name] = wish
    return found


def wanted(known: Known, group: Group, image: str, user_data: str) -> Wanted:
    """What nodes.json says, with names resolved; raises AwsError for one that AWS does not know."""
    settings = group.settings.autoscale or Autoscale()
    targets = frozenset(known.target_group_arns(group.region, settings.target_groups))
    ec2 = known.ec2(group.region)
    return Wanted(launch(known.account, group, image, user_data, ec2=ec2), targets, settings)


def refuse(asg: AutoScalingGroup, record: Record) -> None:
    """Raises RefusedError for a group that cannot be replaced as it is, with this record."""
    told = forbids(asg)
    if (tags := most_tags(record)) > MOST_TAGS:
        groups = f"{len(record.old_targets)} and {len(record.targets)}"
        told.append(
            f"{asg.name}: a rollout notes each target group, of the old and of the new group ({groups}), in a tag: "
            f"{tags} tags would be needed, and AWS takes {MOST_TAGS}: detach some"
        )
    if told:
        raise RefusedError("\n".join(told))


def require_settled(group: str, asg: AutoScalingGroup) -> None:
    """Raises RefusedError for a group that was stopped, or started, by halves: its sizes are not its own."""
    if is_half_stopped(asg):
        raise RefusedError(
            f"{group}: stopping, or starting, {asg.name} was not finished",
            hint=f"to finish it: package autoscale:start {group}, or package autoscale:stop {group}",
        )


def require_registry(view: View) -> None:
    """Raises ToolError where no rollout should begin, as nobody could say when its nodes are ready."""
    if view.registry and view.registry.lost:
        raise ToolError(
            f"the registry of services cannot be asked: {view.registry.lost}",
            hint="nothing was begun: a new node is ready when it has announced its services there",
        )


def first_record(run: str, old: AutoScalingGroup, targets: frozenset[str], now: float) -> Record:
    return Record(run, Phase.CLAIM, old.name, frozenset(old.target_groups), old.suspended, targets, since=now)


def steps(view: View, change: Change) -> list[str]:
    """What an update that begins with this change would do, as sentences in the imperative."""
    if not isinstance(change, Begin) or view.old is None:
        return [str(change)]
    old, new, record, terms = view.old, change.asg, change.first.record, view.terms
    size = max(old.desired, terms.min)
    names = ", ".join(sorted(arn.split("/")[1] if "/" in arn else arn for arn in record.targets))
    ready = ", and have announced their services," if view.registry else ","
    told = [f"announce in the registry that the nodes of {old.name} will leave"] if view.registry else []
    early = ", or until all have acknowledged that" if view.registry and not terms.wait_full else ""
    detached = [f"detach {old.name} from its target groups, and let it drain"] if record.old_targets else []
    gives_up = f"keep {old.name} at size 0" if terms.keep_old and not record.from_kept else f"delete {old.name}"
    return [
        str(change),
        f"suspend ScheduledActions and AZRebalance of {old.name}, and keep it from shrinking below {old.desired}",
        f"grow {new} to {counted(size)}, and wait until they are ready{ready} at most {terms.ready_timeout:g} s",
        *([f"attach {names} to {new}, and wait until its nodes are healthy there"] if names else []),
        f"wait {terms.bake_time:g} s, in which they have to stay healthy",
        f"suspend AlarmNotification of {old.name}, and grow {new} to its size if it has grown",
        *detached,
        *told,
        f"copy scaling policies, scheduled actions and notifications to {new}, and wait {terms.timeout:g} s{early}",
        f"set {old.name} to 0 nodes, wait until it is empty, and {gives_up}",
        f"set {new} to {between(terms.min, max(terms.max, size))}: it serves",
    ]
