"""Whole rollouts on the rig: there, and back from wherever they were left."""

import random
from dataclasses import replace
from typing import Any

import pytest

from nodepkg.autoscale.claim import TakeKept
from nodepkg.autoscale.journal import Phase, Record
from nodepkg.autoscale.observe import Observation
from nodepkg.autoscale.rollout import Done, Wait
from nodepkg.autoscale.steps import Change
from nodepkg.autoscale.view import Goal
from nodepkg.clients.aws.autoscaling import AutoScaling
from nodepkg.clients.aws.images import Images
from nodepkg.clients.aws.scaling import Scaling
from nodepkg.clients.aws.templates import LaunchTemplates
from tests.autoscale.rollouts import GROUP, HOOK, NEW, OLD, TERMS, Drive, alarm, begun, extras, hung_on, quick, standing
from tests.faults import stale
from tests.fleets import REGION, Rig


def targets_of(rig: Rig, *, balanced: bool) -> frozenset[str]:
    return frozenset({rig.world().target_group("web")} if balanced else set[str]())


@pytest.mark.parametrize("balanced", [True, False])
def test_a_group_is_replaced_and_never_serves_with_less(*, balanced: bool) -> None:
    with quick() as rig:
        targets = targets_of(rig, balanced=balanced)
        drive = Drive(rig, begun(rig, 2, targets=targets, hooks=[HOOK]), targets)
        since = rig.clock.now()
        assert drive.end() == Done()
        rig.wait(60)
        (asg,) = AutoScaling(rig.account, REGION).groups()
        assert (asg.name, asg.min, asg.max, asg.desired) == (NEW, 1, 4, 2)
        assert (asg.suspended, frozenset(asg.target_groups)) == (frozenset(), targets)
        assert asg.tags["nodepkg:phase"] == "serving"
        assert not [key for key in asg.tags if key.startswith(("nodepkg:old", "nodepkg:pin", "nodepkg:deadline"))]
        assert rig.world().low_water(GROUP, since) == 2
        (version,) = LaunchTemplates(rig.account, REGION).versions(GROUP)
        assert (version.number, version.default, version.image) == (2, True, drive.launch.image)
        image = Images(rig.account, REGION).image(drive.launch.image)
        assert image
        assert "nodepkg:served" in image.tags
        assert Scaling(rig.account, REGION).lifecycle_hooks(NEW) == (HOOK,)


def test_what_hangs_on_a_group_hangs_on_the_next_one_before_the_old_one_goes() -> None:
    with quick() as rig:
        drive = Drive(rig, begun(rig))
        hung_on(rig)
        before, watched = extras(rig, OLD), alarm(rig)
        assert drive.end() == Done()
        after = extras(rig, NEW)
        assert [policy.arguments for policy in after.policies] == [policy.arguments for policy in before.policies]
        assert [action.arguments for action in after.schedules] == [action.arguments for action in before.schedules]
        assert after.notifications == before.notifications
        up = next(policy.arn for policy in after.policies if policy.name == "up")
        assert alarm(rig) == {
            **watched,
            "AlarmActions": [watched["AlarmActions"][0], up],
            "Dimensions": [{"Name": "AutoScalingGroupName", "Value": NEW}],
        }
        copied = [step for step in drive.steps if "copy" in step or "point" in step]
        retired = drive.steps.index(f"retire: set {OLD} to 0 to 0 nodes, 0 desired")
        assert len(copied) == 5
        assert all(drive.steps.index(step) < retired for step in copied)


def test_what_hangs_on_an_old_group_is_read_no_more_once_it_is_given_up() -> None:
    with quick() as rig:
        drive = Drive(rig, begun(rig, 2))
        next(step for _, step in drive.ticks() if isinstance(step, Wait) and step.state == "hold")
        drive.observe()
        assert "DescribePolicies" in rig.account.sent
        AutoScaling(rig.account, REGION).update_sizes(OLD, min=0, max=0, desired=0)
        rig.account.sent.clear()
        drive.observe()
        assert "DescribePolicies" not in rig.account.sent


# After how many changes the update is left: those of a group with target groups and all that can hang on it.
CLAIMED, PINNED, GROWN, ATTACHED, CUT, DETACHED, CARRIED, ALARMED = 1, 5, 6, 7, 9, 10, 16, 17
LAST = {
    CLAIMED: "claim: create",
    PINNED: f"pin: set {OLD}",
    GROWN: "grow: grow",
    ATTACHED: "attach: attach",
    CUT: "cut: note",
    DETACHED: "cut: detach",
    CARRIED: "hold: copy",
    ALARMED: "retire: point alarm",
}


@pytest.mark.parametrize("after", LAST)
def test_a_rollback_restores_what_was_there(after: int) -> None:
    with quick() as rig:
        targets = targets_of(rig, balanced=True)
        made = begun(rig, 2, targets=targets)
        hung_on(rig)
        AutoScaling(rig.account, REGION).suspend_processes(OLD, ["AZRebalance"])
        before, since = standing(rig, alarmed=True), rig.clock.now()
        update = Drive(rig, made, targets)
        assert update.end(after) is None
        assert update.steps[-1].startswith(LAST[after])
        assert standing(rig, alarmed=True) != before
        rollback = Drive(rig, made, targets, Goal.ROLLBACK)
        assert rollback.end() == Done(rolled_back=True)
        rig.wait(60)
        assert standing(rig, alarmed=True) == before
        assert rig.world().low_water(GROUP, since) == 2


@pytest.mark.parametrize("after", [CLAIMED, GROWN, DETACHED, ALARMED + 1, ALARMED + 3, ALARMED + 7])
def test_another_process_goes_on_where_one_was_left(after: int) -> None:
    with quick() as rig:
        targets = targets_of(rig, balanced=True)
        made = begun(rig, 2, targets=targets)
        hung_on(rig)
        since = rig.clock.now()
        first = Drive(rig, made, targets)
        assert first.end(after) is None
        second = Drive(rig, made, targets, run_id="run-2")
        assert second.end() == Done()
        assert rig.world().low_water(GROUP, since) == 2
        (asg,) = AutoScaling(rig.account, REGION).groups()
        assert (asg.name, asg.tags["nodepkg:run"], asg.suspended) == (NEW, "run-1", frozenset())
        assert [version.number for version in LaunchTemplates(rig.account, REGION).versions(GROUP)] == [2]


def test_a_new_group_that_never_gets_ready_is_undone_with_the_reason() -> None:
    with quick() as rig:
        targets = targets_of(rig, balanced=True)
        made = begun(rig, 2, targets=targets)
        rig.world().sick(made.image, "impaired")
        before, since = standing(rig), rig.clock.now()
        drive = Drive(rig, made, targets)
        assert drive.end() == Done(rolled_back=True)
        assert any(f"({NEW} was not ready in time: 0 of 2 nodes ready; i-" in step for step in drive.steps)
        assert standing(rig) == before
        assert rig.world().low_water(GROUP, since) == 2


class Back(Drive):
    """Brings the last kept generation back."""

    def claim(self, seen: Observation) -> Change | None:
        view, old = seen.view, seen.view.old
        if self.goal is Goal.ROLLBACK or not (old and view.kept):
            return None
        record = Record("run-2", Phase.CLAIM, old.name, old.targets, old.suspended, self.targets, 1, from_kept=True)
        return TakeKept(REGION, view.kept[-1].name, record)


def test_an_old_group_is_kept_and_brought_back() -> None:
    with quick() as rig:
        targets = targets_of(rig, balanced=True)
        terms = replace(TERMS, keep_old=1)
        made = begun(rig, 2, targets=targets)
        AutoScaling(rig.account, REGION).suspend_processes(OLD, ["AZRebalance"])
        assert Drive(rig, made, targets, terms=terms).end() == Done()
        kept = AutoScaling(rig.account, REGION).group(OLD)
        assert kept
        assert (kept.min, kept.max, kept.desired, kept.tags["nodepkg:phase"]) == (0, 0, 0, "kept")
        assert [version.number for version in LaunchTemplates(rig.account, REGION).versions(GROUP)] == [1, 2]

        since = rig.clock.now()
        assert Back(rig, made, targets, terms=terms).end() == Done()
        rig.wait(30)
        (asg,) = AutoScaling(rig.account, REGION).groups()
        assert (asg.name, asg.desired, asg.tags["nodepkg:phase"]) == (OLD, 2, "serving")
        assert asg.suspended == {"AZRebalance"}
        assert rig.world().low_water(GROUP, since) == 2
        assert [version.number for version in LaunchTemplates(rig.account, REGION).versions(GROUP)] == [1]


@pytest.mark.parametrize("after", [1, 7, 12])
def test_bringing_a_kept_group_back_can_be_undone_and_done_again(after: int) -> None:
    with quick() as rig:
        targets = targets_of(rig, balanced=True)
        terms = replace(TERMS, keep_old=1)
        made = begun(rig, 2, targets=targets)
        hung_on(rig)
        assert Drive(rig, made, targets, terms=terms).end() == Done()
        before, since = standing(rig, alarmed=True), rig.clock.now()
        assert Back(rig, made, targets, terms=terms).end(after) is None
        assert Back(rig, made, targets, Goal.ROLLBACK, terms).end() == Done(rolled_back=True)
        after_all, scaling = standing(rig, alarmed=True), AutoScaling(rig.account, REGION)
        kept = scaling.group(OLD)
        assert kept
        assert (after_all.asgs[NEW], after_all.alarm) == (before.asgs[NEW], before.alarm)
        assert (kept.min, kept.max, kept.desired, kept.tags["nodepkg:phase"]) == (0, 0, 0, "kept")
        assert Back(rig, made, targets, terms=terms).end() == Done()
        assert [(asg.name, asg.desired) for asg in scaling.groups() if not asg.status] == [(OLD, 2)]
        assert rig.world().low_water(GROUP, since) == 2


def test_of_the_kept_generations_the_oldest_goes() -> None:
    with quick() as rig:
        made = begun(rig, 1)
        terms: Any = replace(TERMS, keep_old=1)
        for number in range(2):
            run = f"run-{number}"
            assert (
                Drive(rig, replace(made, data={**made.data, "KeyName": run}), terms=terms, run_id=run).end() == Done()
            )
        rig.wait(30)
        left = AutoScaling(rig.account, REGION).groups()
        assert [(asg.name, asg.tags["nodepkg:phase"]) for asg in left] == [(NEW, "kept"), (f"{GROUP}-v003", "serving")]
        assert [version.number for version in LaunchTemplates(rig.account, REGION).versions(GROUP)] == [2, 3]


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("goal", [Goal.UPDATE, Goal.ROLLBACK])
def test_reads_that_are_old_make_no_step_wrong(seed: int, goal: Goal) -> None:
    """No read is older than a window, and none is as old as another."""
    ages = random.Random(seed)
    with quick(stale(lambda _: ages.choice((0.0, 0.0, 2.0, 4.0))), remembers=10) as rig:
        targets = targets_of(rig, balanced=True)
        made = begun(rig, 2, targets=targets)
        hung_on(rig)
        rig.wait(10)
        before, since = standing(rig, alarmed=True), rig.clock.now()
        drive = Drive(rig, made, targets, poll=2)
        if goal is Goal.UPDATE:
            assert drive.end() == Done()
        else:
            assert drive.end(ages.choice((GROWN, CUT, DETACHED, CARRIED))) is None
            assert Drive(rig, made, targets, Goal.ROLLBACK, poll=2).end() == Done(rolled_back=True)
        rig.wait(60)
        assert rig.world().low_water(GROUP, since) == 2
        after = standing(rig, alarmed=True)
        if goal is Goal.ROLLBACK:
            assert after == before
        else:
            assert after.asgs == {NEW: (1, 4, frozenset(), tuple(targets))}
            assert after.versions == (2,)
