"""The runner against the rig: an embedded AWS that takes its time, on a virtual clock."""

from collections.abc import Collection
from dataclasses import dataclass, field

import pytest

from nodepkg.autoscale.observe import observe
from nodepkg.autoscale.runner import Runner
from nodepkg.autoscale.task import Order, Result
from nodepkg.autoscale.update import Wish
from nodepkg.autoscale.view import Goal
from nodepkg.autoscale.wanted import Wanted
from nodepkg.autoscale.world import AwsWorld
from nodepkg.clients.aws.autoscaling import AutoScaling
from nodepkg.errors import ExitCode, RefusedError
from nodepkg.images.interrupts import Interrupts
from nodepkg.launch import Launch
from nodepkg.nodes.schema import Autoscale
from tests.autoscale.rollouts import GROUP, begun, no_web
from tests.autoscale.test_run import group
from tests.autoscale.test_runner import Told
from tests.fleets import REGION, Rig, fleet

SETTINGS = {"node_max": 4, "bake_time": 30, "timeout": 60, "ready_timeout": 600}


def target_group(rig: Rig) -> str:
    client = rig.client("elbv2")
    vpc = rig.client("ec2").describe_vpcs()["Vpcs"][0]["VpcId"]
    made = client.create_target_group(Name="web", Protocol="HTTP", Port=80, VpcId=vpc)
    return str(made["TargetGroups"][0]["TargetGroupArn"])


@dataclass
class Operator:
    rig: Rig
    launch: Launch
    targets: Collection[str] = ()
    run: str = "run-1"
    told: Told = field(default_factory=Told)

    def wish(self) -> Wish:
        wanted = Wanted(self.launch, frozenset(self.targets), Autoscale.model_validate(SETTINGS))
        return Wish(self.rig.account, group(autoscale=SETTINGS), self.run, wanted)

    def update(self) -> Result:
        wish = self.wish()
        world = AwsWorld(self.rig.account, "autoscale:update", 10, no_web, sleep=self.rig.wait)
        runner = Runner(world, Order([wish.task(10)]), self.told, Interrupts())
        runner.run()
        return runner.results[GROUP]


@pytest.mark.parametrize("balanced", [True, False])
def test_a_group_is_replaced(balanced: bool) -> None:
    with fleet() as rig:
        targets = [target_group(rig)] if balanced else []
        made = begun(rig, 2, targets=targets)
        result = Operator(rig, made, targets).update()
        assert (result.result, result.asg, result.image) == ("updated", f"{GROUP}-v002", made.image)
        (asg,) = AutoScaling(rig.account, REGION).groups()
        assert (asg.name, asg.min, asg.max, asg.desired, list(asg.target_groups)) == (f"{GROUP}-v002", 1, 4, 2, targets)
        assert Operator(rig, made, targets, "run-2").update().result == "up to date"


def test_an_image_whose_nodes_fail_is_undone_with_the_reason() -> None:
    with fleet() as rig:
        made = begun(rig, 2)
        rig.world().sick(made.image, "impaired")
        result = Operator(rig, made).update()
        assert result.result == "rolled back"
        assert result.error
        assert result.error.exit_code is ExitCode.AWS
        assert "was not ready in time" in result.error.message
        assert "AWS cannot start a node: an instance was taken out of service in response to" in result.error.message
        (asg,) = AutoScaling(rig.account, REGION).groups()
        assert (asg.name, asg.min, asg.max, asg.desired, asg.suspended) == (f"{GROUP}-v001", 1, 4, 2, frozenset())


def test_a_group_of_size_0_gets_its_template_and_its_sizes_in_place() -> None:
    with fleet() as rig:
        made = begun(rig, 1)
        scaling = AutoScaling(rig.account, REGION)
        scaling.update_sizes(f"{GROUP}-v001", min=0, max=0, desired=0)
        rig.wait(300)
        assert Operator(rig, made).update().result == "changed"
        (asg,) = scaling.groups()
        assert (asg.name, asg.min, asg.max, asg.desired) == (f"{GROUP}-v001", 1, 4, 1)
        assert asg.template
        assert asg.template.version == "2"


def test_what_is_still_wanted_after_another_rollout_names_the_newer_image() -> None:
    with fleet() as rig:
        made = begun(rig, 1)
        wish = Operator(rig, made).wish()
        (seen,) = observe(rig.account, [wish.task(10).subject(Goal.UPDATE, "", begins=True)], web=no_web).values()
        newer, other = wish.afterwards(seen)
        assert newer == f"a newer image exists, {made.image}: package autoscale:update {GROUP}"
        assert "nodes.json wants more (" in other
        assert "key_name" in other


def test_of_two_operators_one_is_refused() -> None:
    with fleet() as rig:
        made = begun(rig, 1)
        second = list[Result]()
        first = Operator(rig, made)

        class Two(Told):
            def stands(self, standing: object) -> None:
                if not second:
                    second.append(Operator(rig, made, run="run-2").update())

        first.told = Two()
        assert first.update().result == "updated"
        assert second[0].result == "refused"
        assert isinstance(second[0].error, RefusedError)
