"""packer:delete: all images of a group, and its Packer template."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from nodepkg.errors import RefusedError, UsageError
from nodepkg.images.clean import Judgement, Verdict, in_use, obstacle, orphans
from nodepkg.images.newest import belongs
from nodepkg.images.referrers import SERVED
from nodepkg.images.removal import Removal
from nodepkg.images.usage import Usage
from nodepkg.nodes.load import Nodes
from nodepkg.nodes.names import group_name_problem
from nodepkg.nodes.select import no_such_group, select
from nodepkg.plan import Report

FOLDER = "packer"


@dataclass(frozen=True)
class WholeGroup:
    """All images of a group are to go; ages count from `now` (aware)."""

    group: str
    now: datetime

    def judge(self, usage: Usage) -> Judgement:
        """A verdict on each image of the group, newest first; that it served keeps none: nothing is to roll back."""
        own = [image for image in reversed(usage.images) if belongs(image, self.group)]
        verdicts = []
        for image in own:
            why = obstacle(image, users(usage, image.id))
            verdicts.append(Verdict(image, self.group, usage.region, bool(why), why or "all of the group go"))
        return Judgement(usage, tuple(verdicts), tuple(orphans(usage, [self.group], timedelta(), self.now)))


def region_of(nodes: Nodes, group: str, region: str | None) -> str:
    """The region in which the group's images are; `region` is what the command line says.

    Raises UsageError for a name that no group can have, and for a group that nodes.json does not have, or has
    elsewhere, unless a region is named.
    """
    if problem := group_name_problem(group):
        raise UsageError(f"{group}: {problem}")
    if group in nodes.names:
        return nodes.region_of(select(nodes, [group], region)[0])
    if not region:
        missing = no_such_group(nodes, group)
        raise UsageError(
            missing.message, hint=f"{missing.hint} (of one that it had once, say where its images are: --region REGION)"
        )
    return region


def users(usage: Usage, image: str) -> list[str]:
    return [by for by in usage.references.get(image, ()) if by != SERVED]


def refusals(judgement: Judgement, sharing: Mapping[str, str]) -> list[str]:
    """A line for each image that something needs, or that is shared with others (`sharing` has with whom)."""
    why = {one.image.id: in_use(by) for one in judgement.verdicts if (by := users(judgement.usage, one.image.id))}
    found = {**sharing, **why}
    return [
        f"{one.image.id} ({one.image.name}) is {found[one.image.id]}"
        for one in judgement.verdicts
        if one.image.id in found
    ]


def template_files(root: Path, group: str) -> list[str]:
    """packer/GROUP.*, relative to the folder of nodes.json; whatever the name has in it is meant literally."""
    try:
        found = sorted((root / FOLDER).iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RefusedError(f"{root / FOLDER}: cannot be read: {error.strerror}") from error
    return [f"{FOLDER}/{path.name}" for path in found if path.name.startswith(f"{group}.") and not path.is_dir()]


@dataclass(frozen=True)
class RemoveFile:
    """A file of the project; `path` is relative to `root`."""

    root: Path
    path: str

    def __str__(self) -> str:
        return f"remove {self.path}"

    def run(self, world: Removal, /) -> Report:
        try:
            (self.root / self.path).unlink(missing_ok=True)
        except OSError as error:
            raise RefusedError(f"{self.path}: cannot be removed: {error.strerror}") from error
        return world.report(file=self.path)
