"""What refers to which image: lists as AWS gives them, joined. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from nodepkg.clients.aws.autoscaling import AutoScalingGroup
from nodepkg.clients.aws.ec2 import Instance
from nodepkg.clients.aws.images import Image
from nodepkg.clients.aws.templates import TemplatePin, TemplateVersion
from nodepkg.images.newest import by_group, newest_available

ALIAS = "resolve:ssm:"
SERVED = "served"  # the reference that `nodepkg:served` makes
SERVED_TAG = "nodepkg:served"
SOURCE_TAG = "nodepkg:source_ami"


@dataclass(frozen=True)
class Referrers:
    """What a region has that may refer to images.

    `versions` of launch templates count by themselves, `pinned` ones only for the groups that pin them.
    `configurations` are launch configurations: name -> image.
    """

    instances: Sequence[Instance] = ()
    versions: Sequence[TemplateVersion] = ()
    pinned: Sequence[TemplateVersion] = ()
    configurations: Mapping[str, str] = field(default_factory=dict)
    groups: Sequence[AutoScalingGroup] = ()

    def version(self, pin: TemplatePin) -> TemplateVersion | None:
        """The version that a group means; None if it, or its template, is not here."""
        # A template that was deleted and made again under its name has another id.
        versions = self._by_template.get(("id", pin.id) if pin.id else ("name", pin.name), {})
        if pin.version == "$Latest":
            return versions[max(versions)] if versions else None
        if pin.version == "$Default":
            return next((version for version in versions.values() if version.default), None)
        return versions.get(int(pin.version)) if pin.version.isdecimal() else None

    @cached_property
    def _by_template(self) -> dict[tuple[str, str | None], dict[int, TemplateVersion]]:
        found: dict[tuple[str, str | None], dict[int, TemplateVersion]] = {}
        for version in (*self.versions, *self.pinned):
            for key in (("id", version.template_id), ("name", version.template)):
                found.setdefault(key, {})[version.number] = version
        return found

    def named(self) -> Iterator[tuple[str, str]]:
        """Each image, or `resolve:ssm:…`, with what names it."""
        for instance in sorted(self.instances, key=lambda instance: instance.id):
            yield instance.image, f"{instance.id} ({instance.state})"
        for version in sorted(self.versions, key=lambda version: (version.template, version.number)):
            yield version.image or "", _told(version)
        for name, image in sorted(self.configurations.items()):
            yield image, f"launch configuration {name}"
        for group in sorted(self.groups, key=lambda group: group.name):
            yield from self._named_by(group)

    def _named_by(self, group: AutoScalingGroup) -> Iterator[tuple[str, str]]:
        name = f"ASG {group.name}"
        if group.template and (version := self.version(group.template)):
            yield version.image or "", f"{name}: {_told(version)}"
        if image := self.configurations.get(group.launch_configuration or ""):
            yield image, f"{name}: launch configuration {group.launch_configuration}"
        for override in group.overrides:
            if override.template and (version := self.version(override.template)):
                yield version.image or "", f"override of {name}: {_told(version)}"
            if override.image:
                yield override.image, f"override of {name}: {override.image}"

    def counts(self) -> dict[str, int]:
        """How much was looked at."""
        return {
            "template versions": len({(one.template_id, one.number) for one in (*self.versions, *self.pinned)}),
            "launch configurations": len(self.configurations),
            "groups": len(self.groups),
            "instances": len(self.instances),
        }

    def aliases(self) -> dict[str, list[str]]:
        """Each `resolve:…` that is named, with what names it."""
        found: dict[str, dict[str, None]] = {}
        for image, by in self.named():
            if image.startswith("resolve:"):
                found.setdefault(image, {})[by] = None
        return {alias: list(by) for alias, by in found.items()}


def _told(version: TemplateVersion) -> str:
    return f"launch template {version.template} version {version.number}"


def references(
    images: Iterable[Image], known: Referrers, resolved: Mapping[str, str], *, keep_served: int
) -> dict[str, tuple[str, ...]]:
    """Image id -> what refers to it, without doubles, in an order that depends on nothing but what is there.

    `images` are all of the account's, `resolved` has the image of each `resolve:…` in `known`. The latest
    `keep_served` available images of each group that have served count, and the bases of other groups'
    current images: the newest available one of each group, and whatever is itself referred to.
    """
    found: dict[str, dict[str, None]] = {}
    for named, by in known.named():
        if image := resolved.get(named, named):
            found.setdefault(image, {})[by] = None
    everything = sorted(images, key=lambda image: image.order)
    groups = by_group(everything).values()
    for one in (served for made in groups for served in _latest_served(made, keep_served)):
        found.setdefault(one.id, {})[SERVED] = None
    _add_bases(found, everything, {newest.id for made in groups if (newest := newest_available(made))})
    return {image: tuple(by) for image, by in sorted(found.items())}


def _latest_served(images: Sequence[Image], number: int) -> Sequence[Image]:
    served = [image for image in images if SERVED_TAG in image.tags and image.state == "available"]
    return served[max(0, len(served) - number) :]


def _add_bases(found: dict[str, dict[str, None]], images: Sequence[Image], current: set[str]) -> None:
    """Adds the bases of images that are `current` or found, and the bases of those in turn."""
    by_id = {image.id: image for image in images}
    due = [image for image in images if image.id in current or image.id in found]
    seen = {image.id for image in due}
    added: dict[str, list[Image]] = {}
    for image in due:  # grows while it is walked
        base = by_id.get(image.tags.get(SOURCE_TAG, ""))
        if base is None or _same_group(image, base):
            continue
        added.setdefault(base.id, []).append(image)
        if base.id not in seen:
            seen.add(base.id)
            due.append(base)
    for base_id, built in added.items():
        for image in sorted(built, key=lambda image: image.order):
            group = f" (group {image.tags['group']})" if "group" in image.tags else ""
            found.setdefault(base_id, {})[f"base of {image.id}{group}"] = None


def _same_group(image: Image, base: Image) -> bool:
    return "group" in image.tags and image.tags["group"] == base.tags.get("group")
