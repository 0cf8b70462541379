"""A group on the rig that autoscale:run might have started, and processes that operate on it."""

from collections.abc import Sequence
from typing import Any

from nodepkg.autoscale.operations import Operation, Site
from nodepkg.autoscale.outlook import by_group, look
from nodepkg.autoscale.stop import Running
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


def site(rig: Rig, told: list[str] | None = None, *, take_over: bool = False) -> Site:
    """What a process works with; it waits on the rig's clock."""
    lines = [] if told is None else told
    return Site(
        rig.account,
        look,
        command="a command of a test",
        run_id="run",
        window=WINDOW,
        poll=POLL,
        sleep=rig.clock.sleep,
        tell=lambda group, text: lines.append(f"{group}: {text}"),
        take_over=take_over,
    )


def carry_out(rig: Rig, operations: Sequence[Operation], told: list[str] | None = None) -> list[Report]:
    here = site(rig, told)
    with here.holding():
        for operation in operations:
            here.begin(operation)
        here.pursue()
    return here.reports


def carry_out_and_die(rig: Rig, operations: Sequence[Operation], *, take_over: bool = False) -> None:
    """As `carry_out`, but that nothing is released by a process that is killed."""
    here = site(rig, take_over=take_over)
    for operation in operations:
        here.begin(operation)
    here.pursue()
