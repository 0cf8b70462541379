"""instance:deploy on the command line: who is meant, the plan, the run, and what became of each host."""

import secrets
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from shlex import join
from typing import Any

from nodepkg.asked import web_of
from nodepkg.cli.account import cloud, window
from nodepkg.cli.carriers import forget_gone, over_ssh, over_ssm
from nodepkg.cli.deploy_progress import watching
from nodepkg.cli.deploy_results import conclude
from nodepkg.cli.layout import count
from nodepkg.cli.options import Call
from nodepkg.cli.output import prompt_secret
from nodepkg.cli.progress import elapsed
from nodepkg.clients.aws.account import Account
from nodepkg.clients.keys import LoginKey, login_key
from nodepkg.errors import ConfigError, RefusedError, UsageError
from nodepkg.fleet.course import GONE, SUCCEEDED, Order, Terms
from nodepkg.fleet.deploy import Runner
from nodepkg.fleet.host import Host
from nodepkg.fleet.parcels import archives, jobs, least, part
from nodepkg.fleet.record import Entry, Part, Plan, Record, is_deploy_id, new_deploy_id
from nodepkg.fleet.record import find as find_record
from nodepkg.fleet.targets import LeftOut, Narrowing, Targets, find, own_dnas
from nodepkg.fleet.transport import Job
from nodepkg.fleet.world import AwsWorld, health_of
from nodepkg.images.interrupts import Interrupts
from nodepkg.lease.claim import Lease
from nodepkg.lease.held import Claimant, held
from nodepkg.nodes.group import Group
from nodepkg.pace import Pace, Share, floor, share
from nodepkg.render.archive import BUNDLES, archive
from nodepkg.render.bundle import Bundle, Project, left_out

_LISTED = ("instance", "name", "group", "zone", "address", "asg")
SSM_WAVE = 50  # instance ids that one SendCommand takes
TRANSPORTS = ("ssh", "ssm")
NOBODY = "no running node is meant: nobody converges"
_IN_A_SANDBOX = "sandbox: no script is run; over ssm each node succeeds, over ssh none answers"


@dataclass(frozen=True)
class Wish:
    """How a deploy goes: how many at a time, how many first and alone, how many may fail, seconds for one host, and
    between waves; and to whom it is narrowed. `key`: the only one that hosts are logged in to with, over ssh."""

    at_once: Share
    canary: int
    max_errors: Share
    timeout: float
    pause: float
    narrowing: Narrowing
    key: LoginKey | None = None

    def pace(self, hosts: int) -> Pace:
        at_once = max(self.at_once.down(hosts), 1)
        return Pace(at_once, self.canary, self.max_errors.down(hosts), waves=self.pause > 0)

    def way_on(self, deploy: str) -> str:
        """The command that goes on with it."""
        key = ["--key", str(self.key.path)] if self.key else []
        return f"package instance:deploy {join(['--retry', deploy, *key])}"

    def options(self) -> dict[str, Any]:
        return {"n": str(self.at_once), "canary": self.canary, "max_errors": str(self.max_errors)} | {
            "timeout": self.timeout,
            "pause": self.pause,
        }


def opened(key: Path) -> LoginKey:
    """The private key of a file; asks for its passphrase if it has one."""
    return login_key(key.expanduser(), prompt_secret)


def some(option: str, text: str, *, least: int = 1) -> Share:
    """The value of an option: a number, or a percentage; raises UsageError for anything else."""
    try:
        found = share(text)
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from error
    if found.number < least:
        raise UsageError(f"{option} {text}: it has to be at least {least}")
    return found


@dataclass(frozen=True)
class Run:
    """A deploy that is about to begin, or to be gone on with: `hosts` are those that are still to be run.

    `targets` has what else was seen of its groups.
    """

    plan: Plan
    hosts: tuple[Host, ...]
    groups: tuple[Group, ...]
    dna: Mapping[str, bytes]
    record: Record
    targets: Targets
    again: bool = False


def deploy(call: Call, patterns: list[str], wish: Wish, *, listing: bool) -> None:
    """Converges the running nodes of groups, and ends the program with the code of what failed."""
    nodes = call.load()
    groups = nodes.groups(call.names(nodes, patterns))
    account = cloud(call, nodes.root, groups).account
    targets = find(account, groups, wish.narrowing)
    if listing:
        _list(call, targets.hosts, targets.left_out)
        return
    _tell_left_out(call, targets)
    if not call.dry_run:
        forget_gone(call, account, nodes.root, groups, targets)
    with_hosts = {host.group for host in targets.hosts}
    meant = [group for group in groups if group.name in with_hosts | targets.left_over]
    for group in meant:
        _require_bucket(group)
    project = Project(nodes)
    for line in left_out(project):
        call.out.warning(line)
    id_ = new_deploy_id(account.now(), secrets.token_bytes(3))
    command = " ".join(["instance:deploy", *(group.name for group in meant)])
    plan = Plan(
        id_,
        command,
        account.now(),
        tuple(part(project, group) for group in meant),
        targets.hosts,
        wish.options(),
    )
    run = Run(plan, targets.hosts, tuple(meant), own_dnas(nodes.root, targets.hosts), Record(nodes.root, plan), targets)
    _go(call, account, project, run, wish)


def retry(call: Call, words: list[str], wish: Wish, *, listing: bool) -> None:
    """Goes on with a deploy: those of its hosts that were not seen to succeed."""
    if len(words) > 1 or not all(map(is_deploy_id, words)) or wish.narrowing:
        raise UsageError(
            "--retry takes the id of one deploy, or none for the newest",
            hint="its groups and hosts are those that it began with",
        )
    nodes = call.load()
    record = find_record(nodes.root, words[0] if words else None)
    missing = [one.group for one in record.plan.parts if one.group not in nodes.names]
    if missing:
        raise RefusedError(f"deploy {record.plan.id}: nodes.json has no group {', '.join(missing)} any more")
    groups = nodes.groups([one.group for one in record.plan.parts])
    account = cloud(call, nodes.root, groups).account
    entries = record.entries()
    targets = find(account, groups, Narrowing())
    there = {one.instance: one for one in targets.hosts}
    states = {one.instance: _state(entries, one) for one in record.plan.hosts}
    left = [one for one in record.plan.hosts if states[one.instance] != SUCCEEDED]
    left = [one for one in left if states[one.instance] != GONE or one.instance in there]
    meant = [one for one in groups if one.name in {host.group for host in left} | targets.left_over]
    hosts = tuple(there[one.instance] for one in left if one.instance in there)
    if listing:
        _list(call, hosts, ())
        return
    if not call.dry_run:
        forget_gone(call, account, nodes.root, meant, targets)
    call.out.note(_left(record.plan, len(left)))
    run = Run(record.plan, hosts, tuple(meant), own_dnas(nodes.root, hosts), record, targets, again=True)
    _go(call, account, Project(nodes), run, wish, gone=[one for one in left if one.instance not in there])


def _left(plan: Plan, left: int) -> str:
    if not left:
        return f"deploy {plan.id}: nothing to go on with: all of its {count(len(plan.hosts), 'host')} are done"
    return f"deploy {plan.id}: {left} of its {count(len(plan.hosts), 'host')} did not succeed"


def _state(entries: Mapping[str, Entry], host: Host) -> str:
    entry = entries.get(host.instance)
    return entry.state if entry and entry.over else ""


def _require_bucket(group: Group) -> None:
    deploy = group.settings.deploy
    if deploy.transport == "ssm" and not deploy.bucket:
        raise ConfigError(
            f"{group.name}: deploy.transport is ssm, and there is no deploy.bucket",
            hint="name an S3 bucket of yours, through which nodes get their bundles",
        )


def _list(call: Call, hosts: Sequence[Host], left_out: Sequence[LeftOut]) -> None:
    document = {
        "hosts": [
            {
                "instance": one.instance,
                "name": one.name or None,
                "group": one.group,
                "region": one.region,
                "zone": one.zone,
                "address": one.address or None,
                "asg": one.asg or None,
                "unreachable": one.unreachable or None,
            }
            for one in hosts
        ],
        "left_out": [asdict(one) for one in left_out],
    }
    rows = [(one.instance, one.name, one.group, one.zone, one.address or one.unreachable, one.asg) for one in hosts]
    call.out.table(document, _LISTED, rows)
    for one in left_out:
        call.out.note(f"{one.instance} of {one.group} is left out: {one.why}")


def _tell_left_out(call: Call, targets: Targets) -> None:
    by_reason: dict[tuple[str, str], int] = {}
    for one in targets.left_out:
        by_reason[one.group, one.why] = by_reason.get((one.group, one.why), 0) + 1
    for (group, why), number in by_reason.items():
        call.out.note(f"{group}: {count(number, 'instance')} left out: {why}")


def _go(call: Call, account: Account, project: Project, run: Run, wish: Wish, *, gone: Sequence[Host] = ()) -> None:
    if run.hosts:
        call.out.note(f"{'plan' if call.dry_run else f'deploy {run.plan.id}'}: {_sentence(run, wish)}")
        for line in _plan(run):
            call.out.note(line)
        if call.sandbox and not call.dry_run:
            call.out.note(_IN_A_SANDBOX)
    for name in sorted(run.targets.left_over):
        call.out.note(f"{name}: what a deploy that was cut off has left there is put in order")
    if call.dry_run:
        _tell_plan(call, run, wish)
        return
    if not run.hosts and not run.again:
        call.out.note(NOBODY)
        if not run.targets.left_over:
            conclude(call, run.record, [], "")
            return
    who = Claimant(run.plan.command, run.plan.id, window(call), time.sleep, call.out.warning, call.take_over)
    ended: list[Runner] = []
    with held(account, run.groups, who) as leases:
        try:
            _begin(run)
            _note_gone(run, gone, account.now())
            _converge(call, account, project, run, wish, leases=leases, ended=ended)
        finally:
            run.record.close()
    conclude(call, run.record, ended, wish.way_on(run.plan.id))


def _begin(run: Run) -> None:
    if run.again:
        run.record.resume()
    elif run.hosts:
        run.record.begin()


def _note_gone(run: Run, gone: Sequence[Host], now: float) -> None:
    for one in gone:
        run.record.note(Entry(one.instance, GONE, now, why="its instance does not run any more", over=True))


def _converge(
    call: Call,
    account: Account,
    project: Project,
    run: Run,
    wish: Wish,
    *,
    leases: Mapping[str, Lease],
    ended: list[Runner],
) -> None:
    """One transport after the other: those that are started begin only if the one before came to its end."""
    groups = {group.name: group for group in run.groups}
    interrupts = Interrupts()
    world = AwsWorld(account, groups, leases, web_of(account), account.uptime)
    parts = [one for one in run.plan.parts if any(host.group == one.group for host in run.hosts)]
    folder = project.root / BUNDLES
    keep = {one.digest for one in parts}

    def pack(made: Bundle) -> Path:
        return archive(project, made, folder, keep=keep)

    paths = archives(project, groups, parts, pack, folder)
    with watching(call.out) as watcher:
        for name in TRANSPORTS:
            mine = {key for key, group in groups.items() if group.settings.deploy.transport == name}
            hosts = [one for one in run.hosts if one.group in mine]
            mends = (mine & run.targets.left_over) - {one.group for one in hosts}
            if not (hosts or mends) or any(one.broke_off for one in ended):
                continue
            todo = jobs(run.plan.id, parts, paths, hosts, run.dna, timeout=wish.timeout)
            pace = _pace_left(wish, len(run.hosts), ended)
            order = _order(call, wish, pace, todo, groups, over=name, mends=mends)
            carrier = (
                over_ssm(call, account, run.groups, run.targets, order)
                if name == "ssm"
                else over_ssh(account, project.root, wish.key)
            )
            runner = Runner(world, carrier, order, record=run.record, watcher=watcher, interrupts=interrupts)
            ended.append(runner)
            runner.run()


def _pace_left(wish: Wish, hosts: int, ended: Sequence[Runner]) -> Pace:
    """The pace of what is left of a deploy: canaries and failures count over all of its transports."""
    pace = wish.pace(hosts)
    before = [one for runner in ended for one in runner.courses.values()]
    failed = sum(one.failed for one in before)
    return replace(pace, canary=max(pace.canary - len(before), 0), max_errors=max((pace.max_errors or 0) - failed, 0))


def _order(
    call: Call,
    wish: Wish,
    pace: Pace,
    todo: Sequence[Job],
    groups: Mapping[str, Group],
    *,
    over: str,
    mends: Collection[str],
) -> Order:
    names = {*(job.host.group for job in todo), *mends}
    terms = {
        name: Terms(least(groups[name]), groups[name].settings.deploy.drain, health_of(groups[name])) for name in names
    }
    in_waves = pace.canary or wish.pause or any(_is_awaited(groups[name]) for name in names)
    if over == "ssm" and in_waves:
        pace = replace(pace, at_once=min(pace.at_once, SSM_WAVE), waves=True)
    return Order(
        tuple(todo),
        terms,
        pace,
        pause=wish.pause,
        patience=wish.timeout,
        poll=call.poll,
        window=window(call),
        handed_over=over == "ssm" and not in_waves,
        mends={name: groups[name].region for name in mends},
    )


def _is_awaited(group: Group) -> bool:
    """Whether a node of the group has to be healthy again before the next one starts."""
    autoscale = group.settings.autoscale
    return bool(group.settings.deploy.drain or (autoscale and (autoscale.target_groups or autoscale.health_url)))


def _sentence(run: Run, wish: Wish) -> str:
    pace = wish.pace(len(run.hosts))
    told = [f"{count(len(run.hosts), 'host')}, {pace.at_once} at a time"]
    if wish.canary:
        told.append(f"{wish.canary} first")
    if wish.pause:
        told.append(f"in waves, {elapsed(wish.pause)} apart")
    told.append(f"up to {pace.max_errors} may fail" if pace.max_errors else "no more are started once one has failed")
    return ", ".join(told)


def _plan(run: Run) -> list[str]:
    """What is going to be done, a line for each group."""
    parts = {one.group: one for one in run.plan.parts}
    return [_of_group(group, parts[group.name], run) for group in run.groups]


def _of_group(group: Group, one: Part, run: Run) -> str:
    deploy = group.settings.deploy
    here, size = sum(host.group == group.name for host in run.hosts), run.targets.sizes.get(group.name, 0)
    least_ = floor(least(group), size)
    alone = "it has no floor: it is one node" if size == 1 else f"{least_} of {size} have to be healthy"
    drains = ", each leaves its target groups first" if deploy.drain else ""
    return f"{group.name}: {count(here, 'host')} over {deploy.transport}, bundle {one.digest[:12]}; {alone}{drains}"


def _tell_plan(call: Call, run: Run, wish: Wish) -> None:
    if not run.hosts:
        call.out.note(NOBODY)
    pace = wish.pace(len(run.hosts))
    groups = [
        {
            "group": one.group,
            "digest": one.digest,
            "command": one.command,
            "transport": next(group for group in run.groups if group.name == one.group).settings.deploy.transport,
            "hosts": [host.instance for host in run.hosts if host.group == one.group],
        }
        for one in run.plan.parts
        if any(group.name == one.group for group in run.groups)
    ]
    call.out.result({"plan": {**asdict(pace), "pause": wish.pause, "timeout": wish.timeout}, "groups": groups}, [])
