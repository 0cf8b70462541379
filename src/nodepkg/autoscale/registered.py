"""What the registry of services says in a rollout: when nodes are ready, who is to hear that others go. Pure."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Protocol

from nodepkg.autoscale.journal import Phase, Record, counted
from nodepkg.autoscale.steps import Change, OfAsg
from nodepkg.autoscale.view import Asg, Node, Registered, View
from nodepkg.clients.aws.account import Account
from nodepkg.errors import NodepkgError
from nodepkg.plan import Report
from nodepkg.services.blocking import Picture
from nodepkg.services.entries import Leaving
from nodepkg.services.terms import Location


@dataclass(frozen=True)
class Membership:
    """How a group takes part in a registry: where that is, the services that its nodes are to announce, and after how
    many seconds one that is dead has vanished.
    """

    location: Location
    provides: tuple[str, ...]
    ttl: float = 30.0


class Registries(Protocol):
    """All registries (services.blocking.EtcdRegistries)."""

    def look(
        self, asked: Mapping[Location, Mapping[str, Collection[str]]], /
    ) -> Mapping[Location, Picture | NodepkgError]: ...

    def say_leaving(self, location: Location, leaving: Sequence[Leaving], /) -> None: ...

    def unsay_leaving(self, location: Location, instances: Collection[str], by: str, /) -> None: ...


@dataclass(frozen=True)
class SayLeaving(OfAsg):
    """Announces that nodes of a group (`asg`) are about to go; `since` is seconds since the epoch, by AWS's clock."""

    aspect = "leaving"
    registries: Registries
    location: Location
    by: str
    instances: tuple[str, ...]
    since: float

    def __str__(self) -> str:
        return f"announce in the registry that {counted(len(self.instances))} of {self.asg} will leave"

    def run(self, _: Account, /) -> Report:
        since = datetime.fromtimestamp(self.since, UTC).isoformat(timespec="milliseconds")
        self.registries.say_leaving(self.location, [Leaving(one, self.by, since) for one in self.instances])
        return self._done()

    def shows_in(self, view: View) -> bool:
        return view.registry is None or bool(view.registry.lost) or set(self.instances) <= view.registry.leaving


@dataclass(frozen=True)
class UnsayLeaving(OfAsg):
    """Takes back what `by` has announced of nodes of a group."""

    aspect = "leaving"
    registries: Registries
    location: Location
    by: str
    instances: tuple[str, ...]

    def __str__(self) -> str:
        return f"take back from the registry that {counted(len(self.instances))} of {self.asg} will leave"

    def run(self, _: Account, /) -> Report:
        self.registries.unsay_leaving(self.location, self.instances, self.by)
        return self._done()

    def shows_in(self, view: View) -> bool:
        return view.registry is None or not set(self.instances) & view.registry.said


def by(group: str) -> str:
    """Who says that nodes of the group leave: whatever process carries the rollout out."""
    return f"autoscale:update {group}"


def judged(
    nodes: Iterable[Node], membership: Membership, picture: Picture | NodepkgError, record: Record | None
) -> tuple[Node, ...]:
    """The nodes of a new group, with whether they have announced all that they are to.

    When the old group has begun to go, nobody is taken for sick because the registry cannot be asked. A generation
    that is brought back is not what nodes.json says now: there it is what the node's own agent says.
    """
    if isinstance(picture, NodepkgError):
        if record and record.phase is not Phase.CLAIM:
            return tuple(nodes)
        why = f"it is not known what it has announced: {picture.message}"
        return tuple(replace(node, announced=False, why=node.why or why) for node in nodes)
    own = record is not None and record.from_kept
    return tuple(_judged(node, None if own else membership.provides, picture) for node in nodes)


def _judged(node: Node, provides: Collection[str] | None, picture: Picture) -> Node:
    wanted = picture.agents.get(node.id) if provides is None else provides
    if wanted is None:
        return replace(node, announced=False, why=node.why or "its agent has not announced it")
    told = picture.leaving.get(node.id)
    there = {one for one in picture.announced.get(node.id, ()) if told is None or not told.takes(one)}
    lacking = [service for service in wanted if service not in there]
    why = f"{', '.join(lacking)} not announced"
    return replace(node, announced=False, why=node.why or why) if lacking else node


@dataclass(frozen=True)
class Reading:
    """What is read out of a picture for one group, in a region, `now` (seconds since the epoch, by AWS's clock)."""

    group: str
    region: str
    membership: Membership
    registries: Registries
    picture: Picture | NodepkgError
    now: float

    def shown_in(self, view: View) -> View:
        """The view with what the registry shows."""
        new = view.new and replace(view.new, nodes=judged(view.new.nodes, self.membership, self.picture, view.record))
        return replace(view, new=new, registry=self.of(view.old, new, view.record))

    def of(self, old: Asg | None, new: Asg | None, record: Record | None) -> Registered:
        """`new` is None where no rollout is under way, and `old` serves."""
        picture = self.picture
        if isinstance(picture, NodepkgError):
            return Registered(lost=picture.message, ttl=self.membership.ttl)
        ours = {name for name, told in picture.leaving.items() if told.by == by(self.group)}
        leaves = {name for name, told in picture.leaving.items() if told.services is None}
        nodes = [node.id for node in old.nodes if not node.lifecycle.startswith("Terminat")] if old else []
        untold, back = [name for name in nodes if name not in leaves], [name for name in nodes if name in ours]
        gone = ours - {node.id for asg in (old, new) if asg for node in asg.nodes}
        faded = {name for name in gone if name not in picture.announced and name not in picture.agents}
        stale = sorted(faded if new else {*faded, *back})
        asg = old.name if old else record.old if record else ""
        since = [_moment(told.since, self.now) for name, told in picture.leaving.items() if name in back]
        return Registered(
            leaving=frozenset(leaves),
            said=frozenset(ours),
            say=self._say(asg, untold if new else ()),
            unsay=self._unsay(asg, back if new else ()),
            leftover=self._unsay(asg, stale),
            fading=len(gone - faded),
            told=max(since, default=0.0),
            waits_for=_waits_for(nodes, untold, picture, self.group) if new else "",
            ttl=self.membership.ttl,
        )

    def _say(self, asg: str, names: Sequence[str]) -> tuple[Change, ...]:
        place = self.region, asg, self.registries, self.membership.location, by(self.group)
        return (SayLeaving(*place, tuple(names), self.now),) if names else ()

    def _unsay(self, asg: str, names: Sequence[str]) -> tuple[Change, ...]:
        place = self.region, asg, self.registries, self.membership.location, by(self.group)
        return (UnsayLeaving(*place, tuple(names)),) if names else ()


def _waits_for(nodes: Sequence[str], untold: Sequence[str], picture: Picture, group: str) -> str:
    """Why nobody can say yet that all have heard of it, in words."""
    if unknown := [name for name in nodes if name not in picture.agents]:
        return f"the registry does not know {', '.join(unknown)}, so neither who uses it"
    if untold:
        return f"that {', '.join(untold)} will leave is not announced yet"
    waiting = sorted({name for names in picture.waiting.get(group, {}).values() for name in names})
    return f"{', '.join(waiting)} {'has' if len(waiting) == 1 else 'have'} not acknowledged yet" if waiting else ""


def _moment(text: str, now: float) -> float:
    """Seconds since the epoch; 0 for none that has been."""
    try:
        moment = datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        return 0.0
    return moment if moment <= now else 0.0
