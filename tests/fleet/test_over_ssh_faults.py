"""Fifty hosts over SSH, of which some refuse, hang, fail, are others than before, or lose their connection."""

import base64
import io
import random
import resource
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from nodepkg.clients.ssh.client import Ssh
from nodepkg.clients.ssh.target import Patience
from nodepkg.fleet.host import Host
from nodepkg.fleet.known_hosts import KnownHosts
from nodepkg.fleet.over_ssh import OverSsh, Waits
from nodepkg.fleet.transport import Began, Contact, Ended, Event, Job, Parcel, Result, Wrote
from tests.rig.hosts import Hosts, hosts, require

MANY = tuple(f"127.78.0.{last}" for last in range(1, 51))
GATED = MANY[:12]
FILES = {"solo.rb": b"solo\n", "dna.json": b'{"of": "group"}\n', "cookbooks/x/recipes/default.rb": b"log 'x'\n"}
CHEF = "chef-solo -c {path}/solo.rb -j {path}/dna.json"
CONSOLE = "[   1.2] boot\n-----BEGIN SSH HOST KEY KEYS-----\n{} root@bee\n-----END SSH HOST KEY KEYS-----\n"
CONNECT = 10.0
SEEDS = range(2)


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    with hosts(tmp_path_factory.mktemp("hosts"), MANY, gated=GATED, noisy=True) as running:
        yield running


@dataclass
class Seen:
    """What a transport has said of each instance."""

    began: list[Began] = field(default_factory=list)
    output: dict[str, bytes] = field(default_factory=dict)
    ended: dict[str, list[Ended]] = field(default_factory=dict)
    running: set[str] = field(default_factory=set)
    contacts: dict[str, list[str]] = field(default_factory=dict)
    most: int = 0

    def note(self, event: Event) -> None:
        if isinstance(event, Began):
            self.began.append(event)
        elif isinstance(event, Wrote):
            assert event.instance not in self.ended, "output behind the end"
            self.output[event.instance] = self.output.get(event.instance, b"") + event.output
        elif isinstance(event, Contact):
            self.contacts.setdefault(event.instance, []).append("lost" if event.lost else "back")
        else:
            self.ended.setdefault(event.instance, []).append(event)
            self.running.discard(event.instance)


@dataclass
class Operator:
    """Deploys to the farm; each test has a deploy id, a path on the hosts and instance ids of its own."""

    farm: Hosts
    folder: Path
    transport: OverSsh
    parcel: Parcel

    def anew(self, **waits: float) -> None:
        """Leaves what runs, and goes on with another transport."""
        self.transport.close()
        self.transport = transport(self.farm, self.folder, **waits)

    def instance(self, address: str) -> str:
        return f"i-{self.parcel.deploy}-{address.rpartition('.')[2]}"

    def job(self, address: str, **changed: object) -> Job:
        host = Host(self.instance(address), "bee", "us-east-1", "us-east-1a", "", "bee-v001", address)
        return Job(host, replace(self.parcel, **changed))  # type: ignore[arg-type]

    def start(self, *jobs: Job) -> Seen:
        self.transport.start(jobs)
        return Seen(running={job.host.instance for job in jobs})

    def follow(self, seen: Seen) -> Seen:
        while seen.running:
            told = self.transport.events(60.0)
            assert told, f"nothing more is said of {seen.running}"
            for event in told:
                seen.note(event)
        return seen

    def run(self, jobs: Sequence[Job], places: int) -> Seen:
        """All of them, so many at a time."""
        waiting, seen = list(jobs), Seen()
        while waiting or seen.running:
            while waiting and len(seen.running) < places:
                job = waiting.pop(0)
                seen.running.add(job.host.instance)
                self.transport.start([job])
            seen.most = max(seen.most, len(seen.running))
            told = self.transport.events(60.0)
            assert told, f"nothing more is said of {seen.running}"
            for event in told:
                seen.note(event)
        return seen

    def one(self, address: str, **changed: object) -> tuple[Ended, bytes]:
        """That host alone."""
        seen = self.follow(self.start(self.job(address, **changed)))
        (ended,) = seen.ended[self.instance(address)]
        return ended, seen.output.get(self.instance(address), b"")


def transport(farm: Hosts, folder: Path, *, grace: float = 60.0, alive: float = 15.0) -> OverSsh:
    ssh = Ssh(key=farm.key.read_bytes(), loopback_only=True, patience=Patience(connect=CONNECT, alive=alive, missed=3))
    return OverSsh(ssh, KnownHosts(folder / "known_hosts"), waits=Waits(again=(0.05,), shell=20.0, grace=grace))


def archive(path: Path, files: Mapping[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as made:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            made.addfile(entry, io.BytesIO(content))
    return path


@pytest.fixture
def operator(farm: Hosts, tmp_path: Path) -> Iterator[Operator]:
    farm.behave()
    farm.sudo_asks(asks=False)
    for gate in farm.gates.values():
        gate.open()
    parcel = Parcel(
        deploy=tmp_path.name,
        group="bee",
        region="us-east-1",
        digest=tmp_path.name,
        archive=archive(tmp_path / "bundle.tar.gz", FILES),
        path=f"/opt/{tmp_path.name}",
        command=CHEF,
        timeout=60.0,
        user="ubuntu",
        port=farm.port,
    )
    over = transport(farm, tmp_path)
    made = Operator(farm, tmp_path, over, parcel)
    yield made
    made.transport.close()
    farm.release()


def runs(farm: Hosts, operator: Operator, address: str) -> list[int | None]:
    """The exit codes of this test's converges on that host; none of them ran beside another one."""
    mine = [run for run in farm.runs(address) if any(operator.parcel.path in word for word in run.argv)]
    assert not any(run.beside for run in mine)
    return [run.code for run in mine]


@dataclass(frozen=True)
class Expected:
    result: Result
    codes: tuple[int | None, ...] = ()
    why: str = ""


def afflict(farm: Hosts, operator: Operator) -> dict[str, Expected]:
    """Gives some of the hosts something, and says what has to come of each of all."""
    wanted = dict.fromkeys(MANY, Expected(Result.SUCCEEDED, (0,)))
    for address in MANY:
        farm.behave(address, output=f"begun {address}\n", last=f"done {address}\n", errors="a warning\n")
    for address in MANY[0:3]:
        farm.gate(address).refuse()
        wanted[address] = Expected(Result.UNREACHABLE, why="connection refused")
    for address in MANY[3:5]:
        farm.gate(address).hang()
        wanted[address] = Expected(Result.UNREACHABLE, why=f"no answer within {CONNECT:g} s")
    for address in MANY[5:7]:
        assert operator.one(address, deploy=f"{operator.parcel.deploy}-0", command="true")[0].result == Result.SUCCEEDED
        farm.gate(address).impostor()
        wanted[address] = Expected(Result.REFUSED, why="its host key is another than before")
    farm.gate(MANY[7]).cut_next(down=600)
    farm.gate(MANY[8]).cut_next(up=3000, times=2)
    farm.gate(MANY[9]).cut_next(down=600, times=100)
    wanted[MANY[9]] = Expected(Result.UNREACHABLE, why="the connection was")
    for address, code in zip(MANY[20:23], (1, 3, 99), strict=True):
        farm.behave(address, code=code, output=f"begun {address}\n", last=f"done {address}\n", errors="a warning\n")
        wanted[address] = Expected(Result.FAILED, (code,), f"exit code {code}")
    farm.behave(MANY[23], daemon=True, output=f"begun {MANY[23]}\n", last=f"done {MANY[23]}\n", errors="a warning\n")
    farm.sudo_asks(MANY[24])
    wanted[MANY[24]] = Expected(Result.FAILED, why="nothing could be run: sudo: a password is required")
    return wanted


def test_each_of_fifty_hosts_ends_once_as_it_has_to(farm: Hosts, operator: Operator) -> None:
    wanted = afflict(farm, operator)
    seen = operator.run([operator.job(address) for address in MANY], 10)
    assert seen.most == 10
    for address, expected in wanted.items():
        (ended,) = seen.ended[operator.instance(address)]
        assert (ended.result, expected.why in ended.why) == (expected.result, True), (address, ended)
        assert runs(farm, operator, address) == list(expected.codes), address
        if expected.codes:
            assert ended.code == expected.codes[0]
            told = f"begun {address}\na warning\ndone {address}\n".encode()
            assert seen.output[operator.instance(address)] == told
            assert farm.runs(address)[-1].files == FILES
    require_once_more(farm, operator, wanted)


def require_once_more(farm: Hosts, operator: Operator, wanted: dict[str, Expected]) -> None:
    """The same deploy again, all of it mended: those that had succeeded are not run again, all others are."""
    for gate in farm.gates.values():
        gate.open()
    farm.behave()
    farm.sudo_asks(MANY[24], asks=False)
    seen = operator.run([operator.job(address) for address in MANY], 25)
    for address in MANY:
        (ended,) = seen.ended[operator.instance(address)]
        had = wanted[address].result == Result.SUCCEEDED
        assert (ended.result, ended.again) == (Result.SUCCEEDED, had), (address, ended)
        assert runs(farm, operator, address) == list(wanted[address].codes) + [0] * (not had), address


def begin(operator: Operator, address: str, **changed: object) -> Seen:
    """That host's converge, which is held: it has begun when this comes back."""
    before = len(operator.farm.runs(address))
    seen = operator.start(operator.job(address, **changed))
    operator.farm.await_runs(before + 1, address)
    require(lambda: bool(hear(operator, seen).began), "the transport says that it began")
    return seen


def hear(operator: Operator, seen: Seen) -> Seen:
    for event in operator.transport.events(0.05):
        seen.note(event)
    return seen


def require_whole(operator: Operator, seen: Seen, address: str, output: bytes) -> None:
    """One converge, which succeeded, and of which all has come."""
    (ended,) = operator.follow(seen).ended[operator.instance(address)]
    assert (ended.result, ended.code) == (Result.SUCCEEDED, 0), ended
    assert seen.output[operator.instance(address)] == output
    assert len(seen.began) == 1
    assert runs(operator.farm, operator, address) == [0]


def test_a_cut_connection_does_not_stop_a_converge_and_its_output_is_whole(farm: Hosts, operator: Operator) -> None:
    address = GATED[0]
    head, tail = random.Random(7).randbytes(300_000), random.Random(8).randbytes(300_000)
    farm.behave(address, held=True, output=head, last=tail)
    gate = farm.gate(address)
    before = gate.taken
    gate.cut_next(down=100_000, times=3)
    seen = begin(operator, address)
    name = operator.instance(address)
    require(lambda: hear(operator, seen).output.get(name) == head, "the first half of the output")
    assert gate.taken == before + 4
    assert gate.cut() == 1
    farm.release(address)
    require_whole(operator, seen, address, head + tail)


@pytest.mark.parametrize("seed", SEEDS)
def test_wherever_connections_are_cut_each_host_converges_once_and_is_heard(
    farm: Hosts, operator: Operator, seed: int
) -> None:
    chance = random.Random(seed)
    told = {address: chance.randbytes(chance.randrange(20_000)) for address in GATED}
    for address in GATED:
        farm.behave(address, output=told[address], last="done\n", seconds=chance.choice((0, 0.1)))
        for _ in range(2):
            way = chance.choice(("down", "up"))
            farm.gate(address).cut_next(**{way: chance.randrange(1, 25_000)})
    bundle = archive(operator.folder / "more.tar.gz", {**FILES, "roles/more": chance.randbytes(10_000)})
    operator.parcel = replace(operator.parcel, archive=bundle)
    seen = operator.run([operator.job(address) for address in GATED], len(GATED))
    for address in GATED:
        (ended,) = seen.ended[operator.instance(address)]
        assert (ended.result, runs(farm, operator, address)) == (Result.SUCCEEDED, [0]), (address, ended)
        assert seen.output[operator.instance(address)] == told[address] + b"done\n", address


def test_a_connection_that_dies_without_a_word_is_made_anew(farm: Hosts, operator: Operator) -> None:
    address = GATED[1]
    farm.behave(address, held=True, output="head\n", last="tail\n")
    operator.anew(alive=0.2)
    seen = begin(operator, address)
    assert farm.gate(address).freeze() == 1
    farm.release(address)
    require_whole(operator, seen, address, b"head\ntail\n")


def test_a_converge_outlives_its_sshd_and_is_followed_when_that_is_back(farm: Hosts, operator: Operator) -> None:
    ends, lasts = MANY[30], MANY[31]
    farm.behave(ends, lasts, held=True, output="head\n", last="tail\n")
    seen = operator.start(operator.job(ends), operator.job(lasts))
    require(lambda: len(hear(operator, seen).output) == 2, "both have begun")
    farm.kill_sshds()
    farm.release(ends)
    require(lambda: runs(farm, operator, ends) == [0], "one ends while nobody can be connected to")
    farm.start_sshds()
    farm.release(lasts)
    operator.follow(seen)
    for address in (ends, lasts):
        (ended,) = seen.ended[operator.instance(address)]
        assert (ended.result, ended.code) == (Result.SUCCEEDED, 0), ended
        assert seen.output[operator.instance(address)] == b"head\ntail\n"
        assert runs(farm, operator, address) == [0]
    assert len(seen.began) == 2
    assert seen.contacts == {operator.instance(ends): ["lost"], operator.instance(lasts): ["lost", "back"]}


def test_a_bundle_whose_upload_is_cut_is_sent_again_and_nothing_runs_before(farm: Hosts, operator: Operator) -> None:
    address, files = GATED[2], {**FILES, "cookbooks/x/files/big": random.Random(9).randbytes(1_000_000)}
    operator.parcel = replace(operator.parcel, archive=archive(operator.folder / "big.tar.gz", files))
    farm.gate(address).cut_next(up=300_000, times=2)
    seen = operator.start(operator.job(address))
    (ended,) = operator.follow(seen).ended[operator.instance(address)]
    assert (ended.result, ended.code) == (Result.SUCCEEDED, 0), ended
    assert runs(farm, operator, address) == [0]
    assert farm.runs(address)[-1].files == files
    assert list(farm.path(address, "/opt").glob("*.nodepkg-*")) == []


def test_a_bundle_that_never_gets_there_whole_is_never_run(farm: Hosts, operator: Operator) -> None:
    address, files = GATED[2], {**FILES, "cookbooks/x/files/big": random.Random(9).randbytes(1_000_000)}
    operator.parcel = replace(operator.parcel, archive=archive(operator.folder / "big.tar.gz", files))
    farm.gate(address).cut_next(up=300_000, times=1000)
    operator.anew(grace=-58.0)
    ended, _ = operator.one(address)
    assert ended.result == Result.UNKNOWN, ended
    assert runs(farm, operator, address) == []


def test_a_host_that_is_not_reached_again_is_unknown_and_its_converge_is_found_later(
    farm: Hosts, operator: Operator
) -> None:
    address = GATED[3]
    farm.behave(address, held=True, output="head\n", last="tail\n")
    operator.anew(grace=-58.0)
    seen = begin(operator, address)
    gate = farm.gate(address)
    gate.refuse()
    assert gate.cut() == 1
    (ended,) = operator.follow(seen).ended[operator.instance(address)]
    assert ended.result == Result.UNKNOWN
    assert "the connection was lost, and not made again" in ended.why
    gate.open()
    farm.release(address)
    again, output = operator.one(address)
    assert (again.result, runs(farm, operator, address)) == (Result.SUCCEEDED, [0])
    assert again.again or output == b"head\ntail\n"


def test_a_node_that_reboots_in_its_converge_converges_anew(farm: Hosts, operator: Operator) -> None:
    address = GATED[8]
    farm.behave(address, held=True, output="head\n")
    seen = begin(operator, address)
    gate = farm.gate(address)
    gate.refuse()
    assert gate.cut() == 1
    farm.reboot(address)
    farm.behave(address, output="after the boot\n")
    gate.open()
    (ended,) = operator.follow(seen).ended[operator.instance(address)]
    assert (ended.result, ended.code) == (Result.SUCCEEDED, 0), ended
    assert runs(farm, operator, address) == [None, 0]
    assert seen.output[operator.instance(address)].endswith(b"after the boot\n")


def test_another_host_key_after_a_cut_is_not_trusted(farm: Hosts, operator: Operator) -> None:
    address = GATED[4]
    farm.behave(address, held=True)
    seen = begin(operator, address)
    gate = farm.gate(address)
    gate.impostor()
    assert gate.cut() == 1
    (ended,) = operator.follow(seen).ended[operator.instance(address)]
    assert ended.result == Result.UNKNOWN
    assert "its host key is another than before" in ended.why
    assert ended.why.endswith(f"ssh-keygen -R {operator.instance(address)} -f {operator.folder}/known_hosts")


def test_a_changed_host_key_is_taken_once_the_old_one_is_forgotten(farm: Hosts, operator: Operator) -> None:
    address = GATED[4]
    farm.gate(address).impostor()
    assert operator.one(address)[0].result == Result.SUCCEEDED
    farm.gate(address).open()
    assert operator.one(address)[0].result == Result.REFUSED
    assert operator.transport.known.forget([operator.instance(address)])
    assert operator.one(address)[0].result == Result.SUCCEEDED
    assert farm.host_key in (operator.folder / "known_hosts").read_text()


def test_an_address_may_be_that_of_another_instance_later(farm: Hosts, operator: Operator) -> None:
    address = GATED[5]
    assert operator.one(address)[0].result == Result.SUCCEEDED
    farm.gate(address).impostor()
    later = operator.job(address, deploy=f"{operator.parcel.deploy}-2")
    later = replace(later, host=replace(later.host, instance="i-later"))
    (ended,) = operator.follow(operator.start(later)).ended["i-later"]
    assert ended.result == Result.SUCCEEDED


def test_strict_takes_only_keys_that_are_vouched_for(farm: Hosts, operator: Operator) -> None:
    address = GATED[6]
    ended, _ = operator.one(address, strict=True)
    assert (ended.result, runs(farm, operator, address)) == (Result.REFUSED, [])
    assert "vouched for neither by your known_hosts nor by its console" in ended.why
    operator.transport.console = lambda host: CONSOLE.format(farm.host_key)
    assert operator.one(address, strict=True)[0].result == Result.SUCCEEDED
    farm.gate(address).impostor()
    assert operator.one(address, strict=True)[0].result == Result.REFUSED


def test_whoever_comes_after_one_that_left_follows_what_runs(farm: Hosts, operator: Operator) -> None:
    running = MANY[30:40]
    for address in running:
        farm.behave(address, held=True, output=f"head {address}\n", last=f"tail {address}\n")
    jobs = [operator.job(address) for address in running]
    operator.start(*jobs)
    before = {address: len(farm.runs(address)) for address in running}
    require(lambda: all(runs(farm, operator, address) == [None] for address in running), f"{before} and one more")
    operator.anew()
    seen = operator.start(*jobs)
    require(lambda: len(hear(operator, seen).began) == len(running), "all are followed")
    farm.release()
    operator.follow(seen)
    for address in running:
        name = operator.instance(address)
        (ended,) = seen.ended[name]
        assert (ended.result, ended.again, runs(farm, operator, address)) == (Result.SUCCEEDED, False, [0])
        assert seen.output[name] == f"head {address}\ntail {address}\n".encode()


def test_another_deploy_that_runs_there_is_not_disturbed(farm: Hosts, operator: Operator) -> None:
    address = GATED[7]
    farm.behave(address, held=True, output="head\n", last="tail\n")
    seen = begin(operator, address)
    name = operator.instance(address)
    operator.transport, first = transport(farm, operator.folder), operator.transport
    ended, output = operator.one(address, deploy="another")
    assert (ended.result, output) == (Result.REFUSED, b"")
    assert f"deploy {operator.parcel.deploy} runs there" in ended.why
    operator.transport.close()
    operator.transport = first
    farm.release(address)
    require_whole(operator, seen, address, b"head\ntail\n")
    assert list(seen.ended) == [name]


def test_what_takes_too_long_is_ended_on_the_node(farm: Hosts, operator: Operator) -> None:
    address = MANY[41]
    farm.behave(address, held=True, output="head\n")
    ended, output = operator.one(address, timeout=1.0)
    assert (ended.result, output) == (Result.TIMED_OUT, b"head\n"), ended
    assert runs(farm, operator, address) == [None]
    farm.behave(address)
    assert operator.one(address)[0].result == Result.SUCCEEDED
    assert runs(farm, operator, address) == [None, 0]


def test_a_daemon_that_stays_holds_neither_the_end_nor_the_next_deploy(farm: Hosts, operator: Operator) -> None:
    address = MANY[42]
    farm.behave(address, daemon=True, last="done\n")
    assert operator.one(address)[0].result == Result.SUCCEEDED
    ended, output = operator.one(address, deploy=f"{operator.parcel.deploy}-2")
    assert (ended.result, output) == (Result.SUCCEEDED, b"done\n")


@pytest.mark.parametrize("shell", ["/bin/sh", "/bin/bash", "/usr/bin/zsh", "/usr/bin/fish"])
def test_any_login_shell_will_do(farm: Hosts, operator: Operator, shell: str) -> None:
    address = MANY[43]
    farm.shell(shell, address)
    ended, _ = operator.one(address, command="printf '%s\\n' 'a  \"b\" $c `d` \\e'")
    farm.shell("/bin/bash", address)
    assert ended.result == Result.SUCCEEDED, ended


def test_as_many_hosts_as_wanted_are_connected_to_at_a_time(farm: Hosts, operator: Operator) -> None:
    """Where a process may have few files, unless it asks for more."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = len(list(Path("/proc/self/fd").iterdir())) + len(MANY) // 2
    resource.setrlimit(resource.RLIMIT_NOFILE, (few, before[1]))
    try:
        operator.anew()
        addresses = MANY[len(GATED) :]
        seen = operator.run([operator.job(address, command="true") for address in addresses], len(addresses))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert {one[0].result for one in seen.ended.values()} == {Result.SUCCEEDED}


def test_no_secret_reaches_the_arguments_or_the_log_of_a_host(farm: Hosts, operator: Operator) -> None:
    address, secret = MANY[44], b'{"password": "s3cr3t-of-a-one-off"}'
    farm.behave(address, held=True)
    job = replace(operator.job(address), dna=secret)
    seen = operator.start(job)
    require(lambda: runs(farm, operator, address) == [None], "it runs")
    shown = farm.ssh(address, "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ", user="root").stdout
    farm.release(address)
    operator.follow(seen)
    assert runs(farm, operator, address) == [0]
    assert farm.runs(address)[-1].dna == secret
    assert b"chef-solo" in shown
    for told in (secret, base64.b64encode(secret)):
        assert told not in shown
        assert told not in farm.log.read_bytes()
        assert told.decode() not in "".join(farm.sudo_calls(address))
