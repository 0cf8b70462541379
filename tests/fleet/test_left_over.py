"""What a deploy does not take for granted: of what was noted, what was refused, and whose lease is lost meanwhile."""

from pathlib import Path

from nodepkg.clients.aws.autoscaling import AutoScaling
from nodepkg.errors import AwsError
from nodepkg.fleet.course import Terms
from nodepkg.launch import DRAINS
from nodepkg.lease.claim import LostLeaseError
from nodepkg.pace import Pace, Share
from tests.fleet.lasting import scene
from tests.fleet.skies import Sky, run
from tests.fleets import REGION


def test_what_was_noted_is_suspended_before_anybody_leaves(tmp_path: Path) -> None:
    """The deploy before was killed between the two calls."""
    with scene(tmp_path) as here:
        scaling = AutoScaling(here.rig.account, REGION)
        scaling.create_or_update_tags("bee-v001", {DRAINS: "HealthCheck ReplaceUnhealthy"})
        seen: list[bool] = []

        def sees(what: str) -> None:
            group = here.rig.world().group("bee-v001")
            assert group
            seen.append(what != "start" or not group.runs("ReplaceUnhealthy"))

        here.on = sees
        here.deploy()
        assert seen
        assert all(seen)
        here.require_well()


def test_a_deploy_that_has_nobody_left_puts_in_order_what_was_left(tmp_path: Path) -> None:
    with scene(tmp_path) as here:
        done = here.deploy()
        assert set(done.states().values()) == {"succeeded"}
        rig, first = here.rig, here.members[0]
        scaling = AutoScaling(rig.account, REGION)
        scaling.create_or_update_tags("bee-v001", {DRAINS: "HealthCheck ReplaceUnhealthy"})
        scaling.suspend_processes("bee-v001", ["HealthCheck", "ReplaceUnhealthy"])
        note = here.arn.partition(":targetgroup/")[2]
        rig.client("ec2").create_tags(Resources=[first], Tags=[{"Key": "nodepkg:drained", "Value": note}])
        rig.client("elbv2").deregister_targets(TargetGroupArn=here.arn, Targets=[{"Id": first}])
        rig.wait(60)
        judged: list[str] = []
        resumed = rig.world().group("bee-v001")
        assert resumed
        assert here.retry().states() == {}
        judged.append(rig.world().target_states(here.arn)[first])
        assert judged == ["healthy"]
        here.require_well()


def test_a_lost_lease_starts_nobody_who_has_left(tmp_path: Path) -> None:
    sky = Sky({f"i-{n}": "bee" for n in range(4)}, behind=True)

    def fails(what: str) -> None:
        if sky.time > 20 and what not in ("look",):
            raise LostLeaseError("bee: the lease is lost")

    sky.fails = fails
    runner, transport = run(sky, tmp_path, Pace(2), {"bee": Terms(Share(50, percent=True), drains=True)})
    assert isinstance(runner.error, LostLeaseError)
    assert transport.started() == []
    assert {one.state for one in runner.courses.values()} == {"not started"}


def test_a_note_stays_if_its_node_could_not_be_brought_back(tmp_path: Path) -> None:
    sky = Sky({f"i-{n}": "bee" for n in range(2)}, behind=True)
    made: list[str] = []

    def fails(what: str) -> None:
        made.append(what)
        if what == "Return":
            raise AwsError("no", code="AccessDenied")

    sky.fails = fails
    run(sky, tmp_path, Pace(1, max_errors=0), {"bee": Terms(Share(0), drains=True)}, patience=120.0)
    assert "Leave" in made
    assert "Forget" not in made
