"""A process that is killed at any of its requests leaves nothing that the next command does not finish, or undo.

NODEPKG_SWEEP=all tries each point with both commands, before and after; else each is tried once.
"""

import os
from collections.abc import Callable

import pytest

from nodepkg.clients.aws.autoscaling import AutoScaling
from nodepkg.errors import RefusedError
from tests.autoscale.ends import each_end, mortal
from tests.autoscale.operators import Operator, Scene, bury, require_restored, require_updated, scene
from tests.autoscale.rollouts import NEW, OLD
from tests.fleets import REGION, FleetAccount, Killed

DEEP = os.environ.get("NODEPKG_SWEEP") == "all"
PARTS = 4


def finish(here: Scene) -> None:
    """Somebody goes on with the update."""
    bury(here.rig)
    result = Operator(here, "run-2").update()
    assert result.result in ("updated", "up to date"), result
    here.rig.wait(60)
    require_updated(here)
    assert here.low_water == here.size


def undo(here: Scene) -> None:
    """Somebody rolls back, as long as the old group has its nodes; the update is finished after that."""
    bury(here.rig)
    old = here.rig.world().group(OLD)
    back = old is not None and old.desired > 0
    begun = here.rig.world().group(NEW) is not None
    try:
        result = Operator(here, "run-2").rollback()
        assert not back or result.result == ("rolled back" if begun else "up to date"), result
    except RefusedError:
        assert not (back and begun)
    if not back:
        assert Operator(here, "run-3").update().result in ("updated", "up to date")
    here.rig.wait(60)
    (require_restored if back else require_updated)(here)
    assert here.low_water == here.size


def roll_back(here: Scene) -> None:
    """Somebody asks what became of a rollback."""
    bury(here.rig)
    try:
        Operator(here, "run-3").rollback()
    except RefusedError:
        assert here.rig.world().group(NEW) is None
    here.rig.wait(60)
    require_restored(here)
    assert here.low_water == here.size


def update_again(here: Scene) -> None:
    """Somebody updates: what is recorded as a rollback stays one."""
    bury(here.rig)
    new = AutoScaling(here.rig.account, REGION).group(NEW)
    recorded = new is not None and new.tags["nodepkg:phase"] == "rollback"
    if not recorded:
        finish(here)
        return
    result = Operator(here, "run-3").update()
    assert (result.result, bool(result.error)) == ("rolled back", True), result
    here.rig.wait(60)
    require_restored(here)
    assert here.low_water == here.size


def swept(
    here: Scene, first: Callable[[FleetAccount], object], then: Callable[[Scene], None], part: int, *, turn: int = 0
) -> int:
    """How many points were tried; asserts that nothing went wrong."""

    def chosen(number: int, _: str, when: str) -> bool:
        alone = when == "after" and number % 2 == turn
        return (number // 2) % PARTS == part and (DEEP or alone)

    ends = each_end(here, first, lambda: then(here), chosen)
    assert not ends.wrong
    return len(ends.outcomes)


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize(("turn", "then"), [(0, finish), (1, undo)])
def test_an_update_killed_at_any_request_is_finished_or_undone(
    turn: int, then: Callable[[Scene], None], part: int
) -> None:
    with scene() as here:
        assert swept(here, lambda account: Operator(here, account=account).update(), then, part, turn=turn) > 0


@pytest.mark.parametrize("part", range(PARTS) if DEEP else [0, 2])
@pytest.mark.parametrize(("turn", "then"), [(0, undo), (1, finish)])
def test_an_update_without_target_groups_that_is_killed_is_finished_or_undone(
    turn: int, then: Callable[[Scene], None], part: int
) -> None:
    with scene(balanced=False, size=1) as here:
        assert swept(here, lambda account: Operator(here, account=account).update(), then, part, turn=turn) > 0


def killed_in_hold(here: Scene) -> None:
    """The old group is cut off, and the new one has what hung on it."""
    account = mortal(here)
    account.passes = lambda _, operation, when: (operation, when) != ("PutNotificationConfiguration", "after")
    with pytest.raises(Killed):
        Operator(here, account=account).update()
    bury(here.rig)
    (old,) = AutoScaling(here.rig.account, REGION).groups_named([OLD])
    assert old.target_groups == ()


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize(("turn", "then"), [(0, roll_back), (1, update_again)])
def test_a_rollback_killed_at_any_request_is_finished(turn: int, then: Callable[[Scene], None], part: int) -> None:
    with scene() as here:
        killed_in_hold(here)
        tried = swept(here, lambda account: Operator(here, "run-2", account).rollback(), then, part, turn=turn)
        assert tried > 0


@pytest.mark.parametrize("part", range(PARTS) if DEEP else [1])
def test_an_update_that_fails_and_is_killed_while_it_undoes_is_undone(part: int) -> None:
    with scene() as here:
        here.rig.world().sick(here.launch.image, "impaired")
        assert swept(here, lambda account: Operator(here, account=account).update(), roll_back, part) > 0
