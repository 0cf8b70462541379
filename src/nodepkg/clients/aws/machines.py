"""EC2's instances as machines with tags and addresses; key pairs and security groups. Lists are read to their end."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
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

    `reason` is why it is in its state, in EC2's words. What it has not (yet) is "". `staying` are its volumes that
    EC2 keeps when it is terminated, as `vol-… (/dev/sdb)`.
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
    key_name: str = ""
    staying: tuple[str, ...] = ()

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
    """`created` is aware (UTC); None where EC2 does not tell it. `public` is "" unless it was asked for."""

    name: str
    tags: Tags
    created: datetime | None
    fingerprint: str = ""
    public: str = ""


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

    def named(self, name: str) -> list[Machine]:
        """Those with this tag Name, whoever made them, by id; also what is terminated and still shown."""
        found = self._all([{"Name": "tag:Name", "Values": [name]}])
        return [one for one in found if one.name == name]  # in a filter `*` stands for others

    def machine(self, instance: str) -> Machine | None:
        """One by its id, also if it is terminated and still shown; None for one that EC2 does not know (yet)."""
        return next(iter(self._all([{"Name": "instance-id", "Values": [instance]}])), None)

    def _instances(self, wanted: list[dict[str, Any]]) -> list[Machine]:
        return [one for one in self._all(wanted) if one.state != "terminated"]

    def _all(self, wanted: list[dict[str, Any]]) -> list[Machine]:
        pages = self.pages("describe_instances", "Reservations", Filters=wanted, PaginationConfig=PAGE)
        return sorted((machine_of(raw) for page in pages for raw in page["Instances"]), key=lambda machine: machine.id)

    def state(self, instance: str) -> str:
        """The state of an instance; one that EC2 knows no more is `terminated`."""
        with unless(f"look at {instance}", "InvalidInstanceID.NotFound"):
            told = self.client.describe_instances(InstanceIds=[instance])
            return str(told["Reservations"][0]["Instances"][0]["State"]["Name"]) if told["Reservations"] else ""
        return "terminated"

    def living(self, ids: Collection[str]) -> set[str]:
        """Those of the ids that EC2 knows as anything but terminated."""
        parts = in_parts(sorted(set(ids)), FILTER_VALUES)
        found = [one for part in parts for one in self._instances([{"Name": "instance-id", "Values": list(part)}])]
        return {machine.id for machine in found}

    def console(self, instance: str) -> str:
        """What the instance wrote on its console; "" for one that is gone. The latest where its type can tell it."""
        with unless(f"read the console of {instance}", "UnsupportedOperation", "InvalidParameterCombination"):
            return self._console(instance, Latest=True)
        with aws_errors(f"read the console of {instance}"):
            return self._console(instance)
        return ""

    def _console(self, instance: str, **how: Any) -> str:
        return str(self.client.get_console_output(InstanceId=instance, **how).get("Output") or "")

    def key_pairs(self, *, public: bool = False) -> list[KeyPair]:
        """All of the account, by name; with their `public` halves if asked for."""
        with aws_errors(f"describe key pairs in {self.region}"):
            asked = {"IncludePublicKey": True} if public else {}
            found = self.client.describe_key_pairs(**asked)["KeyPairs"]  # EC2 gives all at once
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


def machine_of(raw: Mapping[str, Any]) -> Machine:
    return Machine(
        id=raw["InstanceId"],
        state=raw["State"]["Name"],
        tags=tags_of(raw),
        launched=raw["LaunchTime"],
        security_groups=tuple(group["GroupId"] for group in raw.get("SecurityGroups", [])),
        image=raw.get("ImageId") or "",
        zone=raw.get("Placement", {}).get("AvailabilityZone") or "",
        key_name=raw.get("KeyName") or "",
        staying=tuple(_staying(raw)),
        private_ip=raw.get("PrivateIpAddress") or "",
        public_ip=raw.get("PublicIpAddress") or "",
        private_dns=raw.get("PrivateDnsName") or "",
        reason=raw.get("StateReason", {}).get("Message") or raw.get("StateTransitionReason") or "",
    )


def _staying(raw: Mapping[str, Any]) -> Iterator[str]:
    for device in raw.get("BlockDeviceMappings", []):
        volume = device.get("Ebs", {})
        if not volume.get("DeleteOnTermination", True):
            yield f"{volume.get('VolumeId', '?')} ({device.get('DeviceName', '?')})"


def _key_pair(raw: Mapping[str, Any]) -> KeyPair:
    told = raw.get("KeyFingerprint") or "", raw.get("PublicKey") or ""
    return KeyPair(raw["KeyName"], tags_of(raw), raw.get("CreateTime"), *told)


def _security_group(raw: Mapping[str, Any]) -> SecurityGroup:
    return SecurityGroup(raw["GroupId"], raw.get("GroupName", ""), raw.get("Description", ""), tags_of(raw))
