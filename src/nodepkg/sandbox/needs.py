"""What the embedded AWS must have before the first command: all that groups refer to and nodepkg does not create."""

from collections.abc import Iterable

from nodepkg.nodes.group import Group
from nodepkg.sandbox.seed import Seed, SeedImage, SeedRegion


def needs(groups: Iterable[Group]) -> Seed:
    """The source images, security groups, key pairs, profiles, types, subnets … that the groups name, by region."""
    by_region: dict[str, list[Group]] = {}
    for group in groups:
        by_region.setdefault(group.region, []).append(group)
    return Seed({region: _region(members) for region, members in by_region.items()})


def _region(groups: list[Group]) -> SeedRegion:
    settings = [group.settings for group in groups]
    builders = [one.packer.builder.get("instance_type") for one in settings]
    return SeedRegion(
        images=tuple(dict.fromkeys(image for group in groups for image in _images(group))),
        security_groups=_unique(name for group in groups for name in group.security_groups),
        key_pairs=_unique(one.key_name for one in settings),
        instance_profiles=_unique(one.iam_instance_profile for one in settings),
        instance_types=_unique([*(one.instance_type for one in settings), *builders]),
        subnets=_unique(name for group in groups for name in group.subnets),
        target_groups=_unique(name for one in settings if one.autoscale for name in one.autoscale.target_groups),
        buckets=_unique(one.deploy.bucket for one in settings),
    )


def _images(group: Group) -> Iterable[SeedImage]:
    settings = group.settings
    if settings.source_ami:
        yield SeedImage(settings.source_ami, f"source image {settings.source_ami}")
    if settings.source_ami_filter:
        yield SeedImage(None, settings.source_ami_filter.name, settings.source_ami_filter.owners[0])


def _unique(names: Iterable[str | None]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for name in names if name))
