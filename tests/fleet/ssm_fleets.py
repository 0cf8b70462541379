"""Groups of nodes whom Systems Manager reaches, and the transport on the rig's clock."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from nodepkg.clients.aws.account import Account
from nodepkg.fleet.host import Host
from nodepkg.fleet.over_ssm import OverSsm
from nodepkg.fleet.transport import Began, Ended, Event, Job, Parcel, Wrote
from nodepkg.sandbox.front import Layer
from nodepkg.sandbox.realistic.records import Agent, Command
from tests.fleets import REGION, Rig, fleet

BUCKET, GROUP = "example-deploys", "bee"
DEPLOY = "20261121T210324-1a2b3c"


class Fleet:
    """`rig` with nodes of groups: no more of them than EC2's tags and Systems Manager tell."""

    def __init__(self, rig: Rig, folder: Path) -> None:
        self.rig, self._folder = rig, folder
        self.notes: list[str] = []
        rig.client("s3").create_bucket(Bucket=BUCKET)

    @property
    def world(self) -> Any:
        return self.rig.world().now_there

    def nodes(self, count: int, group: str = GROUP, **tags: str) -> list[str]:
        """The ids of new instances, managed by us; none of them costs moto anything."""
        first = len(self.world.launched)
        made = [
            SimpleNamespace(id=f"i-{number:017x}", state="running", _state=None)
            for number in range(first, first + count)
        ]
        self.world.ec2.reservations[f"r-{first}"] = SimpleNamespace(id=f"r-{first}", instances=made)
        for one in made:
            self.world.launched[one.id] = one
            self.world.ec2.tags[one.id] = {"group": group, "nodepkg:managed": "true", **tags}
        return [one.id for one in made]

    def agents(self, instances: Collection[str], **how: Any) -> None:
        for name in instances:
            self.world.agents[name] = Agent(**how)

    def jobs(
        self, instances: Collection[str], group: str = GROUP, dnas: Mapping[str, bytes] = {}, **more: Any
    ) -> list[Job]:
        archive = self._folder / f"{group}.tar.gz"
        archive.write_bytes(b"bundle of " + group.encode())
        parcel = Parcel(
            **{
                "deploy": DEPLOY,
                "group": group,
                "region": REGION,
                "digest": "d" * 64,
                "archive": archive,
                "path": "/opt/nodepkg",
                "command": "true",
                "timeout": 600,
                "user": "root",
                **more,
            }
        )
        hosts = [Host(name, group, REGION, "us-east-1a", name, "") for name in instances]
        return [Job(host, parcel, dnas.get(host.instance)) for host in hosts]

    def transport(self, *, account: Account | None = None, whole: bool = True, **settings: Any) -> OverSsm:
        """`whole`: it knows how many nodes there are now, so that a command by tag may serve all of them."""
        mine = sum(tags.get("group") == GROUP for tags in self.world.ec2.tags.values())
        tagged = {GROUP: mine} if whole else {}
        defaults = {"buckets": {GROUP: BUCKET}, "at_once": 10, "tagged": tagged, "window": 0}
        return OverSsm(
            account or self.rig.account,
            **{**defaults, "sleep": self.rig.clock.sleep, "note": self.notes.append, **settings},
        )

    def commands(self) -> list[Command]:
        return list(self.world.state.commands.values())


@contextmanager
def ssm_fleet(folder: Path, *layers: Layer, **settings: Any) -> Iterator[Fleet]:
    with fleet(*layers, direct=True, **settings) as rig:
        yield Fleet(rig, folder)


def drained(transport: OverSsm, seconds: float = 1e6) -> list[Event]:
    """Everything until nothing is under way any more."""
    found: list[Event] = []
    while some := transport.events(seconds):
        found += some
    return found


def ends(events: Collection[Event]) -> dict[str, Ended]:
    """By instance; fails if one has ended twice."""
    found = [event for event in events if isinstance(event, Ended)]
    assert len({one.instance for one in found}) == len(found)
    return {one.instance: one for one in found}


def results(events: Collection[Event]) -> dict[str, str]:
    return {name: str(one.result) for name, one in ends(events).items()}


def begun(events: Collection[Event]) -> list[str]:
    return [event.instance for event in events if isinstance(event, Began)]


def output(events: Collection[Event], instance: str) -> bytes:
    return b"".join(event.output for event in events if isinstance(event, Wrote) and event.instance == instance)
