"""How the commands of service: reach the registry, and what they print."""

import asyncio
import gc
import json
import os
import sys
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from contextlib import aclosing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from nodepkg.cli.layout import age
from nodepkg.cli.options import Call
from nodepkg.errors import ConfigError

if TYPE_CHECKING:
    from nodepkg.clients.etcd.client import Etcd
    from nodepkg.clients.etcd.values import Change
    from nodepkg.services.agent import Agent
    from nodepkg.services.entries import Keys
    from nodepkg.services.registry import Snapshot, ThisNode
    from nodepkg.services.state import State
    from nodepkg.services.terms import Location, Terms

Value = TypeVar("Value")
GARBAGE = 1000  # objects that Python makes before it looks which are in use
AGENT_SECONDS = 10.0  # in which an agent announces what it finds well


def run(work: Coroutine[Any, Any, Value]) -> Value:
    """Carries it out; errors come out as they are."""
    return asyncio.run(work)


def locations(call: Call, file: Path | None) -> "list[Location]":
    """The registries that a command means: that of a services.json, else those of the groups of nodes.json."""
    from nodepkg.services.terms import DEFAULT_FILE, location, read

    if file is not None:
        return [read(file).location]
    try:
        nodes = call.load()
    except ConfigError:
        if call.nodes or not DEFAULT_FILE.is_file():
            raise
        return [read(DEFAULT_FILE).location]
    found = [group.settings.services for group in nodes.groups(nodes.names) if group.settings.services]
    if not found:
        raise ConfigError(f"{nodes.source.path}: no group has the key services", hint="docs/services.md")
    return list(dict.fromkeys(location({**one.model_dump(), "tls": one.tls.model_dump()}) for one in found))


async def snapshots(found: "Iterable[Location]") -> "list[Snapshot]":
    """What each registry holds."""
    from nodepkg.services import registry
    from nodepkg.services.entries import Keys

    shown = []
    for location in found:
        async with registry.connect(location, os.environ) as etcd:
            shown.append(await registry.snapshot(etcd, Keys(location.prefix)))
    return shown


def show_list(call: Call, found: "Sequence[Snapshot]", services: Sequence[str]) -> None:
    """Who announces what."""
    rows, documents = [], []
    for shown in found:
        for name in sorted(shown.providers):
            if services and name not in services:
                continue
            for instance, one in sorted(shown.providers[name].items()):
                told = shown.leaving.get(instance)
                state = "leaving" if told and told.takes(name) else "serving"
                where = f"{one.address}:{one.port}" if one.port else one.address
                rows.append((name, instance, one.group, where, one.zone, _age(one.since), state))
                documents.append({"service": name, **_document(one), "state": state})
    call.out.table(documents, ("service", "instance", "group", "address", "zone", "since", "state"), rows)
    for name in services:
        if not any(document["service"] == name for document in documents):
            call.out.note(f"nobody announces {name}")
    if not rows and not services:
        call.out.note("nobody announces anything")


def _document(one: Any) -> dict[str, Any]:
    names = ("instance", "group", "address", "port", "zone", "since", "digest")
    return {name: getattr(one, name) for name in names}


def _age(since: str) -> str:
    try:
        return age(int((datetime.now(UTC) - datetime.fromisoformat(since)).total_seconds()))
    except (ValueError, TypeError):
        return "?"


async def watch(call: Call, location: "Location", services: Sequence[str]) -> None:
    """Tells each change as it comes, until Ctrl-C; where the registry is lost it goes on when it is back."""
    from nodepkg.errors import CompactedError, UnreachableError
    from nodepkg.services import registry
    from nodepkg.services.entries import Keys
    from nodepkg.services.told import backoff

    keys, revision, failures = Keys(location.prefix), 0, 0
    async with registry.connect(location, os.environ) as etcd:
        while True:
            try:
                if not revision:
                    revision = (await etcd.range(keys.all_leaving)).revision
                async with aclosing(etcd.watch(f"{keys.prefix}/", revision + 1)) as watched:
                    async for changes in watched:
                        revision, failures = changes.revision, 0
                        for change in changes.changes:
                            _tell_change(call, keys, change, services)
            except UnreachableError as error:
                failures += 1
                if failures == 1:
                    call.out.warning(error.message)
                await asyncio.sleep(backoff(failures))
            except CompactedError as error:
                call.out.warning(f"some changes were missed: {error.message}")
                revision = 0


def _tell_change(call: Call, keys: "Keys", change: "Change", services: Sequence[str]) -> None:
    from nodepkg.services import entries

    now = datetime.now(UTC).isoformat(timespec="seconds")
    if change.key.startswith(keys.services):
        service, _, instance = change.key.removeprefix(keys.services).partition("/")
        if services and service not in services:
            return
        one = entries.provider(change.now.value) if change.now else None
        event = "gone" if change.now is None else "changed" if change.before else "announced"
        where = f" {one.address}{f':{one.port}' if one.port else ''} of {one.group}" if one else ""
        document = {"time": now, "event": event, "service": service, "instance": instance}
        call.out.line({**document, **(_document(one) if one else {})}, f"{now} {service} {instance} {event}{where}")
    elif change.key.startswith(keys.all_leaving):
        instance = change.key.removeprefix(keys.all_leaving)
        event = "leaving" if change.now else "stays, or is gone"
        by = entries.leaving(change.key, change.now.value).by if change.now else ""
        told = f"{now} {instance} {event}{f' (by {by})' if by else ''}"
        call.out.line({"time": now, "event": event, "instance": instance, "by": by}, told)


async def announce(etcd: "Etcd", terms: "Terms", me: "ThisNode") -> tuple[list[str], str]:
    """Puts this node (back) into the registry; what stands there now, and for how long, in words."""
    from nodepkg.services import registry
    from nodepkg.services.entries import Keys

    keys = Keys(terms.location.prefix)
    await registry.announced(etcd, keys, me, terms.names)
    await registry.unsay_leaving(etcd, keys, me.instance)
    if await etcd.get(keys.node(me.group, me.instance)):
        found = await registry.await_announced(etcd, keys, me, terms.names, AGENT_SECONDS)
        return found, "for as long as the agent runs"
    lease = await etcd.grant(terms.ttl)
    await registry.announce(etcd, keys, me, terms.provides, lease.id)
    return terms.names, f"for {lease.ttl} s, since no agent runs here that would renew it"


async def collected(terms: "Terms", state: "State", me: "ThisNode", call: Call) -> dict[str, Any]:
    """The maps, of the registry or, if that does not answer, of what was believed last."""
    from nodepkg.errors import ToolError
    from nodepkg.services.collect import maps, wanted
    from nodepkg.services.entries import Keys
    from nodepkg.services.terms import Where
    from nodepkg.services.view import Belief

    own = {offer.name: Where(me.address, offer.port) for offer in terms.provides}
    try:
        view = await _seen(terms, Keys(terms.location.prefix))
    except ToolError as error:
        if state.attributes is None and not state.good:
            raise
        call.out.warning(f"{error.message}: these are the lists that were believed last")
        return maps(terms, state.good, own, state.retiring)
    used = {}
    for name in wanted(terms):
        belief = Belief(terms.min_providers, terms.doubt, dict(state.good.get(name, {})))
        belief.look(view.present(name), view.leavers(name), 0.0)
        if belief.doubted:
            call.out.warning(f"{name}: {len(belief.left)} of {len(belief.good)} are left: the list of before is kept")
        used[name] = belief.used
    return maps(terms, used, own, state.retiring)


async def _seen(terms: "Terms", keys: "Keys") -> Any:
    from nodepkg.services import registry
    from nodepkg.services.collect import wanted
    from nodepkg.services.view import View

    view = View(keys)
    async with registry.connect(terms.location, os.environ) as etcd:
        for item in (await etcd.range((*map(keys.providers, wanted(terms)), keys.all_leaving))).items:
            view.put(item.key, item.value, item.mod_revision)
    return view


def show_drift(call: Call, found: "Sequence[Snapshot]", provides: Mapping[str, Iterable[str]] | None) -> None:
    """Where run list, node and registry differ."""
    from nodepkg.services.drift import drift

    shown = [one for snapshot in found for one in drift(snapshot, provides)]
    document = [
        {
            "group": one.group,
            "instance": one.instance,
            "service": one.service,
            "wanted": one.wanted,
            "on_node": one.on_node,
            "announced": one.announced,
            "why": one.why,
        }
        for one in shown
    ]
    rows = [
        (one.group, one.instance, one.service, _word(one.wanted), _word(one.on_node), _word(one.announced), one.why)
        for one in shown
    ]
    columns = ("group", "instance", "service", "run list", "node", "registry", "what is so")
    call.out.table(document, columns, rows)
    if not shown:
        call.out.note("run lists, nodes and registry say the same")


def _word(there: bool | None) -> str:
    return {True: "yes", False: "no", None: "-"}[there]


def serve(agent: "Agent", metrics: int) -> None:
    """Runs the agent until it is told to stop."""
    from nodepkg.clients.metrics import serve as serve_figures
    from nodepkg.services.agent import on_signals

    if metrics:
        serve_figures(metrics, agent.figures)

    async def work() -> None:
        on_signals(agent)
        # What was loaded stays. But each call that fails leaves 10 kB in a circle, and a command's late collector
        # (__main__) would let them grow to 140 MB while the registry is away.
        gc.freeze()
        gc.set_threshold(GARBAGE)
        await agent.run()

    run(work())


def log(event: str, /, **facts: object) -> None:
    """One line of the agent's log, on stderr: JSON, so that it can be searched by its facts."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    line = json.dumps({"time": now, "event": event, **facts}, ensure_ascii=False, default=str)
    with suppress(OSError):  # a log that is full, or that nobody reads any more, ends no agent
        print(line, file=sys.stderr, flush=True)  # noqa: T201 - the log of a daemon
