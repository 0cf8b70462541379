"""EC2's instances as machines with tags and addresses; key pairs and security groups. Lists are read to their end."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from nodepkg.clients.aws.account import aws_errors
from nodepkg.clients.aws.ec2 import FILTER_VALUES, PAGE
from nodepkg.clients.aws.regional import Regional, in_parts, unless
from nodepkg.clients.aws.tags import Tags, filters, tag_list, tags_of

NO_SUCH_GROUP = ("InvalidGroup.NotFound", "InvalidGroupId.NotFound")
STILL_IN_USE = ("DependencyViolation", "InvalidGroup.InUse")


@dataclass(frozen=True)
class Machine:
    """An instance. `state` in EC2's words, `launched` is aware (UTC), `security_groups` are ids.

    `reason` is why it is in its state, in EC2's words. What it has not (yet) is "".
    """

    id: str
    state: str
    tags: Tags
    launched: datetime
    security_groups: tuple[str, ...]
    image: str = ""
    zone: str = ""
    private_ip: str = ""
    public_ip: str = ""
    private_dns: str = ""
    reason: str = ""

    @property
    def name(self) -> str:
        return self.tags.get("Name", "")

    @property
    def group(self) -> str:
        return self.tags.get("group", "")

    @property
    def asg(self) -> str:
        """The Auto Scaling group that it is a member of; "" for none."""
        return self.tags.get("aws:autoscaling:groupName", "")


@dataclass(frozen=True)
class KeyPair:
    """`created` is aware (UTC); None where EC2 does not tell it."""

    name: str
    tags: Tags
    created: datetime | None


@dataclass(frozen=True)
class SecurityGroup:
    id: str
    name: str
    description: str
    tags: Tags


class Machines(Regional):
    """Those of one region."""

    def instances(self, tags: Tags, *, tagged: str) -> list[Machine]:
        """Those with all these tags and one of the key `tagged`, by id; terminated ones are left out."""
        return self._instances([*filters(tags), {"Name": "tag-key", "Values": [tagged]}])

    def instances_of(self, groups: Collection[str]) -> list[Machine]:
        """Those with the tag `group` of one of these groups, whoever made them, by id; terminated ones are left out."""
        parts = in_parts(sorted(set(groups)), FILTER_VALUES)
        found = [one for part in parts for one in self._instances([{"Name": "tag:group", "Values": list(part)}])]
        return sorted(found, key=lambda machine: machine.id)

    def existing(self, ids: Collection[str]) -> set[str]:
        """Those of these instances that are not terminated; EC2 takes unknown ids, too."""
        parts = in_parts(sorted(set(ids)), FILTER_VALUES)
        return {one.id for part in parts for one in self._instances([{"Name": "instance-id", "Values": list(part)}])}

    def _instances(self, wanted: list[dict[str, Any]]) -> list[Machine]:
        pages = self.pages("describe_instances", "Reservations", Filters=wanted, PaginationConfig=PAGE)
        found = [_machine(raw) for page in pages for raw in page["Instances"]]
        return sorted((one for one in found if one.state != "terminated"), key=lambda machine: machine.id)

    def state(self, instance: str) -> str:
        """The state of an instance; one that EC2 knows no more is `terminated`."""
        with unless(f"look at {instance}", "InvalidInstanceID.NotFound"):
            told = self.client.describe_instances(InstanceIds=[instance])
            return str(told["Reservations"][0]["Instances"][0]["State"]["Name"]) if told["Reservations"] else ""
        return "terminated"

    def key_pairs(self) -> list[KeyPair]:
        """All of the account, by name."""
        with aws_errors(f"describe key pairs in {self.region}"):
            found = self.client.describe_key_pairs()["KeyPairs"]  # EC2 gives all at once
        return sorted((_key_pair(raw) for raw in found), key=lambda pair: pair.name)

    def security_groups(self) -> list[SecurityGroup]:
        """All of the account, by id."""
        found = self.pages("describe_security_groups", "SecurityGroups", PaginationConfig=PAGE)
        return sorted((_security_group(raw) for raw in found), key=lambda group: group.id)

    def terminate_instance(self, instance: str) -> None:
        """One that is gone already is as good."""
        with unless(f"terminate {instance}", "InvalidInstanceID.NotFound"):
            self.client.terminate_instances(InstanceIds=[instance])

    def tag_instances(self, instances: Sequence[str], tags: Tags) -> None:
        with aws_errors(f"tag {', '.join(instances)}"):
            self.client.create_tags(Resources=list(instances), Tags=tag_list(tags))

    def untag_instances(self, instances: Sequence[str], keys: Iterable[str]) -> None:
        """One that is gone already is as good."""
        with unless(f"remove tags of {', '.join(instances)}", "InvalidInstanceID.NotFound", "InvalidID"):
            self.client.delete_tags(Resources=list(instances), Tags=[{"Key": key} for key in keys])

    def delete_security_group(self, group: str) -> bool:
        """False if something uses it still, and it stays; one that is gone already is as good as deleted."""
        with unless(f"delete {group}", *STILL_IN_USE):
            with unless(f"delete {group}", *NO_SUCH_GROUP):
                self.client.delete_security_group(GroupId=group)
            return True
        return False

    def tag_security_group(self, group: str, tags: Tags) -> None:
        """One that is gone already is as good."""
        with unless(f"tag {group}", *NO_SUCH_GROUP):
            self.client.create_tags(Resources=[group], Tags=tag_list(tags))

    def delete_key_pair(self, name: str) -> None:
        """One that is gone already is as good."""
        with unless(f"delete key pair {name}", "InvalidKeyPair.NotFound"):
            self.client.delete_key_pair(KeyName=name)


def _machine(raw: Mapping[str, Any]) -> Machine:
    return Machine(
        id=raw["InstanceId"],
        state=raw["State"]["Name"],
        tags=tags_of(raw),
        launched=raw["LaunchTime"],
        security_groups=tuple(group["GroupId"] for group in raw.get("SecurityGroups", [])),
        image=raw.get("ImageId") or "",
        zone=raw.get("Placement", {}).get("AvailabilityZone") or "",
        private_ip=raw.get("PrivateIpAddress") or "",
        public_ip=raw.get("PublicIpAddress") or "",
        private_dns=raw.get("PrivateDnsName") or "",
        reason=raw.get("StateReason", {}).get("Message") or "",
    )


def _key_pair(raw: Mapping[str, Any]) -> KeyPair:
    return KeyPair(raw["KeyName"], tags_of(raw), raw.get("CreateTime"))


def _security_group(raw: Mapping[str, Any]) -> SecurityGroup:
    return SecurityGroup(raw["GroupId"], raw.get("GroupName", ""), raw.get("Description", ""), tags_of(raw))
