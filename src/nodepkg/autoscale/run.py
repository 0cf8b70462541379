"""autoscale:run: the first Auto Scaling group of a group, from its newest image."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from nodepkg.clients.aws.account import Account
from nodepkg.clients.aws.autoscaling import AutoScaling, AutoScalingGroup, NewGroup, target_group_arns
from nodepkg.clients.aws.ec2 import Ec2, Image
from nodepkg.errors import AwsError, RefusedError
from nodepkg.images.newest import managed_images, newest_available
from nodepkg.launch import MANAGED, CreateTemplateVersion, Launch, launch, version_of
from nodepkg.nodes.group import Group
from nodepkg.nodes.schema import Autoscale
from nodepkg.plan import Action, Report

_HINT = "package group:status shows what there is"


@dataclass(frozen=True)
class CreateAutoScalingGroup:
    """The ASG itself, tagged in the call that creates it."""

    group: str
    settings: Autoscale
    launch: Launch

    @property
    def name(self) -> str:
        return f"{self.group}-v001"

    def __str__(self) -> str:
        sizes = f"{self.settings.node_min} to {self.settings.most} nodes, {self.settings.desired} to begin with"
        return f"create Auto Scaling group {self.name} ({sizes})"

    def run(self, account: Account, /) -> Report:
        new = self._new_group(version_of(account, self.launch), self._target_groups(account))
        try:
            AutoScaling(account, self.launch.region).create_group(new)
        except AwsError as error:
            if error.code == "AlreadyExists":
                raise RefusedError(f"{self.name} exists already in {self.launch.region}", hint=_HINT) from error
            raise
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

    def _new_group(self, version: int, target_groups: Sequence[str]) -> NewGroup:
        return NewGroup(
            name=self.name,
            template=self.launch.template,
            version=version,
            min=self.settings.node_min,
            max=self.settings.most,
            desired=self.settings.desired,
            tags={"group": self.group},
            own_tags={MANAGED: "true", "nodepkg:phase": "serving"},
            subnets=self.launch.placement.ids,
            target_group_arns=target_groups,
            health_check_type=self.settings.health_check_type or ("ELB" if target_groups else "EC2"),
            health_check_grace_period=self.settings.health_check_grace_period,
        )

    def _target_groups(self, account: Account) -> list[str]:
        return target_group_arns(account, self.launch.region, self.settings.target_groups)


def plan_run(account: Account, groups: Sequence[Group]) -> list[Action[Account]]:
    """What starts these groups; raises RefusedError, before anything is changed, if one of them cannot be."""
    regions = sorted({group.region for group in groups})
    running = {name: asgs for region in regions for name, asgs in running_groups(account, region).items()}
    images = {(region, name): made for region in regions for name, made in managed_images(Ec2(account, region)).items()}
    newest = {group.name: newest_available(images.get((group.region, group.name), [])) for group in groups}
    problems = refusals(groups, running, newest)
    if problems:
        raise RefusedError("\n".join(problems), hint=_HINT)
    plan: list[Action[Account]] = []
    for group in groups:
        image, settings = newest[group.name], group.settings.autoscale
        if image and settings:
            start = launch(account, group, image.id)
            plan += [CreateTemplateVersion(start), CreateAutoScalingGroup(group.name, settings, start)]
    return plan


def refusals(
    groups: Iterable[Group], running: Mapping[str, list[AutoScalingGroup]], newest: Mapping[str, Image | None]
) -> list[str]:
    """Why these groups cannot be started, a line for each that cannot."""
    problems = []
    for group in groups:
        if running.get(group.name):
            names = ", ".join(asg.name for asg in running[group.name])
            problems.append(f"{group.name} runs already: {names}")
        elif newest.get(group.name) is None:
            problems.append(f"{group.name} has no image in {group.region} yet (package packer:run {group.name})")
    return problems


def running_groups(account: Account, region: str) -> dict[str, list[AutoScalingGroup]]:
    """The ASGs that carry the tag `group`, whoever made them, by group: one listing for all."""
    found: dict[str, list[AutoScalingGroup]] = {}
    for asg in AutoScaling(account, region).groups():
        if "group" in asg.tags:
            found.setdefault(asg.tags["group"], []).append(asg)
    return found
