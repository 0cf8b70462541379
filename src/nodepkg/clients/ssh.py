"""SSH, by asyncssh: connections to many hosts from one event loop, with the user's configuration, agent and keys.

Everything but `Ssh(...)` itself is to be called in the event loop's thread.
"""

import asyncio
import base64
import errno
import shlex
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nodepkg.errors import HostKeyError, RefusedError, UnreachableError

if TYPE_CHECKING:
    import asyncssh

# The cheapest first that current servers have; what an old one has is still taken.
_KEX = ("curve25519-sha256", "curve25519-sha256@libssh.org", "ecdh-sha2-nistp256")
_CIPHERS = ("aes128-gcm@openssh.com", "chacha20-poly1305@openssh.com", "aes128-ctr")
_OLD_KEX = ("diffie-hellman-group16-sha512", "diffie-hellman-group14-sha256", "diffie-hellman-group14-sha1")
_OLD_CIPHERS = ("aes256-gcm@openssh.com", "aes192-ctr", "aes256-ctr")
HOST_KEY_TYPES = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-rsa")
_SIGNATURES = {"ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256", "ssh-rsa")}
# What the user's configuration may say about who logs in; where it says none of it, keys are loaded once for all hosts.
_OF_KEYS = ("IdentityFile", "IdentityAgent", "IdentitiesOnly", "CertificateFile", "PKCS11Provider")
_OF_HOSTS = ("UserKnownHostsFile", "GlobalKnownHostsFile", "HostKeyAlias", "Hostname", "Port")
_BETWEEN = ("ProxyJump", "ProxyCommand")
_PROXY_ENDS = 5.0  # seconds that a ProxyCommand has to end

Passphrase = Callable[[Path], str | None]


@dataclass(frozen=True)
class HostKey:
    """`algorithm` as in a known_hosts line (ssh-ed25519), `data` in base64."""

    algorithm: str
    data: str


@dataclass(frozen=True)
class Target:
    """Whom to reach: as on a command line of ssh, `user` "" and `port` None are what the configuration says.

    `prefer` are the algorithms of host keys that are to be asked for first; `trusted` says whether a key is taken.
    """

    address: str
    user: str
    port: int | None
    prefer: Sequence[str]
    trusted: Callable[[HostKey], bool]


@dataclass(frozen=True)
class Patience:
    """Seconds: to connect and log in, and between two signs of life, `missed` of which may be missing."""

    connect: float = 20.0
    alive: float = 15.0
    missed: int = 3


class Ssh:
    """`key`: a private key in place of the agent's and ~/.ssh's; `passphrase` is asked for it if it is encrypted.

    With `loopback_only` nothing but a loopback address is connected to, and no configuration is read. Raises
    RefusedError for a key that cannot be read.
    """

    def __init__(
        self,
        *,
        key: Path | None = None,
        passphrase: Passphrase | None = None,
        loopback_only: bool = False,
        patience: Patience | None = None,
    ) -> None:
        import asyncssh  # noqa: F401 - here, so that its half a second is over before the first connection

        self.patience = patience or Patience()
        self._key = _load(key, passphrase) if key else None
        self._loopback_only = loopback_only
        self._keys: asyncio.Future[list[Any]] | None = None
        self._jumps: dict[str, asyncio.Future[Any]] = {}

    async def connect(self, target: Target) -> "Connection":
        """Raises UnreachableError, and HostKeyError for a key that is not trusted."""
        if self._loopback_only and not _is_loopback(target.address):
            raise UnreachableError("with --sandbox only loopback addresses are connected to")
        import asyncssh

        seen: list[HostKey] = []
        try:
            told = self._told_of(target)
            options = await self._options(target, told, seen)
            async with asyncio.timeout(self.patience.connect):
                through = await self._through(told)
                made = await asyncssh.connect(target.address, **options, **through)
        except (OSError, asyncssh.Error, ValueError, TimeoutError) as error:
            raise _in_words(error, target, seen, self.patience.connect) from error
        return Connection(made, proxied="proxy_command" in through)

    async def close(self) -> None:
        """Ends the connections that several share."""
        for made in self._jumps.values():
            made.cancel()
            if made.done() and not made.cancelled() and not made.exception():
                made.result().abort()
        self._jumps.clear()
        await _settled()

    def known_to_user(self, target: Target) -> list[HostKey]:
        """The keys that the user's known_hosts have for this address; none with `loopback_only`."""
        import asyncssh

        if self._loopback_only:
            return []
        files, host, port = self._known_hosts_of(target)
        try:
            known = asyncssh.read_known_hosts([file for file in files if Path(file).is_file()])
            keys, _, revoked, *_ = known.match(host, "", port if port != 22 else None)
        except (OSError, ValueError) as error:
            raise RefusedError(f"{', '.join(files)}: cannot be read: {error}") from error
        return [_host_key(key) for key in keys if key not in revoked]

    async def _through(self, told: Mapping[str, Any]) -> dict[str, Any]:
        """What the configuration puts between."""
        if "ProxyJump" in told:
            return {"tunnel": await self._jump(told["ProxyJump"])}
        if "ProxyCommand" in told:
            # asyncssh takes what the command says on standard error for the server's, and its end for the connection's.
            command = shlex.split(told["ProxyCommand"])
            return {"proxy_command": ["sh", "-c", '"$@" 2>/dev/null; exit', "sh", *command]}
        return {}

    async def _jump(self, jump: str) -> Any:
        """The connection to the jump hosts (a ProxyJump), one for all who go through: a fleet would overrun them."""
        import asyncssh

        made = self._jumps.get(jump)
        if not made or (made.done() and (made.cancelled() or made.exception() or made.result().is_closed())):
            made = self._jumps[jump] = asyncio.ensure_future(self._connect_jump(jump, asyncssh))
        return await asyncio.shield(made)

    async def _connect_jump(self, jump: str, asyncssh: Any) -> Any:
        through: Any = None
        for one in jump.split(","):
            user, _, where = one.rpartition("@")
            host, _, port = where.rpartition(":") if where.rpartition(":")[2].isdigit() else (where, "", "")
            told = {**({"username": user} if user else {}), **({"port": int(port)} if port else {})}
            config = [self._config] if self._config else None
            alive = {"keepalive_interval": self.patience.alive, "keepalive_count_max": self.patience.missed}
            through = await asyncssh.connect(host.strip("[]"), config=config, tunnel=through, **told, **alive)
        return through

    async def _options(self, target: Target, told: Mapping[str, Any], seen: list[HostKey]) -> dict[str, Any]:
        """The arguments of asyncssh.connect; as an object of options they would be worked through twice for each host.

        `told` is what the configuration says, `seen` gets the host keys that the server shows.
        """
        import asyncssh

        class Client(asyncssh.SSHClient):
            def validate_host_public_key(self, _host: str, _addr: str, _port: int, key: asyncssh.SSHKey) -> bool:
                shown = _host_key(key)
                seen.append(shown)
                return target.trusted(shown)

        special = not self._key and any(name in _OF_KEYS for name in told)
        return {
            "client_factory": Client,
            "known_hosts": _nobody,
            "server_host_key_algs": _signatures(target.prefer),
            "config": [self._config] if self._config else None,
            **({"username": target.user} if target.user else {}),
            **({"port": target.port} if target.port else {}),
            **({} if special else {"client_keys": await self._own_keys(), "agent_path": None}),
            **self._same_for_all,
        }

    @cached_property
    def _config(self) -> str | None:
        path = Path.home() / ".ssh" / "config"
        return str(path) if not self._loopback_only and path.is_file() else None

    def _told_of(self, target: Target) -> dict[str, Any]:
        """What the configuration says of this host."""
        if not self._config:
            return {}
        import getpass

        from asyncssh.config import SSHClientConfig

        known = (target.user or (), target.address, target.port or ())
        told = SSHClientConfig.load(None, [self._config], False, False, False, getpass.getuser(), *known)
        return {name: told.get(name) for name in (*_OF_KEYS, *_OF_HOSTS, *_BETWEEN) if told.get(name) is not None}

    def _known_hosts_of(self, target: Target) -> tuple[list[str], str, int]:
        """The files, and by which name and port the host is found in them."""
        told = self._told_of(target)
        home = Path.home() / ".ssh"
        files = [*told.get("UserKnownHostsFile", [str(home / name) for name in ("known_hosts", "known_hosts2")])]
        files += told.get("GlobalKnownHostsFile", ["/etc/ssh/ssh_known_hosts"])
        host = told.get("HostKeyAlias") or told.get("Hostname") or target.address
        return [str(Path(file).expanduser()) for file in files], host, target.port or told.get("Port") or 22

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
        import os

        import asyncssh
        from asyncssh.public_key import load_default_keypairs

        if self._key:
            return list(asyncssh.load_keypairs([self._key]))
        found: list[Any] = []
        if os.environ.get("SSH_AUTH_SOCK"):
            with suppress(OSError, asyncssh.Error, ValueError):
                agent = await asyncssh.connect_agent()
                found += await agent.get_keys()
        return found + list(load_default_keypairs())


class Connection:
    """A connection on which one command runs. It is closed by leaving `async with`."""

    def __init__(self, made: "asyncssh.SSHClientConnection", *, proxied: bool = False) -> None:
        self._made = made
        self._proxied = proxied

    @property
    def user(self) -> str:
        """Who is logged in."""
        return str(self._made.get_extra_info("username"))

    async def __aenter__(self) -> "Connection":
        return self

    async def __aexit__(self, *_: object) -> None:
        # Not waiting for the other side, which may hang.
        self._made.abort()
        if self._proxied:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._made.wait_closed(), _PROXY_ENDS)

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
            raise UnreachableError(f"no command could be begun: {_reason(error)}", passing=True) from error
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


def _load(path: Path, passphrase: Passphrase | None) -> Any:
    import asyncssh

    try:
        try:
            return asyncssh.read_private_key(str(path))
        except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError):
            told = passphrase(path) if passphrase else None
            if told is None:
                raise
            return asyncssh.read_private_key(str(path), told)
    except OSError as error:
        raise RefusedError(f"{path}: cannot be read: {error.strerror}") from error
    except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError) as error:
        raise RefusedError(f"{path}: this private key cannot be used: {error}") from error


async def _settled() -> None:
    """A connection that was aborted is closed in the next turns of the loop."""
    for _ in range(3):
        await asyncio.sleep(0)


def _nobody(_host: str, _addr: str, _port: int | None) -> tuple[list[Any], list[Any], list[Any]]:
    """No key is known to asyncssh, so it asks for each."""
    return [], [], []


def _host_key(key: "asyncssh.SSHKey") -> HostKey:
    return HostKey(key.get_algorithm(), base64.b64encode(key.public_data).decode())


def _signatures(prefer: Sequence[str]) -> list[str]:
    types = dict.fromkeys([*prefer, *HOST_KEY_TYPES])
    return [signature for one in types for signature in _SIGNATURES.get(one, (one,)) if one in HOST_KEY_TYPES]


def _is_loopback(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False


_PLAIN = {
    errno.ECONNREFUSED: "connection refused",
    errno.EHOSTUNREACH: "no route to the host",
    errno.ENETUNREACH: "no route to its network",
    errno.ECONNRESET: "the connection was reset",
    errno.EPIPE: "the connection was lost",
}


def _in_words(error: Exception, target: Target, seen: list[HostKey], seconds: float) -> Exception:
    import asyncssh

    where = f"{target.address}{f' port {target.port}' if target.port else ''}"
    if isinstance(error, asyncssh.HostKeyNotVerifiable) and seen:
        return HostKeyError(f"{where}: {error.reason}", algorithm=seen[-1].algorithm, data=seen[-1].data)
    if isinstance(error, TimeoutError):
        return UnreachableError(f"{where}: no answer within {seconds:g} s")
    if isinstance(error, asyncssh.PermissionDenied):
        user = f" of {target.user}" if target.user else ""
        return UnreachableError(f"{where}: the login{user} is refused: it takes none of the keys")
    passing = isinstance(error, asyncssh.ConnectionLost | ConnectionResetError | BrokenPipeError)
    return UnreachableError(f"{where}: {_reason(error)}", passing=passing)


def _reason(error: Exception) -> str:
    import asyncssh

    if isinstance(error, socket.gaierror):
        return "no such name"
    if isinstance(error, OSError):
        return _PLAIN.get(error.errno or 0) or error.strerror or str(error) or "the connection failed"
    if isinstance(error, asyncssh.ConnectionLost):
        return "the connection was lost"
    return str(getattr(error, "reason", "") or error) or "the connection failed"
