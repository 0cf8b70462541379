"""Whose turn it is to converge, as it follows from what stands below the pace of a group. Pure."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any
from zlib import crc32

SLOT = "slot/"
CANARY = "canary"
PROVEN = "proven"
CONVERGING = "converging"
FAILED = "failed"
_DIGITS = 19  # of a revision, which has 63 bits


@dataclass(frozen=True)
class Who:
    """A node by both of its names: an image that was made of a running node brings its agent's, too."""

    instance: str
    agent: str


@dataclass(frozen=True)
class Canary:
    """The node that tries a change before the others do. `state` is CONVERGING or FAILED."""

    instance: str
    agent: str
    revision: int
    state: str = CONVERGING

    @property
    def who(self) -> Who:
        return Who(self.instance, self.agent)

    def written(self) -> str:
        """The value of its key."""
        return json.dumps(asdict(self), separators=(",", ":"), ensure_ascii=False)


@dataclass(frozen=True)
class Holder:
    """Who holds a slot, and since when (an ISO time)."""

    instance: str
    agent: str
    since: str

    def written(self) -> str:
        """The value of its key."""
        return json.dumps(asdict(self), separators=(",", ":"), ensure_ascii=False)


@dataclass(frozen=True)
class Picture:
    """All that counts. `holders`: slot -> who holds it, None where that cannot be read; `proven` is a revision."""

    holders: Mapping[int, Who | None]
    canary: Canary | None = None
    proven: int = 0


@dataclass(frozen=True)
class Turn:
    """A node may take this slot; as the canary if it has to show that the change is good."""

    slot: int
    canary: bool


def picture(values: Mapping[str, str]) -> Picture:
    """What stands below the pace of a group, by name (`slot/0`, `canary`, `proven`).

    Whoever holds a slot holds it whatever its value is; a canary or a proof that cannot be read is as if it were not
    there.
    """
    slots = {name.removeprefix(SLOT): value for name, value in values.items() if name.startswith(SLOT)}
    return Picture(
        {int(number): holder(value) for number, value in slots.items() if _is_number(number)},
        canary(values.get(CANARY, "")),
        int(values[PROVEN]) if _is_number(values.get(PROVEN, "")) else 0,
    )


def holder(value: str) -> Who | None:
    """Who holds a slot; None for a value that does not say it."""
    found = _document(value)
    instance, agent = found.get("instance"), found.get("agent")
    return Who(instance, agent) if isinstance(instance, str) and isinstance(agent, str) else None


def canary(value: str) -> Canary | None:
    """None for a value that is none."""
    found = _document(value)
    try:
        known = Canary(found["instance"], found["agent"], found["revision"], found["state"])
    except KeyError:
        return None
    texts = all(isinstance(text, str) for text in (known.instance, known.agent))
    return known if texts and type(known.revision) is int and known.state in (CONVERGING, FAILED) else None


def turn(seen: Picture, me: Who, revision: int, at_once: int) -> Turn | None:
    """What a node may take that wants to converge for a revision; None: it has to wait.

    Of several free slots nodes choose different ones, so that few meet. Where fewer may converge than before, whoever
    holds a slot beyond those counts as well.
    """
    mine = seen.canary is not None and seen.canary.who == me
    as_canary = mine or revision > seen.proven
    if as_canary and not mine and seen.canary and not _is_over(seen.canary, seen):
        return None
    free = [number for number in range(at_once) if number not in seen.holders][: max(at_once - len(seen.holders), 0)]
    return Turn(free[crc32(me.instance.encode()) % len(free)], as_canary) if free else None


def _is_over(known: Canary, seen: Picture) -> bool:
    """One that converges has a slot; without it, its time is over, and it could not say how it ended."""
    return known.state == CONVERGING and known.who not in seen.holders.values()


def _document(value: str) -> dict[str, Any]:
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _DIGITS
