"""Ways to hosts that a test can close, cut or lead elsewhere: a small TCP proxy in front of an address."""

import asyncio
import socket
import struct
import threading
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

_RESET = struct.pack("ii", 1, 0)  # struct linger: close with RST
_CHUNK = 65536


class Gate:
    """The way to one address. `taken` counts the connections that were accepted so far.

    The host's sshd is at `behind`, an impostor's, with another host key, at `elsewhere`: ports of the same address.
    All methods may be called at any time, and have happened when they come back.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, address: str, port: int, behind: int, elsewhere: int) -> None:
        self.address, self.port, self.taken = address, port, 0
        self._loop, self.behind, self._elsewhere = loop, behind, elsewhere
        self._server: asyncio.Server | None = None
        self._silent, self._target = False, behind
        self._cuts: list[tuple[int | None, int | None]] = []
        self._links: set[_Link] = set()

    def open(self) -> None:
        """New connections reach the host, and none is cut: so it is at first."""
        self._do(self._listen(target=self.behind))

    def impostor(self) -> None:
        """New connections reach another sshd, with another host key, and then the same host."""
        self._do(self._listen(target=self._elsewhere))

    def refuse(self) -> None:
        """Nobody listens. Connections that are open stay."""
        self._do(self._close())

    def hang(self) -> None:
        """New connections are accepted, and nobody says a word."""
        self._do(self._listen(target=self.behind, silent=True))

    def cut(self) -> int:
        """Resets the connections that are open, and says how many."""
        return int(self._do(self._cut()))

    def cut_next(self, *, down: int | None = None, up: int | None = None, times: int = 1) -> None:
        """Each of the next connections is reset once so many bytes came from the host (down) or went to it (up)."""
        self._do(self._plan([(down, up)] * times))

    def freeze(self) -> int:
        """The connections that are open carry nothing from now on, and nobody is told; says how many they are."""
        return int(self._do(self._freeze()))

    def _do(self, what: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(10)

    async def _listen(self, target: int, *, silent: bool = False) -> None:
        self._target, self._silent, self._cuts = target, silent, []
        if self._server is None:
            self._server = await asyncio.start_server(self._accept, self.address, self.port, backlog=128)

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _cut(self) -> int:
        links = [link for link in self._links if not link.left]
        for link in links:
            link.reset()
        return len(links)

    async def _freeze(self) -> int:
        links = [link for link in self._links if not link.left]
        for link in links:
            link.frozen = True
        return len(links)

    async def _plan(self, cuts: list[tuple[int | None, int | None]]) -> None:
        self._cuts += cuts

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.taken += 1
        link = _Link(writer, *(self._cuts.pop(0) if self._cuts else (None, None)))
        self._links.add(link)
        try:
            if self._silent:
                await link.swallow(reader, "up")
                return
            behind = await asyncio.open_connection(self.address, self._target)
            link.writers.append(behind[1])
            await asyncio.gather(link.carry(reader, behind[1], "up"), link.carry(behind[0], writer, "down"))
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._links.discard(link)
            for one in link.writers:
                one.close()


class _Link:
    """One connection, both ways."""

    def __init__(self, writer: asyncio.StreamWriter, down: int | None, up: int | None) -> None:
        self.writers, self.frozen = [writer], False
        self.left = False  # by the client, and the host does not know
        self._allowed = {"down": down, "up": up}

    async def swallow(self, source: asyncio.StreamReader, way: str) -> None:
        while await source.read(_CHUNK):
            pass
        self.left |= way == "up"

    async def carry(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, way: str) -> None:
        while data := await source.read(_CHUNK):
            allowed = self._allowed[way]
            if allowed is not None:
                data = data[:allowed]
                self._allowed[way] = allowed - len(data)
            if self.frozen:
                await self.swallow(source, way)
                await asyncio.Event().wait()
            target.write(data)
            await target.drain()
            if self._allowed[way] == 0:
                self.reset()
        if self.frozen:
            self.left |= way == "up"
            await asyncio.Event().wait()
        with suppress(OSError):
            target.write_eof()

    def reset(self) -> None:
        for writer in self.writers:
            found: socket.socket = writer.get_extra_info("socket")
            with suppress(OSError):
                found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()


class Gates:
    """`with Gates() as gates:` the loop in which gates live, a thread of its own. At the end all are closed."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._gates: list[Gate] = []
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> "Gates":
        self._thread.start()
        return self

    def gate(self, address: str, port: int, *, behind: int, elsewhere: int) -> Gate:
        made = Gate(self._loop, address, port, behind, elsewhere)
        self._gates.append(made)
        made.open()
        return made

    def __exit__(self, *_: object) -> None:
        for gate in self._gates:
            gate.refuse()
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
