"""Whole rollouts on the rig."""

import pytest

from tests.autoscale.rollouts import GROUP, OLD, Drive, begun, done
from tests.fleets import fleet


@pytest.mark.parametrize("balanced", [True, False])
def test_a_group_is_replaced_and_never_serves_with_less(*, balanced: bool) -> None:
    with fleet() as rig:
        targets = frozenset({rig.world().target_group("web")} if balanced else set[str]())
        drive = Drive(rig, begun(rig, 2, targets=targets), targets)
        since = rig.clock.now()
        step = drive.end()
        assert done(step)
        rig.wait(60)
        assert rig.world().group(OLD) is None
        assert rig.world().low_water(GROUP, since) == 2
