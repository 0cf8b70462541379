"""AWS as the runner knows it."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from nodepkg.asked import Web
from nodepkg.autoscale.observe import Observation, Subject, observe
from nodepkg.autoscale.outlook import look
from nodepkg.autoscale.registered import Registries
from nodepkg.autoscale.steps import Change
from nodepkg.autoscale.task import Lease, Task
from nodepkg.clients.aws.account import Account
from nodepkg.clients.aws.autoscaling import AutoScaling
from nodepkg.clients.aws.scaling import Scaling
from nodepkg.lease.claim import claim
from nodepkg.plan import Report
from nodepkg.services.blocking import EtcdRegistries


@dataclass(frozen=True)
class AwsWorld:
    """`command` is what others are told who find a group taken; `sleep` is this machine's.

    `registries` are asked for groups with services only.
    """

    account: Account
    command: str
    window: float
    web: Web
    take_over: bool = False
    sleep: Callable[[float], None] = time.sleep
    registries: Registries = field(default_factory=EtcdRegistries)

    def now(self) -> float:
        return self.account.now()

    def claim(self, task: Task) -> Lease:
        return claim(
            self.account,
            task.region,
            task.group,
            command=self.command,
            run=task.run,
            take_over=self.take_over,
            window=self.window,
            state="claim",
            sleep=self.sleep,
        )

    def observe(self, subjects: Sequence[Subject]) -> Mapping[str, Observation]:
        rollouts = [one for one in subjects if one.sight is None]
        others = [one for one in subjects if one.sight is not None]
        seen = observe(self.account, rollouts, web=self.web, registries=self.registries)
        return {**seen, **look(self.account, others, web=self.web)}

    def act(self, change: Change) -> Report:
        return change.run(self.account)

    def troubles(self, task: Task, asg: str, since: float) -> Sequence[str]:
        activities = AutoScaling(self.account, task.region).activities(asg)
        found = [one.trouble for one in reversed(activities) if one.started >= since]
        told = [f"{asg}: AWS cannot start a node: {trouble}" for trouble in found if trouble]
        return list(dict.fromkeys(told))

    def schedules(self, task: Task, asg: str) -> Mapping[str, float]:
        found = Scaling(self.account, task.region).scheduled_actions([asg])[asg]
        return {one.name: one.start.timestamp() for one in found if one.start}
