"""Faults at each call of a clean-up: a clear error or success, never a wrong deletion, and a second run finishes."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from nodepkg.clients.aws.account import Account
from nodepkg.errors import AwsError
from nodepkg.images.clean import Rules
from nodepkg.images.removal import Removal, plan_removal, remove
from nodepkg.sandbox.front import Layer
from tests.faults import aws, cut_page, deny, fail, lose_replies, throttle
from tests.images.pictures import REGION
from tests.images.test_removal import left, snapshots_of, without_delete_associated
from tests.worlds import World

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

LISTS = (
    "DescribeImages",
    "DescribeInstances",
    "DescribeSnapshots",
    "DescribeLaunchTemplateVersions",
    "DescribeLaunchConfigurations",
    "DescribeAutoScalingGroups",
)
ACTIONS = (*LISTS, "DescribeImageAttribute", "DeregisterImage", "DeleteSnapshot")
TAGS = {"nodepkg:image-snapshot": "true", "nodepkg:managed": "true", "group": "bee"}


@dataclass
class Fleet:
    """Three images that must stay, with their snapshots; three that are to go, two of which share one; an orphan."""

    world: World = field(default_factory=World)

    def __post_init__(self) -> None:
        world, old = self.world, timedelta(days=9)
        self.used = world.image("used", "bee", age=old)
        world.instance(self.used, "stopped")
        self.configured = world.image("configured", "bee", age=old)
        world.launch_configuration("web", self.configured)
        self.newest = world.image("newest", "bee")
        self.kept = {self.used, self.configured, self.newest}
        first = world.image("first", "bee", age=old)
        second = world.image("second", "bee", age=old, snapshots=2)
        third = world.image("third", "bee", age=old, shares_with=first)
        self.doomed = {first, second, third}
        self.orphan = world.snapshot(age=timedelta(hours=2), tags=TAGS)
        self.kept_snapshots = snapshots_of(world, *self.kept)

    def spared(self) -> bool:
        images, snapshots = left(self.world)
        return self.kept <= images and self.kept_snapshots <= snapshots

    def clean(self) -> bool:
        """Whether nothing is left but what must stay."""
        images, snapshots = left(self.world)
        ours = {one for one in snapshots if "nodepkg:image-snapshot" in self.world.ec2.tags.get(one, {})}
        return images == self.kept and ours == self.kept_snapshots


def clean_up(account: Account, world: World) -> None:
    rules = Rules({REGION: ["bee"]}, 1, world.now)
    removal = Removal.of(account, rules.judge)
    judgement = removal.judgement(REGION)
    plan = plan_removal(judgement)
    list(remove(plan, removal, lambda _: None))


FAULTS: dict[str, Callable[[str], Layer]] = {
    "throttle": lambda action: throttle(action, 1),
    "error": lambda action: fail(action, 1),
    "lost reply": lambda action: lose_replies(action, 1),
    "cut page": lambda action: cut_page(action, count=1),
    "denied": deny,
}


@dataclass
class Switch:
    """A layer that can be turned off."""

    fault: Layer
    on: bool = True

    def __call__(self, app: "WSGIApplication") -> "WSGIApplication":
        faulty = self.fault(app)

        def answer(environ: "WSGIEnvironment", start_response: "StartResponse") -> "Iterable[bytes]":
            return (faulty if self.on else app)(environ, start_response)

        return answer


CALLS: list[tuple[str, Sequence[Layer]]] = [
    *((action, ()) for action in ACTIONS),
    ("DeregisterImage", (without_delete_associated,)),
    ("DeleteSnapshot", (without_delete_associated,)),
]


@pytest.mark.parametrize(
    ("action", "ec2", "fault"),
    # Of a call that changes nothing a reply that is lost is an error like others.
    [(*call, fault) for call in CALLS for fault in FAULTS if fault != "lost reply" or call[0] not in LISTS],
)
def test_a_fault_at_a_call(action: str, ec2: Sequence[Layer], fault: str) -> None:
    switch = Switch(FAULTS[fault](action))
    with aws(*ec2, switch) as account:
        fleet, finished = Fleet(), False
        with suppress(AwsError):
            clean_up(account, fleet.world)
            finished = True
        assert fleet.spared()
        assert finished or fault in ("cut page", "denied")
        assert fleet.clean() or not finished
        switch.on = False
        if not finished:
            clean_up(account, fleet.world)
        assert fleet.clean()
