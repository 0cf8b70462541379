"""EC2's instances, and what they are placed in. Lists are read to their last page."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nodepkg.clients.aws.regional import Regional, in_parts
from nodepkg.clients.aws.tags import tags_of
from nodepkg.errors import AwsError

PAGE = {"PageSize": 1000}  # the most that EC2 gives of instances
FILTER_VALUES = 200  # the most that one filter may have
STATUSES_OF_ONE = 100  # the most instances whose status checks one call may ask for
_NO_SUCH_INSTANCE = "InvalidInstanceID.NotFound"


@dataclass(frozen=True)
class Instance:
    """`state` in EC2's words (running, stopped); `image` is what it was started from."""

    id: str
    state: str
    image: str


@dataclass(frozen=True)
class Address:
    """How an instance is reached; "" for what it has not (yet). `name` is its tag Name."""

    instance_id: str
    private_ip: str = ""
    public_ip: str = ""
    zone: str = ""
    name: str = ""


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

    def status_checks(self, ids: Iterable[str]) -> dict[str, str]:
        """Instance -> the worst of its status checks in EC2's words: ok, initializing, impaired …

        One that EC2 does not know (yet) is left out.
        """
        found: dict[str, str] = {}
        for part in in_parts(sorted(set(ids)), STATUSES_OF_ONE):
            found |= self._statuses(part)
        return found

    def _statuses(self, ids: Sequence[str]) -> dict[str, str]:
        """EC2 refuses the whole call if it does not know one of the instances."""
        try:
            asked = {"InstanceIds": list(ids), "IncludeAllInstances": True}
            return {raw["InstanceId"]: _worst(raw) for raw in self._status_pages(asked)} if ids else {}
        except AwsError as error:
            if error.code != _NO_SUCH_INSTANCE:
                raise
            known = [instance for instance in ids if instance not in re.findall(r"\bi-\w+", error.message)]
            if len(known) < len(ids):
                return self._statuses(known)
            # It does not say which.
            half = len(ids) // 2
            return self._statuses(ids[:half]) | self._statuses(ids[half:]) if half else {}

    def _status_pages(self, asked: Mapping[str, Any]) -> list[Any]:
        return self.pages("describe_instance_status", "InstanceStatuses", **asked)

    def addresses(self, ids: Iterable[str]) -> dict[str, Address]:
        """Instance -> how it is reached; one that EC2 does not know (yet) is left out."""
        found: dict[str, Address] = {}
        for part in in_parts(sorted(set(ids)), FILTER_VALUES):
            wanted = [{"Name": "instance-id", "Values": list(part)}]  # of which EC2 takes ids that are unknown, too
            pages = self.pages("describe_instances", "Reservations", Filters=wanted, PaginationConfig=PAGE)
            found |= {raw["InstanceId"]: _address(raw) for page in pages for raw in page.get("Instances", [])}
        return found

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
        return self._groups_of([{"Name": "group-name", "Values": list(names)}, {"Name": "vpc-id", "Values": [vpc]}])

    def all_security_groups(self, vpc: str) -> dict[str, str]:
        """Name -> id, of all that the VPC has."""
        return self._groups_of([{"Name": "vpc-id", "Values": [vpc]}])

    def _groups_of(self, wanted: Sequence[Mapping[str, Any]]) -> dict[str, str]:
        pages = self.pages("describe_security_groups", "SecurityGroups", Filters=wanted)
        return {raw["GroupName"]: raw["GroupId"] for raw in pages}


def _address(raw: Mapping[str, Any]) -> Address:
    return Address(
        raw["InstanceId"],
        private_ip=raw.get("PrivateIpAddress") or "",
        public_ip=raw.get("PublicIpAddress") or "",
        zone=raw.get("Placement", {}).get("AvailabilityZone") or "",
        name=tags_of(raw).get("Name", ""),
    )


def _worst(raw: Mapping[str, Any]) -> str:
    """EC2 tells of the instance, of the system that it runs on and, for some types, of its volumes."""
    told = [raw.get(key, {}).get("Status", "") for key in ("InstanceStatus", "SystemStatus")]
    volumes = raw.get("AttachedEbsStatus", {}).get("Status", "ok")
    told.append("ok" if volumes == "not-applicable" else volumes)
    return next((word for word in told if word != "ok"), "ok")


def _subnet(raw: Mapping[str, Any]) -> Subnet:
    return Subnet(raw["SubnetId"], raw["AvailabilityZone"], raw["VpcId"])
