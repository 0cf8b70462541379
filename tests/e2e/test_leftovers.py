"""What builds leave in EC2 that fail, are interrupted or killed, and packer:sweep and packer:adopt after them."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nodepkg.clients.aws.account import Account
from nodepkg.sandbox import process
from tests.e2e.program import CLEAN, Program
from tests.e2e.test_build import client, reach, seed
from tests.faults import aws as served
from tests.faults import pending_images
from tests.packers import each_packer
from tests.rig.sshd import Node, node

SECONDS = 120


def left(ec2: Any) -> dict[str, list[str]]:
    """What there is in EC2, but for images."""
    instances = [one for page in ec2.describe_instances()["Reservations"] for one in page["Instances"]]
    groups = ec2.describe_security_groups()["SecurityGroups"]
    return {
        "instances": [one["State"]["Name"] for one in instances if one["State"]["Name"] != "terminated"],
        "security groups": [group["GroupName"] for group in groups if group["GroupName"] != "default"],
        "key pairs": [pair["KeyName"] for pair in ec2.describe_key_pairs()["KeyPairs"]],
    }


NOTHING: dict[str, list[str]] = {"instances": [], "security groups": [], "key pairs": []}


def converging_with(project: Path, command: str) -> None:
    nodes = json.loads((project / "nodes.json").read_text())
    nodes["12_04-bee"]["packer"] = {"chef": {"command": command}}
    (project / "nodes.json").write_text(json.dumps(nodes))


@contextmanager
def building(package: Program, host: Node, packer: str) -> "Iterator[subprocess.Popen[str]]":
    """A build in the middle of its converge, which goes on when /tmp/go is there."""
    converging_with(package.folder, "touch /tmp/began; until test -e /tmp/go; do sleep 0.1; done")
    package("group:create")
    command = [sys.executable, "-m", "nodepkg", "packer:run", "12_04-bee"]
    environ = {**package.environ, "NODEPKG_PACKER": packer}
    with subprocess.Popen(command, cwd=package.folder, env=environ, stderr=subprocess.PIPE, text=True) as running:
        deadline = time.monotonic() + SECONDS
        while not host.path("/tmp/began").exists():
            assert time.monotonic() < deadline, "the converge never began"
            assert running.poll() is None
            time.sleep(0.1)
        yield running
        if running.poll() is None:
            running.kill()


def packer_of(running: "subprocess.Popen[str]") -> int:
    """The process id of the Packer that it runs, which is that of its group of processes, too."""
    (child,) = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
    return int(child)


def swept(package: Program, *options: str, **more: Any) -> dict[str, Any]:
    done = package("packer:sweep", "--yes", "--json", "--poll", "0.2", *options, **more)
    document: dict[str, Any] = json.loads(done.stdout)
    return document


@each_packer
def test_a_killed_package_takes_packer_along_which_cleans_up(
    on_aws: Program, aws: process.Sandbox, tmp_path: Path, packer: str
) -> None:
    seed(aws)
    with node(tmp_path, address="127.0.0.1") as host:
        reach(on_aws.folder, host, aws.endpoint)
        with building(on_aws, host, packer) as running:
            running.kill()
            running.wait()
            swept(on_aws, "--older-than", "0s")
            assert left(client(aws)) == NOTHING
    assert client(aws).describe_images(Owners=["self"])["Images"] == []


@each_packer
def test_what_a_killed_packer_leaves_is_told_and_swept(
    on_aws: Program, aws: process.Sandbox, tmp_path: Path, packer: str
) -> None:
    """Packer's child would go on for as long as the converge is silent, and keep the sweep waiting."""
    seed(aws)
    with node(tmp_path, address="127.0.0.1") as host:
        reach(on_aws.folder, host, aws.endpoint)
        with building(on_aws, host, packer) as running:
            os.kill(packer_of(running), signal.SIGKILL)
            _, told = running.communicate(timeout=SECONDS)
    assert running.returncode == 6
    assert "ended by signal 9" in told
    build = re.search(r"package packer:sweep --build ([0-9a-f]{16})", told)
    assert build
    swept(on_aws, "--build", build[1])
    assert left(client(aws)) == NOTHING


@each_packer
def test_what_is_left_when_both_are_killed_is_swept(
    on_aws: Program, aws: process.Sandbox, tmp_path: Path, packer: str
) -> None:
    seed(aws)
    with node(tmp_path, address="127.0.0.1") as host:
        reach(on_aws.folder, host, aws.endpoint)
        with building(on_aws, host, packer) as running:
            running.send_signal(signal.SIGSTOP)
            os.killpg(packer_of(running), signal.SIGKILL)
            running.kill()
            running.wait()
    ec2 = client(aws)
    there = left(ec2)
    assert there["instances"] == ["running"]
    assert [len(there["security groups"]), len(there["key pairs"])] == [1, 1]
    assert re.fullmatch(r"nodepkg-[0-9a-f]{16}", there["key pairs"][0])

    assert swept(on_aws)["removed"] == []  # it is too young
    shown = on_aws("packer:sweep", "--older-than", "0s", "--dry-run").stdout
    assert [line.split()[0] for line in shown.splitlines()] == ["kind", "instance", "security", "key"]
    assert left(ec2) == there

    removed = swept(on_aws, "--older-than", "0s")["removed"]
    assert [one["kind"] for one in removed] == ["instance", "security group", "key pair"]
    assert left(ec2) == NOTHING
    assert swept(on_aws, "--older-than", "0s") == {"leftovers": [], "removed": []}
    assert list((on_aws.folder / ".nodepkg" / "builds").glob("*.json")) == []


@each_packer
def test_a_sweep_beside_a_build_leaves_it_alone(
    on_aws: Program, aws: process.Sandbox, tmp_path: Path, packer: str
) -> None:
    seed(aws)
    with node(tmp_path, address="127.0.0.1") as host:
        reach(on_aws.folder, host, aws.endpoint)
        with building(on_aws, host, packer) as running:
            found = swept(on_aws, "--older-than", "0s")
            assert found["removed"] == []
            assert {one["why"] for one in found["leftovers"]} == {"its build is running"}
            assert {one["kind"] for one in found["leftovers"]} == {"instance", "security group", "key pair"}
            host.path("/tmp/go").touch()
            _, told = running.communicate(timeout=SECONDS)
        assert running.returncode == 0, told
    assert left(client(aws)) == NOTHING
    assert len(client(aws).describe_images(Owners=["self"])["Images"]) == 1


@each_packer
def test_a_build_of_another_copy_of_the_project_is_left_alone(
    on_aws: Program, aws: process.Sandbox, tmp_path: Path, packer: str
) -> None:
    seed(aws)
    other = tmp_path / "other"
    other.mkdir()
    (other / "nodes.json").write_bytes((on_aws.folder / "nodes.json").read_bytes())
    with node(tmp_path, address="127.0.0.1") as host:
        reach(on_aws.folder, host, aws.endpoint)
        with building(on_aws, host, packer) as running:
            found = swept(Program(other, on_aws.environ), "--older-than", "0s")
            assert found["removed"] == []
            assert len(found["leftovers"]) == 3
            host.path("/tmp/go").touch()
            _, told = running.communicate(timeout=SECONDS)
        assert running.returncode == 0, told


@each_packer
def test_an_interrupted_build_leaves_nothing(
    on_aws: Program, aws: process.Sandbox, tmp_path: Path, packer: str
) -> None:
    seed(aws)
    with node(tmp_path, address="127.0.0.1") as host:
        reach(on_aws.folder, host, aws.endpoint)
        with building(on_aws, host, packer) as running:
            running.send_signal(signal.SIGINT)
            _, told = running.communicate(timeout=SECONDS)
        assert running.returncode == 130, told
    assert left(client(aws)) == NOTHING
    assert swept(on_aws, "--older-than", "0s") == {"leftovers": [], "removed": []}


@each_packer
def test_a_converge_that_fails_leaves_nothing(
    on_aws: Program, aws: process.Sandbox, tmp_path: Path, packer: str
) -> None:
    seed(aws)
    with node(tmp_path, address="127.0.0.1", chef_exit=3) as host:
        reach(on_aws.folder, host, aws.endpoint)
        on_aws("group:create")
        on_aws("packer:run", "12_04-bee", code=6, NODEPKG_PACKER=packer)
    assert left(client(aws)) == NOTHING
    assert swept(on_aws, "--older-than", "0s") == {"leftovers": [], "removed": []}
    assert list((on_aws.folder / ".nodepkg" / "builds").glob("*.json")) == []


def on(account: Account, project: Path) -> Program:
    """The program in the project, against an embedded AWS in this process, where Packer soon gives up waiting."""
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    waits = {"AWS_POLL_DELAY_SECONDS": "1", "AWS_MAX_ATTEMPTS": "3", "NODEPKG_POLL_SECONDS": "0.2"}
    return Program(project, {**CLEAN, **keys, **waits, "AWS_ENDPOINT_URL": str(account.endpoint)})


def images(ec2: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = ec2.describe_images(Owners=["self"])["Images"]
    return found


@each_packer
def test_an_image_that_packer_gave_up_on_is_adopted(example: Path, tmp_path: Path, packer: str) -> None:
    """Packer reports a failure, we end before the image is available, and packer:adopt makes it count."""
    ready = threading.Event()
    with node(tmp_path, address="127.0.0.1") as host, served(pending_images(ready)) as account:
        package, ec2 = on(account, example), account.client("ec2", "us-east-1")
        reach(example, host, str(account.endpoint))
        package("group:create")
        command = [sys.executable, "-m", "nodepkg", "packer:run", "12_04-bee"]
        environ = {**package.environ, "NODEPKG_PACKER": packer}
        with subprocess.Popen(command, cwd=example, env=environ, stderr=subprocess.PIPE, text=True) as running:
            assert running.stderr is not None
            for line in running.stderr:
                if "which Packer gave up on" in line:
                    break
            (image,) = [made["ImageId"] for made in images(ec2)]
            running.send_signal(signal.SIGINT)
            _, told = running.communicate(timeout=SECONDS)
        assert running.returncode == 130, told
        assert image in told

        refused = package("packer:adopt", "12_04-bee", image, "--yes", code=4).stderr
        assert f"{image} (12_04-bee " in refused
        assert "is still pending" in refused
        assert swept(package, "--older-than", "0s")["removed"] == []  # and what is known of the build stays known
        ready.set()
        images(ec2)

        adopted = json.loads(package("packer:adopt", "12_04-bee", image, "--yes", "--json").stdout)
        assert (adopted["image"], adopted["adopted"], adopted["source"]) == (image, True, "ami-1ebb2077")
        again = json.loads(package("packer:adopt", "12_04-bee", image, "--yes", "--json").stdout)
        assert again == {**adopted, "adopted": False}
        assert "up to date" in package("packer:run", "12_04-bee", NODEPKG_PACKER=packer).stdout
        assert swept(package, "--older-than", "0s") == {"leftovers": [], "removed": []}
        assert list((example / ".nodepkg" / "builds").glob("*.json")) == []


@each_packer
def test_an_image_that_comes_after_packer_gave_up_is_adopted_by_the_build(
    example: Path, tmp_path: Path, packer: str
) -> None:
    ready = threading.Event()
    with node(tmp_path, address="127.0.0.1") as host, served(pending_images(ready)) as account:
        package, ec2 = on(account, example), account.client("ec2", "us-east-1")
        reach(example, host, str(account.endpoint))
        package("group:create")
        command = [sys.executable, "-m", "nodepkg", "packer:run", "12_04-bee", "--json"]
        environ = {**package.environ, "NODEPKG_PACKER": packer}
        with subprocess.Popen(
            command, cwd=example, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as running:
            assert running.stderr is not None
            for line in running.stderr:
                if "which Packer gave up on" in line:
                    ready.set()
            assert running.stdout is not None
            (report,) = json.load(running.stdout)["images"]
        assert running.returncode == 0
        (made,) = images(ec2)
        tags = {tag["Key"]: tag["Value"] for tag in made["Tags"]}
        assert (report["result"], report["image"]) == ("adopted", made["ImageId"])
        assert (tags["group"], tags["nodepkg:managed"], tags["nodepkg:digest"]) == (
            "12_04-bee",
            "true",
            report["digest"],
        )
        assert tags["nodepkg:source_ami"] == "ami-1ebb2077"
        assert left(ec2) == NOTHING
        assert list((example / ".nodepkg" / "builds").glob("*.json")) == []
