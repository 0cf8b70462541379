"""Connections to many hosts from one event loop, by asyncssh, with the user's configuration, agent and keys.

Everything but `Ssh(...)` itself is to be called in the event loop's thread.
"""

import asyncio
import os
import resource
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any

from nodepkg.clients.ssh.configuration import Configuration, existing_keys, names_keys
from nodepkg.clients.ssh.connection import Connection
from nodepkg.clients.ssh.jumps import Jumps
from nodepkg.clients.ssh.known import Said, UsersKnownHosts
from nodepkg.clients.ssh.proxies import Proxy, begin
from nodepkg.clients.ssh.target import HostKey, Patience, Target, host_key, is_loopback
from nodepkg.clients.ssh.words import in_words
from nodepkg.errors import UnreachableError

if TYPE_CHECKING:
    pass

_FILES = 10240  # more than that macOS refuses
# The cheapest first that current servers have; what an old one has is still taken.
_KEX = ("curve25519-sha256", "curve25519-sha256@libssh.org", "ecdh-sha2-nistp256")
_CIPHERS = ("aes128-gcm@openssh.com", "chacha20-poly1305@openssh.com", "aes128-ctr")
_OLD_KEX = ("diffie-hellman-group16-sha512", "diffie-hellman-group14-sha256", "diffie-hellman-group14-sha1")
_OLD_CIPHERS = ("aes256-gcm@openssh.com", "aes192-ctr", "aes256-ctr")
HOST_KEY_TYPES = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-rsa")
_CERTIFIED = tuple(f"{one}-cert-v01@openssh.com" for one in (*HOST_KEY_TYPES[:-1], "rsa-sha2-512", "rsa-sha2-256"))
_SIGNATURES = {"ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256", "ssh-rsa")}


class Ssh:
    """`key`: the text of a private key (not encrypted) in place of the agent's and ~/.ssh's.

    With `loopback_only` nothing but a loopback address is connected to, and no configuration is read.
    """

    def __init__(
        self,
        *,
        key: bytes | None = None,
        loopback_only: bool = False,
        patience: Patience | None = None,
    ) -> None:
        import asyncssh  # here, so that its half a second is over before the first connection

        _allow_many_files()
        self.patience = patience or Patience()
        self._key = asyncssh.import_private_key(key) if key else None
        self._loopback_only = loopback_only
        self._agent: asyncssh.SSHAgentClient | None = None
        self._keys: asyncio.Future[list[Any]] | None = None
        self._configuration = Configuration(read=not loopback_only)
        self._users = UsersKnownHosts(self._configuration)
        self._jumps = Jumps(self._configuration, self.patience)

    async def connect(self, target: Target) -> Connection:
        """Raises UnreachableError, and HostKeyError for a key that is not trusted."""
        if self._loopback_only and not is_loopback(target.address):
            raise UnreachableError("with --sandbox only loopback addresses are connected to")
        import asyncssh

        seen: list[HostKey] = []
        proxy: Proxy | None = None
        try:
            told = self._configuration.of(target.address, target.user, target.port)
            own_keys = bool(self._key) or not names_keys(told)
            options = await self._options(target, seen, own_keys=own_keys)
            options |= {} if own_keys else existing_keys(told)
            async with asyncio.timeout(self.patience.connect):
                if "ProxyJump" in told:
                    options["tunnel"] = await self._jumps.through(told["ProxyJump"])
                elif "ProxyCommand" in told:
                    proxy = await begin(told["ProxyCommand"])
                    options["sock"] = proxy.sock
                made = await asyncssh.connect(target.address, **options)
        except BaseException as error:
            if proxy:
                await proxy.end()
            if isinstance(error, OSError | asyncssh.Error | ValueError | TimeoutError):
                raise in_words(error, target, seen, self.patience.connect) from error
            raise
        return Connection(made, proxy)

    async def close(self) -> None:
        """Ends the connections that several share."""
        self._jumps.close()
        if self._agent:
            self._agent.close()
        await _settled()

    def known_to_user(self, target: Target) -> Said:
        """What the user's known_hosts say of this host; nothing with `loopback_only`. Raises RefusedError."""
        return Said() if self._loopback_only else self._users.of(target)

    async def certified(self, target: Target) -> HostKey | None:
        """The key of the host, of which it shows a good certificate by one of `target.authorities`.

        Raises UnreachableError, also if it has none.
        """
        async with await self.connect(target) as connection:
            return connection.host_key

    async def _options(self, target: Target, seen: list[HostKey], *, own_keys: bool) -> dict[str, Any]:
        """The arguments of asyncssh.connect; as an object of options they would be worked through twice for each host.

        `seen` gets the host keys that the server shows. Without `own_keys` the configuration says who logs in.
        """
        import asyncssh

        class Client(asyncssh.SSHClient):
            def validate_host_public_key(self, _host: str, _addr: str, _port: int, key: asyncssh.SSHKey) -> bool:
                shown = host_key(key)
                seen.append(shown)
                return target.trusted(shown)

            def validate_host_ca_key(self, _host: str, _addr: str, _port: int, key: asyncssh.SSHKey) -> bool:
                return host_key(key) in target.authorities

        return {
            "client_factory": Client,
            "known_hosts": _nobody,
            "server_host_key_algs": list(_CERTIFIED) if target.authorities else _signatures(target.prefer),
            "config": self._configuration.files,
            **({"username": target.user} if target.user else {}),
            **({"port": target.port} if target.port else {}),
            **({"client_keys": await self._own_keys(), "agent_path": None} if own_keys else {}),
            **self._same_for_all,
        }

    @cached_property
    def _same_for_all(self) -> dict[str, Any]:
        return {
            "kex_algs": [*_KEX, *_OLD_KEX],
            "encryption_algs": [*_CIPHERS, *_OLD_CIPHERS],
            "compression_algs": ["none"],
            "host_based_auth": False,
            "kbdint_auth": False,
            "password_auth": False,
            "gss_kex": False,
            "x509_trusted_certs": None,
            "x509_trusted_cert_paths": [],
            "agent_forwarding": False,
            "request_pty": False,
            "env": None,
            "send_env": None,
            "encoding": None,
            "login_timeout": self.patience.connect,
            "connect_timeout": None,
            "keepalive_interval": self.patience.alive,
            "keepalive_count_max": self.patience.missed,
        }

    async def _own_keys(self) -> list[Any]:
        """Those of the agent and of ~/.ssh, or the one that was given: read once."""
        if not self._keys:
            self._keys = asyncio.ensure_future(self._read_keys())
        return await self._keys

    async def _read_keys(self) -> list[Any]:
        import asyncssh
        from asyncssh.public_key import load_default_keypairs

        if self._key:
            return list(asyncssh.load_keypairs([self._key]))
        found: list[Any] = []
        if os.environ.get("SSH_AUTH_SOCK"):
            # One that does not answer, as where it was forwarded over a connection that is dead, is none.
            with suppress(OSError, asyncssh.Error, ValueError):
                async with asyncio.timeout(self.patience.agent):
                    self._agent = await asyncssh.connect_agent()
                    found += await self._agent.get_keys()
        return found + list(load_default_keypairs())


def _allow_many_files() -> None:
    """As many as the system lets this process have: each connection is one, and by default it may have 256 or 1024."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if most == resource.RLIM_INFINITY else min(most, _FILES)
    with suppress(ValueError, OSError):
        if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


async def _settled() -> None:
    """A connection that was aborted is closed in the next turns of the loop."""
    for _ in range(3):
        await asyncio.sleep(0)


def _nobody(_host: str, _addr: str, _port: int | None) -> tuple[list[Any], list[Any], list[Any]]:
    """No key is known to asyncssh, so it asks for each."""
    return [], [], []


def _signatures(prefer: Sequence[str]) -> list[str]:
    types = dict.fromkeys([*prefer, *HOST_KEY_TYPES])
    return [signature for one in types for signature in _SIGNATURES.get(one, (one,)) if one in HOST_KEY_TYPES]
