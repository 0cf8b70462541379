"""autoscale:update as a process of its own, in real time: it is killed or interrupted, and another one goes on."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from werkzeug.wrappers import Response

from nodepkg.clients.aws.autoscaling import AutoScaling
from nodepkg.clients.aws.templates import LaunchTemplates
from nodepkg.lease.claim import holders
from nodepkg.sandbox.calls import Call
from nodepkg.sandbox.realistic import RealClock
from tests.e2e.program import CLEAN, Program
from tests.faults.layers import Onward, layer
from tests.fleets import REGION, STOCK_IMAGE, Rig, fleet
from tests.projects import make_project

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

SOON = 0.1  # seconds, of whatever takes time in AWS


@dataclass
class Ending:
    """Layer: the process `pid` gets the signal at the first call of this action, which is carried out before."""

    action: str = ""
    number: signal.Signals = signal.SIGKILL
    pid: int = 0
    sent: list[str] = field(default_factory=list)

    def __call__(self, app: "WSGIApplication") -> "WSGIApplication":
        return layer(self._answer)(app)

    def _answer(self, call: Call, onward: Onward) -> Response:
        reply = onward()
        if call.action == self.action and not self.sent and self.pid:
            self.sent.append(call.action)
            os.kill(self.pid, self.number)
        return reply


@dataclass
class Place:
    rig: Rig
    program: Program
    image: str

    def update(self, ending: Ending) -> tuple[int, str]:
        """The exit code, and what was said, of a process that ends so."""
        command = [*self.program.command, "autoscale:update", "bee", "--image", self.image, "--poll", "0.1"]
        with subprocess.Popen(
            command, cwd=self.program.folder, env=self.program.environ, stderr=subprocess.PIPE, text=True
        ) as running:
            ending.pid = running.pid
            _, told = running.communicate(timeout=120)
        return running.returncode, told


@contextmanager
def place(folder: Path, ending: Ending) -> Iterator[Place]:
    """A group serves with two nodes, and has a newer image."""
    with fleet(
        ending,
        clock=RealClock(),
        pending=SOON,
        checks=SOON,
        healthy=SOON,
        drain=SOON,
        termination=SOON,
        notice=SOON,
        retry=SOON,
        delete=SOON,
    ) as rig:
        rig.world().target_group("web")
        autoscale = {"node_min": 2, "node_max": 4, "bake_time": 0, "timeout": 0, "target_groups": ["web"]}
        make_project(
            folder,
            {
                "bee": {
                    "run_list": ["recipe[x]"],
                    "source_ami": STOCK_IMAGE,
                    "instance_type": "m1.large",
                    "autoscale": autoscale,
                }
            },
        )
        environ = {
            **CLEAN,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_ENDPOINT_URL": rig.endpoint,
            "NODEPKG_CONSISTENCY_SECONDS": "0.2",
        }
        program = Program(folder, environ, (sys.executable, "-m", "nodepkg"))
        program("autoscale:run", "bee", "--image", rig.world().image("bee", "bee 1"), "--poll", "0.1")
        yield Place(rig, program, rig.world().image("bee", "bee 2"))


def require_replaced(here: Place, since: float) -> None:
    account = here.rig.account
    here.rig.wait(0.5)
    (asg,) = AutoScaling(account, REGION).groups()
    assert (asg.name, asg.min, asg.max, asg.desired, asg.suspended) == ("bee-v002", 2, 4, 2, frozenset())
    assert asg.tags["nodepkg:phase"] == "serving"
    assert [one.number for one in LaunchTemplates(account, REGION).versions("bee")] == [2]
    assert holders(account, REGION, ["bee"]) == {}
    assert here.rig.world().low_water("bee", since) == 2


@pytest.mark.parametrize(
    "action", ["CreateAutoScalingGroup", "DetachLoadBalancerTargetGroups", "DeleteAutoScalingGroup"]
)
def test_another_process_finishes_what_a_killed_one_has_begun(tmp_path: Path, action: str) -> None:
    ending = Ending(action)
    with place(tmp_path, ending) as here:
        since = here.rig.clock.now()
        assert here.update(ending)[0] == -signal.SIGKILL
        again = here.program.run(("autoscale:update", "bee", "--image", here.image, "--poll", "0.1"), {})
        assert again.returncode == 0, again.stderr
        require_replaced(here, since)


@pytest.mark.parametrize(
    ("number", "action"),
    [(signal.SIGINT, "UpdateAutoScalingGroup"), (signal.SIGTERM, "AttachLoadBalancerTargetGroups")],
)
def test_an_interrupted_process_says_how_to_go_on(tmp_path: Path, number: signal.Signals, action: str) -> None:
    ending = Ending(action, number)
    with place(tmp_path, ending) as here:
        since = here.rig.clock.now()
        code, told = here.update(ending)
        assert code == 130, told
        assert "package autoscale:update bee; to undo it: package autoscale:rollback bee" in told
        assert holders(here.rig.account, REGION, ["bee"]) == {}
        here.program("autoscale:update", "bee", "--image", here.image, "--poll", "0.1")
        require_replaced(here, since)


def test_a_killed_process_is_undone_by_a_rollback(tmp_path: Path) -> None:
    ending = Ending("DetachLoadBalancerTargetGroups")
    with place(tmp_path, ending) as here:
        since = here.rig.clock.now()
        (before,) = AutoScaling(here.rig.account, REGION).groups()
        assert here.update(ending)[0] == -signal.SIGKILL
        here.program("autoscale:rollback", "bee", "--yes", "--poll", "0.1")
        here.rig.wait(0.5)
        (after,) = AutoScaling(here.rig.account, REGION).groups()
        assert (after.name, after.min, after.max, after.suspended) == ("bee-v001", 2, 4, before.suspended)
        assert after.target_groups == before.target_groups
        assert [one.number for one in LaunchTemplates(here.rig.account, REGION).versions("bee")] == [1]
        assert holders(here.rig.account, REGION, ["bee"]) == {}
        assert here.rig.world().low_water("bee", since) == 2
