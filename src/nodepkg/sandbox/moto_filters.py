"""Tags and filters as EC2 has them, and fast: moto walks through all tags of the account for each resource."""

import re
from collections.abc import Iterable
from datetime import datetime
from functools import lru_cache
from typing import Any

import moto.ec2.utils as moto_utils
from moto.ec2.models.core import TaggedEC2Resource
from moto.ec2.utils import EC2_PREFIX_TO_RESOURCE, get_prefix


def _get_tags(self: Any) -> list[dict[str, str]]:
    resource_type = EC2_PREFIX_TO_RESOURCE.get(get_prefix(self.id), "") if self.id else ""
    # .get: the dictionary makes an entry for every id that is asked for.
    tags = self.ec2_backend.tags.get(self.id, {})
    return [
        {"resource_id": self.id, "key": key, "value": value, "resource_type": resource_type}
        for key, value in list(tags.items())
    ]


def _is_filter_matching(resource: Any, name: str, wanted: Any) -> bool:
    """EC2's rule: one of the filter's values fits one of the resource's; `*` and `?` stand for others, `[` for itself.

    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Filtering.html
    """
    values = wanted if isinstance(wanted, list) else [] if wanted is None else [wanted]
    matches = _pattern(tuple(str(value) for value in values))
    return any(matches.fullmatch(value) for value in _texts(resource.get_filter_value(name)))


def _texts(value: Any) -> Iterable[str]:
    if value is None:
        return ()
    if isinstance(value, bool):
        return (str(value).lower(),)
    if isinstance(value, datetime):
        return (moto_utils.format_timestamp(value),)
    if isinstance(value, str | int):
        return (str(value),)
    return [str(one) for one in value] if isinstance(value, Iterable) else (str(value),)


@lru_cache(maxsize=256)
def _pattern(values: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{_expression(value)})" for value in values) or r"(?!)", re.DOTALL)


def _expression(value: str) -> str:
    """A backslash takes the meaning from `*`, `?` and itself."""
    parts = re.findall(r"\\[*?\\]|.", value, re.DOTALL)
    return "".join({"*": ".*", "?": "."}.get(part, re.escape(part[-1])) for part in parts)


def install() -> None:
    TaggedEC2Resource.get_tags = _get_tags  # type: ignore[method-assign]
    moto_utils.is_filter_matching = _is_filter_matching  # type: ignore[assignment]
