"""Tags as AWS's services take and give them."""

from collections.abc import Mapping
from typing import Any

Tags = Mapping[str, str]


def filters(tags: Tags | None) -> list[dict[str, Any]]:
    return [{"Name": f"tag:{key}", "Values": [value]} for key, value in (tags or {}).items()]


def tag_list(tags: Tags) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def tags_of(raw: Mapping[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in raw.get("Tags", [])}
