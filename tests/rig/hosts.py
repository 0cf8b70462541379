"""Many loopback addresses as SSH hosts, each with state folders of its own in a mount namespace of its own.

`with hosts(folder, addresses) as fleet:` real sshds listen on one port of all the addresses. Their forced command
enters the namespace of the host whose address was connected to, which is held, so that locks, files and processes stay
from one session to the next. All hosts share one process table, /etc and /usr, which they cannot write. chef-solo is a
recorder (host/chef-solo); `fleet.behave` says what it does. For what a network does to a host, name it in `gated`.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import IO

from tests.rig import recorded, sshd
from tests.rig.gates import Gate, Gates

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
# What a host has of its own.
FOLDERS = ("home", "opt", "root", "run", "srv", "tmp", "var")
INSIDE = ("home/ubuntu", "run/lock", "var/cache", "var/lib/recorded", "var/log", "var/tmp")
SSHD_LISTENS = 16  # sshd.c: MAX_LISTEN_SOCKS
USER = "ubuntu"
# All that is in the mount namespace of this shell, but for the shell itself.
KILL_ALL = """\
own=$(readlink /proc/$$/ns/mnt)
for process in /proc/[0-9]*; do
    if [ "${process#/proc/}" != $$ ] && [ "$(readlink $process/ns/mnt)" = "$own" ]; then kill -9 ${process#/proc/}; fi
done 2>/dev/null
echo killed
"""
KILL_SSHDS = """\
for process in /proc/[0-9]*; do
    read -r name <$process/comm && case $name in sshd*) kill -9 ${process#/proc/} ;; esac
done >/dev/null 2>&1
"""
NOISE = """\
echo "Welcome to Ubuntu 12.04 LTS (GNU/Linux)"
printf '\\033[32m%s\\033[0m\\r\\n' "No mail."
echo "bash: warning: setlocale: LC_ALL: cannot change locale" >&2
alias cd=false ls=false
umask 077
cd /tmp
"""
SSHD_CONFIG = """\
AddressFamily inet
PidFile none
PermitRootLogin yes
AuthenticationMethods publickey
AuthorizedKeysFile /etc/ssh/authorized_keys
ForceCommand /etc/ssh/enter-host
UsePAM no
StrictModes no
UseDNS no
PrintMotd no
PrintLastLog no
MaxStartups 2000
MaxSessions 100
VersionAddendum {name}
Subsystem sftp internal-sftp
SetEnv PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
"""
SSH_CONFIG = """\
Host *
    IdentityFile {key}
    IdentitiesOnly yes
    Port {port}
    UserKnownHostsFile {known}
"""


@dataclass(frozen=True)
class Hosts:
    """Running hosts. `key` may log in as root and as ubuntu, who is uid 0 too and has a sudo; `host_key` is the public
    key of all hosts, `impostor_key` that of a gate's impostor, in known_hosts' words (type and base64).

    `home` is a home folder for an SSH client, whose .ssh/config knows the port and the key.
    """

    addresses: tuple[str, ...]
    port: int
    root: Path
    home: Path
    key: Path
    log: Path
    host_key: str
    impostor_key: str
    gates: dict[str, Gate] = field(default_factory=dict)
    holder: IO[bytes] | None = None

    def gate(self, address: str) -> Gate:
        """Of a host that was named in `gated`."""
        return self.gates[address]

    def path(self, address: str, inside: str) -> Path:
        """Where this machine sees a path of a host; ValueError where a link on the way leads out of the host."""
        top = self.root / "hosts" / address if inside.lstrip("/").split("/")[0] in FOLDERS else self.root
        seen = top / inside.lstrip("/")
        if not seen.parent.resolve().is_relative_to(top):
            raise ValueError(f"{inside}: a link of the host leads out of {top}")
        return seen

    def behave(
        self,
        *addresses: str,
        code: int = 0,
        output: str | bytes = "",
        errors: str = "",
        last: str | bytes = "",
        seconds: float = 0,
        held: bool = False,
        daemon: bool = False,
    ) -> None:
        """What chef-solo does on these hosts (none: on all) from its next call on: what is not named, it does not do.

        It writes `output` and `errors`, waits for `release` (held) or so many seconds, writes `last`, and exits with
        `code`. A daemon stays behind, with all the descriptors that chef-solo has.
        """
        texts = {"exit": f"{code}\n", "output": output, "errors": errors, "last": last, "daemon": "yes" * daemon}
        texts["seconds"] = f"{seconds}\n" if seconds else ""
        for address in addresses or self.addresses:
            folder = self._recorded(address)
            for name, text in texts.items():
                (folder / name).unlink(missing_ok=True)
                if text:
                    (folder / name).write_bytes(text.encode() if isinstance(text, str) else text)
            self.release(address)
            if held:
                os.mkfifo(folder / "held")

    def release(self, *addresses: str) -> None:
        """Those that are held go on, and no later call is held (none named: on all hosts)."""
        for address in addresses or self.addresses:
            held, was = self._recorded(address) / "held", self._recorded(address) / "was-held"
            with suppress(FileNotFoundError):
                # First the name, so that nobody comes to wait behind our back.
                held.rename(was)
                # ENXIO: nobody waits
                with suppress(OSError):
                    os.close(os.open(was, os.O_WRONLY | os.O_NONBLOCK))
                was.unlink()

    def runs(self, address: str) -> list[recorded.Run]:
        """The calls of chef-solo on that host, oldest first, also those that still run."""
        begun = [argv.parent for argv in self._recorded(address).glob("*/argv")]
        return [recorded.read(folder) for folder in sorted(begun, key=lambda folder: int(folder.name))]

    def sudo_calls(self, address: str) -> list[str]:
        """The arguments of each call of sudo on that host, joined by spaces."""
        called = self._recorded(address) / "sudo"
        return called.read_text().splitlines() if called.exists() else []

    def sudo_asks(self, *addresses: str, asks: bool = True) -> None:
        """Whether sudo wants a password there (none named: on all hosts)."""
        for address in addresses or self.addresses:
            asking = self._recorded(address) / "sudo-asks"
            asking.touch() if asks else asking.unlink(missing_ok=True)

    def shell(self, program: str, *addresses: str) -> None:
        """The login shell of all users there (none named: on all hosts)."""
        for address in addresses or self.addresses:
            (self._recorded(address) / "shell").write_text(f"{program}\n")

    def authorize(self, public: str) -> None:
        """This public key may log in too, as a line of authorized_keys."""
        with (self.root / "etc/ssh/authorized_keys").open("a") as keys:
            keys.write(f"{public.strip()}\n")

    def await_runs(self, count: int, *addresses: str, seconds: float = 30) -> None:
        """Until each of these hosts (none: of all) has seen that many calls of chef-solo begin."""
        wanted = addresses or self.addresses
        require(lambda: all(len(self.runs(one)) >= count for one in wanted), f"{count} runs on {wanted}", seconds)

    def reboot(self, address: str) -> None:
        """All that runs there is killed at once, but connections stay; the kernel has another boot id."""
        done = self.ssh(address, KILL_ALL, port=self._behind(address))
        assert done.stdout.endswith(b"killed\n"), done
        (self.root / "hosts" / address / "boot_id").write_text(f"{uuid.uuid4()}\n")

    def kill_sshds(self) -> None:
        """All sshds, and so all sessions: what these have started in a session of its own goes on."""
        self.ssh(self.addresses[-1], KILL_SSHDS, port=self._behind(self.addresses[-1]))
        require(lambda: not any(map(self._answers, self.addresses)), "all sshds are gone")

    def start_sshds(self) -> None:
        """After `kill_sshds`."""
        assert self.holder
        self.holder.write(b"\n")
        self.holder.flush()
        require(lambda: all(map(self._answers, self.addresses)), "all sshds are back")

    def _behind(self, address: str) -> int:
        """The port of its sshd."""
        return self.gates[address].behind if address in self.gates else self.port

    def _answers(self, address: str) -> bool:
        with suppress(OSError), socket.create_connection((address, self._behind(address)), timeout=1) as connection:
            return bool(connection.recv(8))
        return False

    def ssh(
        self, address: str, command: str, *, user: str = USER, given: bytes = b"", port: int | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        """Through OpenSSH's client, which takes any host key."""
        line = ["ssh", "-F", str(self.home / ".ssh/config"), "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no"]
        line += ["-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-o", f"Port={port or self.port}"]
        line += [f"{user}@{address}", command]
        return subprocess.run(line, input=given, capture_output=True, check=False)

    def _recorded(self, address: str) -> Path:
        return self.root / "hosts" / address / "var/lib/recorded"


def require(holds: Callable[[], bool], what: str, seconds: float = 30) -> None:
    """Waits until it holds; AssertionError with `what` if it does not in so many seconds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"after {seconds} s: {what}"
        time.sleep(0.01)


@contextmanager
def hosts(
    folder: Path, addresses: Sequence[str], *, gated: Collection[str] = (), port: int = 0, noisy: bool = False
) -> Iterator[Hosts]:
    """Hosts whose files live in a new folder below `folder`; they end with the block, or with this process.

    `gated` are those of the addresses whose way a test wants to close, cut or lead elsewhere. port 0 is a free one.
    noisy: the rc file of bash talks. NodeError: a package is missing, or the system allows no namespaces.
    """
    sshd.require_packages()
    privileged = sshd.is_privileged()
    scratch = Path(tempfile.mkdtemp(prefix="hosts-", dir=folder)).resolve()
    port = port or sshd.free_port(addresses[0])
    fleet = _build(scratch, tuple(addresses), port, noisy=noisy, privileged=privileged)
    configs = _configure(fleet, set(gated))
    with ExitStack() as until_the_end:
        until_the_end.callback(shutil.rmtree, scratch, ignore_errors=True)
        process = until_the_end.enter_context(_running(fleet, scratch, configs, privileged=privileged))
        gates = until_the_end.enter_context(Gates()) if gated else None
        for address in gated if gates else ():
            behind, elsewhere = configs.ports
            fleet.gates[address] = gates.gate(address, port, behind=behind, elsewhere=elsewhere)  # type: ignore[union-attr]
        yield replace(fleet, holder=process.stdin)


@dataclass(frozen=True)
class _Configs:
    """Files of sshd, each with one address and port of those at which that sshd listens; `ports` are behind gates."""

    files: dict[str, tuple[str, int]]
    ports: tuple[int, int]


def _build(scratch: Path, addresses: tuple[str, ...], port: int, *, noisy: bool, privileged: bool) -> Hosts:
    root, home = scratch / "root", scratch / "home"
    sshd.build_root(root, privileged=privileged)
    for name in ("mount", "home/.ssh", "root/hosts", "root/nothing", "root/run/ns", f"root/home/{USER}"):
        (scratch / name).mkdir(parents=True)
    for name in ("enter-host", "session"):
        sshd.install(HERE / "host" / name, root / "etc/ssh" / name)
    for name in ("chef-solo", "sudo"):
        sshd.install(HERE / "host" / name, root / "usr/local/bin" / name)
    keys = [scratch / "key", root / "etc/ssh/host_key", root / "etc/ssh/impostor_key"]
    sshd.make_keys(*keys, privileged=privileged)
    shutil.copy(scratch / "key.pub", root / "etc/ssh/authorized_keys")
    _add_accounts(root / "etc")
    for address in addresses:
        _make_host(root / "hosts" / address, noisy=noisy)
        (root / "run/ns" / address).touch()
    config = SSH_CONFIG.format(key=scratch / "key", port=port, known=home / ".ssh/known_hosts")
    (home / ".ssh/config").write_text(config)
    (home / ".ssh").chmod(0o700)
    public = [" ".join(key.with_suffix(".pub").read_text().split()[:2]) for key in keys[1:]]
    return Hosts(addresses, port, root, home, scratch / "key", scratch / "log", public[0], public[1])


def _add_accounts(etc: Path) -> None:
    """The one that logs in where root may not, with root's uid: a user namespace has no other."""
    # The session's own script starts the shell of the user.
    passwd = (etc / "passwd").read_text().replace("/bin/bash", "/bin/sh")
    (etc / "passwd").write_text(f"{passwd}{USER}:x:0:0:{USER}:/home/{USER}:/bin/sh\n")
    with (etc / "shadow").open("a") as shadow:
        shadow.write(f"{USER}:*:19000::::::\n")


def _make_host(top: Path, *, noisy: bool) -> None:
    for name in (*FOLDERS, *INSIDE):
        (top / name).mkdir(parents=True, exist_ok=True)
    (top / "boot_id").write_text(f"{uuid.uuid4()}\n")
    (top / "tmp").chmod(0o1777)
    (top / "var/tmp").chmod(0o1777)
    (top / "var/run").symlink_to("../run")
    (top / "var/lib/recorded/shell").write_text("/bin/bash\n" if Path("/bin/bash").exists() else "/bin/sh\n")
    for user in ("root", f"home/{USER}") if noisy else ():
        (top / user / ".bashrc").write_text(NOISE)


def _configure(fleet: Hosts, gated: set[str]) -> _Configs:
    ports = _free_ports(fleet.addresses[0], taken=fleet.port) if gated else (0, 0)
    plain = [address for address in fleet.addresses if address not in gated]
    fenced = [address for address in fleet.addresses if address in gated]
    files = {}
    for listening, port, key in (
        (plain, fleet.port, "host_key"),
        (fenced, ports[0], "host_key"),
        (fenced, ports[1], "impostor_key"),
    ):
        for start in range(0, len(listening), SSHD_LISTENS):
            name = f"/etc/ssh/{key}-{port}-{start}"
            lines = [f"Port {port}\n", f"HostKey /etc/ssh/{key}\n", SSHD_CONFIG.format(name=fleet.root.parent.name)]
            part = listening[start : start + SSHD_LISTENS]
            if _penalises():
                lines.append("PerSourcePenalties no\n")
            lines += [f"ListenAddress {address}\n" for address in part]
            (fleet.root / name.lstrip("/")).write_text("".join(lines))
            files[name] = (part[-1], port)
    return _Configs(files, ports)


@cache
def _penalises() -> bool:
    """Whether this sshd, since OpenSSH 9.8, closes itself to an address from which logins failed: all come from one."""
    told = subprocess.run(["ssh", "-V"], capture_output=True, text=True, check=True).stderr
    version = re.match(r"OpenSSH_(\d+)\.(\d+)", told)
    return version is not None and (int(version[1]), int(version[2])) >= (9, 8)


def _free_ports(address: str, *, taken: int) -> tuple[int, int]:
    """Two ports that differ from the one taken, and from each other."""
    found = {taken}
    while len(found) < 3:
        found.add(sshd.free_port(address))
    first, second = found - {taken}
    return first, second


@contextmanager
def _running(fleet: Hosts, scratch: Path, configs: _Configs, *, privileged: bool) -> Iterator[subprocess.Popen[bytes]]:
    shown = sshd.system_folders(fleet.root)
    sshd.make_mountpoints(fleet.root, shown)
    mounts = ["/bin/sh", str(HERE / "node/root.sh"), str(fleet.root), str(scratch / "mount")]
    for source, target in shown:
        mounts += [str(source), target]
    told = {
        "privileged": privileged,
        "mounts": [*mounts, "--"],
        "hosts": fleet.addresses,
        "folders": FOLDERS,
        "sshd": sshd.which("sshd"),
        "configs": list(configs.files),
    }
    with fleet.log.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-S", "-m", "tests.rig.holder", json.dumps(told)],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            env=sshd.environment(),
            cwd=REPOSITORY,
            start_new_session=True,
        )
    try:
        for address, port in configs.files.values():
            sshd.await_banner(fleet.log, address, port, scratch.name, process)
        yield process
    finally:
        sshd.stop(process)
