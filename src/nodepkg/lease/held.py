"""The leases of the groups that a command changes, from before its first change to its end."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from nodepkg.clients.aws.account import Account
from nodepkg.errors import NodepkgError
from nodepkg.lease.claim import Kind, Lease, claim
from nodepkg.nodes.group import Group


@dataclass(frozen=True)
class Claimant:
    """Who claims: the command as others are told of it, and its run. `window` is the consistency window in seconds."""

    command: str
    run_id: str
    window: float
    sleep: Callable[[float], None]
    warn: Callable[[str], None]
    take_over: bool = False


@contextmanager
def held(account: Account, groups: Sequence[Group], who: Claimant) -> Iterator[Mapping[str, Lease]]:
    """The leases by group; within it one may look at the groups. They are released in the end, however it ends.

    Raises RefusedError if somebody else holds one of them: then none is held.
    """
    with ExitStack() as stack:
        leases: dict[str, Lease] = {}
        for group in groups:
            leases[group.name] = _claim(account, group.region, group.name, who, "group")
            stack.callback(_release, leases[group.name], who.warn)
        if leases:
            who.sleep(who.window)  # the last request of a holder that was killed may show only now
        yield leases


@contextmanager
def held_name(account: Account, region: str, name: str, who: Claimant) -> Iterator[Lease]:
    """The lease of the name of a one-off instance, as `held` has those of groups."""
    lease = _claim(account, region, name, who, "instance")
    try:
        who.sleep(who.window)  # as above
        yield lease
    finally:
        _release(lease, who.warn)


def _claim(account: Account, region: str, name: str, who: Claimant, kind: Kind) -> Lease:
    return claim(
        account,
        region,
        name,
        command=who.command,
        run=who.run_id,
        take_over=who.take_over,
        window=who.window,
        sleep=who.sleep,
        kind=kind,
    )


def _release(lease: Lease, warn: Callable[[str], None]) -> None:
    """That it cannot be released is no failure of what was done: it is free as soon as this process has ended."""
    try:
        lease.release()
    except NodepkgError as error:
        warn(f"{lease.group}: its lease is not released: {error.message}")
