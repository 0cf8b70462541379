"""Whether a policy allows a request: what IAM does with the elements that nodepkg's policies have.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements.html; an element that is not known here is
an error, so that no policy is taken for narrower than it is.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

_ELEMENTS = {"Sid", "Effect", "Action", "Resource", "Condition"}


@dataclass(frozen=True)
class Request:
    """One authorisation: an action on one resource (an ARN, or `*`); `context` has IAM's condition keys.

    A key with several values has them as a tuple.
    """

    action: str
    resource: str = "*"
    context: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict)


def allows(policy: Mapping[str, Any], request: Request) -> bool:
    return any(_fits(statement, request) for statement in policy["Statement"])


def matches(pattern: str, text: str) -> bool:
    """`*` and `?` stand for others, in an ARN also across its colons as far as they stand at its end."""
    return bool(re.fullmatch(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."), text))


def arn_matches(pattern: str, arn: str) -> bool:
    """Part by part: a `*` in the region is no part of the account."""
    if pattern == "*":
        return True
    wanted, given = pattern.split(":", 5), arn.split(":", 5)
    return len(wanted) == len(given) and all(map(matches, wanted, given))


def as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _fits(statement: Mapping[str, Any], request: Request) -> bool:
    unknown = statement.keys() - _ELEMENTS
    if unknown or statement["Effect"] != "Allow":
        raise AssertionError(f"this evaluator does not know {unknown or statement['Effect']}")
    return (
        any(matches(action.lower(), request.action.lower()) for action in as_list(statement["Action"]))
        and any(arn_matches(resource, request.resource) for resource in as_list(statement["Resource"]))
        and all(
            _holds(operator, as_list(values), request.context.get(key))
            for operator, keys in statement.get("Condition", {}).items()
            for key, values in keys.items()
        )
    )


_OPERATORS: Mapping[str, Callable[[str, str], bool]] = {
    "StringEquals": str.__eq__,
    "StringLike": matches,
    "ArnLike": arn_matches,
    "Bool": lambda wanted, given: wanted.lower() == given.lower(),
}


def _holds(operator: str, wanted: Sequence[str], given: str | tuple[str, ...] | None) -> bool:
    quantifier, _, plain = operator.rpartition(":")
    compare = _OPERATORS[plain]
    if given is None:
        return quantifier == "ForAllValues"
    values = [any(compare(one, value) for one in wanted) for value in as_list(given)]
    if not quantifier and len(values) != 1:
        raise AssertionError(f"{operator} compares one value, not {given}")
    return any(values) if quantifier == "ForAnyValue" else all(values)
