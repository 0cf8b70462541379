"""Short questions to registries, each in an event loop of its own: how services/blocking.py asks etcd."""

import asyncio
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from typing import TypeVar

from nodepkg.clients.etcd.client import Etcd
from nodepkg.errors import NodepkgError, ToolError, UnreachableError
from nodepkg.services import registry
from nodepkg.services.blocking import Picture
from nodepkg.services.entries import Keys, Leaving
from nodepkg.services.registry import Snapshot
from nodepkg.services.terms import Location

# Who asks has other groups to look after, and the heartbeats of its leases.
TRY_SECONDS, LOOK_SECONDS, SAY_SECONDS = 2.0, 5.0, 15.0

Value = TypeVar("Value")
Work = Callable[[Etcd, Keys], Coroutine[object, object, Value]]


def look(
    asked: Mapping[Location, Mapping[str, Collection[str]]], environ: Mapping[str, str]
) -> dict[Location, Picture | NodepkgError]:
    """As EtcdRegistries.look, within LOOK_SECONDS."""

    async def look_at_all() -> list[Picture | NodepkgError]:
        looks = [_within(LOOK_SECONDS, one, environ, _pictured(groups)) for one, groups in asked.items()]
        return list(await asyncio.gather(*looks))

    return dict(zip(asked, _run(look_at_all()), strict=True))


def say_leaving(location: Location, leaving: Sequence[Leaving], environ: Mapping[str, str]) -> None:
    """As EtcdRegistries.say_leaving, within SAY_SECONDS."""

    async def say(etcd: Etcd, keys: Keys) -> None:
        await asyncio.gather(*(registry.say_leaving(etcd, keys, one) for one in leaving))

    _carry_out(location, environ, say)


def unsay_leaving(location: Location, instances: Collection[str], by: str, environ: Mapping[str, str]) -> None:
    """As EtcdRegistries.unsay_leaving, within SAY_SECONDS."""

    async def unsay(etcd: Etcd, keys: Keys) -> None:
        await asyncio.gather(*(registry.unsay_leaving(etcd, keys, one, by=by) for one in instances))

    _carry_out(location, environ, unsay)


def _carry_out(location: Location, environ: Mapping[str, str], work: Work[None]) -> None:
    error = _run(_within(SAY_SECONDS, location, environ, work))
    if isinstance(error, ToolError):
        raise error
    if error is not None:  # such as a file that cannot be read: to who asks it is all the same
        raise ToolError(error.message, hint=error.hint)


def _run(work: Coroutine[object, object, Value]) -> Value:
    """After Ctrl-C in the middle of it asyncio would tell of each call that was cut off."""
    with asyncio.Runner() as runner:
        runner.get_loop().set_exception_handler(lambda *_: None)
        return runner.run(work)


async def _within(
    seconds: float, location: Location, environ: Mapping[str, str], work: Work[Value]
) -> Value | NodepkgError:
    try:
        async with asyncio.timeout(seconds), registry.connect(location, environ, timeout=TRY_SECONDS) as etcd:
            return await work(etcd, Keys(location.prefix))
    except TimeoutError:
        return UnreachableError(f"etcd ({', '.join(location.endpoints)}) did not answer within {seconds:g} s")
    except NodepkgError as error:
        return error


def _pictured(groups: Mapping[str, Collection[str]]) -> Work[Picture]:
    async def picture(etcd: Etcd, keys: Keys) -> Picture:
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
    etcd: Etcd, keys: Keys, shown: Snapshot, groups: Mapping[str, Collection[str]]
) -> dict[str, Mapping[str, Sequence[str]]]:
    """Consumers are listed only while somebody of these groups leaves."""
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


def _used(shown: Snapshot, told: Mapping[str, int]) -> dict[str, list[str]]:
    """The services that these instances announce and take away: service -> instances."""
    return {
        service: [name for name in providers if name in told and shown.leaving[name].takes(service)]
        for service, providers in shown.providers.items()
    }
