"""Carrying out a plan on the command line: dry run, progress, and a result even if it breaks off in the middle."""

from collections.abc import Callable, Sequence

from nodepkg.cli.options import Call
from nodepkg.plan import Action, Report, World, execute


def carry_out(call: Call, plan: Sequence[Action[World]], world: World, show: Callable[[list[Report]], None]) -> None:
    """Executes the plan and shows the reports; of one that fails, what was done until then."""
    reports: list[Report] = []
    try:
        for report in execute(plan, world, dry_run=call.dry_run, say=call.out.note):
            reports.append(report)  # noqa: PERF402 - each counts even if the next one raises
    except BaseException:
        if reports and not call.dry_run:
            show(reports)
        raise
    if call.dry_run:
        call.out.result({"plan": reports}, [])
    else:
        show(reports)
