"""What a project refers to but does not create: images, security groups, keys …, in a sandbox from its start."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class SeedImage:
    """An image by its id, or by a name (which may be a pattern of a `name` filter: one that matches it is made).

    `owner` is an account number, `self`, or an alias such as `amazon`.
    """

    id: str | None
    name: str
    owner: str = "amazon"
    architecture: str = "x86_64"


@dataclass(frozen=True, slots=True)
class SeedRegion:
    """What exists in one region: security groups by name or `sg-…`, subnets by `subnet-…`, profiles by name or ARN."""

    images: tuple[SeedImage, ...] = ()
    security_groups: tuple[str, ...] = ()
    key_pairs: tuple[str, ...] = ()
    instance_profiles: tuple[str, ...] = ()
    instance_types: tuple[str, ...] = ()
    subnets: tuple[str, ...] = ()
    target_groups: tuple[str, ...] = ()
    buckets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Seed:
    """What exists in each region, by the region's name."""

    regions: Mapping[str, SeedRegion] = field(default_factory=dict)

    def and_also(self, other: "Seed") -> "Seed":
        """What either names."""
        regions = dict(self.regions)
        for name, region in other.regions.items():
            mine = regions.get(name, SeedRegion())
            both = {
                one.name: dict.fromkeys([*getattr(mine, one.name), *getattr(region, one.name)])
                for one in fields(region)
            }
            regions[name] = SeedRegion(**{key: tuple(values) for key, values in both.items()})
        return Seed(regions)

    def to_json(self) -> dict[str, Any]:
        return {name: asdict(region) for name, region in self.regions.items()}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`; raises TypeError for keys or shapes that a seed does not have."""
        return cls({name: _region(**values) for name, values in document.items()})


def _region(*, images: list[dict[str, Any]] | tuple[dict[str, Any], ...] = (), **names: list[str]) -> SeedRegion:
    return SeedRegion(
        images=tuple(SeedImage(**image) for image in images),
        **{key: tuple(values) for key, values in names.items()},
    )
