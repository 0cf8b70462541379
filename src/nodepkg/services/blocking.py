"""The registry for those who have no event loop, and who need etcd only if there is anything to ask of it."""

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from nodepkg.errors import NodepkgError, ToolError
from nodepkg.services.entries import Leaving
from nodepkg.services.terms import Location


@dataclass(frozen=True)
class Picture:
    """What a registry shows, by instance: the services that it announces; those of the run list that its agent runs;
    who is said to leave.

    `waiting`: of each group that was asked for, service -> those that use it and have not acknowledged yet that
    instances of the group leave.
    """

    announced: Mapping[str, frozenset[str]] = field(default_factory=dict)
    agents: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    leaving: Mapping[str, Leaving] = field(default_factory=dict)
    waiting: Mapping[str, Mapping[str, Sequence[str]]] = field(default_factory=dict)


@dataclass(frozen=True)
class EtcdRegistries:
    """All registries; each call opens etcd, asks, and closes it. `environ` may hold their user and password."""

    environ: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)

    def look(
        self, asked: Mapping[Location, Mapping[str, Collection[str]]]
    ) -> Mapping[Location, Picture | NodepkgError]:
        """What each registry shows, or why it cannot be asked: within some seconds for all of them together.

        `asked`: group -> its instances of whose leaving others may have to hear.
        """
        try:
            from nodepkg.services import asking
        except ToolError as error:  # what speaks to etcd is not installed
            return dict.fromkeys(asked, error)
        return asking.look(asked, self.environ)

    def say_leaving(self, location: Location, leaving: Sequence[Leaving]) -> None:
        """Announces that these instances are about to go. Raises ToolError; some may have been announced then."""
        from nodepkg.services import asking

        asking.say_leaving(location, leaving, self.environ)

    def unsay_leaving(self, location: Location, instances: Collection[str], by: str) -> None:
        """Takes back what `by` has said of these instances. Raises ToolError; some may have been taken back then."""
        from nodepkg.services import asking

        asking.unsay_leaving(location, instances, by, self.environ)
