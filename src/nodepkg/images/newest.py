"""Which image of a group counts."""

from collections.abc import Iterable

from nodepkg.clients.aws.images import Image, Images

MANAGED = {"nodepkg:managed": "true"}


def managed_images(images: Images) -> dict[str, list[Image]]:
    """The account's images that nodepkg manages, oldest first, by group: one listing for all groups."""
    by_group: dict[str, list[Image]] = {}
    for image in images.owned(MANAGED):
        if "group" in image.tags:
            by_group.setdefault(image.tags["group"], []).append(image)
    return by_group


def belongs(image: Image, group: str) -> bool:
    """Whether nodepkg manages the image, and for this group: no other may be changed."""
    return image.tags.get("group") == group and image.tags.get("nodepkg:managed") == "true"


def newest_available(images: Iterable[Image]) -> Image | None:
    """The newest image that can be used: a pending or failed one does not count."""
    return max((image for image in images if image.state == "available"), key=lambda image: image.order, default=None)
