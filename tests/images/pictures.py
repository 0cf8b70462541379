"""Pictures of a region for tests: images, their snapshots, and what refers to them."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from nodepkg.clients.aws.images import Image, Snapshot
from nodepkg.images.usage import Usage

START = datetime(2026, 1, 1, tzinfo=UTC)
REGION = "us-east-1"


def image(
    number: int,
    state: str = "available",
    *,
    days: int | None = None,
    group: str = "bee",
    tags: Mapping[str, str] | None = None,
    snapshots: Sequence[str] | None = None,
    protected: bool = False,
) -> Image:
    """ami-N, made N days after START (or `days`), of 8 GB, with snap-N."""
    return Image(
        f"ami-{number}",
        f"{group} {number}",
        START + timedelta(days=number if days is None else days),
        state,
        {"group": group, "nodepkg:managed": "true", **(tags or {})},
        (f"snap-{number}",) if snapshots is None else tuple(snapshots),
        8,
        protected,
    )


def snapshot(number: int, *, of: str | None = None, hours: float = 0, group: str = "bee", gb: int = 8) -> Snapshot:
    """snap-N, begun that many hours after START for the image `of` (ami-N)."""
    tags = {"group": group, "nodepkg:managed": "true", "nodepkg:image-snapshot": "true"}
    made_for = f"Created by CreateImage(i-1) for {of or f'ami-{number}'}"
    return Snapshot(f"snap-{number}", START + timedelta(hours=hours), tags, gb, made_for)


def usage(
    images: Iterable[Image],
    references: Mapping[str, Sequence[str]] | None = None,
    snapshots: Iterable[Snapshot] = (),
    taken: float = 0.0,
) -> Usage:
    used = {image: tuple(by) for image, by in (references or {}).items()}
    oldest_first = tuple(sorted(images, key=lambda one: one.order))
    return Usage(REGION, taken, oldest_first, tuple(snapshots), used, {"instances": 0})
