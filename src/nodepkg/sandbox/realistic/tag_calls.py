"""Tags of groups: at most 50, each at most 128 and 256 characters long."""

from collections.abc import Iterable, Mapping
from typing import Any

from nodepkg.sandbox.realistic.errors import AwsRefusalError, invalid
from nodepkg.sandbox.realistic.records import Group
from nodepkg.sandbox.realistic.world import World

_MOST, _LONGEST_KEY, _LONGEST_VALUE = 50, 128, 256


def put(group: Group, tags: Iterable[Mapping[str, Any]]) -> None:
    """Raises ValidationError or LimitExceeded, and then puts none."""
    made = dict(group.tags)
    for tag in tags:
        key, value = tag["Key"], tag.get("Value", "")
        if not 1 <= len(key) <= _LONGEST_KEY or len(value) > _LONGEST_VALUE:
            raise invalid(f"The tag {key[:_LONGEST_KEY]} is too long: 128 characters for a key, 256 for a value")
        if key.startswith("aws:"):
            raise invalid("aws: prefixed tag key names are not allowed for external use.")
        made[key] = {
            "ResourceId": group.name,
            "ResourceType": "auto-scaling-group",
            "Key": key,
            "Value": value,
            "PropagateAtLaunch": tag.get("PropagateAtLaunch", False),
        }
    if len(made) > _MOST:
        raise AwsRefusalError("LimitExceeded", f"A group has at most {_MOST} tags")
    group.tags = made


def _group(world: World, tag: Mapping[str, Any]) -> Group:
    group = world.groups.get(tag.get("ResourceId", ""))
    if group is None:
        raise invalid(f"The following resources were not found: [{tag.get('ResourceId')}]")
    return group


def create_or_update(world: World, arguments: Mapping[str, Any]) -> dict[str, Any]:
    named = [(_group(world, tag), tag) for tag in arguments["Tags"]]
    before = {group.name: group.tags for group, _ in named}
    try:
        for group, tag in named:
            put(group, [tag])
    except AwsRefusalError:
        for group, _ in named:
            group.tags = before[group.name]
        raise
    for group, _ in named:
        world.touch(group)
    return {}


def delete(world: World, arguments: Mapping[str, Any]) -> dict[str, Any]:
    for group, tag in [(_group(world, tag), tag) for tag in arguments["Tags"]]:
        found = group.tags.get(tag["Key"])
        if found and tag.get("Value", found["Value"]) == found["Value"]:
            group.tags = {key: value for key, value in group.tags.items() if key != tag["Key"]}
        world.touch(group)
    return {}


def describe(world: World, arguments: Mapping[str, Any]) -> dict[str, Any]:
    from nodepkg.sandbox.realistic.group_calls import paged

    tags = [tag for group in world.groups.values() for tag in group.tags.values()]
    for one in arguments.get("Filters", []):
        tags = [tag for tag in tags if _value(tag, one["Name"]) in one.get("Values", [])]
    some, token = paged(arguments, tags, lambda tag: (tag["ResourceId"], tag["Key"]))
    return {"Tags": some, "NextToken": token}


def _value(tag: Mapping[str, Any], name: str) -> str:
    keys = {"auto-scaling-group": "ResourceId", "key": "Key", "value": "Value"}
    if name == "propagate-at-launch":
        return str(tag["PropagateAtLaunch"]).lower()
    if name not in keys:
        raise invalid(f"The filter {name} is not valid")
    return str(tag[keys[name]])


CALLS = {"CreateOrUpdateTags": create_or_update, "DeleteTags": delete, "DescribeTags": describe}
