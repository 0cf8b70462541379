"""Groups on a realistic AWS of this machine that are started and rolled out, and what it counts meanwhile.

For virtual.py and realtime.py, which are processes of their own; the first is given the layer by the rig of the tests.
"""

import json
import sys
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.fleets import REGION, STOCK_IMAGE, Rig
from tests.worlds import World

from nodepkg.autoscale.run import Choice, plan_run
from nodepkg.nodes.load import Nodes
from nodepkg.nodes.source import Source
from nodepkg.sandbox import moto_seed
from nodepkg.sandbox.calls import read
from nodepkg.sandbox.needs import needs
from nodepkg.sandbox.realistic import Clock

READING = ("Describe", "Get", "List")


@dataclass(frozen=True)
class Came:
    """A call, at a moment of the rig's clock. `kind`: the lease's (Systems Manager), a read, or a change."""

    at: float
    service: str
    action: str

    @property
    def kind(self) -> str:
        return "lease" if self.service == "ssm" else "read" if self.action.startswith(READING) else "change"


class Counting:
    """Layer that notes every call."""

    def __init__(self, clock: Clock) -> None:
        self.came: list[Came] = []
        self._clock, self._lock = clock, threading.Lock()

    def __call__(self, app: Any) -> Any:
        def answer(environ: Any, start_response: Any) -> Any:
            call = read(environ)
            with self._lock:
                self.came.append(Came(self._clock.now(), call.service, call.action))
            return app(environ, start_response)

        return answer


def by_kind(came: Sequence[Came]) -> dict[str, int]:
    return dict(Counter(one.kind for one in came))


def by_action(came: Sequence[Came]) -> dict[str, int]:
    return {f"{service} {action}": n for (service, action), n in Counter((c.service, c.action) for c in came).items()}


def nodes_of(folder: Path, names: Sequence[str], autoscale: Mapping[str, Any], targets: Mapping[str, str]) -> Nodes:
    """A project of these groups, each in its target group, if it has one."""
    base = {"region": REGION, "source_ami": STOCK_IMAGE, "instance_type": "m1.large"}
    entries = {
        name: {
            "run_list": ["recipe[base]"],
            "autoscale": {**autoscale, "target_groups": [targets[name]] if name in targets else []},
        }
        for name in names
    }
    document = {"__base__": base, **entries}
    place = folder / "nodes.json"
    place.write_text(json.dumps(document), encoding="utf-8")
    return Nodes(Source(place, place.read_text("utf-8"), document))


def started(rig: Rig, nodes: Nodes, names: Sequence[str], seconds: float) -> None:
    """Each group serves, of its first image, and has a second one; `seconds` is how long that takes."""
    groups = nodes.groups(names)
    moto_seed.apply(needs(groups))
    images = World(REGION)
    for name in names:
        images.image(f"{name} 1", name, age=timedelta(days=1))
    for action in plan_run(rig.account, nodes, groups, Choice(stale_ok=True), run_id="bench").plan:
        action.run(rig.account)
    rig.wait(seconds)
    for name in names:
        images.image(f"{name} 2", name)
