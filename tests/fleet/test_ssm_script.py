"""What Run Command gets, run by a real shell in a folder for each node; bundles come from the sandbox's bucket."""

import base64
import gzip
import io
import os
import re
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nodepkg.fleet.over_ssm import OverSsm
from nodepkg.fleet.ssm_script import dna_archive
from nodepkg.fleet.transport import Job
from nodepkg.sandbox.realistic import VirtualClock
from tests.fleet.ssm_fleets import BUCKET, Fleet, drained, ends, output, results
from tests.fleets import fleet

NODE = "/node-of-this-test"
COMMAND = f"echo converged with $(cat {{path}}/dna.json) && echo run >>{NODE}/runs"


def bundle() -> bytes:
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w:gz") as archive:
        for name, content in {"solo.rb": b"", "dna.json": b"of the bundle", "roles/bee.json": b"{}"}.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return whole.getvalue()


class Nodes:
    """The executor: each node has a folder, which stands where the script has NODE."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.arguments: list[str] = []

    def folder(self, instance: str) -> Path:
        found = self._folder / instance
        found.mkdir(exist_ok=True)
        return found

    def __call__(self, instance: str, script: str) -> tuple[int, str, str]:
        found = re.fullmatch(r'eval "\$\(printf %s ([A-Za-z0-9+/=]+) \| base64 -d \| gzip -dc\)"', script)
        assert found, script
        text = gzip.decompress(base64.b64decode(found[1])).decode().replace(NODE, str(self.folder(instance)))
        line = script.replace(found[1], base64.b64encode(gzip.compress(text.encode())).decode())
        environment = {"PATH": os.environ["PATH"], "AWS_SSM_INSTANCE_ID": instance}
        done = subprocess.run(
            ["dash", "-c", line], check=False, env=environment, capture_output=True, text=True, timeout=60
        )
        return done.returncode, done.stdout, done.stderr

    def runs(self, instance: str) -> int:
        there = self.folder(instance) / "runs"
        return len(there.read_text().splitlines()) if there.exists() else 0


@pytest.fixture
def there(tmp_path: Path) -> Iterator[tuple[Fleet, Nodes]]:
    with fleet(clock=VirtualClock()) as rig:  # the shells tell the machine's own time
        nodes, found = Nodes(tmp_path), Fleet(rig, tmp_path)
        found.world.executor = nodes
        yield found, nodes


def over(fleet: Fleet) -> OverSsm:
    return fleet.transport(max_errors=None, home=f"{NODE}/state")


def jobs(fleet: Fleet, names: list[str], **more: Any) -> list[Job]:
    settings: dict[str, Any] = {"path": f"{NODE}/opt", "command": COMMAND, "timeout": 30, **more}
    made = fleet.jobs(names, **settings)
    made[0].parcel.archive.write_bytes(bundle())
    return made


def test_nodes_fetch_the_bundle_and_converge_once(there: tuple[Fleet, Nodes]) -> None:
    fleet, nodes = there
    names = fleet.nodes(2)
    for again in (False, True):
        transport = over(fleet)
        transport.start(jobs(fleet, names, dnas={names[1]: b"its own"}))
        events = drained(transport)
        assert results(events) == dict.fromkeys(names, "succeeded")
        assert [ends(events)[name].again for name in names] == [again, again]
        if not again:
            assert output(events, names[0]) == b"converged with of the bundle\n"
            assert output(events, names[1]) == b"converged with its own\n"
    assert [nodes.runs(name) for name in names] == [1, 1]
    assert (nodes.folder(names[0]) / "opt" / "roles" / "bee.json").read_text() == "{}"


def test_a_failure_is_told_with_its_code_and_the_end_of_what_it_wrote(there: tuple[Fleet, Nodes]) -> None:
    fleet, _ = there
    (name,) = fleet.nodes(1)
    transport = over(fleet)
    transport.start(jobs(fleet, [name], command="seq 100000; echo no such recipe >&2; exit 3"))
    events = drained(transport)
    end = ends(events)[name]
    assert (str(end.result), end.code, end.why) == ("failed", 3, "exit code 3")
    assert output(events, name).endswith(b"99999\n100000\nno such recipe\n")
    assert b"nodepkg-" not in output(events, name)


def test_what_takes_too_long_is_ended_on_the_node(there: tuple[Fleet, Nodes]) -> None:
    fleet, _ = there
    (name,) = fleet.nodes(1)
    transport = over(fleet)
    transport.start(jobs(fleet, [name], command="sleep 20", timeout=2))
    assert results(drained(transport)) == {name: "timed out"}


def test_a_bundle_that_cannot_be_fetched_is_a_failure_that_says_so(there: tuple[Fleet, Nodes]) -> None:
    fleet, nodes = there
    (name,) = fleet.nodes(1)
    fleet.world.executor = None
    transport, some = over(fleet), jobs(fleet, [name])
    transport.start(some)
    drained(transport)
    s3 = fleet.rig.client("s3")
    (stored,) = s3.list_objects_v2(Bucket=BUCKET)["Contents"]
    s3.delete_object(Bucket=BUCKET, Key=stored["Key"])
    fleet.world.executor = nodes
    transport.start(some)  # this transport knows that it has put it there
    end = ends(drained(transport))[name]
    assert str(end.result) == "failed"
    assert "404" in end.why
    assert nodes.runs(name) == 0


def test_a_command_that_comes_late_is_left(there: tuple[Fleet, Nodes]) -> None:
    fleet, nodes = there
    (name,) = fleet.nodes(1)
    fleet.rig.account.now = lambda: 1000.0  # type: ignore[method-assign]
    transport = over(fleet)
    transport.start(jobs(fleet, [name]))
    end = ends(drained(transport))[name]
    assert (str(end.result), end.why) == ("failed", "the command came after its time")
    assert nodes.runs(name) == 0


def test_the_archive_of_dnas_is_the_same_for_the_same_ones() -> None:
    assert dna_archive({"i-1": b"a", "i-2": b"b"}) == dna_archive({"i-2": b"b", "i-1": b"a"})
