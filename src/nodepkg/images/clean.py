"""packer:clean: which images, and which snapshots that images left behind, nobody needs any more. Pure."""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from nodepkg.clients.aws.images import UNDATED, Image, Snapshot
from nodepkg.images.newest import MANAGED, by_group
from nodepkg.images.referrers import SERVED
from nodepkg.images.usage import Usage

KEEP_TAG = "nodepkg:keep"
# EC2 lists a snapshot before it lists the image that is being made of it.
ORPHAN_AGE = timedelta(hours=1)
_MOST_TOLD = 5
_UNITS = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))


@dataclass(frozen=True)
class Verdict:
    """What becomes of one image, and why."""

    image: Image
    group: str
    region: str
    kept: bool
    why: str

    @property
    def word(self) -> str:
        return "kept" if self.kept else "deleted"

    def document(self, now: datetime) -> dict[str, Any]:
        return {
            "image": self.image.id,
            "name": self.image.name,
            "group": self.group,
            "region": self.region,
            "created": self.image.created.isoformat(),
            "age_seconds": max(0, int((now - self.image.created).total_seconds())),
            "size_gb": self.image.size_gb,
            "state": self.image.state,
            "kept": self.kept,
            "why": self.why,
        }


@dataclass(frozen=True)
class Orphan:
    """A snapshot of which the image is gone."""

    snapshot: Snapshot
    region: str

    @property
    def why(self) -> str:
        of = ", ".join(images_of(self.snapshot))
        return f"its image {of} is gone" if of else "no image has it"

    def document(self) -> dict[str, Any]:
        return {
            "snapshot": self.snapshot.id,
            "group": self.snapshot.tags["group"],
            "region": self.region,
            "started": self.snapshot.started.isoformat(),
            "size_gb": self.snapshot.size_gb,
            "why": self.why,
        }


@dataclass(frozen=True)
class Judgement:
    """What follows from one picture of a region: a verdict on each image of the groups, and what they left behind."""

    usage: Usage
    verdicts: tuple[Verdict, ...]
    orphans: tuple[Orphan, ...] = ()

    @cached_property
    def of(self) -> Mapping[str, Verdict]:
        """The verdicts by image."""
        return {verdict.image.id: verdict for verdict in self.verdicts}

    @property
    def doomed(self) -> list[Verdict]:
        """The oldest first: an interrupted run leaves the newer ones."""
        return sorted((verdict for verdict in self.verdicts if not verdict.kept), key=lambda one: one.image.order)

    @property
    def frees_gb(self) -> int:
        """The sizes of what goes; of a volume whose snapshot stays, or is shared, only as far as its size is known."""
        gone = {verdict.image.id for verdict in self.doomed}
        staying = {one for image in self.usage.images if image.id not in gone for one in image.snapshots}
        sizes = {snapshot.id: snapshot.size_gb for snapshot in self.usage.snapshots}
        mentioned = Counter(one for verdict in self.doomed for one in verdict.image.snapshots)
        counted_too_often = sum((times - (one not in staying)) * sizes.get(one, 0) for one, times in mentioned.items())
        whole = sum(verdict.image.size_gb for verdict in self.doomed)
        return max(0, whole - counted_too_often) + sum(orphan.snapshot.size_gb for orphan in self.orphans)


@dataclass(frozen=True)
class Rules:
    """What a clean-up was asked for. `groups` has the names by region; ages count from `now` (aware)."""

    groups: Mapping[str, Collection[str]]
    keep: int
    now: datetime
    older_than: timedelta = timedelta()

    def judge(self, usage: Usage) -> Judgement:
        """What follows for the region of this picture, newest images first within each group."""
        groups = self.groups.get(usage.region, ())
        images = by_group(usage.images)
        verdicts = [
            verdict
            for group in groups
            for verdict in judge(
                images.get(group, []), usage, group=group, keep=self.keep, older_than=self.older_than, now=self.now
            )
        ]
        return Judgement(usage, tuple(verdicts), tuple(orphans(usage, groups, self.older_than, self.now)))


def judge(
    images: Iterable[Image], usage: Usage, *, group: str, keep: int, older_than: timedelta, now: datetime
) -> list[Verdict]:
    """A verdict on each image of one group, newest first.

    The newest `keep` available ones stay, and all that is in use; of the others only those go that are available
    or failed, unprotected, untagged and old enough.
    """
    newest_first = sorted(images, key=lambda image: image.order, reverse=True)
    newest = {image.id for image in [image for image in newest_first if image.state == "available"][:keep]}

    def verdict(image: Image) -> Verdict:
        why = obstacle(image, usage.references.get(image.id, ()))
        if not why and image.id in newest:
            why = f"one of the newest {keep}"
        if not why and image.created == UNDATED and image.state == "available":
            why = "has no creation date: whether it is among the newest is not known"
        if not why and now - image.created < older_than:
            why = f"younger than {written(older_than)}"
        gone = "failed" if image.state == "failed" else f"not among the newest {keep}"
        return Verdict(image, group, usage.region, bool(why), why or gone)

    return [verdict(image) for image in newest_first]


def obstacle(image: Image, references: Sequence[str]) -> str:
    """Why an image must not go whatever was asked for; empty if nothing forbids it."""
    if image.state not in ("available", "failed"):
        return f"is {image.state}" + (f", {in_use(references)}" if references else "")
    if references:
        return in_use(references)
    if image.protected:
        return "is protected from deregistration"
    if KEEP_TAG in image.tags:
        return f"tagged {KEEP_TAG}"
    return ""


def in_use(references: Sequence[str]) -> str:
    """What refers to an image, in words: all of it, unless that is very much."""
    bases = [one for one in references if one.startswith("base of ")]
    by = [one for one in references if one != SERVED and one not in bases]
    told = [f"in use by {_some(by)}"] if by else []
    told += [_some(bases)] if bases else []
    return "; ".join([*told, "served: a rollback needs it"] if SERVED in references else told)


def _some(words: Sequence[str]) -> str:
    more = len(words) - _MOST_TOLD
    return ", ".join(words[:_MOST_TOLD]) + (f" and {more} more" if more > 0 else "")


def shared(permissions: Sequence[str]) -> str:
    """Why an image with these launch permissions stays."""
    return f"shared with {', '.join(permissions)}"


def orphans(usage: Usage, groups: Collection[str], older_than: timedelta, now: datetime) -> list[Orphan]:
    """The snapshots that Packer made for images of these groups, and of which the image is gone; oldest first."""
    used = {snapshot for image in usage.images for snapshot in image.snapshots}
    existing = {image.id for image in usage.images}
    # What a pending image is made of is not always listed with it yet.
    being_made = {image.tags.get("group") for image in usage.images if image.state == "pending"}

    def left_behind(snapshot: Snapshot) -> bool:
        images = images_of(snapshot)
        return not existing.intersection(images) and (bool(images) or snapshot.tags["group"] not in being_made)

    return [
        Orphan(snapshot, usage.region)
        for snapshot in usage.snapshots
        if snapshot.tags.get("group") in groups
        and snapshot.tags.items() >= MANAGED.items()
        and snapshot.id not in used
        and now - snapshot.started > max(ORPHAN_AGE, older_than)
        and left_behind(snapshot)
    ]


def images_of(snapshot: Snapshot) -> list[str]:
    """The images that EC2 says the snapshot was made for: "Created by CreateImage(i-…) for ami-…"."""
    return re.findall(r"\bami-[0-9a-f]+\b", snapshot.description)


def too_many(judgements: Iterable[Judgement], most: int) -> str | None:
    """Why a plan of this size is refused, or None if it is not."""
    images = orphaned = 0
    for judgement in judgements:
        images, orphaned = images + len(judgement.doomed), orphaned + len(judgement.orphans)
    if images + orphaned <= most:
        return None
    told = f"{images} image{'s' * (images != 1)}"
    told += f" and {orphaned} orphaned snapshot{'s' * (orphaned != 1)}" if orphaned else ""
    return f"the plan deletes {told}, more than --max-delete {most}: nothing is deleted"


def written(span: timedelta) -> str:
    """`14d`, `1d12h`: a span as the command line takes it."""
    left, parts = int(span.total_seconds()), []
    for unit, length in _UNITS:
        if left >= length:
            parts.append(f"{left // length}{unit}")
            left %= length
    return "".join(parts) or "0s"
