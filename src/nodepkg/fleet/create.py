"""instance:create: the plan of one instance, and its steps. What was begun is finished by the same call."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from nodepkg.clients.aws.account import Account
from nodepkg.clients.aws.ec2 import Subnet
from nodepkg.clients.aws.launches import NO_ROOM, Launches
from nodepkg.clients.aws.machines import Machine, Machines
from nodepkg.clients.aws.undecided import is_undecided
from nodepkg.errors import AwsError, CredentialsError, RefusedError
from nodepkg.fleet.host import host
from nodepkg.fleet.login import login_of
from nodepkg.fleet.order import LIVING, PHASE, RUN, Order, pair_of, unfinished
from nodepkg.launch import MANAGED
from nodepkg.lease.claim import BEAT_SECONDS, Lease
from nodepkg.plan import Action, Report
from nodepkg.render import files
from nodepkg.render.dna import instance_dna

RUNNING_SECONDS = 600.0
_PATIENCE_SECONDS = 10.0  # for what was just made, and may be invisible
_ASK_AGAIN_SECONDS = 1.0
_TRIES = 4  # in one place, if replies are lost
_BLIND_LOOKS = 5
_NO_ROOM_AFTER_ALL = "Server.InsufficientInstanceCapacity"


@dataclass
class Site:
    """Where the steps are done: the account, the project, the lease of the name once it is claimed.

    `window` is the consistency window, `poll` how often is looked, both in seconds. `instance` is known once it is
    started, `machine` once it runs. `refused` is what EC2 said of the places without room, in their order, and `ended`
    are instances that it started, and ended before they ran.
    """

    account: Account
    root: Path
    poll: float
    window: float
    sleep: Callable[[float], None]
    say: Callable[[str], None]
    claimed: Lease | None = None
    instance: str = ""
    machine: Machine | None = None
    refused: list[AwsError] = field(default_factory=list)
    ended: set[str] = field(default_factory=set)

    @property
    def lease(self) -> Lease:
        if self.claimed is None:
            raise AssertionError("the name is not claimed")
        return self.claimed

    def seen(self, look: Callable[[], Machine | None], seconds: float) -> Machine | None:
        """What a look finds, again and again for so long: what is new may be invisible."""
        until = self.account.uptime() + seconds
        while (found := look()) is None and self.account.uptime() < until:
            self.sleep(_ASK_AGAIN_SECONDS)
        return found


@dataclass(frozen=True)
class ImportKeyPair:
    """The public half of the key, under a name that follows from it."""

    order: Order

    def __str__(self) -> str:
        return f"import the key's public half as key pair {self.order.pair}"

    def run(self, site: Site, /) -> Report:
        order, launches = self.order, Launches(site.account, self.order.region)
        told = order.pair, order.wish.key.text, {MANAGED: "true"}
        made = site.lease.making("importing the key", lambda: launches.import_key_pair(*told))
        if not made and not self._is_there(site):
            raise RefusedError(
                f"the key pair {order.pair} in {order.region} is of another key", hint="remove it, or name another key"
            )
        return {"key_pair": order.pair}

    def _is_there(self, site: Site) -> bool:
        """After a lost reply, or if somebody else was quicker: whether the one of this name is of the same key."""
        machines, order = Machines(site.account, self.order.region), self.order
        until = site.account.uptime() + max(site.window, _PATIENCE_SECONDS)
        while True:
            there = [one for one in machines.key_pairs(public=True) if one.name == order.pair]
            if there or site.account.uptime() >= until:
                return pair_of(there, order.wish.key) is not None
            site.sleep(_ASK_AGAIN_SECONDS)


@dataclass(frozen=True)
class StartInstance:
    """Tries one place after the other, from the first that has not refused, until EC2 has room."""

    order: Order

    def __str__(self) -> str:
        first, *others = self.order.zones
        otherwise = f" (or {', '.join(others)}, if there is no room)" if others else ""
        kind = self.order.group.settings.instance_type
        return f"start {self.order.name}, {kind} of {self.order.image.id}, in {first}{otherwise}"

    def run(self, site: Site, /) -> Report:
        for number, subnet in list(enumerate(self.order.subnets))[len(site.refused) :]:
            try:
                machine = self._started(site, subnet, f"{self.order.run_id}-{number}-{subnet.zone}"[:64])
            except AwsError as error:
                if error.code not in NO_ROOM:
                    raise
                site.refused.append(error)
                site.say(f"no room in {subnet.zone}: {error.message}")
                continue
            site.instance = machine.id
            return {"instance": machine.id, "zone": subnet.zone}
        raise self._no_room(site.refused)

    def _no_room(self, refused: list[AwsError]) -> AwsError:
        kind, zones = self.order.group.settings.instance_type, ", ".join(self.order.zones)
        hint = "without --zone every zone of the group is tried" if self.order.wish.zone else "try again later"
        return AwsError(f"no room for {kind} in {zones}: {refused[-1].message}", code=refused[-1].code, hint=hint)

    def _started(self, site: Site, subnet: Subnet, token: str) -> Machine:
        """With one token EC2 starts one instance, however often it is told; and it is looked for in between."""
        until, tries = site.account.uptime() + max(site.window, _PATIENCE_SECONDS), _TRIES
        launches, data = Launches(site.account, self.order.region), {**self.order.data, "SubnetId": subnet.id}
        while True:
            try:
                return site.lease.making("starting", lambda: launches.run_instance(data, token))
            except CredentialsError:
                raise
            except AwsError as error:
                if is_undecided(error):
                    tries -= 1
                    site.say(f"AWS has not said whether it was started ({error.message}): looking for it")
                    if found := site.seen(lambda: self._ours(site), site.window):
                        return found
                elif error.code != "InvalidKeyPair.NotFound" or site.account.uptime() >= until:
                    raise
                if not tries:
                    raise
            site.sleep(_ASK_AGAIN_SECONDS)

    def _ours(self, site: Site) -> Machine | None:
        named = Machines(site.account, self.order.region).named(self.order.name)
        ours = (one for one in named if one.tags.get(RUN) == self.order.run_id and one.id not in site.ended)
        return next(ours, None)


@dataclass(frozen=True)
class AwaitRunning:
    """Until EC2 says that it runs. `instance` is the one that an earlier call has begun, if there is one."""

    order: Order
    instance: str = ""

    def __str__(self) -> str:
        return f"wait until {self.instance or self.order.name} runs"

    def run(self, site: Site, /) -> Report:
        site.instance = self.instance or site.instance
        while ended := self._wait(site):
            site.say(f"no room in {ended.zone}: {ended.id} is {ended.state}: {ended.reason}")
            site.refused.append(AwsError(ended.reason, code=_NO_ROOM_AFTER_ALL.partition(".")[2]))
            StartInstance(self.order).run(site)
        return {"instance": site.instance, "zone": site.machine.zone if site.machine else None}

    def _wait(self, site: Site) -> Machine | None:
        """Until it runs; gives one that EC2 has ended since its zone had no room after all."""
        began, ran = site.account.uptime(), None
        for machine in self._looks(site):
            now = site.account.uptime()
            if machine and machine.state == "running":
                site.machine, ran = machine, now if ran is None else ran
                if self._has_address(machine) or now - ran >= _PATIENCE_SECONDS:
                    break
            elif machine and machine.state != "pending":
                site.ended |= {machine.id} if machine.state not in LIVING else set()
                if self._had_no_room(machine):
                    return machine
                raise self._not_running(machine)
            if now - began >= RUNNING_SECONDS:
                state = machine.state if machine else "not shown by EC2"
                raise AwsError(f"{site.instance} does not run after {RUNNING_SECONDS:g} s: it is {state}")
        return None

    def _had_no_room(self, machine: Machine) -> bool:
        """Of one that an earlier call has begun it is not known which places that has tried."""
        return not self.instance and machine.state not in LIVING and machine.reason.startswith(_NO_ROOM_AFTER_ALL)

    def _looks(self, site: Site) -> Iterator[Machine | None]:
        """Again and again; some that fail in a row are as good as one that shows nothing."""
        failed = 0
        while True:
            site.lease.beat("waiting until it runs")
            try:
                machine, failed = Machines(site.account, self.order.region).machine(site.instance), 0
            except CredentialsError:
                raise
            except AwsError:
                machine, failed = None, failed + 1
                if failed >= _BLIND_LOOKS:
                    raise
            yield machine
            site.sleep(min(site.poll, BEAT_SECONDS))

    def _has_address(self, machine: Machine) -> bool:
        """A public one may come some moments later."""
        return bool(host(machine, self.order.region, login_of(self.order.group).address).address)

    def _not_running(self, machine: Machine) -> AwsError:
        reason = f": {machine.reason}" if machine.reason else ""
        told = f"{machine.id} ({self.order.name}) is {machine.state} and will not run{reason}"
        if machine.state in LIVING:
            return AwsError(told, hint=f"start it, or package instance:delete {machine.id}")
        return AwsError(told, hint="AWS's reason is all that is known; the same command starts another one")


@dataclass(frozen=True)
class WriteDna:
    """The file of its own; then it is no longer being created."""

    order: Order
    instance: str = ""

    def __str__(self) -> str:
        return f"write {instance_dna(self.order.group, self.instance or 'INSTANCE_ID').path}"

    def run(self, site: Site, /) -> Report:
        artifact = instance_dna(self.order.group, site.instance)
        files.write(site.root, [artifact])
        launches = Launches(site.account, self.order.region)
        site.lease.making("finishing", lambda: launches.delete_tags(site.instance, [PHASE, RUN]))
        return {"dna": artifact.path}


def plan_create(account: Account, order: Order) -> list[Action[Site]]:
    """What makes, or finishes, the instance; raises RefusedError if another one of its name lives."""
    begun = unfinished(order, Machines(account, order.region).named(order.name))
    if begun:
        return [AwaitRunning(order, begun.id), WriteDna(order, begun.id)]
    key: list[Action[Site]] = [ImportKeyPair(order)] if order.imports else []
    return [*key, StartInstance(order), AwaitRunning(order), WriteDna(order)]
