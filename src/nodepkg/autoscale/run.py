"""autoscale:run: the first Auto Scaling group of a group, from its newest image."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nodepkg.clients.aws.account import Account, wait_for
from nodepkg.clients.aws.autoscaling import AutoScaling, AutoScalingGroup, NewGroup, target_group_arns
from nodepkg.clients.aws.images import Image, Images
from nodepkg.errors import AwsError, RefusedError
from nodepkg.images.newest import managed_images, newest_available
from nodepkg.launch import MANAGED, CreateTemplateVersion, Launch, launch, version_of
from nodepkg.nodes.group import Group
from nodepkg.nodes.schema import Autoscale
from nodepkg.plan import Action, Report

RUN = "nodepkg:run"
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
        sizes = f"{self.settings.node_min} to {self.settings.most} nodes, {self.settings.desired} to begin with"
        return f"create Auto Scaling group {self.name} ({sizes})"

    def run(self, account: Account, /) -> Report:
        autoscaling = AutoScaling(account, self.launch.region)
        new = self._new_group(version_of(account, self.launch))
        try:
            autoscaling.create_group(new)
        except AwsError as error:
            if error.code != "AlreadyExists":
                raise
            made = wait_for(lambda: next((asg for asg in autoscaling.groups() if asg.name == self.name), None))
            if made is None or made.tags.get(RUN) != self.run_id:
                raise RefusedError(f"{self.name} exists already in {self.launch.region}", hint=_HINT) from error
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

    def _new_group(self, version: int) -> NewGroup:
        return NewGroup(
            name=self.name,
            template=self.launch.template,
            version=version,
            min=self.settings.node_min,
            max=self.settings.most,
            desired=self.settings.desired,
            tags={"group": self.group},
            own_tags={MANAGED: "true", "nodepkg:phase": "serving", RUN: self.run_id},
            subnets=self.launch.placement.ids,
            target_group_arns=self.target_groups,
            health_check_type=self.settings.health_check_type or ("ELB" if self.target_groups else "EC2"),
            health_check_grace_period=self.settings.health_check_grace_period,
        )


@dataclass(frozen=True)
class Start:
    """What starts groups, and the image of each."""

    actions: tuple[Action[Account], ...]
    images: Mapping[str, Image]


def plan_run(account: Account, groups: Sequence[Group], *, run_id: str, root: Path) -> Start:
    """What starts these groups; raises RefusedError, before anything is changed, if one of them cannot be."""
    regions = sorted({group.region for group in groups})
    running = running_groups(account, regions)
    images = {
        (region, name): made for region in regions for name, made in managed_images(Images(account, region)).items()
    }
    newest = {group.name: newest_available(images.get((group.region, group.name), [])) for group in groups}
    problems = refusals(groups, running, newest)
    if problems:
        raise RefusedError("\n".join(problems), hint=_HINT)
    from nodepkg.render.user_data import UserData  # only now, since Jinja2 takes as long as the first calls

    user_data, plan = UserData(root), list[Action[Account]]()
    for group in groups:
        image, settings = newest[group.name], group.settings.autoscale
        if image and settings:
            start = launch(account, group, image.id, user_data.text(group))
            targets = tuple(target_group_arns(account, group.region, settings.target_groups))
            plan.append(CreateTemplateVersion(start, f"{run_id}-{group.name}"[:64]))
            plan.append(CreateAutoScalingGroup(group.name, settings, start, targets, run_id))
    return Start(tuple(plan), {name: image for name, image in newest.items() if image})


def refusals(
    groups: Iterable[Group],
    running: Mapping[tuple[str, str], list[AutoScalingGroup]],
    newest: Mapping[str, Image | None],
) -> list[str]:
    """Why these groups cannot be started, a line for each that cannot."""
    problems = []
    for group in groups:
        if asgs := running.get((group.region, group.name)):
            problems.append(f"{group.name} runs already: {', '.join(asg.name for asg in asgs)}")
        elif newest.get(group.name) is None:
            problems.append(f"{group.name} has no image in {group.region} yet (package packer:run {group.name})")
    return problems


def running_groups(account: Account, regions: Iterable[str]) -> dict[tuple[str, str], list[AutoScalingGroup]]:
    """The ASGs that carry the tag `group`, whoever made them, by region and group: one listing a region."""
    found: dict[tuple[str, str], list[AutoScalingGroup]] = {}
    for region in regions:
        for asg in AutoScaling(account, region).groups():
            if "group" in asg.tags:
                found.setdefault((region, asg.tags["group"]), []).append(asg)
    return found
