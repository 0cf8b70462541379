"""Updates on a virtual clock, by the loop of autoscale:update: how long they take, and what they ask of AWS.

python bench/virtual.py overhead RUNS | calls GROUPS AT_ONCE none|shared|own LATENCY: prints one JSON document.
"""

import json
import logging
import random
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import rolling
from rolling import Counting
from tests.fleets import Rig, fleet

from nodepkg.asked import web_of
from nodepkg.autoscale.observe import Observation, Subject
from nodepkg.autoscale.prospect import look_ahead
from nodepkg.autoscale.run import Choice
from nodepkg.autoscale.runner import Runner
from nodepkg.autoscale.task import Order, Standing
from nodepkg.autoscale.update import wishes
from nodepkg.autoscale.world import AwsWorld
from nodepkg.images.interrupts import Interrupts
from nodepkg.nodes.load import Nodes
from nodepkg.sandbox.realistic import Clock, VirtualClock
from nodepkg.sandbox.throttling import latency

POLL, WINDOW = 5.0, 10.0


@dataclass
class States:
    """A watcher that notes when each group came to each state."""

    clock: Clock
    entered: dict[str, list[tuple[str, float]]] = field(default_factory=dict)

    def began(self, group: str) -> None:
        self.entered[group] = [("claim", self.clock.now())]

    def stands(self, standing: Standing) -> None:
        if self.entered[standing.group][-1][0] != standing.state:
            self.entered[standing.group].append((standing.state, self.clock.now()))

    def ended(self, group: str, _result: str, _told: str) -> None:
        self.entered[group].append(("", self.clock.now()))

    def did(self, group: str, change: str) -> None: ...
    def note(self, text: str) -> None: ...
    def warning(self, text: str) -> None: ...
    def tick(self, waiting: int) -> None: ...

    def seconds(self, group: str) -> dict[str, float]:
        """How long it was in each state."""
        took: dict[str, float] = {}
        for (state, since), (_, until) in zip(self.entered[group], self.entered[group][1:], strict=False):
            took[state] = took.get(state, 0) + until - since
        return took


@dataclass(frozen=True)
class Looks(AwsWorld):
    """AWS as the runner knows it, with what each look at it cost: (groups, calls by action)."""

    counting: Counting | None = None
    looks: list[tuple[int, Counter[str]]] = field(default_factory=list)

    def observe(self, subjects: Sequence[Subject]) -> Mapping[str, Observation]:
        assert self.counting
        before = len(self.counting.came)
        seen = super().observe(subjects)
        self.looks.append((len(subjects), Counter(one.action for one in self.counting.came[before:])))
        return seen


@dataclass(frozen=True)
class Rollout:
    """`seconds` from the first call of the command to the end of the last group."""

    seconds: float
    states: States
    world: Looks
    came: Sequence[rolling.Came]
    results: Mapping[str, str]
    least: Mapping[str, int]


def update(rig: Rig, counting: Counting, nodes: Nodes, names: Sequence[str], at_once: int) -> Rollout:
    """What the command does, without its output."""
    begin, before = rig.clock.now(), len(counting.came)
    account, web, states = rig.account, web_of(rig.account), States(rig.clock)
    wanted = wishes(account, nodes, nodes.groups(names), Choice(stale_ok=True), run="bench-2", force=False)
    found = look_ahead(account, [wish.task(WINDOW) for wish in wanted.values()], web)
    assert not any(one.error for one in found), [one.error for one in found if one.error]
    world = Looks(account, "autoscale:update", WINDOW, web, sleep=rig.clock.sleep, counting=counting)
    runner = Runner(world, Order([one.task for one in found], at_once=at_once, poll=POLL), states, Interrupts())
    runner.run()
    results = {name: result.result for name, result in runner.results.items()}
    assert set(results.values()) == {"updated"}, runner.results
    least = {name: rig.world().low_water(name, begin) for name in names}
    return Rollout(rig.clock.now() - begin, states, world, counting.came[before:], results, least)


def needed(aws: Mapping[str, float], terms: Mapping[str, int], *, balanced: bool) -> dict[str, float]:
    """What each state takes by AWS's own delays and the configured waits, of which the window is one."""
    drain = aws["drain"] if balanced else 0
    return {
        "claim": 2 * WINDOW,  # settling; no N in two observations
        "pin": WINDOW,  # O's own sizes in two observations
        "grow": aws["pending"] + aws["checks"],
        "attach": aws["healthy"] if balanced else 0,
        "bake": terms["bake_time"],
        "match": WINDOW,  # O at rest in two observations
        "cut": 0.0,  # N whole in two observations: it was so all the while that O was looked at
        "hold": max(drain, terms["timeout"]),
        "retire": aws["termination"] + aws["delete"] + WINDOW,  # O gone in two observations
        "done": 0.0,
    }


def overhead(seed: int, *, balanced: bool, slow: float) -> dict[str, Any]:
    """One group of two nodes; AWS's delays are drawn, so that they end at any moment between two looks."""
    drawn = random.Random(seed)
    ranges = {"pending": 40, "checks": 90, "healthy": 40, "drain": 90, "termination": 60, "delete": 20}
    aws = {name: drawn.uniform(most / 4, most) for name, most in ranges.items()}
    terms = {"bake_time": drawn.randint(0, 90), "timeout": drawn.randint(0, 120), "ready_timeout": 900}
    clock = VirtualClock()
    counting = Counting(clock)
    layers = [counting, latency(slow, sleep=clock.sleep)]
    with tempfile.TemporaryDirectory() as folder, fleet(*layers, clock=clock, **aws) as rig:
        sizes = {"node_min": 2, "node_max": 4}
        nodes = rolling.nodes_of(Path(folder), ["bee"], sizes | terms, {"bee": "web"} if balanced else {})
        rolling.started(rig, nodes, ["bee"], 600)
        rig.wait(drawn.uniform(0, POLL))
        done = update(rig, counting, nodes, ["bee"], 1)
    wanted, took = needed(aws, terms, balanced=balanced), done.states.seconds("bee")
    over = {state: took.get(state, 0) - seconds for state, seconds in wanted.items()}
    return {"needed": sum(wanted.values()), "took": done.seconds, "over": over, "least": done.least["bee"]}


def calls(groups: int, at_once: int, targets: str, slow: float) -> dict[str, Any]:
    """So many groups of two nodes, without target groups, all in one, or each in its own."""
    clock = VirtualClock()
    counting = Counting(clock)
    layers = [counting, latency(slow, sleep=clock.sleep)]
    names = [f"group-{number:03}" for number in range(groups)]
    joined = {"none": {}, "shared": dict.fromkeys(names, "web"), "own": {name: f"t-{name}" for name in names}}
    sizes = {"node_min": 2, "node_max": 4, "bake_time": 60, "timeout": 120}
    with tempfile.TemporaryDirectory() as folder, fleet(*layers, clock=clock) as rig:
        nodes = rolling.nodes_of(Path(folder), names, sizes, joined[targets])
        rolling.started(rig, nodes, names, 600)
        done = update(rig, counting, nodes, names, at_once)
    begin = done.came[0].at
    minutes = Counter(int((one.at - begin) // 60) for one in done.came)
    full = [counts for size, counts in done.world.looks if size == max(size for size, _ in done.world.looks)]
    seconds = [sum(done.states.seconds(name).values()) for name in names]
    return {
        "seconds": done.seconds,
        "of one": [min(seconds), statistics.median(seconds), max(seconds)],
        "kinds": rolling.by_kind(done.came),
        "actions": rolling.by_action(done.came),
        "peak": max(minutes.values()),
        "looks": len(done.world.looks),
        "largest look": max(size for size, _ in done.world.looks),
        "reads": sum(sum(counts.values()) for _, counts in done.world.looks),
        "reads of a full look": [min(sum(c.values()) for c in full), max(sum(c.values()) for c in full)],
        "by action of a full look": {name: max(c[name] for c in full) for c in full for name in c},
        "states": {name: done.states.seconds(name) for name in names[:1]},
        "least": min(done.least.values()),
    }


def main() -> None:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    if sys.argv[1] == "overhead":
        kinds = [(balanced, slow) for balanced in (True, False) for slow in (0.0, 0.05)]
        told: Any = [
            {"balanced": balanced, "latency": slow, **overhead(seed, balanced=balanced, slow=slow)}
            for balanced, slow in kinds
            for seed in range(int(sys.argv[2]))
        ]
    else:
        told = calls(int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], float(sys.argv[5]))
    print(json.dumps(told))


if __name__ == "__main__":
    main()
