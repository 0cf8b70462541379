"""A connection of asyncssh, and the command that runs on it."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from nodepkg.clients.ssh.proxies import Proxy
from nodepkg.clients.ssh.target import HostKey, host_key
from nodepkg.clients.ssh.words import reason
from nodepkg.errors import UnreachableError

if TYPE_CHECKING:
    import asyncssh


class Connection:
    """A connection on which one command runs. It is closed by leaving `async with`."""

    def __init__(self, made: "asyncssh.SSHClientConnection", proxy: Proxy | None = None) -> None:
        self._made = made
        self._proxy = proxy

    @property
    def user(self) -> str:
        """Who is logged in."""
        return str(self._made.get_extra_info("username"))

    @property
    def host_key(self) -> HostKey | None:
        """What the host has shown."""
        key = self._made.get_server_host_key()
        return host_key(key) if key else None

    async def __aenter__(self) -> "Connection":
        return self

    async def __aexit__(self, *_: object) -> None:
        # Not waiting for the other side, which may hang.
        self._made.abort()
        if self._proxy:
            await self._made.wait_closed()
            await self._proxy.end()

    def abort(self) -> None:
        """Ends it at once."""
        self._made.abort()

    async def run(self, command: str, received: Callable[[bytes, bool], None]) -> "Session":
        """Begins a command. `received(data, is_error)` is called with what it writes, standard error apart.

        Raises UnreachableError if the connection is lost, or the server runs no command.
        """
        import asyncssh

        session = Session(received)
        try:
            channel, _ = await self._made.create_session(session.protocol, command, encoding=None)
        except (OSError, asyncssh.Error) as error:
            raise UnreachableError(f"no command could be begun: {reason(error)}", passing=True) from error
        session.channel = channel
        return session


class Session:
    """A command that runs."""

    def __init__(self, received: Callable[[bytes, bool], None]) -> None:
        self.channel: Any = None
        self._received = received
        self._ended: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self._may_write = asyncio.Event()
        self._may_write.set()

    def protocol(self) -> "asyncssh.SSHClientSession[bytes]":
        """What asyncssh calls."""
        import asyncssh

        outer = self

        class Protocol(asyncssh.SSHClientSession[bytes]):
            def data_received(self, data: bytes, datatype: int | None) -> None:
                outer._received(data, datatype is not None)

            def pause_writing(self) -> None:
                outer._may_write.clear()

            def resume_writing(self) -> None:
                outer._may_write.set()

            def connection_lost(self, _: Exception | None) -> None:
                outer._over()

        return Protocol()

    async def write(self, data: bytes) -> None:
        """To its standard input; waits while too much is under way. What it does not take any more is dropped."""
        await self._may_write.wait()
        with suppress(OSError):
            self.channel.write(data)

    def eof(self) -> None:
        with suppress(OSError):
            self.channel.write_eof()

    def pause(self, *, reading: bool) -> None:
        """Stops what is received, or lets it come again."""
        with suppress(OSError):
            if reading:
                self.channel.pause_reading()
            else:
                self.channel.resume_reading()

    async def ended(self) -> int | None:
        """Waits for the end: its exit code; None if the connection was lost, or a signal ended it."""
        return await self._ended

    def _over(self) -> None:
        self._may_write.set()
        if not self._ended.done():
            code = self.channel.get_exit_status() if self.channel else None
            self._ended.set_result(code if code is not None and code >= 0 else None)
