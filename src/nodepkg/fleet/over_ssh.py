"""Hosts over SSH: many at a time from one event loop, which has a thread of its own."""

import asyncio
import secrets
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from queue import Empty, SimpleQueue
from typing import BinaryIO

from nodepkg.clients.ssh.client import Ssh
from nodepkg.clients.ssh.connection import Connection, Session
from nodepkg.clients.ssh.target import HostKey
from nodepkg.errors import HostKeyError, NodepkgError, ToolError, UnreachableError
from nodepkg.fleet import node
from nodepkg.fleet.host import Host
from nodepkg.fleet.known_hosts import KnownHosts
from nodepkg.fleet.transport import Began, Contact, Ended, Event, Job, Result, Wrote
from nodepkg.fleet.trust import Console, Trust

CHUNK = 64 * 1024
MOST_QUEUED = 32 * 1024 * 1024


@dataclass(frozen=True)
class Waits:
    """Seconds: before a connection is tried again, longer each time, and until a node's shell says a first word.

    A node gives a command that is past its time 30 s to end; `grace` is how long it has until it has said so.
    """

    again: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0, 15.0)
    shell: float = 60.0
    grace: float = 60.0
    tries: int = 3
    """How often a connection is tried that was cut before anything was begun."""


class OverSsh:
    """The Transport. `console` gives what a host's console shows, for strict host keys; it may take its time.

    Host keys are kept in `known`. What is foreseen ends the job that it happens to; anything else is raised by events.
    """

    def __init__(
        self,
        ssh: Ssh,
        known: KnownHosts,
        *,
        console: Console | None = None,
        waits: Waits | None = None,
        most_queued: int = MOST_QUEUED,
    ) -> None:
        self.ssh = ssh
        self.known = known
        self.console: Console = console or _no_console
        self.waits = waits or Waits()
        self._told: SimpleQueue[Event | BaseException] = SimpleQueue()
        self._most_queued = most_queued
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
        if self._paused and self._loop and self._queued <= self._most_queued:
            self._loop.call_soon_threadsafe(self._resume)
        return found

    def stop(self, /) -> None:
        """A job begins with its start: there is none that waits."""

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
            if self._queued > self._most_queued and session:
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
        await self.ssh.close()


@dataclass
class _Course:
    """One job. `offset`: how much of the output has come; `due`: until when a lost connection is followed up.

    `asked`: the node was sent its script, so from then on it may have begun whatever becomes of the connection.
    """

    over: OverSsh
    job: Job
    token: str = field(default_factory=lambda: secrets.token_hex(8))
    began: bool = False
    asked: bool = False
    lost: bool = False
    offset: int = 0
    sent: int = 0
    due: float = 0.0

    def __post_init__(self) -> None:
        over = self.over
        self.trust = Trust(over.ssh, over.known, over.console, self.job.host, self.job.parcel)

    async def run(self) -> Ended:
        if not self.job.host.address:
            return self._ended(Result.UNREACHABLE, why=self.job.host.unreachable or "it has no address")
        parcel, waits = self.job.parcel, _growing(self.over.waits.again)
        self.due = _now() + parcel.timeout + self.over.waits.grace
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
                if parcel.strict and not vouched and await self.trust.vouch(shown):
                    vouched = True
                    continue
                return self._ended(Result.UNKNOWN if self.asked else Result.REFUSED, why=self.trust.refusal(shown))
            if not self.asked and not (lost.passing and tries < self.over.waits.tries):
                return self._ended(Result.UNREACHABLE, why=lost.message)
            wait = next(waits)
            if _now() + wait > self.due:
                return self._ended(Result.UNKNOWN, why=f"the connection was lost, and not made again: {lost.message}")
            if self.asked:
                self._contact(lost=True)
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
        async with await self.over.ssh.connect(self.trust.target()) as connection:
            return await _Visit(self, text).follow(connection)

    def _contact(self, *, lost: bool) -> None:
        if lost != self.lost:
            self.lost = lost
            self.over.tell(Contact(self.job.host.instance, lost))

    def begin(self) -> None:
        self._contact(lost=False)
        if not self.began:
            self.began = True
            self.due = _now() + self.job.parcel.timeout + self.over.waits.grace
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
        self._unsent = ""

    async def follow(self, connection: Connection) -> Ended | None:
        course = self._course
        command = node.command(self._text, root=connection.user == "root")
        session = self._session = await connection.run(command, partial(self._received, connection))
        loop = asyncio.get_running_loop()
        self._silent = loop.call_later(course.over.waits.shell, self._is_silent, connection)
        try:
            async with asyncio.timeout_at(course.due) as self._limit:
                course.asked = True
                await session.write(self._text)
                code = await session.ended()
        except TimeoutError:
            return self._unknown("the node has not said that it ended, long after its time was over")
        finally:
            self._silent.cancel()
            if self._sending:
                self._sending.cancel()
        if self._mute:
            return self._unknown(f"logged in, but its shell has said nothing for {course.over.waits.shell:g} s")
        if self._unsent:
            raise ToolError(self._unsent)
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

    def _unknown(self, why: str) -> Ended:
        return Ended(self._course.job.host.instance, Result.UNKNOWN, why=why)

    def _is_silent(self, connection: Connection) -> None:
        self._mute = True
        connection.abort()

    def _received(self, connection: Connection, data: bytes, is_error: bool) -> None:
        if is_error:
            for line in self._lines.read(data):
                self._heard(line, connection)
            return
        known = self._output.offset is not None
        output = self._output.read(data)
        if not known and self._output.offset is not None:
            self._course.offset = self._output.offset
        if output:
            self._course.offset += len(output)
            self._course.over.tell(Wrote(self._course.job.host.instance, output), self._session)

    def _heard(self, line: node.Line, connection: Connection) -> None:
        if self._silent:
            self._silent.cancel()
        if line.word == node.SEND and not self._sending:
            self._sending = asyncio.ensure_future(self._send(connection))
        elif line.word == node.BEGAN:
            self._course.begin()
            self._limit.reschedule(self._course.due)
        elif line.word == node.ENDED:
            self._end = node.end(line)

    async def _send(self, connection: Connection) -> None:
        session, path = self._session, self._course.job.parcel.archive
        if not session:
            return
        self._course.sent = 0
        try:
            with path.open("rb") as archive:
                for chunk in _chunks(archive):
                    await session.write(chunk)
                    self._course.sent += len(chunk)
            session.eof()
        except OSError as error:
            self._unsent = f"{path}: cannot be read: {error.strerror}"
            connection.abort()


def _now() -> float:
    return asyncio.get_running_loop().time()


def _no_console(_host: Host) -> str:
    return ""


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    return iter(lambda: file.read(CHUNK), b"")


def _growing(seconds: Sequence[float]) -> Iterator[float]:
    yield from seconds
    while True:
        yield seconds[-1]
