"""What packer:list prints."""

from collections.abc import Mapping
from datetime import datetime
from shlex import quote

from nodepkg.cli.layout import age, count, printable
from nodepkg.images.listing import ListedImage, Stranger
from nodepkg.nodes.names import group_name_problem

COLUMNS = ("image", "name", "age", "size", "state", "digest", "commit", "base", "in use by")
_FEW = 3


def row(listed: ListedImage, now: datetime) -> tuple[str, ...]:
    image = listed.image
    return (
        image.id,
        image.name,
        age(listed.age(now)),
        f"{image.size_gb} GB",
        f"{image.state}, protected" if image.protected else image.state,
        {True: "current", False: "stale", None: "?"}[listed.current],
        _short(listed.commit),
        listed.base,
        few(listed.in_use_by),
    )


def few(references: tuple[str, ...]) -> str:
    """The first of them, and how many more there are."""
    more = len(references) - _FEW
    shown = references if more <= 1 else (*references[:_FEW], f"{more} more")
    return ", ".join(shown)


def not_known(unknown: Mapping[str, str]) -> list[str]:
    """Of which groups it is not known whether their images are current (name -> why): a line for each reason."""
    why: dict[str, list[str]] = {}
    for name, reason in unknown.items():
        why.setdefault(reason.removeprefix(f"{name}: "), []).append(name)
    whose = {reason: "its" if len(names) == 1 else "their" for reason, names in why.items()}
    return [
        f"{few(tuple(names))}: whether {whose[reason]} images are current is not known: {reason}"
        for reason, names in why.items()
    ]


def told(stranger: Stranger) -> str:
    """Of a group whose images packer:clean does not reach, what there is, and how it goes."""
    group, region = stranger.group, stranger.region
    where = f"nodes.json has it in {stranger.home}" if stranger.home else "it is not in nodes.json"
    text = f"{printable(group)} has {count(stranger.images, 'image')} ({stranger.size_gb} GB) in {region}, but {where}"
    if stranger.home or group_name_problem(group):
        return text
    return f"{text}; to delete them: package packer:delete {quote(group)} --region {quote(region)}"


def _short(commit: str) -> str:
    sha, dirty, _ = commit.partition("-dirty")
    return sha[:10] + dirty
