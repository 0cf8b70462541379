"""What became of a deploy: a line for each host, the last lines of those that failed, and how it is gone on with."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import typer

from nodepkg.cli.layout import count
from nodepkg.cli.options import Call
from nodepkg.cli.progress import cut, elapsed
from nodepkg.errors import ExitCode, NodepkgError, ToolError
from nodepkg.fleet.course import GONE, LEFT, NO_FAILURE, NOT_STARTED, SUCCEEDED
from nodepkg.fleet.deploy import Runner
from nodepkg.fleet.record import Record, documents
from nodepkg.lease.claim import LostLeaseError

COLUMNS = ("instance", "name", "group", "zone", "result", "code", "time")
_MOST_ROWS = 50  # of a bigger deploy only those hosts are shown that did not succeed
_LAST_LINES = 10
_LONGEST_LINE = 500  # cells: one line may hold a whole document
_FAILED_SHOWN = 20
_FLOOR = "mend what is not healthy, or lower deploy.min_healthy (0: no floor)"


def conclude(call: Call, record: Record, ended: Sequence[Runner], way_on: str) -> None:
    """Shows the result, and ends the program with the code of what failed. `way_on` is the command that goes on."""
    entries = record.entries()
    told = documents(record.plan.hosts, entries, record)
    shown = [one for one in told if len(told) <= _MOST_ROWS or one["state"] != SUCCEEDED]
    try:
        document = {"deploy": record.plan.id if told else None, "hosts": told}
        if shown or not told or call.out.json:
            call.out.table(document, COLUMNS, [_row(one) for one in shown])
        else:
            call.out.result(document, [f"all {len(told)} hosts succeeded"])
    finally:  # also if nobody reads the result any more
        if shown and len(shown) < len(told):
            call.out.note(f"{count(len(told) - len(shown), 'more host')} succeeded")
        failed = [one for one in told if one["state"] not in NO_FAILURE]
        for one in failed[:_FAILED_SHOWN]:
            _tell_failure(call, record, one)
        if len(failed) > _FAILED_SHOWN:
            call.out.note(f"and {len(failed) - _FAILED_SHOWN} more; their logs are in {os.path.relpath(record.folder)}")
        _end(call, ended, told, failed, way_on)


def _row(one: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        one["instance"],
        one["name"] or "",
        one["group"],
        one["zone"],
        one["state"],
        "" if one["exit_code"] is None else str(one["exit_code"]),
        "" if one["seconds"] is None else elapsed(one["seconds"]),
    )


def _tell_failure(call: Call, record: Record, one: Mapping[str, Any]) -> None:
    """Why, and the last lines of its log."""
    code = "" if one["exit_code"] is None else f"exit code {one['exit_code']}"
    why = "".join(f": {text}" for text in dict.fromkeys((code, one["why"] or "")) if text)
    log = f"; its log: {one['log']}" if one["log"] else ""
    lines = [f"    {cut(line, _LONGEST_LINE)}" for line in record.last_lines(one["instance"], _LAST_LINES)]
    call.out.note("\n".join([f"{one['instance']} of {one['group']}: {one['state']}{why}{log}", *lines]))


def _end(
    call: Call,
    ended: Sequence[Runner],
    told: Sequence[Mapping[str, Any]],
    failed: Sequence[Mapping[str, Any]],
    way_on: str,
) -> None:
    """Ends the program, if anything is not as it should be: the highest code counts, but for Ctrl-C."""
    left = [one for one in told if one["state"] not in (SUCCEEDED, GONE)]
    errors = [runner.error for runner in ended if runner.error]
    errors += [ToolError(runner.stuck, hint=_FLOOR) for runner in ended if runner.stuck]
    if failed:
        errors.append(ToolError(summary([one["state"] for one in told]), hint=way_on))
    for error in errors:
        call.out.error(error.message, error.hint, error.exit_code)
    if left and not failed:
        call.out.note(f"{count(len(left), 'host')} of {len(told)} not converged; to go on: {way_on}")
    if any(runner.interrupted for runner in ended):
        raise KeyboardInterrupt
    if errors:
        raise typer.Exit(_code(errors))


def summary(states: Sequence[str]) -> str:
    """What became of all hosts, of which some failed: `2 of 14 hosts failed; 8 succeeded, 4 not started`."""
    failed = sum(state not in NO_FAILURE and state != LEFT for state in states)
    told = f"{failed} of {count(len(states), 'host')} failed"
    others = [(states.count(state), state) for state in (LEFT, SUCCEEDED, NOT_STARTED, GONE)]
    rest = [f"{number} {state}" for number, state in others if number]
    if not failed:  # only left running: nobody knows yet
        return f"of {count(len(states), 'host')}: {', '.join(rest)}"
    return f"{told}; {', '.join(rest)}" if rest else told


def _code(errors: Sequence[NodepkgError]) -> int:
    lost = [error for error in errors if isinstance(error, LostLeaseError)]
    return ExitCode.REFUSED if lost else max(error.exit_code for error in errors)
