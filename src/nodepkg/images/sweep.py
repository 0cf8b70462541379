"""packer:sweep: removing what builds left behind, and never what a build that lives needs."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

from nodepkg.clients.aws.account import CONSISTENCY_SECONDS, Account
from nodepkg.clients.aws.images import Images
from nodepkg.clients.aws.machines import Machines
from nodepkg.clients.packer import builds_on_this_machine
from nodepkg.errors import AwsError
from nodepkg.images.journal import Journal, Record
from nodepkg.images.leftovers import BUILD_TAG, Leftover, leftovers
from nodepkg.images.newest import MANAGED, belongs
from nodepkg.plan import Action, Report

TERMINATED_SECONDS = 600.0
# EC2 gives a security group free a while after the instance that used it is terminated.
IN_USE_SECONDS = 60.0
WIND_DOWN_SECONDS = 300.0
# A build of which it is not known in which account it was is remembered that long.
FORGOTTEN = timedelta(days=30)


@dataclass(frozen=True)
class Verdict:
    """What becomes of one leftover, and why."""

    leftover: Leftover
    removed: bool
    why: str

    @property
    def word(self) -> str:
        return "remove" if self.removed else "spare"

    def document(self) -> dict[str, Any]:
        one = self.leftover
        return {
            "kind": one.kind,
            "id": one.id,
            "name": one.name,
            "region": one.region,
            "build": one.build,
            "group": one.group,
            "started": one.started.isoformat() if one.started else None,
            "removed": self.removed,
            "why": self.why,
        }


def sweep_plan(
    found: Sequence[Leftover],
    *,
    knows: Callable[[str], bool],
    lives: Callable[[str], bool],
    older_than: timedelta,
    now: datetime,
) -> list[Verdict]:
    """A verdict on each leftover; what belongs to one build goes together.

    `knows` tells whether a build was started from here, `lives` whether its processes run: of one that was started
    on another machine nobody here can tell, so only its age counts.
    """
    started: dict[str, datetime] = {}
    for one in found:
        if one.started:
            started[one.build] = max(one.started, started.get(one.build, one.started))

    def spared(build: str) -> str | None:
        if not build:
            return "no build of packer:run"
        if lives(build):
            return "its build is running"
        if build not in started:
            return "its age is not known"
        if max(now - started[build], timedelta()) < older_than:
            return f"younger than {spoken(older_than)}"
        return None

    def began(build: str) -> str:
        return f"its build began {spoken(now - started[build])} ago" + ("" if knows(build) else ", not from here")

    why = {build: spared(build) for build in {one.build for one in found}}
    staying = {one.id for one in found if one.kind == "instance" and why[one.build]}
    verdicts = []
    for one in found:
        reason = why[one.build] or _in_use(one, staying)
        verdicts.append(Verdict(one, not reason, reason or began(one.build)))
    return verdicts


def _in_use(one: Leftover, staying: Collection[str]) -> str | None:
    users = [instance for instance in one.instances if instance in staying]
    return f"in use by {', '.join(users)}" if users else None


def spoken(length: timedelta) -> str:
    """`3 d 4 h`, `24 h`, `5 min`, `12 s`: the two largest units, days from two on."""
    seconds = max(int(length.total_seconds()), 0)
    days, hours, minutes = seconds // 86400, seconds // 3600, seconds // 60
    if days >= 2:
        return f"{days} d {hours % 24} h" if hours % 24 else f"{days} d"
    if hours:
        return f"{hours} h {minutes % 60} min" if minutes % 60 else f"{hours} h"
    return f"{minutes} min" if minutes else f"{seconds} s"


@dataclass
class Broom:
    """What the actions work with. `poll` is in seconds.

    `failures` gathers what could not be removed: the id, and why.
    """

    account: Account
    poll: float
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    failures: dict[str, str] = field(default_factory=dict)

    def wait_until(self, done: Callable[[], bool], seconds: float) -> bool:
        """Looks until it is done; False if that takes longer than `seconds`."""
        deadline = self.clock() + seconds
        while not done():
            if self.clock() >= deadline:
                return False
            self.sleep(self.poll)
        return True

    def attempt(self, what: Leftover, step: Callable[[Machines], str | None], *, removes: bool = True) -> Report:
        """Does it; one that fails (with an AwsError, or the reason as text) keeps no other from going."""
        try:
            failure = step(Machines(self.account, what.region))
        except AwsError as error:
            failure = error.message
        self.failures.pop(what.id, None)
        if failure:
            self.failures[what.id] = f"{what.kind} {what.id} in {what.region}: {failure}"
        named = {"kind": what.kind, "id": what.id, "region": what.region, "build": what.build}
        return {**named, "removed": removes and not failure, "error": failure}


@dataclass(frozen=True)
class TagSecurityGroup:
    """So that the next sweep finds it, should this one be cut short: without its instance nothing tells whose it is."""

    group: Leftover

    def __str__(self) -> str:
        return f"tag {self.group.line}, as that of build {self.group.build}"

    def run(self, broom: Broom, /) -> Report:
        tags = {**MANAGED, BUILD_TAG: self.group.build}
        return broom.attempt(
            self.group, lambda machines: machines.tag_security_group(self.group.id, tags), removes=False
        )


@dataclass(frozen=True)
class TerminateInstance:
    """Asks for it, and does not wait."""

    instance: Leftover

    def __str__(self) -> str:
        return f"terminate {self.instance.line}"

    def run(self, broom: Broom, /) -> Report:
        return broom.attempt(self.instance, lambda machines: machines.terminate_instance(self.instance.id))


@dataclass(frozen=True)
class DeleteSecurityGroup:
    """As soon as the instances that used it are terminated."""

    group: Leftover

    def __str__(self) -> str:
        return f"delete {self.group.line}"

    def run(self, broom: Broom, /) -> Report:
        return broom.attempt(self.group, lambda machines: self._delete(machines, broom))

    def _delete(self, machines: Machines, broom: Broom) -> str | None:
        for instance in self.group.instances:
            if instance in broom.failures:
                return f"{instance} uses it"
            if not broom.wait_until(lambda: machines.state(instance) == "terminated", TERMINATED_SECONDS):  # noqa: B023
                return f"{instance} uses it, and is not terminated after {TERMINATED_SECONDS:.0f} s"
        if not broom.wait_until(lambda: machines.delete_security_group(self.group.id), IN_USE_SECONDS):
            return f"it is still in use after {IN_USE_SECONDS:.0f} s"
        return None


@dataclass(frozen=True)
class DeleteKeyPair:
    pair: Leftover

    def __str__(self) -> str:
        return f"delete {self.pair.line}"

    def run(self, broom: Broom, /) -> Report:
        return broom.attempt(self.pair, lambda machines: machines.delete_key_pair(self.pair.id))


def plan_sweep(verdicts: Sequence[Verdict]) -> list[Action[Broom]]:
    """All instances first, so that they end side by side; then security groups, then key pairs."""
    doomed = [verdict.leftover for verdict in verdicts if verdict.removed]
    actions: list[Action[Broom]] = [TagSecurityGroup(one) for one in doomed if not one.tagged]
    actions += [TerminateInstance(one) for one in doomed if one.kind == "instance"]
    actions += [DeleteSecurityGroup(one) for one in doomed if one.kind == "security group"]
    actions += [DeleteKeyPair(one) for one in doomed if one.kind == "key pair"]
    return actions


@dataclass
class Sweep:
    """One look at what builds (None: all that there are) left in some regions, and at who lives."""

    account: Account
    regions: Sequence[str]
    journal: Journal
    older_than: timedelta
    builds: Collection[str] | None = None
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    def examine(self) -> list[Verdict]:
        """The verdicts on all leftovers. Raises AwsError."""
        records = self.journal.records()
        found = [one for region in self.regions for one in leftovers(self.account, region, self.builds, records)]
        # After the listing: a build lives, and its lock is taken, before there is anything of it. One that was started
        # from another copy of the project is not in this journal, but its Packer runs.
        here = builds_on_this_machine()
        return sweep_plan(
            found,
            knows=self.journal.knows,
            lives=lambda build: self.journal.lives(build) or build in here,
            older_than=self.older_than,
            now=self.now(),
        )

    def settle(self, verdicts: list[Verdict], broom: Broom, say: Callable[[str], None]) -> list[Verdict]:
        """The verdicts as soon as no Packer is winding down whose `package` was killed: they remove things, too."""
        builds = {one.leftover.build for one in verdicts}
        # Also of those of which nothing is there yet: they may be about to make it.
        here = {record.build for record in self.journal.records() if self._may_be_here(record)}
        builds |= here
        orphaned = [build for build in sorted(builds) if self.journal.orphaned(build)]
        for build in orphaned:
            say(f"Packer of build {build}, whose nodepkg was killed, is removing what it made: waiting for it")
            broom.wait_until(lambda: not self.journal.orphaned(build), WIND_DOWN_SECONDS)  # noqa: B023
        return self.examine() if self._wait_for_ec2(here, broom, say) or orphaned else verdicts

    def _wait_for_ec2(self, builds: Collection[str], broom: Broom, say: Callable[[str], None]) -> bool:
        """Whether it had to: what a build has made just before its end, EC2 may not show yet."""
        ended = {build: self.journal.last_word(build) for build in builds if not self.journal.lives(build)}
        last = max(ended, key=lambda build: ended[build], default="")
        shown = ended.get(last, 0.0) + CONSISTENCY_SECONDS
        if self.now().timestamp() >= shown:
            return False
        say(f"build {last} has only just ended: waiting until EC2 shows all that it made")
        broom.wait_until(lambda: self.now().timestamp() >= shown, CONSISTENCY_SECONDS)
        return True

    def forget(self) -> list[str]:
        """Forgets the builds of these regions, and of this account, that have ended and left nothing. Raises AwsError.

        One that left an image which does not count yet is kept: packer:adopt needs to know what it was made from.
        """
        ended = [record for record in self.journal.records() if self._is_here(record)]
        ended = [record for record in ended if not self.journal.lives(record.build)]
        left = {one.build for region in {one.region for one in ended} for one in self._left(region, ended)}
        done = [record.build for record in ended if record.build not in left and not self._made_an_image(record)]
        for build in done:
            self.journal.forget(build)
        return done

    def _is_asked_for(self, record: Record) -> bool:
        return record.region in self.regions and (self.builds is None or record.build in self.builds)

    def _may_be_here(self, record: Record) -> bool:
        return self._is_asked_for(record) and record.account in ("", self._identity)

    def _is_here(self, record: Record) -> bool:
        """One of another account is not forgotten since nothing of it is seen in this one (the sandbox is one, too)."""
        known = record.account != "" and record.account == self._identity
        old = record.started < (self.now() - FORGOTTEN).timestamp()
        return self._is_asked_for(record) and (known or old)

    @cached_property
    def _identity(self) -> str:
        return self.account.identity(next(iter(self.regions)))

    def _left(self, region: str, records: Sequence[Record]) -> list[Leftover]:
        return leftovers(self.account, region, {record.build for record in records}, records)

    def _made_an_image(self, record: Record) -> bool:
        images = Images(self.account, record.region)
        image = images.image(record.image) if record.image else None
        named = images.named(record.image_name) if record.image_name and not image else []
        made = [one for one in (image, *named) if one and one.state in ("available", "pending")]
        return any(not belongs(one, record.group) for one in made)


def not_removed(failures: Mapping[str, str]) -> AwsError:
    """What is told at the end of those that did not go."""
    told = "\n".join(["these could not be removed:", *failures.values()])
    return AwsError(told, hint="run it again: what is gone already does it no harm")
