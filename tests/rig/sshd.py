"""A loopback sshd in namespaces of its own: it stands for an EC2 instance that Packer provisions.

Root gets mount, process, IPC and host name namespaces, an ordinary user the same inside a user namespace.
"""

import os
import random
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
PACKAGES = {
    "sshd": "openssh-server",
    "ssh-keygen": "openssh-client",
    "scp": "openssh-client",
    "unshare": "util-linux",
    "pivot_root": "util-linux",
    "mount": "mount",
}
FOLDERS = (
    *("dev/pts", "etc/ssh", "home", "media", "mnt", "opt", "proc", "root", "run/sshd", "srv", "sys", "usr/local/bin"),
    *("usr/local/sbin", "var/cache", "var/lib/recorded", "var/log"),
)
PUBLIC_FOLDERS = ("dev/shm", "tmp", "var/tmp")
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
LINKS = {
    "dev/fd": "/proc/self/fd",
    "dev/stdin": "/proc/self/fd/0",
    "dev/stdout": "/proc/self/fd/1",
    "dev/stderr": "/proc/self/fd/2",
    "dev/ptmx": "pts/ptmx",
    "var/run": "../run",
}
# They make up most of /etc and lead into /usr, which is read-only too.
ETC_SHOWN = (Path("/etc/alternatives"), Path("/etc/ssl/certs"))
ETC_OWN = ("group", "gshadow", "mtab", "passwd", "shadow", "ssh", "sudoers", "sudoers.d")
NAMESPACES = ("--mount", "--ipc", "--uts", "--pid", "--fork", "--kill-child")
USER = ("--user", "--map-root-user")
SECONDS_TO_START = 20.0
SECONDS_TO_STOP = 10.0
SSHD_CONFIG = """\
Port {port}
ListenAddress {address}
HostKey /etc/ssh/host_key
PidFile none
PermitRootLogin yes
AuthenticationMethods publickey
AuthorizedKeysFile none
AuthorizedKeysCommand /etc/ssh/any-key %t %k
AuthorizedKeysCommandUser root
# Packer 1.6.6 signs with RSA and SHA-1 only
PubkeyAcceptedAlgorithms +ssh-rsa
UsePAM no
StrictModes no
UseDNS no
PrintMotd no
PrintLastLog no
MaxStartups 100
MaxSessions 100
LogLevel VERBOSE
VersionAddendum {name}
Subsystem sftp internal-sftp
SetEnv PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
"""


class NodeError(Exception):
    """The node cannot be had on this machine."""


@dataclass(frozen=True)
class Recording:
    """One call of chef-solo. argv starts with "chef-solo"; files: by absolute path in the node, links resolved."""

    argv: tuple[str, ...]
    cwd: str
    uid: int
    code: int
    files: dict[str, bytes]


@dataclass(frozen=True)
class Node:
    """A running node. root: the node's / on the host's side; key: a private key (any other key is welcome too)."""

    address: str
    port: int
    user: str
    root: Path
    key: Path
    log: Path

    @property
    def recorded(self) -> Path:
        return self.path("/var/lib/recorded")

    @property
    def authority(self) -> Path:
        """The public key of who certifies host keys."""
        return self.key.with_name("authority.pub")

    @property
    def options(self) -> tuple[str, ...]:
        """What ssh, scp and sftp need to reach the node without a question and without files of the user."""
        return (
            *("-F", "none", "-i", str(self.key), "-o", f"Port={self.port}", "-o", "IdentitiesOnly=yes"),
            *("-o", "IdentityAgent=none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no"),
            *("-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"),
        )

    def path(self, inside: str) -> Path:
        """Where the host sees a path of the node; ValueError where a link on the way leads out of the node."""
        seen = self.root / inside.lstrip("/")
        if not seen.parent.resolve().is_relative_to(self.root):
            raise ValueError(f"{inside}: a link of the node leads out of {self.root}")
        return seen

    def ssh(self, command: str) -> subprocess.CompletedProcess[str]:
        line = ["ssh", *self.options, f"{self.user}@{self.address}", command]
        return subprocess.run(line, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)

    def recordings(self) -> list[Recording]:
        """The finished calls of chef-solo, oldest first."""
        finished = [code.parent for code in self.recorded.glob("*/code")]
        return [_recording(folder) for folder in sorted(finished, key=lambda folder: int(folder.name))]


@contextmanager
def node(
    folder: Path,
    *,
    address: str = "127.0.0.1",
    port: int = 0,
    chef_exit: int = 0,
    chef_solo: Path | None = None,
    shows: Sequence[Path] = (),
    certified: bool = False,
) -> Iterator[Node]:
    """A node whose files live in a new folder below `folder`; it ends with the block, or with this process.

    port 0 is a free one. chef_exit: what the recorder exits with (the node reads it anew from recorded/exit at each
    call). chef_solo: a file of the host that stands in place of the recorder. shows: further folders of the host that
    the node sees at their own path, read-only. certified: its host key has a certificate by `authority`.
    NodeError: a package is missing, or the system allows no namespaces.
    """
    require_packages()
    privileged = is_privileged()
    scratch = Path(tempfile.mkdtemp(prefix="node-", dir=folder)).resolve()
    host = _build(scratch, address=address, port=port or free_port(address), privileged=privileged)
    if certified:
        _certify(host, privileged=privileged)
    (host.recorded / "exit").write_text(f"{chef_exit}\n")
    shown = [(path.resolve(), str(path.absolute())) for path in shows]
    if chef_solo:
        shown.append((chef_solo.resolve(), "/usr/local/bin/chef-solo"))
    else:
        install(HERE / "node/chef-solo", host.path("/usr/local/bin/chef-solo"))
    with _running(host, scratch / "mount", shown=shown, privileged=privileged):
        yield host


def require_packages() -> None:
    missing = {program: package for program, package in PACKAGES.items() if not which(program)}
    if missing:
        packages = " ".join(sorted(set(missing.values())))
        raise NodeError(f"missing on this machine: {', '.join(missing)} (Debian: apt-get install {packages})")


def which(program: str) -> str | None:
    # An ordinary user's PATH does not hold sbin.
    return shutil.which(program, path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin")))


def environment() -> dict[str, str]:
    return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}


def is_privileged() -> bool:
    """Whether namespaces go without a user namespace; NodeError where they do not go with one either."""
    # In a user namespace of its own even uid 0 has only itself.
    if os.geteuid() == 0 and Path("/proc/self/setgroups").read_text().strip() == "allow" and not _refusal():
        return True
    if refusal := _refusal(*USER):
        raise NodeError(
            f"the system allows no mounts in a user namespace: {refusal} (look at the sysctls user.max_user_namespaces,"
            " kernel.apparmor_restrict_unprivileged_userns, kernel.unprivileged_userns_clone; or run as root, which in"
            " a container takes CAP_SYS_ADMIN)"
        )
    return False


def _refusal(*user: str) -> str:
    line = ["unshare", *user, *NAMESPACES, "mount", "-t", "tmpfs", "none", "/tmp"]
    tried = subprocess.run(line, env=environment(), capture_output=True, text=True, check=False)
    return "" if tried.returncode == 0 else tried.stderr.strip() or f"unshare ended with {tried.returncode}"


def free_port(address: str) -> int:
    # Below the kernel's range for outgoing connections, so that none of them takes it before sshd does.
    for port in random.sample(range(20000, 32000), 100):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with suppress(OSError):
                probe.bind((address, port))
                return port
    raise NodeError(f"no free port on {address}")


def _build(scratch: Path, *, address: str, port: int, privileged: bool) -> Node:
    root = scratch / "root"
    build_root(root, privileged=privileged)
    (scratch / "mount").mkdir()
    (root / "etc/ssh/sshd_config").write_text(SSHD_CONFIG.format(address=address, port=port, name=scratch.name))
    install(HERE / "node/any-key", root / "etc/ssh/any-key")
    make_keys(root / "etc/ssh/host_key", scratch / "key", privileged=privileged)
    return Node(address, port, "root", root, scratch / "key", scratch / "sshd.log")


def build_root(root: Path, *, privileged: bool) -> None:
    """The folders, devices, accounts and public files of a node, in a new folder."""
    for name in FOLDERS:
        (root / name).mkdir(parents=True)
    for name in PUBLIC_FOLDERS:
        (root / name).mkdir()
        (root / name).chmod(0o1777)
    for name in DEVICES:
        (root / "dev" / name).touch()
    (root / "var/log/lastlog").touch()
    for name, target in LINKS.items():
        (root / name).symlink_to(target)
    _copy_public(Path("/etc"), root / "etc")
    _write_accounts(root / "etc", privileged=privileged)
    # sshd wants its folders, the root among them, closed to others, whatever the umask.
    for path in (root, *(root / name for name in ("etc", "etc/ssh", "run", "run/sshd"))):
        path.chmod(0o755)


def make_keys(*keys: Path, privileged: bool) -> None:
    """Private keys, and beside each its public half."""
    for key in keys:
        _ssh_keygen("-t", "ed25519", "-N", "", "-C", "node", "-f", str(key), privileged=privileged)


def _ssh_keygen(*words: str, privileged: bool) -> None:
    # It refuses a uid without a name; in the namespace it is root's.
    line = [] if privileged else ["unshare", *USER]
    line += ["ssh-keygen", "-q", *words]
    subprocess.run(line, env=environment(), stdin=subprocess.DEVNULL, check=True)


def _certify(host: Node, *, privileged: bool) -> None:
    authority = host.authority.with_suffix("")
    make_keys(authority, privileged=privileged)
    key = host.root / "etc/ssh/host_key.pub"
    _ssh_keygen("-s", str(authority), "-I", "node", "-h", "-n", host.address, str(key), privileged=privileged)
    with (host.root / "etc/ssh/sshd_config").open("a") as config:
        config.write("HostCertificate /etc/ssh/host_key-cert.pub\n")


def install(program: Path, target: Path) -> None:
    shutil.copyfile(program, target)
    target.chmod(0o755)


def _copy_public(source: Path, target: Path) -> None:
    """Copies what everybody may read, so that no secret of the host gets into a node."""
    for path in source.iterdir():
        mode = path.lstat().st_mode
        if path in ETC_SHOWN or (path.name in ETC_OWN and source == Path("/etc")):
            continue
        if stat.S_ISLNK(mode):
            (target / path.name).symlink_to(path.readlink())
        elif stat.S_ISDIR(mode) and mode & 0o005 == 0o005:
            (target / path.name).mkdir()
            _copy_public(path, target / path.name)
        elif stat.S_ISREG(mode) and mode & stat.S_IROTH:
            shutil.copy(path, target / path.name)


def _write_accounts(etc: Path, *, privileged: bool) -> None:
    # An ordinary user's namespace has uid and gid 0 only.
    separated = (101, 65534) if privileged else (0, 0)
    shell = "/bin/bash" if Path("/bin/bash").exists() else "/bin/sh"
    (etc / "passwd").write_text(
        f"root:x:0:0:root:/root:{shell}\n"
        f"sshd:x:{separated[0]}:{separated[1]}::/run/sshd:/usr/sbin/nologin\n"
        "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
    )
    (etc / "group").write_text("root:x:0:\n" + ("tty:x:5:\n" if privileged else "") + "nogroup:x:65534:\n")
    # "!" would lock the account, for keys too.
    (etc / "shadow").write_text("root:*:19000::::::\nsshd:*:19000::::::\nnobody:*:19000::::::\n")
    (etc / "shadow").chmod(0o600)


def system_folders(root: Path) -> list[tuple[Path, str]]:
    """What the node sees of the host beside /usr. Where /bin, /lib and so on are links, makes the same links."""
    folders = [(path, str(path)) for path in ETC_SHOWN if path.is_dir()]
    for path in sorted((Path("/bin"), Path("/sbin"), *Path("/").glob("lib*"))):
        if path.is_symlink():
            (root / path.name).symlink_to(path.readlink())
        elif path.is_dir():
            folders.append((path, str(path)))
    return folders


def make_mountpoints(root: Path, shown: Sequence[tuple[Path, str]]) -> None:
    for source, target in shown:
        place = root / target.lstrip("/")
        if source.is_dir():
            place.mkdir(parents=True, exist_ok=True)
        elif source.is_file():
            place.parent.mkdir(parents=True, exist_ok=True)
            place.touch()
        else:
            raise NodeError(f"{source}: no such file or folder to show to the node")


@contextmanager
def _running(host: Node, mountpoint: Path, *, shown: Sequence[tuple[Path, str]], privileged: bool) -> Iterator[None]:
    mounts = [*system_folders(host.root), *shown]
    make_mountpoints(host.root, mounts)
    line = ["unshare", *NAMESPACES, "/bin/sh", str(HERE / "node" / "enter.sh"), str(host.root), str(mountpoint)]
    if not privileged:
        line = [sys.executable, str(HERE / "setgroups.py"), line[0], *USER, *line[1:]]
    for source, target in mounts:
        line += [str(source), target]
    # sshd starts itself again for each connection, so it wants absolute paths.
    line += ["--", which("sshd") or "", "-D", "-e", "-f", "/etc/ssh/sshd_config"]
    with host.log.open("wb") as log:
        process = subprocess.Popen(
            line, stdin=subprocess.PIPE, stdout=log, stderr=log, env=environment(), cwd="/", start_new_session=True
        )
    try:
        await_banner(host.log, host.address, host.port, host.root.parent.name, process)
        yield
    finally:
        stop(process)


def await_banner(log: Path, address: str, port: int, name: str, process: subprocess.Popen[bytes]) -> None:
    """Until the sshd of this name answers there; NodeError, with its log, if it does not, or the process ends."""
    deadline = time.monotonic() + SECONDS_TO_START
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection((address, port), timeout=1) as connection:
            # Another server may have the port.
            if connection.recv(256).rstrip().endswith(name.encode()):
                return
        time.sleep(0.02)
    why = "did not answer" if process.poll() is None else f"ended with {process.returncode}"
    raise NodeError(f"sshd on {address}:{port} {why}:\n{log.read_text(errors='replace')}")


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ends process 1 of the node, and with it the kernel ends the others and drops the mounts before wait returns."""
    if process.stdin:
        process.stdin.close()
    try:
        process.wait(SECONDS_TO_STOP)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _recording(folder: Path) -> Recording:
    files = folder / "files"
    return Recording(
        argv=tuple((folder / "argv").read_text().split("\0")[:-1]),
        cwd=(folder / "cwd").read_text().rstrip("\n"),
        uid=int((folder / "uid").read_text()),
        code=int((folder / "code").read_text()),
        files={f"/{path.relative_to(files)}": path.read_bytes() for path in sorted(files.rglob("*")) if path.is_file()},
    )
