"""Puts a Seed into moto's backends, in the process that serves them; what is there already stays as it is."""

from typing import Any

from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.ec2.models import ec2_backends
from moto.ec2.models.amis import Ami
from moto.ec2.models.instance_types import INSTANCE_TYPE_OFFERINGS
from moto.ec2.utils import random_ami_id
from moto.elbv2.models import elbv2_backends
from moto.iam.models import iam_backends
from moto.moto_api._internal.models import moto_api_backend

from nodepkg.sandbox.seed import Seed, SeedImage, SeedRegion

_OWNERS = {"amazon": "137112412989", "aws-marketplace": "679593333241", "self": DEFAULT_ACCOUNT_ID}


def forget_everything() -> None:
    """Every service in every region is as new."""
    moto_api_backend.reset()


def apply(seed: Seed) -> None:
    """Make what the seed names exist. Raises ValueError for a region that moto does not know."""
    for name in seed.regions:
        if name not in ec2_backends[DEFAULT_ACCOUNT_ID]:
            raise ValueError(f"no such region: {name}")
    for name, region in seed.regions.items():
        _apply_region(ec2_backends[DEFAULT_ACCOUNT_ID][name], region)


def _apply_region(ec2: Any, region: SeedRegion) -> None:
    for instance_type in region.instance_types:
        _offer(ec2, instance_type)
    for image in region.images:
        _add_image(ec2, image)
    for group in region.security_groups:
        _add_security_group(ec2, group)
    for key in region.key_pairs:
        if key not in ec2.key_pairs:
            ec2.create_key_pair(key, "ed25519", {})
    for profile in region.instance_profiles:
        _add_instance_profile(profile)
    for subnet in region.subnets:
        _add_subnet(ec2, subnet)
    for target_group in region.target_groups:
        _add_target_group(ec2, target_group)
    for bucket in region.buckets:
        _add_bucket(ec2.region_name, bucket)


def _offer(ec2: Any, instance_type: str) -> None:
    """Old types such as m1.large are, as in AWS, offered in some regions and zones only; here they are in all."""
    zones = ec2.describe_availability_zones()
    places = {
        "region": [ec2.region_name],
        "availability-zone": [zone.name for zone in zones],
        "availability-zone-id": [zone.zone_id for zone in zones],
    }
    for kind, locations in places.items():
        offers = INSTANCE_TYPE_OFFERINGS[kind].setdefault(ec2.region_name, [])
        known = {offer["Location"] for offer in offers if offer["InstanceType"] == instance_type}
        offers += [
            {"InstanceType": instance_type, "Location": location, "LocationType": kind}
            for location in locations
            if location not in known
        ]


def _add_image(ec2: Any, image: SeedImage) -> None:
    name = image.name.replace("*", "sandbox").replace("?", "0")
    owner = _OWNERS.get(image.owner, image.owner)
    if image.id is None and any(ami.name == name and ami.owner_id == owner for ami in ec2.amis.values()):
        return
    ami_id = image.id or random_ami_id()
    if ami_id in ec2.amis:
        return
    ec2.amis[ami_id] = Ami(
        ec2,
        ami_id,
        name=name,
        owner_id=owner,
        owner_alias=None if owner in (image.owner, DEFAULT_ACCOUNT_ID) else image.owner,
        public=owner != DEFAULT_ACCOUNT_ID,
        virtualization_type="hvm",
        hypervisor="xen",
        architecture=image.architecture,
        root_device_type="ebs",
        root_device_name="/dev/sda1",
        image_location=f"{owner}/{name}",
        region_name=f"{ec2.region_name}a",
        boot_mode="legacy-bios",
    )


def _add_security_group(ec2: Any, group: str) -> None:
    vpc = ec2.get_default_vpc().id
    if ec2.get_security_group_from_id(group) or ec2.get_security_group_from_name(group, vpc):
        return
    name = f"seeded-{group}" if group.startswith("sg-") else group
    made = ec2.create_security_group(name, "seeded by the nodepkg sandbox", vpc_id=vpc)
    if name != group:
        made.arn = made.arn.replace(made.id, group)
        ec2.groups[vpc][group] = ec2.groups[vpc].pop(made.id)
        made.id = made.group_id = group


def _add_target_group(ec2: Any, name: str) -> None:
    """By name only: the ARN of a target group holds an id that AWS gives it."""
    balancing = elbv2_backends[DEFAULT_ACCOUNT_ID][ec2.region_name]
    if name.startswith("arn:") or any(known.name == name for known in balancing.target_groups.values()):
        return
    vpc = ec2.get_default_vpc().id
    balancing.create_target_group(name, protocol="HTTP", port="80", vpc_id=vpc, target_type="instance")


def _add_bucket(region: str, name: str) -> None:
    """The name of a bucket is unique in all regions."""
    from moto.s3.models import s3_backends  # a large one, and few sandboxes have buckets

    buckets = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
    if name not in buckets.buckets:
        buckets.create_bucket(name, region)


def _add_instance_profile(profile: str) -> None:
    """EC2 finds a profile by the whole ARN, so the account in it is kept; the profile is the sandbox's all the same."""
    account, path, name = DEFAULT_ACCOUNT_ID, "/", profile
    if profile.startswith("arn:"):
        _, _, _, _, account, resource = profile.split(":", 5)
        _, *folders, name = resource.split("/")
        path = "/".join(["", *folders, ""])
    iam = iam_backends[DEFAULT_ACCOUNT_ID]["aws"]
    if name not in iam.instance_profiles:
        iam.create_instance_profile(name, path, []).account_id = account


def _add_subnet(ec2: Any, subnet: str) -> None:
    """In the default VPC, far behind the default subnets (172.31.0.0 on), each in the next zone."""
    known = [one for subnets in ec2.subnets.values() for one in subnets.values()]
    if any(one.id == subnet for one in known):
        return
    vpc = ec2.get_default_vpc().id
    taken = {one.cidr_block for one in known if one.vpc_id == vpc}
    number, block = next((n, cidr) for n in range(100) if (cidr := f"172.31.{255 - n}.0/24") not in taken)
    zones = ec2.describe_availability_zones()
    zone = zones[number % len(zones)].name
    made = ec2.create_subnet(vpc, block, availability_zone=zone)
    ec2.subnets[zone][subnet] = ec2.subnets[zone].pop(made.id)
    made.id, made.map_public_ip_on_launch = subnet, True
