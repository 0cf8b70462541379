"""The file of host keys by instance id."""

import subprocess
from collections.abc import Callable, Collection, Sequence
from multiprocessing import get_context
from pathlib import Path

import pytest

from nodepkg.clients.ssh.target import HostKey
from nodepkg.errors import RefusedError
from nodepkg.fleet.known_hosts import Known, KnownHosts, fingerprint, shows


def key(number: int) -> HostKey:
    """A host key that ssh-keygen takes for one."""
    data = b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + bytes([number]) * 32
    import base64

    return HostKey("ssh-ed25519", base64.b64encode(data).decode())


def known(instance: str, number: int, group: str = "12_04-bee", by: str = "") -> Known:
    return Known(instance, key(number), group, "us-east-1", by)


def test_a_key_is_taken_on_first_sight_and_no_other_later(tmp_path: Path) -> None:
    hosts = KnownHosts(tmp_path / "deep" / "known_hosts")
    assert hosts.accept(known("i-1", 1))
    assert hosts.accept(known("i-1", 1))
    assert not hosts.accept(known("i-1", 2))
    assert KnownHosts(hosts.path).of("i-1") == [known("i-1", 1)]


def test_a_key_may_get_its_voucher_later(tmp_path: Path) -> None:
    hosts = KnownHosts(tmp_path / "known_hosts")
    hosts.accept(known("i-1", 1))
    assert hosts.accept(known("i-1", 1, by="console"))
    assert [one.by for one in hosts.of("i-1")] == ["", "console"]


def test_two_processes_see_what_the_other_has_written(tmp_path: Path) -> None:
    one, other = KnownHosts(tmp_path / "known_hosts"), KnownHosts(tmp_path / "known_hosts")
    assert not other.of("i-1")
    one.accept(known("i-1", 1))
    assert not other.accept(known("i-1", 2))
    other.forget(["i-1"])
    assert not one.of("i-1")


def _accept_many(path: Path, start: int) -> None:
    hosts = KnownHosts(path)
    for number in range(start, start + 100):
        hosts.accept(known(f"i-{number}", 1))


def test_many_processes_at_once_lose_nothing(tmp_path: Path) -> None:
    context = get_context("fork")
    processes = [context.Process(target=_accept_many, args=(tmp_path / "known_hosts", n * 50)) for n in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    lines = (tmp_path / "known_hosts").read_text().splitlines()
    assert sorted(lines) == sorted(str(known(f"i-{number}", 1)) for number in range(250))


def test_openssh_reads_the_file(tmp_path: Path) -> None:
    hosts = KnownHosts(tmp_path / "known_hosts")
    hosts.accept(known("i-1", 1))
    line = ["ssh-keygen", "-l", "-F", "i-1", "-f", str(hosts.path)]
    found = subprocess.run(line, capture_output=True, text=True, check=True)
    assert fingerprint(key(1)) in found.stdout
    subprocess.run(["ssh-keygen", "-R", "i-1", "-f", str(hosts.path)], capture_output=True, check=True)
    assert not hosts.of("i-1")


def test_a_torn_line_counts_for_nothing_and_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "known_hosts"
    path.write_text(f"# a comment\n{known('i-1', 1)}\ni-2 ssh-ed25519 AAAAC3")
    hosts = KnownHosts(path)
    assert not hosts.of("i-2")
    assert hosts.accept(known("i-2", 2))
    assert (KnownHosts(path).of("i-1"), KnownHosts(path).of("i-2")) == ([known("i-1", 1)], [known("i-2", 2)])


def test_what_is_forgotten_is_gone_and_the_rest_stays(tmp_path: Path) -> None:
    hosts = KnownHosts(tmp_path / "known_hosts")
    for number in (1, 2, 3):
        hosts.accept(known(f"i-{number}", number))
    assert hosts.forget(["i-2", "i-9"]) == ["i-2"]
    assert hosts.path.read_text() == f"{known('i-1', 1)}\n{known('i-3', 3)}\n"
    assert hosts.accept(known("i-2", 7))


def _ec2(asked: list[Sequence[str]], *there: str) -> Callable[[Sequence[str]], Collection[str]]:
    def exist(ids: Sequence[str]) -> Collection[str]:
        asked.append(ids)
        return there

    return exist


def test_keys_of_a_group_are_dropped_when_its_instances_are_gone(tmp_path: Path) -> None:
    hosts = KnownHosts(tmp_path / "known_hosts")
    for instance in ("i-lives", "i-stopped", "i-gone"):
        hosts.accept(known(instance, 1))
    hosts.accept(known("i-other", 1, group="other"))
    asked: list[Sequence[str]] = []
    assert hosts.drop_gone("12_04-bee", "us-east-1", ["i-lives"], _ec2(asked, "i-stopped")) == ["i-gone"]
    assert asked == [["i-gone", "i-stopped"]]
    assert all(hosts.of(instance) for instance in ("i-lives", "i-stopped", "i-other"))


def test_keys_that_ssh_has_added_are_dropped_as_well_once_their_instances_are_gone(tmp_path: Path) -> None:
    path = tmp_path / "known_hosts"
    asked: list[Sequence[str]] = []
    key = known("i-1", 1).key
    path.write_text(f"i-1 {key.algorithm} {key.data}\ni-2 {key.algorithm} {key.data}\n")
    hosts = KnownHosts(path)
    assert not hosts.drop_gone("12_04-bee", "us-east-1", ["i-1"], _ec2(asked))
    assert hosts.drop_gone("12_04-bee", "us-east-1", [], _ec2(asked)) == ["i-1"]
    assert [one.group for one in hosts.of("i-2")] == [""]  # nobody knows of which group it is


def test_nothing_is_asked_where_all_that_is_known_lives(tmp_path: Path) -> None:
    hosts = KnownHosts(tmp_path / "known_hosts")
    hosts.accept(known("i-1", 1))
    asked: list[Sequence[str]] = []
    assert not hosts.drop_gone("12_04-bee", "us-east-1", ["i-1"], _ec2(asked))
    assert not hosts.drop_gone("12_04-bee", "eu-west-1", [], _ec2(asked))
    assert not asked


def test_a_file_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    (tmp_path / "known_hosts").mkdir()
    with pytest.raises(RefusedError, match="cannot be used"):
        KnownHosts(tmp_path / "known_hosts").accept(known("i-1", 1))


CONSOLE = """\
[   11.1] cloud-init[900]: ci-info: no authorized keys
ec2: #############################################################
ec2: -----BEGIN SSH HOST KEY FINGERPRINTS-----
ec2: 256 {fingerprint} root@ip-10-0-0-1 (ED25519)
ec2: -----END SSH HOST KEY FINGERPRINTS-----
-----BEGIN SSH HOST KEY KEYS-----
{algorithm} {data} root@ip-10-0-0-1
-----END SSH HOST KEY KEYS-----
ssh-ed25519 {later} somebody wrote this later
"""


def test_a_console_vouches_for_the_keys_and_fingerprints_of_its_blocks(tmp_path: Path) -> None:
    told = CONSOLE.format(
        fingerprint=fingerprint(key(1)), algorithm="ssh-ed25519", data=key(2).data, later=key(3).data
    ).replace("\n", "\r\n")
    assert shows(told, key(1))
    assert shows(told, key(2))
    assert not shows(told, key(3))
    assert not shows("", key(1))
