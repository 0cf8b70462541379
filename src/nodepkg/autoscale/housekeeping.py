"""What is left to put in order when a rollout is over: older generations, template versions, the image's tag."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nodepkg.autoscale.steps import Change, DeleteAsg, OfAsg
from nodepkg.autoscale.view import Asg, View
from nodepkg.clients.aws.account import Account
from nodepkg.clients.aws.autoscaling import AutoScalingGroup
from nodepkg.clients.aws.images import Image, Images
from nodepkg.clients.aws.templates import LaunchTemplates, Template, TemplatePin, TemplateVersion
from nodepkg.errors import AwsError
from nodepkg.images.referrers import SERVED_TAG
from nodepkg.launch import MANAGED
from nodepkg.plan import Report

# What Launch.description is: versions that people have made, or described themselves, stay.
_DESCRIBED = re.compile(r"nodepkg [0-9a-f]{32}")


@dataclass(frozen=True)
class SetDefaultVersion(OfAsg):
    """`asg` runs this version of the launch template."""

    template: str
    version: int

    @property
    def changes(self) -> tuple[str, str]:
        return self.template, "default version"

    def __str__(self) -> str:
        return f"make {self.version} the default version of launch template {self.template}"

    def run(self, account: Account, /) -> Report:
        LaunchTemplates(account, self.region).set_default_version(self.template, self.version)
        return self._done()

    def shows_in(self, view: View) -> bool:
        return self not in view.housekeeping


@dataclass(frozen=True)
class DeleteTemplateVersions(OfAsg):
    template: str
    versions: tuple[int, ...]

    @property
    def changes(self) -> tuple[str, str]:
        return self.template, "versions"

    def __str__(self) -> str:
        return f"delete versions {', '.join(map(str, self.versions))} of launch template {self.template}"

    def run(self, account: Account, /) -> Report:
        """Raises AwsError with what EC2 has left."""
        left = LaunchTemplates(account, self.region).delete_versions(self.template, self.versions)
        if left:
            told = "; ".join(f"version {number}: {why}" for number, why in sorted(left.items()))
            raise AwsError(f"launch template {self.template}: not deleted: {told}", code="NotDeleted")
        return self._done()

    def shows_in(self, view: View) -> bool:
        return not any(
            isinstance(one, DeleteTemplateVersions) and set(one.versions) & set(self.versions)
            for one in view.housekeeping
        )


@dataclass(frozen=True)
class TagServed(OfAsg):
    """By this tag packer:clean keeps the latest images that have served: a rollback needs them."""

    image: str

    @property
    def changes(self) -> tuple[str, str]:
        return self.image, "served"

    def __str__(self) -> str:
        return f"note on image {self.image} that it has served"

    def run(self, account: Account, /) -> Report:
        Images(account, self.region).add_tags([self.image], {SERVED_TAG: "true"})
        return self._done()

    def shows_in(self, view: View) -> bool:
        return self not in view.housekeeping


def surplus(region: str, kept: Sequence[Asg], keep: int) -> tuple[Change, ...]:
    """Deletes the oldest of the kept generations, so that `keep` are left."""
    over = kept[: max(0, len(kept) - keep)]
    return tuple(DeleteAsg(region, asg.name) for asg in over if not asg.deleting)


def template_changes(
    region: str,
    running: AutoScalingGroup,
    template: Template | None,
    versions: Iterable[TemplateVersion],
    users: Iterable[AutoScalingGroup],
) -> tuple[Change, ...]:
    """Makes the running version the default; deletes those that nodepkg has made and nobody uses.

    `users` are all ASGs of the region, whosever they are: a version that one of them refers to stays.
    """
    number = running_version(running, template)
    if template is None or number is None:
        return ()
    default = [SetDefaultVersion(region, running.name, template.name, number)] if template.default != number else []
    pins = [pin for asg in users if not asg.status for pin in asg.pins if _is_of(pin, template)]
    used = {number, *(int(pin.version) for pin in pins if pin.version.isdigit())}
    if any(pin.version == "$Latest" for pin in pins):
        used.add(template.latest)
    unused = sorted(one.number for one in versions if one.number not in used and _DESCRIBED.fullmatch(one.description))
    deletion = [DeleteTemplateVersions(region, running.name, template.name, tuple(unused))] if unused else []
    return (*default, *deletion)


def running_version(asg: AutoScalingGroup, template: Template | None) -> int | None:
    """The version of this template of ours that the ASG pins by number; None if it is not, or has another."""
    pin = asg.template
    if template is None or pin is None or template.tags.get(MANAGED) != "true" or not _is_of(pin, template):
        return None
    return int(pin.version) if pin.version.isdigit() else None


def _is_of(pin: TemplatePin, template: Template) -> bool:
    return pin.id == template.id if pin.id else pin.name == template.name


def served(region: str, asg: str, image: Image | None) -> tuple[Change, ...]:
    return (TagServed(region, asg, image.id),) if image and SERVED_TAG not in image.tags else ()
