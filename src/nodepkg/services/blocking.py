"""The registry for those who have no event loop: each call opens etcd, asks, and closes it again."""

import asyncio
import os
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from nodepkg.errors import NodepkgError, ToolError, UnreachableError
from nodepkg.services.entries import Keys, Leaving
from nodepkg.services.terms import Location

if TYPE_CHECKING:
    from nodepkg.clients.etcd.client import Etcd
    from nodepkg.services.registry import Snapshot

# Who asks has other groups to look after, and the heartbeat of its leases.
TRY_SECONDS, LOOK_SECONDS, SAY_SECONDS = 2.0, 5.0, 15.0

Value = TypeVar("Value")


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
    """All registries. `environ` may hold their user and password."""

    environ: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)

    def look(self, asked: Mapping[Location, Mapping[str, Collection[str]]]) -> dict[Location, Picture | NodepkgError]:
        """What each registry shows, or why it cannot be asked; all of them together take LOOK_SECONDS at most.

        `asked`: group -> its instances of whose leaving others may have to hear.
        """

        async def look_at_all() -> list[Picture | NodepkgError]:
            looks = [self._within(LOOK_SECONDS, one, _pictured(groups)) for one, groups in asked.items()]
            return list(await asyncio.gather(*looks))

        return dict(zip(asked, asyncio.run(look_at_all()), strict=True))

    def say_leaving(self, location: Location, leaving: Sequence[Leaving]) -> None:
        """Announces that these instances are about to go. Raises ToolError; some may have been announced then."""

        async def say(etcd: "Etcd", keys: Keys) -> None:
            from nodepkg.services import registry

            await asyncio.gather(*(registry.say_leaving(etcd, keys, one) for one in leaving))

        self._carry_out(location, say)

    def unsay_leaving(self, location: Location, instances: Collection[str], by: str) -> None:
        """Takes back what `by` has said of these instances. Raises ToolError; some may have been taken back then."""

        async def unsay(etcd: "Etcd", keys: Keys) -> None:
            from nodepkg.services import registry

            await asyncio.gather(*(registry.unsay_leaving(etcd, keys, one, by=by) for one in instances))

        self._carry_out(location, unsay)

    def _carry_out(self, location: Location, work: "Work[None]") -> None:
        error = asyncio.run(self._within(SAY_SECONDS, location, work))
        if isinstance(error, ToolError):
            raise error
        if error is not None:  # as a file that cannot be read: for who asks it is the same
            raise ToolError(error.message, hint=error.hint)

    async def _within(self, seconds: float, location: Location, work: "Work[Value]") -> Value | NodepkgError:
        try:
            from nodepkg.services import registry

            async with asyncio.timeout(seconds):
                async with registry.connect(location, self.environ, timeout=TRY_SECONDS) as etcd:
                    return await work(etcd, Keys(location.prefix))
        except TimeoutError:
            return UnreachableError(f"etcd ({', '.join(location.endpoints)}) did not answer within {seconds:g} s")
        except NodepkgError as error:
            return error


Work = Callable[["Etcd", Keys], Coroutine[object, object, Value]]


def _pictured(groups: Mapping[str, Collection[str]]) -> "Work[Picture]":
    async def picture(etcd: "Etcd", keys: Keys) -> Picture:
        from nodepkg.services import registry

        shown = await registry.snapshot(etcd, keys)
        announced: dict[str, set[str]] = {}
        for service, providers in shown.providers.items():
            for instance in providers:
                announced.setdefault(instance, set()).add(service)
        return Picture(
            {instance: frozenset(services) for instance, services in announced.items()},
            {instance: node.services for instance, node in shown.nodes.items()},
            shown.leaving,
            await _waiting(etcd, keys, shown, groups),
        )

    return picture


async def _waiting(
    etcd: "Etcd", keys: Keys, shown: "Snapshot", groups: Mapping[str, Collection[str]]
) -> dict[str, Mapping[str, Sequence[str]]]:
    """Consumers are listed only while somebody of these groups leaves."""
    from nodepkg.services import registry

    said = {
        group: {instance: shown.said[instance] for instance in instances if instance in shown.leaving}
        for group, instances in groups.items()
    }
    if not any(said.values()):
        return {}
    listed = await etcd.range(keys.all_consumers)
    return {
        group: registry.unacknowledged(keys, listed, told, _used(shown, told)) for group, told in said.items() if told
    }


def _used(shown: "Snapshot", told: Mapping[str, int]) -> dict[str, list[str]]:
    """The services that these instances announce and take away: service -> instances."""
    return {
        service: [name for name in providers if name in told and shown.leaving[name].takes(service)]
        for service, providers in shown.providers.items()
    }
