"""Which groups provide a service and which need it: of all groups of a nodes.json. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Any

from nodepkg.nodes.findings import Finding
from nodepkg.nodes.group import Group
from nodepkg.nodes.load import Nodes
from nodepkg.nodes.names import role_of
from nodepkg.nodes.services import Services, provided


@dataclass(frozen=True)
class Member:
    """A group that takes part: what it provides and requires, what it knows to be attached, and its registry."""

    group: str
    provides: tuple[str, ...]
    requires: tuple[str, ...]
    external: tuple[str, ...]
    registry: tuple[tuple[str, ...], str]
    """The endpoints of its etcd and the prefix: groups see only those of the same."""


@dataclass(frozen=True)
class Service:
    """A service, the groups that provide it and those that require it; `external`: it is (also) attached."""

    name: str
    providers: tuple[str, ...]
    consumers: tuple[str, ...]
    external: bool

    @property
    def is_missing(self) -> bool:
        return not self.providers and not self.external


@dataclass(frozen=True)
class ServiceGraph:
    """The services by name, and the circles of groups that need each other, each closed: (a, b, a)."""

    services: tuple[Service, ...]
    circles: tuple[tuple[str, ...], ...]

    @property
    def groups(self) -> list[str]:
        """Those that provide or require anything."""
        return list(dict.fromkeys(name for one in self.services for name in (*one.providers, *one.consumers)))

    def of(self, groups: Set[str]) -> "ServiceGraph":
        """What these groups provide and require, and the circles that they are in."""
        services = [
            one for one in self.services if one.external or not groups.isdisjoint((*one.providers, *one.consumers))
        ]
        circles = [circle for circle in self.circles if not groups.isdisjoint(circle)]
        return ServiceGraph(tuple(services), tuple(circles))


def members(nodes: Nodes) -> list[Member]:
    """The groups with the key `services`, in the order of the file.

    From the merge, not from Groups: one that is wrong elsewhere must not hide what it provides from others.
    """
    found = []
    for name in nodes.names:
        settings = nodes.merged(name).get("services")
        if isinstance(settings, dict):
            found.append(_member(nodes, name, settings))
    return found


def provides(nodes: Nodes, group: Group) -> list[str]:
    """The services that the nodes of a group provide, in the order of its run list; groups' roles are followed."""
    services = group.settings.services
    return provided(expanded_run_list(nodes, group.name), services.cookbook) if services else []


def expanded_run_list(nodes: Nodes, name: str) -> list[str]:
    """The group's run list, the roles of other groups replaced by what they run, as Chef does."""
    return list(_expanded(nodes, name, {name}))


def _expanded(nodes: Nodes, name: str, seen: set[str]) -> Iterator[str]:
    merged = nodes.merged(name)
    for item in [*_texts(merged.get("run_list")), *_texts(merged.get("post_run_list"))]:
        role = role_of(item)
        owner = nodes.role_owner(role) if role else None
        if owner is None:
            yield item
        elif owner not in seen:
            seen.add(owner)
            yield from _expanded(nodes, owner, seen)


def graph(found: Iterable[Member]) -> ServiceGraph:
    """The graph of these groups."""
    providers: dict[str, list[str]] = {}
    consumers: dict[str, list[str]] = {}
    external = set[str]()
    for member in found:
        external.update(member.external)
        for name in member.provides:
            providers.setdefault(name, []).append(member.group)
        for name in member.requires:
            consumers.setdefault(name, []).append(member.group)
    names = sorted({*providers, *consumers, *external})
    services = [
        Service(name, tuple(providers.get(name, ())), tuple(consumers.get(name, ())), name in external)
        for name in names
    ]
    return ServiceGraph(tuple(services), tuple(_circles(services)))


def unprovided(nodes: Nodes, groups: Iterable[Group]) -> list[Finding]:
    """What config:check tells of services that a group requires and that nobody provides where the group looks."""
    needy = [group for group in groups if group.settings.services and group.settings.services.requires]
    found = {member.group: member for member in members(nodes)} if needy else {}
    findings = []
    for group in needy:
        member = found[group.name]
        for name in member.requires:
            problem = _problem(name, member, found.values())
            places = _places(nodes, group, name) if problem else ()
            findings += [Finding(entry, path, problem or "", (group.name,)) for entry, path in places]
    return findings


def unused(nodes: Nodes, groups: Iterable[Group]) -> list[Finding]:
    """What config:check warns of: ports and checks of services that no run list has, as after a slip of the pen."""
    there = [group for group in groups if group.settings.services]
    known = {name for member in members(nodes) for name in member.provides} if there else set()
    findings = []
    for group in there:
        for key in ("ports", "checks"):
            for entry, named in _named_in(nodes, group, key):
                told = "no run list has this service"
                findings += [
                    Finding(entry, ("services", key, name), told, (group.name,)) for name in named if name not in known
                ]
    return findings


def _named_in(nodes: Nodes, group: Group, key: str) -> Iterator[tuple[str, list[str]]]:
    """The services that a key names, and in which entry: the nearest to the group counts."""
    for entry in (group.name, *reversed(group.layers)):
        services = nodes.entries[entry].get("services")
        named = services.get(key) if isinstance(services, dict) else None
        if isinstance(named, dict):
            yield entry, [name for name, value in named.items() if value is not None]
            return


def circles(nodes: Nodes, groups: Iterable[Group]) -> list[str]:
    """What config:check tells of groups that need each other in a circle, of which one is among these."""
    needy = {group.name for group in groups if group.settings.services and group.settings.services.requires}
    found = graph(members(nodes)).of(needy).circles if needy else ()
    return [told_circle(circle) for circle in found]


def told_circle(circle: tuple[str, ...]) -> str:
    return f"these groups need each other: {' -> '.join(circle)}"


def _problem(name: str, member: Member, found: Iterable[Member]) -> str | None:
    if name in member.external:
        return None
    others = [other for other in found if name in other.provides]
    if any(other.registry == member.registry for other in others):
        return None
    if others:
        told = f"{others[0].group} announces it in another registry ({', '.join(others[0].registry[0])}"
        return f"{name}: nobody provides it here: {told}, prefix {others[0].registry[1]})"
    return f"{name}: no group provides it (no run list has it), and `external` does not name it"


def _places(nodes: Nodes, group: Group, name: str) -> Iterator[tuple[str, tuple[str | int, ...]]]:
    """Where `requires` names it: the entry nearest to the group counts, since objects merge at level 1."""
    for entry in (group.name, *reversed(group.layers)):
        services = nodes.entries[entry].get("services")
        if isinstance(services, dict) and services.get("requires") is not None:
            for index, item in enumerate(_texts(services["requires"])):
                if item == name:
                    yield entry, ("services", "requires", index)
            return


def _member(nodes: Nodes, name: str, settings: Mapping[str, Any]) -> Member:
    cookbook, external = settings.get("cookbook"), settings.get("external")
    etcd, prefix = settings.get("etcd") or _default("etcd"), settings.get("prefix") or _default("prefix")
    return Member(
        name,
        tuple(provided(expanded_run_list(nodes, name), cookbook) if isinstance(cookbook, str) else ()),
        tuple(dict.fromkeys(_texts(settings.get("requires")))),
        tuple(key for key, value in external.items() if value is not None) if isinstance(external, dict) else (),
        (tuple(sorted(_texts(etcd))), str(prefix)),
    )


def _circles(services: Iterable[Service]) -> Iterator[tuple[str, ...]]:
    """Some circles of groups that need each other, so that each such group is in one."""
    needs: dict[str, set[str]] = {}
    for service in services:
        for group in service.consumers:
            needs.setdefault(group, set()).update(other for other in service.providers if other != group)
    while True:
        try:
            TopologicalSorter(needs).prepare()
        except CycleError as error:
            circle = tuple(reversed(error.args[1]))
            yield circle
            needs[circle[0]].discard(circle[1])
        else:
            return


def _default(key: str) -> Any:
    return Services.model_fields[key].default


def _texts(value: Any) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
