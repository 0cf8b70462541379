"""EC2's images and their snapshots. Lists are read to their last page."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from nodepkg.clients.aws.account import aws_errors
from nodepkg.clients.aws.regional import Regional, in_parts, unless
from nodepkg.clients.aws.tags import Tags, filters, tag_list, tags_of

PAGE = {"PageSize": 1000}  # the most that EC2 gives of images and snapshots
FILTER_VALUES = 200  # the most that one filter may have
UNDATED = datetime.fromtimestamp(0, UTC)  # stands for the date of an image of which EC2 tells none
_GONE = ("InvalidAMIID.NotFound", "InvalidAMIID.Unavailable")


@dataclass(frozen=True)
class Image:
    """A machine image. `created` is aware (UTC), or UNDATED; `size_gb` is the sum of its volumes.

    `protected`: EC2 refuses to deregister it (DeregistrationProtection).
    """

    id: str
    name: str
    created: datetime
    state: str
    tags: Tags
    snapshots: tuple[str, ...] = ()
    size_gb: int = 0
    protected: bool = False

    @property
    def order(self) -> tuple[datetime, str]:
        """Which of two images is newer: the creation date decides, then the id."""
        return (self.created, self.id)


@dataclass(frozen=True)
class Snapshot:
    """A snapshot of a volume. `started` is aware (UTC); `size_gb` is the volume's size."""

    id: str
    started: datetime
    tags: Tags
    size_gb: int
    description: str


class Images(Regional):
    """The images of one region."""

    def owned(self, tags: Tags | None = None) -> list[Image]:
        """The account's own images with all these tags, oldest first; disabled ones too."""
        return self._listed(["self"], filters(tags))

    def image(self, image: str) -> Image | None:
        """The account's own image of this id, if there is one that is not deregistered."""
        return next(iter(self._listed(["self"], _wanted("image-id", image))), None)

    def visible(self, image: str) -> Image | None:
        """The image of this id, whoever owns it; None if there is none that we may see."""
        return next(iter(self._listed([], _wanted("image-id", image))), None)

    def named(self, name: str) -> list[Image]:
        """The account's own images of exactly this name, oldest first."""
        found = self._listed(["self"], _wanted("name", name))  # in a filter, * and ? stand for others
        return [image for image in found if image.name == name]

    def newest(self, owners: Sequence[str], name: str) -> Image | None:
        """The newest available image of these owners (ids, `self`, `amazon`) whose name the pattern (*, ?) fits."""
        found = self._listed(owners, [*_wanted("name", name), *_wanted("state", "available")])
        return found[-1] if found else None

    def owned_of(self, ids: Iterable[str]) -> list[Image]:
        """The account's own images of these ids, oldest first."""
        parts = in_parts(sorted(set(ids)), FILTER_VALUES)
        return [image for part in parts for image in self._listed(["self"], _wanted("image-id", *part))]

    def existing(self, ids: Iterable[str]) -> set[str]:
        """Those of the ids of which there is an image that we may see, whoever owns it."""
        parts = in_parts(sorted(set(ids)), FILTER_VALUES)
        return {image.id for part in parts for image in self._listed([], _wanted("image-id", *part))}

    def launch_permissions(self, image: str) -> list[str]:
        """Whom the image is shared with, for people; nobody if it is gone."""
        with unless(f"launch permissions of {image}", *_GONE):
            told = self.client.describe_image_attribute(ImageId=image, Attribute="launchPermission")
            return sorted(_shared_with(raw) for raw in told.get("LaunchPermissions", []))
        return []

    def snapshots(self, tags: Tags) -> list[Snapshot]:
        """The account's own snapshots with all these tags, oldest first."""
        found = self.pages(
            "describe_snapshots", "Snapshots", OwnerIds=["self"], Filters=filters(tags), PaginationConfig=PAGE
        )
        unique = {raw["SnapshotId"]: _snapshot(raw) for raw in found}
        return sorted(unique.values(), key=lambda snapshot: (snapshot.started, snapshot.id))

    def deregister_image(self, image: str) -> set[str]:
        """Deletes the image, with its snapshots as far as EC2 does that itself; one that is gone already is as good.

        Gives the snapshots that EC2 has seen to: deleted, or left since another image has them, too.
        """
        with unless(f"deregister {image}", *_GONE):
            told = self.client.deregister_image(ImageId=image, DeleteAssociatedSnapshots=True)
            results = told.get("DeleteSnapshotResults", [])
            return {raw["SnapshotId"] for raw in results if raw.get("ReturnCode") in ("success", "skipped")}
        return set()

    def delete_snapshot(self, snapshot: str) -> bool:
        """False if another image uses it, and it stays; one that is gone already is as good as deleted."""
        with unless(f"delete {snapshot}", "InvalidSnapshot.InUse"):
            with unless(f"delete {snapshot}", "InvalidSnapshot.NotFound"):
                self.client.delete_snapshot(SnapshotId=snapshot)
            return True
        return False

    def add_tags(self, ids: Sequence[str], tags: Tags) -> None:
        """To images and snapshots; a tag that is there already gets the new value."""
        with aws_errors(f"tag {', '.join(ids)}"):
            self.client.create_tags(Resources=list(ids), Tags=tag_list(tags))

    def _listed(self, owners: Sequence[str], wanted: Sequence[Mapping[str, Any]]) -> list[Image]:
        """Oldest first, disabled ones too; no owners: of everybody."""
        asked: dict[str, Any] = {"Owners": list(owners)} if owners else {}
        pages = self.pages(
            "describe_images", "Images", **asked, Filters=list(wanted), IncludeDisabled=True, PaginationConfig=PAGE
        )
        # What changes between two pages may be on both of them, and must not count twice among the newest.
        unique = {raw["ImageId"]: _image(raw) for raw in pages}
        return sorted(unique.values(), key=lambda image: image.order)


def _wanted(name: str, *values: str) -> list[dict[str, Any]]:
    return [{"Name": name, "Values": list(values)}]


def _shared_with(raw: Mapping[str, str]) -> str:
    for key, word in (
        ("UserId", "account"),
        ("OrganizationArn", "organization"),
        ("OrganizationalUnitArn", "organizational unit"),
    ):
        if raw.get(key):
            return f"{word} {raw[key]}"
    return "everybody"  # the only group that there is: all


def _image(raw: Mapping[str, Any]) -> Image:
    volumes = [mapping["Ebs"] for mapping in raw.get("BlockDeviceMappings", []) if "Ebs" in mapping]
    return Image(
        id=raw["ImageId"],
        name=raw.get("Name", ""),
        created=_date(raw.get("CreationDate")),
        state=raw.get("State") or "unknown",
        tags=tags_of(raw),
        snapshots=tuple(volume["SnapshotId"] for volume in volumes if volume.get("SnapshotId")),
        size_gb=sum(volume.get("VolumeSize") or 0 for volume in volumes),
        protected=raw.get("DeregistrationProtection", "disabled") != "disabled",
    )


def _date(told: str | None) -> datetime:
    date = datetime.fromisoformat(told) if told else UNDATED
    return date if date.tzinfo else date.replace(tzinfo=UTC)


def _snapshot(raw: Mapping[str, Any]) -> Snapshot:
    return Snapshot(
        id=raw["SnapshotId"],
        started=raw["StartTime"],
        tags=tags_of(raw),
        size_gb=raw.get("VolumeSize") or 0,
        description=raw.get("Description", ""),
    )
