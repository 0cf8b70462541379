"""Answers to list calls, page by page."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from moto.autoscaling.exceptions import AutoscalingClientError, ValidationError
from moto.core.common_types import TYPE_RESPONSE
from moto.core.responses import ActionContext, ActionResult
from moto.ec2.exceptions import InvalidNextToken, InvalidParameterValue

from nodepkg.sandbox.paging import BadTokenError, Item, Key, page

_SCALING_DEFAULT, _SCALING_MOST = 50, 100


class _BadScalingTokenError(AutoscalingClientError):
    code = "InvalidNextToken"
    message = "The NextToken value is not valid."


def paged(
    response: Any,
    name: str,
    items: Sequence[Item],
    *,
    key: Key[Item],
    told: Callable[[Item], Mapping[str, Any]] | None = None,
    least: int = 5,
    default: int | None = None,
    most: int,
) -> ActionResult:
    """EC2's page of a request with MaxResults and NextToken, each item as `told` (for an ExactResult).

    Without either of them it has `default` items (None: all).
    """
    size, token = response._get_int_param("MaxResults", default), response._get_param("NextToken")
    if size is not None and size < least:
        raise InvalidParameterValue(f"Value ( {size} ) for parameter maxResults is invalid, it is below {least}.")
    if token:
        size = size or most
    try:
        found, following = page(items, key, token=token, size=min(size, most) if size else None)
    except BadTokenError as error:
        raise InvalidNextToken(token) from error
    if told:
        return ExactResult({name: [told(item) for item in found], "NextToken": following})
    return ActionResult({name: found, "NextToken": following})


def paged_scaling(response: Any, name: str, items: Sequence[Item], *, key: Key[Item]) -> ActionResult:
    """Auto Scaling's page of a request with MaxRecords and NextToken: 50 items by default, 100 at most."""
    size, token = response._get_int_param("MaxRecords", _SCALING_DEFAULT), response._get_param("NextToken")
    if not 1 <= size <= _SCALING_MOST:
        raise ValidationError(f"MaxRecords must be between 1 and {_SCALING_MOST}, not {size}")
    try:
        found, following = page(items, key, token=token, size=size)
    except BadTokenError as error:
        raise _BadScalingTokenError from error
    return ActionResult({name: found, "NextToken": following})


class ExactResult(ActionResult):
    """Mappings with the keys of the API's model: moto looks for each of them by several names, which takes its time."""

    def execute_result(self, context: ActionContext) -> TYPE_RESPONSE:
        serializer = context.serializer_class(
            operation_model=context.operation_model, value_picker=lambda wanted: wanted.obj.get(wanted.key)
        )
        serialized = serializer.serialize(self.result)
        return serialized["status_code"], serialized["headers"], serialized["body"]  # type: ignore[return-value]


def told_tags(resource: Any) -> list[dict[str, str]]:
    return [{"Key": tag["key"], "Value": tag["value"]} for tag in resource.get_tags()]
