"""What one observation of a group's Auto Scaling groups shows: plain values, which rollout.py decides on."""

from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import TYPE_CHECKING

from nodepkg.autoscale.journal import OWN_SUSPENDED, PHASE, Phase, Record, Sizes, kept_in, read, split
from nodepkg.clients.aws.tags import Tags
from nodepkg.ready import unhealthy_in

if TYPE_CHECKING:
    from nodepkg.autoscale.steps import Change

EMPTY = Sizes(0, 0, 0)
# Processes of Auto Scaling, in AWS's words.
SCHEDULED, ALARMS, REPLACE = "ScheduledActions", "AlarmNotification", "ReplaceUnhealthy"

# Since when each fact has been observed without a break, with its value: seconds by AWS's clock.
Seen = Mapping[str, tuple[Hashable, float]]


@dataclass(frozen=True)
class Node:
    """An instance of a group. `lifecycle` in AWS's words; `targets` are (target group, state) where it is registered.

    `healthy` is what Auto Scaling says, `checks` that EC2's status checks passed, `answers` that its health_url does,
    `announced` that the registry has its services (both true where that is not asked for). `why` says what it lacks,
    for people; "" if it is ready.
    """

    id: str
    lifecycle: str = "InService"
    healthy: bool = True
    checks: bool = True
    answers: bool = True
    targets: tuple[tuple[str, str], ...] = ()
    protected: bool = False
    why: str = ""
    announced: bool = True

    @property
    def up(self) -> bool:
        """Ready but for its health_url and services, which an older generation may not have known."""
        return self.lifecycle == "InService" and self.healthy and self.checks

    @property
    def ready(self) -> bool:
        return self.up and self.answers and self.announced

    def serves(self, targets: Collection[str]) -> bool:
        """Healthy in each of these target groups."""
        return all((target, "healthy") in self.targets for target in targets)


@dataclass(frozen=True)
class Asg:
    """One Auto Scaling group. `targets` are the ARNs of the target groups attached to it.

    `nodes` are all that AWS lists, those that come and go as well. `deleting`: AWS is at it.
    """

    name: str
    min: int
    max: int
    desired: int
    tags: Tags = field(default_factory=dict)
    suspended: frozenset[str] = frozenset()
    targets: frozenset[str] = frozenset()
    nodes: tuple[Node, ...] = ()
    deleting: bool = False

    @property
    def sizes(self) -> Sizes:
        return Sizes(self.min, self.max, self.desired)

    @cached_property
    def record(self) -> Record | None:
        return read(self.tags)

    @property
    def kept(self) -> Sizes | None:
        return kept_in(self.tags)

    @property
    def phase(self) -> str:
        return self.tags.get(PHASE, "")

    @property
    def own_suspended(self) -> frozenset[str]:
        """Of a kept group: the processes that its user had suspended."""
        return split(self.tags.get(OWN_SUSPENDED, ""))

    @property
    def registered(self) -> int:
        """How many of its nodes some target group lists still, draining ones too."""
        return sum(any(state != "unused" for _, state in node.targets) for node in self.nodes)


class Goal(Enum):
    """What a process wants of the group it holds: a recorded rollback comes first either way."""

    UPDATE = "update"
    ROLLBACK = "rollback"


@dataclass(frozen=True)
class Terms:
    """What nodes.json and the environment say: sizes in nodes, everything else in seconds; `keep_old` in groups."""

    min: int = 1
    max: int = 1
    ready_timeout: float = 900
    bake_time: float = 60
    timeout: float = 120
    unhealthy_after: float = 60
    keep_old: int = 0
    window: float = 10
    wait_full: bool = False


@dataclass(frozen=True)
class Registered:
    """What the registry of services shows of a group, and the changes there that are still to be made.

    `lost` is why it cannot be asked: then nothing else is known. `leaving` are all instances that are said to leave,
    `said` those of whom this group's rollouts have said so. `say` announces that O's nodes leave, `unsay` takes it
    back, `leftover` what nobody needs any more; of `fading` nodes that are gone it is to be taken away as soon as they
    have vanished themselves, which takes `ttl` seconds. `told` is when the last of O's nodes was announced as leaving
    (seconds since the epoch, 0 for never), and `waits_for` who is known to not have heard of it, "" for nobody.
    """

    lost: str = ""
    leaving: frozenset[str] = frozenset()
    said: frozenset[str] = frozenset()
    say: tuple["Change", ...] = ()
    unsay: tuple["Change", ...] = ()
    leftover: tuple["Change", ...] = ()
    fading: int = 0
    told: float = 0.0
    waits_for: str = ""
    ttl: float = 30.0

    @property
    def lost_told(self) -> str:
        return f"the registry cannot be asked: {self.lost}" if self.lost else ""

    @property
    def is_heard(self) -> bool:
        """Whether all that use O's nodes are known to have heard that they leave."""
        return not (self.lost or self.waits_for)

    def until_vanished(self, since: float) -> float:
        """Until when what has gone by `since` may take to vanish from the registry; 0 if it has."""
        return since + 2 * self.ttl if self.fading else 0.0


@dataclass(frozen=True)
class View:
    """One observation, with what this process remembers.

    `old` is the serving group, or the one that the record names; `new` the one of a rollout; `kept` older generations
    at size 0, oldest first. `claim` is the action that begins what is wanted: None if nothing differs. `aim` is the
    name of the new group that this process has worked on, "" before. The rest are changes that are still to be made
    where the state of the rollout calls for them, in their order, none where it does not: `carry` copies to N what O
    has, `alarms` points O's alarms to N's policies (in a rollback: back), `housekeeping` is what done leaves in order.
    `registry` is None for a group without services.
    """

    goal: Goal
    terms: Terms
    old: Asg | None
    new: Asg | None
    kept: tuple[Asg, ...] = ()
    claim: "Change | None" = None
    aim: str = ""
    carry: tuple["Change", ...] = ()
    alarms: tuple["Change", ...] = ()
    housekeeping: tuple["Change", ...] = ()
    seen: Seen = field(default_factory=dict)
    registry: Registered | None = None

    @property
    def record(self) -> Record | None:
        return self.new.record if self.new else None

    def steady(self, fact: str, now: float) -> bool:
        """Whether the fact holds, and held in an observation that is a consistency window older."""
        return self.held(fact, now) >= self.terms.window

    def held(self, fact: str, now: float) -> float:
        """For how long the fact has held, in seconds; -1 if it does not, or was not observed before."""
        value, since = self.seen.get(fact, (None, now))
        return now - since if value is not None else -1.0


def whole(asg: Asg, targets: Collection[str], *, answering: bool) -> frozenset[str] | None:
    """The ids of the group's nodes if they are exactly as many as desired and all ready; None otherwise."""
    ready = all((node.ready if answering else node.up) and node.serves(targets) for node in asg.nodes)
    return frozenset(node.id for node in asg.nodes) if ready and len(asg.nodes) == asg.desired else None


def lacks(asg: Asg, targets: frozenset[str]) -> str:
    """How far a group is from being ready, with the reason of the first node that is not."""
    ready = sum(node.ready and node.serves(targets) for node in asg.nodes)
    said = f"{ready} of {asg.desired} nodes ready"
    first = next((node for node in asg.nodes if not (node.ready and node.serves(targets))), None)
    if first is None:
        return said
    there = dict(first.targets)
    return f"{said}; {first.id}: {first.why or unhealthy_in({arn: there.get(arn, '') for arn in sorted(targets)})}"


def facts(view: View) -> dict[str, Hashable]:
    """What has to be observed more than once before it is believed, or for some time; None where it does not hold."""
    old, new, record = view.old, view.new, view.record
    told: dict[str, Hashable] = {"no new": True if new is None else None}
    if old:
        told["old sizes"] = (old.sizes, SCHEDULED in old.suspended)
        told["old at rest"] = old.desired if ALARMS in old.suspended else None
    if new and record:
        told["old gone"] = True if old is None else None
        told["new whole"] = whole(new, record.targets & new.targets, answering=True)
        told["new lacking"] = True if told["new whole"] is None else None
        if old:
            told["old whole"] = whole(old, record.old_targets, answering=False)
            ready = sum(node.ready and node.serves(record.targets) for node in new.nodes)
            told["sick"] = True if ready < old.desired else None
            carries = new.desired >= old.desired and record.targets <= new.targets
            told["new carries"] = told["new whole"] if carries else None
    if view.registry:
        told["registry lost"] = True if view.registry.lost else None
    return told


def remember(seen: Seen, view: View, now: float) -> Seen:
    """What is known after this observation, which ended `now`: facts that changed, or are new, hold since then."""
    told = facts(view)
    return {
        fact: seen[fact] if fact in seen and seen[fact][0] == value else (value, now) for fact, value in told.items()
    }


__all__ = [
    "EMPTY",
    "Asg",
    "Goal",
    "Node",
    "Phase",
    "Registered",
    "Seen",
    "Sizes",
    "Terms",
    "View",
    "facts",
    "remember",
    "whole",
]
