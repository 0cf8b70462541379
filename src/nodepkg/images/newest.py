"""Which image of a group counts."""

from collections.abc import Iterable

from nodepkg.clients.aws.images import Image, Images

MANAGED = {"nodepkg:managed": "true"}


def managed_images(images: Images) -> dict[str, list[Image]]:
    """The account's images that nodepkg manages, oldest first, by group: one listing for all groups."""
    return by_group(images.owned(MANAGED))


def by_group(images: Iterable[Image]) -> dict[str, list[Image]]:
    """Those of the images that nodepkg manages, by group, in the order in which they are given."""
    found: dict[str, list[Image]] = {}
    for image in images:
        group = image.tags.get("group")
        if group is not None and belongs(image, group):
            found.setdefault(group, []).append(image)
    return found


def belongs(image: Image, group: str) -> bool:
    """Whether nodepkg manages the image, and for this group: no other may be changed."""
    return image.tags.get("group") == group and MANAGED.items() <= image.tags.items()


def newest_available(images: Iterable[Image]) -> Image | None:
    """The newest image that can be used: a pending or failed one does not count."""
    return max((image for image in images if image.state == "available"), key=lambda image: image.order, default=None)


def unusable(image: Image | None, group: str) -> str:
    """Why an image that was named cannot be started as this group; "" if it can."""
    if image is None:
        return "is no image that this account can see"
    if image.state != "available":
        return f"is {image.state}, not available"
    owner = image.tags.get("group", group)
    return "" if owner == group else f"is an image of {owner}"
