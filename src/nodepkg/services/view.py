"""What a node sees of the services that it needs, and which of their lists it believes. Pure: time is passed in."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from nodepkg.clients.etcd.values import Listing
from nodepkg.services.entries import Keys, Leaving, Provider, leaving, provider

Providers = Mapping[str, Provider]
"""By instance."""


@dataclass
class View:
    """The registry as far as a node looks: providers of some services, and who is leaving."""

    keys: Keys
    providers: dict[str, dict[str, Provider]] = field(default_factory=dict)
    leaving: dict[str, Leaving] = field(default_factory=dict)
    said: dict[str, int] = field(default_factory=dict)
    """Instance -> the revision at which it was said that it leaves."""
    revision: int = 0
    """The newest one at which anything of it has changed."""
    heard: int = 0
    """The newest one at which a provider that is listed here was said to leave: what a consumer acknowledges."""

    def put(self, key: str, value: str, revision: int) -> None:
        """A key that is new, or has changed; what cannot be read is as if it were not there."""
        self.revision = max(self.revision, revision)
        if key.startswith(self.keys.all_leaving):
            instance = key.removeprefix(self.keys.all_leaving)
            self.leaving[instance], self.said[instance] = leaving(key, value), revision
            if any(instance in listed for listed in self.providers.values()):
                self.heard = max(self.heard, revision)
            return
        service, instance = self._place(key)
        found = provider(value)
        if found is None:
            self.providers.get(service, {}).pop(instance, None)
        else:
            self.providers.setdefault(service, {})[instance] = found
            # That it leaves may have been told before it was there.
            self.heard = max(self.heard, self.said.get(instance, 0))

    def delete(self, key: str, revision: int) -> None:
        """A key that is gone."""
        self.revision = max(self.revision, revision)
        if key.startswith(self.keys.all_leaving):
            instance = key.removeprefix(self.keys.all_leaving)
            self.leaving.pop(instance, None)
            self.said.pop(instance, None)
            return
        service, instance = self._place(key)
        self.providers.get(service, {}).pop(instance, None)

    def take(self, listing: Listing) -> None:
        """All that a node looks at, listed anew. An etcd that was set up anew begins to count anew."""
        self.revision = min(self.revision, listing.revision)
        self.heard = listing.revision
        for known in (self.providers, self.leaving, self.said):
            known.clear()
        for item in listing.items:
            self.put(item.key, item.value, item.mod_revision)

    def present(self, service: str) -> Providers:
        """Those that announce it."""
        return self.providers.get(service, {})

    def leavers(self, service: str) -> frozenset[str]:
        """The instances that have said that they take it away."""
        return frozenset(name for name, told in self.leaving.items() if told.takes(service))

    def _place(self, key: str) -> tuple[str, str]:
        service, _, instance = key.removeprefix(self.keys.services).partition("/")
        return service, instance


@dataclass
class Belief:
    """Which list of one service counts.

    `good` is the list as it was last known to be good: what came is added to it, who said that they leave are taken
    out at once, and who vanished only when the list without them has been stable for `doubt` seconds. So it does not
    matter whether many vanish in one moment, or one after the other as their leases run out.
    """

    min_providers: int
    doubt: float
    good: dict[str, Provider] = field(default_factory=dict)
    lost: frozenset[str] = frozenset()
    """Who is of `good`, has vanished, and may come back."""
    since: float | None = None
    """When those that have vanished became others."""

    def look(self, present: Providers, leavers: Iterable[str], now: float) -> None:
        """Takes what the registry shows at a moment."""
        gone = frozenset(leavers)
        shown = {name: one for name, one in present.items() if name not in gone}
        known = {name: one for name, one in self.good.items() if name not in gone}
        lost = frozenset(known) - frozenset(shown)
        if lost != self.lost:
            self.lost, self.since = lost, now
        self.good = {**known, **shown}
        if lost and self.since is not None and now - self.since >= self.doubt:
            self.good, self.lost, self.since = shown, frozenset(), None

    @property
    def left(self) -> dict[str, Provider]:
        """Who is of `good` and announces it now."""
        return {name: one for name, one in self.good.items() if name not in self.lost}

    @property
    def doubted(self) -> bool:
        """Whether so many have vanished that it looks like a fault of the registry, or of the network."""
        left = len(self.left)
        return bool(self.lost) and (left < self.min_providers or 2 * left < len(self.good))

    @property
    def used(self) -> Mapping[str, Provider]:
        """The list that counts now."""
        return self.good if self.doubted else self.left

    @property
    def due(self) -> float | None:
        """When it is to be looked at again even if nothing happens."""
        return self.since + self.doubt if self.lost and self.since is not None else None


@dataclass
class Quiet:
    """Waits until it is quiet after a change, but not for ever."""

    debounce: float
    most: float
    first: float | None = None
    last: float | None = None

    def changed(self, now: float) -> None:
        self.first = now if self.first is None else self.first
        self.last = now

    def settled(self) -> None:
        """What had changed is dealt with."""
        self.first = self.last = None

    @property
    def due(self) -> float | None:
        """When to act; None if nothing has changed."""
        if self.first is None or self.last is None:
            return None
        return min(self.last + self.debounce, self.first + max(self.most, self.debounce))
