"""What each Auto Scaling group of a group is: the one that serves, a new one, a kept one. Pure: by tags and sizes."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Protocol, TypeVar

from nodepkg.autoscale.journal import PHASE, ROLLING, Phase, Record, kept_in, read
from nodepkg.clients.aws.tags import Tags
from nodepkg.launch import MANAGED


class Listed(Protocol):
    """An Auto Scaling group as a listing shows it."""

    @property
    def name(self) -> str: ...
    @property
    def tags(self) -> Tags: ...
    @property
    def min(self) -> int: ...
    @property
    def max(self) -> int: ...
    @property
    def desired(self) -> int: ...


One = TypeVar("One", bound=Listed)


class Role(StrEnum):
    """What a generation is to its group."""

    SERVING = "serving"
    STOPPED = "stopped"
    NEW = "new"
    KEPT = "kept"
    FOREIGN = "not nodepkg's"
    UNKNOWN = "unknown"


def role(asg: Listed) -> Role:
    if asg.tags.get(MANAGED) != "true":
        return Role.FOREIGN
    match asg.tags.get(PHASE):
        case Phase.SERVING:
            return Role.STOPPED if is_stopped(asg) else Role.SERVING
        case Phase.KEPT:
            return Role.KEPT
        case phase if phase in set(ROLLING):
            return Role.NEW
    return Role.UNKNOWN


def is_empty(asg: Listed) -> bool:
    return not (asg.min or asg.max or asg.desired)


def is_stopped(asg: Listed) -> bool:
    """Whether autoscale:stop has taken its nodes: it remembers the sizes that it is to have again."""
    return is_empty(asg) and kept_in(asg.tags) is not None and asg.tags.get(PHASE) == Phase.SERVING


def is_half_stopped(asg: Listed) -> bool:
    """Whether a stop or a start of it broke off: it remembers sizes, though it has some."""
    return not is_empty(asg) and kept_in(asg.tags) is not None and asg.tags.get(PHASE) == Phase.SERVING


def serving(asgs: Iterable[One]) -> list[One]:
    """Those that serve, or would if they were not stopped: one, unless somebody has meddled with the tags."""
    return [asg for asg in asgs if role(asg) in (Role.SERVING, Role.STOPPED)]


def rollout(asgs: Iterable[One]) -> tuple[One, Record] | None:
    """The new group of a rollout that is under way, and what is recorded of it."""
    for asg in asgs:
        if role(asg) is Role.NEW and (record := read(asg.tags)):
            return asg, record
    return None


def continuing(group: str, record: Record) -> str:
    """The command that goes on with a rollout: one that is being rolled back stays one."""
    return f"package autoscale:{'rollback' if record.phase is Phase.ROLLBACK else 'update'} {group}"


def obstacle(asgs: Iterable[Listed]) -> str:
    """Why a command other than an update or a rollback has to leave the group alone; "" if it need not."""
    asgs = list(asgs)
    if under_way := rollout(asgs):
        asg, record = under_way
        return f"a rollout to {asg.name} is under way ({record.phase}); continue it, or undo it, first"
    if lost := [asg.name for asg in asgs if role(asg) is Role.NEW]:
        return f"{', '.join(lost)} is of a rollout whose record cannot be read"
    if len(several := serving(asgs)) > 1:
        return f"several of its Auto Scaling groups serve: {', '.join(asg.name for asg in several)}"
    return ""
