"""EC2's images and their snapshots. Lists are read to their last page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from nodepkg.clients.aws.account import Account, aws_errors
from nodepkg.clients.aws.tags import Tags, filters, tags_of


@dataclass(frozen=True)
class Image:
    """A machine image. `created` is aware (UTC); `size_gb` is the sum of its volumes."""

    id: str
    name: str
    created: datetime
    state: str
    tags: Tags
    snapshots: tuple[str, ...] = ()
    size_gb: int = 0

    @property
    def order(self) -> tuple[datetime, str]:
        """Which of two images is newer: the creation date decides, then the id."""
        return (self.created, self.id)


@dataclass
class Images:
    """The images of one region."""

    account: Account
    region: str

    @property
    def client(self) -> Any:
        return self.account.client("ec2", self.region)

    def owned(self, tags: Tags | None = None) -> list[Image]:
        """The account's own images with all these tags, oldest first; disabled ones too."""
        pages = self._pages("describe_images", "Images", Owners=["self"], Filters=filters(tags), IncludeDisabled=True)
        return sorted((_image(raw) for raw in pages), key=lambda image: image.order)

    def image(self, image: str) -> Image | None:
        """The account's own image of this id, if there is one that is not deregistered."""
        wanted = [{"Name": "image-id", "Values": [image]}]
        pages = self._pages("describe_images", "Images", Owners=["self"], Filters=wanted, IncludeDisabled=True)
        return next((_image(raw) for raw in pages), None)

    def managed_snapshots(self, ids: Sequence[str]) -> list[str]:
        """Those of the snapshots that exist and that nodepkg manages."""
        if not ids:
            return []
        wanted = [{"Name": "snapshot-id", "Values": list(ids)}, *filters({"nodepkg:managed": "true"})]
        found = self._pages("describe_snapshots", "Snapshots", OwnerIds=["self"], Filters=wanted)
        return [raw["SnapshotId"] for raw in found]

    def deregister_image(self, image: str, *, with_snapshots: bool) -> None:
        """With its snapshots, as far as EC2 does that itself; one that is gone already is as good."""
        with aws_errors(f"deregister {image}"):
            try:
                self.client.deregister_image(ImageId=image, DeleteAssociatedSnapshots=with_snapshots)
            except self.client.exceptions.ClientError as error:
                if _code(error) not in ("InvalidAMIID.NotFound", "InvalidAMIID.Unavailable"):
                    raise

    def delete_snapshot(self, snapshot: str) -> bool:
        """False if another image uses it, and it stays; one that is gone already is as good as deleted."""
        with aws_errors(f"delete {snapshot}"):
            try:
                self.client.delete_snapshot(SnapshotId=snapshot)
            except self.client.exceptions.ClientError as error:
                if _code(error) == "InvalidSnapshot.InUse":
                    return False
                if _code(error) != "InvalidSnapshot.NotFound":
                    raise
        return True

    def _pages(self, operation: str, key: str, **arguments: Any) -> list[Any]:
        return self.account.pages("ec2", self.region, operation, key, **arguments)


def _code(error: Any) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _image(raw: Mapping[str, Any]) -> Image:
    volumes = [mapping["Ebs"] for mapping in raw.get("BlockDeviceMappings", []) if "Ebs" in mapping]
    return Image(
        id=raw["ImageId"],
        name=raw.get("Name", ""),
        created=datetime.fromisoformat(raw.get("CreationDate") or "1970-01-01T00:00:00+00:00"),
        state=raw.get("State", ""),
        tags=tags_of(raw),
        snapshots=tuple(volume["SnapshotId"] for volume in volumes if volume.get("SnapshotId")),
        size_gb=sum(volume.get("VolumeSize") or 0 for volume in volumes),
    )
