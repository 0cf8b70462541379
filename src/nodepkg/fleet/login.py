"""The ssh command that logs in to a node."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nodepkg.clients.ssh.target import is_loopback
from nodepkg.errors import RefusedError
from nodepkg.fleet.host import Host
from nodepkg.fleet.known_hosts import KNOWN_HOSTS
from nodepkg.nodes.deploy import Deploy
from nodepkg.nodes.group import Group

_THE_USERS = "~/.ssh/known_hosts ~/.ssh/known_hosts2"


@dataclass(frozen=True)
class Login:
    """How nodes of a group are logged in to. `user` "" and `port` None: as ~/.ssh/config says."""

    address: str
    user: str = ""
    port: int | None = None
    asks: bool = False


def login_of(group: Group | None) -> Login:
    """By the group's `deploy`; a group that nodes.json has no more is reached by what is the default."""
    deploy = group.settings.deploy if group else Deploy()
    user = deploy.user or (group.settings.ssh_username if group else "")
    return Login(deploy.address, user, deploy.port, asks=deploy.host_keys == "strict")


def ssh_command(
    host: Host, login: Login, root: Path, *, key: Path | None = None, command: Sequence[str] = ()
) -> list[str]:
    """The words of the command. Host keys are remembered by instance id, since addresses are reused.

    Raises RefusedError for a host without an address.
    """
    if not host.address:
        raise RefusedError(
            f"{host.instance} cannot be reached: {host.unreachable}", hint="deploy.address in nodes.json"
        )
    ours = _escaped(root / KNOWN_HOSTS)
    options = [f"HostKeyAlias={host.instance}", f'UserKnownHostsFile="{ours}" {_THE_USERS}']
    options += ["HashKnownHosts=no"]  # by their ids keys are found, and forgotten
    options += [] if login.asks else ["StrictHostKeyChecking=accept-new"]
    options += ["IdentitiesOnly=yes"] if key else []
    words = ["ssh", *(word for option in options for word in ("-o", option))]
    words += ["-i", _escaped(key.absolute())] if key else []
    words += ["-p", str(login.port)] if login.port else []
    words += ["-l", login.user] if login.user else []
    return [*words, "--", host.address, *command]


def require_loopback(host: Host) -> None:
    """In the sandbox: its nodes have loopback addresses, and nothing else is to be reached."""
    if host.address and not is_loopback(host.address):
        raise RefusedError(
            f"{host.instance} is of the sandbox, and {host.address} is no loopback address",
            hint="deploy.address in nodes.json",
        )


def _escaped(path: Path) -> str:
    """ssh expands percent signs in file names."""
    return str(path).replace("%", "%%")
