"""Rollouts by the real runner while AWS answers badly, nodes die, and processes are killed: drawn by seed.

NODEPKG_SWEEP=NUMBER draws so many, all draws 500; by itself a few.
"""

import os
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from werkzeug.wrappers import Response

from nodepkg.clients.aws.autoscaling import AutoScaling
from nodepkg.errors import RefusedError
from nodepkg.sandbox.calls import Call
from tests.autoscale.ends import READS, mortal
from tests.autoscale.operators import WINDOW, Operator, Scene, bury, require_no_claim, require_updated, scene, standing
from tests.autoscale.rollouts import GROUP, NEW, OLD
from tests.autoscale.test_runner import Told
from tests.faults import stale
from tests.faults.layers import Onward, layer
from tests.fleets import REGION, Killed

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

SWEEP = os.environ.get("NODEPKG_SWEEP", "")
HOW = ("lost", "throttled", "failed")
SEEDS = 500 if SWEEP == "all" else int(SWEEP or 12)


@dataclass
class Badly:
    """Layer: answers badly to changing calls, as often as is drawn. `off` at first, and at the end."""

    draw: random.Random
    often: float
    off: bool = True
    done: list[str] = field(default_factory=list)

    def __call__(self, app: "WSGIApplication") -> "WSGIApplication":
        return layer(self._answer)(app)

    def _answer(self, call: Call, onward: Onward) -> Response:
        if self.off or call.action.startswith(READS) or self.draw.random() > self.often:
            return onward()
        how = self.draw.choice(HOW)
        self.done.append(f"{how} {call.action}")
        return badly(how, call, onward)


@dataclass
class EachAtFirst:
    """Layer: the first tries of each changing action, `most` of them, go `how`. Not those of the lease."""

    how: str = ""
    most: int = 0
    tries: Counter[str] = field(default_factory=Counter)

    def __call__(self, app: "WSGIApplication") -> "WSGIApplication":
        return layer(self._answer)(app)

    def _answer(self, call: Call, onward: Onward) -> Response:
        if call.service == "ssm" or call.action.startswith(READS) or self.tries[call.action] >= self.most:
            return onward()
        self.tries[call.action] += 1
        return badly(self.how, call, onward)


def badly(how: str, call: Call, onward: Onward) -> Response:
    if how == "lost":
        onward()
    if how == "throttled" and call.service == "ec2":
        return call.error("RequestLimitExceeded", "slowly", 503)
    if how == "throttled":
        return call.error("ThrottlingException" if call.speaks_json else "Throttling", "Rate exceeded", 400)
    return call.error("InternalError", "nobody knows", 500)


@dataclass
class Weather(Told):
    """What happens to the nodes between two looks. `least` is the capacity that AWS itself has left."""

    here: Scene | None = None
    draw: random.Random = field(default_factory=random.Random)
    left: int = 2
    told: list[str] = field(default_factory=list)

    def tick(self, waiting: int) -> None:
        super().tick(waiting)
        if self.here is None or not self.left or self.draw.random() > 0.04:
            return
        self.left -= 1
        world = self.here.rig.world()
        name = self.draw.choice((OLD, NEW))
        nodes = [node for node in world.nodes(name) if node.lifecycle == "InService"]
        if not nodes:
            return
        match self.draw.choice(("up", "up", "kill")):
            case "kill":
                world.kill(self.draw.choice(nodes).id)
                self.told.append(f"a node of {name} died")
            case "up":
                self.told.append(f"{name} scaled: {world.scale(name, 1)}")


def calmed(here: Scene, weather: Weather, bad: Badly) -> None:
    """From now on all is well; whoever goes on brings it to its end."""
    bad.off, weather.left = True, 0
    bury(here.rig)
    here.rig.wait(WINDOW)
    for number in range(4):
        if Operator(here, f"last-{number}").update().result == "up to date":
            break
    here.rig.wait(60)


# The SDK makes 10 tries of a call, and fewer when it has made many in vain.
@pytest.mark.parametrize(("how", "most"), [("lost", 10), ("throttled", 10), ("failed", 7)])
def test_no_reply_to_any_first_change_is_waited_for(how: str, most: int) -> None:
    each = EachAtFirst(how)
    with scene(each) as here:
        each.most = most
        result = Operator(here).update()
        assert result.result == "updated", result
        assert len(each.tries) > 10
        each.most = 0
        here.rig.wait(60)
        require_updated(here)
        assert here.low_water == 2


@pytest.mark.parametrize("seed", range(SEEDS))
def test_no_weather_takes_what_served_or_leaves_anything_behind(seed: int) -> None:
    draw = random.Random(seed)
    bad = Badly(draw, draw.choice((0.0, 0.1, 0.3)))
    ages = draw.choice(((0.0,), (0.0, 0.0, 2.0, WINDOW - 1)))
    shown = stale(lambda _: 0.0 if bad.off else draw.choice(ages))
    size, balanced = draw.choice((1, 2, 3)), draw.random() < 0.6
    with scene(bad, shown, size=size, balanced=balanced, remembers=2 * WINDOW) as here:
        weather = Weather(here=here, draw=draw, left=draw.choice((0, 1, 2)))
        bad.off = False
        for number in range(draw.choice((1, 2, 3))):
            account = mortal(here)
            last = draw.randrange(1, 45)
            account.passes = lambda count, _operation, when, last=last: (count, when) != (last, "after")  # type: ignore[misc]
            operator = Operator(here, f"run-{number}", account, weather)
            try:
                operator.rollback() if draw.random() < 0.3 else operator.update()
            except RefusedError:
                pass
            except Killed:
                bury(here.rig)
        calmed(here, weather, bad)
        told = f"{bad.done} {weather.told}"
        now = standing(here)
        ((name, (least, most, desired, suspended, targets, _)),) = now.asgs.items()
        assert (least, most, suspended, targets) == (1, 4, frozenset(), here.targets), told
        assert desired >= size, told
        assert len(now.versions) == 1, told
        assert here.before, told
        assert now.foreign == here.before.foreign, told
        assert now.hung[name] == here.before.hung[OLD], told
        (asg,) = AutoScaling(here.rig.account, REGION).groups_named([name])
        assert (asg.tags["nodepkg:phase"], asg.tags["group"]) == ("serving", GROUP), told
        require_no_claim(here.rig)
        died = sum("died" in one for one in weather.told)
        assert here.low_water >= size - died, told
