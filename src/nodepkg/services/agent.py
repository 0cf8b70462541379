"""The daemon of a node: announces what it runs, watches what it needs, and converges when that changes."""

import asyncio
import fcntl
import os
import random
import signal
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from nodepkg.clients.etcd.client import Etcd
from nodepkg.clients.metrics import Figure
from nodepkg.errors import NodepkgError, RefusedError
from nodepkg.services import registry
from nodepkg.services.identity import Said, bundle_digest, this_node
from nodepkg.services.session import Session
from nodepkg.services.state import StateFile
from nodepkg.services.terms import Location, Terms, read
from nodepkg.services.told import Tell

LOOK_SECONDS = 5.0  # how often services.json is looked at


@dataclass(frozen=True)
class Place:
    """Where an agent lives: its services.json, what is said of its node, the folder of its state."""

    file: Path
    said: Said
    home: Path
    environ: Mapping[str, str]
    withdraw: float = 60.0
    """Seconds that consumers get to acknowledge that it ends."""


class Agent:
    """Runs until it is told to stop, and then takes its node out of the registry, as leaving first."""

    def __init__(self, place: Place, tell: Tell) -> None:
        self._place = place
        self._told = tell
        self._events: Counter[str] = Counter()
        self._stop = asyncio.Event()
        self._reload = asyncio.Event()
        self.session: Session | None = None

    def figures(self) -> Iterator[Figure]:
        """How it stands, for Prometheus."""
        yield Figure(
            "nodepkg_agent_events",
            "What has happened.",
            ("event",),
            [((name,), n) for name, n in dict(self._events).items()],
            True,
        )
        session = self.session
        if session is None:
            return
        yield Figure("nodepkg_registry_connected", "1 while it is seen.", (), [((), float(session.watcher.connected))])
        yield Figure("nodepkg_registry_revision", "Newest change seen.", (), [((), float(session.view.revision))])
        beliefs = session.converger.beliefs
        used = [((name,), float(len(belief.used))) for name, belief in beliefs.items()]
        doubted = [((name,), float(belief.doubted)) for name, belief in beliefs.items()]
        well = [((name,), float(name in session.presence.well)) for name in session.terms.names]
        yield Figure("nodepkg_service_providers", "Providers that count here.", ("service",), used)
        yield Figure("nodepkg_service_doubted", "1 while a list is doubted.", ("service",), doubted)
        yield Figure("nodepkg_service_well", "1 while a service of this node is well.", ("service",), well)

    def _tell(self, event: str, /, **facts: object) -> None:
        self._events[event.replace(" ", "_")] += 1
        self._told(event, **facts)

    def stop(self) -> None:
        self._stop.set()

    def reload(self) -> None:
        self._reload.set()

    async def run(self) -> None:
        """Raises what is wrong at the start, such as ConfigError for services.json; later the last good one goes on."""
        with only_one(self._place.home):
            begun: _Begun | None = await self._begin()
            while begun:
                begun = await self._run_with(begun)

    async def _begin(self) -> "_Begun":
        """With services.json as it is now. Raises ConfigError, RefusedError, ToolError; nothing has changed then."""
        seen = self._looks()
        terms = read(self._place.file)
        file = StateFile(self._place.home)
        state = file.read()
        if file.damaged:
            self._tell("damaged", why=file.damaged)
        if file.damaged or not file.path.exists():
            file.write(state)  # so that its token is the same whenever it is asked for
        place = self._place
        me = await asyncio.to_thread(this_node, terms, place.said, state.agent, place.home, place.environ)
        login = registry.login(terms.location, place.environ)
        return _Begun(terms, me, registry.connect(_shuffled(terms.location), place.environ), login, seen)

    async def _run_with(self, begun: "_Begun") -> "_Begun | None":
        """Until it is to stop, which is None, or there is something else to go on with."""
        terms, me = begun.terms, begun.me
        self._tell("started", instance=me.instance, group=me.group, provides=terms.names, requires=list(terms.requires))
        async with begun.etcd as etcd:
            session = Session(etcd, me, terms, home=self._place.home, before=self.session, tell=self._tell)
            self.session = session
            async with asyncio.TaskGroup() as tasks:
                work = tasks.create_task(session.run())
                following = await self._following(begun, work)
                work.cancel()
            if following is None:
                await session.end(self._place.withdraw)
        return following

    async def _following(self, begun: "_Begun", work: "asyncio.Task[None]") -> "_Begun | None":
        stopped = asyncio.create_task(self._stop.wait())
        seen = begun.seen
        try:
            while not (self._stop.is_set() or work.done()):
                reload = asyncio.create_task(self._reload.wait())
                await asyncio.wait((stopped, reload, work), timeout=LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                reload.cancel()
                looks = self._looks()
                if self._reload.is_set() or looks != seen:
                    self._reload.clear()
                    seen = looks
                    if new := await self._reloaded(begun):
                        return new
        finally:
            stopped.cancel()
        return None

    def _looks(self) -> object:
        """By what a deploy is noticed: services.json, and the record of the bundle that it was in."""
        return _looks(self._place.file), _looks(self._place.home / "bundle")

    async def _reloaded(self, begun: "_Begun") -> "_Begun | None":
        """None where nothing has changed, or what has is wrong."""
        try:
            terms = read(self._place.file)
            login = registry.login(terms.location, self._place.environ)
            if (terms, login, bundle_digest(self._place.home)) == (begun.terms, begun.login, begun.me.digest):
                return None
            return await self._begin()
        except NodepkgError as error:
            self._tell("not reloaded", why=error.message)
            return None


@dataclass(frozen=True)
class _Begun:
    """All that a session is made of. `seen`: what services.json looked like before it was read."""

    terms: Terms
    me: registry.ThisNode
    etcd: Etcd
    login: tuple[str, str] = field(repr=False)
    seen: object


def on_signals(agent: Agent) -> None:
    """SIGTERM and SIGINT end it, SIGHUP reads services.json anew."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, agent.stop)
    loop.add_signal_handler(signal.SIGHUP, agent.reload)


class only_one:  # noqa: N801 - reads as a sentence
    """Holds the lock of a node's agent. Raises RefusedError if another one runs here."""

    def __init__(self, home: Path) -> None:
        self._path = StateFile(home).folder / "agent.lock"
        self._descriptor = -1

    def __enter__(self) -> None:
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._descriptor)
            raise RefusedError(f"another agent runs on this node: it has {self._path}") from None
        except OSError as error:
            raise RefusedError(f"{self._path}: {error.strerror}", hint="the agent runs as root") from error

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)


def _shuffled(location: Location) -> Location:
    """Each agent begins with another member, so that they share the load."""
    endpoints = list(location.endpoints)
    random.shuffle(endpoints)
    return replace(location, endpoints=tuple(endpoints))


def _looks(path: Path) -> object:
    with suppress(OSError):
        told = path.stat()
        return (told.st_mtime_ns, told.st_size, told.st_ino)
    return None
