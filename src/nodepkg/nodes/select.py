"""Which groups a command line means: names, globs, a region."""

from collections.abc import Collection, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase

from nodepkg.errors import RefusedError, UsageError
from nodepkg.nodes.group import Group
from nodepkg.nodes.load import Nodes


def select(nodes: Nodes, patterns: Sequence[str], region: str | None = None) -> list[str]:
    """The groups that the patterns (names or globs; none: all) and the region choose, in the order of the file.

    Raises UsageError for a pattern that matches nothing, with the nearest groups.
    """
    known = set(nodes.names)
    chosen = set[str]() if patterns else known
    for pattern in patterns:
        matched = _matching(known, pattern)
        if not matched:
            raise no_such_group(nodes, pattern)
        chosen |= matched
    names = [name for name in nodes.names if name in chosen]
    return names if region is None else _in_region(nodes, names, region)


def select_of_both(before: Nodes, after: Nodes, patterns: Sequence[str]) -> list[str]:
    """The groups of two versions of nodes.json that the patterns choose: those of `after`, then those that are gone."""
    kept = set(after.names)
    gone = dict.fromkeys(name for name in before.names if name not in kept)
    if not patterns:
        return [*after.names, *gone]
    left = {name for pattern in patterns for name in _matching(gone, pattern)}
    here = [pattern for pattern in patterns if _matching(kept, pattern) or not _matching(gone, pattern)]
    return [*(select(after, here) if here else ()), *(name for name in gone if name in left)]


def one(nodes: Nodes, pattern: str) -> str:
    """The one group that this name or glob chooses; raises UsageError if it is none or several."""
    names = select(nodes, [pattern])
    if len(names) > 1:
        raise UsageError(f"{pattern} is several groups: {', '.join(names[:10])}", hint="name one")
    return names[0]


def scaling(groups: Sequence[Group], patterns: Sequence[str]) -> tuple[list[Group], list[str]]:
    """The groups that have an Auto Scaling group, and the names of those that have none.

    Raises RefusedError if one of those was named outright.
    """
    without = [group.name for group in groups if group.settings.autoscale is None]
    named = [name for name in without if name in patterns]
    if named:
        raise RefusedError(
            f"{', '.join(named)}: has no Auto Scaling group: autoscale is false",
            hint='set "autoscale": {"node_min": 1} for it in nodes.json',
        )
    return [group for group in groups if group.settings.autoscale is not None], without


def _matching(names: Collection[str], pattern: str) -> set[str]:
    return {pattern} if pattern in names else {name for name in names if fnmatchcase(name, pattern)}


def _in_region(nodes: Nodes, names: list[str], region: str) -> list[str]:
    regions = {name: nodes.region_of(name) for name in names}
    here = [name for name in names if regions[name] == region]
    if not here:
        raise UsageError(
            f"no such group in region {region}", hint=f"they are in {', '.join(sorted(set(regions.values())))}"
        )
    return here


def no_such_group(nodes: Nodes, pattern: str) -> UsageError:
    """The error for a pattern that matches nothing, with the nearest groups."""
    if pattern in nodes.entries:
        return UsageError(f"{pattern} is a layer, not a group", hint="the groups are in: package group:list")
    hint = did_you_mean(pattern, nodes.names, "the groups are in: package group:list")
    return UsageError(f"no group {pattern} in {nodes.source.path}", hint=hint)


def did_you_mean(word: str, names: Sequence[str], otherwise: str) -> str:
    """A hint with the nearest names; `otherwise` if there is none near."""
    nearest = get_close_matches(word, names, n=3, cutoff=0.4)
    return f"did you mean {', '.join(nearest)}?" if nearest else otherwise
