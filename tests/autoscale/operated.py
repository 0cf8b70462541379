"""A group on the rig that autoscale:run might have started, and processes that operate on it."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from nodepkg.asked import web_of
from nodepkg.autoscale.operations import OfGroup, Site
from nodepkg.autoscale.outlook import by_group
from nodepkg.autoscale.stop import Running
from nodepkg.autoscale.task import Lease, Standing, Task
from nodepkg.autoscale.world import AwsWorld
from nodepkg.clients.aws.autoscaling import AutoScaling, AutoScalingGroup
from nodepkg.plan import Report
from tests.fleets import REGION, Rig

GROUP, ASG = "bee", "bee-v001"
KEY = (REGION, GROUP)
WINDOW, POLL = 10.0, 5.0


def begun(rig: Rig, desired: int = 2, *, name: str = ASG, tag: str = GROUP, phase: str = "serving", **more: Any) -> str:
    """Its nodes serve. `tags` are further tags of it."""
    tags = {"group": tag, "nodepkg:managed": "true", "nodepkg:phase": phase, **more.pop("tags", {})}
    told = [{"Key": key, "Value": value, "PropagateAtLaunch": False} for key, value in tags.items()]
    rig.world()
    rig.group(name, desired, least=more.pop("least", 1), most=more.pop("most", 4), Tags=told, **more)
    rig.wait(300)
    return name


def asg(rig: Rig, name: str = ASG) -> AutoScalingGroup:
    found = AutoScaling(rig.account, REGION).group(name)
    assert found
    return found


def sizes(rig: Rig, name: str = ASG) -> tuple[int, int, int]:
    found = asg(rig, name)
    return found.min, found.max, found.desired


def running(rig: Rig) -> Running:
    return {(REGION, name): asgs for name, asgs in by_group(AutoScaling(rig.account, REGION).groups()).items()}


@dataclass
class Told:
    """What a watcher hears; `then` is done when the first group is claimed."""

    lines: list[str]
    then: Callable[[], object] = lambda: None

    def began(self, group: str) -> None:
        self.lines.append(f"{group}: began")
        self.then()

    def stands(self, standing: Standing) -> None:
        self.lines.append(f"{standing.group}: {standing.state}: {standing.why}")

    def did(self, group: str, change: str) -> None:
        self.lines.append(f"{group}: {change}")

    def ended(self, group: str, result: str, told: str) -> None:
        self.lines.append(f"{group}: {result}: {told}")

    def note(self, text: str) -> None:
        self.lines.append(text)

    warning = note

    def tick(self, waiting: int) -> None:
        pass


class Killable(AwsWorld):
    """That of a process that releases nothing when it is killed."""

    def claim(self, task: Task) -> Lease:
        return Unreleased(super().claim(task))


@dataclass
class Unreleased:
    lease: Lease

    def fenced(self) -> AbstractContextManager[None]:
        return self.lease.fenced()

    def beat(self, state: str | None = None) -> None:
        self.lease.beat(state)

    def release(self) -> None:
        pass


def site(rig: Rig, told: Told, world: type[AwsWorld] = AwsWorld, *, take_over: bool = False) -> Site:
    """What a process works with; it waits on the rig's clock."""
    made = world(rig.account, "a command of a test", WINDOW, web_of(rig.account), take_over, rig.clock.sleep)
    return Site(made, lambda: nullcontext(told), "run", POLL)


def carry_out(rig: Rig, operations: Sequence[OfGroup], told: list[str] | None = None) -> list[Report]:
    here = site(rig, Told([] if told is None else told))
    for operation in operations:
        operation.run(here)
    here.pursue()
    return here.reports


def carry_out_and_die(rig: Rig, operations: Sequence[OfGroup], *, take_over: bool = False) -> None:
    """As `carry_out`, but that nothing is released by a process that is killed."""
    here = site(rig, Told([]), Killable, take_over=take_over)
    for operation in operations:
        operation.run(here)
    here.pursue()
