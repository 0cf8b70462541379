"""Snapshots and the images that are made of them: moto gives every image one snapshot of 15 GB and no other."""

import threading
from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Any

from moto.core.responses import ActionResult
from moto.ec2.exceptions import InvalidParameterCombination, InvalidSnapshotInUse
from moto.ec2.models.amis import Ami
from moto.ec2.models.elastic_block_store import EBSBackend, Snapshot
from moto.ec2.responses.elastic_block_store import ElasticBlockStore
from moto.ec2.utils import random_snapshot_id

from nodepkg.sandbox.moto_pages import paged, told_tags

Devices = Sequence[tuple[str, Snapshot]]

# moto knows no locks; a name is claimed, and a snapshot found unused, by one request at a time.
LOCK = threading.RLock()


def devices_of(image: Ami) -> Devices:
    """The image's volumes, root first: device names and the snapshots that they are made from."""
    devices: Devices = vars(image).get("devices", ())
    return devices or [(image.root_device_name, image.ebs_snapshot)]


def set_devices(image: Ami, devices: Devices) -> None:
    """In place of the snapshot that moto made."""
    if image.ebs_snapshot not in [snapshot for _, snapshot in devices]:
        image.ec2_backend.snapshots.pop(image.ebs_snapshot.id, None)
    image.root_device_name, image.ebs_snapshot = devices[0]
    vars(image)["devices"] = tuple(devices)


def users_of(backend: Any, snapshot: Snapshot) -> list[str]:
    """The ids of the images that refer to a snapshot."""
    images = list(backend.amis.values())
    return [image.id for image in images if any(one is snapshot for _, one in devices_of(image))]


def add_snapshot(backend: Any, volume: Any, description: str, owner: str | None = None) -> Snapshot:
    """Of anything with an id, a size and `encrypted`, which need not be a volume that (still) exists."""
    snapshot = Snapshot(backend, random_snapshot_id(), volume, description, volume.encrypted, owner_id=owner)
    backend.snapshots[snapshot.id] = snapshot
    return snapshot


def delete_unless_shared(backend: Any, snapshots: Iterable[Snapshot]) -> list[dict[str, str]]:
    """Those that no image refers to; the answer is what DeregisterImage tells of each."""
    used = {one.id for image in list(backend.amis.values()) for _, one in devices_of(image)}
    results = []
    for snapshot in snapshots:
        if snapshot.id not in used:
            backend.snapshots.pop(snapshot.id, None)
        results.append({"SnapshotId": snapshot.id, "ReturnCode": "skipped" if snapshot.id in used else "success"})
    return results


def _block_device_mappings(self: Ami) -> list[dict[str, Any]]:
    return [
        {
            "DeviceName": name,
            "Ebs": {
                "SnapshotId": snapshot.id,
                "VolumeSize": snapshot.volume_size,
                "DeleteOnTermination": True,
                "VolumeType": "gp2",
                "Encrypted": snapshot.encrypted,
            },
        }
        for name, snapshot in devices_of(self)
    ]


def _delete_unused_snapshot(self: Any, snapshot_id: str) -> Snapshot:
    with LOCK:
        users = users_of(self, self.get_snapshot(snapshot_id))
        if users:
            raise InvalidSnapshotInUse(snapshot_id, users[0])
        return self.snapshots.pop(snapshot_id)  # type: ignore[no-any-return]


def _answer_describe_snapshots(self: ElasticBlockStore) -> ActionResult:
    """Of the owners that are asked for, and in pages; moto does neither."""
    backend, ids = self.ec2_backend, self._get_param("SnapshotIds", [])
    if ids and self._get_param("MaxResults"):
        raise InvalidParameterCombination("The parameter snapshotSet cannot be used with the parameter maxResults")
    found = backend.describe_snapshots(snapshot_ids=ids, filters=self._filters_from_querystring())
    owners = {backend.account_id if owner == "self" else owner for owner in self._get_param("OwnerIds", [])}
    found = [snapshot for snapshot in found if not owners or snapshot.owner_id in owners]
    return paged(self, "Snapshots", found, key=attrgetter("id"), told=_told, most=1000)


def _told(snapshot: Snapshot) -> dict[str, Any]:
    return {
        "SnapshotId": snapshot.id,
        "VolumeId": snapshot.volume_id,
        "VolumeSize": snapshot.volume_size,
        "State": snapshot.status,
        "StartTime": snapshot.start_time,
        "Progress": snapshot.progress,
        "OwnerId": snapshot.owner_id,
        "Description": snapshot.description,
        "Encrypted": snapshot.encrypted,
        "KmsKeyId": snapshot.kms_key_id,
        "StorageTier": snapshot.storage_tier,
        "Tags": told_tags(snapshot),
    }


def install() -> None:
    Ami.block_device_mappings = property(_block_device_mappings)  # type: ignore[assignment]
    EBSBackend.delete_snapshot = _delete_unused_snapshot  # type: ignore[method-assign]
    ElasticBlockStore.describe_snapshots = _answer_describe_snapshots  # type: ignore[method-assign]
