"""What only puts in order what a rollout leaves: AWS may refuse it."""

import pytest

from nodepkg.autoscale.journal import Phase, Sizes, entered, kept_sizes
from nodepkg.autoscale.steps import Enter, Grow
from nodepkg.autoscale.view import Asg, Goal, Terms, View
from nodepkg.clients.aws.autoscaling import AutoScaling
from nodepkg.clients.aws.templates import LaunchTemplates
from tests.autoscale.losses import Losses
from tests.autoscale.operators import Operator, claims, require_updated, scene, standing
from tests.autoscale.rollouts import GROUP, NEW, OLD
from tests.cli.conftest import Refusing
from tests.faults import throttle
from tests.fleets import REGION


@pytest.mark.parametrize("denied", ["DeleteLaunchTemplateVersions", "ModifyLaunchTemplate"])
def test_what_aws_refuses_is_said_and_left_to_the_next_rollout(denied: str) -> None:
    refusing = Refusing()
    with scene(refusing, balanced=False, size=1) as here:
        refusing.actions = {denied}
        operator = Operator(here)
        result = operator.update()
        assert (result.result, result.error) == ("updated", None)
        assert [note for note in operator.told.notes if "left as it is" in note and "tries it again" in note]
        (asg,) = AutoScaling(here.rig.account, REGION).groups_named([NEW])
        assert asg.tags["nodepkg:phase"] == "serving"
        versions = LaunchTemplates(here.rig.account, REGION).versions(GROUP)
        assert 1 in [one.number for one in versions]
        assert [value["released"] for value in claims(here.rig).values()] == [True]
        refusing.actions = set()
        assert Operator(here, "run-2").update(force=True).result == "updated"
        ((number, is_default),) = standing(here).versions
        assert (number, is_default) == (versions[-1].number, True)


def test_what_is_throttled_without_end_is_left_as_well() -> None:
    with scene(throttle("DeleteLaunchTemplateVersions"), balanced=False, size=1) as here:
        result = Operator(here).update()
        assert (result.result, result.error) == ("updated", None)


def test_a_reply_that_is_lost_when_the_group_is_made_makes_no_second_one() -> None:
    losses = Losses()
    with scene(losses) as here:
        losses.actions = {"CreateAutoScalingGroup", "CreateLaunchTemplateVersion", "PutParameter"}
        assert Operator(here).update().result == "updated"
        here.rig.wait(60)
        require_updated(here)
        assert here.low_water == 2


def test_a_group_that_was_stopped_by_halves_is_refused() -> None:
    with scene(balanced=False, size=1) as here:
        AutoScaling(here.rig.account, REGION).create_or_update_tags(OLD, kept_sizes(Sizes(1, 4, 1)))
        result = Operator(here).update()
        assert result.result == "refused"
        assert result.error
        assert "autoscale:start" in result.error.hint
        assert "autoscale:stop" in result.error.hint


def view(tags: dict[str, str]) -> View:
    return View(Goal.UPDATE, Terms(), None, Asg(NEW, 2, 4, 2, tags=tags))


def test_a_phase_shows_with_its_moment_and_a_size_with_its_deadline() -> None:
    again = Enter(REGION, NEW, Phase.HOLD, 200.0)
    assert again.shows_in(view(entered(Phase.HOLD, 200.0)))
    assert not again.shows_in(view(entered(Phase.HOLD, 100.0)))
    assert not again.shows_in(view(entered(Phase.CUT, 200.0)))
    grown = Grow(REGION, NEW, 2, 4, 900.0)
    assert grown.shows_in(view({"nodepkg:deadline": "900.000"}))
    assert not grown.shows_in(view({"nodepkg:deadline": "300.000"}))
    assert not grown.shows_in(view({}))
