"""One endpoint of etcd, spoken to in gRPC: calls and streams that never wait for ever.

grpclib wakes whoever waits on a lost connection by cancelling its task, so each call has a task of its own.
"""

import asyncio
import ssl
from collections.abc import Coroutine, Sequence
from typing import Any
from urllib.parse import urlsplit

from grpclib import GRPCError, Status
from grpclib.client import Channel, StreamStreamMethod, UnaryUnaryMethod
from grpclib.exceptions import ProtocolError, StreamTerminatedError

from nodepkg.clients.etcd import wire
from nodepkg.clients.etcd.values import Tls
from nodepkg.clients.etcd.words import CUT, UnansweredError, reason, refusal
from nodepkg.errors import ConfigError, RefusedError

DEFAULT_PORT = 2379
# h2 remembers each stream that a connection has had.
CALLS_OF_A_CHANNEL = 5000
# What etcd says of itself where another member, or a later try, may do better.
_PASSING = {Status.UNAVAILABLE, Status.DEADLINE_EXCEEDED, Status.CANCELLED, Status.RESOURCE_EXHAUSTED, Status.ABORTED}
WANTS_CERTIFICATE = " (perhaps it wants a certificate of its clients)"
# The last is what grpclib runs into where a connection is lost before a call has begun: it has no transport any more.
_LOST = (OSError, StreamTerminatedError, ProtocolError, AttributeError)
Metadata = dict[str, str]


class _Channel(Channel):
    """A channel that does not connect again once it was ended, as one that others still wait on would."""

    _ended = False

    async def __connect__(self) -> Any:
        protocol = await super().__connect__()
        if self._ended:
            self.end()
            raise StreamTerminatedError("Connection lost")
        return protocol

    def end(self) -> None:
        """Ends it at once: what hangs would take no farewell, and TLS waits half a minute for one."""
        self._ended = True
        transport = getattr(self._protocol.connection, "_transport", None) if self._protocol else None
        self.close()
        if transport:
            transport.abort()


class Connection:
    """It connects when it is first asked, and anew once the connection was lost. `timeout` in seconds, for each try."""

    def __init__(self, endpoint: str, tls: Tls | None, timeout: float) -> None:
        self.endpoint = endpoint
        self._timeout = timeout
        self._host, self._port, self._tls = _parts(endpoint, tls)
        self._channel: _Channel | None = None
        self._calls = self._busy = 0

    async def ask(self, method: str, request: Any, metadata: Metadata, *, streamed: bool = False) -> Any:
        """One request and its answer; `streamed` where etcd wants a stream for it.

        Raises UnansweredError where another endpoint may answer, else etcd's refusal in our words.
        """
        before = self._channel
        channel = self._open()
        kind = StreamStreamMethod if streamed else UnaryUnaryMethod
        called = kind(channel, f"/etcdserverpb.{method}", type(request), wire.answer_to(type(request)))
        self._busy += 1
        try:
            return await within(self._timeout, _one(called, request, metadata, self._timeout))
        except UnansweredError as error:
            self.drop(channel)
            # TLS 1.3 tells a client after it was let in that its certificate is missing, and grpclib drops the word.
            bare = str(error) == CUT and self._tls and not self._tls.certificate
            told = f"{self.endpoint}: {error}{WANTS_CERTIFICATE if bare else ''}"
            raise UnansweredError(told, lost=error.lost, stale=error.lost and channel is before) from error
        except GRPCError as error:
            raise self.in_words(error) from error
        finally:
            self._busy -= 1

    def stream(self, method: str, first: Sequence[Any], metadata: Metadata) -> "Stream":
        """A stream that begins with these requests, of one kind."""
        channel, kind = self._open(), type(first[0])
        called = StreamStreamMethod(channel, f"/etcdserverpb.{method}", kind, wire.answer_to(kind))
        return Stream(self, channel, called, first, metadata)

    def drop(self, channel: _Channel | None = None) -> None:
        """Ends the connection; with `channel` only if it is still that one."""
        if self._channel and channel in (None, self._channel):
            self._channel.end()
            self._channel = None

    def _open(self) -> _Channel:
        if self._calls >= CALLS_OF_A_CHANNEL and not self._busy:
            self.drop()
        if not self._channel:
            self._channel = _Channel(self._host, self._port, ssl=_context(self._tls) if self._tls else None)
            self._calls = 0
        self._calls += 1
        return self._channel

    def in_words(self, error: GRPCError) -> Exception:
        if error.status in _PASSING:
            return UnansweredError(f"{self.endpoint}: {reason(error)}")
        return refusal(error.status.name, error.message or "", self.endpoint)


class Stream:
    """What etcd sends, read ahead a little by a task of its own, which `close` ends."""

    def __init__(
        self, connection: Connection, channel: _Channel, called: Any, first: Sequence[Any], metadata: Metadata
    ) -> None:
        self._connection, self._channel = connection, channel
        self._arrived: asyncio.Queue[Any] = asyncio.Queue(maxsize=16)
        self._open: Any = None
        self._closing = False
        self._reading = asyncio.ensure_future(self._read(called, first, metadata))

    async def receive(self, seconds: float) -> Any:
        """The next message, or None if there is none within so many seconds. Raises UnansweredError at the end."""
        try:
            async with asyncio.timeout(seconds):
                message = await self._arrived.get()
        except TimeoutError:
            return None
        if isinstance(message, Exception):
            self._connection.drop(self._channel)
            raise message
        return message

    async def send(self, message: Any, seconds: float) -> None:
        if self._open:
            await within(seconds, self._open.send_message(message))

    async def close(self) -> None:
        self._closing = True
        self._reading.cancel()
        await asyncio.wait({self._reading})

    def _at(self, what: str) -> str:
        return f"{self._connection.endpoint}: {what}"

    async def _read(self, called: Any, first: Sequence[Any], metadata: Metadata) -> None:
        try:
            async with called.open(metadata=metadata) as stream:
                for message in first:
                    await stream.send_message(message)
                self._open = stream
                while (message := await stream.recv_message()) is not None:
                    await self._arrived.put(message)
            end: Exception = UnansweredError(self._at("the stream was ended"))
        except GRPCError as error:
            end = self._connection.in_words(error)
        except _LOST as error:
            end = UnansweredError(self._at(reason(error)))
        except asyncio.CancelledError:
            if self._closing:
                raise
            end = UnansweredError(self._at(CUT))
        finally:
            self._open = None
        await self._arrived.put(end)


async def within(seconds: float, call: Coroutine[Any, Any, Any]) -> Any:
    """What the call returns, which gets a task of its own. Raises UnansweredError, and GRPCError for what etcd says."""
    task = asyncio.ensure_future(call)
    try:
        await asyncio.wait({task}, timeout=seconds)
    finally:
        over = task.done()
        task.cancel()
        task.add_done_callback(_heed)  # also if nobody waits for it any more, since who called was cancelled
    if not over:
        await asyncio.gather(task, return_exceptions=True)
        raise UnansweredError(f"no answer within {seconds:g} s")
    if task.cancelled():
        raise UnansweredError(CUT, lost=True)
    try:
        return task.result()
    except TimeoutError as error:
        raise UnansweredError(f"no answer within {seconds:g} s") from error
    except _LOST as error:
        raise UnansweredError(reason(error), lost=True) from error


def _heed(task: asyncio.Future[Any]) -> None:
    """What became of it is known, and asyncio need not tell it."""
    if not task.cancelled():
        task.exception()


async def _one(called: Any, request: Any, metadata: Metadata, timeout: float) -> Any:
    async with called.open(timeout=timeout, metadata=metadata) as stream:
        await stream.send_message(request, end=True)
        answer = await stream.recv_message()
    if answer is None:
        raise StreamTerminatedError("Connection lost")
    return answer


def _parts(endpoint: str, tls: Tls | None) -> tuple[str, int, Tls | None]:
    """Host, port, and for https what it takes; ConfigError for what is no endpoint."""
    try:
        url = urlsplit(endpoint)
        host, port = url.hostname, url.port or DEFAULT_PORT
    except ValueError:
        host, port, url = None, 0, urlsplit("")
    if not host or url.scheme not in ("http", "https") or url.path not in ("", "/") or url.query or url.username:
        shown = endpoint.rpartition("@")[2]  # a password may stand before it
        raise ConfigError(f"{shown}: an endpoint of etcd is http://HOST:PORT or https://HOST:PORT")
    return host, port, (tls or Tls()) if url.scheme == "https" else None


def _context(tls: Tls) -> ssl.SSLContext:
    try:
        made = ssl.create_default_context(cafile=tls.ca)
        if tls.certificate:
            made.load_cert_chain(tls.certificate, tls.key)
    except OSError as error:  # an SSLError is one, too
        files = ", ".join(str(file) for file in (tls.ca, tls.certificate, tls.key) if file)
        raise RefusedError(f"{files}: cannot be used for TLS: {error.strerror or error}") from error
    made.set_alpn_protocols(["h2"])
    return made
