"""How autoscale:run is carried out and shown: what it makes, and then the waiting for nodes."""

import os
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nodepkg.autoscale.awaiting import Awaited, Standing, Waiting, Watcher, what_to_do
from nodepkg.autoscale.held import Claimant, held
from nodepkg.autoscale.observe import web_of
from nodepkg.autoscale.run import Choice, awaited, plan_run, refuse_running
from nodepkg.cli.layout import cells
from nodepkg.cli.options import Call
from nodepkg.cli.output import Output
from nodepkg.cli.plans import carry_out
from nodepkg.cli.progress import NARROW, REFRESH_SECONDS, Screen, cut, drawing, elapsed
from nodepkg.lease import consistency_seconds
from nodepkg.plan import Report

if TYPE_CHECKING:
    from nodepkg.clients.aws.account import Account
    from nodepkg.nodes.group import Group
    from nodepkg.nodes.load import Nodes

COLUMNS = ("asg", "nodes", "min", "max", "image", "template", "zones")


def start(
    call: Call, account: "Account", nodes: "Nodes", groups: "Sequence[Group]", choice: Choice, *, wait: bool
) -> None:
    """Starts the groups and, with `wait`, waits for their nodes. What was made is shown, however it ends."""
    window, run_id = consistency_seconds(os.environ), secrets.token_hex(8)
    plan = plan_run(account, nodes, groups, choice, run_id=run_id)
    for one in plan.stale:
        call.out.warning(f"{one} (package packer:run {one.group})")
    if call.dry_run or not plan.actions:
        carry_out(call, plan.plan, account, lambda reports: _show(call.out, reports, {}))
        return
    command = " ".join(["autoscale:run", *(group.name for group in groups)])
    who = Claimant(command, run_id, window, time.sleep, call.out.warning, call.take_over)
    made, ready = list[Report](), dict[str, Standing]()
    try:
        with held(account, groups, who) as leases:
            refuse_running(account, groups)
            with _told_of_an_interrupt(call.out, groups):
                carry_out(call, plan.under(leases), account, made.extend)
                if wait:
                    with watching(call.out) as watcher:
                        web = web_of(account)
                        to_come = Waiting(
                            account, leases, watcher, web=web, poll=call.poll, sleep=time.sleep, standings=ready
                        )
                        to_come.wait(_awaited(groups, made))
    finally:
        if made:
            _show(call.out, made, ready)


def _awaited(groups: "Sequence[Group]", made: Sequence[Report]) -> list[Awaited]:
    asgs = {report["group"]: report["asg"] for report in made if "asg" in report}
    return [awaited(group, asgs[group.name]) for group in groups if group.name in asgs]


@contextmanager
def _told_of_an_interrupt(out: Output, groups: "Sequence[Group]") -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        out.note(f"interrupted: {what_to_do(group.name for group in groups)}")
        raise


def _show(out: Output, reports: Sequence[Report], ready: dict[str, Standing]) -> None:
    """What was made; `ready`, by group, is how far its nodes were when they were looked at last."""
    started = [
        report | {"ready": ready[report["group"]].ready if report["group"] in ready else None}
        for report in reports
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

    def began(self, awaited: Awaited) -> None:
        self._out.progress(awaited.group, f"waiting until the nodes of {awaited.asg} are ready")

    def stands(self, standing: Standing) -> None:
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

    def began(self, awaited: Awaited) -> None:
        self._groups[awaited.group] = _Shown(self._clock(), awaited.timeout)

    def stands(self, standing: Standing) -> None:
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
def watching(out: Output) -> Iterator[Watcher]:
    """Who is to be told of the waiting. The live lines are gone when it ends, however it ends."""
    with drawing(out) as screen:
        yield LiveLines(out, screen) if screen else Lines(out)
