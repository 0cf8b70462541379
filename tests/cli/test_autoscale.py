"""autoscale:status, resize, stop, start and delete on the command line, against an embedded AWS in this process."""

import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pexpect
import pytest

from nodepkg.cli.output import Output
from nodepkg.cli.standings import watch
from nodepkg.clients.aws.account import Account
from nodepkg.errors import AwsError, CredentialsError
from nodepkg.lease.claim import claim, holders
from tests.cli.conftest import Run
from tests.projects import make_project
from tests.worlds import STOCK_IMAGE, World

REGION = "us-east-1"
GROUP = {"run_list": ["recipe[x]"], "source_ami": STOCK_IMAGE}
FLEET = {
    "bee": {**GROUP, "autoscale": {"node_max": 4}},
    "wasp": {**GROUP, "autoscale": {}},
    "ant": {**GROUP, "autoscale": False},
}


@pytest.fixture
def fleet(world: World, account: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """bee runs, with two nodes of its newest image but one; its launch template is its own."""
    make_project(tmp_path, FLEET)
    monkeypatch.setenv("NODEPKG_CONSISTENCY_SECONDS", "0.05")
    monkeypatch.setenv("NODEPKG_POLL_SECONDS", "0.01")
    image = world.images("bee", 2)[0]
    account.client("ec2", REGION).create_launch_template(
        LaunchTemplateName="bee",
        LaunchTemplateData={"ImageId": image, "InstanceType": "m1.large"},
        TagSpecifications=[{"ResourceType": "launch-template", "Tags": [{"Key": "nodepkg:managed", "Value": "true"}]}],
    )
    runs(account, "bee-v001", "bee", {"nodepkg:phase": "serving"})
    yield world


def runs(account: Account, name: str, group: str, tags: dict[str, str], desired: int = 2) -> None:
    told = {"group": group, "nodepkg:managed": "true"} | tags
    tagged = {"ResourceId": name, "ResourceType": "auto-scaling-group", "PropagateAtLaunch": False}
    account.client("autoscaling", REGION).create_auto_scaling_group(
        AutoScalingGroupName=name,
        MinSize=min(desired, 1),
        MaxSize=4 if desired else 0,
        DesiredCapacity=desired,
        AvailabilityZones=[f"{REGION}a"],
        LaunchTemplate={"LaunchTemplateName": "bee", "Version": "1"},
        Tags=[{**tagged, "Key": key, "Value": value} for key, value in told.items()],
    )


def sizes(account: Account, name: str = "bee-v001") -> tuple[int, int, int] | None:
    found = account.client("autoscaling", REGION).describe_auto_scaling_groups(AutoScalingGroupNames=[name])
    for raw in found["AutoScalingGroups"]:
        return raw["MinSize"], raw["MaxSize"], raw["DesiredCapacity"]
    return None


def everything(account: Account) -> list[Any]:
    scaling, ec2, ssm = (account.client(name, REGION) for name in ("autoscaling", "ec2", "ssm"))
    return [
        scaling.describe_auto_scaling_groups()["AutoScalingGroups"],
        ec2.describe_launch_templates()["LaunchTemplates"],
        ec2.describe_instances()["Reservations"],
        ssm.describe_parameters()["Parameters"],
    ]


def stands(run: Run, *groups: str) -> dict[str, Any]:
    done = run("autoscale:status", *groups, "--json")
    assert done.code == 0, done.err
    return {one["group"]: one for one in json.loads(done.out)}


def test_status_shows_generations_and_what_is_next(run: Run, fleet: World, account: Account) -> None:
    runs(account, "old-v003", "old", {"nodepkg:phase": "serving"}, desired=1)
    found = stands(run)
    assert list(found) == ["bee", "wasp", "old"]
    (bee,) = found["bee"]["generations"]
    assert (bee["role"], bee["ready"], bee["desired"], bee["newest"]) == ("serving", 2, 2, False)
    assert (found["bee"]["state"], found["bee"]["next"]) == ("serving", "package autoscale:update bee")
    assert (found["wasp"]["state"], found["wasp"]["generations"]) == ("not running", [])
    assert (found["old"]["in_nodes_json"], found["old"]["next"]) == (False, None)
    shown = run("autoscale:status").out
    assert "(newest: ami-" in shown
    assert "serving; next: package autoscale:update bee" in shown
    assert "not in nodes.json" in shown
    assert list(stands(run, "ant")) == ["ant"]


def told_of_bee(run: Run) -> str:
    return run("autoscale:status", "bee").out.strip()


def test_status_tells_of_a_rollout_and_of_who_is_at_it(run: Run, fleet: World, account: Account) -> None:
    tags = {"nodepkg:phase": "claim", "nodepkg:run": "r", "nodepkg:old": "bee-v001", "nodepkg:since": "1.0"}
    runs(account, "bee-v002", "bee", tags, desired=0)
    assert stands(run, "bee")["bee"]["rollout"]["state"] == "claim"
    shown = told_of_bee(run)
    assert "claim: next: suspend ScheduledActions of bee-v002; nobody is at it; next: package autoscale:update" in shown
    lease = claim(account, REGION, "bee", command="autoscale:update bee", run="r", window=0)
    assert re.search(r"is at it \(autoscale:update bee, since \ds, heard of \ds ago\)$", told_of_bee(run))
    lease.release()


def test_status_says_that_there_are_no_credentials(run: Run, fleet: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for options in ([], ["--watch"]):
        done = run("autoscale:status", *options)
        assert (done.code, done.out) == (5, "")
        assert "no AWS credentials" in done.err


def test_one_group_that_is_wrong_hides_no_other(run: Run, fleet: World, tmp_path: Path) -> None:
    broken = FLEET | {"wasp": {**GROUP, "autoscale": {"node_min": -1}}}
    make_project(tmp_path, broken)
    done = run("autoscale:status")
    assert done.code == 0
    assert "bee-v001" in done.out
    assert "wasp" in done.err
    assert run("autoscale:stop", "bee", "--yes").code == 0


class Watched:
    """What a watcher sees, look by look; an exception is raised, and after the last one comes Ctrl-C."""

    def __init__(self, *looks: Any) -> None:
        self._looks = list(looks)

    def __call__(self) -> tuple[list[dict[str, Any]], float]:
        if not self._looks:
            raise KeyboardInterrupt
        look = self._looks.pop(0)
        if isinstance(look, Exception):
            raise look
        return look, 60.0


def standing(state: str, **more: Any) -> dict[str, Any]:
    facts: dict[str, Any] = {"newest_image": None, "generations": [], "rollout": None, "owner": None, "next": None}
    return {"group": "bee", "region": REGION, "in_nodes_json": True, "state": state, **facts, **more}


def test_watching_tells_each_change_once(capsys: pytest.CaptureFixture[str]) -> None:
    owner = {"who": "ops@host", "command": "x", "state": "bake", "since": 1, "heartbeat_age_seconds": 1}
    older = owner | {"heartbeat_age_seconds": 9}
    looks: tuple[Any, ...] = (
        [standing("serving", owner=owner)],
        [standing("serving", owner=older)],
        [standing("stopped")],
        [],
    )
    watch(Watched(*looks), Output(), lambda: None)
    said = capsys.readouterr().out
    assert said.splitlines() == [
        "00:01:00 bee: serving; ops@host is at it (x, since 59s, heard of 1s ago in bake)",
        "00:01:00 bee: stopped",
        "bee: gone",
    ]
    watch(Watched(*looks), Output(json=True), lambda: None)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["at"], line["state"]) for line in lines] == [(60.0, "serving"), (60.0, "stopped"), (60.0, "gone")]


def test_watching_outlives_what_passes_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    watch(Watched(AwsError("throttled"), [standing("serving")]), Output(), lambda: None)
    said = capsys.readouterr()
    assert (said.err, said.out) == ("warning: throttled\n", "00:01:00 bee: serving\n")
    with pytest.raises(CredentialsError):
        watch(Watched(CredentialsError("who?")), Output(), lambda: None)


@pytest.mark.parametrize(
    "command",
    [
        ["autoscale:stop", "bee"],
        ["autoscale:resize", "bee", "--desired", "1"],
        ["autoscale:delete", "bee"],
        ["autoscale:start", "bee"],
    ],
)
def test_a_dry_run_changes_nothing(run: Run, fleet: World, account: Account, command: list[str]) -> None:
    if command[0] == "autoscale:start":
        assert run("autoscale:stop", "bee", "--yes").code == 0
    before = everything(account)
    done = run(*command, "--dry-run")
    assert done.code == 0, done.err
    assert "would " in done.err
    assert everything(account) == before


@pytest.mark.parametrize(
    "command",
    [["autoscale:stop", "bee"], ["autoscale:resize", "bee", "--desired", "1"], ["autoscale:delete", "bee"]],
)
def test_what_takes_nodes_asks(run: Run, fleet: World, account: Account, command: list[str]) -> None:
    before = everything(account)
    done = run(*command)
    assert done.code == 4
    assert "--yes" in done.err
    assert everything(account) == before


def test_stop_and_start(run: Run, fleet: World, account: Account) -> None:
    stopped = run("autoscale:stop", "b*", "--yes", "--json")
    assert stopped.code == 0, stopped.err
    (report,) = json.loads(stopped.out)["groups"]
    assert (report["group"], report["desired"], report["nodes"]) == ("bee", 0, 0)
    assert stands(run, "bee")["bee"]["state"] == "stopped"
    refused = run("autoscale:resize", "bee", "--max", "9")
    assert refused.code == 4
    assert "package autoscale:start bee" in refused.err
    again = run("autoscale:stop", "bee", "--yes")
    assert (again.code, "bee is stopped already" in again.err) == (0, True)
    started = run("autoscale:start", "bee")
    assert (started.code, sizes(account)) == (0, (1, 4, 2)), started.err
    idle = run("autoscale:start", "bee")
    assert (idle.code, idle.out, "bee runs already" in idle.err) == (0, "", True)
    assert run("autoscale:stop", "wasp", "--yes").code == 4


def test_somebody_else_is_not_disturbed(run: Run, fleet: World, account: Account) -> None:
    lease = claim(account, REGION, "bee", command="autoscale:update bee", run="other", window=0)
    for command in ("autoscale:stop", "autoscale:delete"):
        done = run(command, "bee", "--yes")
        assert done.code == 4
        assert "autoscale:update bee" in done.err
    assert sizes(account) == (1, 4, 2)
    lease.release()
    assert run("autoscale:stop", "bee", "--yes").code == 0


def test_resize(run: Run, fleet: World, account: Account) -> None:
    done = run("autoscale:resize", "bee", "--max", "6", "--desired", "3")
    assert (done.code, sizes(account)) == (0, (1, 6, 3)), done.err
    assert "nodes.json says 1 to 4 nodes" in done.err
    assert run("autoscale:resize", "bee", "--max", "6").code == 0
    assert run("autoscale:resize", "bee").code == 2
    contradiction = run("autoscale:resize", "bee", "--min", "7")
    assert contradiction.code == 2
    assert "--min 7 is more than the group's max (6)" in contradiction.err
    assert run("autoscale:resize", "bee", "--desired", "1", "--yes").code == 0
    assert sizes(account) == (1, 6, 1)
    assert run("autoscale:resize", "wasp", "--max", "2").code == 4


def test_delete(run: Run, fleet: World, account: Account) -> None:
    runs(account, "old-v003", "old", {"nodepkg:phase": "serving"}, desired=1)
    refused = run("autoscale:delete", "old", "--yes")
    assert refused.code == 2
    assert "--region REGION" in refused.err
    done = run("autoscale:delete", "old", "--region", REGION, "--yes", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["groups"][0]["asgs"] == ["old-v003"]
    assert sizes(account, "old-v003") is None
    done = run("autoscale:delete", "bee", "--yes")
    assert (done.code, sizes(account)) == (0, None), done.err
    assert "deleted launch template bee" in done.out
    assert run("autoscale:delete", "bee", "--yes").out == "nothing deleted\n"


def on_a_terminal(*arguments: str) -> "pexpect.spawn[bytes]":
    environ = {**os.environ, "TERM": "xterm", "AWS_EC2_METADATA_DISABLED": "true"}
    return pexpect.spawn(sys.executable, ["-m", "nodepkg", *arguments], env=environ, dimensions=(40, 160), timeout=60)


def test_a_terminal_is_asked(fleet: World, account: Account) -> None:
    stop = on_a_terminal("autoscale:stop", "bee")
    stop.expect_exact("stop bee, which takes 2 nodes? [y/N]")
    stop.sendline("n")
    stop.expect(pexpect.EOF)
    stop.close()
    assert (stop.exitstatus, sizes(account)) == (4, (1, 4, 2))
    delete = on_a_terminal("autoscale:delete", "bee")
    delete.expect_exact("delete 1 Auto Scaling group of bee with 2 nodes? type bee to confirm:")
    delete.sendline("bee")
    delete.expect_exact("deleted bee-v001")
    delete.expect(pexpect.EOF)
    delete.close()
    assert (delete.exitstatus, sizes(account)) == (0, None)


def test_a_terminal_shows_the_table_until_ctrl_c(fleet: World, account: Account) -> None:
    shown = on_a_terminal("autoscale:status", "bee", "--watch")
    shown.expect_exact("serving")
    account.client("autoscaling", REGION).update_auto_scaling_group(
        AutoScalingGroupName="bee-v001", MinSize=0, MaxSize=3, DesiredCapacity=1
    )
    shown.expect_exact("0-3")
    shown.sendintr()
    shown.expect(pexpect.EOF)
    shown.close()
    assert shown.exitstatus == 0


def test_ctrl_c_gives_the_group_back_and_says_how_to_go_on(
    fleet: World, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NODEPKG_CONSISTENCY_SECONDS", "60")
    stop = on_a_terminal("autoscale:stop", "bee", "--yes")
    stop.expect_exact("wait until no node is left")
    stop.expect_exact("1 under way")
    assert list(holders(account, REGION, ["bee"])) == ["bee"]
    stop.sendintr()
    stop.expect_exact("interrupted; to go on: package autoscale:stop bee")
    stop.expect(pexpect.EOF)
    stop.close()
    assert (stop.exitstatus, sizes(account)) == (130, (1, 4, 2))
    assert holders(account, REGION, ["bee"]) == {}
