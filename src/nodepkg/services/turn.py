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
class Canary:
    """The node that tries a change before the others do. `state` is CONVERGING or FAILED."""

    instance: str
    agent: str
    revision: int
    state: str = CONVERGING

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
    """All that counts. `agents`: slot -> the agent that holds it, "" where that cannot be read; `proven` a revision."""

    agents: Mapping[int, str]
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
        {int(number): _agent(value) for number, value in slots.items() if _is_number(number)},
        canary(values.get(CANARY, "")),
        int(values[PROVEN]) if _is_number(values.get(PROVEN, "")) else 0,
    )


def canary(value: str) -> Canary | None:
    """None for a value that is none."""
    found = _document(value)
    try:
        known = Canary(found["instance"], found["agent"], found["revision"], found["state"])
    except KeyError:
        return None
    texts = all(isinstance(text, str) for text in (known.instance, known.agent))
    return known if texts and type(known.revision) is int and known.state in (CONVERGING, FAILED) else None


def turn(seen: Picture, agent: str, revision: int, at_once: int) -> Turn | None:
    """What a node may take that wants to converge for a revision; None: it has to wait.

    Of several free slots agents choose different ones, so that few meet. Where fewer may converge than before, whoever
    holds a slot beyond those counts as well.
    """
    mine = seen.canary is not None and seen.canary.agent == agent
    as_canary = mine or revision > seen.proven
    if as_canary and not mine and seen.canary and not _is_over(seen.canary, seen):
        return None
    free = [number for number in range(at_once) if number not in seen.agents][: max(at_once - len(seen.agents), 0)]
    return Turn(free[crc32(agent.encode()) % len(free)], as_canary) if free else None


def _is_over(known: Canary, seen: Picture) -> bool:
    """One that converges has a slot; without it, its time is over, and it could not say how it ended."""
    return known.state == CONVERGING and known.agent not in seen.agents.values()


def _agent(value: str) -> str:
    agent = _document(value).get("agent")
    return agent if isinstance(agent, str) else ""


def _document(value: str) -> dict[str, Any]:
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _DIGITS
