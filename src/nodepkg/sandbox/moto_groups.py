"""Security groups that something uses cannot go, and key pairs go by their id as well: moto knows neither."""

from collections.abc import Iterator
from typing import Any

from moto.core.responses import ActionResult
from moto.ec2.exceptions import DependencyViolationError
from moto.ec2.models.security_groups import SecurityGroupBackend
from moto.ec2.responses.key_pairs import KeyPairs

_delete_security_group = SecurityGroupBackend._delete_security_group
_answer_delete_by_name = KeyPairs.delete_key_pair


def _delete_unused_group(self: Any, vpc_id: str | None, group_id: str) -> None:
    users = next(_users_of(self, group_id), None)
    if users:
        raise DependencyViolationError(f"resource {group_id} has a dependent object")
    _delete_security_group(self, vpc_id, group_id)


def _users_of(backend: Any, group_id: str) -> Iterator[str]:
    """Instances until they are terminated, and rules of other groups."""
    for instance in backend.all_instances():
        groups = [*instance.security_groups, *(group for nic in instance.nics.values() for group in nic.group_set)]
        if instance.state != "terminated" and any(group.id == group_id for group in groups):
            yield instance.id
    for groups in list(backend.groups.values()):
        for group in list(groups.values()):
            rules = [*group.ingress_rules, *group.egress_rules]
            if group.id != group_id and any(rule.source_group.get("GroupId") == group_id for rule in rules):
                yield group.id


def _answer_delete_key_pair(self: KeyPairs) -> ActionResult:
    key_id = self._get_param("KeyPairId")
    if not key_id:
        return _answer_delete_by_name(self)
    self.error_on_dryrun()
    pairs = self.ec2_backend.key_pairs
    named = [name for name, pair in list(pairs.items()) if pair.id == key_id]
    for name in named:
        self.ec2_backend.delete_key_pair(name)
    return ActionResult({"Return": True, "KeyPairId": key_id if named else None})


def install() -> None:
    SecurityGroupBackend._delete_security_group = _delete_unused_group  # type: ignore[method-assign]
    KeyPairs.delete_key_pair = _answer_delete_key_pair  # type: ignore[method-assign]
