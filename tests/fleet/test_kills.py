"""A deploy that is killed at any of its changes: --retry, or the next deploy, finishes it and puts all in order.

NODEPKG_SWEEP=all tries each point in each kind of group; else some are tried.
"""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.autoscale.ends import each_end
from tests.fleet.lasting import Scene, scene

DEEP = os.environ.get("NODEPKG_SWEEP") == "all"
SOME = 24
KINDS = [(True, True, "ELB"), (True, True, "EC2"), (False, True, "ELB"), (True, False, "EC2"), (False, False, "EC2")]


def go_on(here: Scene) -> None:
    """--retry."""
    here.moved()
    here.bury()
    here.rig.wait(1)
    done = here.retry()
    assert set(done.states().values()) <= {"succeeded"}, here.told
    here.require_well()
    assert set(here.nodes.runs) == set(here.members)


def begin_anew(here: Scene) -> None:
    """Somebody deploys to one node of the group only, after the first one's converges have ended."""
    here.moved()
    here.bury()
    here.rig.wait(60)
    done = here.deploy(of=1)
    assert set(done.states().values()) == {"succeeded"}, here.told
    here.require_well()


@pytest.mark.parametrize("then", [go_on, begin_anew])
@pytest.mark.parametrize("group", KINDS if DEEP else KINDS[:1])
def test_a_deploy_that_is_killed_at_any_change_is_finished(
    tmp_path: Path, group: tuple[bool, bool, str], then: Callable[[Scene], None]
) -> None:
    with scene(tmp_path, of=group) as here:

        def chosen(number: int, _: str, when: str) -> bool:
            return DEEP or (2 * number + (when == "after")) % SOME == (then is go_on)

        ends = each_end(here, here.deploy, lambda: then(here), chosen)
        here.require_well()
        assert not ends.wrong
        assert len(ends.outcomes) > 1
