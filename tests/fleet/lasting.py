"""Nodes that outlive the process that deploys to them, and a group of them that is deployed to again and again."""

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from nodepkg.clients.aws.autoscaling import AutoScaling
from nodepkg.fleet.course import GONE, SUCCEEDED, Terms
from nodepkg.fleet.host import Host
from nodepkg.fleet.record import Entry, Plan, Record, find, newest
from nodepkg.fleet.transport import Began, Ended, Event, Job, Result
from nodepkg.nodes.group import Group
from nodepkg.pace import Pace, Share
from nodepkg.sandbox.front import Layer
from tests.autoscale.ends import MortalAccount
from tests.fleet.deploys import WINDOW, Deployed, begun, deployed, groups, hosts_of
from tests.fleet.hosts import Hosts
from tests.fleets import REGION, Rig, fleet

CLAIMS = "/nodepkg/lease/group/bee"
CONVERGE = 20.0


@dataclass
class Nodes:
    """What the nodes themselves have written down: (deploy, from, to) of each converge, which ends whoever looks."""

    runs: dict[str, list[tuple[str, float, float]]] = field(default_factory=dict)

    def ends(self, job: Job, now: float) -> tuple[float, str, bool]:
        """When this job will have ended here, what refuses it, and whether it had succeeded before."""
        deploy, name = job.parcel.deploy, job.host.instance
        mine = self.runs.setdefault(name, [])
        for other, _, until in mine:
            if now < until:
                return until, "" if other == deploy else f"deploy {other} runs there", False
            if other == deploy:
                return now, "", True
        mine.append((deploy, now, now + CONVERGE))
        return now + CONVERGE, "", False

    def require_in_order(self, deploys: Sequence[str]) -> None:
        """Each ran once for each of these deploys, or at most once; and none two of them at a time."""
        for name, runs in self.runs.items():
            ids = [deploy for deploy, _, _ in runs]
            assert len(set(ids)) == len(ids), f"{name} ran {ids}"
            assert set(ids) <= set(deploys), f"{name} ran {ids}"
            assert all(one[2] <= other[1] for one, other in pairwise(runs)), f"{name}: {runs}"


class Lasting(Hosts):
    """The Transport to such nodes, on their clock."""

    nodes: Nodes

    def start(self, jobs: Sequence[Job], /) -> None:
        for job in jobs:
            name, now = job.host.instance, self.now()
            until, refused, again = self.nodes.ends(job, now)
            self._note("start", name)
            if refused:
                self._happens(0, "refused", Ended(name, Result.REFUSED, why=refused))
                continue
            self._happens(0, "began", Began(name))
            ended: Event = Ended(name, Result.SUCCEEDED, 0, again=again)
            self._happens(until - now, "succeeded", ended)


class MortalRecord(Record):
    """Of a process that may be killed: from then on it writes nothing."""

    account: MortalAccount | None = None

    def note(self, entry: Entry) -> None:
        if self.account is None or not self.account.dead:
            super().note(entry)


@dataclass
class Scene:
    """A group that serves, next to one of somebody else's; `floor` of its nodes have to stay healthy."""

    rig: Rig
    folder: Path
    known: Mapping[str, Group]
    members: list[str]
    arn: str
    drains: bool
    floor: int
    since: float
    before: Any = None
    nodes: Nodes = field(default_factory=Nodes)
    deploys: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    on: Callable[[str], None] = lambda what: None

    def deploy(self, account: Any = None, *, of: int | None = None) -> Deployed:
        """A new deploy, to so many of its nodes."""
        self.deploys.append(f"20260101T00000{len(self.deploys)}-000000")
        return self._run(hosts_of(self.rig, "bee")[:of], account, deploy=self.deploys[-1])

    def retry(self, account: Any = None) -> Deployed:
        """Goes on with the last one, if it was begun; else it begins a new one."""
        if newest(self.folder) is None:
            return self.deploy(account)
        record = find(self.folder, None)
        entries = record.entries()
        done = {name for name, one in entries.items() if one.over and one.state in (SUCCEEDED, GONE)}
        ran = {name: list(runs) for name, runs in self.nodes.runs.items()}
        left = [one for one in record.plan.hosts if one.instance not in done]
        found = self._run(left, account, again=record)
        assert all(self.nodes.runs.get(name) == ran.get(name) for name in done)
        return found

    def _run(self, hosts: Sequence[Host], account: Any, **more: Any) -> Deployed:
        transport = Lasting(self.rig.clock.now, self.rig.wait)
        transport.nodes = self.nodes
        transport.watches = lambda what, _: self.on(what)

        def records(folder: Path, plan: Plan) -> Record:
            record = MortalRecord(folder, plan)
            record.account = account if isinstance(account, MortalAccount) else None
            return record

        done = deployed(
            self.rig,
            self.folder,
            self.known,
            Pace(2, max_errors=0),
            terms={"bee": Terms(Share(self.floor), self.drains)},
            account=account,
            hosts=hosts,
            transport=transport,
            records=records,
            mends={} if hosts else {"bee": REGION},
            window=WINDOW,
            patience=150.0,
            **more,
        )
        self.told += done.heard.lines
        return done

    def moved(self) -> None:
        """Into a folder of its own, for a process that was forked."""
        folder = self.folder.with_name(f"{self.folder.name}-{os.getpid()}")
        shutil.copytree(self.folder, folder)
        self.folder = folder

    def bury(self) -> None:
        """The process that holds the group is gone: as told, it was started at another moment than any that is."""
        for number, value in self.claims().items():
            if not value["released"]:
                buried = json.dumps({**value, "started": "1"})
                self.rig.client("ssm").put_parameter(Name=f"{CLAIMS}/{number}", Value=buried, Overwrite=True)

    def claims(self) -> dict[str, Mapping[str, Any]]:
        found = self.rig.client("ssm").get_parameters_by_path(Path=CLAIMS)["Parameters"]
        return {one["Name"].rpartition("/")[2]: json.loads(one["Value"]) for one in found}

    def standing(self) -> Any:
        """All that a deploy has to leave as it was."""
        self.rig.realistic.catch_up()
        asgs = AutoScaling(self.rig.account, REGION).groups()
        told = self.rig.client("ec2").describe_tags()["Tags"]
        tags = sorted((one["ResourceId"], one["Key"], one["Value"]) for one in told)
        return (
            sorted((one.name, one.suspended, sorted(one.tags.items()), one.desired) for one in asgs),
            sorted((one.name, sorted((node.id, node.lifecycle, node.health) for node in one.members)) for one in asgs),
            [one for one in tags if one[0].startswith("i-")],
            self.rig.world().target_states(self.arn) if self.arn else {},
        )

    def require_well(self) -> None:
        """After the last deploy: everything is as it was, and every node has it."""
        self.rig.wait(120)
        assert self.standing() == self.before, self.told
        self.nodes.require_in_order(self.deploys)
        assert self.rig.world().low_water("bee", self.since) >= self.floor, self.told
        held = [value for value in self.claims().values() if not value["released"]]
        assert held == []


@contextmanager
def scene(
    folder: Path, *layers: Layer, of: tuple[bool, bool, str] = (True, True, "ELB"), **settings: Any
) -> Iterator[Scene]:
    """Three nodes, of which two have to stay healthy.

    `of`: whether they drain, whether they are behind a target group, and the type of their ASG's health checks.
    """
    drains, behind, kind = of
    quick: dict[str, Any] = {"drain": 10, "healthy": 5, "pending": 5, "checks": 5, "notice": 5}
    with fleet(*layers, direct=True, **quick | settings) as rig:
        arn = rig.world().target_group("web") if behind else ""
        more: dict[str, Any] = {"HealthCheckType": kind, "HealthCheckGracePeriod": 0}
        members = begun(rig, 3, target_groups=[arn] if arn else [], **more)
        rig.group("others", 1, tag="others")
        rig.world()
        rig.wait(60)
        known = groups(folder / "project", bee={"deploy": {"drain": drains}})
        here = Scene(rig, folder / "run", known, members, arn, drains, 2, rig.clock.now())
        here.folder.mkdir(exist_ok=True)
        AutoScaling(rig.account, REGION).suspend_processes("bee-v001", ["AZRebalance"])
        here.before = here.standing()
        yield here
