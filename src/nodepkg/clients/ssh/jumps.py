"""Connections to jump hosts (a ProxyJump), one for all who go through: a fleet would overrun them."""

import asyncio
from typing import Any

from nodepkg.clients.ssh.target import Patience


class Jumps:
    """`config` are the files of the user's configuration, as asyncssh takes them."""

    def __init__(self, config: list[str] | None, patience: Patience) -> None:
        self._config = config
        self._alive = {"keepalive_interval": patience.alive, "keepalive_count_max": patience.missed}
        self._made: dict[str, asyncio.Future[Any]] = {}

    async def through(self, jump: str) -> Any:
        """asyncssh's connection to the last of these hosts, `user@host:port` each, with commas between."""
        made = self._made.get(jump)
        if not made or (made.done() and (made.cancelled() or made.exception() or made.result().is_closed())):
            made = self._made[jump] = asyncio.ensure_future(self._connect(jump))
        return await asyncio.shield(made)

    async def _connect(self, jump: str) -> Any:
        import asyncssh

        made: Any = None
        for one in jump.split(","):
            user, _, where = one.rpartition("@")
            host, _, port = where.rpartition(":") if where.rpartition(":")[2].isdigit() else (where, "", "")
            told = {**({"username": user} if user else {}), **({"port": int(port)} if port else {})}
            made = await asyncssh.connect(host.strip("[]"), config=self._config, tunnel=made, **told, **self._alive)
        return made

    def close(self) -> None:
        """Ends all of them."""
        for made in self._made.values():
            made.cancel()
            if made.done() and not made.cancelled() and not made.exception():
                made.result().abort()
        self._made.clear()
