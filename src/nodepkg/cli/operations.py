"""How what changes a running group is carried out and shown: autoscale:resize, stop, start and delete."""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from nodepkg.cli.images import few
from nodepkg.cli.layout import count
from nodepkg.cli.options import Call
from nodepkg.cli.output import confirm

if TYPE_CHECKING:
    from nodepkg.autoscale.operations import Key, OfGroup, Site
    from nodepkg.autoscale.resize import Wish
    from nodepkg.autoscale.stop import Running
    from nodepkg.clients.aws.account import Account
    from nodepkg.clients.aws.autoscaling import AutoScalingGroup
    from nodepkg.plan import Action, Report

COLUMNS = ("group", "asg", "nodes", "min", "max", "desired")

Show = Callable[[Sequence["Report"]], None]


@dataclass(frozen=True)
class Orders:
    """What is carried out: `command` as others are told of it, `until` what it waits for, in words."""

    command: str
    operations: "Sequence[OfGroup]"
    until: str


def carry_out_orders(call: Call, orders: Orders, account: "Account", show: Show) -> None:
    """Claims all of the groups, and then sees each through to its end; what was reached is shown, however it ends."""
    from nodepkg.autoscale.operations import Pursue
    from nodepkg.cli.plans import carry_out

    here = _site(call, account, orders.command)
    plan: list[Action[Site]] = [*orders.operations]
    if plan:
        plan.append(Pursue(orders.until))
    try:
        carry_out(call, plan, here, lambda _: show(here.reports))
    except KeyboardInterrupt:
        call.out.note(f"interrupted; to go on: package {orders.command}")
        raise


def _site(call: Call, account: "Account", command: str) -> "Site":
    from nodepkg.asked import web_of
    from nodepkg.autoscale.operations import Site
    from nodepkg.autoscale.world import AwsWorld
    from nodepkg.cli.account import window
    from nodepkg.cli.rollout_progress import watching

    world = AwsWorld(account, command, window(call), web_of(account), call.take_over)
    return Site(world, lambda: watching(call.out, account.now, every=True), secrets.token_hex(8), call.poll)


def show_sizes(call: Call) -> Show:
    """The groups with the sizes that they have come to."""

    def show(reports: "Sequence[Report]") -> None:
        rows = [tuple(str(report.get(column, "")) for column in COLUMNS) for report in reports]
        if rows or call.out.json:
            call.out.table({"groups": list(reports)}, COLUMNS, rows)

    return show


def stop_groups(call: Call, patterns: list[str], *, wait: bool) -> None:
    """Shows what goes, asks, and stops them."""
    from nodepkg.autoscale.stop import plan_stop
    from nodepkg.cli.account import cloud, window
    from nodepkg.nodes.select import select

    nodes = call.load()
    names = select(nodes, patterns, call.region)
    account = cloud(call, nodes.root, nodes.sound(names)[0]).account
    keys = [(nodes.region_of(name), name) for name in names]
    plan = plan_stop(running(account, keys), keys, window=window(call), wait=wait)
    _tell(call, plan.notes, [str(action) for action in plan.actions])
    if plan.actions and not call.dry_run:
        nodes_of = sum(action.sizes.desired for action in plan.actions)
        confirm(
            f"stop {few(tuple(one.group for one in plan.actions))}, which takes {count(nodes_of, 'node')}?",
            yes=call.yes,
        )
    until = "wait until no node is left" if wait else "set their sizes"
    command = " ".join(["autoscale:stop", *names])
    carry_out_orders(call, Orders(command, plan.actions, until), account, show_sizes(call))


def start_groups(call: Call, patterns: list[str], *, wait: bool) -> None:
    """Starts those that are stopped."""
    from nodepkg.autoscale.stop import plan_start
    from nodepkg.cli.account import cloud, window
    from nodepkg.nodes.select import select

    nodes = call.load()
    names = select(nodes, patterns, call.region)
    found = nodes.groups(names)
    account = cloud(call, nodes.root, found).account
    keys = [(group.region, group.name) for group in found]
    plan = plan_start(running(account, keys), found, window=window(call), wait=wait)
    _tell(call, plan.notes, [])
    until = "wait until every node is ready" if wait else "set their sizes"
    command = " ".join(["autoscale:start", *names])
    carry_out_orders(call, Orders(command, plan.actions, until), account, show_sizes(call))


def resize_group(call: Call, pattern: str, wish: "Wish") -> None:
    """Shows what changes, asks if nodes go, and sets the sizes."""
    from nodepkg.autoscale.resize import plan_resize, set_back
    from nodepkg.cli.account import cloud, window
    from nodepkg.nodes.select import one

    nodes = call.load()
    name = one(nodes, pattern)
    known = nodes.sound([name])[0]
    account = cloud(call, nodes.root, known).account
    key = (nodes.region_of(name), name)
    plan = plan_resize(running(account, [key]), *key, wish, window(call))
    if plan.after == plan.before:
        call.out.note(f"{name} has these sizes already")
        show_sizes(call)([plan.told(plan.before)])
        return
    if told := set_back(plan.after, known[0].settings.autoscale if known else None):
        call.out.note(told)
    if plan.shrinks and not call.dry_run:
        _tell(call, (), [str(plan)])
        confirm(f"take {count(plan.before.desired - plan.after.desired, 'node')} of {name}?", yes=call.yes)
        plan = replace(plan, may_shrink=True)
    carry_out_orders(call, Orders(f"autoscale:resize {name}", [plan], "set the sizes"), account, show_sizes(call))


def delete_group(call: Call, group: str) -> None:
    """Shows what goes, asks for the group's name, and deletes it."""
    from nodepkg.autoscale.delete import doomed
    from nodepkg.cli.account import cloud, window
    from nodepkg.images.delete import region_of

    nodes = call.load()
    region = region_of(nodes, group, call.region)
    known = nodes.sound([group])[0] if group in nodes.names else []
    account = cloud(call, nodes.root, known).account
    found = doomed(account, region, group)
    plan = found.plan(region, group, window(call))
    rows = [(asg.name, str(len(asg.members)), f"{asg.min}-{asg.max}") for asg in found.asgs]
    if not call.dry_run:
        call.out.plan(("asg", "nodes", "sizes"), rows)
    _tell(call, found.staying, [str(action) for action in plan])
    if not plan:
        call.out.note(f"{group} has no Auto Scaling group in {region}, and no launch template: nothing to delete")
    elif not call.dry_run:
        nodes_of = count(sum(len(asg.members) for asg in found.asgs), "node")
        asgs = count(len(found.asgs), "Auto Scaling group")
        confirm(f"delete {asgs} of {group} with {nodes_of}?", yes=call.yes, name=group)

    def show(reports: "Sequence[Report]") -> None:
        templates = [f"launch template {report['template']}" for report in reports if report["template"]]
        gone = [*(name for report in reports for name in report["asgs"]), *templates]
        kept = [report["kept"] for report in reports if report["kept"]]
        lines = [*(f"deleted {thing}" for thing in gone), *kept]
        call.out.result({"groups": list(reports)}, lines or ["nothing deleted"])

    command = f"autoscale:delete {group}"
    carry_out_orders(call, Orders(command, plan, "wait until they are gone"), account, show)


def _tell(call: Call, notes: "Sequence[str]", actions: "Sequence[str]") -> None:
    """What is not going to be done, and why; and, before anybody is asked, what is: else it is told when it begins."""
    for line in (*notes, *(() if call.dry_run or call.yes else actions)):
        call.out.note(line)


def running(account: "Account", keys: "Sequence[Key]") -> "Running":
    """The ASGs of these groups (region, name), whoever made them: one listing for each region."""
    from nodepkg.autoscale.outlook import by_group
    from nodepkg.clients.aws.autoscaling import AutoScaling

    found: dict[Key, list[AutoScalingGroup]] = {}
    for region in sorted({region for region, _ in keys}):
        names = [name for there, name in keys if there == region]
        asgs = by_group(AutoScaling(account, region).groups_tagged("group", names))
        found |= {(region, name): asgs.get(name, []) for name in names}
    return found
