"""Whole fleets, put straight into the embedded AWS of this process (tests.faults.aws): thousands of images a second."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from moto.autoscaling.models import autoscaling_backends
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.ec2.models import ec2_backends
from moto.ec2.models.amis import Ami
from moto.ec2.utils import random_ami_id, random_instance_id, random_volume_id
from moto.ssm.models import ssm_backends

from nodepkg.sandbox.moto_snapshots import add_snapshot, devices_of, set_devices

MANAGED = {"nodepkg:managed": "true"}
SNAPSHOT = {"nodepkg:image-snapshot": "true"}
STOCK_IMAGE = "ami-1ebb2077"


@dataclass
class World:
    """One region of the embedded account. `now` is the moment from which the ages of images are counted."""

    region: str = "us-east-1"
    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def ec2(self) -> Any:
        return ec2_backends[DEFAULT_ACCOUNT_ID][self.region]

    @property
    def scaling(self) -> Any:
        return autoscaling_backends[DEFAULT_ACCOUNT_ID][self.region]

    def images(self, group: str, count: int, *, days_apart: float = 1.0, **image: Any) -> list[str]:
        """The ids of that many images of a group, oldest first; the newest is of `now`. More: as of `image`."""
        ages = [timedelta(days=days_apart * number) for number in reversed(range(count))]
        return [self.image(f"{group} {number}", group, age=age, **image) for number, age in enumerate(ages)]

    def image(
        self,
        name: str,
        group: str | None = None,
        *,
        age: timedelta = timedelta(0),
        size_gb: int = 8,
        snapshots: int = 1,
        tags: Mapping[str, str] | None = None,
        state: str = "available",
        managed: bool = True,
        owner: str = DEFAULT_ACCOUNT_ID,
        shares_with: str | None = None,
    ) -> str:
        """The id of one image with `snapshots` volumes of `size_gb` each, tagged as those that nodepkg builds.

        `shares_with`: an image whose snapshots it refers to in place of its own.
        """
        ec2 = self.ec2
        image = Ami(
            ec2,
            random_ami_id(),
            name=name,
            owner_id=owner,
            state=state,
            creation_date=(self.now - age).replace(tzinfo=None),
            virtualization_type="hvm",
            architecture="x86_64",
            root_device_type="ebs",
            region_name=f"{self.region}a",
        )
        ours = ({"group": group} if group else {}) | (MANAGED if managed else {})
        ec2.tags[image.id].update(ours | dict(tags or {}))
        if shares_with:
            set_devices(image, devices_of(ec2.amis[shares_with]))
        else:
            set_devices(image, self._volumes(image, snapshots, size_gb, ours | (SNAPSHOT if managed else {}), age))
        ec2.amis[image.id] = image
        return image.id

    def _volumes(self, image: Any, count: int, size_gb: int, tags: Mapping[str, str], age: timedelta) -> list[Any]:
        told = f"Created by CreateImage({random_instance_id()}) for {image.id}"
        about: Any = {"size_gb": size_gb, "description": told, "tags": tags, "age": age, "owner": image.owner_id}
        made = [self.snapshot(**about) for _ in range(count)]
        return [(f"/dev/sd{chr(ord('a') + number)}", self.ec2.snapshots[one]) for number, one in enumerate(made)]

    def snapshot(
        self,
        *,
        size_gb: int = 8,
        description: str = "",
        tags: Mapping[str, str] | None = None,
        age: timedelta = timedelta(0),
        owner: str = DEFAULT_ACCOUNT_ID,
    ) -> str:
        """The id of a snapshot that no image refers to."""
        volume = SimpleNamespace(id=random_volume_id(), size=size_gb, encrypted=False)
        snapshot = add_snapshot(self.ec2, volume, description, owner)
        snapshot.start_time = (self.now - age).replace(tzinfo=None)
        self.ec2.tags[snapshot.id].update(tags or {})
        return snapshot.id

    def protect(self, image: str, how: str = "enabled-without-cooldown") -> None:
        vars(self.ec2.amis[image])["protection"] = how

    def share(self, image: str, **permission: str) -> None:
        """`UserId="…"`, `Group="all"`, `OrganizationArn="…"` or `OrganizationalUnitArn="…"`."""
        self.ec2.amis[image].launch_permissions.append(permission)

    def launch_configuration(self, name: str, image: str) -> str:
        names = ("key_name", "kernel_id", "ramdisk_id", "user_data", "instance_profile_name", "spot_price")
        self.scaling.create_launch_configuration(
            name=name,
            image_id=image,
            instance_type="m1.large",
            security_groups=[],
            instance_monitoring=False,
            ebs_optimized=False,
            associate_public_ip_address=False,
            block_device_mappings=[],
            **dict.fromkeys(names),
        )
        return name

    def template(self, name: str, images: Sequence[str | None], *, default: int = 1) -> str:
        """The id of a launch template with a version for each image (an id, `resolve:ssm:…`, or none)."""
        data = [{"InstanceType": "m1.large"} | ({"ImageId": image} if image else {}) for image in images]
        template = self.ec2.create_launch_template(name, "", data[0], {})
        for version in data[1:]:
            template.create_version(version, "")
        template.default_version_number = default
        return str(template.id)

    def group(
        self,
        name: str,
        *,
        configuration: str | None = None,
        template: str | None = None,
        version: str = "$Default",
        overrides: Sequence[Mapping[str, Any]] = (),
        tags: Mapping[str, str] | None = None,
    ) -> str:
        """An Auto Scaling group of size 0. `template` is a name; with overrides it is one of mixed instances."""
        chosen = {"LaunchTemplateName": template, "Version": version} if template else {}
        mixed = (
            {"LaunchTemplate": {"LaunchTemplateSpecification": chosen, "Overrides": [*overrides]}}
            if overrides
            else None
        )
        self.scaling.create_auto_scaling_group(
            name=name,
            availability_zones=[f"{self.region}a"],
            desired_capacity=0,
            max_size=0,
            min_size=0,
            launch_config_name=configuration,
            launch_template={} if mixed else chosen,
            mixed_instances_policy=mixed,
            vpc_zone_identifier=None,
            default_cooldown=None,
            health_check_period=0,
            health_check_type="EC2",
            load_balancers=[],
            target_group_arns=[],
            placement_group=None,
            termination_policies=[],
            tags=[{"key": key, "value": value} for key, value in (tags or {}).items()],
        )
        return name

    def instance(self, image: str, state: str = "running", *, tags: Mapping[str, str] | None = None) -> str:
        """The id of an instance that is running, stopped or terminated."""
        (made,) = self.ec2.run_instances(
            image,
            1,
            None,
            [],
            instance_type="m1.large",
            is_instance_type_default=False,
            region_name=self.region,
            tags={"instance": dict(tags or {})},
        ).instances
        if state == "stopped":
            self.ec2.stop_instances([made.id])
        elif state == "terminated":
            self.ec2.terminate_instances([made.id])
        return str(made.id)

    def parameter(self, name: str, value: str) -> str:
        """An SSM parameter; the answer is what a launch template has as its image."""
        ssm_backends[DEFAULT_ACCOUNT_ID][self.region].put_parameter(
            name, "", value, "String", "", "", True, [], "text", "Standard", None
        )
        return f"resolve:ssm:{name}"
