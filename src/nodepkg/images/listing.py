"""packer:list: the images of the groups, and what is to be known of each."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from nodepkg.clients.aws.images import Image
from nodepkg.errors import NodepkgError
from nodepkg.images.due import current_digest
from nodepkg.images.newest import by_group
from nodepkg.images.referrers import SOURCE_TAG
from nodepkg.images.usage import Usage
from nodepkg.nodes.group import Group
from nodepkg.render.packer import PackerTemplates


@dataclass(frozen=True)
class ListedImage:
    """An image of a group. `current`: whether nodes.json would give the same one now, None if that is not known."""

    group: str
    region: str
    image: Image
    current: bool | None
    in_use_by: tuple[str, ...]

    @property
    def commit(self) -> str:
        return self.image.tags.get("nodepkg:commit", "")

    @property
    def base(self) -> str:
        return self.image.tags.get(SOURCE_TAG, "")

    def age(self, now: datetime) -> int:
        """In seconds."""
        return int((now - self.image.created).total_seconds())

    def document(self, now: datetime) -> dict[str, Any]:
        return {
            "group": self.group,
            "region": self.region,
            "image": self.image.id,
            "name": self.image.name,
            "created": self.image.created.isoformat(),
            "age_seconds": self.age(now),
            "size_gb": self.image.size_gb,
            "state": self.image.state,
            "protected": self.image.protected,
            "digest": self.image.tags.get("nodepkg:digest") or None,
            "current": self.current,
            "commit": self.commit or None,
            "base": self.base or None,
            "in_use_by": list(self.in_use_by),
        }


@dataclass(frozen=True)
class Stranger:
    """A group that has images in a region, while nodes.json has it elsewhere (`home`) or not at all."""

    group: str
    region: str
    images: int
    size_gb: int
    home: str | None

    def document(self) -> dict[str, Any]:
        return {
            "group": self.group,
            "region": self.region,
            "images": self.images,
            "size_gb": self.size_gb,
            "region_in_nodes": self.home,
        }


def listing(
    usages: Mapping[str, Usage], homes: Mapping[str, str], digest: Callable[[str], str | None]
) -> list[ListedImage]:
    """The images of these groups (name -> region), group by group, each group's newest first.

    `digest` gives what an image of a group would have now, None if that cannot be said; it is asked only of
    groups that have images.
    """
    images = {region: by_group(usage.images) for region, usage in usages.items()}
    found = []
    for group, region in homes.items():
        made = sorted(images[region].get(group, []), key=lambda image: image.order, reverse=True)
        wanted = digest(group) if made else None
        for image in made:
            current = None if wanted is None else image.tags.get("nodepkg:digest") == wanted
            used = usages[region].references.get(image.id, ())
            found.append(ListedImage(group, region, image, current, used))
    return found


def strangers(usages: Iterable[Usage], home: Callable[[str], str | None]) -> list[Stranger]:
    """The groups that have images where nodes.json does not have them. `home` gives the region that it says."""
    return [
        Stranger(group, usage.region, len(images), sum(image.size_gb for image in images), home(group))
        for usage in usages
        for group, images in sorted(by_group(usage.images).items())
        if home(group) != usage.region
    ]


class Digests:
    """What images of the groups would have as their digest now; `unknown` tells of which that could not be said."""

    def __init__(self, templates: PackerTemplates, groups: Sequence[Group], wrong: Mapping[str, str]) -> None:
        self._templates = templates
        self._groups = {group.name: group for group in groups}
        self._wrong = wrong
        self.unknown: dict[str, str] = {}

    def __call__(self, name: str) -> str | None:
        if name not in self._groups:
            self.unknown[name] = self._wrong.get(name, "it is not in nodes.json")
            return None
        try:
            return current_digest(self._templates, self._groups[name])
        except NodepkgError as error:
            self.unknown[name] = error.message
            return None
