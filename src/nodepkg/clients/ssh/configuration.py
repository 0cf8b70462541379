"""What the user's ~/.ssh/config says of a host, as far as it matters before asyncssh is asked."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nodepkg.clients.ssh.target import Target

# Who logs in: where it says none of it, keys are loaded once for all hosts.
_OF_KEYS = ("IdentityFile", "IdentityAgent", "IdentitiesOnly", "CertificateFile", "PKCS11Provider")
_OF_HOSTS = ("UserKnownHostsFile", "GlobalKnownHostsFile", "HostKeyAlias", "Hostname", "Port")
_BETWEEN = ("ProxyJump", "ProxyCommand")


class Configuration:
    """`path` is the file's, None if there is none, or if it is not to be read."""

    def __init__(self, *, read: bool) -> None:
        path = Path.home() / ".ssh" / "config"
        self.path = str(path) if read and path.is_file() else None

    @property
    def files(self) -> list[str] | None:
        """As asyncssh takes them."""
        return [self.path] if self.path else None

    def of(self, address: str, user: str, port: int | None) -> dict[str, Any]:
        """What the configuration says of a host as it stands on a command line of ssh, with this user and port."""
        if not self.path:
            return {}
        import getpass

        from asyncssh.config import SSHClientConfig

        known = (user or (), address, port or ())
        told = SSHClientConfig.load(None, [self.path], False, False, False, getpass.getuser(), *known)
        found = {name: told.get(name) for name in (*_OF_KEYS, *_OF_HOSTS, *_BETWEEN)}
        return {name: value for name, value in found.items() if value is not None}

    def known_hosts(self, target: Target) -> tuple[list[str], str, int]:
        """The files, and by which name and port the host is found in them."""
        told = self.of(target.address, target.user, target.port)
        home = Path.home() / ".ssh"
        files = [*told.get("UserKnownHostsFile", [str(home / name) for name in ("known_hosts", "known_hosts2")])]
        files += told.get("GlobalKnownHostsFile", ["/etc/ssh/ssh_known_hosts"])
        host = told.get("HostKeyAlias") or told.get("Hostname") or target.address
        return [str(Path(file).expanduser()) for file in files], host, target.port or told.get("Port") or 22


def existing_keys(told: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of asyncssh.connect: the IdentityFiles that are there, if any is named; ssh passes over the others."""
    if "IdentityFile" not in told:
        return {}
    found = [file for file in told["IdentityFile"] if Path(file).expanduser().is_file()]
    return {"client_keys": found, "ignore_encrypted": True}


def names_keys(told: Mapping[str, Any]) -> bool:
    """Whether what the configuration says of a host (`Configuration.of`) tells who logs in there."""
    return any(name in _OF_KEYS for name in told)
