"""group:status: which link of a group's chain is out of date, and the command that mends it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from nodepkg.autoscale.run import running_groups
from nodepkg.clients.aws.account import Account
from nodepkg.clients.aws.autoscaling import AutoScalingGroup
from nodepkg.clients.aws.images import Image, Images
from nodepkg.clients.aws.templates import LaunchTemplates
from nodepkg.images.due import current_digest, stale_inputs
from nodepkg.images.newest import managed_images, newest_available
from nodepkg.nodes.group import Group
from nodepkg.render import files
from nodepkg.render.files import State
from nodepkg.render.group import group_artifacts
from nodepkg.render.packer import PackerTemplates


@dataclass(frozen=True)
class Local:
    """What is on disk for a group: each artefact's state, and whether Packer would read something stale."""

    artifacts: dict[str, State]
    digest: str
    stale_inputs: tuple[str, ...] = ()

    @property
    def state(self) -> State:
        """The worst of its artefacts'."""
        for worst in (State.MISSING, State.STALE):
            if worst in self.artifacts.values():
                return worst
        return State.FRESH


@dataclass(frozen=True)
class Running:
    """An Auto Scaling group and the image that its launch template names."""

    asg: AutoScalingGroup
    image: str | None


@dataclass(frozen=True)
class Remote:
    """What AWS has for a group."""

    newest: Image | None
    running: tuple[Running, ...]
    base: str | None = None
    base_image: Image | None = None

    @property
    def base_changed(self) -> bool:
        """Whether the newest image was made from another one than its base group's newest."""
        newest, base = self.newest, self.base_image
        return newest is not None and base is not None and newest.tags.get("nodepkg:source_ami") != base.id


def local(templates: PackerTemplates, group: Group) -> Local:
    root = templates.project.root
    states = {made.path: files.state(root, made) for made in group_artifacts(templates, group)}
    return Local(states, current_digest(templates, group), tuple(stale_inputs(templates, group)))


def remote(account: Account, groups: Sequence[Group]) -> dict[str, Remote]:
    """Two listings for each region, and one call for each group that runs."""
    found = {}
    for region in sorted({group.region for group in groups}):
        templates = LaunchTemplates(account, region)
        images, running = managed_images(Images(account, region)), running_groups(account, [region])
        for group in groups:
            if group.region == region:
                asgs = tuple(Running(asg, _image(templates, asg)) for asg in running.get((region, group.name), []))
                base = group.settings.source_group
                base_image = newest_available(images.get(base, [])) if base else None
                found[group.name] = Remote(newest_available(images.get(group.name, [])), asgs, base, base_image)
    return found


def next_command(group: Group, here: Local, there: Remote | None) -> str:
    """What to run next; "" if the chain is up to date as far as it can be seen."""
    if here.state is not State.FRESH or here.stale_inputs:
        return f"package group:create {group.name}"
    if there is None:
        return ""
    if there.base and there.base_image is None:
        return f"package packer:run {there.base}"
    if there.newest is None or there.newest.tags.get("nodepkg:digest") != here.digest or there.base_changed:
        return f"package packer:run {group.name}"
    if group.settings.autoscale and not there.running:
        return f"package autoscale:run {group.name}"
    return ""


def document(group: Group, here: Local, there: Remote | None, now: datetime) -> dict[str, Any]:
    """One group's status as values; `image` and `asg` are null where there is none, absent where AWS was not asked."""
    told: dict[str, Any] = {
        "group": group.name,
        "region": group.region,
        "artifacts": {path: str(state) for path, state in here.artifacts.items()},
        "state": str(here.state),
        "digest": here.digest,
    }
    if there is not None:
        newest = there.newest
        told["image"] = newest and {
            "id": newest.id,
            "name": newest.name,
            "age_seconds": int((now - newest.created).total_seconds()),
            "digest": newest.tags.get("nodepkg:digest"),
            "current": newest.tags.get("nodepkg:digest") == here.digest,
            "base_changed": there.base_changed,
        }
        told["asg"] = [
            {
                "name": run.asg.name,
                "image": run.image,
                "newest": newest is not None and run.image == newest.id,
                "min": run.asg.min,
                "max": run.asg.max,
                "desired": run.asg.desired,
                "in_service": sum(member.lifecycle == "InService" for member in run.asg.members),
            }
            for run in there.running
        ]
    return {**told, "next": next_command(group, here, there) or None}


def _image(templates: LaunchTemplates, asg: AutoScalingGroup) -> str | None:
    version = templates.pinned_version(asg.template) if asg.template else None
    return version.image if version else None
