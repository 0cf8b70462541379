"""What a rollout needs to be allowed, as docs/rollouts.md lists it, against what it calls."""

import re
from pathlib import Path

from nodepkg.autoscale.rollback import Return
from nodepkg.autoscale.runner import Runner
from nodepkg.autoscale.task import Order
from nodepkg.autoscale.world import AwsWorld
from nodepkg.images.interrupts import Interrupts
from tests.autoscale.rollouts import begun, hung_on, no_web
from tests.autoscale.test_rolled import Operator, target_group
from tests.autoscale.test_run import group
from tests.autoscale.test_runner import Told
from tests.fleets import fleet

ROOT = Path(__file__).parents[2]
# What AWS asks for on our behalf: of no call of this name.
IMPLIED = {"RunInstances", "PassRole", "AddTagsToResource"}


def listed() -> set[str]:
    text = (ROOT / "docs" / "rollouts.md").read_text().split("## What it has to be allowed", 1)[1]
    block = text.split("```", 2)[1]
    return set(re.findall(r"\b[a-z0-9]+:([A-Z]\w+)", block))


def called() -> set[str]:
    """By an update of a group on which everything hangs that can, and by a rollback."""
    with fleet() as rig:
        targets = [target_group(rig)]
        made = begun(rig, 2, targets=targets)
        hung_on(rig)
        rig.account.sent.clear()
        assert Operator(rig, made, targets).update().result == "updated"
        world = AwsWorld(rig.account, "autoscale:rollback", 10, no_web, sleep=rig.wait)
        Runner(world, Order([Return(rig.account, group(), "run-2").undoing(10)]), Told(), Interrupts()).run()
        return set(rig.account.sent)


def test_everything_that_a_rollout_calls_is_listed() -> None:
    assert called() - listed() == set()


def test_nothing_is_listed_that_nodepkg_does_not_call() -> None:
    code = "".join(path.read_text() for path in (ROOT / "src" / "nodepkg" / "clients" / "aws").glob("*.py"))
    snake = {name: re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower() for name in listed() - IMPLIED}
    assert [name for name, method in snake.items() if method not in code] == []
