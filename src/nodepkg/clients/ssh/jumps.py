"""Connections to jump hosts (a ProxyJump), one for all who go through: a fleet would overrun them."""

import asyncio
from typing import Any

from nodepkg.clients.ssh.configuration import Configuration, existing_keys
from nodepkg.clients.ssh.target import Patience


class Jumps:
    """`configuration` is the user's."""

    def __init__(self, configuration: Configuration, patience: Patience) -> None:
        self._configuration = configuration
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
            told: dict[str, Any] = {**({"username": user} if user else {}), **({"port": int(port)} if port else {})}
            name, config = host.strip("[]"), self._configuration
            told |= existing_keys(config.of(name, user, int(port or 0)))
            made = await asyncssh.connect(name, config=config.files, tunnel=made, **told, **self._alive)
        return made

    def close(self) -> None:
        """Ends all of them."""
        for made in self._made.values():
            made.cancel()
            if made.done() and not made.cancelled() and not made.exception():
                made.result().abort()
        self._made.clear()
