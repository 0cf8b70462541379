"""A world without AWS: groups as plain values on a virtual clock, for models and for many hosts."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nodepkg.fleet.course import Order, Terms
from nodepkg.fleet.deploy import Runner
from nodepkg.fleet.drain import Change, Forget, Leave, Return
from nodepkg.fleet.host import Host
from nodepkg.fleet.record import Part, Plan, Record
from nodepkg.fleet.sight import Node, Sight
from nodepkg.images.interrupts import Interrupts
from nodepkg.pace import Pace, Share
from tests.fleet.deploys import Heard, jobs_of
from tests.fleet.hosts import Behaviour, Hosts

WEB = "arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/web/0123456789abcdef"


@dataclass
class Sky:
    """The World. `sick` nodes are not healthy, `gone` are no more; with `behind` each node is in the target group WEB.

    A node that leaves it is out after `drain` seconds, one that comes back healthy after `warm`.
    """

    hosts: Mapping[str, str]
    behind: bool = False
    drain: float = 60.0
    warm: float = 20.0
    sick: set[str] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)
    time: float = 0.0
    looks: int = 0
    watches: Callable[[], None] = lambda: None
    fails: Callable[[str], None] = lambda what: None
    _left: dict[str, float] = field(default_factory=dict)
    _back: dict[str, float] = field(default_factory=dict)

    def now(self) -> float:
        return self.time

    def epoch(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds
        self.watches()

    def beat(self, state: str) -> None:
        self.fails("beat")

    def look(self, groups: Collection[str]) -> Mapping[str, Sight]:
        self.fails("look")
        self.looks += 1
        return {
            group: Sight(
                {name: self._node(name) for name, of in self.hosts.items() if of == group and name not in self.gone},
                departed=dict.fromkeys(
                    (name for name, of in self.hosts.items() if of == group and name in self.gone), "terminated"
                ),
            )
            for group in groups
        }

    def change(self, group: str, change: Change) -> None:
        self.fails(type(change).__name__)
        match change:
            case Leave():
                self._left |= dict.fromkeys(change.instances, self.time)
                for name in change.instances:
                    self._back.pop(name, None)
            case Return():
                for name in change.instances:
                    self._left.pop(name, None)
                    self._back[name] = self.time
            case Forget():
                pass
        self.watches()

    def target(self, name: str) -> str:
        """The state of a node in the target group."""
        if name in self._left:
            return "draining" if self.time < self._left[name] + self.drain else ""
        if self.time < self._back.get(name, float("-inf")) + self.warm:
            return "initial"
        return "unhealthy" if name in self.sick else "healthy"

    def serving(self, group: str) -> int:
        """How many nodes of a group are healthy."""
        here = [name for name, of in self.hosts.items() if of == group and name not in self.gone]
        return sum(name not in self.sick and (not self.behind or self.target(name) == "healthy") for name in here)

    def _node(self, name: str) -> Node:
        why = "status checks impaired" if name in self.sick and not self.behind else ""
        return Node(name, why, {WEB: self.target(name)} if self.behind else {})


def run(
    sky: Sky,
    folder: Path,
    pace: Pace,
    terms: Mapping[str, Terms] | None = None,
    *,
    behaves: Callable[[str, int], Behaviour] = lambda name, n: Behaviour(),
    watches: Callable[[str, str], None] = lambda what, name: None,
    interrupts: Interrupts | None = None,
    heard: Heard | None = None,
    **order: Any,
) -> tuple[Runner, Hosts]:
    """A deploy to all hosts of a sky, to its end."""
    hosts = [Host(name, group, "us-east-1", "us-east-1a", name, "", "10.0.0.1") for name, group in sky.hosts.items()]
    transport = Hosts(sky.now, sky.sleep, behaves, watches)
    groups = list(dict.fromkeys(sky.hosts.values()))
    terms = terms or dict.fromkeys(groups, Terms(Share(90, percent=True)))
    parts = tuple(Part(group, "us-east-1", "d" * 64, "/opt/x", "true", "root") for group in groups)
    record = Record(folder, Plan("20260101T000000-000000", "instance:deploy", 0.0, parts, tuple(hosts)))
    record.begin()
    wanted = Order(tuple(jobs_of(hosts)), terms, pace, **order)
    runner = Runner(
        sky, transport, wanted, record=record, watcher=heard or Heard(), interrupts=interrupts or Interrupts(sky.now)
    )
    runner.run()
    record.close()
    return runner, transport
