"""What each step does in AWS; every one may be done twice, also after a lost reply."""

from typing import Any

import pytest

from nodepkg.autoscale.journal import Phase, Sizes
from nodepkg.autoscale.steps import (
    AttachTargets,
    Change,
    DeleteAsg,
    DetachTargets,
    Enter,
    Grow,
    RecordSizes,
    RememberKept,
    Resize,
    ResumeProcesses,
    Serve,
    SuspendProcesses,
)
from nodepkg.clients.aws.autoscaling import AutoScaling, AutoScalingGroup
from nodepkg.errors import AwsError, NotYetError
from tests.autoscale.losses import Losses
from tests.autoscale.rollouts import OLD, begun, quick
from tests.faults import refuse
from tests.fleets import REGION, Rig


def now(rig: Rig) -> AutoScalingGroup:
    found = AutoScaling(rig.account, REGION).group(OLD)
    assert found
    return found


def told(asg: AutoScalingGroup) -> dict[str, Any]:
    tags = {key.removeprefix("nodepkg:"): value for key, value in asg.tags.items() if key.startswith("nodepkg:")}
    return {"sizes": (asg.min, asg.max, asg.desired), "suspended": asg.suspended, **tags}


BOTH = frozenset({"ScheduledActions", "AZRebalance"})
FACTS = {"sizes": (1, 4, 2), "suspended": frozenset(), "managed": "true", "phase": "serving"}
STEPS: list[tuple[Change, dict[str, Any], str]] = [
    (SuspendProcesses(REGION, OLD, BOTH), {"suspended": BOTH}, "SuspendProcesses"),
    (ResumeProcesses(REGION, OLD, BOTH), {}, "ResumeProcesses"),
    (
        RecordSizes(REGION, OLD, "bee-group-v000", Sizes(1, 3, 2)),
        {"old-min": "1", "old-max": "3", "pin": "2"},
        "CreateOrUpdateTags",
    ),
    (Resize(REGION, OLD, 2, 3), {"sizes": (2, 3, 2)}, "UpdateAutoScalingGroup"),
    (Resize(REGION, OLD, 0, 0, 0), {"sizes": (0, 0, 0)}, "UpdateAutoScalingGroup"),
    (Grow(REGION, OLD, 3, 5, 12.5), {"sizes": (3, 5, 3), "deadline": "12.500"}, "UpdateAutoScalingGroup"),
    (Grow(REGION, OLD, 3, 5, 12.5), {"sizes": (3, 5, 3), "deadline": "12.500"}, "CreateOrUpdateTags"),
    (
        Enter(REGION, OLD, Phase.ROLLBACK, 5.0, "sick" * 100),
        {"phase": "rollback", "since": "5.000", "reason": ("sick" * 100)[:256]},
        "CreateOrUpdateTags",
    ),
    (
        RememberKept(REGION, OLD, Sizes(1, 4, 2), frozenset({"Launch"})),
        {"kept-min": "1", "kept-max": "4", "kept-desired": "2", "own-suspended": "Launch"},
        "CreateOrUpdateTags",
    ),
    (Serve(REGION, OLD, ("nodepkg:managed", "nodepkg:x"), 7.0), {"since": "7.000", "managed": None}, "DeleteTags"),
]


@pytest.mark.parametrize(("change", "facts", "lost"), STEPS, ids=lambda one: type(one).__name__)
def test_a_step_done_twice_and_with_a_lost_reply_does_what_it_says(
    change: Change, facts: dict[str, Any], lost: str
) -> None:
    losses = Losses()
    with quick(losses) as rig:
        begun(rig, 2)
        losses.actions.add(lost)
        for _ in range(2):
            assert change.run(rig.account) == {"asg": OLD, "action": str(change)}
            expected = {key: value for key, value in (FACTS | facts).items() if value is not None}
            assert told(now(rig)) == expected
        assert not losses.actions


@pytest.mark.parametrize("lost", ["", "AttachLoadBalancerTargetGroups", "DetachLoadBalancerTargetGroups"])
def test_target_groups_are_attached_and_detached_ten_at_a_time(lost: str) -> None:
    losses = Losses()
    with quick(losses) as rig:
        targets = frozenset(rig.world().target_group(f"web{number}") for number in range(12))
        begun(rig, 1)
        losses.actions |= {lost} - {""}
        rig.account.sent.clear()
        for _ in range(2):
            AttachTargets(REGION, OLD, targets).run(rig.account)
            assert set(now(rig).target_groups) == targets
        for _ in range(2):
            DetachTargets(REGION, OLD, targets).run(rig.account)
            assert now(rig).target_groups == ()
        assert not losses.actions
        assert rig.account.sent.count("AttachLoadBalancerTargetGroups") == 4 + (lost.startswith("Attach"))


def test_those_that_are_attached_still_are_detached_though_others_are_not() -> None:
    with quick() as rig:
        one, other = rig.world().target_group("one"), rig.world().target_group("other")
        begun(rig, 1, targets=[one])
        DetachTargets(REGION, OLD, frozenset({one, other})).run(rig.account)
        assert now(rig).target_groups == ()


def test_a_group_that_has_nodes_or_loses_them_is_deleted_later() -> None:
    with quick() as rig:
        begun(rig, 1)
        deletion = DeleteAsg(REGION, OLD)
        with pytest.raises(NotYetError) as caught:
            deletion.run(rig.account)
        assert caught.value.code == "ResourceInUse"
        Resize(REGION, OLD, 0, 0, 0).run(rig.account)
        with pytest.raises(NotYetError) as caught:
            deletion.run(rig.account)
        assert caught.value.code == "ScalingActivityInProgress"
        rig.wait(30)
        for _ in range(2):  # AWS is at it the second time
            deletion.run(rig.account)
            assert now(rig).status
        rig.wait(30)
        assert AutoScaling(rig.account, REGION).group(OLD) is None
        deletion.run(rig.account)


def test_aws_that_is_at_something_else_is_no_failure() -> None:
    with quick(refuse("SuspendProcesses", "ResourceContention", 1), refuse("ResumeProcesses", "Unknown")) as rig:
        begun(rig, 1)
        with pytest.raises(NotYetError, match="suspend processes of bee-group-v001"):
            SuspendProcesses(REGION, OLD, BOTH).run(rig.account)
        SuspendProcesses(REGION, OLD, BOTH).run(rig.account)
        with pytest.raises(AwsError) as caught:
            ResumeProcesses(REGION, OLD, BOTH).run(rig.account)
        assert not isinstance(caught.value, NotYetError)


def test_tags_are_put_twenty_five_at_a_time_in_their_order() -> None:
    with quick() as rig:
        begun(rig, 1)
        scaling, tags = AutoScaling(rig.account, REGION), {f"x{number:02}": "1" for number in range(30)}
        rig.account.sent.clear()
        scaling.create_or_update_tags(OLD, tags)
        assert tags.items() <= now(rig).tags.items()
        assert not any(
            tag["PropagateAtLaunch"] for key, tag in rig.world().now_there.groups[OLD].tags.items() if key in tags
        )
        scaling.delete_tags(OLD, tags)
        scaling.delete_tags(OLD, tags)
        assert not tags.keys() & now(rig).tags.keys()
        assert [rig.account.sent.count(action) for action in ("CreateOrUpdateTags", "DeleteTags")] == [2, 4]
