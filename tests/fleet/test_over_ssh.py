"""Converges over SSH against a real sshd, in namespaces of its own."""

import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from nodepkg.clients.ssh import Patience, Ssh
from nodepkg.fleet.host import Host
from nodepkg.fleet.known_hosts import KnownHosts
from nodepkg.fleet.over_ssh import OverSsh, Waits
from nodepkg.fleet.transport import Began, Ended, Event, Job, Parcel, Result, Wrote
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

    def job(self, deploy: str, command: str, **changed: object) -> Job:
        host = Host("i-1", "12_04-bee", "us-east-1", "us-east-1a", "bee", "", self.node.address)
        values = {"deploy": deploy, "command": command, **changed}
        return Job(host, replace(self.parcel, **values))  # type: ignore[arg-type]

    def deploy(self, job: Job) -> tuple[Ended, bytes, list[Event]]:
        self.transport.start([job])
        return self.rest()

    def rest(self, seen: Callable[[Event], None] = lambda event: None) -> tuple[Ended, bytes, list[Event]]:
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
    ssh = Ssh(key=machine.key, loopback_only=True, patience=Patience(connect=20.0))
    transport = OverSsh(ssh, KnownHosts(tmp_path / "known_hosts"), waits=QUICK)
    place = f"/opt/{tmp_path.name}"
    yield Fleet(
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
    transport.close()


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
