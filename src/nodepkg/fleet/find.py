"""Which instance a word of the command line means: a name, or an id."""

import re
from collections.abc import Callable, Iterable, Sequence

from nodepkg.clients.aws.account import Account
from nodepkg.clients.aws.machines import Machine, Machines
from nodepkg.errors import RefusedError, UsageError
from nodepkg.fleet.order import LIVING, some
from nodepkg.launch import MANAGED
from nodepkg.nodes.select import did_you_mean

ID = re.compile(r"i-[0-9a-f]{8,17}")


def instances(account: Account, regions: Iterable[str], word: str) -> list[tuple[str, Machine]]:
    """All that it may mean, each with its region, also those that are terminated and still shown."""
    found = []
    for region in sorted(set(regions)):
        machines = Machines(account, region)
        by_id = machines.machine(word) if ID.fullmatch(word) else None
        found += [(region, one) for one in ([by_id] if by_id else machines.named(word))]
    return found


def names(account: Account, regions: Iterable[str]) -> list[str]:
    """The names of nodepkg's instances that there are."""
    found = [
        one
        for region in sorted(set(regions))
        for one in Machines(account, region).instances({MANAGED: "true"}, tagged="group")
    ]
    return sorted({one.name for one in found if one.name})


def require_free(account: Account, regions: Iterable[str], name: str) -> None:
    """Raises RefusedError if an instance of this name lives in one of these regions: a name is to mean one."""
    living = [(region, one) for region, one in instances(account, regions, name) if one.state in LIVING]
    if living:
        told = some([f"{one.id} ({region}, {one.state})" for region, one in living])
        raise RefusedError(f"{name} lives already: {told}", hint="take another --name")


def the_one(found: list[tuple[str, Machine]], word: str, there: Callable[[], Sequence[str]]) -> tuple[str, Machine]:
    """The one that lives, else the one that has lived; raises UsageError for none, RefusedError for several.

    `there` gives the names that there are, of which the nearest are suggested.
    """
    living = [pair for pair in found if pair[1].state in LIVING]
    chosen = living or found
    if not chosen:
        hint = did_you_mean(word, there(), "those that there are: package instance:list")
        raise UsageError(f"no instance {word}", hint=hint)
    if len(chosen) > 1:
        told = some([f"{one.id} ({one.zone or region}, {one.state})" for region, one in chosen])
        raise RefusedError(f"{word} is several instances: {told}", hint="name one by its id")
    return chosen[0]


def require_ours(machine: Machine) -> None:
    """Raises RefusedError for what nodepkg does not manage, or what is of no group."""
    if machine.tags.get(MANAGED) != "true" or not machine.group:
        raise RefusedError(f"{machine.id} is not nodepkg's: it lacks the tag {MANAGED}=true, or group")
