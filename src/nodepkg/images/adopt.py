"""packer:adopt: an image that Packer made, and that does not count yet, becomes an image of its group."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from nodepkg.clients.aws.account import Account
from nodepkg.clients.aws.images import Image, Images
from nodepkg.clients.aws.tags import Tags
from nodepkg.errors import RefusedError, UsageError
from nodepkg.images.journal import Record
from nodepkg.images.newest import MANAGED
from nodepkg.plan import Report

_IMAGE_SNAPSHOT = {"nodepkg:image-snapshot": "true"}


@dataclass(frozen=True)
class AdoptImage:
    """The tags by which an image counts, on it and on its snapshots."""

    image: Image
    region: str
    group: str
    tags: Tags

    def __str__(self) -> str:
        return f"adopt {self.image.id} ({self.image.name}) as an image of {self.group}"

    def run(self, account: Account, /) -> Report:
        """The image last: one that is half adopted does not count, and is adopted by the next try."""
        images = Images(account, self.region)
        if self.image.snapshots:
            images.add_tags(self.image.snapshots, {**self.tags, **_IMAGE_SNAPSHOT})
        images.add_tags([self.image.id], self.tags)
        return self.document(adopted=True)

    @property
    def all_tags(self) -> Tags:
        """What the image is tagged with when it is adopted."""
        return {**self.image.tags, **self.tags}

    def document(self, *, adopted: bool) -> Report:
        tags = self.all_tags
        return {
            "group": self.group,
            "image": self.image.id,
            "name": self.image.name,
            "region": self.region,
            "adopted": adopted,
            "digest": tags.get("nodepkg:digest"),
            "commit": tags.get("nodepkg:commit"),
            "source": tags.get("nodepkg:source_ami"),
            "snapshots": list(self.image.snapshots),
        }


def adopt(account: Account, region: str, image: Image, group: str, *, tags: Tags, record: Record | None) -> Report:
    """Makes the image count as one of the group. Raises RefusedError, AwsError.

    `tags` are the group's own; `record` is the build that made the image, None if it is not known.
    """
    check(image, group)
    return plan_adoption(region, image, group, tags=tags, record=record).run(account)


def require_image(images: Images, image: str) -> Image:
    """The account's own image of this id; raises RefusedError if there is none."""
    if not re.fullmatch(r"ami-[0-9a-f]+", image):
        raise UsageError(f"{image} is no id of an image", hint="an id is written ami-0a1b2c3d")
    found = images.image(image)
    if found is None:
        raise RefusedError(
            f"{image} is no image of this account in {images.region}",
            hint="one of another account has to be copied first: aws ec2 copy-image",
        )
    return found


def check(image: Image, group: str) -> None:
    """Raises RefusedError, with what to do, for an image that cannot be one of the group."""
    shown = f"{image.id} ({image.name})"
    owner = image.tags.get("group")
    if owner not in (None, group):
        raise RefusedError(
            f"{shown} is an image of {owner}", hint=f"one of {group} is built by: package packer:run {group}"
        )
    if image.state == "pending":
        raise RefusedError(
            f"{shown} is still pending: it can be adopted when it is available",
            hint=f"aws ec2 wait image-available --image-ids {image.id}, and the same command again",
        )
    if image.state == "failed":
        raise RefusedError(f"{shown} has failed, and never becomes available", hint=f"package packer:run {group}")
    if image.state != "available":
        raise RefusedError(f"{shown} is {image.state}: only an available image can be adopted")


def plan_adoption(region: str, image: Image, group: str, *, tags: Tags, record: Record | None) -> AdoptImage:
    """What adopts it. Of what nothing is known here, the image keeps what it says itself."""
    source, commit, digest = (record.source, record.commit, record.digest) if record else (None, None, None)
    known = {"nodepkg:source_ami": source, "nodepkg:commit": commit, "nodepkg:digest": digest}
    own = {**tags, "group": group, **MANAGED, **{key: value for key, value in known.items() if value}}
    return AdoptImage(image, region, group, own)


def record_of(image: Image, group: str, region: str, records: Iterable[Record]) -> Record | None:
    """The build that made the image: Packer named the id, or else the name, which no two images of a region share."""
    own = [record for record in records if (record.group, record.region) == (group, region)]
    by_id = [record for record in own if record.image == image.id]
    # A name may be used again when the image that had it is gone: an image is no older than its build.
    by_name = [
        record
        for record in own
        if record.image in (None, image.id)
        and record.image_name == image.name
        and record.started <= image.created.timestamp() + 300
    ]
    return next(iter([*by_id, *reversed(by_name)]), None)
