"""autoscale:update and autoscale:rollback on the command line: what differs, the rollouts, and what they came to."""

import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import typer

from nodepkg.asked import web_of
from nodepkg.autoscale.prospect import Prospect, look_ahead, with_refusals
from nodepkg.autoscale.rollback import Return
from nodepkg.autoscale.run import Choice
from nodepkg.autoscale.runner import Runner
from nodepkg.autoscale.task import Order, Result
from nodepkg.autoscale.terms import membership_of
from nodepkg.autoscale.update import Wish, steps, wishes
from nodepkg.autoscale.wanted import serving
from nodepkg.autoscale.world import AwsWorld
from nodepkg.cli.account import window
from nodepkg.cli.options import Call
from nodepkg.cli.output import confirm
from nodepkg.cli.progress import elapsed
from nodepkg.cli.rollout_progress import watching
from nodepkg.clients.aws.account import Account
from nodepkg.errors import NodepkgError, RefusedError
from nodepkg.images.interrupts import Interrupts
from nodepkg.nodes.group import Group
from nodepkg.nodes.load import Nodes

COLUMNS = ("group", "result", "asg", "image", "region", "time")


@dataclass(frozen=True)
class Rules:
    """How groups are updated: also where nothing differs, how many at a time, and whether the first failure ends it.

    `named` are those of the command line that are no globs, but names.
    """

    force: bool
    at_once: int
    fail_fast: bool
    named: Collection[str]


def update(
    call: Call,
    account: Account,
    nodes: Nodes,
    groups: Sequence[Group],
    choice: Choice,
    *,
    rules: Rules,
) -> None:
    """Brings each group to what nodes.json wants, and ends the program with the highest code of what failed.

    Those that do not run are left out, but for those that were named outright.
    """
    seconds, run = window(call), secrets.token_hex(8)
    wanted = wishes(account, nodes, groups, choice, run=run, force=rules.force)
    found = look_ahead(account, [wish.task(seconds) for wish in wanted.values()], web_of(account))
    prospects = _those_that_run(call, found, rules.named)
    for one in prospects:
        _tell_differences(call, one, wanted[one.task.group])
    if call.dry_run:
        _tell_plan(call, [with_refusals(account, one) for one in prospects], wanted)
        return
    results = {one.task.group: done for one in prospects if (done := _without_rollout(one))}
    order = Order(
        [one.task for one in prospects if one.task.group not in results],
        at_once=rules.at_once,
        fail_fast=rules.fail_fast,
        poll=call.poll,
    )
    if rules.fail_fast and (failed := next((name for name, result in results.items() if result.error), None)):
        why = f"skipped, since {failed} failed"
        results |= {task.group: Result(task.group, task.region, "skipped", why=why) for task in order.tasks}
        order = Order([])
    command = " ".join(["autoscale:update", *(group.name for group in groups)])
    runner = _carry_out(call, account, order, command, seconds)
    _conclude(call, {**results, **runner.results}, groups, runner)


def _those_that_run(call: Call, found: Sequence[Prospect], named: Collection[str]) -> list[Prospect]:
    """And those that were named: that they do not run is what they are refused for."""
    meant = [one for one in found if one.runs or one.task.group in named]
    if left_out := [one.task.group for one in found if one not in meant]:
        call.out.note(f"left out, they do not run: {', '.join(left_out)}")
    return meant


def rollback(call: Call, account: Account, nodes: Nodes, group: Group) -> None:
    """Undoes the rollout in progress; without one the last kept generation comes back."""
    seconds, run = window(call), secrets.token_hex(8)
    back = Return(account, group, run, membership_of(nodes, group))
    task = back.undoing(seconds)
    (prospect,) = look_ahead(account, [task], web_of(account))
    task = back.way(prospect, seconds)  # what forbids it is said before anybody is asked
    (prospect,) = look_ahead(account, [task], web_of(account))
    lines = _plan(prospect)
    for line in lines:
        call.out.note(f"would {line}" if call.dry_run else line)
    if call.dry_run:
        call.out.result({"groups": [{"group": group.name, "plan": lines}]}, [])
        return
    confirm(f"roll {group.name} back?", yes=call.yes)
    runner = _carry_out(call, account, Order([task], poll=call.poll), f"autoscale:rollback {group.name}", seconds)
    _conclude(call, runner.results, [group], runner)


def _carry_out(call: Call, account: Account, order: Order, command: str, window: float) -> Runner:
    world = AwsWorld(account, command, window, web_of(account), call.take_over)
    with watching(call.out, account.now) as watcher:
        runner = Runner(world, order, watcher, Interrupts())
        if order.tasks:
            runner.run()
    return runner


def _tell_differences(call: Call, one: Prospect, wish: Wish) -> None:
    group = one.task.group
    if one.unfinished and one.seen and one.seen.view.new:
        if not one.holder:
            call.out.note(f"{group}: a rollout to {one.seen.view.new.name} is unfinished: it is gone on with")
        return
    for difference in _differences(one, wish):
        call.out.note(f"{group}: {difference}")
    if wish.stale and one.seen and one.seen.view.claim:
        call.out.warning(f"{wish.stale} (package packer:run {group})")


def _differences(one: Prospect, wish: Wish) -> list[Any]:
    if one.seen is None or one.unfinished or wish.wanted is None:
        return []
    try:
        return list(wish.differences(serving(one.task.group, one.seen.asgs)))
    except RefusedError:
        return []  # it is told as what forbids the update


def _without_rollout(one: Prospect) -> Result | None:
    """The result of a group that nothing is to be done with, or can be."""
    task, seen = one.task, one.seen
    if one.error:
        result = "refused" if isinstance(one.error, RefusedError) else "failed"
        return Result(task.group, task.region, result, error=one.error)
    if one.is_idle and seen and seen.view.old:
        old = seen.view.old
        return Result(task.group, task.region, "up to date", old.name, old.tags.get("nodepkg:image", ""))
    return None


def _plan(one: Prospect) -> list[str]:
    """What would be done, as sentences in the imperative."""
    view = one.seen.view if one.seen else None
    if view is None:
        return []
    if view.new and view.record:
        back = one.task.goal.value == "rollback" or view.record.phase == "rollback"
        return [f"{'undo' if back else 'go on with'} the rollout to {view.new.name} (image {view.record.image})"]
    return [*(steps(view, view.claim) if view.claim else []), *map(str, view.housekeeping)]


def _tell_plan(call: Call, prospects: Sequence[Prospect], wanted: Mapping[str, Wish]) -> None:
    document = []
    for one in prospects:
        group, lines = one.task.group, _plan(one)
        for line in lines:
            call.out.note(f"{group}: would {line}")
        if one.is_idle:
            call.out.note(f"{group} is up to date")
        if one.holder:
            call.out.warning(f"{group} is taken: {one.holder.told(wanted[group].account.now())}")
        differs = [asdict(difference) for difference in _differences(one, wanted[group])]
        refused = one.error.message if one.error else None
        document.append({"group": group, "differs": differs, "plan": lines, "refused": refused})
    call.out.result({"groups": document}, [])
    _fail_if_any(call, [one.error for one in prospects if one.error])


def _conclude(call: Call, results: Mapping[str, Result], groups: Sequence[Group], runner: Runner) -> None:
    told = [results[group.name] for group in groups if group.name in results]
    rows = [
        (
            result.group,
            result.result,
            result.asg,
            result.image,
            result.region,
            "" if result.seconds is None else elapsed(result.seconds),
        )
        for result in told
    ]
    try:
        call.out.table({"groups": [result.document() for result in told]}, COLUMNS, rows)
    finally:  # also if nobody reads the result any more
        for result in told:
            if result.way_on:
                call.out.note(f"{result.group} is unfinished; {result.way_on}")
        if runner.interrupted:
            _tell(call, [result.error for result in told if result.error])
            raise KeyboardInterrupt
        _fail_if_any(call, [result.error for result in told if result.error])


def _fail_if_any(call: Call, errors: Sequence[NodepkgError]) -> None:
    """Ends the program with the highest code."""
    _tell(call, errors)
    if errors:
        raise typer.Exit(max(error.exit_code for error in errors))


def _tell(call: Call, errors: Sequence[NodepkgError]) -> None:
    for error in errors:
        call.out.error(error.message, error.hint, error.exit_code)
