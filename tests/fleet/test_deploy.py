"""Deploys of groups on a virtual clock: who starts when, what becomes of each host, what is left in AWS."""

from pathlib import Path

from nodepkg.fleet.transport import Result
from nodepkg.pace import Pace
from tests.fleet.deploys import begun, deployed, groups
from tests.fleet.hosts import Behaviour
from tests.fleets import fleet


def test_every_node_is_converged_at_most_so_many_at_a_time(tmp_path: Path) -> None:
    with fleet(direct=True) as rig:
        nodes = begun(rig, 7)
        done = deployed(rig, tmp_path, groups(tmp_path, bee={}), Pace(3, max_errors=0))
        assert done.states() == dict.fromkeys(nodes, "succeeded")
        assert done.transport.most == 3
        assert sorted(done.transport.started()) == nodes
        assert done.transport.closed


def test_the_first_failure_starts_nobody_else_and_lets_the_running_finish(tmp_path: Path) -> None:
    with fleet(direct=True) as rig:
        nodes = begun(rig, 6)
        fails = nodes[1]

        def behaves(name: str, _: int) -> Behaviour:
            return Behaviour(10, Result.FAILED, 1, output=b"boom\n") if name == fails else Behaviour(60)

        done = deployed(rig, tmp_path, groups(tmp_path, bee={}), Pace(3, max_errors=0), behaves=behaves)
        states = done.states()
        assert states[fails] == "failed"
        assert sorted(states.values()) == [
            "failed",
            "not started",
            "not started",
            "not started",
            "succeeded",
            "succeeded",
        ]
        assert len(done.transport.started()) == 3
        assert done.record.last_lines(fails, 5) == ["boom"]
