"""What is written down of a rollout, in tags of the new group: a later process, on any machine, goes on from it.

One fact for each tag (AWS takes 256 characters), none of them propagated to nodes. A fact is written before the change
that it describes.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from nodepkg.clients.aws.tags import Tags

PHASE = "nodepkg:phase"
RUN = "nodepkg:run"
SINCE = "nodepkg:since"
TARGET = "nodepkg:target:"  # + a number: the target groups that nodepkg has this group serve
KEPT = "nodepkg:kept-"  # + min, max, desired: the sizes of a group that is kept, or stopped, at 0/0/0
OWN_SUSPENDED = "nodepkg:own-suspended"  # of a kept group: what its user had suspended

_OLD = "nodepkg:old"
_OLD_TARGET = "nodepkg:old-target:"
_OLD_SUSPENDED = "nodepkg:old-suspended"
VERSION = "nodepkg:version"
IMAGE = "nodepkg:image"
_FROM_KEPT = "nodepkg:from-kept"
_OLD_MIN, _OLD_MAX, _PIN = "nodepkg:old-min", "nodepkg:old-max", "nodepkg:pin"
_DEADLINE = "nodepkg:deadline"
_REASON = "nodepkg:reason"

LONGEST = 256
MOST_TAGS = 50  # the most that a group may have


class Phase(StrEnum):
    """The value of the tag PHASE. Only what cannot be seen in AWS is recorded; the rest follows from the sizes."""

    CLAIM = "claim"
    CUT = "cut"
    HOLD = "hold"
    ROLLBACK = "rollback"
    DONE = "done"
    SERVING = "serving"
    KEPT = "kept"


# The phases of a group that is the new one of a rollout.
ROLLING = frozenset({Phase.CLAIM, Phase.CUT, Phase.HOLD, Phase.ROLLBACK, Phase.DONE})


@dataclass(frozen=True)
class Sizes:
    min: int
    max: int
    desired: int

    def __str__(self) -> str:
        return f"{between(self.min, self.max)}, {self.desired} desired"


@dataclass(frozen=True)
class Record:
    """The journal of one rollout.

    `old` is O's name, `old_targets` its target groups (ARNs) and `old_suspended` what its user had suspended when the
    rollout began; `targets` are N's. `own` are O's own sizes (with the desired size to which it is pinned), None until
    they are recorded. `deadline` and `since` (of the phase) are seconds since the epoch, by AWS's clock.
    """

    run: str
    phase: Phase
    old: str
    old_targets: frozenset[str] = frozenset()
    old_suspended: frozenset[str] = frozenset()
    targets: frozenset[str] = frozenset()
    version: int = 0
    image: str = ""
    from_kept: bool = False
    own: Sizes | None = None
    deadline: float | None = None
    since: float = 0.0
    reason: str = ""

    def tags(self) -> dict[str, str]:
        """As tags; what is not known yet has none."""
        own = self.own
        facts = {
            RUN: self.run,
            PHASE: self.phase.value,
            _OLD: self.old,
            _OLD_SUSPENDED: joined(self.old_suspended),
            VERSION: str(self.version),
            IMAGE: self.image,
            SINCE: moment(self.since),
            **numbered(_OLD_TARGET, self.old_targets),
            **numbered(TARGET, self.targets),
        }
        if self.from_kept:
            facts[_FROM_KEPT] = "true"
        if own:
            facts |= own_sizes(own)
        if self.deadline is not None:
            facts[_DEADLINE] = moment(self.deadline)
        if self.reason:
            facts[_REASON] = self.reason[:LONGEST]
        return facts


def read(tags: Tags) -> Record | None:
    """The record in a group's tags; None if there is none, or none that can be understood."""
    try:
        phase = Phase(tags[PHASE])
        if phase not in ROLLING:
            return None
        own = Sizes(int(tags[_OLD_MIN]), int(tags[_OLD_MAX]), int(tags[_PIN])) if _PIN in tags else None
        return Record(
            run=tags[RUN],
            phase=phase,
            old=tags.get(_OLD, ""),
            old_targets=frozenset(_numbered_in(tags, _OLD_TARGET)),
            old_suspended=split(tags.get(_OLD_SUSPENDED, "")),
            targets=frozenset(targets_in(tags)),
            version=int(tags.get(VERSION, "0")),
            image=tags.get(IMAGE, ""),
            from_kept=_FROM_KEPT in tags,
            own=own,
            deadline=float(tags[_DEADLINE]) if _DEADLINE in tags else None,
            since=float(tags.get(SINCE, "0")),
            reason=tags.get(_REASON, ""),
        )
    except (KeyError, ValueError):
        return None


def most_tags(record: Record) -> int:
    """How many tags its group has when everything of the rollout is recorded, with the two that each of ours has."""
    whole = replace(record, own=Sizes(0, 0, 0), deadline=0.0, reason="-")
    kept = len(kept_sizes(Sizes(0, 0, 0))) + len((OWN_SUSPENDED,)) if record.from_kept else 0
    return len(whole.tags()) + kept + 2


def leftover_keys(tags: Tags) -> list[str]:
    """The tags that only a rollout needs: they go when it is done."""
    alone = {_OLD, _OLD_SUSPENDED, _FROM_KEPT, _OLD_MIN, _OLD_MAX, _PIN, _DEADLINE, _REASON, OWN_SUSPENDED}
    return sorted(key for key in tags if key in alone or key.startswith((_OLD_TARGET, KEPT)))


def own_sizes(own: Sizes) -> dict[str, str]:
    """The tags that remember O's own sizes."""
    return {_OLD_MIN: str(own.min), _OLD_MAX: str(own.max), _PIN: str(own.desired)}


def deadline(until: float) -> dict[str, str]:
    return {_DEADLINE: moment(until)}


def entered(phase: Phase, now: float, reason: str = "") -> dict[str, str]:
    """The tags of a phase that begins now."""
    return {PHASE: phase.value, SINCE: moment(now)} | ({_REASON: reason[:LONGEST]} if reason else {})


def kept_sizes(sizes: Sizes) -> dict[str, str]:
    return {f"{KEPT}min": str(sizes.min), f"{KEPT}max": str(sizes.max), f"{KEPT}desired": str(sizes.desired)}


def kept_in(tags: Tags) -> Sizes | None:
    """The sizes that a kept or stopped group is to have again."""
    try:
        return Sizes(*(int(tags[f"{KEPT}{which}"]) for which in ("min", "max", "desired")))
    except (KeyError, ValueError):
        return None


def between(least: int, most: int) -> str:
    """`1 to 4 nodes`, `2 nodes`, `1 node`."""
    return f"{least} to {most} nodes" if least != most else counted(most)


def counted(nodes: int) -> str:
    """`1 node`, `2 nodes`."""
    return f"{nodes} node{'s' * (nodes != 1)}"


def numbered(prefix: str, values: Iterable[str]) -> dict[str, str]:
    return {f"{prefix}{number}": value for number, value in enumerate(sorted(values))}


def targets_in(tags: Tags) -> list[str]:
    """The target groups (ARNs) that nodepkg has a group serve."""
    return _numbered_in(tags, TARGET)


def _numbered_in(tags: Mapping[str, str], prefix: str) -> list[str]:
    return [value for key, value in sorted(tags.items()) if key.startswith(prefix)]


def joined(names: Iterable[str]) -> str:
    """For a tag, which AWS lets be empty but some of its tools do not show: `-` is none."""
    return " ".join(sorted(names)) or "-"


def split(text: str) -> frozenset[str]:
    return frozenset(text.split()) - {"-"}


def moment(seconds: float) -> str:
    return f"{seconds:.3f}"


def started(run: str, now: float, *, version: int, image: str, targets: Iterable[str]) -> dict[str, str]:
    """The tags of a group that was not made by a rollout: it serves from its beginning."""
    return {
        RUN: run,
        **entered(Phase.SERVING, now),
        VERSION: str(version),
        IMAGE: image,
        **numbered(TARGET, targets),
    }
