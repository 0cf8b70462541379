"""Starting single instances, and importing key pairs."""

from collections.abc import Mapping
from typing import Any

from nodepkg.clients.aws.account import aws_errors
from nodepkg.clients.aws.machines import Machine, machine_of
from nodepkg.clients.aws.regional import Regional, unless
from nodepkg.clients.aws.tags import Tags, tag_list

# With these EC2 says that one zone, or subnet, has no room for it: another one may.
NO_ROOM = (
    "InsufficientInstanceCapacity",
    "InsufficientHostCapacity",
    "InsufficientCapacity",
    "InsufficientCapacityOnHost",
    "InsufficientFreeAddressesInSubnet",
    "Unsupported",
)
_THROTTLED = ("RequestLimitExceeded", "Throttling", "ThrottlingException", "EC2ThrottledException")


class Launches(Regional):
    """Those of one region."""

    def run_instance(self, data: Mapping[str, Any], token: str) -> Machine:
        """Starts one from RunInstances' own arguments. Nothing but throttling is tried again by the SDK.

        EC2 tells its lack of room with status 500, for which the SDK would try for minutes, and after a lost reply
        it is better to look first.
        """
        client = self.client
        client.meta.events.register_first("needs-retry.ec2.RunInstances", _give_up, unique_id="nodepkg-give-up")
        with aws_errors(f"start an instance in {self.region}"):
            made = client.run_instances(**data, MinCount=1, MaxCount=1, ClientToken=token)
        return machine_of(made["Instances"][0])

    def import_key_pair(self, name: str, public: str, tags: Tags) -> bool:
        """Whether it was made just now: not if there is one of this name, which may be our own, of a lost reply."""
        with unless(f"import key pair {name}", "InvalidKeyPair.Duplicate"):
            tagged = [{"ResourceType": "key-pair", "Tags": tag_list(tags)}]
            self.client.import_key_pair(KeyName=name, PublicKeyMaterial=public.encode(), TagSpecifications=tagged)
            return True
        return False

    def delete_tags(self, instance: str, keys: list[str]) -> None:
        """Those that are gone already are as good as deleted."""
        with aws_errors(f"remove tags of {instance}"):
            self.client.delete_tags(Resources=[instance], Tags=[{"Key": key} for key in keys])


def _give_up(response: tuple[Any, Mapping[str, Any]] | None, caught_exception: Exception | None, **_: Any) -> None:
    """Handler of `needs-retry`, before botocore's own."""
    from botocore.exceptions import ClientError

    if caught_exception is not None:
        raise caught_exception
    if response is None:
        return
    http, parsed = response
    code = str(parsed.get("Error", {}).get("Code", ""))
    if http.status_code >= 300 and code not in _THROTTLED:
        raise ClientError(dict(parsed), "RunInstances")
