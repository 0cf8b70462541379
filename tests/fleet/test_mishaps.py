"""Deploys while AWS answers badly: replies that are lost, throttled, refused or old, drawn by seed or one by one.

NODEPKG_SWEEP=NUMBER draws so many, all draws 300; by itself a few.
"""

import os
import random
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from werkzeug.wrappers import Response

from nodepkg.errors import RefusedError
from nodepkg.sandbox.calls import Call
from tests.autoscale.ends import READS, mortal
from tests.autoscale.test_mishaps import Badly, badly
from tests.faults import stale
from tests.faults.layers import Onward, layer
from tests.fleet.deploys import WINDOW
from tests.fleet.lasting import Scene, scene
from tests.fleets import Killed

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

SWEEP = os.environ.get("NODEPKG_SWEEP", "")
DEEP = SWEEP == "all"
HOW = [("lost", 1, False), ("throttled", 2, True), ("failed", 2, True)]
SEEDS = 300 if DEEP else int(SWEEP or 2)
KINDS = [(True, True, "ELB"), (True, True, "EC2"), (False, True, "ELB"), (False, False, "EC2")]


@dataclass
class Each:
    """Layer: the first tries of each action that is meant, `most` of them, go `how`."""

    how: str
    reads: bool = False
    most: int = 0
    tries: Counter[str] = field(default_factory=Counter)

    def __call__(self, app: "WSGIApplication") -> "WSGIApplication":
        return layer(self._answer)(app)

    def _answer(self, call: Call, onward: Onward) -> Response:
        if (call.action.startswith(READS) and not self.reads) or self.tries[call.action] >= self.most:
            return onward()
        self.tries[call.action] += 1
        return badly(self.how, call, onward)


@pytest.mark.parametrize("group", KINDS if DEEP else KINDS[:1])
@pytest.mark.parametrize(("how", "most", "reads"), HOW if DEEP else HOW[:2])
def test_no_reply_to_any_first_call_is_survived(
    tmp_path: Path, how: str, most: int, reads: bool, group: tuple[bool, bool, str]
) -> None:
    each = Each(how, reads)
    with scene(tmp_path, each, of=group) as here:
        each.most = most
        done = here.deploy()
        each.most = 0
        assert set(done.states().values()) == {"succeeded"}, here.told
        assert each.tries
        here.require_well()
        assert here.nodes.runs.keys() == set(here.members)


@dataclass
class Out:
    """Layer: these actions are refused from when it is `on`."""

    actions: tuple[str, ...]
    on: bool = False

    def __call__(self, app: "WSGIApplication") -> "WSGIApplication":
        return layer(self._answer)(app)

    def _answer(self, call: Call, onward: Onward) -> Response:
        if self.on and call.action in self.actions:
            return call.error("AccessDenied", "not any more", 403)
        return onward()


ACTIONS = ("RegisterTargets", "DeregisterTargets", "SuspendProcesses", "ResumeProcesses", "CreateTags", "DeleteTags")
LOOKS = ("DescribeInstances", "DescribeTargetHealth")


@pytest.mark.parametrize("action", [*ACTIONS, *LOOKS] if DEEP else ["RegisterTargets", "SuspendProcesses"])
def test_what_is_refused_for_good_is_put_right_by_the_next_deploy(tmp_path: Path, action: str) -> None:
    out = Out((action,))
    with scene(tmp_path, out) as here:

        def breaks(what: str) -> None:
            out.on = True

        here.on = breaks
        out.on = action not in LOOKS and action != "RegisterTargets"
        here.deploy()
        here.rig.wait(600)
        assert sorted(node.id for node in here.rig.world().nodes("bee-v001")) == here.members, here.told
        out.on = False
        here.on = lambda _: None
        done = here.retry()
        assert set(done.states().values()) <= {"succeeded"}, here.told
        here.require_well()


@pytest.mark.parametrize("seed", range(SEEDS))
def test_whatever_aws_answers_the_next_deploys_bring_all_to_its_end(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    bad = Badly(draw, draw.choice((0.0, 0.1, 0.3)))
    ages = draw.choice(((0.0,), (0.0, 2.0, WINDOW - 1), (WINDOW - 1,)))
    shown = stale(lambda _: 0.0 if bad.off else draw.choice(ages))
    with scene(tmp_path, bad, shown, of=draw.choice(KINDS), remembers=2 * WINDOW) as here:
        bad.off = False
        for _ in range(draw.choice((1, 2, 3))):
            attempt(here, draw)
        bad.off = True
        here.rig.wait(WINDOW)
        for _ in range(2):
            here.bury()
            done = here.retry()
        assert set(done.states().values()) <= {"succeeded"}, (bad.done, here.told)
        here.require_well()


def attempt(here: Scene, draw: random.Random) -> None:
    """A deploy, or --retry, that may be killed."""
    account = mortal(here)
    last = draw.randrange(1, 40)
    account.passes = lambda number, _operation, when: (number, when) != (last, "after")
    try:
        here.deploy(account) if draw.random() < 0.4 else here.retry(account)
    except RefusedError:
        pass
    except Killed:
        here.bury()
