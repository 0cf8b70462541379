"""Two who operate on one group: one wins, and the other changes nothing."""

from typing import Any

import pytest

from nodepkg.autoscale.task import Result
from nodepkg.errors import ExitCode
from nodepkg.lease.claim import STALE_SECONDS
from tests.autoscale.ends import MortalAccount, mortal
from tests.autoscale.operators import Operator, Scene, claims, require_updated, scene, standing
from tests.fleets import Killed


class SleepyAccount(MortalAccount):
    """Of a process whose machine stands still while `slept` grows: only a reply tells it what time it is."""

    slept = unheard = 0.0

    def fall_asleep(self, seconds: float) -> None:
        self.slept += seconds
        self.unheard = seconds
        self._rig_clock.sleep(seconds)
        self.uptime = lambda: self._rig_clock.now() - self.slept

    def now(self) -> float:
        return super().now() - self.unheard

    def _came_back(self, event_name: str, **event: Any) -> None:
        super()._came_back(event_name, **event)
        self.unheard = 0.0


@pytest.mark.parametrize(
    "operation", ["CreateAutoScalingGroup", "DetachLoadBalancerTargetGroups", "PutNotificationConfiguration"]
)
def test_an_owner_that_wakes_up_after_it_was_taken_over_changes_nothing(operation: str) -> None:
    with scene() as here:
        rig = here.rig
        account = SleepyAccount(rig.endpoint, rig.clock, rig.direct)
        seconds, left = list[Result](), list[object]()

        def passes(_number: int, done: str, when: str) -> bool:
            if (done, when) == (operation, "after") and not seconds:
                account.fall_asleep(STALE_SECONDS + 1)
                seconds.append(Operator(here, "run-2", take_over=True).update())
                left.extend([account.changes, standing(here), claims(rig)])
            return True

        account.passes = passes
        first = Operator(here, account=account).update()
        assert seconds[0].result == "updated"
        assert first.result == "refused"
        assert first.error
        assert first.error.exit_code is ExitCode.REFUSED
        assert [account.changes, standing(here), claims(rig)] == left
        rig.wait(60)
        require_updated(here)
        assert here.low_water == 2


def test_whatever_the_time_of_day_no_scheduled_action_becomes_due_by_itself() -> None:
    with scene() as here:
        here.rig.wait(22 * 3600)
        assert standing(here) == here.before


def holding(here: Scene) -> Result | None:
    """Claims the group, and says nothing more; None: as its first change comes."""
    account = mortal(here)
    account.passes = lambda number, _, when: (number, when) != (1, "after")
    with pytest.raises(Killed):
        Operator(here, "run-2", account).update()
    return None


def test_of_two_at_the_same_moment_one_is_refused() -> None:
    with scene(balanced=False, size=1) as here:
        account = mortal(here)
        account.passes = lambda number, _, when: (number, when) != (1, "before") or holding(here) is None
        before = standing(here)
        result = Operator(here, account=account).update()
        assert result.result == "refused"
        assert result.error
        assert "is held by" in result.error.message
        assert account.changes == 1
        assert standing(here) == before
        (value,) = claims(here.rig).values()
        assert (value["run"], value["released"]) == ("run-2", False)


def test_who_holds_a_group_without_a_heartbeat_for_long_is_succeeded_only_when_it_is_said() -> None:
    with scene(balanced=False, size=1) as here:
        holding(here)
        here.rig.wait(STALE_SECONDS + 1)
        refused = Operator(here).update()
        assert refused.result == "refused"
        assert refused.error
        assert "--take-over" in refused.error.hint
        assert Operator(here, take_over=True).update().result == "updated"
        here.rig.wait(60)
        require_updated(here)
