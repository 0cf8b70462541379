"""Whether the key that a host shows is taken: by what is known of its instance, and by who vouches for it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace

from nodepkg.clients.ssh.client import Ssh
from nodepkg.clients.ssh.target import HostKey, Target
from nodepkg.errors import NodepkgError, UnreachableError
from nodepkg.fleet.host import Host
from nodepkg.fleet.known_hosts import Known, KnownHosts, fingerprint, shows
from nodepkg.fleet.transport import Parcel

Console = Callable[[Host], str]


@dataclass
class Trust:
    """Of one host. `console` gives what its console shows; it may take its time."""

    ssh: Ssh
    known: KnownHosts
    console: Console
    host: Host
    parcel: Parcel
    unread: str = ""

    def target(self) -> Target:
        """How the host is reached."""
        host, parcel = self.host, self.parcel
        prefer = [one.key.algorithm for one in self.known.of(host.instance)]
        return Target(host.address, parcel.user, parcel.port, prefer, self._trusts)

    def _trusts(self, key: HostKey) -> bool:
        there = self.known.of(self.host.instance)
        if self.parcel.strict:
            known = any(one.key == key and one.by for one in there)
            return known and key not in self.ssh.known_to_user(self.target()).revoked
        return any(one.key == key for one in there) if there else self._remember(key)

    def _remember(self, key: HostKey, by: str = "") -> bool:
        host = self.host
        return self.known.accept(Known(host.instance, key, host.group, host.region, by))

    async def vouch(self, shown: HostKey) -> bool:
        """Remembers the key if the user's known_hosts or else the console vouch for it."""
        there = self.known.of(self.host.instance)
        if there and not any(one.key == shown for one in there):
            return False
        target = self.target()
        said = self.ssh.known_to_user(target)
        if shown in said.revoked:
            self.unread = "; your known_hosts revoke it"
            return False
        if shown in said.keys or (
            said.authorities and await self._is_certified(replace(target, authorities=said.authorities), shown)
        ):
            return self._remember(shown, "known_hosts")
        try:
            text = await asyncio.get_running_loop().run_in_executor(None, self.console, self.host)
        except NodepkgError as error:
            self.unread += f"; its console: {error.message}"
            return False
        return shows(text, shown) and self._remember(shown, "console")

    async def _is_certified(self, target: Target, shown: HostKey) -> bool:
        """By one whom the user's known_hosts trust with it."""
        try:
            return await self.ssh.certified(target) == shown
        except UnreachableError as error:
            self.unread = f"; no certificate of it is good: {error.message}"
            return False

    def refusal(self, shown: HostKey) -> str:
        """Why this key is not taken, and what to do."""
        instance = self.host.instance
        there = self.known.of(instance)
        if not there or any(one.key == shown for one in there):
            return (
                f"its host key is vouched for neither by your known_hosts nor by its console: {shown.algorithm} "
                f"{fingerprint(shown)} (deploy.host_keys is strict){self.unread}"
            )
        known = ", ".join(f"{one.key.algorithm} {fingerprint(one.key)}" for one in there)
        return (
            f"its host key is another than before: {shown.algorithm} {fingerprint(shown)}, known is {known}. "
            "Somebody may be between you and the node, or its SSH server was set up anew; if you know that it was, "
            f"forget the key: ssh-keygen -R {instance} -f {self.known.path}"
        )
