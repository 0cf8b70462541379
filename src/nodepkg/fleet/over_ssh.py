"""Hosts over SSH: many at a time from one event loop, which has a thread of its own."""

import asyncio
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import BinaryIO

from nodepkg.clients.ssh import Connection, HostKey, Session, Ssh, Target
from nodepkg.errors import HostKeyError, NodepkgError, UnreachableError
from nodepkg.fleet import node
from nodepkg.fleet.known_hosts import Known, KnownHosts, fingerprint
from nodepkg.fleet.transport import Began, Ended, Event, Job, Result, Wrote

CHUNK = 64 * 1024
MOST_QUEUED = 32 * 1024 * 1024
# A node gives a command that is past its time 30 s to end, and has then to say so.
GRACE = 60.0

Vouched = Callable[[Job], Sequence[HostKey]]


@dataclass(frozen=True)
class Waits:
    """Seconds: before a connection is tried again, longer each time, and until a node's shell says a first word."""

    again: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0, 15.0)
    shell: float = 60.0
    tries: int = 3
    """How often a connection is tried that was cut before anything was begun."""


class OverSsh:
    """The Transport. `vouched` gives the host keys that an instance's console shows; it may take its time.

    Host keys are kept in `known`. What is foreseen ends the job that it happens to; anything else is raised by events.
    """

    def __init__(
        self, ssh: Ssh, known: KnownHosts, *, vouched: Vouched | None = None, waits: Waits | None = None
    ) -> None:
        self.ssh = ssh
        self.known = known
        self.vouched: Vouched = vouched or _nobody
        self.waits = waits or Waits()
        self._told: SimpleQueue[Event | BaseException] = SimpleQueue()
        self._queued = 0
        self._count = threading.Lock()
        self._paused: set[Session] = set()
        self._courses: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def start(self, jobs: Sequence[Job], /) -> None:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=self._loop.run_forever, name="ssh", daemon=True)
            self._thread.start()
        self._loop.call_soon_threadsafe(self._begin, list(jobs))

    def events(self, seconds: float, /) -> Sequence[Event]:
        found: list[Event] = []
        with suppress(Empty):
            found.append(
                self._event(self._told.get(timeout=max(seconds, 0)) if seconds > 0 else self._told.get_nowait())
            )
            while True:
                found.append(self._event(self._told.get_nowait()))
        if self._paused and self._loop and self._queued < MOST_QUEUED:
            self._loop.call_soon_threadsafe(self._resume)
        return found

    def close(self, /) -> None:
        if self._loop is None or self._thread is None:
            return
        asyncio.run_coroutine_threadsafe(self._leave(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._loop = self._thread = None

    def tell(self, event: Event, session: Session | None = None) -> None:
        """Queues an event; its session is read no further while nobody takes what has come."""
        if isinstance(event, Wrote):
            with self._count:
                self._queued += len(event.output)
            if self._queued > MOST_QUEUED and session:
                session.pause(reading=True)
                self._paused.add(session)
        self._told.put(event)

    def _event(self, told: Event | BaseException) -> Event:
        if isinstance(told, BaseException):
            raise told
        if isinstance(told, Wrote):
            with self._count:
                self._queued -= len(told.output)
        return told

    def _resume(self) -> None:
        while self._paused:
            self._paused.pop().pause(reading=False)

    def _begin(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            task = asyncio.ensure_future(self._follow(job))
            self._courses.add(task)
            task.add_done_callback(self._courses.discard)

    async def _follow(self, job: Job) -> None:
        try:
            self.tell(await _Course(self, job).run())
        except asyncio.CancelledError:
            raise
        except NodepkgError as error:
            self.tell(Ended(job.host.instance, Result.FAILED, why=error.message))
        except Exception as error:  # noqa: BLE001 - raised where it is seen: in the thread of whoever asks
            self._told.put(error)

    async def _leave(self) -> None:
        for task in list(self._courses):
            task.cancel()
        await asyncio.gather(*self._courses, return_exceptions=True)


@dataclass
class _Course:
    """One job. `offset`: how much of the output has come; `due`: until when a lost connection is followed up."""

    over: OverSsh
    job: Job
    token: str = field(default_factory=lambda: secrets.token_hex(8))
    began: bool = False
    offset: int = 0
    sent: int = 0
    due: float = 0.0

    async def run(self) -> Ended:
        parcel, waits = self.job.parcel, _growing(self.over.waits.again)
        self.due = time.monotonic() + parcel.timeout + GRACE
        tries, vouched = 0, False
        while True:
            tries += 1
            try:
                ended = await self._attempt()
                if ended:
                    return ended
                lost = UnreachableError("the connection was lost", passing=True)
            except UnreachableError as error:
                lost = error
            except HostKeyError as error:
                shown = HostKey(error.algorithm, error.data)
                if parcel.strict and not vouched and await self._vouch(shown):
                    vouched = True
                    continue
                return self._ended(Result.UNKNOWN if self.began else Result.REFUSED, why=self._refusal(error))
            if not self.began and not (lost.passing and tries < self.over.waits.tries):
                return self._ended(Result.UNREACHABLE, why=lost.message)
            wait = next(waits)
            if time.monotonic() + wait > self.due:
                return self._ended(Result.UNKNOWN, why=f"the connection was lost, and not made again: {lost.message}")
            await asyncio.sleep(wait)

    async def _attempt(self) -> Ended | None:
        """None if the connection was lost, or the node has to be asked once more."""
        parcel = self.job.parcel
        text = node.script(
            node.Run(
                parcel.deploy,
                self.token,
                parcel.digest,
                parcel.path,
                parcel.command,
                parcel.timeout,
                dna=self.job.dna,
                offset=self.offset,
            )
        )
        async with await self.over.ssh.connect(self._target()) as connection:
            return await _Visit(self, text).follow(connection)

    def _target(self) -> Target:
        host, parcel = self.job.host, self.job.parcel
        prefer = [one.key.algorithm for one in self.over.known.of(host.instance)]
        return Target(host.address, parcel.user, parcel.port, prefer, self._trusts)

    def _trusts(self, key: HostKey) -> bool:
        there = self.over.known.of(self.job.host.instance)
        if self.job.parcel.strict:
            return any(one.key == key and one.by for one in there)
        return any(one.key == key for one in there) if there else self._remember(key)

    def _remember(self, key: HostKey, by: str = "") -> bool:
        host = self.job.host
        return self.over.known.accept(Known(host.instance, key, host.group, host.region, by))

    async def _vouch(self, shown: HostKey) -> bool:
        """Remembers the keys that the user's known_hosts or else the console vouch for, if this is one of them."""
        there = self.over.known.of(self.job.host.instance)
        if there and not any(one.key == shown for one in there):
            return False
        keys, by = self.over.ssh.known_to_user(self._target()), "known_hosts"
        if shown not in keys:
            keys = list(await asyncio.get_running_loop().run_in_executor(None, self.over.vouched, self.job))
            by = "console"
        for key in keys if shown in keys else ():
            self._remember(key, by)
        return shown in keys

    def _refusal(self, error: HostKeyError) -> str:
        instance = self.job.host.instance
        shown = HostKey(error.algorithm, error.data)
        there = self.over.known.of(instance)
        if not there or any(one.key == shown for one in there):
            return (
                f"its host key is vouched for neither by your known_hosts nor by its console: {shown.algorithm} "
                f"{fingerprint(shown)} (deploy.host_keys is strict)"
            )
        known = ", ".join(f"{one.key.algorithm} {fingerprint(one.key)}" for one in there)
        return (
            f"its host key is another than before: {shown.algorithm} {fingerprint(shown)}, known is {known}. "
            "Somebody may be between you and the node, or its SSH server was set up anew; if you know that it was, "
            f"forget the key: ssh-keygen -R {instance} -f {self.over.known.path}"
        )

    def begin(self) -> None:
        if not self.began:
            self.began = True
            self.due = time.monotonic() + self.job.parcel.timeout + GRACE
            self.over.tell(Began(self.job.host.instance, self.sent))

    def _ended(self, result: Result, code: int | None = None, why: str = "") -> Ended:
        return Ended(self.job.host.instance, result, code, why)


class _Visit:
    """One connection of a course."""

    def __init__(self, course: _Course, text: bytes) -> None:
        self._course = course
        self._text = text
        self._lines = node.Lines(course.token)
        self._output = node.Output(course.token)
        self._session: Session | None = None
        self._end: node.End | None = None
        self._sending: asyncio.Task[None] | None = None
        self._silent: asyncio.TimerHandle | None = None
        self._mute = False

    async def follow(self, connection: Connection) -> Ended | None:
        course = self._course
        command = node.command(self._text, root=connection.user == "root")
        session = self._session = await connection.run(command, self._received)
        loop = asyncio.get_running_loop()
        self._silent = loop.call_later(course.over.waits.shell, self._is_silent, connection)
        try:
            await session.write(self._text)
            async with asyncio.timeout(max(course.due - time.monotonic(), 0) if course.began else None) as self._limit:
                code = await session.ended()
        except TimeoutError:
            why = "the node has not said that it ended, long after its time was over"
            return Ended(course.job.host.instance, Result.UNKNOWN, why=why)
        finally:
            self._silent.cancel()
            if self._sending:
                self._sending.cancel()
        if self._mute:
            raise UnreachableError(f"logged in, but its shell has said nothing for {course.over.waits.shell:g} s")
        return self._result(code)

    def _result(self, code: int | None) -> Ended | None:
        course, instance = self._course, self._course.job.host.instance
        if code is None:
            return None
        if self._end is None:
            if course.began:
                return None
            return Ended(
                instance, Result.FAILED, why=f"nothing could be run: {self._lines.noise or f'exit code {code}'}"
            )
        if self._end.rerun:
            return None
        return Ended(instance, self._end.result, self._end.code, self._end.why, self._end.again)

    def _is_silent(self, connection: Connection) -> None:
        self._mute = True
        connection.abort()

    def _received(self, data: bytes, is_error: bool) -> None:
        if is_error:
            for line in self._lines.read(data):
                self._heard(line)
            return
        known = self._output.offset is not None
        output = self._output.read(data)
        if not known and self._output.offset is not None:
            self._course.offset = self._output.offset
        if output:
            self._course.offset += len(output)
            self._course.over.tell(Wrote(self._course.job.host.instance, output), self._session)

    def _heard(self, line: node.Line) -> None:
        if self._silent:
            self._silent.cancel()
        if line.word == node.SEND and not self._sending:
            self._sending = asyncio.ensure_future(self._send())
        elif line.word == node.BEGAN:
            self._course.begin()
            self._limit.reschedule(asyncio.get_running_loop().time() + max(self._course.due - time.monotonic(), 0))
        elif line.word == node.ENDED:
            self._end = node.end(line)

    async def _send(self) -> None:
        session = self._session
        if session:
            with self._course.job.parcel.archive.open("rb") as archive:
                for chunk in _chunks(archive):
                    await session.write(chunk)
                    self._course.sent += len(chunk)
            session.eof()


def _nobody(_job: Job) -> Sequence[HostKey]:
    return ()


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    return iter(lambda: file.read(CHUNK), b"")


def _growing(seconds: Sequence[float]) -> Iterator[float]:
    yield from seconds
    while True:
        yield seconds[-1]
