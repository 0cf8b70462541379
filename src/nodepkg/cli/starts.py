"""How autoscale:run is carried out and shown: what it makes, and then the waiting for nodes."""

import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nodepkg.autoscale.run import Choice, Start, awaited, plan_run, refuse_running
from nodepkg.cli.layout import cells
from nodepkg.cli.options import Call
from nodepkg.cli.output import Output
from nodepkg.cli.plans import carry_out
from nodepkg.cli.progress import NARROW, REFRESH_SECONDS, Screen, cut, drawing, elapsed
from nodepkg.plan import Report

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nodepkg.autoscale.awaiting import Awaited, Standing, Watcher
    from nodepkg.clients.aws.account import Account
    from nodepkg.lease.claim import Lease
    from nodepkg.nodes.group import Group
    from nodepkg.nodes.load import Nodes

COLUMNS = ("asg", "nodes", "min", "max", "image", "template", "zones")


@dataclass
class _Made:
    """What was made, and by group how far its nodes were when they were looked at last."""

    reports: list[Report] = field(default_factory=list)
    standings: "dict[str, Standing]" = field(default_factory=dict)


def start(
    call: Call, account: "Account", nodes: "Nodes", groups: "Sequence[Group]", choice: Choice, *, wait: bool
) -> None:
    """Starts the groups and, with `wait`, waits for their nodes. What was made is shown, however it ends."""
    run_id, made = secrets.token_hex(8), _Made()
    plan = plan_run(account, nodes, groups, choice, run_id=run_id)
    for one in plan.stale:
        call.out.warning(f"{one} (package packer:run {one.group})")
    if call.dry_run or not plan.actions:
        carry_out(call, plan.plan, account, made.reports.extend)
        if not call.dry_run:
            _show(call.out, made)
        return
    try:
        _start(call, account, groups, plan, made, nodes=nodes, run_id=run_id, wait=wait)
    finally:
        if made.reports:
            _show(call.out, made)


def _start(
    call: Call,
    account: "Account",
    groups: "Sequence[Group]",
    plan: Start,
    made: _Made,
    *,
    nodes: "Nodes",
    run_id: str,
    wait: bool,
) -> None:
    # Only now, since nothing of it is needed before the first call of AWS.
    from nodepkg.cli.account import window
    from nodepkg.lease.held import Claimant, held

    command = " ".join(["autoscale:run", *(group.name for group in groups)])
    who = Claimant(command, run_id, window(call), time.sleep, call.out.warning, call.take_over)
    with held(account, groups, who) as leases:
        refuse_running(account, groups)
        with _told_of_an_interrupt(call.out, groups):
            carry_out(call, plan.under(leases), account, made.reports.extend)
            if wait:
                _wait(call, account, groups, leases, made, nodes=nodes)


def _wait(
    call: Call,
    account: "Account",
    groups: "Sequence[Group]",
    leases: "Mapping[str, Lease]",
    made: _Made,
    *,
    nodes: "Nodes",
) -> None:
    from nodepkg.asked import web_of
    from nodepkg.autoscale.awaiting import Waiting

    made_of = {report["group"]: (report["asg"], report["image"]) for report in made.reports if "asg" in report}
    with watching(call.out) as watcher:
        waiting = Waiting(account, leases, watcher, web=web_of(account), poll=call.poll, sleep=time.sleep)
        made.standings = waiting.standings
        waiting.wait([awaited(nodes, group, *made_of[group.name]) for group in groups])


@contextmanager
def _told_of_an_interrupt(out: Output, groups: "Sequence[Group]") -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        from nodepkg.autoscale.awaiting import what_to_do

        out.note(f"interrupted: {what_to_do(group.name for group in groups)}")
        raise


def _show(out: Output, made: _Made) -> None:
    started = [
        report | {"ready": made.standings[report["group"]].ready if report["group"] in made.standings else None}
        for report in made.reports
        if "asg" in report
    ]
    out.table({"groups": started}, COLUMNS, [_row(report) for report in started])


def _row(report: Report) -> tuple[str, ...]:
    zones = [zone.removeprefix(report["region"]) for zone in report["zones"]]
    desired = str(report["desired"])
    return (
        report["asg"],
        desired if report["ready"] is None else f"{report['ready']}/{desired}",
        str(report["min"]),
        str(report["max"]),
        report["image"],
        f"{report['template']}:{report['version']}",
        f"{report['region']} {','.join(zones)}",
    )


class Lines:
    """One line for each change of a group's state: for files, pipes, and terminals that cannot move the cursor."""

    def __init__(self, out: Output) -> None:
        self._out = out
        self._told: dict[str, str] = {}

    def began(self, awaited: "Awaited") -> None:
        self._out.progress(awaited.group, f"waiting until the nodes of {awaited.asg} are ready")

    def stands(self, standing: "Standing") -> None:
        if self._told.get(standing.group) != str(standing):
            self._told[standing.group] = str(standing)
            self._out.progress(standing.group, str(standing))

    def ended(self, group: str, told: str) -> None:
        self._out.progress(group, told)

    def warning(self, text: str) -> None:
        self._out.warning(text)

    def tick(self) -> None:
        pass


@dataclass
class _Shown:
    since: float
    timeout: float
    told: str = "no node yet"


class LiveLines:
    """A line for each group that is waited for: since when, until when, and how far it is. What ends is told above."""

    def __init__(self, out: Output, screen: Screen, clock: Callable[[], float] = time.monotonic) -> None:
        self._out, self._screen, self._clock = out, screen, clock
        self._groups: dict[str, _Shown] = {}
        self._next = 0.0

    def began(self, awaited: "Awaited") -> None:
        self._groups[awaited.group] = _Shown(self._clock(), awaited.timeout)

    def stands(self, standing: "Standing") -> None:
        self._groups[standing.group].told = str(standing)

    def ended(self, group: str, told: str) -> None:
        shown = self._groups.pop(group)
        self._out.note(f"{group}: {told} (after {elapsed(self._clock() - shown.since)})")
        self._next = 0.0

    def warning(self, text: str) -> None:
        self._out.warning(text)

    def tick(self) -> None:
        now = self._clock()
        if now >= self._next:
            self._next = now + REFRESH_SECONDS
            with suppress(OSError):  # the terminal is gone: that ends no waiting
                self._screen.draw(self._drawn(now))

    def _drawn(self, now: float) -> str:
        width = max(self._screen.width() - 1, NARROW)
        name = min(max(map(cells, self._groups), default=0), width // 3)
        lines = [
            f"{cut(group, name):<{name}}  {elapsed(now - shown.since):>6} of {elapsed(shown.timeout)}  {shown.told}"
            for group, shown in self._groups.items()
        ]
        return "\n".join(cut(line, width) for line in lines)


@contextmanager
def watching(out: Output) -> "Iterator[Watcher]":
    """Who is to be told of the waiting. The live lines are gone when it ends, however it ends."""
    with drawing(out) as screen:
        yield LiveLines(out, screen) if screen else Lines(out)
