"""image -> launch template version: how a node of a group is started, and where."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nodepkg.clients.aws.account import Account, wait_for
from nodepkg.clients.aws.ec2 import Ec2, Subnet
from nodepkg.clients.aws.templates import LaunchTemplates
from nodepkg.errors import AwsError, RefusedError
from nodepkg.nodes.group import Group
from nodepkg.nodes.schema import BlockDevice
from nodepkg.plan import Report
from nodepkg.render.jsontext import canonical

MANAGED = "nodepkg:managed"
DRAINS = "nodepkg:drains"  # of an Auto Scaling group: the processes that a deploy has suspended


@dataclass(frozen=True)
class Placement:
    """The subnets that nodes are started in, all of one VPC, one for each zone."""

    subnets: tuple[Subnet, ...]

    @property
    def vpc(self) -> str:
        return self.subnets[0].vpc

    @property
    def ids(self) -> list[str]:
        return [subnet.id for subnet in self.subnets]


@dataclass(frozen=True)
class Launch:
    """How the nodes of a group are started: EC2's LaunchTemplateData, and where."""

    template: str
    region: str
    image: str
    placement: Placement
    data: Mapping[str, Any]

    @property
    def description(self) -> str:
        """What a version with this content is described as: by it a later run, or action, finds the version again."""
        return f"nodepkg {hashlib.sha256(canonical(self.data)).hexdigest()[:32]}"


@dataclass(frozen=True)
class CreateTemplateVersion:
    """A version of a launch template; one with this content that is there already serves again.

    `token` is one run's: with it EC2 makes one version of however many tries.
    """

    launch: Launch
    token: str

    def __str__(self) -> str:
        return f"create a version of launch template {self.launch.template} with image {self.launch.image}"

    def run(self, account: Account, /) -> Report:
        launch, templates = self.launch, LaunchTemplates(account, self.launch.region)
        tags = templates.tags(launch.template)
        if tags is not None and tags.get(MANAGED) != "true":
            raise RefusedError(
                f"the launch template {launch.template} in {launch.region} is not nodepkg's",
                hint=f"it has no tag {MANAGED}=true: rename the group, or remove that template",
            )
        number = _number(templates, launch) or self._create(templates, first=tags is None)
        return {"template": launch.template, "version": number}

    def _create(self, templates: LaunchTemplates, *, first: bool) -> int:
        tags = {"group": self.launch.template, MANAGED: "true"}
        try:
            return templates.create_version(
                self.launch.template,
                self.launch.data,
                description=self.launch.description,
                tags=tags,
                first=first,
                token=self.token,
            )
        except AwsError as error:
            if error.code != "InvalidLaunchTemplateName.AlreadyExistsException":
                raise
            # A lost reply, or somebody else at the same moment: with this content it serves either way.
            return version_of(templates.account, self.launch)


def launch(account: Account, group: Group, image: str, user_data: str, *, ec2: Ec2 | None = None) -> Launch:
    """What starts a node of the group from the image, with names resolved to ids; `user_data` as rendered.

    `ec2` is what is asked, by default EC2 itself.
    """
    ec2 = ec2 or Ec2(account, group.region)
    place = placement(ec2, group)
    return Launch(group.name, group.region, image, place, template_data(ec2, group, image, place.vpc, user_data))


def version_token(run_id: str, group: str) -> str:
    """The token of one run's version of a group's template, which EC2 wants short: a name may be long."""
    return f"{run_id}-{hashlib.sha256(group.encode()).hexdigest()[:32]}"


def version_of(account: Account, launch: Launch) -> int:
    """The version that CreateTemplateVersion made; what is new may be invisible for some seconds."""
    templates = LaunchTemplates(account, launch.region)
    number = wait_for(lambda: _number(templates, launch))
    if number is None:
        raise AwsError(f"launch template {launch.template} in {launch.region} has no version {launch.description}")
    return number


def _number(templates: LaunchTemplates, launch: Launch) -> int | None:
    versions = templates.versions(launch.template)
    return max((version.number for version in versions if version.description == launch.description), default=None)


def placement(ec2: Ec2, group: Group) -> Placement:
    """Where the group's nodes go; raises AwsError if that is nowhere, RefusedError if it is two VPCs."""
    if group.subnets:
        subnets = [subnet for subnet in ec2.subnets(group.subnets) if not group.zones or subnet.zone in group.zones]
        missing = "none of its subnets is in its zones"
    else:
        wanted = set(group.zones) or ec2.zones_offering(group.settings.instance_type)
        subnets = [subnet for subnet in ec2.default_subnets() if subnet.zone in wanted]
        missing = f"no default subnet in a zone that offers {group.settings.instance_type}"
        without = sorted(set(group.zones) - {subnet.zone for subnet in subnets})
        if without:
            raise AwsError(f"{group.name}: no default subnet in {', '.join(without)}", hint="name its subnets")
    if not subnets:
        raise AwsError(f"{group.name}: {missing} ({ec2.region})", hint="name its subnets in nodes.json")
    vpcs = {subnet.vpc for subnet in subnets}
    if len(vpcs) > 1:
        raise RefusedError(f"{group.name}: its subnets are in several VPCs: {', '.join(sorted(vpcs))}")
    return Placement(tuple(subnets))


def launch_inputs(group: Group, user_data: str) -> dict[str, Any]:
    """What of a group that has an Auto Scaling group decides how its nodes run, but for the image.

    Running nodes keep what they were started with: where one of these differs they have to be replaced.
    """
    settings, autoscale = group.settings, group.settings.autoscale
    targets = autoscale.target_groups if autoscale else []
    return {
        "region": settings.region,
        "instance_type": settings.instance_type,
        "security_groups": group.security_groups,
        "key_name": settings.key_name,
        "iam_instance_profile": settings.iam_instance_profile,
        "block_devices": [device.model_dump() for device in group.block_devices],
        "user_data": user_data,
        "tags": settings.tags,
        "zones": group.zones,
        "subnets": group.subnets,
        "target_groups": targets,
        "health_check_type": (autoscale and autoscale.health_check_type) or ("ELB" if targets else "EC2"),
        "health_check_grace_period": autoscale and autoscale.health_check_grace_period,
    }


def template_data(ec2: Ec2, group: Group, image: str, vpc: str, user_data: str) -> dict[str, Any]:
    """EC2's LaunchTemplateData for a node of the group."""
    settings = group.settings
    tags = {**settings.tags, "Name": settings.tags.get("Name", group.name), "group": group.name, MANAGED: "true"}
    tag_list = [{"Key": key, "Value": value} for key, value in tags.items()]
    profile = settings.iam_instance_profile
    data: dict[str, Any] = {
        "ImageId": image,
        "InstanceType": settings.instance_type,
        "SecurityGroupIds": security_group_ids(ec2, group.name, group.security_groups, vpc),
        "KeyName": settings.key_name,
        "IamInstanceProfile": {"Arn" if profile.startswith("arn:") else "Name": profile} if profile else None,
        "BlockDeviceMappings": [_block_device(device) for device in group.block_devices],
        "UserData": base64.b64encode(user_data.encode("utf-8", errors="surrogateescape")).decode(),
        "MetadataOptions": {"HttpTokens": "required", "HttpEndpoint": "enabled"},
        "TagSpecifications": [{"ResourceType": kind, "Tags": tag_list} for kind in ("instance", "volume")],
    }
    return {key: value for key, value in data.items() if value}


def security_group_ids(ec2: Ec2, group: str, names: Sequence[str], vpc: str) -> list[str]:
    """Ids of security groups given by name or id; a name means the one in this VPC."""
    by_name = [name for name in names if not name.startswith("sg-")]
    found = ec2.security_groups(by_name, vpc) if by_name else {}
    missing = [name for name in by_name if name not in found]
    if missing:
        raise AwsError(
            f"{group}: no security group {', '.join(missing)} in {vpc} ({ec2.region})", code="InvalidGroup.NotFound"
        )
    return list(dict.fromkeys(found.get(name, name) for name in names))


def _block_device(device: BlockDevice) -> dict[str, Any]:
    ebs = {
        "VolumeSize": device.size_gb,
        "VolumeType": device.type,
        "Iops": device.iops,
        "Throughput": device.throughput,
        "Encrypted": device.encrypted,
        "KmsKeyId": device.kms_key_id,
        "DeleteOnTermination": device.delete_on_termination,
    }
    return {"DeviceName": device.device, "Ebs": {key: value for key, value in ebs.items() if value is not None}}
