"""What a deploy is given: AWS as it knows it (looks, changes under leases, heartbeats), and who is told of it."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from nodepkg.asked import Web
from nodepkg.clients.aws.account import Account
from nodepkg.fleet.course import Counts
from nodepkg.fleet.drain import Change
from nodepkg.fleet.host import Host
from nodepkg.fleet.sight import Sight, look
from nodepkg.lease.claim import Lease
from nodepkg.nodes.group import Group
from nodepkg.ready import Health


class World(Protocol):
    """Each call of AWS may raise AwsError. The clock is this machine's, in seconds."""

    def now(self) -> float: ...

    def epoch(self) -> float:
        """AWS's time, in seconds since the epoch."""
        ...

    def look(self, groups: Collection[str], /) -> Mapping[str, Sight]: ...

    def change(self, group: str, change: Change, /) -> None:
        """Only while the group's lease is ours; raises LostLeaseError."""
        ...

    def beat(self, state: str, /) -> None:
        """Keeps all leases alive; raises LostLeaseError."""
        ...


class Watcher(Protocol):
    """Who is told of a deploy."""

    def stands(self, host: Host, stage: str) -> None: ...

    def wrote(self, host: Host, output: bytes) -> None: ...

    def ended(self, host: Host, state: str, told: str) -> None: ...

    def note(self, text: str) -> None: ...

    def warning(self, text: str) -> None: ...

    def tick(self, counts: Callable[[], Counts]) -> None: ...


@dataclass(frozen=True)
class AwsWorld:
    """`groups` and `leases` by name."""

    account: Account
    groups: Mapping[str, Group]
    leases: Mapping[str, Lease]
    web: Web
    uptime: Callable[[], float]

    def now(self) -> float:
        return self.uptime()

    def epoch(self) -> float:
        return self.account.now()

    def look(self, groups: Collection[str]) -> Mapping[str, Sight]:
        by_region: dict[str, dict[str, Health]] = {}
        for name in groups:
            group = self.groups[name]
            by_region.setdefault(group.region, {})[name] = health_of(group)
        return {
            name: sight
            for region, health in by_region.items()
            for name, sight in look(self.account, region, health, self.web).items()
        }

    def change(self, group: str, change: Change) -> None:
        with self.leases[group].fenced():
            change.run(self.account)

    def beat(self, state: str) -> None:
        for lease in self.leases.values():
            lease.beat(state)


def health_of(group: Group) -> Health:
    """What the nodes of a group are asked."""
    autoscale = group.settings.autoscale
    if autoscale is None or not autoscale.health_url:
        return Health()
    return Health(autoscale.health_url, autoscale.health_timeout)
