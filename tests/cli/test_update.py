"""autoscale:update and autoscale:rollback on the command line, against an embedded AWS in this process."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import fields
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from nodepkg.clients.aws.account import Account
from nodepkg.clients.aws.autoscaling import AutoScaling
from nodepkg.clients.aws.templates import LaunchTemplates
from nodepkg.lease.claim import claim, holders
from nodepkg.sandbox.realistic import Realism, Realistic
from tests.cli.conftest import FLEET, Run
from tests.cli.test_start import CHANGES, REGION, digest, image
from tests.faults import Recorder, aws
from tests.projects import make_project
from tests.worlds import World

AUTOSCALE = {"bake_time": 0, "timeout": 0, "node_max": 4}


@pytest.fixture
def calls() -> Recorder:
    return Recorder()


@pytest.fixture
def account(calls: Recorder) -> Iterator[Account]:
    quick = Realism(*(0.02 for _ in fields(Realism)))
    with aws(calls, realistic=Realistic(realism=quick)) as account:
        yield account


def entries(**autoscale: Any) -> dict[str, Any]:
    return {
        name: {**entry, "autoscale": AUTOSCALE | autoscale, "instance_type": "m1.large"}
        for name, entry in FLEET.items()
    }


@pytest.fixture
def running(run: Run, world: World, tmp_path: Path) -> World:
    """Both groups run, and of each there is a newer image."""
    make_project(tmp_path, entries())
    for name in FLEET:
        image(world, name, age=timedelta(days=1))
    assert run("autoscale:run", "--poll", "0.01").code == 0
    for name in FLEET:
        world.image(f"{name} 2", name, age=timedelta(hours=1), tags={"nodepkg:digest": digest(name)})
    return world


def asgs(account: Account) -> list[tuple[str, int, int, int]]:
    return [(asg.name, asg.min, asg.max, asg.desired) for asg in AutoScaling(account, REGION).groups()]


def update(run: Run, *arguments: str) -> Any:
    return run("autoscale:update", *arguments, "--poll", "0.01")


def test_groups_are_replaced_and_shown(run: Run, running: World, account: Account) -> None:
    done = update(run)
    assert done.code == 0, done.err
    assert asgs(account) == [("bee-v002", 1, 4, 1), ("wasp-v002", 1, 4, 1)]
    rows = [line.split()[:3] for line in done.out.splitlines()]
    assert [row[0] for row in rows] == ["group", "bee", "wasp"]
    assert "bee: image: ami-" in done.err
    assert "[bee] retire: " in done.err
    assert holders(account, REGION, list(FLEET)) == {}
    assert [version.number for version in LaunchTemplates(account, REGION).versions("bee")] == [2]


def test_what_is_up_to_date_is_not_claimed(run: Run, running: World, calls: Recorder, account: Account) -> None:
    assert update(run, "bee").code == 0
    before = calls.counts
    done = update(run, "bee", "--json")
    assert done.code == 0, done.err
    (group,) = json.loads(done.out)["groups"]
    assert (group["result"], group["asg"]) == ("up to date", "bee-v002")
    assert not CHANGES & set(calls.counts - before)


def test_force_replaces_what_is_up_to_date(run: Run, running: World, account: Account) -> None:
    assert update(run, "bee").code == 0
    assert update(run, "bee", "--force").code == 0
    assert asgs(account)[0][0] == "bee-v003"


def test_sizes_alone_are_changed_in_place(
    run: Run, running: World, account: Account, tmp_path: Path, calls: Recorder
) -> None:
    assert update(run, "bee").code == 0
    make_project(tmp_path, entries(node_max=7))
    done = update(run, "bee")
    assert done.code == 0, done.err
    assert "node_max: 4 -> 7" in done.err
    assert asgs(account)[0] == ("bee-v002", 1, 7, 1)
    assert done.out.splitlines()[1].split()[:2] == ["bee", "changed"]


def test_a_dry_run_says_what_differs_and_changes_nothing(
    run: Run, running: World, calls: Recorder, account: Account
) -> None:
    before = calls.counts
    done = update(run, "bee", "--dry-run", "--json")
    assert done.code == 0, done.err
    (group,) = json.loads(done.out)["groups"]
    assert [one["key"] for one in group["differs"]] == ["image"]
    assert group["plan"][0].startswith("create bee-v002 with image ami-")
    assert group["plan"][-1] == "set bee-v002 to 1 to 4 nodes: it serves"
    assert not CHANGES & set(calls.counts - before)
    assert asgs(account)[0][0] == "bee-v001"


def test_without_names_every_group_that_runs_is_updated(
    run: Run, world: World, account: Account, tmp_path: Path
) -> None:
    make_project(tmp_path, entries())
    image(world, "bee", age=timedelta(days=1))
    assert run("autoscale:run", "bee", "--poll", "0.01").code == 0
    world.image("bee 2", "bee", tags={"nodepkg:digest": digest("bee")})
    done = update(run)
    assert done.code == 0, done.err
    assert "left out, they do not run: wasp" in done.err
    assert [line.split()[0] for line in done.out.splitlines()] == ["group", "bee"]
    assert asgs(account) == [("bee-v002", 1, 4, 1)]


def test_a_group_that_does_not_run_is_refused_and_the_others_go_on(
    run: Run, world: World, account: Account, tmp_path: Path
) -> None:
    make_project(tmp_path, entries())
    image(world, "bee", age=timedelta(days=1))
    assert run("autoscale:run", "bee", "--poll", "0.01").code == 0
    world.image("bee 2", "bee", tags={"nodepkg:digest": digest("bee")})
    image(world, "wasp")
    done = update(run, "bee", "wasp")
    assert done.code == 4
    assert "package autoscale:run wasp" in done.err
    assert asgs(account) == [("bee-v002", 1, 4, 1)]


def test_with_fail_fast_a_group_that_cannot_begin_has_the_others_skipped(
    run: Run, running: World, account: Account
) -> None:
    AutoScaling(account, REGION).suspend_processes("wasp-v001", ["Launch"])
    done = update(run, "--fail-fast", "--json")
    assert done.code == 4, done.err
    told = {one["group"]: (one["result"], one["error"]) for one in json.loads(done.out)["groups"]}
    assert told["bee"] == ("skipped", "skipped, since wasp failed")
    assert told["wasp"][0] == "refused"
    assert [name for name, *_ in asgs(account)] == ["bee-v001", "wasp-v001"]


def test_stale_images_are_refused_unless_they_are_wanted(run: Run, running: World, account: Account) -> None:
    running.image("bee 3", "bee", tags={"nodepkg:digest": "other"})
    done = update(run, "bee")
    assert done.code == 4
    assert "is not what nodes.json gives now" in done.err
    assert asgs(account)[0][0] == "bee-v001"
    done = update(run, "bee", "--stale-ok")
    assert done.code == 0, done.err
    assert asgs(account)[0][0] == "bee-v002"


def test_an_image_that_is_named_is_for_one_group(run: Run, running: World, account: Account) -> None:
    refused = update(run, "--image", "ami-1")
    assert refused.code == 2
    assert "package autoscale:update GROUP --image ami-1" in refused.err
    older = running.image("bee 0", "bee")
    done = update(run, "bee", "--image", older)
    assert done.code == 0, done.err
    assert older in done.out


def test_a_group_that_somebody_holds_is_refused_with_who_it_is(run: Run, running: World, account: Account) -> None:
    lease = claim(account, REGION, "bee", command="autoscale:resize bee", run="other", window=0)
    done = update(run, "bee")
    assert done.code == 4
    assert "autoscale:resize bee" in done.err
    assert asgs(account)[0][0] == "bee-v001"
    lease.release()


def test_what_forbids_a_rollout_is_named(run: Run, running: World, account: Account) -> None:
    AutoScaling(account, REGION).suspend_processes("bee-v001", ["Launch"])
    done = update(run, "bee")
    assert done.code == 4
    assert "bee-v001: Launch suspended: resume them" in done.err


@pytest.mark.parametrize("how", [(), ("--dry-run",)])
def test_a_policy_that_cannot_be_carried_over_is_named_before_anything_begins(
    run: Run, running: World, account: Account, how: Sequence[str]
) -> None:
    label = "app/other/0123456789abcdef/targetgroup/other/0123456789abcdef"
    metric = {"PredefinedMetricType": "ALBRequestCountPerTarget", "ResourceLabel": label}
    account.client("autoscaling", REGION).put_scaling_policy(
        AutoScalingGroupName="bee-v001",
        PolicyName="requests",
        PolicyType="TargetTrackingScaling",
        TargetTrackingConfiguration={"PredefinedMetricSpecification": metric, "TargetValue": 10.0},
    )
    done = update(run, "bee", *how)
    assert done.code == 4, done.err
    assert "requests: it counts the requests of app/other" in done.err
    assert asgs(account)[0] == ("bee-v001", 1, 4, 1)
    assert [one.number for one in LaunchTemplates(account, REGION).versions("bee")] == [1]


def test_without_anything_to_go_back_to_a_rollback_is_refused(run: Run, running: World) -> None:
    done = run("autoscale:rollback", "bee", "--yes")
    assert done.code == 4
    assert "keep_old" in done.err


def test_a_kept_generation_comes_back(run: Run, running: World, account: Account, tmp_path: Path) -> None:
    make_project(tmp_path, entries(keep_old=1))
    assert update(run, "bee").code == 0
    assert asgs(account)[:2] == [("bee-v001", 0, 0, 0), ("bee-v002", 1, 4, 1)]
    shown = run("autoscale:rollback", "bee", "--dry-run", "--json")
    assert "bring back bee-v001 in place of bee-v002" in json.loads(shown.out)["groups"][0]["plan"]
    asked = run("autoscale:rollback", "bee")
    assert asked.code == 4
    assert "--yes" in asked.err
    done = run("autoscale:rollback", "bee", "--yes", "--poll", "0.01")
    assert done.code == 0, done.err
    assert asgs(account)[0] == ("bee-v001", 1, 4, 1)
    assert done.out.splitlines()[1].split()[:3] == ["bee", "rolled", "back"]


def test_json_tells_each_state_as_one_object_a_line(run: Run, running: World) -> None:
    done = update(run, "bee", "--json")
    told = [json.loads(line) for line in done.err.splitlines()]
    states = [one["state"] for one in told if "state" in one]
    assert states[0] == "claim"
    assert {"pin", "grow", "hold", "retire", "done"} <= set(states)
    assert {"ready", "desired", "old", "deadline", "asg", "why"} <= {key for one in told for key in one}
