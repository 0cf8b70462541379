"""The commands as a process carries them out, on a rig with a group that has all that a rollout has to restore."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from nodepkg.autoscale.prospect import look_ahead
from nodepkg.autoscale.registered import Membership, Registries
from nodepkg.autoscale.rollback import Return
from nodepkg.autoscale.runner import Runner
from nodepkg.autoscale.task import Order, Result, Task
from nodepkg.autoscale.update import Wish
from nodepkg.autoscale.wanted import Wanted
from nodepkg.autoscale.world import AwsWorld
from nodepkg.clients.aws.account import Account
from nodepkg.clients.aws.autoscaling import AutoScaling
from nodepkg.clients.aws.scaling import Scaling
from nodepkg.clients.aws.templates import LaunchTemplates
from nodepkg.images.interrupts import Interrupts
from nodepkg.launch import Launch
from nodepkg.nodes.schema import Autoscale
from nodepkg.sandbox.front import Layer
from nodepkg.services.blocking import EtcdRegistries
from tests.autoscale.rollouts import GROUP, NEW, OLD, alarm, begun, hung_on, no_web, quick
from tests.autoscale.test_run import group
from tests.autoscale.test_runner import Told
from tests.fleets import REGION, Rig

SETTINGS = {"node_max": 4, "bake_time": 10, "timeout": 20, "ready_timeout": 120, "unhealthy_after": 20}
WINDOW = 5.0
FOREIGN = f"{GROUP}-v0"
CLAIMS = f"/nodepkg/lease/group/{GROUP}"


@dataclass
class Scene:
    """A group that serves with `size` nodes, and the launch that it is to have next; `since` this moment."""

    rig: Rig
    launch: Launch
    targets: frozenset[str]
    size: int
    since: float
    watched: bool
    before: "Standing | None" = None

    @property
    def low_water(self) -> int:
        return self.rig.world().low_water(GROUP, self.since)


@contextmanager
def scene(*layers: Layer, size: int = 2, balanced: bool = True, **settings: Any) -> Iterator[Scene]:
    """With target groups and all that hangs on a group, or without any of it; next to an ASG of somebody else."""
    with quick(*layers, direct=True, **settings) as rig:
        targets = frozenset({rig.world().target_group("web")} if balanced else set[str]())
        made = begun(rig, size, targets=targets)
        rig.group(FOREIGN, 1, tag="others", Tags=[])
        if balanced:
            hung_on(rig)
            AutoScaling(rig.account, REGION).suspend_processes(OLD, ["AZRebalance"])
        rig.wait(60)
        found = Scene(rig, made, targets, size, rig.clock.now(), balanced)
        found.before = standing(found)
        yield found


@dataclass
class Operator:
    """A process, with an account of its own."""

    scene: Scene
    run: str = "run-1"
    account: Account | None = None
    told: Told = field(default_factory=Told)
    take_over: bool = False
    poll: float = 15
    membership: Membership | None = None
    registries: Registries = field(default_factory=EtcdRegistries)

    def update(self, *, force: bool = False) -> Result:
        return self._carry_out(self.wish(force=force).task(WINDOW), "autoscale:update")

    def rollback(self) -> Result:
        """Raises RefusedError if there is nothing to undo, and nothing to go back to."""
        back = Return(self._account, group(autoscale=SETTINGS), self.run, self.membership)
        (prospect,) = look_ahead(self._account, [back.undoing(WINDOW)], no_web)
        return self._carry_out(back.way(prospect, WINDOW), "autoscale:rollback")

    @property
    def _account(self) -> Account:
        return self.account or self.scene.rig.account

    def wish(self, *, force: bool = False) -> Wish:
        wanted = Wanted(self.scene.launch, self.scene.targets, Autoscale.model_validate(SETTINGS))
        return Wish(self._account, group(autoscale=SETTINGS), self.run, wanted, force=force, membership=self.membership)

    def _carry_out(self, task: Task, command: str) -> Result:
        sleep = self.scene.rig.clock.sleep
        world = AwsWorld(self._account, command, WINDOW, no_web, self.take_over, sleep, self.registries)
        runner = Runner(world, Order([task], poll=self.poll), self.told, Interrupts())
        runner.run()
        return runner.results[GROUP]


def claims(rig: Rig) -> dict[str, Mapping[str, Any]]:
    """The values of the group's claims, by number."""
    found = rig.client("ssm").get_parameters_by_path(Path=CLAIMS)["Parameters"]
    return {one["Name"].rpartition("/")[2]: json.loads(one["Value"]) for one in found}


def bury(rig: Rig) -> None:
    """The process that holds the group is gone: as told, it was started at another moment than any that there is."""
    for number, value in claims(rig).items():
        if not value["released"]:
            buried = json.dumps({**value, "started": "1"})
            rig.client("ssm").put_parameter(Name=f"{CLAIMS}/{number}", Value=buried, Overwrite=True)


@dataclass(frozen=True)
class Standing:
    """All that there is of the group, and of others."""

    asgs: Mapping[str, tuple[Any, ...]]
    versions: Sequence[tuple[int, bool]]
    hung: Mapping[str, Any]
    alarm: Mapping[str, Any] | None
    foreign: Any


def standing(scene: Scene) -> Standing:
    """Desired sizes are told, too: nothing scales here."""
    rig, scaling = scene.rig, Scaling(scene.rig.account, REGION)
    rig.realistic.catch_up()
    found = {asg.name: asg for asg in AutoScaling(rig.account, REGION).groups()}
    foreign = found.pop(FOREIGN)
    extras = scaling.extras(list(found)) if found else {}
    return Standing(
        {
            name: (asg.min, asg.max, asg.desired, asg.suspended, frozenset(asg.target_groups), asg.status)
            for name, asg in found.items()
        },
        [(one.number, one.default) for one in LaunchTemplates(rig.account, REGION).versions(GROUP)],
        {
            name: (
                [policy.arguments for policy in one.policies],
                [action.arguments for action in one.schedules],
                one.notifications,
            )
            for name, one in extras.items()
        },
        alarm(rig) if scene.watched else None,
        foreign,
    )


def require_updated(scene: Scene, *, size: int | None = None) -> None:
    """N alone is there, with all that O had, and nothing is left over of the rollout, nor of any process."""
    now, before = standing(scene), scene.before
    assert before
    assert now.asgs == {NEW: (1, 4, size or scene.size, frozenset(), scene.targets, "")}
    ((version, is_default),) = now.versions  # 3 where 2 was undone
    assert is_default
    assert now.hung == {NEW: before.hung[OLD]}
    if now.alarm:
        assert now.alarm["Dimensions"] == [{"Name": "AutoScalingGroupName", "Value": NEW}]
        up = next(one.arn for one in Scaling(scene.rig.account, REGION).policies([NEW])[NEW] if one.name == "up")
        assert up in now.alarm["AlarmActions"]
    assert now.foreign == before.foreign
    require_no_claim(scene.rig)
    (new,) = AutoScaling(scene.rig.account, REGION).groups_named([NEW])
    assert new.template
    assert new.template.version == str(version)
    assert new.tags["nodepkg:phase"] == "serving"
    left = [key for key in new.tags if key.startswith(("nodepkg:old", "nodepkg:pin", "nodepkg:deadline"))]
    assert not left


def require_restored(scene: Scene) -> None:
    """As if there had been no rollout."""
    assert standing(scene) == scene.before
    require_no_claim(scene.rig)


def require_no_claim(rig: Rig) -> None:
    """The number of the last claim stays, released."""
    assert [value["released"] for value in claims(rig).values()] in ([], [True])


def images_of(scene: Scene, names: Collection[str]) -> set[str]:
    """The images of the nodes of these groups."""
    return {node.image for name in names for node in scene.rig.world().nodes(name)}
