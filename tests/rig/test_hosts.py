"""The hosts are what they say: one port, state folders of their own, a recorder, and gates for what networks do."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fleets import fleet
from tests.rig import instances
from tests.rig.hosts import Hosts, hosts, require
from tests.rig.sshd import NodeError
from tests.rig.test_sshd import NOBODY, REPOSITORY, as_nobody, output, require_end_with_its_starter, traces

MANY = tuple(f"127.77.0.{last}" for last in range(1, 51))
ONE, TWO, THREE = MANY[0], MANY[1], MANY[2]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    with hosts(tmp_path_factory.mktemp("hosts"), MANY, gated=(TWO, THREE)) as started:
        yield started


@pytest.fixture
def farm(running: Hosts) -> Iterator[Hosts]:
    """Fifty hosts on which nothing was recorded, and to which all ways are open."""
    running.behave()
    for address in MANY:
        for old in running.path(address, "/var/lib/recorded").iterdir():
            if old.name != "shell":
                shutil.rmtree(old) if old.is_dir() else old.unlink()
    for gate in running.gates.values():
        gate.open()
    yield running
    running.release()


def say(farm: Hosts, address: str, command: str, user: str = "ubuntu") -> str:
    done = farm.ssh(address, command, user=user)
    assert done.returncode == 0, done.stderr.decode() + farm.log.read_text()
    return done.stdout.decode()


def connection(farm: Hosts, address: str) -> socket.socket:
    return socket.create_connection((address, farm.port), timeout=10)


def starts(farm: Hosts, address: str, command: str = "chef-solo") -> "subprocess.Popen[bytes]":
    """A session that goes on."""
    options = ("-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null")
    line = ["ssh", "-F", str(farm.home / ".ssh/config"), *options, f"root@{address}", command]
    return subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def test_each_address_is_a_host_with_state_of_its_own(farm: Hosts) -> None:
    some = (MANY[0], MANY[1], MANY[20], MANY[49])
    for address in some:
        say(farm, address, f"echo {address} | tee /opt/x /var/lib/x /var/cache/x /tmp/x /run/x ~/x")
    for address in some:
        assert say(farm, address, "cat /opt/x /var/lib/x /var/cache/x /tmp/x /run/x ~/x") == f"{address}\n" * 6
        assert farm.path(address, "/opt/x").read_text() == f"{address}\n"
    assert not farm.path(MANY[2], "/opt/x").exists()
    assert not any(os.path.lexists(path) for path in ("/opt/x", "/var/lib/x", "/var/cache/x", "/run/x"))


def test_what_hosts_share_they_cannot_write_and_of_each_other_they_see_nothing(farm: Hosts) -> None:
    for place in ("/", "/etc", "/usr/local/bin", "/usr/bin"):
        assert farm.ssh(ONE, f"touch {place}/x").returncode != 0
    assert say(farm, ONE, "ls -A /hosts /nothing") == "/hosts:\n\n/nothing:\n"


def test_locks_and_processes_outlive_a_session(farm: Hosts) -> None:
    say(farm, ONE, "(flock 9; exec setsid tail -f /dev/null) 9>/opt/lock >/dev/null 2>&1 & echo $! >/opt/pid")
    require(lambda: farm.ssh(ONE, "flock -n /opt/lock true").returncode == 1, "the lock is taken")
    assert say(farm, ONE, "kill -0 $(cat /opt/pid) && echo there") == "there\n"
    say(farm, ONE, "kill $(cat /opt/pid); flock /opt/lock true")
    say(farm, MANY[9], "flock -n /opt/lock true")


def test_a_session_gives_codes_input_and_sftp(farm: Hosts, tmp_path: Path) -> None:
    assert farm.ssh(ONE, "exit 7").returncode == 7
    assert farm.ssh(ONE, "cat; echo no >&2; pwd", given=b"given\0").stdout == b"given\0/home/ubuntu\n"
    (tmp_path / "batch").write_text(f"put {tmp_path}/batch /srv/batch\n")
    options = ("-F", str(farm.home / ".ssh/config"), "-o", "StrictHostKeyChecking=no")
    output("sftp", *options, "-b", str(tmp_path / "batch"), f"root@{ONE}")
    assert farm.path(ONE, "/srv/batch").read_text().startswith("put ")


def test_only_keys_that_are_authorised_may_log_in(farm: Hosts, tmp_path: Path) -> None:
    output("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "mine"))
    line = ["ssh", "-F", "none", "-i", str(tmp_path / "mine"), "-p", str(farm.port), "-o", "BatchMode=yes"]
    line += ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", f"root@{ONE}", "id -u"]
    refused = subprocess.run(line, capture_output=True, text=True, check=False)
    assert "Permission denied (publickey)" in refused.stderr
    farm.authorize((tmp_path / "mine.pub").read_text())
    assert output(*line) == "0\n"


def test_the_recorder_notes_what_it_was_called_with(farm: Hosts) -> None:
    say(farm, ONE, "mkdir -p /opt/chef/roles && cd /opt/chef && echo solo >solo.rb && echo role >'roles/a b.json'")
    since = time.time()
    say(farm, ONE, "cd /opt; echo '{}' >/tmp/dna; chef-solo -c /opt/chef/solo.rb -j /tmp/dna --x 'a b' ''")
    (run,) = farm.runs(ONE)
    assert run.argv == ("chef-solo", "-c", "/opt/chef/solo.rb", "-j", "/tmp/dna", "--x", "a b", "")
    assert (run.cwd, run.dna, run.code, run.beside) == ("/opt", b"{}\n", 0, False)
    assert run.files == {"solo.rb": b"solo\n", "roles/a b.json": b"role\n"}
    assert run.end
    assert since - 0.1 < run.begin <= run.end < time.time() + 0.1
    assert "export USER='ubuntu'" in run.environ
    assert farm.runs(MANY[9]) == []


def test_the_recorder_does_as_told(farm: Hosts) -> None:
    farm.behave(ONE, code=3, output="first\n", last="last\n", errors="oh\n", seconds=0.2)
    done = farm.ssh(ONE, "chef-solo")
    assert (done.returncode, done.stdout, done.stderr) == (3, b"first\nlast\n", b"oh\n")
    farm.behave(ONE)
    assert farm.ssh(ONE, "chef-solo").stdout == b""
    first, second = farm.runs(ONE)
    assert (first.code, second.code) == (3, 0)
    assert first.end
    assert first.end - first.begin > 0.15


def test_the_recorder_waits_until_it_is_released_and_notes_two_at_a_time(farm: Hosts) -> None:
    farm.behave(ONE, held=True, last="released\n")
    with starts(farm, ONE) as one, starts(farm, ONE) as other:
        farm.await_runs(2, ONE)
        assert [run.code for run in farm.runs(ONE)] == [None, None]
        farm.release(ONE)
        assert {one.communicate(timeout=20)[0], other.communicate(timeout=20)[0]} == {b"released\n"}
    assert sorted(run.beside for run in farm.runs(ONE)) == [False, True]
    say(farm, ONE, "chef-solo")
    assert not farm.runs(ONE)[-1].beside


def test_one_that_was_killed_is_seen_and_counts_no_more(farm: Hosts) -> None:
    farm.behave(ONE, held=True)
    with starts(farm, ONE) as session:
        farm.await_runs(1, ONE)
        say(farm, ONE, "kill -9 $(cat /var/lib/recorded/running)")
        session.wait(20)
    farm.behave(ONE)
    say(farm, ONE, "chef-solo")
    assert [(run.code, run.beside) for run in farm.runs(ONE)] == [(None, False), (0, False)]


def test_a_reboot_ends_what_runs_there_and_nothing_elsewhere(farm: Hosts) -> None:
    farm.behave(ONE, held=True)
    farm.behave(MANY[9], held=True)
    boot = "cat /proc/sys/kernel/random/boot_id"
    before, other = say(farm, ONE, boot), say(farm, MANY[9], boot)
    assert before != other
    with starts(farm, ONE) as session, starts(farm, MANY[9]) as elsewhere:
        farm.await_runs(1, ONE, MANY[9])
        farm.reboot(ONE)
        assert session.wait(20) != 0
        farm.release()
        assert elsewhere.wait(20) == 0
    assert (say(farm, ONE, boot) != before, say(farm, MANY[9], boot)) == (True, other)
    assert [run.code for run in farm.runs(ONE)] == [None]


def test_a_daemon_stays_behind(farm: Hosts) -> None:
    farm.behave(ONE, daemon=True)
    say(farm, ONE, "chef-solo >/opt/output 2>&1")
    assert say(farm, ONE, "pkill -x sleep && echo there") == "there\n"


def test_a_sudo_that_is_noted_and_may_ask(farm: Hosts) -> None:
    assert say(farm, ONE, "sudo -n -- sh -c 'echo $1' x 'a b'") == "a b\n"
    assert farm.sudo_calls(ONE) == ["-n -- sh -c echo $1 x a b"]
    farm.sudo_asks(ONE)
    assert farm.ssh(ONE, "sudo -n true").stderr == b"sudo: a password is required\n"


def test_rc_files_that_talk(tmp_path: Path) -> None:
    with hosts(tmp_path, [ONE, TWO], noisy=True) as noisy:
        done = noisy.ssh(ONE, "echo x; pwd; umask")
        assert done.stdout.startswith(b"Welcome to Ubuntu")
        assert done.stdout.endswith(b"x\n/tmp\n0077\n")
        assert b"setlocale" in done.stderr
        noisy.shell("/bin/sh", TWO)
        assert noisy.ssh(TWO, "echo x").stdout == b"x\n"


def test_a_gate_refuses_hangs_and_opens(farm: Hosts) -> None:
    gate = farm.gate(TWO)
    gate.refuse()
    with pytest.raises(ConnectionRefusedError):
        connection(farm, TWO)
    gate.hang()
    before = gate.taken
    with connection(farm, TWO) as silent:
        silent.settimeout(0.2)
        with pytest.raises(TimeoutError):
            silent.recv(1)
    assert gate.taken == before + 1
    gate.open()
    assert say(farm, TWO, "echo $SSH_CONNECTION").split()[2] == TWO


def test_an_impostor_has_another_host_key(farm: Hosts) -> None:
    scanned = ("ssh-keyscan", "-t", "ed25519", "-p", str(farm.port), TWO)
    assert output(*scanned).split(" ", 1)[1].strip() == farm.host_key
    farm.gate(TWO).impostor()
    assert output(*scanned).split(" ", 1)[1].strip() == farm.impostor_key != farm.host_key
    assert say(farm, TWO, "echo x") == "x\n"


def test_a_gate_cuts_what_runs_and_the_host_goes_on(farm: Hosts) -> None:
    farm.behave(TWO, held=True, output="begun\n")
    with starts(farm, TWO, "chef-solo >/opt/output") as session:
        farm.await_runs(1, TWO)
        assert farm.gate(TWO).cut() == 1
        assert session.wait(20) == 255
    farm.release(TWO)
    require(lambda: farm.runs(TWO)[0].code == 0, "the converge ends")


@pytest.mark.parametrize("way", [{"down": 3000}, {"up": 3000}])
def test_a_gate_cuts_after_so_many_bytes_as_often_as_told(farm: Hosts, way: dict[str, int]) -> None:
    gate = farm.gate(THREE)
    gate.cut_next(**way, times=2)
    sent = b"x" * 100_000
    assert [farm.ssh(THREE, "cat", given=sent).returncode for _ in range(3)] == [255, 255, 0]


def test_a_frozen_connection_says_nothing_any_more(farm: Hosts) -> None:
    gate = farm.gate(TWO)
    with connection(farm, TWO) as frozen:
        assert frozen.recv(4) == b"SSH-"
        assert gate.freeze() == 1
        frozen.sendall(b"SSH-2.0-x\r\n")
        frozen.settimeout(0.2)
        while True:
            try:
                assert frozen.recv(65536), "the connection was closed"
            except TimeoutError:
                break
    assert say(farm, TWO, "echo x") == "x\n"


def test_instances_of_the_embedded_aws_are_hosts(tmp_path: Path) -> None:
    with fleet() as rig:
        rig.group("bee-v001", 2)
        rig.wait(60)
        client = rig.client("ec2")
        made = instances.start(client, "bee", 3)
        found = instances.addresses(client, "bee")
        assert made.items() < found.items()
        assert len(set(found.values())) == 5
        with hosts(tmp_path, list(found.values())) as up:
            assert [up.ssh(address, "echo x").stdout for address in found.values()] == [b"x\n"] * 5


def test_a_taken_port_is_an_error(farm: Hosts, tmp_path: Path) -> None:
    with pytest.raises(NodeError, match="Address already in use"), hosts(tmp_path, [ONE], port=farm.port):
        pass
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_left_of_hosts(tmp_path: Path) -> None:
    mounts = Path("/proc/self/mountinfo").read_text()
    with hosts(tmp_path, [ONE, TWO], gated=[TWO]) as up:
        for address in (ONE, TWO):
            assert up.ssh(address, f"setsid tail -f /dev/null {tmp_path}/ >/dev/null 2>&1 &").returncode == 0
        assert len(traces(tmp_path)) > 3
    assert (traces(tmp_path), list(tmp_path.iterdir())) == ([], [])
    assert Path("/proc/self/mountinfo").read_text() == mounts


def test_hosts_end_with_the_process_that_started_them(tmp_path: Path) -> None:
    require_end_with_its_starter("with hosts.hosts(folder, ['127.77.1.1'])", tmp_path)


def test_an_ordinary_user_gets_the_same() -> None:
    """Of what the namespaces decide: the rest is the same code."""
    if os.geteuid() != 0:
        return  # then all tests above are about an ordinary user
    folder = Path(tempfile.mkdtemp(prefix="nobody-"))
    try:
        os.chown(folder, NOBODY, NOBODY)
        ordinary = as_nobody(folder)
        pytest_again = (sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--rootdir", str(REPOSITORY))
        this = (
            "-k",
            "each_address or they_cannot_write or recorder_notes or reboot or nothing_is_left",
            f"--basetemp={folder}/tests",
            __file__,
        )
        output(*ordinary, *pytest_again, *this, HOME=str(folder), PYTHONDONTWRITEBYTECODE="1")
    finally:
        shutil.rmtree(folder)
