"""Converges over SSH against a real sshd, in namespaces of its own."""

import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from nodepkg.clients.ssh.client import Ssh
from nodepkg.clients.ssh.target import HostKey, Patience
from nodepkg.fleet.host import Host
from nodepkg.fleet.known_hosts import Known, KnownHosts, fingerprint
from nodepkg.fleet.over_ssh import OverSsh, Waits
from nodepkg.fleet.transport import Began, Ended, Event, Job, Parcel, Result, Wrote
from tests.rig.agent import agent
from tests.rig.sshd import Node, node

QUICK = Waits(again=(0.05,), shell=20.0)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with node(tmp_path_factory.mktemp("node")) as running:
        yield running


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    (folder / "cookbooks").mkdir(parents=True)
    (folder / "cookbooks" / "one.rb").write_text("one")
    (folder / "solo.rb").write_text("solo")
    (folder / "dna.json").write_text('{"of": "group"}')
    made = tmp_path / "bundle.tar.gz"
    subprocess.run(
        ["tar", "--mtime=2001-01-01", "-czf", str(made), "-C", str(folder), "cookbooks", "solo.rb", "dna.json"],
        check=True,
    )
    return made


@dataclass
class Fleet:
    """What a test deploys to: one node, by a transport."""

    node: Node
    transport: OverSsh
    parcel: Parcel
    opened: list[OverSsh] = field(default_factory=list)

    def over(self, **changed: Any) -> "Fleet":
        """The same by another transport; what is not said is as before."""
        told = {"ssh": self.transport.ssh, "known": self.transport.known, "waits": QUICK, **changed}
        self.opened.append(OverSsh(told.pop("ssh"), told.pop("known"), **told))
        return replace(self, transport=self.opened[-1])

    def job(self, deploy: str, command: str, **changed: object) -> Job:
        host = Host("i-1", "12_04-bee", "us-east-1", "us-east-1a", "bee", "", self.node.address)
        values = {"deploy": deploy, "command": command, **changed}
        return Job(host, replace(self.parcel, **values))  # type: ignore[arg-type]

    def deploy(self, job: Job) -> tuple[Ended, bytes, list[Event]]:
        self.transport.start([job])
        return self.rest()

    def rest(self, seen: Callable[[Event], object] = lambda event: None) -> tuple[Ended, bytes, list[Event]]:
        events: list[Event] = []
        while not (events and isinstance(events[-1], Ended)):
            told: Sequence[Event] = self.transport.events(60.0)
            assert told, "the transport says nothing more"
            for event in told:
                seen(event)
            events += told
        output = b"".join(event.output for event in events if isinstance(event, Wrote))
        ended = events[-1]
        assert isinstance(ended, Ended)
        return ended, output, events


@pytest.fixture
def fleet(machine: Node, archive: Path, tmp_path: Path) -> Iterator[Fleet]:
    ssh = Ssh(key=machine.key.read_bytes(), loopback_only=True, patience=Patience(connect=20.0))
    transport = OverSsh(ssh, KnownHosts(tmp_path / "known_hosts"), waits=QUICK)
    place = f"/opt/{tmp_path.name}"
    made = Fleet(
        machine,
        transport,
        Parcel(
            deploy="",
            group="12_04-bee",
            region="us-east-1",
            digest=tmp_path.name,
            archive=archive,
            path=place,
            command="",
            timeout=60.0,
            user="root",
            port=machine.port,
        ),
    )
    yield made
    for one in (transport, *made.opened):
        one.close()


def test_a_converge_gets_the_bundle_its_output_comes_back_and_so_does_its_code(fleet: Fleet, tmp_path: Path) -> None:
    ended, output, events = fleet.deploy(
        fleet.job(f"{tmp_path.name}-1", "cat {path}/cookbooks/one.rb; echo; echo oops >&2; exit 3")
    )
    assert (ended.result, ended.code) == (Result.FAILED, 3)
    assert output == b"one\noops\n"
    began = [event for event in events if isinstance(event, Began)]
    assert [event.sent for event in began] == [fleet.parcel.archive.stat().st_size]


def test_what_has_succeeded_is_not_run_again(fleet: Fleet, tmp_path: Path) -> None:
    job = fleet.job(f"{tmp_path.name}-1", f"echo run >>/tmp/{tmp_path.name}")
    first, _, _ = fleet.deploy(job)
    second, output, events = fleet.deploy(job)
    assert (first.result, first.again) == (Result.SUCCEEDED, False)
    assert (second.result, second.again) == (Result.SUCCEEDED, True)
    assert not output and len(events) == 1
    assert fleet.node.path(f"/tmp/{tmp_path.name}").read_text() == "run\n"


def test_a_bundle_that_is_there_is_not_sent_again(fleet: Fleet, tmp_path: Path) -> None:
    fleet.deploy(fleet.job(f"{tmp_path.name}-1", "true"))
    _, _, events = fleet.deploy(fleet.job(f"{tmp_path.name}-2", "true"))
    assert [event.sent for event in events if isinstance(event, Began)] == [0]


class Wire:
    """A port in front of another that can be cut, or go dead without a word."""

    def __init__(self, port: int) -> None:
        self._behind = port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._open: list[socket.socket] = []
        self._dead = False
        self.connections = 0
        self._threads: list[threading.Thread] = []
        self._spawn(self._accept)

    def _spawn(self, work: Callable[..., None], *given: object) -> None:
        self._threads.append(threading.Thread(target=work, args=given, daemon=True))
        self._threads[-1].start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listening.accept()
                far = socket.create_connection(("127.0.0.1", self._behind))
                self.connections += 1
                self._dead = False
                self._open += [near, far]
                for one, other in ((near, far), (far, near)):
                    self._spawn(self._pass, one, other, self.connections)

    def _pass(self, one: socket.socket, other: socket.socket, number: int) -> None:
        with suppress(OSError):
            while data := one.recv(65536):
                if not (self._dead and number == self.connections):
                    other.sendall(data)
            other.shutdown(socket.SHUT_WR)

    def cut(self) -> None:
        for one in self._open:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def go_dead(self) -> None:
        """Takes what comes and passes nothing on, until there is another connection."""
        self._dead = True

    def close(self) -> None:
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self.cut()
        for thread in self._threads:
            thread.join()
        for one in (self._listening, *self._open):
            one.close()


@pytest.fixture
def wire(machine: Node) -> Iterator[Wire]:
    made = Wire(machine.port)
    yield made
    made.close()


@pytest.mark.parametrize("fault", ["cut", "go_dead"])
def test_a_connection_that_is_lost_is_followed_up_and_no_output_comes_twice(
    fleet: Fleet, wire: Wire, machine: Node, tmp_path: Path, fault: str
) -> None:
    ssh = Ssh(key=machine.key.read_bytes(), loopback_only=True, patience=Patience(connect=20.0, alive=0.3, missed=2))
    over = fleet.over(ssh=ssh)
    fifo = f"/tmp/{tmp_path.name}.fifo"
    line = f"mkfifo {fifo}; echo runs >>/tmp/{tmp_path.name}.ran; echo before; read go <{fifo}; echo after"
    over.transport.start([over.job(f"{tmp_path.name}-1", line, port=wire.port)])

    def seen(event: Event) -> None:
        if isinstance(event, Wrote) and b"before" in event.output:
            getattr(wire, fault)()
            machine.ssh(f"echo go >{fifo}")

    ended, output, _ = over.rest(seen)
    assert (ended.result, output) == (Result.SUCCEEDED, b"before\nafter\n")
    assert machine.path(f"/tmp/{tmp_path.name}.ran").read_text() == "runs\n"
    assert wire.connections == 2


def test_what_cannot_be_reached_any_more_is_unknown(fleet: Fleet, wire: Wire, tmp_path: Path) -> None:
    over = fleet.over(waits=Waits(again=(1000.0,)))
    fifo = f"/tmp/{tmp_path.name}.fifo"
    line = f"mkfifo {fifo}; echo before; read go <{fifo}"
    over.transport.start([over.job(f"{tmp_path.name}-1", line, port=wire.port, timeout=30.0)])
    ended, output, _ = over.rest(lambda event: wire.cut() if isinstance(event, Wrote) else None)
    assert (ended.result, output) == (Result.UNKNOWN, b"before\n")
    assert "the connection was lost" in ended.why
    fleet.node.ssh(f"echo go >{fifo}; flock /var/lib/nodepkg/lock true")


def test_output_waits_while_nobody_takes_it(fleet: Fleet, tmp_path: Path) -> None:
    over = fleet.over(most_queued=50_000)
    ended, output, _ = over.deploy(over.job(f"{tmp_path.name}-1", "head -c 3000000 /dev/zero"))
    assert (ended.result, output) == (Result.SUCCEEDED, b"\0" * 3_000_000)


def test_an_address_where_nobody_listens_is_unreachable(fleet: Fleet) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    ended, _, events = fleet.deploy(fleet.job("one", "true", port=port))
    assert ended == Ended("i-1", Result.UNREACHABLE, why=f"127.0.0.1 port {port}: connection refused")
    assert len(events) == 1


def test_a_server_that_says_nothing_is_unreachable(fleet: Fleet, machine: Node) -> None:
    over = fleet.over(ssh=Ssh(key=machine.key.read_bytes(), loopback_only=True, patience=Patience(connect=0.3)))
    with socket.create_server(("127.0.0.1", 0)) as mute:
        ended, _, _ = over.deploy(over.job("one", "true", port=mute.getsockname()[1]))
    assert (ended.result, ended.why.partition(": ")[2]) == (Result.UNREACHABLE, "no answer within 0.3 s")


def test_a_host_without_address_is_unreachable_and_says_why(fleet: Fleet) -> None:
    job = fleet.job("one", "true")
    ended, _, _ = fleet.deploy(replace(job, host=replace(job.host, address="", unreachable="it has no public_ip")))
    assert ended == Ended("i-1", Result.UNREACHABLE, why="it has no public_ip")


def test_in_the_sandbox_nothing_but_loopback_is_reached(fleet: Fleet) -> None:
    job = fleet.job("one", "true")
    for address in ("192.0.2.1", "example.com", "0.0.0.0"):
        ended, _, _ = fleet.deploy(replace(job, host=replace(job.host, address=address)))
        assert ended.result == Result.UNREACHABLE
        assert "loopback" in ended.why


def test_without_a_key_the_login_is_refused(fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    over = fleet.over(ssh=Ssh(loopback_only=True))
    ended, _, _ = over.deploy(over.job("one", "true"))
    assert ended.result == Result.UNREACHABLE
    assert "the login of root is refused" in ended.why


NAMED = {
    "no key": "",
    "one that is not there": "IdentityFile {key}-none",
    "an encrypted one": "IdentityFile {key}",
    "an encrypted one only": "IdentityFile {key}\n IdentitiesOnly yes",
    "the agent": "IdentityAgent {agent}",
}


@pytest.mark.parametrize("named", NAMED)
def test_keys_of_the_agent_are_used_whatever_the_configuration_names(
    fleet: Fleet, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    key = home / "key"
    for suffix in (".pub", ""):
        shutil.copy(fleet.node.key.with_suffix(suffix), key.with_suffix(suffix))
    subprocess.run(["ssh-keygen", "-q", "-p", "-P", "", "-N", "secret", "-f", key], check=True)
    with agent(fleet.node.key) as socket:
        if named != "the agent":
            monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
        says = f"HostName 127.0.0.1\n Port {fleet.node.port}\n User root\n {NAMED[named].format(key=key, agent=socket)}"
        (home / "config").write_text(f"Host i-1\n {says}\n")
        over = fleet.over(ssh=Ssh())
        ended, _, _ = over.deploy(_by_name(over, f"{tmp_path.name}-1", user=""))
    assert (ended.result, ended.why) == (Result.SUCCEEDED, "")


def test_an_agent_that_does_not_answer_is_none(
    fleet: Fleet, home: Path, machine: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(machine.key, home / "id_ed25519")
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as silent:
        silent.bind(f"{folder}/agent")
        silent.listen()
        monkeypatch.setenv("SSH_AUTH_SOCK", f"{folder}/agent")
        over = fleet.over(ssh=Ssh(loopback_only=True, patience=Patience(agent=0.1)))
        ended, _, _ = over.deploy(over.job(f"{tmp_path.name}-1", "true"))
        assert (ended.result, ended.why) == (Result.SUCCEEDED, "")


def _host_key(machine: Node) -> HostKey:
    algorithm, data = machine.path("/etc/ssh/host_key.pub").read_text().split()[:2]
    return HostKey(algorithm, data)


def test_another_host_key_than_before_is_refused(fleet: Fleet, machine: Node, tmp_path: Path) -> None:
    other = HostKey("ssh-ed25519", machine.key.with_suffix(".pub").read_text().split()[1])
    fleet.transport.known.accept(Known("i-1", other, "12_04-bee", "us-east-1"))
    ended, _, events = fleet.deploy(fleet.job(f"{tmp_path.name}-1", f"touch /tmp/{tmp_path.name}"))
    assert (ended.result, len(events)) == (Result.REFUSED, 1)
    for told in (fingerprint(other), fingerprint(_host_key(machine)), "ssh-keygen -R i-1"):
        assert told in ended.why
    assert not machine.path(f"/tmp/{tmp_path.name}").exists()


def test_a_host_key_is_remembered_on_first_sight(fleet: Fleet, machine: Node, tmp_path: Path) -> None:
    fleet.deploy(fleet.job(f"{tmp_path.name}-1", "true"))
    assert fleet.transport.known.of("i-1") == [Known("i-1", _host_key(machine), "12_04-bee", "us-east-1")]


def test_strict_takes_no_key_that_nothing_vouches_for(fleet: Fleet, tmp_path: Path) -> None:
    ended, _, _ = fleet.deploy(fleet.job(f"{tmp_path.name}-1", "true", strict=True))
    assert ended.result == Result.REFUSED
    assert "vouched for neither" in ended.why
    assert not fleet.transport.known.of("i-1")


def test_strict_takes_a_key_that_the_console_shows(fleet: Fleet, machine: Node, tmp_path: Path) -> None:
    shown = (
        f"-----BEGIN SSH HOST KEY KEYS-----\r\n{_host_key(machine).algorithm} {_host_key(machine).data} root@node\r\n"
    )
    over = fleet.over(console=lambda host: f"boot\n{shown}-----END SSH HOST KEY KEYS-----\n")
    ended, _, _ = over.deploy(over.job(f"{tmp_path.name}-1", "true", strict=True))
    assert ended.result == Result.SUCCEEDED
    assert [one.by for one in over.transport.known.of("i-1")] == ["console"]


@pytest.fixture
def home(tmp_path: Path, machine: Node, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's ~/.ssh, which says of the name "i-1" where it is, and with which key to log in."""
    folder = tmp_path / ".ssh"
    folder.mkdir()
    text = f"Host i-1 jump\n  HostName 127.0.0.1\n  Port {machine.port}\n  User root\n  IdentityFile {machine.key}\n"
    (folder / "config").write_text(text)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return folder


def _by_name(fleet: Fleet, deploy: str, **changed: object) -> Job:
    job = fleet.job(deploy, "true", port=None, **changed)
    return replace(job, host=replace(job.host, address="i-1"))


def test_the_users_configuration_says_where_and_how(fleet: Fleet, home: Path, tmp_path: Path) -> None:
    over = fleet.over(ssh=Ssh())
    ended, _, _ = over.deploy(_by_name(over, f"{tmp_path.name}-1", user=""))
    assert (ended.result, ended.why) == (Result.SUCCEEDED, "")


@pytest.mark.parametrize("hashed", [False, True])
def test_strict_takes_a_key_of_the_users_known_hosts(
    fleet: Fleet, home: Path, machine: Node, tmp_path: Path, hashed: bool
) -> None:
    key = _host_key(machine)
    (home / "known_hosts").write_text(f"[127.0.0.1]:{machine.port} {key.algorithm} {key.data}\n")
    if hashed:
        subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(home / "known_hosts")], check=True, capture_output=True)
    over = fleet.over(ssh=Ssh())
    ended, _, _ = over.deploy(_by_name(over, f"{tmp_path.name}-1", strict=True))
    assert (ended.result, ended.why) == (Result.SUCCEEDED, "")
    assert [one.by for one in over.transport.known.of("i-1")] == ["known_hosts"]


def test_strict_takes_a_key_with_a_certificate_that_the_users_known_hosts_trust(
    fleet: Fleet, home: Path, tmp_path: Path
) -> None:
    with node(tmp_path, certified=True) as certified:
        (home / "config").write_text(f"Host i-1\n HostName 127.0.0.1\n Port {certified.port}\n User root\n")
        authority, known = certified.authority.read_text(), home / "known_hosts"
        known.write_text(f"@cert-authority 10.* {authority}")
        first, second = (fleet.over(ssh=Ssh(key=certified.key.read_bytes())) for _ in range(2))
        ended, _, _ = first.deploy(_by_name(first, f"{tmp_path.name}-1", strict=True))
        assert ended.result == Result.REFUSED, "the authority is trusted with others only"
        known.write_text(f"half a line\n@cert-authority [127.*]:* {authority}")
        ended, _, _ = second.deploy(_by_name(second, f"{tmp_path.name}-1", strict=True))
        assert (ended.result, ended.why) == (Result.SUCCEEDED, "")
        assert [(one.key, one.by) for one in fleet.transport.known.of("i-1")] == [(_host_key(certified), "known_hosts")]


def test_strict_takes_no_key_that_the_users_known_hosts_revoke(
    fleet: Fleet, home: Path, machine: Node, tmp_path: Path
) -> None:
    key = _host_key(machine)
    shown = f"-----BEGIN SSH HOST KEY KEYS-----\n{key.algorithm} {key.data} root@node\n"
    for by in ("", "known_hosts"):
        over = fleet.over(ssh=Ssh(), console=lambda host: shown)
        (home / "known_hosts").write_text(f"@revoked * {key.algorithm} {key.data}\n")
        ended, _, _ = over.deploy(_by_name(over, f"{tmp_path.name}-1", strict=True))
        assert (ended.result, "your known_hosts revoke it" in ended.why) == (Result.REFUSED, True), by
        over.transport.known.accept(Known("i-1", key, "12_04-bee", "us-east-1", "known_hosts"))


def test_hosts_behind_a_jump_host_share_its_connection(fleet: Fleet, home: Path, machine: Node, tmp_path: Path) -> None:
    with (home / "config").open("a") as config:
        config.write(f"Host i-1\n  ProxyJump jump\nHost *\n  IdentityFile {home}/none\n")
    over = fleet.over(ssh=Ssh())
    ended, _, _ = over.deploy(_by_name(over, f"{tmp_path.name}-1"))
    assert ended.result == Result.UNREACHABLE, "the jump host's key is not known"
    key = _host_key(machine)
    (home / "known_hosts").write_text(f"[127.0.0.1]:{machine.port} {key.algorithm} {key.data}\n")
    before = machine.log.read_text().count("Accepted publickey")
    over = fleet.over(ssh=Ssh())
    for number in (1, 2):
        ended, _, _ = over.deploy(_by_name(over, f"{tmp_path.name}-{number}"))
        assert (ended.result, ended.why) == (Result.SUCCEEDED, "")
    assert machine.log.read_text().count("Accepted publickey") - before == 3


def test_a_proxy_command_of_the_configuration_is_used(fleet: Fleet, home: Path, machine: Node, tmp_path: Path) -> None:
    with (home / "config").open("a") as config:
        config.write(f"Host i-1\n  ProxyCommand ssh {' '.join(machine.options)} -W %h:%p root@127.0.0.1 | cat\n")
    over = fleet.over(ssh=Ssh())
    ended, _, _ = over.deploy(_by_name(over, f"{tmp_path.name}-1"))
    assert (ended.result, ended.why) == (Result.SUCCEEDED, "")


def test_noise_of_a_login_shell_is_no_output(fleet: Fleet, machine: Node, tmp_path: Path) -> None:
    noisy = machine.path("/root/.bashrc")
    noisy.write_text("echo Welcome; echo 'stty: not a tty' >&2; printf 'no newline'; printf 'none here' >&2\n")
    try:
        assert "Welcome" in machine.ssh("true").stdout
        ended, output, _ = fleet.deploy(fleet.job(f"{tmp_path.name}-1", "echo mine"))
    finally:
        noisy.unlink()
    assert (ended.result, output) == (Result.SUCCEEDED, b"mine\n")


def test_an_archive_that_is_gone_fails_that_host(fleet: Fleet, tmp_path: Path) -> None:
    ended, _, _ = fleet.deploy(fleet.job(f"{tmp_path.name}-1", "true", archive=tmp_path / "none.tar.gz"))
    assert ended.result == Result.FAILED
    assert "none.tar.gz: cannot be read" in ended.why


def test_what_is_left_goes_on_on_the_node(fleet: Fleet, machine: Node, tmp_path: Path) -> None:
    fifo = f"/tmp/{tmp_path.name}.fifo"
    job = fleet.job(f"{tmp_path.name}-1", f"mkfifo {fifo}; echo before; read go <{fifo}; echo after")
    left = fleet.over()
    left.transport.start([job])
    while not any(isinstance(event, Wrote) for event in left.transport.events(60.0)):
        pass
    left.transport.close()
    fleet.transport.start([job])

    def seen(event: Event) -> None:
        if isinstance(event, Wrote) and b"before" in event.output:
            machine.ssh(f"echo go >{fifo}")

    ended, output, _ = fleet.rest(seen)
    assert (ended.result, ended.again, output) == (Result.SUCCEEDED, False, b"before\nafter\n")
