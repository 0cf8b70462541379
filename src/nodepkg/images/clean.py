"""packer:clean: the images of a group that nobody needs any more."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nodepkg.clients.aws.account import Account
from nodepkg.clients.aws.autoscaling import AutoScaling
from nodepkg.clients.aws.ec2 import Ec2, Image
from nodepkg.images.newest import belongs
from nodepkg.images.usage import Usage, images_in_use
from nodepkg.nodes.group import Group
from nodepkg.plan import Report


@dataclass(frozen=True)
class DeregisterImage:
    """An image to delete, with those of its snapshots that are ours and that no other image shares."""

    image: Image

    def __str__(self) -> str:
        count = len(self.image.snapshots)
        return f"deregister {self.image.name} ({self.image.id}) and its {count} snapshot{'s' * (count != 1)}"

    def run(self, ec2: Ec2, /) -> Report:
        ours = ec2.managed_snapshots(self.image.snapshots)
        ec2.deregister_image(self.image.id, with_snapshots=len(ours) == len(self.image.snapshots))
        gone = [snapshot for snapshot in ours if ec2.delete_snapshot(snapshot)]
        return {"image": self.image.id, "name": self.image.name, "snapshots": gone}


@dataclass(frozen=True)
class Verdict:
    """What becomes of one image, and why."""

    image: Image
    kept: bool
    why: str

    def document(self) -> dict[str, Any]:
        return {
            "image": self.image.id,
            "name": self.image.name,
            "created": self.image.created.isoformat(),
            "state": self.image.state,
            "kept": self.kept,
            "why": self.why,
        }


def judge(images: Sequence[Image], usage: Usage, *, keep: int) -> list[Verdict]:
    """A verdict on each image of one group, newest first.

    The newest `keep` available ones stay, and all that is in use; of the others only those go that
    are available or failed: a pending one is being made, a disabled one was put aside by somebody.
    """
    newest_first = sorted(images, key=lambda image: image.order, reverse=True)
    kept_for_age = {image.id for image in [image for image in newest_first if image.state == "available"][:keep]}
    verdicts = []
    for image in newest_first:
        if image.id in usage:
            verdicts.append(Verdict(image, True, f"in use by {', '.join(usage[image.id])}"))
        elif image.id in kept_for_age:
            verdicts.append(Verdict(image, True, f"one of the newest {keep}"))
        elif image.state not in ("available", "failed"):
            verdicts.append(Verdict(image, True, f"is {image.state}"))
        else:
            verdicts.append(
                Verdict(image, False, "failed" if image.state == "failed" else f"older than the newest {keep}")
            )
    return verdicts


def examine(account: Account, groups: Sequence[Group], *, keep: int) -> dict[str, list[Verdict]]:
    """The verdicts on all images of these groups, by region."""
    verdicts = {}
    for region in sorted({group.region for group in groups}):
        ec2 = Ec2(account, region)
        images = ec2.images()
        usage = images_in_use(ec2, AutoScaling(account, region), images)
        names = [group.name for group in groups if group.region == region]
        verdicts[region] = [
            verdict
            for name in names
            for verdict in judge([image for image in images if belongs(image, name)], usage, keep=keep)
        ]
    return verdicts


def spare_all_but(shown: set[str], verdicts: Mapping[str, list[Verdict]]) -> dict[str, list[Verdict]]:
    """The verdicts, of which only those that the user was shown and agreed to are carried out."""
    return {
        region: [
            verdict if verdict.kept or verdict.image.id in shown else Verdict(verdict.image, True, "not agreed to")
            for verdict in judged
        ]
        for region, judged in verdicts.items()
    }


def plan_clean(verdicts: Sequence[Verdict]) -> list[DeregisterImage]:
    """The oldest goes first: an interrupted run leaves the newer ones."""
    return [DeregisterImage(verdict.image) for verdict in reversed(verdicts) if not verdict.kept]
