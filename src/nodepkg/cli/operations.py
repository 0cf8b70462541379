"""How what changes a running group is shown and asked for: autoscale:resize, stop, start and delete."""

import os
import secrets
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from nodepkg.cli.options import Call

if TYPE_CHECKING:
    from nodepkg.autoscale.operations import Operation, Site
    from nodepkg.clients.aws.account import Account
    from nodepkg.plan import Report

COLUMNS = ("group", "asg", "nodes", "min", "max", "desired")


def window() -> float:
    """For how long AWS may show what is no longer true, in seconds."""
    from nodepkg.lease import consistency_seconds

    return consistency_seconds(os.environ)


def site(call: Call, account: "Account", command: str) -> "Site":
    """What the operations of a command work with."""
    from nodepkg.autoscale.operations import Site
    from nodepkg.autoscale.outlook import look

    return Site(
        account,
        look,
        command,
        secrets.token_hex(8),
        window(),
        call.poll,
        time.sleep,
        call.out.progress,
        take_over=call.take_over,
    )


def carry_out_operations(
    call: Call, operations: "Sequence[Operation]", account: "Account", command: str, until: str, show: "Show"
) -> None:
    """Claims all of the groups, and then sees each through to its end; what was reached is shown, however it ends."""
    from nodepkg.autoscale.operations import Pursue
    from nodepkg.cli.plans import carry_out

    here = site(call, account, command)
    plan = [*operations, Pursue(until)] if operations else []
    with here.holding():
        carry_out(call, plan, here, lambda _: show(here.reports))


Show = Callable[[Sequence["Report"]], None]


def show_sizes(call: Call) -> Show:
    def show(reports: "Sequence[Report]") -> None:
        call.out.table({"groups": list(reports)}, COLUMNS, [_row(report) for report in reports])

    return show


def _row(report: dict[str, Any]) -> tuple[str, ...]:
    return tuple(str(report.get(column, "")) for column in COLUMNS)
