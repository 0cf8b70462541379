"""A ProxyCommand: a program between us and a host, with a socket as its standard input and output."""

import asyncio
import socket
from contextlib import suppress

_ENDS = 2.0  # seconds that it has to end by itself once its socket is closed


class Proxy:
    """A ProxyCommand that runs. Close what uses `sock` before `end()`."""

    def __init__(self, sock: socket.socket, process: asyncio.subprocess.Process) -> None:
        self.sock = sock
        self._process = process

    async def end(self) -> None:
        """Waits until it has ended, by force if it does not by itself."""
        self.sock.close()
        try:
            async with asyncio.timeout(_ENDS):
                await self._process.wait()
        except TimeoutError:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()


async def begin(command: str) -> Proxy:
    """Runs it as OpenSSH does, by a shell (ssh_config(5), ProxyCommand). What it says on standard error is dropped."""
    ours, its = socket.socketpair()
    with its:
        ours.setblocking(False)
        try:
            process = await asyncio.create_subprocess_exec(
                *("sh", "-c", f"exec {command}"),
                stdin=its.fileno(),
                stdout=its.fileno(),
                stderr=asyncio.subprocess.DEVNULL,
            )
        except BaseException:
            ours.close()
            raise
    return Proxy(ours, process)
