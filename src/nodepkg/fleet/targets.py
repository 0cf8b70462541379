"""Whom a deploy touches: running nodes of the chosen groups, and what each of them gets."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from nodepkg.clients.aws.account import Account
from nodepkg.clients.aws.machines import Machine
from nodepkg.errors import ConfigError, RefusedError, UsageError
from nodepkg.fleet.drain import drained_keys
from nodepkg.fleet.host import Host, host
from nodepkg.fleet.sight import Presence, presence
from nodepkg.launch import DRAINS, MANAGED
from nodepkg.nodes.group import Group


@dataclass(frozen=True)
class Narrowing:
    """Only hosts with one of these names (tag Name, or instance id), and in one of these zones: exact, or as globs."""

    names: tuple[str, ...] = ()
    zones: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.names or self.zones)

    def takes(self, machine: Machine) -> bool:
        named = not self.names or _matches(machine.name, self.names) or _matches(machine.id, self.names)
        return named and (not self.zones or _matches(machine.zone, self.zones))

    def __str__(self) -> str:
        return " ".join([*(f"--name {name}" for name in self.names), *(f"--zone {zone}" for zone in self.zones)])


@dataclass(frozen=True)
class LeftOut:
    """An instance with the tag of a group that is not deployed to, and why."""

    instance: str
    group: str
    why: str


@dataclass(frozen=True)
class Targets:
    """The hosts in the order of their turns: the groups' order, and within one by zones in turn.

    `living` are all instances of each group that were listed, `sizes` how many of them are its nodes, narrowed or not,
    and `tagged` how many run and have both tags: also members that Auto Scaling is about to take.
    Of the groups `left_over` an earlier deploy has left nodes out of their target groups, or processes suspended.
    """

    hosts: tuple[Host, ...]
    sizes: Mapping[str, int]
    living: Mapping[str, frozenset[str]]
    left_out: tuple[LeftOut, ...] = ()
    tagged: Mapping[str, int] = field(default_factory=dict)
    left_over: frozenset[str] = frozenset()


def find(account: Account, groups: Sequence[Group], narrowing: Narrowing) -> Targets:
    """The hosts of these groups; raises UsageError if the narrowing leaves none."""
    by_region: dict[str, list[Group]] = {}
    for group in groups:
        by_region.setdefault(group.region, []).append(group)
    found: dict[str, list[Host]] = {group.name: [] for group in groups}
    left_out: list[LeftOut] = []
    sizes, tagged = dict.fromkeys(found, 0), dict.fromkeys(found, 0)
    living: dict[str, set[str]] = {name: set() for name in found}
    left_over: set[str] = set()
    for region, here in by_region.items():
        there = presence(account, region, {group.name for group in here})
        address = {group.name: group.settings.deploy.address for group in here}
        empty = set(found) - {machine.group for machine in there.machines if machine.asg}
        left_over |= {asg.tags.get("group", "") for asg in there.asgs.values() if DRAINS in asg.tags} & empty
        for machine in there.machines:
            living[machine.group].add(machine.id)
            tagged[machine.group] += machine.state == "running" and machine.tags.get(MANAGED) == "true"
            if why := _excluded(there, machine):
                left_out.append(LeftOut(machine.id, machine.group, why))
                continue
            sizes[machine.group] += 1
            if drained_keys(machine.tags) or (machine.asg in there.asgs and DRAINS in there.asgs[machine.asg].tags):
                left_over.add(machine.group)
            if narrowing.takes(machine):
                found[machine.group].append(host(machine, region, address[machine.group]))
    if narrowing and not any(found.values()):
        meant = groups[0].name if len(groups) == 1 else f"these {len(groups)} groups"
        raise UsageError(f"{narrowing}: no running node of {meant}", hint="package instance:deploy --list shows all")
    hosts = tuple(one for group in groups for one in _zones_in_turn(found[group.name]))
    known = {name: frozenset(ids) for name, ids in living.items()}
    return Targets(hosts, sizes, known, tuple(left_out), tagged, frozenset(left_over))


def _excluded(there: Presence, machine: Machine) -> str:
    """Why it is not deployed to; "" if it is."""
    if machine.state != "running":
        return machine.state
    if machine.tags.get(MANAGED) != "true":
        return f"it has no tag {MANAGED}=true"
    return "" if there.counts(machine) else there.lifecycle(machine)


def _zones_in_turn(hosts: Sequence[Host]) -> list[Host]:
    """One of each zone, then the next of each: neighbours in time are no neighbours in space."""
    count: dict[str, int] = {}
    ranked = []
    for one in sorted(hosts, key=lambda host: host.instance):
        count[one.zone] = count.get(one.zone, 0) + 1
        ranked.append((count[one.zone], one.zone, one.instance, one))
    return [one for *_, one in sorted(ranked, key=lambda ranked: ranked[:3])]


def _matches(text: str, patterns: Sequence[str]) -> bool:
    return any(text == pattern or fnmatchcase(text, pattern) for pattern in patterns)


def own_dna(root: Path, one: Host) -> bytes | None:
    """The dna that a one-off has of its own; None if it has none.

    Raises ConfigError if the file holds none, RefusedError if it cannot be read.
    """
    if one.asg:
        return None
    path = root / "dna" / "instances" / f"{one.group}-{one.instance}.json"
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RefusedError(f"{path}: cannot be read: {error.strerror}") from error
    remedy = "mend it, or remove it: then the node gets the dna of its group"
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: is no JSON: {error}", hint=remedy) from error
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: is no JSON object", hint=remedy)
    return content


def own_dnas(root: Path, hosts: Sequence[Host]) -> Mapping[str, bytes]:
    """By instance, of those that have one."""
    found = {one.instance: own_dna(root, one) for one in hosts}
    return {instance: dna for instance, dna in found.items() if dna is not None}
