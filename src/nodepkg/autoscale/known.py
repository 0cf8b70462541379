"""What many groups ask AWS for before anything is changed: lists are read whole, and once, not for each group."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nodepkg.clients.aws.account import Account
from nodepkg.clients.aws.balancing import target_group_arns, target_groups
from nodepkg.clients.aws.ec2 import Ec2, Subnet
from nodepkg.clients.aws.templates import LaunchTemplates, TemplatePin
from nodepkg.errors import AwsError

# For so many groups each asks for what it needs; for more, all that there is in the region is read.
ONE_BY_ONE = 3


@dataclass
class Known:
    """The answers of one command. `many`: that it has so many groups that whole lists take fewer calls."""

    account: Account
    many: bool = False
    _ec2: dict[str, "KnownEc2"] = field(default_factory=dict)
    _targets: dict[str, Mapping[str, str]] = field(default_factory=dict)
    _current: dict[str, Mapping[tuple[str, str], Mapping[str, Any]]] = field(default_factory=dict)
    _data: dict[tuple[str, TemplatePin], Mapping[str, Any]] = field(default_factory=dict)

    def ec2(self, region: str) -> Ec2:
        return self._ec2.setdefault(region, KnownEc2(self.account, region, many=self.many))

    def target_group_arns(self, region: str, names: Sequence[str]) -> list[str]:
        """As clients.aws.balancing.target_group_arns."""
        if not self.many or all(name.startswith("arn:") for name in names):
            return target_group_arns(self.account, region, names)
        if region not in self._targets:
            self._targets[region] = target_groups(self.account, region)
        there = self._targets[region]
        if missing := [name for name in names if not name.startswith("arn:") and name not in there]:
            raise AwsError(f"no target group {', '.join(missing)} in {region}", code="TargetGroupNotFound")
        return [there.get(name, name) for name in names]

    def template_data(self, region: str, pin: TemplatePin) -> Mapping[str, Any] | None:
        """The data of a template version, which never changes; None if it is gone, or cannot be seen yet."""
        key = (region, pin)
        if key not in self._data:
            data = self._of_current(region).get((pin.id or pin.name or "", pin.version)) if self.many else None
            if data is None:
                found = LaunchTemplates(self.account, region).pinned_version(pin)
                if found is None:
                    return None
                data = found.data
            self._data[key] = data
        return self._data[key]

    def _of_current(self, region: str) -> Mapping[tuple[str, str], Mapping[str, Any]]:
        """Of every template the default and the latest version: as a rollout leaves it, that is what runs."""
        if region not in self._current:
            found = LaunchTemplates(self.account, region).default_and_latest()
            self._current[region] = {
                (name, str(one.number)): one.data for one in found for name in (one.template_id, one.template)
            }
        return self._current[region]


@dataclass
class KnownEc2(Ec2):
    """Asks for each thing once; for `many` groups for all security groups of a VPC together."""

    many: bool = False
    _zones: dict[str, set[str]] = field(default_factory=dict)
    _default: list[Subnet] | None = None
    _subnets: dict[tuple[str, ...], list[Subnet]] = field(default_factory=dict)
    _groups: dict[str, dict[str, str]] = field(default_factory=dict)

    def zones_offering(self, instance_type: str) -> set[str]:
        if instance_type not in self._zones:
            self._zones[instance_type] = super().zones_offering(instance_type)
        return self._zones[instance_type]

    def default_subnets(self) -> list[Subnet]:
        if self._default is None:
            self._default = super().default_subnets()
        return self._default

    def subnets(self, ids: Sequence[str]) -> list[Subnet]:
        key = tuple(sorted(ids))
        if key not in self._subnets:
            self._subnets[key] = super().subnets(ids)
        return self._subnets[key]

    def security_groups(self, names: Iterable[str], vpc: str) -> dict[str, str]:
        if not self.many:
            return super().security_groups(names, vpc)
        if vpc not in self._groups:
            self._groups[vpc] = self.all_security_groups(vpc)
        wanted: Collection[str] = set(names)
        return {name: group for name, group in self._groups[vpc].items() if name in wanted}
