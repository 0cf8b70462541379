"""instance:deploy as a command: who is meant, the plan, the record, exit codes. Its hosts are simulated."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nodepkg.cli.deploy_results import summary
from nodepkg.clients.aws.account import Account
from nodepkg.clients.aws.autoscaling import AutoScaling
from nodepkg.clients.ssh.target import HostKey
from nodepkg.fleet.known_hosts import Known, KnownHosts
from nodepkg.fleet.transport import Result
from nodepkg.launch import DRAINS
from tests.cli.conftest import Run
from tests.fleet.hosts import Behaviour, Hosts
from tests.projects import make_project
from tests.worlds import World

FLEET: dict[str, Any] = {
    name: {"run_list": ["recipe[x]"], "source_ami": "ami-1ebb2077", "region": "us-east-1"} for name in ("bee", "wasp")
}


class Fleet:
    """The nodes of the project's groups, and how their converges go."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.behaves: Callable[[str, int], Behaviour] = lambda name, n: Behaviour(0)
        self.transports: list[Hosts] = []
        self.jobs: dict[str, Any] = {}

    def node(self, group: str = "bee", name: str = "", *, managed: bool = True) -> str:
        (made,) = self.nodes(1, group, name, managed=managed)
        return made

    def nodes(self, number: int, group: str = "bee", name: str = "", *, managed: bool = True) -> list[str]:
        tags = {"group": group, "Name": name or group} | ({"nodepkg:managed": "true"} if managed else {})
        told = [{"ResourceType": "instance", "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}]
        made = self.client.run_instances(
            ImageId="ami-1ebb2077", MinCount=number, MaxCount=number, InstanceType="m1.large", TagSpecifications=told
        )
        return [str(one["InstanceId"]) for one in made["Instances"]]

    @property
    def client(self) -> Any:
        return Account(endpoint=self.endpoint).client("ec2", "us-east-1")

    endpoint = ""

    def carry(self, *_: Any) -> Hosts:
        fleet = self

        class Noting(Hosts):
            def start(self, jobs: Any, /) -> None:
                fleet.jobs |= {job.host.instance: job for job in jobs}
                super().start(jobs)

        hosts = Noting(time.monotonic, lambda seconds: None, self.behaves)
        self.transports.append(hosts)
        return hosts

    def started(self) -> list[str]:
        return [name for one in self.transports for name in one.started()]


@pytest.fixture
def fleet(world: World, account: Any, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    found = Fleet(world)
    found.endpoint = str(account.endpoint)
    make_project(Path.cwd(), FLEET, {"cookbooks/x/recipes/default.rb": "# nothing\n"})
    monkeypatch.setattr("nodepkg.cli.deploys.over_ssh", found.carry)
    monkeypatch.setenv("NODEPKG_CONSISTENCY_SECONDS", "0")
    monkeypatch.setenv("NODEPKG_POLL_SECONDS", "0.01")
    return found


def fails(*names: str, result: Result = Result.FAILED) -> Callable[[str, int], Behaviour]:
    return lambda name, n: Behaviour(0, result, 1, "boom", b"line 1\nline 2\n") if name in names else Behaviour(0)


def test_deploy_converges_the_nodes_of_the_named_groups(run: Run, fleet: Fleet) -> None:
    bees, wasp = sorted(fleet.node() for _ in range(3)), fleet.node("wasp")
    done = run("instance:deploy", "bee", "--json")
    told = json.loads(done.out)
    assert done.code == 0
    assert sorted(one["instance"] for one in told["hosts"]) == bees
    assert {one["state"] for one in told["hosts"]} == {"succeeded"}
    assert all(one["exit_code"] == 0 and one["seconds"] is not None for one in told["hosts"])
    assert all(Path(one["log"]).read_text() == "converged\n" for one in told["hosts"])
    assert wasp not in fleet.started()


def test_a_job_has_the_groups_bundle_its_command_and_how_it_is_reached(run: Run, fleet: Fleet) -> None:
    wants = {**FLEET["bee"], "deploy": {"command": "run {path}/x", "user": "ops", "port": 2222}}
    make_project(Path.cwd(), {**FLEET, "bee": wants | {"packer": {"chef": {"path": "/opt/node"}}}})
    node = fleet.node()
    done = run("instance:deploy", "bee", "--timeout", "90s")
    parcel = fleet.jobs[node].parcel
    assert done.code == 0
    assert (parcel.command, parcel.user, parcel.port, parcel.timeout) == ("run /opt/node/x", "ops", 2222, 90)
    assert parcel.archive.name == f"{parcel.digest}.tar.gz"
    assert parcel.archive.is_file()


def test_a_one_off_gets_its_own_dna(run: Run, fleet: Fleet) -> None:
    node, other = fleet.node(), fleet.node()
    path = Path("dna", "instances", f"bee-{node}.json")
    path.parent.mkdir(parents=True)
    path.write_text('{"id": "x", "run_list": []}')
    assert run("instance:deploy", "bee").code == 0
    assert fleet.jobs[node].dna == path.read_bytes()
    assert fleet.jobs[other].dna is None


def test_a_broken_dna_of_a_one_off_is_told_before_anything_begins(run: Run, fleet: Fleet) -> None:
    node = fleet.node()
    path = Path("dna", "instances", f"bee-{node}.json")
    path.parent.mkdir(parents=True)
    path.write_text("{")
    done = run("instance:deploy", "bee")
    assert done.code == 3
    assert str(path) in done.err
    assert fleet.started() == []


def test_instances_that_are_not_nodepkgs_are_left_out_and_counted(run: Run, fleet: Fleet) -> None:
    node, stranger = fleet.node(), fleet.node(managed=False)
    done = run("instance:deploy")
    assert fleet.started() == [node]
    assert "bee: 1 instance left out: it has no tag nodepkg:managed=true" in done.err
    listed = json.loads(run("instance:deploy", "--list", "--json").out)
    assert [one["instance"] for one in listed["hosts"]] == [node]
    assert [one["instance"] for one in listed["left_out"]] == [stranger]


def test_name_and_zone_narrow(run: Run, fleet: Fleet) -> None:
    one, two = fleet.node(name="web-1"), fleet.node(name="web-2")
    fleet.node(name="db")
    listed = json.loads(run("instance:deploy", "--list", "--json", "--name", "web-*").out)
    assert sorted(host["instance"] for host in listed["hosts"]) == sorted([one, two])
    assert run("instance:deploy", "--name", one).code == 0
    assert fleet.started() == [one]
    nobody = run("instance:deploy", "--zone", "us-east-1q")
    assert nobody.code == 2
    assert "--zone us-east-1q" in nobody.err
    assert "package instance:deploy --list" in nobody.err
    fleet.node(name="")
    for option in ("--name", "--zone"):
        unset = run("instance:deploy", option, "")
        assert (unset.code, "no empty value" in unset.err) == (2, True), "nodes without a name are not meant by none"


def test_list_and_dry_run_start_nobody_and_write_nothing(run: Run, fleet: Fleet) -> None:
    fleet.node()
    before = sorted(str(path) for path in Path().rglob("*"))
    listed, planned = run("instance:deploy", "--list"), run("instance:deploy", "--dry-run", "--json")
    assert (listed.code, planned.code) == (0, 0)
    assert "it has no floor: it is one node" in planned.err
    assert "plan: 1 host, 10 at a time" in json.loads(planned.err.splitlines()[0])["message"]
    assert json.loads(planned.out)["groups"][0]["group"] == "bee"
    assert fleet.started() == []
    assert sorted(str(path) for path in Path().rglob("*")) == before


def test_a_failure_is_told_with_its_last_lines_and_exits_6(run: Run, fleet: Fleet) -> None:
    nodes = sorted(fleet.node() for _ in range(2))
    fleet.behaves = fails(nodes[0])
    done = run("instance:deploy", "bee", "-n", "1")
    assert done.code == 6
    assert f"{nodes[0]} of bee: failed: exit code 1: boom; its log: .nodepkg/deploys/" in done.err
    assert "    line 1\n    line 2\n" in done.err
    assert "1 failed: nobody else is started" in done.err
    assert "1 of 2 hosts failed; 1 not started" in done.err
    assert "package instance:deploy --retry 2" in done.err


@pytest.mark.parametrize(
    ("states", "told"),
    [
        (["failed"], "1 of 1 host failed"),
        (["failed", "gone", "succeeded", "unreachable"], "2 of 4 hosts failed; 1 succeeded, 1 gone"),
        (["failed", "left running", "not started"], "1 of 3 hosts failed; 1 left running, 1 not started"),
        (["left running", "succeeded"], "of 2 hosts: 1 left running, 1 succeeded"),
    ],
)
def test_what_is_left_running_has_not_failed(states: list[str], told: str) -> None:
    assert summary(states) == told


def test_retry_runs_only_those_that_did_not_succeed(run: Run, fleet: Fleet) -> None:
    nodes = sorted(fleet.node() for _ in range(4))
    fleet.behaves = fails(nodes[1])
    first = json.loads(run("instance:deploy", "bee", "-n", "2", "--json").out)
    begun = fleet.started()
    fleet.transports.clear()
    fleet.behaves = fails()
    again = run("instance:deploy", "--retry", first["deploy"], "--json")
    told = json.loads(again.out)
    assert again.code == 0
    assert told["deploy"] == first["deploy"]
    assert {one["state"] for one in told["hosts"]} == {"succeeded"}
    assert sorted(fleet.started()) == sorted({*nodes} - {*begun} | {nodes[1]})
    assert fleet.jobs[nodes[1]].parcel.deploy == first["deploy"]
    fleet.transports.clear()
    nothing = run("instance:deploy", "--retry")
    assert nothing.code == 0
    assert "nothing to go on with: all of its 4 hosts are done" in nothing.err
    assert fleet.started() == []


def test_of_many_hosts_that_all_succeed_one_line_is_told(run: Run, fleet: Fleet) -> None:
    fleet.nodes(51)
    done = run("instance:deploy", "bee", "-n", "100%")
    assert (done.code, done.out) == (0, "all 51 hosts succeeded\n")


def test_retry_takes_an_instance_that_ended_meanwhile_for_gone(run: Run, fleet: Fleet) -> None:
    nodes = sorted(fleet.node() for _ in range(2))
    fleet.behaves = fails(*nodes)
    run("instance:deploy", "bee", "--max-errors", "5")
    fleet.client.terminate_instances(InstanceIds=[nodes[0]])
    fleet.behaves = fails()
    again = run("instance:deploy", "--retry", "--json")
    assert again.code == 0
    assert {one["instance"]: one["state"] for one in json.loads(again.out)["hosts"]} == {
        nodes[0]: "gone",
        nodes[1]: "succeeded",
    }


def _tear(archive: Path) -> None:
    os.truncate(archive, archive.stat().st_size // 2)


@pytest.mark.parametrize(("ruin", "told"), [(Path.unlink, "is gone"), (Path.touch, ""), (_tear, "is damaged")])
def test_retry_takes_an_earlier_bundle_only_if_its_archive_is_there_and_whole(
    run: Run, fleet: Fleet, ruin: Callable[[Path], None], told: str
) -> None:
    node = fleet.node()
    fleet.behaves = fails(node)
    run("instance:deploy", "bee")
    for archive in Path(".nodepkg", "bundles").glob("*.tar.gz"):
        ruin(archive)
    Path("cookbooks/x/recipes/default.rb").write_text("# another\n")
    fleet.behaves = fails()
    done = run("instance:deploy", "--retry")
    assert done.code == (4 if told else 0)
    assert (f"{told}, and the repository gives another one now" in done.err) is bool(told)


def test_retry_without_a_deploy_and_with_groups_is_a_usage_error(run: Run, fleet: Fleet) -> None:
    assert run("instance:deploy", "--retry").code == 2
    assert run("instance:deploy", "--retry", "bee").code == 2
    assert run("instance:deploy", "--retry", "20260101T000000-abcdef").code == 2


def test_a_group_that_somebody_holds_is_refused(run: Run, fleet: Fleet, account: Any) -> None:
    from nodepkg.lease.claim import claim

    fleet.node()
    lease = claim(account, "us-east-1", "bee", command="autoscale:update bee", run="r", window=0)
    done = run("instance:deploy")
    lease.release()
    assert done.code == 4
    assert "autoscale:update bee" in done.err
    assert fleet.started() == []
    assert run("instance:deploy").code == 0


def test_ssm_without_a_bucket_is_wrong_configuration(run: Run, fleet: Fleet) -> None:
    make_project(Path.cwd(), {**FLEET, "bee": {**FLEET["bee"], "deploy": {"transport": "ssm"}}})
    fleet.node()
    done = run("instance:deploy", "bee")
    assert done.code == 3
    assert "deploy.bucket" in done.err


@pytest.mark.parametrize(("option", "value"), [("-n", "0"), ("-n", "x"), ("--max-errors", "101%"), ("--timeout", "0s")])
def test_what_is_no_pace_is_a_usage_error(run: Run, fleet: Fleet, option: str, value: str) -> None:
    assert run("instance:deploy", option, value).code == 2


def test_without_a_running_node_there_is_nothing_to_do(run: Run, fleet: Fleet) -> None:
    done = run("instance:deploy", "--json")
    assert done.code == 0
    assert json.loads(done.out) == {"deploy": None, "hosts": []}
    assert run("instance:deploy", "--name", "web-*").code == 2, "somebody was meant"


def test_processes_that_a_killed_deploy_has_suspended_are_resumed_also_where_no_node_is_left(
    run: Run, fleet: Fleet, account: Account
) -> None:
    name, processes = "bee-v001", ["HealthCheck", "ReplaceUnhealthy"]
    raw, scaling = account.client("autoscaling", "us-east-1"), AutoScaling(account, "us-east-1")
    raw.create_launch_configuration(LaunchConfigurationName="x", ImageId="ami-1ebb2077", InstanceType="m1.large")
    sizes = {"MinSize": 0, "MaxSize": 1, "AvailabilityZones": ["us-east-1a"]}
    raw.create_auto_scaling_group(AutoScalingGroupName=name, LaunchConfigurationName="x", **sizes)
    scaling.create_or_update_tags(name, {"group": "bee", DRAINS: " ".join(processes)})
    scaling.suspend_processes(name, [*processes, "AZRebalance"])
    for options, left in ((["--dry-run"], {*processes, "AZRebalance"}), ([], {"AZRebalance"})):
        done = run("instance:deploy", "bee", "--json", *options)
        assert (done.code, "bee: what a deploy that was cut off" in done.err) == (0, True), done.err
        found = scaling.group(name)
        assert found
        assert (set(found.suspended), DRAINS in found.tags) == (left, bool(options))
    assert json.loads(done.out) == {"deploy": None, "hosts": []}
    assert not Path(".nodepkg/deploys").exists()


def test_host_keys_of_instances_that_are_gone_are_dropped_also_where_no_node_is_left(run: Run, fleet: Fleet) -> None:
    known = KnownHosts(Path(".nodepkg", "known_hosts"))
    lives, gone, last = fleet.node(), fleet.node(), fleet.node("wasp")
    for node, group in ((lives, "bee"), (gone, "bee"), (last, "wasp")):
        known.accept(Known(node, HostKey("ssh-ed25519", "AAAA"), group, "us-east-1"))
    fleet.client.terminate_instances(InstanceIds=[gone, last])
    assert run("instance:deploy", "--dry-run").code == 0
    assert known.of(gone) and known.of(last)
    assert run("instance:deploy").code == 0
    assert fleet.started() == [lives]
    assert [bool(known.of(node)) for node in (lives, gone, last)] == [True, False, False]


def test_failures_count_over_the_groups_of_both_transports(
    run: Run, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nodepkg.cli.deploys.over_ssm", fleet.carry)
    ssm = {"deploy": {"transport": "ssm", "bucket": "example", "drain": True}}
    make_project(Path.cwd(), {"wasp": {**FLEET["wasp"], **ssm}, "bee": FLEET["bee"]})
    bee, wasps = fleet.node(), sorted(fleet.node("wasp") for _ in range(3))
    fleet.behaves = fails(bee, wasps[0])
    assert run("instance:deploy", "-n", "1", "--max-errors", "1").code == 6
    assert fleet.started() == [bee, wasps[0]]


def test_a_canary_is_the_first_of_all_hosts_whatever_their_transports(
    run: Run, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nodepkg.cli.deploys.over_ssm", fleet.carry)
    ssm = {"deploy": {"transport": "ssm", "bucket": "example"}}
    make_project(Path.cwd(), {"bee": FLEET["bee"], "wasp": {**FLEET["wasp"], **ssm}})
    bees, wasps = sorted(fleet.node() for _ in range(2)), [fleet.node("wasp") for _ in range(2)]
    assert run("instance:deploy", "--canary", "1").code == 0
    assert [len(one.started()) for one in fleet.transports] == [2, 2]
    over_ssh, over_ssm = fleet.transports
    assert (over_ssh.most, over_ssm.most) == (1, 2)
    assert sorted(fleet.started()) == sorted([*bees, *wasps])
