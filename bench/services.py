"""Services: how soon a change is known, what it costs the registry, what an agent costs that has nothing to do."""

from collections.abc import Iterator, Mapping, Sequence
from statistics import median, quantiles
from typing import Any

from rollouts import told_by
from workplace import ROOT, Workplace, pip

WATCHERS = ((10, 1), (100, 2), (1000, 2))
CHANGES = 200
NODES, SHARES, TURNS = 10, (1, 10), 10
IDLE_SECONDS = 300
PROGRAM = "registry.py"


def tables(place: Workplace) -> Iterator[str]:
    """Lines of Markdown."""
    pip(place.folder / "venv", f"{ROOT}[agent]")
    for lines in (notified, asked, idle):
        yield ""
        yield from lines(place)


def notified(place: Workplace) -> Iterator[str]:
    yield (
        "| nodes that watch | processes | the writer's own answer: p50, p99 | one node knows: p50, p99 "
        "| all know: p50, p99 | of the two cores |"
    )
    yield "|---|---|---|---|---|---|"
    for count, processes in WATCHERS:
        told = told_by(place, PROGRAM, "notify", count, processes, CHANGES)
        shown = " | ".join(_spread(told[name]) for name in ("answered", "each", "all"))
        yield f"| {count} | {processes} | {shown} | {told['cpu']:.1f} s in {told['seconds']:.1f} s |"


def asked(place: Workplace) -> Iterator[str]:
    yield "| nodes | at_once | changes | reads of a node for a change | tries for a slot that was gone | its calls |"
    yield "|---|---|---|---|---|---|"
    for at_once in SHARES:
        told = told_by(place, PROGRAM, "reads", NODES, at_once, TURNS)
        each = {name: number / (NODES * TURNS) for name, number in told.items()}
        calls = ", ".join(f"{name} {each[name]:.2f}" for name in sorted(each) if name[0].isupper() and each[name])
        yield f"| {NODES} | {at_once} | {TURNS} | {each['reads']:.2f} | {each['late']:.2f} | {calls} |"


def idle(place: Workplace) -> Iterator[str]:
    told: Mapping[str, Any] = told_by(place, PROGRAM, "idle", IDLE_SECONDS)
    yield "| agent with 1 provided and 3 required services, ttl 30 | |"
    yield "|---|---|"
    yield f"| from its start to its announcement | {told['start']:.2f} s |"
    yield f"| CPU | {told['cpu'] * 3600:.1f} s an hour |"
    yield f"| resident; of that its own (Private), its share (Pss) | {_megabytes(told, 'Rss', 'Private', 'Pss')} |"
    calls = ", ".join(f"{name} {number:.1f}" for name, number in sorted(told["requests"].items()) if number)
    yield f"| requests a minute | {sum(told['requests'].values()):.1f}: {calls} |"


def _spread(seconds: Sequence[float]) -> str:
    return f"{median(seconds) * 1000:.1f} ms, {quantiles(seconds, n=100)[98] * 1000:.1f} ms"


def _megabytes(told: Mapping[str, Any], *names: str) -> str:
    return ", ".join(f"{told['memory'][name] / 1024:.1f} MiB" for name in names)
