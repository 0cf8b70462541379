"""instance:create, list, delete and ssh on the command line, against an embedded AWS in this process."""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pexpect
import pytest

from nodepkg.clients.aws.account import Account
from nodepkg.clients.aws.machines import Machine, Machines
from nodepkg.lease.claim import claim
from nodepkg.sandbox.environment import child_environment
from tests.cli.conftest import Done, Refusing, Run
from tests.clients.test_keys import keygen
from tests.faults import Recorder, aws, kill_at, lose_replies, slow_start, throttle
from tests.projects import make_project
from tests.rig.sshd import node
from tests.worlds import STOCK_IMAGE, World

REGION = "us-east-1"
GROUP = {"run_list": ["recipe[x]"], "source_ami": STOCK_IMAGE, "instance_type": "m1.large"}
FLEET: dict[str, dict[str, Any]] = {
    "bee": {**GROUP, "autoscale": False, "deploy": {"user": "ops", "port": 2222}},
    "wasp": {**GROUP, "autoscale": {}, "deploy": {"address": "{public_ip}"}},
}


@pytest.fixture
def calls() -> Recorder:
    return Recorder()


@pytest.fixture
def account(calls: Recorder, refusing: Refusing, request: pytest.FixtureRequest) -> Iterator[Account]:
    """Its parameter is how often an instance is looked at before it runs."""
    with aws(calls, refusing, slow_start(getattr(request, "param", 1))) as account:
        yield account


@pytest.fixture
def fleet(world: World, account: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """Each group has an image, and `key` is a key."""
    make_project(tmp_path, FLEET)
    monkeypatch.setenv("NODEPKG_POLL_SECONDS", "0.01")
    keygen(tmp_path / "key", "-t", "ed25519")
    for name in FLEET:
        world.images(name, 1)
    return world


def machines(account: Account) -> dict[str, Machine]:
    """All that live, by name."""
    found = Machines(account, REGION)._all([])
    return {one.name: one for one in found if one.state not in ("terminated", "shutting-down")}


def create(run: Run, *more: str, group: str = "bee", name: str = "one-off") -> Done:
    return run("instance:create", group, "--key", "key", "--name", name, *more)


def listed(run: Run, *words: str) -> dict[str, dict[str, Any]]:
    done = run("instance:list", "--json", *words)
    assert done.code == 0, done.err
    return {one["name"]: one for one in json.loads(done.out)}


def dna() -> list[str]:
    return sorted(path.name for path in Path("dna/instances").glob("*"))


def test_one_is_created_shown_and_listed(
    run: Run, fleet: World, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NODEPKG_CONSISTENCY_SECONDS", "0.01")
    done = create(run, "--json")
    assert done.code == 0, done.err
    told, machine = json.loads(done.out), machines(account)["one-off"]
    assert told["instance"] == machine.id
    assert told["address"] == machine.private_ip
    assert told["dna"] == f"dna/instances/bee-{machine.id}.json"
    assert json.loads(Path(told["dna"]).read_text())["id"] == f"bee-{machine.id}"
    assert listed(run)["one-off"]["current"] is True
    another = create(run, name="another")
    assert another.out.splitlines()[1].startswith("wrote dna/instances/bee-i-")
    assert "claim the name another, and wait 0.01 s" in another.err


def test_the_ssh_command_is_one_that_ssh_understands(run: Run, fleet: World, account: Account, tmp_path: Path) -> None:
    there = tmp_path / "a b'c"
    there.mkdir()
    (tmp_path / "key").rename(there / "key")
    done = run("instance:create", "bee", "--key", str(there / "key"), "--name", "one-off", "--json")
    command, machine = json.loads(done.out)["ssh"], machines(account)["one-off"]
    words = shlex.split(command)
    understood = subprocess.run([words[0], "-G", *words[1:]], capture_output=True, text=True, check=True).stdout
    said = dict(line.split(" ", 1) for line in understood.splitlines() if " " in line)
    assert said["hostname"] == machine.private_ip
    assert (said["user"], said["port"], said["hostkeyalias"]) == ("ops", "2222", machine.id)
    assert said["identityfile"] == str(there / "key")
    assert said["userknownhostsfile"].startswith(str(tmp_path / ".nodepkg" / "known_hosts"))


def test_the_ssh_command_works_in_a_folder_with_strange_letters(
    run: Run, fleet: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "my 100% project"
    make_project(folder, FLEET)
    monkeypatch.chdir(folder)
    done = run("instance:create", "bee", "--key", str(tmp_path / "key"), "--name", "one-off", "--json")
    words = shlex.split(json.loads(done.out)["ssh"])
    understood = subprocess.run([words[0], "-G", *words[1:]], capture_output=True, text=True, check=True).stdout
    assert f"userknownhostsfile {folder / '.nodepkg' / 'known_hosts'} " in understood


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["--name", "no"], 2, "3 to 100"),
        (["--name", "a b c"], 2, "for example a_b_c"),
        (["--image", "latest"], 2, "no image has such an id"),
        (["--zone", "us-east-1z"], 2, "no default subnet there"),
        (["--key", "none"], 2, "No such file"),
        (["--image", "ami-00000000"], 4, "no image that this account can see"),
    ],
)
def test_what_makes_no_sense_is_told(run: Run, fleet: World, words: list[str], code: int, told: str) -> None:
    done = create(run, *words)
    assert done.code == code
    assert told in done.err


def test_a_second_one_of_the_name_is_refused(run: Run, fleet: World, account: Account, calls: Recorder) -> None:
    assert create(run).code == 0
    calls.calls.clear()
    done = create(run)
    assert done.code == 4
    assert "lives already" in done.err
    assert not calls.of("PutParameter") + calls.of("RunInstances")


def test_a_name_that_somebody_holds_is_refused(run: Run, fleet: World, account: Account) -> None:
    lease = claim(account, REGION, "one-off", command="instance:create", run="r", window=0, kind="instance")
    done = create(run)
    assert (done.code, "one-off is held by" in done.err, machines(account)) == (4, True, {})
    lease.release()
    assert create(run).code == 0
    lease = claim(account, REGION, "one-off", command="instance:create", run="r", window=0, kind="instance")
    assert run("instance:delete", "one-off", "--yes").code == 4
    assert list(machines(account)) == ["one-off"]
    lease.release()


def test_a_name_of_another_region_is_refused(run: Run, fleet: World, account: Account, tmp_path: Path) -> None:
    make_project(tmp_path, {**FLEET, "far": {**FLEET["bee"], "region": "eu-west-1"}})
    there = World("eu-west-1")
    there.instance(*there.images("far", 1), tags={"Name": "one-off"})
    done = create(run)
    assert (done.code, "(eu-west-1, running)" in done.err, machines(account)) == (4, True, {}), done.err
    assert create(run, name="another").code == 0


def test_the_name_of_many_nodes_is_refused_in_few_words(run: Run, fleet: World, account: Account) -> None:
    scale(account, "wasp-v001", 9)
    done = create(run, name="wasp")
    assert (done.code, done.err.count("a node of wasp-v001"), "and 4 more" in done.err) == (4, 5, True)
    assert "instance:delete" not in done.err
    several = run("instance:ssh", "wasp")
    assert (several.code, several.err.count("running"), "and 4 more" in several.err) == (4, 5, True)


def test_an_open_key_is_refused_before_aws_is_asked(run: Run, fleet: World, calls: Recorder) -> None:
    Path("key").chmod(0o644)
    done = create(run)
    assert (done.code, "chmod 600 key" in done.err, calls.calls) == (4, True, [])


def test_the_private_half_goes_nowhere(run: Run, fleet: World, calls: Recorder, tmp_path: Path) -> None:
    secrets = [line for line in Path("key").read_text().splitlines() if "--" not in line][-3:]
    done = create(run, "--verbose", "--debug")
    sent = json.dumps([dict(call.parameters) for call in calls.calls], default=str)
    written = "".join(path.read_text() for path in tmp_path.rglob("*") if path.is_file() and path.name != "key")
    assert "ImportKeyPair" in calls.counts
    assert not [line for line in secrets if line in done.out + done.err + sent + written]


def files() -> list[tuple[str, bytes]]:
    return sorted((str(path), path.read_bytes()) for path in Path().rglob("*") if path.is_file())


def everything(account: Account) -> list[Any]:
    ec2, ssm = account.client("ec2", REGION), account.client("ssm", REGION)
    return [
        ec2.describe_instances()["Reservations"],
        ec2.describe_key_pairs()["KeyPairs"],
        ssm.describe_parameters()["Parameters"],
    ]


def test_a_dry_run_changes_nothing(run: Run, fleet: World, account: Account) -> None:
    assert create(run).code == 0
    before = files(), everything(account)
    done = create(run, "--dry-run", name="another")
    assert done.code == 0, done.err
    assert "would start another, m1.large of ami-" in done.err
    assert "would write dna/instances/bee-INSTANCE_ID.json" in done.err
    deleted = run("instance:delete", "one-off", "--dry-run", "--json")
    assert deleted.code == 0, deleted.err
    assert [one["action"].split()[0] for one in json.loads(deleted.out)["plan"]] == ["terminate", "remove"]
    assert (files(), everything(account)) == before


def test_list_tells_of_everything_that_is_ours(run: Run, fleet: World, account: Account) -> None:
    tags = {"group": "wasp", "nodepkg:managed": "true"}
    old, new = World(now=fleet.now + timedelta(hours=1)).images("wasp", 2)
    fleet.instance(old, tags={**tags, "Name": "old"})
    fleet.instance(new, "stopped", tags={**tags, "Name": "halted"})
    fleet.instance(new, tags={**tags, "group": "gone", "Name": "orphan"})
    fleet.instance(new, tags={"group": "wasp", "Name": "foreign"})
    fleet.instance(new, tags={"nodepkg:managed": "true", "nodepkg:build": "b", "Name": "builder"})
    fleet.instance(new, "terminated", tags={**tags, "Name": "dead"})
    found = listed(run)
    assert list(found) == ["orphan", "halted", "old"]
    assert (found["old"]["current"], found["old"]["newest_image"], found["halted"]["current"]) == (False, new, True)
    assert (found["old"]["health"], found["halted"]["health"]) == ("ok", "stopped")
    assert (found["orphan"]["in_nodes_json"], found["orphan"]["current"]) == (False, None)
    assert found["old"]["address"] == found["old"]["public_ip"] != found["old"]["private_ip"]
    assert list(listed(run, "w*")) == ["halted", "old"]
    shown = run("instance:list", "wasp")
    assert f"{old} (newest: {new})" in shown.out
    assert "left out, not nodepkg's: 1 instance" in shown.err
    assert "gone (not in nodes.json)" in run("instance:list").out
    assert run("instance:list", "gone").code == 2


def test_list_shows_nodes_of_auto_scaling_groups_in_few_calls(
    run: Run, fleet: World, account: Account, calls: Recorder
) -> None:
    scale(account, "wasp-v001", 7)
    for number in range(5):
        fleet.instance(STOCK_IMAGE, tags={"group": "bee", "nodepkg:managed": "true", "Name": f"bee-{number}"})
    calls.calls.clear()
    done = run("instance:list", "--json")
    rows = json.loads(done.out)
    assert len(rows) == 12
    assert {(one["asg"], one["asg_health"]) for one in rows} == {("wasp-v001", "InService Healthy"), (None, None)}
    assert sum(calls.counts.values()) <= 5, calls.counts


def scale(account: Account, name: str, nodes: int) -> None:
    tags = {"group": "wasp", "nodepkg:managed": "true", "Name": "wasp"}
    account.client("ec2", REGION).create_launch_template(
        LaunchTemplateName=name, LaunchTemplateData={"ImageId": STOCK_IMAGE, "InstanceType": "m1.large"}
    )
    tagged = {"ResourceId": name, "ResourceType": "auto-scaling-group", "PropagateAtLaunch": True}
    account.client("autoscaling", REGION).create_auto_scaling_group(
        AutoScalingGroupName=name,
        MinSize=0,
        MaxSize=nodes,
        DesiredCapacity=nodes,
        AvailabilityZones=[f"{REGION}a"],
        LaunchTemplate={"LaunchTemplateName": name, "Version": "1"},
        Tags=[{**tagged, "Key": key, "Value": value} for key, value in tags.items()],
    )


def test_delete_asks_and_removes_the_file(run: Run, fleet: World, account: Account) -> None:
    assert create(run).code == 0
    refused = run("instance:delete", "one-off")
    assert (refused.code, "--yes" in refused.err, list(machines(account)), len(dna())) == (4, True, ["one-off"], 1)
    done = run("instance:delete", "one-off", "--yes", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["terminated"] is True
    assert (machines(account), dna()) == ({}, [])
    again = run("instance:delete", "one-off", "--yes")
    assert (again.code, "is gone already" in again.out) == (0, True)
    assert create(run).code == 0


def test_delete_outlives_lost_replies(run: Run, fleet: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with aws(lose_replies("TerminateInstances"), lose_replies("PutParameter"), throttle("*", 3)) as account:
        fleet.images("bee", 1)
        monkeypatch.setenv("AWS_ENDPOINT_URL", str(account.endpoint))
        assert create(run).code == 0
        done = run("instance:delete", "one-off", "--yes")
        assert (done.code, machines(account), dna()) == (0, {}, []), done.err


def test_delete_refuses_what_is_no_one_off(run: Run, fleet: World, account: Account) -> None:
    scale(account, "wasp-v001", 1)
    managed = {"nodepkg:managed": "true"}
    fleet.instance(STOCK_IMAGE, tags={**managed, "nodepkg:build": "b", "Name": "builder"})
    fleet.instance(STOCK_IMAGE, tags={"group": "bee", "Name": "foreign"})
    for _ in range(2):
        fleet.instance(STOCK_IMAGE, tags={**managed, "group": "bee", "Name": "twin"})
    told = {"wasp": "Auto Scaling group wasp-v001", "builder": "a build", "foreign": "is not nodepkg's"}
    for name, why in {**told, "twin": "twin is several instances"}.items():
        for force in ([], ["--yes"]):
            done = run("instance:delete", name, *force)
            assert (done.code, why in done.err) == (4, True), done.err
    assert {"wasp", "builder", "foreign", "twin"} <= set(machines(account))
    misspelt = run("instance:delete", "twinn", "--yes")
    assert (misspelt.code, "did you mean twin?" in misspelt.err) == (2, True)
    assert run("instance:delete", machines(account)["twin"].id, "--yes").code == 0
    assert run("instance:delete", "twin", "--yes").code == 0
    unknown = run("instance:delete", "nobody", "--yes")
    assert (unknown.code, "package instance:list" in unknown.err) == (2, True)


def test_delete_of_what_aws_has_forgotten_removes_the_file(run: Run, fleet: World) -> None:
    path = Path("dna/instances/bee-i-0123456789abcdef0.json")
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    done = run("instance:delete", "i-0123456789abcdef0")
    assert (done.code, done.out) == (0, f"removed {path}\n"), done.err
    assert run("instance:delete", "i-0123456789abcdef0").code == 2


def test_volumes_that_stay_are_named(run: Run, fleet: World, account: Account, tmp_path: Path) -> None:
    device = {"device": "/dev/sdf", "size_gb": 3, "delete_on_termination": False}
    make_project(tmp_path, {"bee": {**FLEET["bee"], "block_devices": [device]}})
    assert create(run).code == 0
    (volume,) = machines(account)["one-off"].staying
    assert "(/dev/sdf)" in volume
    done = run("instance:delete", "one-off", "--yes")
    assert f"volume {volume} stays" in done.out
    found = account.client("ec2", REGION).describe_volumes(VolumeIds=[volume.split()[0]])["Volumes"]
    assert [one["State"] for one in found] == ["available"]


def test_an_error_of_aws_is_told_with_the_command_that_goes_on(
    run: Run, fleet: World, refusing: Refusing, tmp_path: Path
) -> None:
    refusing.actions.add("DeleteTags")
    done = create(run)
    assert done.code == 5
    assert "is started, but not finished" in done.out
    assert "package instance:create bee --key key --name one-off" in done.err
    assert listed(run)["one-off"]["phase"] == "creating"
    refusing.actions.clear()
    keygen(tmp_path / "other", "-t", "ed25519")
    finished = create(run, "--key", "other")
    assert (finished.code, listed(run)["one-off"]["phase"]) == (0, None), finished.err
    assert "so this key may not open it" in finished.err


def test_a_file_that_cannot_be_written_leaves_what_the_same_command_finishes(
    run: Run, fleet: World, account: Account
) -> None:
    Path("dna").write_text("in the way")
    done = create(run)
    made = machines(account)["one-off"].id
    assert (done.code, f"{made} (one-off of bee" in done.out, "not finished" in done.out) == (4, True, True)
    assert f"bee-{made}.json" in done.err
    Path("dna").unlink()
    finished = create(run)
    assert (finished.code, dna(), list(machines(account))) == (0, [f"bee-{made}.json"], ["one-off"]), finished.err


PROGRAM = [sys.executable, "-m", "nodepkg"]


@pytest.mark.parametrize(
    ("action", "after"),
    [
        ("PutParameter", True),
        ("ImportKeyPair", True),
        ("RunInstances", False),
        ("RunInstances", True),
        ("DeleteTags", True),
    ],
)
def test_kill_9_is_finished_by_the_same_command(
    run: Run, fleet: World, monkeypatch: pytest.MonkeyPatch, action: str, after: bool
) -> None:
    process: list[subprocess.Popen[str]] = []
    with aws(slow_start(1), kill_at(1, lambda: process[0].pid, after=after, action=action)) as account:
        fleet.images("bee", 1)
        environ = child_environment(dict(os.environ), str(account.endpoint))
        words = ["instance:create", "bee", "--key", "key", "--name", "one-off"]
        process.append(subprocess.Popen([*PROGRAM, *words], env=environ, text=True))
        assert process[0].wait(60) == -9
        monkeypatch.setenv("AWS_ENDPOINT_URL", str(account.endpoint))
        done = run(*words)
        if action == "DeleteTags":
            assert (done.code, "lives already" in done.err) == (4, True)
        else:
            assert done.code == 0, done.err
        assert list(machines(account)) == ["one-off"]
        assert "nodepkg:phase" not in machines(account)["one-off"].tags
        assert len(dna()) == 1


def on_a_terminal(*arguments: str, **environ: str) -> "pexpect.spawn[bytes]":
    told = {**os.environ, "TERM": "xterm", "AWS_EC2_METADATA_DISABLED": "true", **environ}
    return pexpect.spawn(sys.executable, ["-m", "nodepkg", *arguments], env=told, dimensions=(40, 300), timeout=60)


def test_a_terminal_is_asked_for_the_passphrase(fleet: World, account: Account, tmp_path: Path) -> None:
    keygen(tmp_path / "locked", "-t", "ed25519", passphrase="hush-hush")
    made = on_a_terminal("instance:create", "bee", "--key", "locked", "--name", "one-off")
    made.expect_exact("passphrase of locked: ")
    made.sendline("wrong")
    made.expect_exact("that was not it")
    made.sendline("hush-hush")
    made.expect_exact("runs at 127.")
    assert b"hush" not in (made.before or b"")
    made.expect(pexpect.EOF)
    made.close()
    assert (made.exitstatus, list(machines(account))) == (0, ["one-off"])


@pytest.mark.parametrize("account", [10**6], indirect=True)
def test_ctrl_c_gives_the_name_back_and_says_how_to_go_on(
    fleet: World, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NODEPKG_POLL_SECONDS", "30")
    made = on_a_terminal("instance:create", "bee", "--key", "key", "--name", "one-off", "--poll", "30")
    made.expect_exact("wait until one-off runs")
    made.sendintr()
    made.expect_exact("interrupted; to finish it: package instance:create bee --key key --name one-off")
    made.expect(pexpect.EOF)
    made.close()
    assert made.exitstatus == 130
    claim(account, REGION, "one-off", command="x", run="r", window=0, kind="instance").release()


@pytest.fixture
def recording_ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program `ssh` on the path that writes down its words; that file."""
    folder, told = tmp_path / "bin", tmp_path / "told"
    folder.mkdir()
    (folder / "ssh").write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {told}\nexit 7\n')
    (folder / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return told


def program(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([*PROGRAM, *words], capture_output=True, text=True, check=False)


def test_ssh_is_what_the_program_becomes(run: Run, fleet: World, account: Account, recording_ssh: Path) -> None:
    assert create(run).code == 0
    machine = machines(account)["one-off"]
    done = program("instance:ssh", "one-off", "--key", "key", "--", "uptime", "-p; true")
    assert done.returncode == 7, done.stderr
    words = recording_ssh.read_text().splitlines()
    assert words[-4:] == ["--", machine.private_ip, "uptime", "-p; true"]
    assert f"HostKeyAlias={machine.id}" in words
    assert [words[words.index(option) + 1] for option in ("-l", "-p")] == ["ops", "2222"]
    assert program("instance:ssh", machine.id).returncode == 7
    assert "-i" not in recording_ssh.read_text().splitlines()
    Path("key").chmod(0o644)
    assert program("instance:ssh", "one-off", "--key", "key").returncode == 4
    assert program("instance:ssh", "one-off", "--key", "kye").returncode == 2


def test_a_project_that_can_remember_no_host_key_is_no_obstacle(
    fleet: World, tmp_path: Path, recording_ssh: Path
) -> None:
    (tmp_path / ".nodepkg").write_text("in the way")
    instance = fleet.instance(STOCK_IMAGE, tags={"group": "bee", "nodepkg:managed": "true"})
    done = program("instance:ssh", instance)
    assert (done.returncode, recording_ssh.exists()) == (7, True), done.stderr


@pytest.mark.parametrize("address", ["{tag:door}", "{name}"])
def test_an_address_is_never_an_option(fleet: World, tmp_path: Path, recording_ssh: Path, address: str) -> None:
    make_project(tmp_path, {"bee": {**FLEET["bee"], "deploy": {"address": address}}})
    bad = "-oProxyCommand=touch owned"
    tags = {"group": "bee", "nodepkg:managed": "true", "Name": bad, "door": bad}
    instance = fleet.instance(STOCK_IMAGE, tags=tags)
    done = program("instance:ssh", instance)
    assert (done.returncode, recording_ssh.exists(), "gives no address" in done.stderr) == (4, False, True)


def test_what_cannot_be_logged_in_to_is_told(
    run: Run, fleet: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tags = {"group": "bee", "nodepkg:managed": "true"}
    fleet.instance(STOCK_IMAGE, "stopped", tags={**tags, "Name": "halted"})
    fleet.instance(STOCK_IMAGE, tags={"Name": "foreign"})
    fleet.instance(STOCK_IMAGE, tags={**tags, "Name": "there"})
    told = {"halted": (4, "is stopped"), "foreign": (4, "not nodepkg's"), "nobody": (2, "no instance nobody")}
    for name, (code, why) in told.items():
        done = run("instance:ssh", name)
        assert (done.code, why in done.err) == (code, True), done.err
    monkeypatch.setenv("PATH", str(tmp_path))
    done = run("instance:ssh", "there")
    assert (done.code, "there is no ssh on this machine" in done.err) == (6, True)


def test_a_real_node_is_logged_in_to_until_its_host_key_changes(
    run: Run, fleet: World, account: Account, tmp_path: Path
) -> None:
    told = json.loads(create(run, "--json").out)
    machine, remembered = machines(account)["one-off"], tmp_path / ".nodepkg" / "known_hosts"
    with node(tmp_path, address=machine.private_ip) as host:
        make_project(tmp_path, {"bee": {**GROUP, "deploy": {"user": host.user, "port": host.port}}})
        words = shlex.split(told["ssh"])
        words[words.index("-l") + 1], words[words.index("-p") + 1] = host.user, str(host.port)
        pasted = subprocess.run([*words, "id -un"], capture_output=True, text=True, check=False)
        assert (pasted.returncode, pasted.stdout) == (0, f"{host.user}\n"), pasted.stderr
        assert remembered.read_text().startswith(f"{machine.id} ssh-")
        there = program("instance:ssh", "one-off", "--key", "key", "--", "exit 9")
        assert there.returncode == 9, there.stderr
        (line,) = remembered.read_text().splitlines()
        assert line.startswith(f"{machine.id} ssh-")
        remembered.write_text(f"{machine.id} {(tmp_path / 'key.pub').read_text()}")
        changed = program("instance:ssh", "one-off", "--key", "key", "--", "exit 9")
        assert changed.returncode == 255
        assert "HOST IDENTIFICATION HAS CHANGED" in changed.stderr
    deleted = run("instance:delete", "one-off", "--yes")
    assert (deleted.code, remembered.read_text(), dna()) == (0, "", []), deleted.err


def test_a_delete_that_is_killed_is_finished_by_the_same_command(
    run: Run, fleet: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    process: list[subprocess.Popen[str]] = []
    with aws(kill_at(1, lambda: process[0].pid, after=True, action="TerminateInstances")) as account:
        fleet.images("bee", 1)
        monkeypatch.setenv("AWS_ENDPOINT_URL", str(account.endpoint))
        assert create(run).code == 0
        environ = child_environment(dict(os.environ), str(account.endpoint))
        process.append(subprocess.Popen([*PROGRAM, "instance:delete", "one-off", "--yes"], env=environ, text=True))
        assert process[0].wait(60) == -9
        assert (machines(account), len(dna())) == ({}, 1)
        done = run("instance:delete", "one-off", "--yes")
        assert (done.code, dna()) == (0, []), done.err
        assert create(run).code == 0
