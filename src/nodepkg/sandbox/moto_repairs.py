"""What moto refuses, or lets pass, and the chain depends on: mended in the process that serves it."""

from typing import Any

from moto.autoscaling.exceptions import AutoscalingClientError
from moto.autoscaling.models import AutoScalingBackend
from moto.ec2.models.amis import Ami, AmiBackend

_create_image = AmiBackend.create_image
_create_auto_scaling_group = AutoScalingBackend.create_auto_scaling_group


class _AlreadyExistsError(AutoscalingClientError):
    code = "AlreadyExists"


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


def _create_uniquely_named_group(self: AutoScalingBackend, *positional: Any, **named: Any) -> Any:
    """The name of a group is the claim of whoever makes it: moto lets the second one replace the first."""
    name = named.get("name", positional[0] if positional else None)
    if name in self.autoscaling_groups:
        raise _AlreadyExistsError(f"AutoScalingGroup by this name already exists - {name}")
    return _create_auto_scaling_group(self, *positional, **named)


def install() -> None:
    """May be called more than once."""
    AmiBackend.create_image = _create_ebs_image  # type: ignore[method-assign]
    AutoScalingBackend.create_auto_scaling_group = _create_uniquely_named_group  # type: ignore[method-assign]
