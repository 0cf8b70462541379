"""Rollouts: what autoscale:update takes beyond what it has to wait for, what it asks of AWS, and Ansible beside it."""

import json
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from workplace import BENCH, ROOT, Workplace, pip, venv

PARTS = ("overhead", "calls", "replacing")
STATES = ("claim", "pin", "grow", "attach", "bake", "match", "cut", "hold", "retire", "done")
RUNS = 10
POLL = 5
CALLS = ((1, 5, "own"), (10, 5, "own"), (100, 5, "own"), (100, 100, "own"), (100, 100, "shared"))
SLOW = 0.05
GROUPS = ((1, 1, 1), (2, 2, 1), (4, 4, 1), (4, 4, 4), (2, 1, 1), (4, 2, 1))


def tables(place: Workplace, wanted: Sequence[str]) -> Iterator[str]:
    """Lines of Markdown; details go to stderr."""
    pip(place.folder / "venv", f"{ROOT}[sandbox]")
    for part, lines in zip(PARTS, (overhead, calls, replacing), strict=True):
        if part in wanted:
            yield ""
            yield from lines(place)


def told_by(place: Workplace, program: str, *arguments: Any) -> Any:
    command = [place.script("python"), str(BENCH / program), *map(str, arguments)]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)


def overhead(place: Workplace) -> Iterator[str]:
    runs = told_by(place, "virtual.py", "overhead", RUNS)
    yield "| update of two nodes | needed | over: median | most | limit | holds | the states with the most of it |"
    yield "|---|---|---|---|---|---|---|"
    for balanced in (True, False):
        for latency in (0.0, SLOW):
            those = [one for one in runs if (one["balanced"], one["latency"]) == (balanced, latency)]
            over = [one["took"] - one["needed"] for one in those]
            by_state = {state: median(one["over"][state] for one in those) for state in STATES}
            most = sorted(by_state, key=lambda state: -by_state[state])[:4]
            holds = "yes" if max(over) <= 2 * POLL else "NO"
            spread = f"{min(one['needed'] for one in those):.0f} to {max(one['needed'] for one in those):.0f} s"
            yield (
                f"| {'in' if balanced else 'without'} a target group, {latency * 1000:.0f} ms a call | {spread} "
                f"| {median(over):.1f} s | {max(over):.1f} s | {2 * POLL} s | {holds} "
                f"| {', '.join(f'{state} {by_state[state]:.1f} s' for state in most)} |"
            )
            assert all(one["least"] == 2 for one in those), those


def calls(place: Workplace) -> Iterator[str]:
    yield (
        "| groups | -n | target groups | one group takes | all take | calls of a rollout: reads, changes, lease "
        "| a minute: mean, most | looks | reads of a look at all that run |"
    )
    yield "|---|---|---|---|---|---|---|---|---|"
    for groups, at_once, targets in CALLS:
        told = told_by(place, "virtual.py", "calls", groups, at_once, targets, SLOW)
        kinds = [told["kinds"][kind] / groups for kind in ("read", "change", "lease")]
        mean = sum(told["kinds"].values()) / told["seconds"] * 60
        least, most = told["reads of a full look"]
        yield (
            f"| {groups} | {at_once} | {targets} | {' to '.join(f'{one:.0f}' for one in told['of one'][::2])} s "
            f"| {told['seconds']:.0f} s | {', '.join(f'{one:.0f}' for one in kinds)} "
            f"| {mean:.0f}, {told['peak']} | {told['looks']} | {least} to {most} |"
        )
        print(f"{groups} groups, -n {at_once}, {targets}: {told['actions']}", file=sys.stderr, flush=True)
        print(f"  a full look, at most: {told['by action of a full look']}", file=sys.stderr, flush=True)


def replacing(place: Workplace) -> Iterator[str]:
    venv(place.folder / "ansible", "ansible", "boto3", constrained=False)
    yield "| group | | seconds | first to last call | calls: reads, changes, lease | least nodes that served |"
    yield "|---|---|---|---|---|---|"
    for size, least, batch in GROUPS:
        sides = [("Ansible", lambda *a, n=batch: ansible(place, *a, batch=n))]
        if batch == 1:
            sides += [(f"nodepkg, window {w} s", lambda *a, w=w: ours(place, *a, window=w)) for w in (10, 1)]
        for name, command in sides:
            told = replaced(place, size, least, command)
            kinds = [told["kinds"].get(kind, 0) for kind in ("read", "change", "lease")]
            yield (
                f"| {size} nodes, min {least} | {name}{f', batches of {batch}' if name == 'Ansible' else ''} "
                f"| {told['seconds']:.1f} | {told['last'] - told['first']:.1f} "
                f"| {sum(kinds)}: {', '.join(map(str, kinds))} | {told['least']} of {size} |"
            )
            print(f"{size}/{least}/{batch} {name}: {told['actions']}\n  {told['history']}", file=sys.stderr, flush=True)


def replaced(place: Workplace, size: int, least: int, command: Any) -> dict[str, Any]:
    """One group's nodes replaced by that command, on an AWS of its own."""
    folder = place.folder / f"replace-{time.time_ns()}"
    folder.mkdir()
    serve = [place.script("python"), str(BENCH / "realtime.py"), str(folder), str(size), str(least)]
    with subprocess.Popen(serve, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        about = json.loads(process.stdout.readline())
        arguments, environ = command(about, size, least)
        begin = time.perf_counter()
        environ = loopback(folder, about["endpoint"]) | environ
        done = subprocess.run(arguments, cwd=folder, env=environ, text=True, capture_output=True, check=False)
        seconds = time.perf_counter() - begin
        told = json.loads(process.communicate("")[0])
    if done.returncode or set(told["images"]) != {about["image"]} or len(told["images"]) < size:
        raise RuntimeError(f"{shlex.join(arguments)}: {done.returncode}\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    return {**told, "seconds": seconds}


def loopback(folder: Path, endpoint: str) -> dict[str, str]:
    """An environment in which only this machine is reached; what ignores the endpoint meets a closed door."""
    closed = "http://127.0.0.1:9"
    return {
        **{"PATH": "/usr/bin:/bin", "HOME": str(folder), "LC_ALL": "C.UTF-8", "COLUMNS": "100"},
        **{"AWS_ENDPOINT_URL": endpoint, "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true"},
        **{"AWS_ACCESS_KEY_ID": "none", "AWS_SECRET_ACCESS_KEY": "none"},
        **{"AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null"},
        **{"http_proxy": closed, "https_proxy": closed, "no_proxy": "127.0.0.1"},
    }


def ansible(place: Workplace, about: dict[str, str], size: int, least: int, *, batch: int) -> tuple[list[str], Any]:
    programs = place.folder / "ansible" / "bin"
    variables = {"endpoint": about["endpoint"], "image": about["image"], "least": least, "size": size, "batch": batch}
    variables["ansible_python_interpreter"] = str(programs / "python")
    playbook = [str(programs / "ansible-playbook"), "-i", "localhost,", str(BENCH / "peers" / "replace.yml")]
    return [*playbook, "-e", json.dumps(variables)], {}


def ours(place: Workplace, _about: dict[str, str], _size: int, _least: int, *, window: int) -> tuple[list[str], Any]:
    update = [place.script("package"), "autoscale:update", "bee", "--stale-ok", "--yes", "--json"]
    return update, {"NODEPKG_CONSISTENCY_SECONDS": str(window)}
