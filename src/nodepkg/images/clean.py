"""packer:clean: the images of a group that nobody needs any more."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from nodepkg.clients.aws.account import Account
from nodepkg.clients.aws.images import Image, Images
from nodepkg.images.newest import belongs
from nodepkg.images.usage import picture
from nodepkg.nodes.group import Group
from nodepkg.plan import Report

Usage = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class DeregisterImage:
    """An image to delete, with those of its snapshots that are ours and that no other image shares."""

    image: Image
    region: str

    def __str__(self) -> str:
        count = len(self.image.snapshots)
        return f"deregister {self.image.name} ({self.image.id}) and its {count} snapshot{'s' * (count != 1)}"

    def run(self, account: Account, /) -> Report:
        images = Images(account, self.region)
        done = images.deregister_image(self.image.id)
        gone = [snapshot for snapshot in self.image.snapshots if snapshot in done or images.delete_snapshot(snapshot)]
        return {"image": self.image.id, "name": self.image.name, "snapshots": gone}


@dataclass(frozen=True)
class Verdict:
    """What becomes of one image, and why."""

    image: Image
    region: str
    kept: bool
    why: str

    @property
    def word(self) -> str:
        return "keep" if self.kept else "delete"

    def document(self) -> dict[str, Any]:
        return {
            "image": self.image.id,
            "name": self.image.name,
            "created": self.image.created.isoformat(),
            "state": self.image.state,
            "kept": self.kept,
            "why": self.why,
        }


def judge(images: Sequence[Image], usage: Usage, *, keep: int, region: str) -> list[Verdict]:
    """A verdict on each image of one group, newest first.

    The newest `keep` available ones stay, and all that is in use; of the others only those go that
    are available or failed: a pending one is being made, a disabled one was put aside by somebody.
    """
    newest_first = sorted(images, key=lambda image: image.order, reverse=True)
    newest = {image.id for image in [image for image in newest_first if image.state == "available"][:keep]}
    return [Verdict(image, region, *_judgement(image, usage, newest, keep)) for image in newest_first]


def _judgement(image: Image, usage: Usage, newest: set[str], keep: int) -> tuple[bool, str]:
    if image.id in usage:
        return True, f"in use by {', '.join(usage[image.id])}"
    if image.id in newest:
        return True, f"one of the newest {keep}"
    if image.state not in ("available", "failed"):
        return True, f"is {image.state}"
    return False, "failed" if image.state == "failed" else f"not among the newest {keep}"


def examine(account: Account, groups: Sequence[Group], *, keep: int) -> list[Verdict]:
    """The verdicts on all images of these groups."""
    verdicts: list[Verdict] = []
    for region in sorted({group.region for group in groups}):
        usage = picture(account, region)
        for group in groups:
            if group.region == region:
                own = [image for image in usage.images if belongs(image, group.name)]
                verdicts += judge(own, usage.references, keep=keep, region=region)
    return verdicts


def agreed(shown: Sequence[Verdict], now: Sequence[Verdict]) -> list[Verdict]:
    """The verdicts of now, of which only those deletions stand that the user was shown and agreed to."""
    known = {verdict.image.id for verdict in shown if not verdict.kept}
    return [
        verdict if verdict.kept or verdict.image.id in known else replace(verdict, kept=True, why="not agreed to")
        for verdict in now
    ]


def plan_clean(verdicts: Sequence[Verdict]) -> list[DeregisterImage]:
    """The oldest goes first: an interrupted run leaves the newer ones."""
    return [DeregisterImage(verdict.image, verdict.region) for verdict in reversed(verdicts) if not verdict.kept]
