"""instance:deploy as a process of its own, over SSH to loopback hosts: it is killed, or interrupted, or others come."""

import json
import shlex
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from nodepkg.clients.aws.account import Account
from nodepkg.lease.claim import holders
from nodepkg.sandbox import process
from nodepkg.sandbox.realistic import RealClock
from nodepkg.sandbox.seed import Seed, SeedImage, SeedRegion
from tests.e2e.program import CLEAN, Program
from tests.fleets import REGION, STOCK_IMAGE, Rig, fleet
from tests.projects import make_project
from tests.rig import instances
from tests.rig.agent import agent
from tests.rig.hosts import USER, Hosts, hosts, require

SOON = 0.1  # seconds, of whatever takes time in AWS
NODES = 8
RECIPE = "cookbooks/x/recipes/default.rb"
SECRET = "key-of-encrypted-data-bags"
TAKE_TIME = ("pending", "checks", "healthy", "drain", "termination", "notice", "retry", "delete")
READY = ("--chef-license", "accept-silent", "-c", "/opt/nodepkg/solo.rb", "-j", "/opt/nodepkg/dna.json")


@dataclass
class Deploying:
    """An instance:deploy that runs; leaving it waits for its end."""

    process: "subprocess.Popen[str]"

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def await_told(self, text: str) -> None:
        """Until it has said that on standard error; what it says until then is dropped."""
        assert self.process.stderr
        while text not in (line := self.process.stderr.readline()):
            assert line, f"it ended, and has not said {text}"

    def end(self, code: int) -> dict[str, Any]:
        """Waits for its end, which has to have that exit code; its JSON document."""
        stdout, stderr = self.process.communicate(timeout=120)
        assert self.process.returncode == code, f"exit {self.process.returncode}\n{stdout}\n{stderr}"
        self.told = stderr
        return json.loads(stdout) if stdout else {}


@dataclass
class Place:
    """A group whose nodes are hosts of the rig."""

    rig: Rig
    farm: Hosts
    program: Program
    addresses: dict[str, str]

    @contextmanager
    def deploy(self, *arguments: str) -> Iterator[Deploying]:
        """Of all its nodes, three at a time unless told otherwise."""
        line = [*self.program.command, "instance:deploy", "-n", "3", *arguments, "--poll", "0.1", "--json"]
        with subprocess.Popen(
            line,
            cwd=self.program.folder,
            env=self.program.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as running:
            try:
                yield Deploying(running)
            finally:
                running.kill()

    def codes(self) -> dict[str, list[int | None]]:
        """The exit code of each converge of each instance; no two of them ran at the same time on one."""
        runs = {instance: self.farm.runs(address) for instance, address in self.addresses.items()}
        assert not [one for many in runs.values() for one in many if one.beside]
        return {instance: [one.code for one in many] for instance, many in runs.items()}

    def once(self) -> dict[str, list[int]]:
        """What `codes` gives where each instance has converged once."""
        return {instance: [0] for instance in self.addresses}

    def running(self) -> list[str]:
        return [instance for instance, codes in self.codes().items() if None in codes]

    def await_running(self, count: int) -> list[str]:
        require(lambda: len(self.running()) == count, f"{count} converges run at the same time")
        return self.running()

    def followers(self) -> int:
        """How many processes read the output of a converge, on all nodes: they share a process table."""
        told = self.farm.ssh(min(self.farm.addresses), "pgrep -x tail | wc -l").stdout
        return int(told.split()[-1])

    def release(self, *names: str) -> None:
        """These instances' converges end; none named: all, and no later one waits."""
        self.farm.release(*(self.addresses[name] for name in names))

    def recorded(self) -> dict[str, str]:
        """The last state of each instance in the record of the newest deploy."""
        folder = max(self.program.folder.glob(".nodepkg/deploys/*/"))
        lines = (folder / "states.jsonl").read_text().splitlines()
        return {one["instance"]: one["state"] for one in map(json.loads, lines)}


@contextmanager
def place(folder: Path, *, nodes: int = NODES, gated: bool = False, **deploy: Any) -> Iterator[Place]:
    """A group serves with so many nodes, and somebody deploys to it with ~/.ssh/config and a key."""
    soon: Any = dict.fromkeys(TAKE_TIME, SOON)
    with fleet(clock=RealClock(), **soon) as rig:
        entry = {
            "run_list": ["recipe[x]"],
            "source_ami": STOCK_IMAGE,
            "instance_type": "m1.large",
            "autoscale": {"node_min": nodes, "node_max": nodes, "timeout": 0},
            "deploy": {"user": USER, **deploy},
        }
        files = {
            "cookbooks/x/metadata.rb": "name 'x'\n",
            RECIPE: "log 'x'\n",
            "data_bags/encrypted_data_bag_secret": SECRET,
            "data_bags/users/one.json": '{"id": "one"}',
        }
        make_project(folder, {"bee": entry}, files)
        environ = {
            **CLEAN,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_ENDPOINT_URL": rig.endpoint,
            "NODEPKG_CONSISTENCY_SECONDS": "0.2",
        }
        program = Program(folder, environ, (sys.executable, "-m", "nodepkg"))
        program("autoscale:run", "bee", "--image", rig.world().image("bee", "bee 1"), "--poll", "0.1")
        found = instances.addresses(rig.client("ec2"), "bee")
        assert len(set(found.values())) == nodes
        with hosts(folder, list(found.values()), gated=[min(found.values())] if gated else (), noisy=True) as farm:
            environ["HOME"] = str(farm.home)
            yield Place(rig, farm, program, found)


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Place]:
    with place(tmp_path) as made:
        yield made


def states(told: dict[str, Any]) -> dict[str, str]:
    return {one["instance"]: one["state"] for one in told["hosts"]}


def test_every_node_converges_with_the_bundle_and_its_output_is_kept(here: Place) -> None:
    here.farm.behave(output="begun\n", last="done\n")
    with here.deploy() as deploying:
        told = deploying.end(0)
    assert here.codes() == here.once()
    assert states(told) == dict.fromkeys(here.addresses, "succeeded")
    for one in told["hosts"]:
        (run,) = here.farm.runs(here.addresses[one["instance"]])
        assert run.argv[1:] == READY
        assert run.files[RECIPE] == b"log 'x'\n"
        assert "data_bags/users/one.json" in run.files
        assert SECRET.encode() not in b"".join(run.files.values())
        assert (here.program.folder / one["log"]).read_text() == "begun\ndone\n"
        assert (one["exit_code"], one["address"]) == (0, here.addresses[one["instance"]])
    assert holders(here.rig.account, REGION, ["bee"]) == {}


@pytest.mark.parametrize("meanwhile", ["the nodes finish", "they still run", "one fails"])
def test_a_killed_deploy_is_gone_on_with(here: Place, meanwhile: str) -> None:
    here.farm.behave(held=True, output="begun\n", last="done\n")
    with here.deploy() as deploying:
        first = here.await_running(3)
        here.release(*first[:2])
        require(lambda: sum(map(len, here.codes().values())) == 5, "two others have their places")
        deploying.send(signal.SIGKILL)
        deploying.end(-signal.SIGKILL)
    succeeded = [name for name, state in here.recorded().items() if state == "succeeded"]
    assert sorted(succeeded) == sorted(first[:2])
    running = here.running()
    assert len(running) == 3
    failing = running[:1] if meanwhile == "one fails" else []
    for name in failing:
        here.farm.ssh(here.addresses[name], "kill -9 $(cat /var/lib/recorded/running)", user="root")
    if meanwhile == "they still run":
        before = here.followers()
        with here.deploy("--retry") as again:
            require(lambda: here.followers() == before + 3, "the retry follows those that run")
            here.release()
            told = again.end(0)
    else:
        here.release()
        require(lambda: sorted(here.running()) == sorted(failing), "the nodes finish by themselves")
        with here.deploy("--retry") as again:
            told = again.end(0)
    assert states(told) == dict.fromkeys(here.addresses, "succeeded")
    assert here.codes() == {name: [None, 0] if name in failing else [0] for name in here.addresses}
    assert holders(here.rig.account, REGION, ["bee"]) == {}


def test_each_of_fifty_nodes_converges_once_though_deploy_after_deploy_is_killed(tmp_path: Path) -> None:
    with place(tmp_path, nodes=50) as here:
        here.farm.behave(seconds=0.2)
        for begun, again in ((10, []), (30, ["--retry"])):
            with here.deploy("-n", "10", *again) as deploying:
                require(lambda: sum(map(len, here.codes().values())) >= begun, f"{begun} have begun")  # noqa: B023
                deploying.send(signal.SIGKILL)
                deploying.end(-signal.SIGKILL)
        assert len([state for state in here.recorded().values() if state == "succeeded"]) < 50
        with here.deploy("-n", "50%", "--retry") as last:
            told = last.end(0)
        assert set(states(told).values()) == {"succeeded"}
        assert here.codes() == here.once()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_starts_nobody_else_and_the_running_finish(here: Place, number: signal.Signals) -> None:
    here.farm.behave(held=True)
    with here.deploy() as deploying:
        running = here.await_running(3)
        deploying.send(number)
        deploying.await_told("interrupted")
        here.release()
        told = deploying.end(130)
    assert {name for name, codes in here.codes().items() if codes} == set(running)
    assert states(told) == {name: "succeeded" if name in running else "not started" for name in here.addresses}
    assert f"package instance:deploy --retry {told['deploy']}" in deploying.told
    assert holders(here.rig.account, REGION, ["bee"]) == {}
    with here.deploy("--retry") as again:
        assert states(again.end(0)) == dict.fromkeys(here.addresses, "succeeded")
    assert here.codes() == here.once()


def test_a_second_ctrl_c_leaves_the_running_and_the_record_says_whom(here: Place) -> None:
    here.farm.behave(held=True)
    with here.deploy() as deploying:
        running = here.await_running(3)
        deploying.send(signal.SIGINT)
        deploying.await_told("interrupted")
        deploying.send(signal.SIGINT)
        told = deploying.end(130)
    assert states(told) == {name: "left running" if name in running else "not started" for name in here.addresses}
    assert here.running() == running
    here.release()
    with here.deploy("--retry") as again:
        assert states(again.end(0)) == dict.fromkeys(here.addresses, "succeeded")
    assert here.codes() == here.once()


def test_while_one_deploys_others_are_refused(here: Place) -> None:
    here.farm.behave(held=True)
    newer = here.rig.world().image("bee", "bee 2")
    with here.deploy() as deploying:
        here.await_running(3)
        for refused in (["instance:deploy", "bee"], ["autoscale:update", "bee", "--image", newer]):
            done = here.program(*refused, "--poll", "0.1", code=4)
            assert "bee is held by " in done.stderr
            assert " with `instance:deploy bee` since " in done.stderr
        here.release()
        deploying.end(0)
    assert here.codes() == here.once()


def test_an_unreachable_host_fails_alone_and_is_all_that_a_retry_runs(tmp_path: Path) -> None:
    with place(tmp_path, gated=True) as here:
        ((address, gate),) = here.farm.gates.items()
        (gone,) = [name for name, its in here.addresses.items() if its == address]
        gate.refuse()
        with here.deploy("--max-errors", "1") as deploying:
            told = deploying.end(6)
        assert Counter(states(told).values()) == {"succeeded": NODES - 1, "unreachable": 1}
        assert states(told)[gone] == "unreachable"
        assert "connection refused" in deploying.told
        gate.open()
        with here.deploy("--retry") as again:
            assert states(again.end(0)) == dict.fromkeys(here.addresses, "succeeded")
        assert here.codes() == here.once()


def test_by_default_the_first_failure_starts_nobody_else(here: Place) -> None:
    here.farm.behave(held=True, output="Recipe: x\n", errors="FATAL: no space left\n", code=9)
    with here.deploy() as deploying:
        running = here.await_running(3)
        here.release(running[0])
        require(lambda: here.codes()[running[0]] == [9], "the first has failed")
        here.release()
        told = deploying.end(6)
    assert Counter(states(told).values()) == {"failed": 3, "not started": NODES - 3}
    assert {one["exit_code"] for one in told["hosts"] if one["state"] == "failed"} == {9}
    assert "FATAL: no space left" in deploying.told


def test_a_node_that_has_the_bundle_is_not_sent_it_again(here: Place) -> None:
    with here.deploy() as deploying:
        deploying.end(0)
    before = {name: _inode(here, name) for name in here.addresses}
    with here.deploy() as deploying:
        deploying.end(0)
    assert {name: _inode(here, name) for name in here.addresses} == before
    (here.program.folder / RECIPE).write_text("log 'y'\n")
    with here.deploy() as deploying:
        deploying.end(0)
    assert all(_inode(here, name) != before[name] for name in here.addresses)
    assert {here.farm.runs(address)[-1].files[RECIPE] for address in here.addresses.values()} == {b"log 'y'\n"}


def _inode(here: Place, name: str) -> int:
    return here.farm.path(here.addresses[name], f"/opt/nodepkg/{RECIPE}").stat().st_ino


def test_a_retry_brings_what_its_deploy_began_with(here: Place) -> None:
    here.farm.behave(held=True)
    with here.deploy() as deploying:
        here.await_running(3)
        deploying.send(signal.SIGKILL)
        deploying.end(-signal.SIGKILL)
    here.release()
    (here.program.folder / RECIPE).write_text("log 'y'\n")
    with here.deploy("--retry") as again:
        again.end(0)
    assert {run.files[RECIPE] for address in here.farm.addresses for run in here.farm.runs(address)} == {b"log 'x'\n"}
    assert here.codes() == here.once()


def test_a_retry_whose_bundle_cannot_be_had_any_more_is_refused(here: Place) -> None:
    here.farm.behave(code=1)
    with here.deploy() as deploying:
        deploying.end(6)
    before = here.codes()
    for archive in (here.program.folder / ".nodepkg/bundles").iterdir():
        archive.unlink()
    (here.program.folder / RECIPE).write_text("log 'y'\n")
    with here.deploy("--retry") as again:
        again.end(4)
    assert here.codes() == before
    assert holders(here.rig.account, REGION, ["bee"]) == {}
    here.farm.behave()
    (here.program.folder / RECIPE).write_text("log 'x'\n")
    with here.deploy("--retry") as again:
        assert set(states(again.end(0)).values()) == {"succeeded"}


def test_an_instance_that_is_gone_is_no_failure_of_a_retry(here: Place) -> None:
    here.farm.behave(code=1)
    with here.deploy("--max-errors", "100%") as deploying:
        assert set(states(deploying.end(6)).values()) == {"failed"}
    gone = min(here.addresses)
    here.rig.world().kill(gone)
    here.farm.behave()
    with here.deploy("--retry") as again:
        told = states(again.end(0))
    assert told == {name: "gone" if name == gone else "succeeded" for name in here.addresses}
    assert here.codes() == {name: [1] if name == gone else [1, 0] for name in here.addresses}


def test_host_keys_are_the_instances_own_and_ssh_reads_them(tmp_path: Path) -> None:
    with place(tmp_path, gated=True) as here:
        ((address, gate),) = here.farm.gates.items()
        (impostor,) = [name for name, its in here.addresses.items() if its == address]
        with here.deploy() as deploying:
            deploying.end(0)
        known = here.program.folder / ".nodepkg/known_hosts"
        lines = {line.split()[0]: line.split()[1:3] for line in known.read_text().splitlines()}
        assert lines == {name: here.farm.host_key.split() for name in here.addresses}
        own = ("-o", f"UserKnownHostsFile={known}", "-o", f"HostKeyAlias={impostor}", "-o", "StrictHostKeyChecking=yes")
        line = [
            "ssh",
            "-F",
            str(here.farm.home / ".ssh/config"),
            *own,
            "-o",
            "BatchMode=yes",
            f"root@{address}",
            "true",
        ]
        assert subprocess.run(line, capture_output=True, check=False).returncode == 0
        gate.impostor()
        assert subprocess.run(line, capture_output=True, check=False).returncode == 255
        with here.deploy("--max-errors", "1") as deploying:
            told = deploying.end(6)
        assert states(told) == {name: "refused" if name == impostor else "succeeded" for name in here.addresses}
        assert f"ssh-keygen -R {impostor} -f " in deploying.told


def _takes_keys_from_wherever(program: Program, farm: Hosts) -> None:
    """The first deploy had ~/.ssh/id_ed25519."""
    key = (farm.home / ".ssh/id_ed25519").rename(farm.home / "ops's key.pem")

    def deploy(*options: str, code: int = 0, **environ: str) -> str:
        line = ("instance:deploy", "bee", "--sandbox", "--max-errors", "100%", *options)
        return program(*line, code=code, **{"HOME": str(farm.home), "SSH_AUTH_SOCK": "", **environ}).stderr

    runs = len(farm.runs(farm.addresses[0]))
    assert "it takes none of the keys" in deploy(code=6)
    with agent(key) as socket:
        deploy(SSH_AUTH_SOCK=str(socket))
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", farm.home / "other"], check=True)
        told = deploy("--key", str(farm.home / "other"), code=6, SSH_AUTH_SOCK=str(socket))
        assert "it takes none of the keys" in told, "--key is the only one"
        assert f"--key {farm.home}/other" in told.splitlines()[-1]
    subprocess.run(["ssh-keygen", "-q", "-p", "-N", "", "-m", "PEM", "-f", key], check=True, capture_output=True)
    deploy("--key", str(key))
    assert {len(farm.runs(address)) for address in farm.addresses} == {runs + 2}
    key.chmod(0o640)
    assert f"chmod 600 {shlex.quote(str(key))}" in deploy("--key", str(key), code=4)


def test_in_the_sandbox_one_offs_converge_with_their_own_dna_and_whatever_key(tmp_path: Path) -> None:
    try:
        sandbox = process.start(tmp_path / ".nodepkg/sandbox")
        images = (SeedImage(STOCK_IMAGE, "precise"),)
        process.seed(sandbox, Seed({REGION: SeedRegion(images=images, instance_types=("m1.large",))}))
        made = instances.start(Account(endpoint=sandbox.endpoint).client("ec2", REGION), "bee", 3)
        with hosts(tmp_path, list(made.values())) as farm:
            entry = {"run_list": ["recipe[x]"], "source_ami": STOCK_IMAGE, "deploy": {"user": USER, "port": farm.port}}
            make_project(tmp_path, {"bee": entry}, {RECIPE: "log 'x'\n", "cookbooks/x/metadata.rb": "name 'x'\n"})
            one, *others = made
            own = {"id": one, "run_list": ["recipe[x]"], "password": SECRET}
            (tmp_path / "dna/instances").mkdir(parents=True)
            (tmp_path / f"dna/instances/bee-{one}.json").write_text(json.dumps(own))
            shutil.copy(farm.key, farm.home / ".ssh/id_ed25519")
            (farm.home / ".ssh/config").rename(farm.home / "config")
            done = Program(tmp_path)("instance:deploy", "bee", "--sandbox", HOME=str(farm.home))
            assert SECRET not in done.stdout + done.stderr
            dnas = {name: farm.runs(address)[0].dna for name, address in made.items()}
            assert json.loads(dnas[one] or b"") == own
            assert {json.loads(dnas[name] or b"")["id"] for name in others} == {"bee"}
            _takes_keys_from_wherever(Program(tmp_path), farm)
    finally:
        process.stop(tmp_path / ".nodepkg/sandbox")
