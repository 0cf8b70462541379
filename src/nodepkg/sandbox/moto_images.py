"""Images as EC2 has them: unique names, pages, states, protection, deregistration with the snapshots."""

from collections.abc import Sequence
from datetime import timedelta
from operator import attrgetter
from typing import Any

from moto.core.responses import ActionResult
from moto.core.utils import utcnow
from moto.ec2.exceptions import EC2ClientError, InvalidAMIIdError, OperationNotPermitted, UnvailableAMIIdError
from moto.ec2.models import EC2Backend
from moto.ec2.models.amis import Ami, AmiBackend
from moto.ec2.responses.amis import AmisResponse
from moto.ec2.responses.instances import InstanceResponse
from moto.ec2.utils import format_timestamp

from nodepkg.sandbox.moto_pages import paged, told_tags
from nodepkg.sandbox.moto_snapshots import LOCK, add_snapshot, delete_unless_shared, devices_of, set_devices

_COOLDOWN = timedelta(hours=24)

_create_image, _copy_image = AmiBackend.create_image, AmiBackend.copy_image
_get_filter_value = Ami.get_filter_value
_answer_attribute = AmisResponse.describe_image_attribute
_do_others_exist = EC2Backend.do_resources_exist
_answer_launch = InstanceResponse.run_instances


class _DuplicateNameError(EC2ClientError):
    def __init__(self, name: str, image: str) -> None:
        super().__init__("InvalidAMIName.Duplicate", f"AMI name {name} is already in use by AMI {image}")


def _claim(backend: Any, name: str | None) -> None:
    images = list(backend.amis.values())
    taken = [image.id for image in images if name and (image.name, image.owner_id) == (name, backend.account_id)]
    if taken:
        raise _DuplicateNameError(str(name), taken[0])


def _create_ebs_image(
    self: Any, instance_id: str, name: str, description: str, tag_specifications: list[dict[str, Any]]
) -> Ami:
    """With a snapshot of each of the instance's volumes, which moto refuses to tag (Packer's plugin asks for it)."""
    others = [spec for spec in tag_specifications if spec["ResourceType"] != "snapshot"]
    with LOCK:
        _claim(self, name)
        image = _create_image(self, instance_id, name, description, others)
    # moto calls it "standard", on which Packer builds no other image.
    image.root_device_type = "ebs"
    _take_volumes(self, image, self.get_instance(instance_id))
    for spec in tag_specifications:
        if spec["ResourceType"] == "snapshot":
            for _, snapshot in devices_of(image):
                snapshot.add_tags({tag["Key"]: tag["Value"] for tag in spec["Tags"]})
    return image


def _take_volumes(backend: Any, image: Ami, instance: Any) -> None:
    blocks = sorted(instance.block_device_mapping.items(), key=lambda one: one[0] != instance.root_device_name)
    volumes = [(device, backend.volumes.get(block.volume_id)) for device, block in blocks]
    told = f"Created by CreateImage({instance.id}) for {image.id}"
    devices = [(device, add_snapshot(backend, volume, told)) for device, volume in volumes if volume]
    if devices:
        set_devices(image, devices)


def _copy_named_image(
    self: Any, source_image_id: str, source_region: str, name: str | None = None, description: str | None = None
) -> Ami:
    with LOCK:
        _claim(self, name)
        image = _copy_image(self, source_image_id, source_region, name, description)
    image.root_device_type = "ebs"
    return image


def _filter_value(self: Ami, filter_name: str, method_name: str | None = None) -> Any:
    match filter_name:
        case "block-device-mapping.snapshot-id":
            return [snapshot.id for _, snapshot in devices_of(self)]
        case "creation-date" | "root-device-type" | "root-device-name" | "description" | "hypervisor":
            return getattr(self, filter_name.replace("-", "_"))
    return _get_filter_value(self, filter_name, method_name)


def _deregistration_protection(self: Ami) -> str:
    return str(vars(self).get("protection", "disabled"))


def _image(response: AmisResponse) -> Ami:
    """The one that a request names."""
    backend, image_id = response.ec2_backend, response._get_param("ImageId")
    image: Ami | None = backend.amis.get(image_id)
    if image:
        return image
    raise (UnvailableAMIIdError if image_id in backend.deleted_amis else InvalidAMIIdError)(image_id)


def _answer_register_image(self: AmisResponse) -> ActionResult:
    """moto leaves out the tags, and the block devices, with which two images can share a snapshot."""
    backend, name = self.ec2_backend, self._get_param("Name")
    mappings = [one for one in self._get_param("BlockDeviceMappings", []) if "SnapshotId" in one.get("Ebs", {})]
    devices = [(one["DeviceName"], backend.get_snapshot(one["Ebs"]["SnapshotId"])) for one in mappings]
    tags = self._parse_tag_specification().get("image", {})
    self.error_on_dryrun()
    with LOCK:
        _claim(backend, name)
        image = backend.register_image(name, self._get_param("Description", ""))
        image.root_device_type = "ebs"
        if devices:
            set_devices(image, devices)
    image.add_tags(tags)
    return ActionResult({"ImageId": image.id})


def _answer_describe_images(self: AmisResponse) -> ActionResult:
    """A page of those that fit everything that is asked for: moto leaves out owners and filters where ids are given."""
    self.error_on_dryrun()
    backend, ids = self.ec2_backend, self._get_param("ImageIds", [])
    _forbid_unknown(backend, ids)
    found = backend.describe_images(
        filters=self._filters_from_querystring(),
        exec_users=self._get_param("ExecutableUsers", []),
        owners=self._get_param("Owners", []),
    )
    if ids:
        wanted = set(ids)
        found = [image for image in found if image.id in wanted]
    if not self._get_bool_param("IncludeDisabled", False):
        found = [image for image in found if image.state != "disabled"]
    return paged(self, "Images", found, key=attrgetter("id"), told=_told, most=1000)


def _told(image: Ami) -> dict[str, Any]:
    return {
        "ImageId": image.id,
        "ImageLocation": image.image_location or f"{image.owner_id}/{image.name}",
        "ImageOwnerAlias": image.owner_alias,
        "OwnerId": image.owner_id,
        "Name": image.name,
        "Description": image.description or None,
        "CreationDate": format_timestamp(image.creation_date),
        "State": image.state,
        "Public": image.is_public,
        "Architecture": image.architecture,
        "ImageType": image.image_type,
        "KernelId": image.kernel_id,
        "Platform": image.platform,
        "PlatformDetails": "Linux/UNIX",
        "RootDeviceName": image.root_device_name,
        "RootDeviceType": image.root_device_type,
        "BlockDeviceMappings": image.block_device_mappings,
        "VirtualizationType": image.virtualization_type,
        "Hypervisor": image.hypervisor,
        "BootMode": image.boot_mode,
        "SriovNetSupport": image.sriov,
        "SourceInstanceId": image.source_instance_id,
        "ProductCodes": [{"ProductCodeId": code, "ProductCodeType": "marketplace"} for code in image.product_codes],
        "Tags": told_tags(image),
        "DeregistrationProtection": _deregistration_protection(image),
    }


def _forbid_unknown(backend: Any, ids: Sequence[str]) -> None:
    """A deregistered image is only not found, for a while; an id that never was one is an error."""
    if ids:
        backend.describe_images(ami_ids=ids)
    unknown = [one for one in ids if one not in backend.amis and one not in backend.deleted_amis]
    if unknown:
        raise InvalidAMIIdError(unknown)


def _answer_image_attribute(self: AmisResponse) -> ActionResult:
    """moto fails with a KeyError where the image is gone."""
    _image(self)
    return _answer_attribute(self)


def _answer_deregister_image(self: AmisResponse) -> ActionResult:
    self.error_on_dryrun()
    backend, with_snapshots = self.ec2_backend, self._get_bool_param("DeleteAssociatedSnapshots", False)
    with LOCK:
        image = _image(self)
        _forbid_protected(image)
        backend.deregister_image(image.id)
        gone = [one for _, one in devices_of(image) if one.id in backend.snapshots] if with_snapshots else []
        results = [delete_unless_shared(backend, snapshot) for snapshot in gone]
    return ActionResult({"Return": True, "DeleteSnapshotResults": results})


def _forbid_protected(image: Ami) -> None:
    until = vars(image).get("protected_until")
    if _deregistration_protection(image) != "disabled" or (until and utcnow() < until):
        raise OperationNotPermitted(f"The AMI {image.id} is protected from deregistration.")


def _answer_enable_protection(self: AmisResponse) -> ActionResult:
    self.error_on_dryrun()
    how = "enabled-with-cooldown" if self._get_bool_param("WithCooldown", False) else "enabled-without-cooldown"
    vars(_image(self))["protection"] = how
    return ActionResult({"Return": how})


def _answer_disable_protection(self: AmisResponse) -> ActionResult:
    """After a protection with cooldown the image cannot be deregistered for another 24 hours."""
    self.error_on_dryrun()
    image = vars(_image(self))
    if image.get("protection") == "enabled-with-cooldown":
        image["protected_until"] = utcnow() + _COOLDOWN
    image["protection"] = "disabled"
    return ActionResult({"Return": "disabled"})


def _do_resources_exist(self: EC2Backend, resource_ids: list[str]) -> bool:
    """moto tags images that are deregistered."""
    gone = [one for one in resource_ids if one.startswith("ami-") and one not in self.amis]
    if gone:
        raise InvalidAMIIdError(gone)
    return _do_others_exist(self, resource_ids)


def _answer_run_instances(self: InstanceResponse) -> ActionResult:
    """moto launches images that are deregistered, pending, failed or disabled."""
    image_id = self._get_param("ImageId")
    if image_id:
        image = self.ec2_backend.amis.get(image_id)
        if image is None:
            raise InvalidAMIIdError(image_id)
        if image.state != "available":
            raise UnvailableAMIIdError(image_id)
    return _answer_launch(self)


def install() -> None:
    AmiBackend.create_image = _create_ebs_image  # type: ignore[method-assign]
    AmiBackend.copy_image = _copy_named_image  # type: ignore[method-assign]
    Ami.get_filter_value = _filter_value  # type: ignore[method-assign]
    AmisResponse.register_image = _answer_register_image  # type: ignore[method-assign]
    AmisResponse.describe_images = _answer_describe_images  # type: ignore[method-assign]
    AmisResponse.describe_image_attribute = _answer_image_attribute  # type: ignore[method-assign]
    AmisResponse.deregister_image = _answer_deregister_image  # type: ignore[method-assign]
    AmisResponse.enable_image_deregistration_protection = _answer_enable_protection  # type: ignore[attr-defined]
    AmisResponse.disable_image_deregistration_protection = _answer_disable_protection  # type: ignore[attr-defined]
    InstanceResponse.run_instances = _answer_run_instances  # type: ignore[method-assign]
    EC2Backend.do_resources_exist = _do_resources_exist  # type: ignore[method-assign]
