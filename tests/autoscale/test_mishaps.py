"""Rollouts by the real runner while AWS answers badly, nodes die, and processes are killed: drawn by seed.

NODEPKG_SWEEP=NUMBER draws so many, all draws 500; by itself a few.
"""

import os
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from werkzeug.wrappers import Response

from nodepkg.clients.aws.autoscaling import AutoScaling
from nodepkg.errors import RefusedError
from nodepkg.sandbox.calls import Call
from tests.autoscale.ends import READS, mortal
from tests.autoscale.operators import WINDOW, Operator, Scene, bury, require_no_claim, scene, standing
from tests.autoscale.rollouts import GROUP, NEW, OLD
from tests.autoscale.test_runner import Told
from tests.faults import stale
from tests.faults.layers import Onward, layer
from tests.fleets import REGION, Killed

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

SWEEP = os.environ.get("NODEPKG_SWEEP", "")
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
        how = self.draw.choice(("lost", "throttled", "failed"))
        self.done.append(f"{how} {call.action}")
        if how == "lost":
            onward()
        if how == "throttled":
            return call.error("RequestLimitExceeded", "slowly", 503) if call.service == "ec2" else _too_many(call)
        return call.error("InternalError", "nobody knows", 500)


def _too_many(call: Call) -> Response:
    return call.error("ThrottlingException" if call.speaks_json else "Throttling", "Rate exceeded", 400)


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
