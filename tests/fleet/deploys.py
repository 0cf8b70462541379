"""Deploys in tests: groups of a rig, the runner around them, what it was told."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nodepkg.asked import web_of
from nodepkg.fleet.course import Counts, Order, Terms
from nodepkg.fleet.deploy import Runner
from nodepkg.fleet.host import Host, host
from nodepkg.fleet.record import Part, Plan, Record, new_deploy_id
from nodepkg.fleet.sight import presence
from nodepkg.fleet.transport import Job, Parcel
from nodepkg.fleet.world import AwsWorld
from nodepkg.images.interrupts import Interrupts
from nodepkg.lease.held import Claimant, held
from nodepkg.nodes.group import Group
from nodepkg.pace import Pace, Share
from tests.fleet.hosts import Hosts
from tests.fleets import REGION, FleetAccount, Rig
from tests.projects import make_project

WINDOW, POLL = 10.0, 5.0


@dataclass
class Heard:
    """A watcher."""

    lines: list[str] = field(default_factory=list)
    then: Callable[[str], None] = lambda line: None

    def stands(self, host: Host, stage: str) -> None:
        self._hear(f"{host.instance}: {stage}")

    def wrote(self, host: Host, output: bytes) -> None:
        pass

    def ended(self, host: Host, state: str, told: str) -> None:
        self._hear(f"{host.instance}: {told}")

    def note(self, text: str) -> None:
        self._hear(text)

    def warning(self, text: str) -> None:
        self._hear(f"warning: {text}")

    def tick(self, counts: Callable[[], Counts]) -> None:
        pass

    def _hear(self, line: str) -> None:
        self.lines.append(line)
        self.then(line)


def begun(rig: Rig, desired: int = 3, *, name: str = "bee-v001", tag: str = "bee", **more: Any) -> list[str]:
    """The nodes of a new ASG, which serve."""
    rig.world()
    tags = {"group": tag, "nodepkg:managed": "true"}
    told = [{"Key": key, "Value": value, "PropagateAtLaunch": True} for key, value in tags.items()]
    rig.group(name, desired, least=0, most=max(desired, 4), Tags=told, **more)
    rig.wait(300)
    return sorted(node.id for node in rig.world().nodes(name))


def groups(folder: Path, **settings: Mapping[str, Any]) -> dict[str, Group]:
    """Groups of a project with these settings."""
    base = {"run_list": ["recipe[x]"], "source_ami": "ami-1ebb2077", "region": REGION}
    nodes = make_project(folder, {name: {**base, **more} for name, more in settings.items()})
    return {name: nodes.group(name) for name in settings}


def hosts_of(rig: Rig, *names: str) -> list[Host]:
    there = presence(rig.account, REGION, names)
    return [host(one, REGION, "{private_ip}") for one in there.machines if there.counts(one)]


def jobs_of(hosts: Sequence[Host], deploy: str = "20260101T000000-000000") -> list[Job]:
    return [
        Job(one, Parcel(deploy, one.group, REGION, "d" * 64, Path("x.tar.gz"), "/opt/x", "true", 1800, "root"))
        for one in hosts
    ]


@dataclass
class Deployed:
    runner: Runner
    transport: Hosts
    record: Record
    heard: Heard

    def states(self) -> dict[str, str]:
        return {name: one.state for name, one in self.runner.courses.items()}


def deployed(
    rig: Rig,
    folder: Path,
    known: Mapping[str, Group],
    pace: Pace | None = None,
    *,
    terms: Mapping[str, Terms] | None = None,
    account: FleetAccount | None = None,
    hosts: Sequence[Host] | None = None,
    heard: Heard | None = None,
    interrupts: Interrupts | None = None,
    again: Record | None = None,
    take_over: bool = False,
    behaves: Callable[..., Any] | None = None,
    watches: Callable[[str, str], None] | None = None,
    transport: Hosts | None = None,
    deploy: str = "",
    records: Callable[[Path, Plan], Record] = Record,
    **order: Any,
) -> Deployed:
    """A deploy of these groups, to its end."""
    account = account or rig.account
    found = list(hosts if hosts is not None else hosts_of(rig, *known))
    transport = transport or Hosts(rig.clock.now, rig.wait)
    if behaves:
        transport.behaves = behaves
    if watches:
        transport.watches = watches
    plan = Plan(
        deploy or new_deploy_id(rig.clock.now(), b"abc"),
        "instance:deploy",
        rig.clock.now(),
        tuple(Part(name, REGION, "d" * 64, "/opt/x", "true", "root") for name in known),
        tuple(found),
    )
    record = again or records(folder, plan)
    heard = heard or Heard()
    settings: dict[str, Any] = {"poll": POLL, "window": WINDOW} | order
    wanted = Order(
        tuple(jobs_of(found, record.plan.id)),
        terms or {name: Terms(Share(90, percent=True), group.settings.deploy.drain) for name, group in known.items()},
        pace or Pace(10, max_errors=0),
        **settings,
    )
    who = Claimant("instance:deploy", plan.id, WINDOW, rig.wait, heard.warning, take_over)
    with held(account, list(known.values()), who) as leases:
        record.resume() if again else record.begin()
        world = AwsWorld(account, known, leases, web_of(account), rig.clock.now)
        runner = Runner(
            world, transport, wanted, record=record, watcher=heard, interrupts=interrupts or Interrupts(rig.clock.now)
        )
        runner.run()
    record.close()
    return Deployed(runner, transport, record, heard)
