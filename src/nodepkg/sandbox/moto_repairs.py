"""What moto refuses and every build needs, mended in the process that serves it."""

from typing import Any

from moto.ec2.models.amis import Ami, AmiBackend

_create_image = AmiBackend.create_image


def _create_image_with_snapshot_tags(
    self: AmiBackend, instance_id: str, name: str, description: str, tag_specifications: list[dict[str, Any]]
) -> Ami:
    """Packer's current amazon plugin sends snapshot_tags with CreateImage; moto raises NotImplementedError."""
    others = [spec for spec in tag_specifications if spec["ResourceType"] != "snapshot"]
    image = _create_image(self, instance_id, name, description, others)
    for spec in tag_specifications:
        if spec["ResourceType"] == "snapshot":
            image.ebs_snapshot.add_tags({tag["Key"]: tag["Value"] for tag in spec["Tags"]})
    return image


def install() -> None:
    """May be called more than once."""
    AmiBackend.create_image = _create_image_with_snapshot_tags  # type: ignore[method-assign]
