"""What builds left behind in EC2: instances, key pairs and security groups, and of which build each is."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal

from nodepkg.clients.aws.account import Account
from nodepkg.clients.aws.machines import KeyPair, Machine, Machines, SecurityGroup
from nodepkg.clients.aws.tags import Tags
from nodepkg.images.journal import Record, started_at
from nodepkg.images.newest import MANAGED

BUILD_TAG = "nodepkg:build"
Kind = Literal["instance", "security group", "key pair"]
_KEY_PAIR = re.compile(r"nodepkg-([0-9a-f]{16})")
# What Packer says of the security groups that it makes (StepSecurityGroup, the same in every version).
_TEMPORARY = "Temporary group for Packer"


@dataclass(frozen=True)
class Leftover:
    """Something that a build made and that is there still.

    `build` is the id of the build, `group` the group whose image it was to be, if it is known; `started` when it
    began (UTC), None if nothing tells it; `instances` are those that use a security group.
    `tagged`: it says itself of which build it is.
    """

    kind: Kind
    id: str
    name: str
    region: str
    build: str
    group: str | None = None
    started: datetime | None = None
    state: str = ""
    instances: tuple[str, ...] = ()
    tagged: bool = True

    @property
    def line(self) -> str:
        state = f", {self.state}" if self.state else ""
        named = f" ({self.name})" if self.name not in ("", self.id) else ""
        return f"{self.kind} {self.id}{named}{state}, in {self.region}"


def key_pair_name(build: str) -> str:
    """The name of the key pair that Packer makes for a build."""
    return f"nodepkg-{build}"


def leftovers(
    account: Account, region: str, builds: Collection[str] | None, records: Sequence[Record]
) -> list[Leftover]:
    """What is there of these builds (None: of all builds of packer:run), in the order in which it can be removed.

    Only what carries a build's tag or name is ours. Packers before the amazon plugin do not tag security groups:
    theirs are those that `records` name, or that a build's instance uses, if Packer describes them as its own.
    """
    machines = Machines(account, region)
    instances = machines.instances(MANAGED, tagged=BUILD_TAG)
    known = {record.build: record for record in records if record.region == region}
    found = [
        *_instances(instances, region),
        *_security_groups(machines.security_groups(), instances, known, region),
        *_key_pairs(machines.key_pairs(), known, region),
    ]
    wanted = [_with_record(one, known.get(one.build)) for one in found]
    return [one for one in wanted if builds is None or one.build in builds]


def _instances(instances: Sequence[Machine], region: str) -> Iterator[Leftover]:
    for one in instances:
        build = one.tags[BUILD_TAG]
        started = started_at(build) or one.launched
        yield Leftover("instance", one.id, one.tags.get("Name", ""), region, build, started=started, state=one.state)


def _security_groups(
    groups: Sequence[SecurityGroup], instances: Sequence[Machine], known: Mapping[str, Record], region: str
) -> Iterator[Leftover]:
    named = {name: record.build for record in known.values() for name in record.security_groups}
    used = {group: one.tags[BUILD_TAG] for one in instances for group in one.security_groups}
    for group in groups:
        build = tagged = _tagged(group.tags)
        if build is None and group.description == _TEMPORARY:
            build = named.get(group.id) or named.get(group.name) or used.get(group.id)
        if build is not None:
            users = tuple(one.id for one in instances if group.id in one.security_groups)
            yield Leftover(
                "security group",
                group.id,
                group.name,
                region,
                build,
                started=started_at(build),
                instances=users,
                tagged=tagged is not None,
            )


def _key_pairs(pairs: Sequence[KeyPair], known: Mapping[str, Record], region: str) -> Iterator[Leftover]:
    # A template of the user's own may leave the name to Packer, which says it.
    named = {record.key_pair: record.build for record in known.values()}
    for pair in pairs:
        ours = _KEY_PAIR.fullmatch(pair.name)
        build = ours[1] if ours else _tagged(pair.tags) or named.get(pair.name)
        if build is not None:
            started = started_at(build) or pair.created
            yield Leftover("key pair", pair.name, pair.name, region, build, started=started)


def _tagged(tags: Tags) -> str | None:
    return tags.get(BUILD_TAG) if MANAGED.items() <= tags.items() else None


def _with_record(one: Leftover, record: Record | None) -> Leftover:
    if record is None:
        return one
    # The id's clock is right to some minutes: AWS takes no request of a machine whose clock is not.
    return replace(
        one, group=record.group, started=started_at(one.build) or datetime.fromtimestamp(record.started, UTC)
    )
