"""EC2's instances, and what they are placed in. Lists are read to their last page."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nodepkg.clients.aws.regional import Regional

PAGE = {"PageSize": 1000}  # the most that EC2 gives of instances


@dataclass(frozen=True)
class Instance:
    """`state` in EC2's words (running, stopped); `image` is what it was started from."""

    id: str
    state: str
    image: str


@dataclass(frozen=True)
class Subnet:
    id: str
    zone: str
    vpc: str


class Ec2(Regional):
    """One region's EC2."""

    def instances(self) -> list[Instance]:
        """Those that are not terminated, by id; one of which EC2 tells no state counts."""
        # Not filtered by state: a state that is not known here has to count, too.
        pages = self.pages("describe_instances", "Reservations", PaginationConfig=PAGE)
        found = [
            Instance(raw["InstanceId"], raw.get("State", {}).get("Name", "unknown"), raw.get("ImageId", ""))
            for page in pages
            for raw in page.get("Instances", [])
        ]
        return sorted((one for one in found if one.state != "terminated"), key=lambda instance: instance.id)

    def zones_offering(self, instance_type: str) -> set[str]:
        pages = self.pages(
            "describe_instance_type_offerings",
            "InstanceTypeOfferings",
            LocationType="availability-zone",
            Filters=[{"Name": "instance-type", "Values": [instance_type]}],
        )
        return {raw["Location"] for raw in pages}

    def default_subnets(self) -> list[Subnet]:
        """The default subnet of each zone."""
        pages = self.pages("describe_subnets", "Subnets", Filters=[{"Name": "default-for-az", "Values": ["true"]}])
        return sorted((_subnet(raw) for raw in pages), key=lambda subnet: subnet.zone)

    def subnets(self, ids: Sequence[str]) -> list[Subnet]:
        return [_subnet(raw) for raw in self.pages("describe_subnets", "Subnets", SubnetIds=list(ids))]

    def security_groups(self, names: Iterable[str], vpc: str) -> dict[str, str]:
        """Name -> id, of those that the VPC has."""
        wanted = [{"Name": "group-name", "Values": list(names)}, {"Name": "vpc-id", "Values": [vpc]}]
        pages = self.pages("describe_security_groups", "SecurityGroups", Filters=wanted)
        return {raw["GroupName"]: raw["GroupId"] for raw in pages}


def _subnet(raw: Mapping[str, Any]) -> Subnet:
    return Subnet(raw["SubnetId"], raw["AvailabilityZone"], raw["VpcId"])
