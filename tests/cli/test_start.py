"""autoscale:run on the command line, against an embedded AWS in this process."""

import base64
import json
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from werkzeug.wrappers import Response

from nodepkg.autoscale.awaiting import Awaited, Standing
from nodepkg.cli import starts
from nodepkg.cli.output import Output
from nodepkg.cli.progress import Screen
from nodepkg.clients.aws.account import Account
from nodepkg.clients.aws.autoscaling import AutoScaling
from nodepkg.clients.aws.images import Images
from nodepkg.clients.aws.templates import LaunchTemplates
from nodepkg.images.due import current_digest
from nodepkg.lease.claim import Lease, claim, holders
from nodepkg.nodes.load import load
from nodepkg.ready import Health
from nodepkg.render.bundle import Project
from nodepkg.render.packer import PackerTemplates
from nodepkg.sandbox.calls import Call
from tests.cli.conftest import FLEET, Refusing, Run
from tests.faults import Recorder, aws
from tests.faults.layers import Onward, layer
from tests.projects import make_project
from tests.worlds import World

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

REGION = "us-east-1"
CHANGES = {"CreateLaunchTemplate", "CreateLaunchTemplateVersion", "CreateAutoScalingGroup", "PutParameter"}


class Doing:
    """Layer that does something, once, before an action is carried out."""

    def __init__(self) -> None:
        self.at: dict[str, Callable[[], object]] = {}

    def __call__(self, app: "WSGIApplication") -> "WSGIApplication":
        return layer(self._answer)(app)

    def _answer(self, call: Call, onward: Onward) -> Response:
        if call.action in self.at:
            self.at.pop(call.action)()
        return onward()


@pytest.fixture
def doing() -> Doing:
    return Doing()


@pytest.fixture
def calls() -> Recorder:
    return Recorder()


@pytest.fixture
def account(calls: Recorder, doing: Doing, refusing: Refusing) -> Iterator[Account]:
    with aws(calls, doing, refusing) as account:
        yield account


@pytest.fixture
def scaling(world: World, tmp_path: Path) -> World:
    """Two groups that have Auto Scaling groups, and a project without an image."""
    make_project(
        tmp_path, {name: {**entry, "autoscale": {}, "instance_type": "m1.large"} for name, entry in FLEET.items()}
    )
    return world


def digest(group: str) -> str:
    nodes = load(Path("nodes.json"))
    return current_digest(PackerTemplates(Project(nodes)), nodes.group(group))


def image(world: World, group: str, **more: Any) -> str:
    """One that is what nodes.json gives now."""
    return world.image(f"{group} 1", group, tags={"nodepkg:digest": digest(group)}, **more)


def asgs(account: Account) -> dict[str, dict[str, str]]:
    return {asg.name: dict(asg.tags) for asg in AutoScaling(account, REGION).groups()}


def hold(account: Account, group: str) -> Lease:
    return claim(account, REGION, group, command="autoscale:update bee", run="other", window=0)


def test_a_group_is_started_waited_for_and_shown(run: Run, scaling: World, account: Account) -> None:
    ami = image(scaling, "bee")
    done = run("autoscale:run", "bee", "--poll", "0.01")
    assert done.code == 0, done.err
    assert done.out.splitlines()[1].split()[:2] == ["bee-v001", "1/1"]
    assert "bee-v001 is ready: 1 node" in done.err
    tags = asgs(account)["bee-v001"]
    assert tags.pop("nodepkg:run")
    assert abs(float(tags.pop("nodepkg:since")) - account.now()) < 60
    assert tags == {
        "group": "bee",
        "nodepkg:managed": "true",
        "nodepkg:phase": "serving",
        "nodepkg:version": "1",
        "nodepkg:image": ami,
    }
    assert holders(account, REGION, ["bee"]) == {}


def test_the_image_is_noted_to_have_served_once_nodes_of_it_are_ready(
    run: Run, scaling: World, account: Account
) -> None:
    waited, left = image(scaling, "bee"), image(scaling, "wasp")
    assert run("autoscale:run", "bee", "--poll", "0.01").code == 0
    assert run("autoscale:run", "wasp", "--no-wait").code == 0
    found = {one.id: one.tags for one in Images(account, REGION).owned_of([waited, left])}
    assert found[waited].get("nodepkg:served") == "true"
    assert "nodepkg:served" not in found[left]


def test_a_group_serves_though_it_cannot_be_noted_on_its_image(
    run: Run, scaling: World, refusing: Refusing, account: Account
) -> None:
    image(scaling, "bee")
    refusing.actions = {"CreateTags"}
    done = run("autoscale:run", "bee", "--poll", "0.01")
    assert done.code == 0, done.err
    assert "it is not noted that these images have served: ami-" in done.err
    assert "bee-v001 is ready: 1 node" in done.err


def test_target_groups_are_noted_on_the_group_and_not_on_its_nodes(
    run: Run, world: World, account: Account, tmp_path: Path
) -> None:
    client = account.client("elbv2", REGION)
    vpc = account.client("ec2", REGION).describe_vpcs()["Vpcs"][0]["VpcId"]
    arns = [
        client.create_target_group(Name=name, Protocol="HTTP", Port=80, VpcId=vpc)["TargetGroups"][0]["TargetGroupArn"]
        for name in ("a-web", "b-web")
    ]
    entry = {**FLEET["bee"], "instance_type": "m1.large", "autoscale": {"target_groups": ["b-web", "a-web"]}}
    make_project(tmp_path, {"bee": entry})
    image(world, "bee")
    assert run("autoscale:run", "bee", "--no-wait").code == 0
    (asg,) = account.client("autoscaling", REGION).describe_auto_scaling_groups()["AutoScalingGroups"]
    tags = {tag["Key"]: (tag["Value"], tag["PropagateAtLaunch"]) for tag in asg["Tags"]}
    assert [tags[f"nodepkg:target:{number}"] for number in (0, 1)] == [(arn, False) for arn in sorted(arns)]
    assert {key for key, (_, propagated) in tags.items() if propagated} == {"group"}


def test_the_nodes_boot_with_their_dna(run: Run, scaling: World, account: Account) -> None:
    image(scaling, "bee")
    assert run("autoscale:run", "bee", "--no-wait").code == 0
    told = account.client("ec2", REGION).describe_launch_template_versions(LaunchTemplateName="bee")
    data = base64.b64decode(told["LaunchTemplateVersions"][0]["LaunchTemplateData"]["UserData"]).decode()
    assert data.startswith("#!/bin/sh\n")
    assert '"role[role-bee]"' in data


def test_a_version_that_a_killed_run_has_left_is_removed(run: Run, scaling: World, account: Account) -> None:
    image(scaling, "bee")
    templates, tags = LaunchTemplates(account, REGION), {"group": "bee", "nodepkg:managed": "true"}
    for name, description, first in (("ours", f"nodepkg {'0' * 32}", True), ("theirs", "by hand", False)):
        data = {"ImageId": "ami-1ebb2077", "KeyName": name}
        templates.create_version("bee", data, description=description, tags=tags, first=first, token=name)
    assert run("autoscale:run", "bee").code == 0
    assert [(one.number, one.default) for one in templates.versions("bee")] == [(2, False), (3, True)]


def test_without_waiting_it_ends_when_aws_was_told(run: Run, scaling: World, calls: Recorder) -> None:
    image(scaling, "bee")
    done = run("autoscale:run", "bee", "--no-wait", "--json")
    (group,) = json.loads(done.out)["groups"]
    assert (done.code, group["asg"], group["ready"], group["desired"]) == (0, "bee-v001", None, 1)
    assert "DescribeInstanceStatus" not in calls.counts


def test_with_json_stderr_has_a_line_for_each_change(run: Run, scaling: World) -> None:
    image(scaling, "bee")
    done = run("autoscale:run", "bee", "--json", "--poll", "0.01")
    (group,) = json.loads(done.out)["groups"]
    assert group["ready"] == 1
    told = [json.loads(line) for line in done.err.splitlines()]
    assert [line["message"] for line in told if line["level"] == "progress"] == [
        "waiting until the nodes of bee-v001 are ready",
        "1 of 1 nodes ready",
        "bee-v001 is ready: 1 node",
    ]


@pytest.mark.parametrize("tags", [{}, {"nodepkg:digest": "0123456789abcdef"}])
def test_an_image_that_is_not_what_nodes_json_gives_is_refused(
    run: Run, scaling: World, account: Account, calls: Recorder, tags: dict[str, str]
) -> None:
    ami = scaling.image("bee 1", "bee", tags=tags)
    done = run("autoscale:run", "bee")
    assert done.code == 4
    has = "its digest is 0123456789ab" if tags else "it has no digest"
    assert f"bee: {ami} is not what nodes.json gives now: {has}, nodes.json's is {digest('bee')[:12]}" in done.err
    assert "package packer:run bee" in done.err
    assert "--stale-ok" in done.err
    assert asgs(account) == {}
    assert not CHANGES & calls.counts.keys()


def test_a_stale_image_is_started_where_that_is_wanted(run: Run, scaling: World, account: Account) -> None:
    scaling.image("bee 1", "bee")
    done = run("autoscale:run", "bee", "--stale-ok", "--no-wait")
    assert done.code == 0
    assert "warning: bee: ami-" in done.err
    assert list(asgs(account)) == ["bee-v001"]


def test_an_image_that_is_named_is_started_without_a_word(run: Run, scaling: World, account: Account) -> None:
    old, _ = scaling.images("bee", 2)
    done = run("autoscale:run", "bee", "--image", old, "--no-wait")
    assert (done.code, "warning" in done.err) == (0, False)
    assert asgs(account)["bee-v001"]["nodepkg:image"] == old


@pytest.mark.parametrize(
    "given",
    [
        ["--image", "ami-1"],
        ["bee", "wasp", "--image", "ami-1"],
        ["*e*", "w*", "--image", "ami-1"],
        ["bee", "--image", "x"],
    ],
)
def test_an_image_is_one_groups(run: Run, scaling: World, given: list[str]) -> None:
    assert scaling
    done = run("autoscale:run", *given)
    assert done.code == 2
    assert "--image" in done.err


def test_an_image_that_cannot_be_used_is_refused(run: Run, scaling: World, account: Account) -> None:
    for ami, told in (
        ("ami-0123456789abcdef0", "is no image that this account can see in us-east-1"),
        (scaling.image("wasp 1", "wasp"), "is an image of wasp"),
        (scaling.image("bee 1", "bee", state="pending"), "is pending, not available"),
    ):
        done = run("autoscale:run", "bee", "--image", ami)
        assert done.code == 4
        assert f"bee: {ami} {told}" in done.err
    assert asgs(account) == {}


def test_every_group_that_cannot_be_started_is_told_and_none_is(run: Run, scaling: World, account: Account) -> None:
    image(scaling, "bee")
    assert run("autoscale:run", "bee", "--no-wait").code == 0
    done = run("autoscale:run")
    assert done.code == 4
    assert "bee runs already: bee-v001" in done.err
    assert "wasp: it has no image in us-east-1 yet (package packer:run wasp)" in done.err
    assert list(asgs(account)) == ["bee-v001"]


def test_a_group_that_somebody_else_made_runs_too(run: Run, scaling: World, account: Account) -> None:
    image(scaling, "bee")
    scaling.template("by-hand", ["ami-1ebb2077"])
    scaling.group("old-bees", template="by-hand", tags={"group": "bee"})
    done = run("autoscale:run", "bee")
    assert (done.code, "bee runs already: old-bees" in done.err) == (4, True)


def test_a_group_that_somebody_is_at_is_refused_and_so_are_the_others(
    run: Run, scaling: World, account: Account
) -> None:
    for name in ("bee", "wasp"):
        image(scaling, name)
    lease = hold(account, "wasp")
    done = run("autoscale:run")
    assert done.code == 4
    assert "wasp is held by" in done.err
    assert "autoscale:update bee" in done.err
    assert asgs(account) == {}
    assert list(holders(account, REGION, ["bee", "wasp"])) == ["wasp"]
    lease.release()
    assert run("autoscale:run", "--no-wait").code == 0


def test_a_group_that_was_started_before_it_was_claimed_is_refused(
    run: Run, scaling: World, account: Account, doing: Doing
) -> None:
    """Somebody else starts it between our first look and our claim."""
    image(scaling, "bee")
    scaling.template("by-hand", ["ami-1ebb2077"])
    doing.at["PutParameter"] = lambda: scaling.group("bee-v001", template="by-hand", tags={"group": "bee"})
    done = run("autoscale:run", "bee")
    assert (done.code, "bee runs already: bee-v001" in done.err) == (4, True)
    assert list(asgs(account)) == ["bee-v001"]
    assert holders(account, REGION, ["bee"]) == {}


@pytest.mark.parametrize("at", ["DescribeLaunchTemplates", "CreateLaunchTemplate"])
def test_a_run_whose_lease_was_taken_changes_nothing_more(
    run: Run, scaling: World, doing: Doing, calls: Recorder, at: str
) -> None:
    image(scaling, "bee")
    doing.at[at] = lambda: scaling.parameter("/nodepkg/lease/group/bee/2", "somebody else's")
    done = run("autoscale:run", "bee")
    assert done.code == 4
    assert "bee: the lease (number 1) is lost" in done.err
    assert ("CreateLaunchTemplate" in calls.counts) == (at == "CreateLaunchTemplate")  # that one was on its way
    assert "CreateAutoScalingGroup" not in calls.counts


def test_nodes_that_are_not_ready_in_time_are_shown_and_stay(
    run: Run, world: World, account: Account, tmp_path: Path
) -> None:
    scale = {"ready_timeout": 0, "health_url": "http://127.0.0.1:1/"}
    make_project(tmp_path, {"bee": {**FLEET["bee"], "instance_type": "m1.large", "autoscale": scale}})
    image(world, "bee")
    done = run("autoscale:run", "bee")
    assert done.code == 5
    assert "bee-v001: not ready within 0 s: 0 of 1 nodes ready; i-" in done.err
    assert ": health_url: no connection: Connection refused" in done.err
    assert "package autoscale:delete bee" in done.err
    assert done.out.splitlines()[1].split()[:2] == ["bee-v001", "0/1"]
    assert list(asgs(account)) == ["bee-v001"]
    assert holders(account, REGION, ["bee"]) == {}


def test_ctrl_c_while_it_waits_says_that_the_group_is_there(
    run: Run, scaling: World, account: Account, doing: Doing
) -> None:
    image(scaling, "bee")
    doing.at["DescribeInstanceStatus"] = lambda: os.kill(os.getpid(), signal.SIGINT)
    done = run("autoscale:run", "bee")
    assert done.code == 130
    assert "package autoscale:status bee" in done.err
    assert "bee-v001" in done.out
    assert list(asgs(account)) == ["bee-v001"]
    assert holders(account, REGION, ["bee"]) == {}


def test_a_dry_run_claims_nothing_and_waits_for_nothing(run: Run, scaling: World, calls: Recorder) -> None:
    image(scaling, "bee")
    done = run("autoscale:run", "bee", "--dry-run")
    assert done.code == 0
    assert "would create Auto Scaling group bee-v001" in done.err
    assert not CHANGES & calls.counts.keys()


def test_a_consistency_window_that_is_no_number_is_told_before_anything_is_done(
    run: Run, scaling: World, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    image(scaling, "bee")
    monkeypatch.setenv("NODEPKG_CONSISTENCY_SECONDS", "soon")
    assert run("autoscale:run", "bee").code == 2
    assert asgs(account) == {}


# What is shown on a terminal


def test_a_terminal_shows_a_line_for_each_group_that_is_waited_for() -> None:
    drawn: list[str] = []
    now = [0.0]
    live = starts.LiveLines(Output(quiet=True), Screen(drawn.append, lambda: 60), lambda: now[0])
    for group in ("12_04-bee", "www"):
        live.began(Awaited(group, REGION, f"{group}-v001", Health(), 900, "ami-1"))
    live.stands(Standing("www", "www-v001", 1, 2, "i-0123456789abcdef0: status checks initializing"))
    now[0] = 75
    live.tick()
    assert drawn[-1].split("\n") == [
        "12_04-bee   1m15s of 15m00s  no node yet",
        "www         1m15s of 15m00s  1 of 2 nodes ready; i-0123456…",
    ]
    live.ended("www", "ready")
    live.tick()
    assert drawn[-1] == "12_04-bee   1m15s of 15m00s  no node yet"


def test_elsewhere_only_changes_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    lines = starts.Lines(Output())
    standing = Standing("bee", "bee-v001", 0, 1, "i-1: Pending")
    for each in (standing, standing, replace(standing, ready=1, why=""), replace(standing, ready=1, why="")):
        lines.stands(each)
    assert capsys.readouterr().err.splitlines() == [
        "[bee] 0 of 1 nodes ready; i-1: Pending",
        "[bee] 1 of 1 nodes ready",
    ]
