"""Answers to list calls of EC2, page by page."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from moto.core.common_types import TYPE_RESPONSE
from moto.core.responses import ActionContext, ActionResult
from moto.ec2.exceptions import InvalidNextToken, InvalidParameterValue

from nodepkg.sandbox.paging import BadTokenError, Item, Key, page


def paged(
    response: Any,
    name: str,
    items: Sequence[Item],
    *,
    key: Key[Item],
    least: int = 5,
    most: int,
    exact: Callable[[Item], Mapping[str, Any]] | None = None,
) -> ActionResult:
    """The page of a request with MaxResults and NextToken; without either of them everything, as EC2 does it.

    `exact` makes an item what `ExactResult` takes.
    """
    size, token = response._get_int_param("MaxResults"), response._get_param("NextToken")
    if size is not None and size < least:
        raise InvalidParameterValue(
            f"Value ( {size} ) for parameter maxResults is invalid. Expecting a value >= {least}."
        )
    if token:
        size = most if size is None else size
    try:
        found, following = page(items, key, token=token, size=None if size is None else min(size, most))
    except BadTokenError as error:
        raise InvalidNextToken(token) from error
    if exact:
        return ExactResult({name: [exact(item) for item in found], "NextToken": following})
    return ActionResult({name: found, "NextToken": following})


class ExactResult(ActionResult):
    """Mappings with the keys of the API's model: moto looks for each of them by several names, which takes its time."""

    def execute_result(self, context: ActionContext) -> TYPE_RESPONSE:
        serializer = context.serializer_class(
            operation_model=context.operation_model, value_picker=lambda wanted: wanted.obj.get(wanted.key)
        )
        serialized = serializer.serialize(self.result)
        return serialized["status_code"], serialized["headers"], serialized["body"]  # type: ignore[return-value]
