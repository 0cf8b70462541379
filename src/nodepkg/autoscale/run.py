"""autoscale:run: the first Auto Scaling group of a group, from its newest image."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nodepkg.autoscale.housekeeping import template_changes
from nodepkg.autoscale.journal import RUN, between, started
from nodepkg.clients.aws.account import Account, wait_for
from nodepkg.clients.aws.autoscaling import AutoScaling, AutoScalingGroup, NewGroup
from nodepkg.clients.aws.balancing import target_group_arns
from nodepkg.clients.aws.images import Image, Images
from nodepkg.clients.aws.templates import LaunchTemplates
from nodepkg.errors import AwsError, NotYetError, RefusedError
from nodepkg.images.newest import managed_images, newest_available, unusable
from nodepkg.launch import MANAGED, CreateTemplateVersion, Launch, launch, version_of, version_token
from nodepkg.nodes.group import Group
from nodepkg.nodes.load import Nodes
from nodepkg.nodes.schema import Autoscale
from nodepkg.plan import Action, Report

if TYPE_CHECKING:
    from nodepkg.autoscale.awaiting import Awaited
    from nodepkg.images.due import StaleImage
    from nodepkg.lease.claim import Lease

_HINT = "what there is: package group:status"


@dataclass(frozen=True)
class CreateAutoScalingGroup:
    """The ASG itself, tagged in the call that creates it.

    `run_id` is one run's: a group of this name that carries it is ours, though the reply was lost.
    """

    group: str
    settings: Autoscale
    launch: Launch
    target_groups: tuple[str, ...]
    run_id: str

    @property
    def name(self) -> str:
        return f"{self.group}-v001"

    def __str__(self) -> str:
        sizes = f"{between(self.settings.node_min, self.settings.most)}, {self.settings.desired} to begin with"
        return f"create Auto Scaling group {self.name} ({sizes})"

    def run(self, account: Account, /) -> Report:
        autoscaling = AutoScaling(account, self.launch.region)
        new = self._new_group(version_of(account, self.launch), account.now())
        try:
            if not wait_for(lambda: _created(autoscaling, new)):
                autoscaling.create_group(new)
        except AwsError as error:
            if error.code != "AlreadyExists":
                raise
            made = wait_for(lambda: autoscaling.group(self.name))
            if made is None or made.tags.get(RUN) != self.run_id:
                raise RefusedError(f"{self.name} exists already in {self.launch.region}", hint=_HINT) from error
        with suppress(AwsError):  # the group runs, and its next update does the same
            _tidy(account, self.launch.region, self.name, new.template, new.version)
        return {
            "group": self.group,
            "asg": self.name,
            "region": self.launch.region,
            "image": self.launch.image,
            "template": new.template,
            "version": new.version,
            "min": new.min,
            "max": new.max,
            "desired": new.desired,
            "zones": [subnet.zone for subnet in self.launch.placement.subnets],
        }

    def _new_group(self, version: int, now: float) -> NewGroup:
        return NewGroup(
            name=self.name,
            template=self.launch.template,
            version=version,
            min=self.settings.node_min,
            max=self.settings.most,
            desired=self.settings.desired,
            tags={"group": self.group},
            own_tags={MANAGED: "true"} | self._facts(version, now),
            subnets=self.launch.placement.ids,
            target_group_arns=self.target_groups,
            health_check_type=self.settings.health_check_type or ("ELB" if self.target_groups else "EC2"),
            health_check_grace_period=self.settings.health_check_grace_period,
        )

    def _facts(self, version: int, now: float) -> dict[str, str]:
        return started(self.run_id, now, version=version, image=self.launch.image, targets=self.target_groups)


def _tidy(account: Account, region: str, asg: str, template: str, version: int) -> None:
    """Removes what an earlier run or update, which was killed, has left of the launch template: unused versions."""
    templates, scaling = LaunchTemplates(account, region), AutoScaling(account, region)
    found = templates.named([template]).get(template)
    if found is None or found.default == found.latest == version:
        return
    if made := wait_for(lambda: scaling.group(asg)):
        for change in template_changes(region, made, found, templates.all_versions(found.id), scaling.groups()):
            change.run(account)


def _created(autoscaling: AutoScaling, new: NewGroup) -> bool | None:
    """Whether it is there now; None while AWS does not see all that it is made of."""
    try:
        autoscaling.create_group(new)
    except NotYetError:
        return None
    return True


@dataclass(frozen=True)
class UnderLease:
    """An action that changes one group, while its lease is held."""

    action: Action[Account]
    lease: "Lease"

    def __str__(self) -> str:
        return str(self.action)

    def run(self, account: Account, /) -> Report:
        self.lease.beat("starting")
        with self.lease.fenced():
            return self.action.run(account)


@dataclass(frozen=True)
class Start:
    """What starts groups: the actions of each, by its name. `stale` are images that are taken all the same."""

    actions: Mapping[str, tuple[Action[Account], ...]]
    stale: "tuple[StaleImage, ...]" = ()

    @property
    def plan(self) -> list[Action[Account]]:
        return [action for actions in self.actions.values() for action in actions]

    def under(self, leases: "Mapping[str, Lease]") -> list[Action[Account]]:
        """The plan, with each action under its group's lease."""
        return [UnderLease(action, leases[name]) for name, actions in self.actions.items() for action in actions]


@dataclass(frozen=True)
class Choice:
    """Which images are started: the newest ones, or this one, of one group; with `stale_ok` also stale ones."""

    image: str | None = None
    stale_ok: bool = False


def plan_run(account: Account, nodes: Nodes, groups: Sequence[Group], choice: Choice, *, run_id: str) -> Start:
    """What starts these groups; raises RefusedError, before anything is changed, if one of them cannot be."""
    running = running_groups(account, {group.region for group in groups})
    images, missing = chosen_images(account, groups, choice)
    if problems := refusals(groups, running, missing):
        raise RefusedError("\n".join(problems), hint=_HINT)

    # Only now, since Jinja2 comes with them, and a group that cannot be started needs no templates.
    from nodepkg.images.due import stale_images
    from nodepkg.render.bundle import Project
    from nodepkg.render.packer import PackerTemplates
    from nodepkg.render.user_data import UserData

    stale = [] if choice.image else stale_images(PackerTemplates(Project(nodes)), groups, images)
    if stale and not choice.stale_ok:
        told = [f"{one} (package packer:run {one.group})" for one in stale]
        raise RefusedError("\n".join(told), hint="--stale-ok starts it as it is")
    user_data, actions = UserData(nodes.root), dict[str, tuple[Action[Account], ...]]()
    for group in groups:
        if settings := group.settings.autoscale:
            start = launch(account, group, images[group.name].id, user_data.text(group))
            targets = tuple(target_group_arns(account, group.region, settings.target_groups))
            template = CreateTemplateVersion(start, version_token(run_id, group.name))
            actions[group.name] = (template, CreateAutoScalingGroup(group.name, settings, start, targets, run_id))
    return Start(actions, tuple(stale))


def refuse_running(account: Account, groups: Sequence[Group]) -> None:
    """Raises RefusedError if one of the groups runs: somebody may have started it before it was claimed."""
    if problems := refusals(groups, running_groups(account, {group.region for group in groups}), {}):
        raise RefusedError("\n".join(problems), hint=_HINT)


def awaited(nodes: Nodes, group: Group, asg: str, image: str) -> "Awaited":
    """What is waited for after the group's ASG was made from the image."""
    from nodepkg.autoscale.awaiting import Awaited
    from nodepkg.autoscale.terms import health_of, membership_of

    settings, membership = group.settings.autoscale or Autoscale(), membership_of(nodes, group)
    return Awaited(group.name, group.region, asg, health_of(settings), settings.ready_timeout, image, membership)


def chosen_images(account: Account, groups: Sequence[Group], choice: Choice) -> tuple[dict[str, Image], dict[str, str]]:
    """The image of each group, and of each that has none why not."""
    if choice.image:
        return _named_image(account, groups[0], choice.image)
    return _newest_images(account, groups)


def _newest_images(account: Account, groups: Sequence[Group]) -> tuple[dict[str, Image], dict[str, str]]:
    """The image of each group, and of each that has none why not."""
    images, missing = dict[str, Image](), dict[str, str]()
    for region in sorted({group.region for group in groups}):
        made = managed_images(Images(account, region))
        for group in (one for one in groups if one.region == region):
            if newest := newest_available(made.get(group.name, [])):
                images[group.name] = newest
            else:
                missing[group.name] = f"it has no image in {region} yet (package packer:run {group.name})"
    return images, missing


def _named_image(account: Account, group: Group, image: str) -> tuple[dict[str, Image], dict[str, str]]:
    """As _newest_images, of the one group."""
    found = Images(account, group.region).visible(image)
    why = unusable(found, group.name)
    if found is None or why:
        return {}, {group.name: f"{image} {why} in {group.region}"}
    return {group.name: found}, {}


def refusals(
    groups: Iterable[Group], running: Mapping[tuple[str, str], list[AutoScalingGroup]], missing: Mapping[str, str]
) -> list[str]:
    """Why these groups cannot be started, a line for each that cannot; `missing` says why one has no image."""
    problems = []
    for group in groups:
        if asgs := running.get((group.region, group.name)):
            names = [f"{asg.name} (AWS is deleting it)" if asg.status else asg.name for asg in asgs]
            problems.append(f"{group.name} runs already: {', '.join(names)}")
        elif why := missing.get(group.name):
            problems.append(f"{group.name}: {why}")
    return problems


def running_groups(account: Account, regions: Iterable[str]) -> dict[tuple[str, str], list[AutoScalingGroup]]:
    """The ASGs that carry the tag `group`, whoever made them, by region and group: one listing a region."""
    found: dict[tuple[str, str], list[AutoScalingGroup]] = {}
    for region in sorted(set(regions)):
        for asg in AutoScaling(account, region).groups():
            if "group" in asg.tags:
                found.setdefault((region, asg.tags["group"]), []).append(asg)
    return found
