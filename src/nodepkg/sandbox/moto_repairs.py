"""What moto refuses and every build needs, mended in the process that serves it."""

from typing import Any

from moto.ec2.models.amis import Ami, AmiBackend

_create_image = AmiBackend.create_image


def _create_ebs_image(
    self: AmiBackend, instance_id: str, name: str, description: str, tag_specifications: list[dict[str, Any]]
) -> Ami:
    """Packer's current amazon plugin sends snapshot_tags with CreateImage; moto raises NotImplementedError."""
    others = [spec for spec in tag_specifications if spec["ResourceType"] != "snapshot"]
    image = _create_image(self, instance_id, name, description, others)
    # moto calls it "standard", on which Packer builds no other image.
    image.root_device_type = "ebs"
    for spec in tag_specifications:
        if spec["ResourceType"] == "snapshot":
            image.ebs_snapshot.add_tags({tag["Key"]: tag["Value"] for tag in spec["Tags"]})
    return image


def install() -> None:
    """May be called more than once."""
    AmiBackend.create_image = _create_ebs_image  # type: ignore[method-assign]
