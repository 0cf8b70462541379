"""A statement of an IAM policy, and policies made of statements."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html: white space does not count.
MOST_CHARACTERS = 6144


@dataclass(frozen=True)
class Statement:
    """Allows `actions` on `resources` if all `conditions` hold; `sid` says what for.

    Statements with one sid have conditions on the same keys, and are of one kind, so that what they allow together is
    no danger beyond what each does (a test has what that is).
    """

    sid: str
    actions: frozenset[str]
    resources: tuple[str, ...] = ("*",)
    conditions: tuple["Condition", ...] = ()

    def document(self, partition: str) -> dict[str, Any]:
        operators: dict[str, dict[str, Any]] = {}
        for condition in self.conditions:
            values = [value.replace("arn:aws:", f"arn:{partition}:") for value in condition.values]
            operators.setdefault(condition.operator, {})[condition.key] = _plain(values)
        resources = [_arn(resource, partition) for resource in self.resources]
        told = {"Sid": self.sid, "Effect": "Allow", "Action": _plain(sorted(self.actions))}
        return {**told, "Resource": _plain(resources), **({"Condition": operators} if operators else {})}


@dataclass(frozen=True)
class Condition:
    """The key of the request has one of the values, as the operator compares them."""

    operator: str
    key: str
    values: tuple[str, ...]


def merged(statements: Iterable[Statement]) -> list[Statement]:
    """One statement for each sid, in the order of their first; it allows what they allow together."""
    found: dict[str, Statement] = {}
    for one in statements:
        found[one.sid] = _together(found[one.sid], one) if one.sid in found else one
    return [one for one in (_without_needless(one, found.values()) for one in found.values()) if one.resources]


def policy(statements: Iterable[Statement], *, partition: str = "aws") -> dict[str, Any]:
    """The document; `partition` is `aws`, `aws-cn` or `aws-us-gov`."""
    return {"Version": "2012-10-17", "Statement": [one.document(partition) for one in merged(statements)]}


def characters(document: Mapping[str, Any]) -> int:
    """How many of MOST_CHARACTERS it has."""
    return len(json.dumps(document, separators=(",", ":"), ensure_ascii=False).replace(" ", ""))


def partition_of(regions: Iterable[str]) -> str:
    """Which of AWS's partitions the regions are in; that of none is `aws`."""
    prefixes = {"cn-": "aws-cn", "us-gov-": "aws-us-gov"}
    found = [name for region in regions for prefix, name in prefixes.items() if region.startswith(prefix)]
    return found[0] if found else "aws"


def _together(one: Statement, other: Statement) -> Statement:
    pairs = zip(one.conditions, other.conditions, strict=True)
    conditions = [replace(first, values=_united(first.values, second.values)) for first, second in pairs]
    resources = _united(one.resources, other.resources)
    return replace(one, actions=one.actions | other.actions, resources=resources, conditions=tuple(conditions))


def _without_needless(one: Statement, statements: Iterable[Statement]) -> Statement:
    """Without those resources on which other statements allow its actions without any condition."""
    if not one.conditions:
        return one
    free = {
        resource
        for other in statements
        if not other.conditions and one.actions <= other.actions
        for resource in other.resources
    }
    return replace(one, resources=tuple(resource for resource in one.resources if resource not in free))


def _united(first: Sequence[str], second: Sequence[str]) -> tuple[str, ...]:
    return tuple(sorted({*first, *second}))


def _plain(values: Sequence[str]) -> str | list[str]:
    """As IAM takes one value."""
    return values[0] if len(values) == 1 else list(values)


def _arn(resource: str, partition: str) -> str:
    """`ec2:image/*` as an ARN, in every region and account."""
    if resource == "*":
        return resource
    service, _, name = resource.partition(":")
    place = {"iam": ":*", "s3": ":"}.get(service, "*:*")
    return f"arn:{partition}:{service}:{place}:{name}"
