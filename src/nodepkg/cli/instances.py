"""How instance:create, list, delete and ssh are carried out and shown."""

import secrets
import time
from collections.abc import Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from shlex import join
from typing import TYPE_CHECKING

from nodepkg.cli.layout import age, count, printable
from nodepkg.cli.options import Call
from nodepkg.cli.output import confirm, prompt_secret
from nodepkg.cli.plans import carry_out
from nodepkg.errors import AwsError, NodepkgError, RefusedError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nodepkg.clients.aws.account import Account
    from nodepkg.clients.aws.machines import Machine
    from nodepkg.clients.keys import PublicKey
    from nodepkg.fleet.create import Site
    from nodepkg.fleet.delete import Place
    from nodepkg.fleet.listing import ListedInstance
    from nodepkg.fleet.order import Order
    from nodepkg.lease.claim import Lease
    from nodepkg.nodes.group import Group
    from nodepkg.nodes.load import Nodes
    from nodepkg.plan import Action, Report

COLUMNS = ("instance", "name", "group", "zone", "address", "image", "age", "health", "asg")


@dataclass(frozen=True)
class Asked:
    """What instance:create was given."""

    key: Path
    name: str
    zone: str | None
    image: str | None

    def again(self, group: str) -> str:
        """The command that goes on with it."""
        options = [("--key", str(self.key)), ("--name", self.name), ("--zone", self.zone), ("--image", self.image)]
        given = [word for option, value in options if value for word in (option, value)]
        return f"package instance:create {join([group, *given])}"


def create_instance(call: Call, pattern: str, asked: Asked) -> None:
    """Makes, or finishes, one instance; what was made is shown, however it ends."""
    from nodepkg.cli.account import cloud, window
    from nodepkg.nodes.select import one

    nodes = call.load()
    group = nodes.group(one(nodes, pattern))
    _require_words(asked)
    from nodepkg.clients.keys import public_half

    key = public_half(asked.key.expanduser(), prompt_secret)
    account = cloud(call, nodes.root, [group]).account

    from nodepkg.fleet.create import Site, plan_create
    from nodepkg.fleet.find import require_free

    wanted = _order(account, nodes, group, asked, key)
    require_free(account, _regions(call, nodes) - {group.region}, asked.name)
    _warn_if_stale(call, nodes, wanted)
    site = Site(account, nodes.root, call.poll, window(call), time.sleep, call.out.note)
    show = _Shown(call, asked, wanted, site).show
    plan = plan_create(account, wanted)
    if call.dry_run:
        carry_out(call, plan, site, show)
        return
    _ready_to_remember(nodes.root)
    command = f"instance:create {group.name} --name {asked.name}"
    with (
        _told_how_to_go_on(call, asked.again(group.name)),
        _claimed(call, account, group.region, asked.name, command=command, run_id=wanted.run_id) as site.claimed,
    ):
        carry_out(call, plan_create(account, wanted), site, show)


@contextmanager
def _claimed(call: Call, account: "Account", region: str, name: str, *, command: str, run_id: str) -> "Iterator[Lease]":
    from nodepkg.cli.account import window
    from nodepkg.lease.held import Claimant, held_name

    seconds = window(call)
    if seconds:
        call.out.note(f"claim the name {name}, and wait {seconds:g} s until AWS shows all that was done before")
    who = Claimant(command, run_id, seconds, time.sleep, call.out.warning, call.take_over)
    with held_name(account, region, name, who) as lease:
        yield lease


def _require_words(asked: Asked) -> None:
    import re

    from nodepkg.nodes.names import group_name_problem, legal_group_name

    if problem := group_name_problem(asked.name):
        raise UsageError(
            f"--name {asked.name}: {problem}",
            hint=f"the grammar is a group's, for example {legal_group_name(asked.name)}",
        )
    if asked.image is not None and not re.fullmatch("ami-[A-Za-z0-9]+", asked.image):
        raise UsageError(f"--image {asked.image}: no image has such an id", hint="ids of images look like ami-1ebb2077")


def _order(account: "Account", nodes: "Nodes", group: "Group", asked: Asked, key: "PublicKey") -> "Order":
    from random import SystemRandom

    from nodepkg.fleet.order import Wish, order
    from nodepkg.render.user_data import UserData

    wish = Wish(asked.name, key, asked.zone, asked.image)
    user_data = UserData(nodes.root).text(group)
    return order(account, group, wish, user_data, run_id=secrets.token_hex(8), random=SystemRandom())


def _warn_if_stale(call: Call, nodes: "Nodes", order: "Order") -> None:
    """It is one machine, and may be wanted to look at just this image."""
    from nodepkg.images.due import stale_images
    from nodepkg.render.bundle import Project
    from nodepkg.render.packer import PackerTemplates

    if order.wish.image:
        return
    with suppress(NodepkgError):  # that its template is broken keeps nobody from starting what is there
        templates = PackerTemplates(Project(nodes))
        for stale in stale_images(templates, [order.group], {order.group.name: order.image}):
            call.out.warning(f"{stale} (package packer:run {stale.group})")


@contextmanager
def _told_how_to_go_on(call: Call, command: str) -> "Iterator[None]":
    try:
        yield
    except KeyboardInterrupt:
        call.out.note(f"interrupted; to finish it: {command}")
        raise
    except AwsError as error:
        error.hint = error.hint or f"to go on: {command}"
        raise


@dataclass(frozen=True)
class _Shown:
    """What is shown of a new instance."""

    call: Call
    asked: Asked
    order: "Order"
    site: "Site"

    def show(self, reports: "Sequence[Report]") -> None:
        done = {key: value for report in reports for key, value in report.items()}
        if "instance" not in done or self.site.instance in self.site.ended:
            return
        document = self._document(done)
        place = f"{document['instance']} ({self.order.name} of {self.order.group.name}, {document['zone']})"
        if "dna" not in done:
            lines = [f"{place} is started, but not finished: {self.asked.again(self.order.group.name)}"]
        else:
            lines = [f"{place} runs at {document['address'] or 'no address'}", f"wrote {done['dna']}"]
            lines += [document["ssh"]] if document["ssh"] else []
        self.call.out.result(document, map(self.call.out.suggested, lines))

    def _document(self, done: "Report") -> "Report":
        order = self.order
        facts = {"name": order.name, "group": order.group.name, "region": order.region, "image": order.image.id}
        document = {"instance": done["instance"], **facts, "zone": done.get("zone"), "dna": done.get("dna")}
        machine = self.site.machine
        pair = (machine and machine.key_name) or order.pair
        if pair != order.pair:
            self.call.out.warning(f"it was started with the key pair {pair}, so this key may not open it")
        return {**document, "key_pair": pair, **self._way(machine)}

    def _way(self, machine: "Machine | None") -> "Report":
        """The address and the command, as far as there are any."""
        from nodepkg.fleet.host import host
        from nodepkg.fleet.login import login_of, ssh_command

        if machine is None:
            return {"address": None, "ssh": None}
        login = login_of(self.order.group)
        there = host(machine, self.order.region, login.address)
        try:
            words = ssh_command(there, login, self.site.root.absolute(), key=self.asked.key.expanduser())
        except RefusedError as error:
            self.call.out.warning(error.message)
            return {"address": None, "ssh": None}
        return {"address": there.address, "ssh": join(words)}


def list_instances(call: Call, patterns: Sequence[str]) -> None:
    """The table, or the documents."""
    from nodepkg.cli.account import cloud

    nodes = call.load()
    names = call.names(nodes, list(patterns))
    homes = {name: nodes.region_of(name) for name in names}
    account = cloud(call, nodes.root, nodes.sound(names)[0] if call.sandbox else []).account

    from nodepkg.fleet.listing import Scope, listing
    from nodepkg.fleet.login import login_of

    regions = {call.region} if call.region else set(homes.values())
    template = cache(lambda name: login_of(_group(nodes, name)).address)
    scope = Scope(regions, template, frozenset(nodes.names), homes if patterns else {})
    found = listing(account, scope)
    if found.unmanaged:
        call.out.note(f"left out, not nodepkg's: {count(found.unmanaged, 'instance')}")
    now = account.now()
    rows = [_row(one, now) for one in found.instances]
    call.out.table([one.document(now) for one in found.instances], COLUMNS, rows)


def _group(nodes: "Nodes", name: str) -> "Group | None":
    """None for one that nodes.json does not have, or that is wrong there: it can still be listed."""
    found = nodes.sound([name])[0] if name in nodes.names else []
    return found[0] if found else None


def _row(listed: "ListedInstance", now: float) -> tuple[str, ...]:
    machine = listed.machine
    image = {True: "current", False: f"newest: {listed.newest}", None: "?"}[listed.current]
    phase = machine.tags.get("nodepkg:phase", "")
    return (
        machine.id,
        machine.name,
        machine.group if listed.in_nodes_json else f"{machine.group} (not in nodes.json)",
        machine.zone,
        listed.address,
        f"{machine.image} ({image})",
        age(listed.age(now)),
        ", ".join(word for word in (listed.health, phase) if word),
        machine.asg,
    )


def delete_instance(call: Call, word: str) -> None:
    """Shows what goes, asks, and terminates it."""
    from nodepkg.fleet import delete

    nodes, account = _everywhere(call)
    place = delete.Place(account, nodes.root.absolute())
    found = _found(call, nodes, account, word)
    if not found and (left := delete.left_of(place.root, word)):
        call.out.note(f"AWS does not know {word} any more")
        carry_out(call, left, place, lambda reports: _show_deleted(call, word, reports))
        return
    region, machine = _the_one(call, nodes, account, found, word)
    plan = delete.plan_delete(region, machine, place.root)
    for volume in machine.staying if machine.state != "terminated" else ():
        call.out.note(f"stays: volume {volume}")
    if call.dry_run or not any(isinstance(action, delete.TerminateInstance) for action in plan):
        carry_out(call, plan, place, lambda reports: _show_deleted(call, machine.id, reports))
        return
    for action in () if call.yes else plan:
        call.out.note(str(action))
    named = printable(f"{machine.name or 'no name'}, of {machine.group}")
    confirm(f"terminate {machine.id} ({named})?", yes=call.yes)
    _terminate(call, place, region, machine, plan)


def _terminate(call: Call, place: "Place", region: str, machine: "Machine", plan: "Sequence[Action[Place]]") -> None:
    from dataclasses import replace

    from nodepkg.fleet.delete import name_to_claim

    name, command = name_to_claim(machine), f"instance:delete {machine.id}"
    with (
        _told_how_to_go_on(call, f"package {command}"),
        _claimed(call, place.account, region, name, command=command, run_id=secrets.token_hex(8)) as lease,
    ):
        carry_out(call, plan, replace(place, lease=lease), lambda reports: _show_deleted(call, machine.id, reports))


def _show_deleted(call: Call, instance: str, reports: "Sequence[Report]") -> None:
    done = {key: value for report in reports for key, value in report.items()}
    lines = [f"terminated {instance}"] if done.get("terminated") else []
    lines += [f"removed {report['dna']}" for report in reports if "dna" in report]
    lines += [f"volume {volume} stays" for volume in done.get("kept_volumes", ())]
    document = {"instance": instance, "terminated": False, "kept_volumes": [], "dna": None} | done
    call.out.result(document, lines or [f"{instance} is gone already, and nothing of it is left here"])


def log_in(call: Call, word: str, command: Sequence[str], key: Path | None) -> None:
    """This process becomes ssh."""
    from nodepkg.clients.keys import require_private
    from nodepkg.clients.openssh import become
    from nodepkg.fleet.find import require_ours
    from nodepkg.fleet.host import host
    from nodepkg.fleet.login import login_of, require_loopback, ssh_command

    key = key and key.expanduser()
    if key:
        require_private(key)
    nodes, account = _everywhere(call)
    region, machine = _the_one(call, nodes, account, _found(call, nodes, account, word), word)
    require_ours(machine)
    if machine.state != "running":
        raise RefusedError(f"{machine.id} ({machine.name or 'no name'}) is {machine.state}, not running")
    group = nodes.group(machine.group) if machine.group in nodes.names else None
    login = login_of(group)
    there = host(machine, region, login.address)
    if call.sandbox:
        require_loopback(there)
    words = ssh_command(there, login, nodes.root.absolute(), key=key, command=command)
    _ready_to_remember(nodes.root)
    call.out.detail(join(words))
    become(words)


def _everywhere(call: Call) -> "tuple[Nodes, Account]":
    from nodepkg.cli.account import cloud

    nodes = call.load()
    groups = nodes.sound(nodes.names)[0] if call.sandbox else []
    return nodes, cloud(call, nodes.root, groups).account


def _found(call: Call, nodes: "Nodes", account: "Account", word: str) -> "list[tuple[str, Machine]]":
    from nodepkg.fleet.find import instances

    return instances(account, _regions(call, nodes), word)


def _the_one(
    call: Call, nodes: "Nodes", account: "Account", found: "list[tuple[str, Machine]]", word: str
) -> "tuple[str, Machine]":
    from nodepkg.fleet.find import names, the_one

    return the_one(found, word, lambda: names(account, _regions(call, nodes)))


def _regions(call: Call, nodes: "Nodes") -> set[str]:
    return {call.region} if call.region else {nodes.region_of(name) for name in nodes.names}


def _ready_to_remember(root: Path) -> None:
    """ssh makes no folder for the host keys that it accepts; where there can be none it still logs in."""
    from nodepkg.durable import private_folder
    from nodepkg.fleet.known_hosts import KNOWN_HOSTS

    with suppress(OSError):
        private_folder(root.absolute() / KNOWN_HOSTS.parent)
