"""group:status: which link of a group's chain is out of date, and the command that mends it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from nodepkg.autoscale.generations import Role, continuing, role, rollout
from nodepkg.autoscale.run import running_groups
from nodepkg.clients.aws.account import Account
from nodepkg.clients.aws.autoscaling import AutoScalingGroup
from nodepkg.clients.aws.images import Image, Images
from nodepkg.clients.aws.templates import LaunchTemplates
from nodepkg.images.due import (
    NoBaseError,
    Shown,
    current_digest,
    has_own_credentials,
    reason_to_build,
    show_region,
    stale_inputs,
)
from nodepkg.images.newest import belongs, newest_available
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
    """What AWS has for a group, in the eyes of packer:run, too."""

    shown: Shown
    running: tuple[Running, ...]

    @property
    def newest(self) -> Image | None:
        return self.shown.newest

    @property
    def serving(self) -> list[Running]:
        """Those that serve now: one, if nobody has meddled with the tags."""
        return [one for one in self.running if role(one.asg) is Role.SERVING]


def local(templates: PackerTemplates, group: Group) -> Local:
    root = templates.project.root
    states = {made.path: files.state(root, made) for made in group_artifacts(templates, group)}
    return Local(states, current_digest(templates, group), tuple(stale_inputs(templates, group)))


def remote(account: Account, templates: PackerTemplates, groups: Sequence[Group]) -> dict[str, Remote]:
    """Two listings for each region, one call for each group that runs, and those for the source images."""
    found = {}
    for region in sorted({group.region for group in groups}):
        launched, images = LaunchTemplates(account, region), Images(account, region)
        owned, running = images.owned(), running_groups(account, [region])
        here = [group for group in groups if group.region == region]
        visible = [group for group in here if not has_own_credentials(group)]
        # Of one that Packer builds with other credentials at least the digest can be told, if the image is shown.
        shown = {group.name: Shown(_newest(owned, group)) for group in here}
        shown |= show_region(images, templates, visible, owned)
        for group in here:
            asgs = tuple(Running(asg, _image(launched, asg)) for asg in running.get((region, group.name), []))
            found[group.name] = Remote(shown[group.name], asgs)
    return found


def due(here: Local, there: Remote) -> str:
    """Why packer:run would build the group, by itself; "" if its image is up to date."""
    return reason_to_build(there.shown, here.digest, None)


def next_command(group: Group, here: Local, there: Remote | None) -> str:
    """What to run next; "" if the chain is up to date as far as it can be seen."""
    if there and (under_way := rollout([one.asg for one in there.running])):
        return continuing(group.name, under_way[1])
    if here.state is not State.FRESH or here.stale_inputs:
        return f"package group:create {group.name}"
    if there is None:
        return ""
    if due(here, there):
        if isinstance(there.shown.missing, NoBaseError):
            return f"package packer:run {group.settings.source_group}"
        return f"package packer:run {group.name}"
    return _next_of_running(group, there) if group.settings.autoscale else ""


def _next_of_running(group: Group, there: Remote) -> str:
    """By the generation that serves; a group that is stopped gets its image when it is started and updated."""
    if not there.running:
        return f"package autoscale:run {group.name}"
    older = [one for one in there.serving if there.newest and one.image != there.newest.id]
    return f"package autoscale:update {group.name}" if older else ""


def document(group: Group, here: Local, there: Remote | None, now: datetime) -> dict[str, Any]:
    """One group's status as values; `image` is null where there is none, `due` where packer:run would build
    none; they and `asg` are absent where AWS was not asked."""
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
        }
        told["due"] = due(here, there) or None
        told["asg"] = [
            {
                "name": run.asg.name,
                "role": str(role(run.asg)),
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


def _newest(owned: Sequence[Image], group: Group) -> Image | None:
    return newest_available(image for image in owned if belongs(image, group.name))


def _image(templates: LaunchTemplates, asg: AutoScalingGroup) -> str | None:
    version = templates.pinned_version(asg.template) if asg.template else None
    return version.image if version else None
