"""What a region holds: groups with their nodes, targets, activities. Plain values that can be copied: no moto."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

PROCESSES = (
    "Launch",
    "Terminate",
    "HealthCheck",
    "ReplaceUnhealthy",
    "AZRebalance",
    "AlarmNotification",
    "ScheduledActions",
    "AddToLoadBalancer",
    "InstanceRefresh",
)


@dataclass(eq=False)
class Wait:
    """A lifecycle hook holds a node until somebody completes its action, or until `until`."""

    token: str
    until: float
    latest: float
    """However often a heartbeat is recorded, it ends then."""


@dataclass(eq=False)
class Activity:
    """A scaling activity; moments in seconds since the epoch."""

    id: str
    group: str
    description: str
    cause: str
    start: float
    status: str = "InProgress"
    message: str | None = None
    end: float | None = None
    node: str = ""

    @property
    def progress(self) -> int:
        return 50 if self.end is None else 100


@dataclass(eq=False)
class Node:
    """An instance of a group. `lifecycle` and `health` in AWS's words; `started`: running in EC2 since."""

    id: str
    image: str
    zone: str
    type: str
    launched: float
    template: dict[str, str] | None = None
    launch_configuration: str | None = None
    lifecycle: str = "Pending"
    health: str = "Healthy"
    protected: bool = False
    started: float | None = None
    in_service: float | None = None
    ec2: str = "pending"
    checks: str = "initializing"
    waits: dict[str, Wait] = field(default_factory=dict)
    activity: Activity | None = None

    @property
    def is_leaving(self) -> bool:
        return self.lifecycle.startswith(("Terminating", "Terminated", "Detaching"))

    @property
    def counts(self) -> bool:
        """Whether it is one of the desired number."""
        return not self.is_leaving and "Standby" not in self.lifecycle


@dataclass(eq=False)
class Target:
    """A registered instance: initial, healthy, unhealthy, draining, unused."""

    id: str
    port: int
    state: str = "initial"
    reason: str | None = "Elb.RegistrationInProgress"
    since: float = 0.0


@dataclass(eq=False)
class Group:
    """An Auto Scaling group. `settings`: what of its creation is told back as it was given."""

    name: str
    arn: str
    created: float
    min: int
    max: int
    desired: int
    zones: list[str]
    settings: dict[str, Any]
    nodes: dict[str, Node] = field(default_factory=dict)
    tags: dict[str, dict[str, Any]] = field(default_factory=dict)
    suspended: dict[str, str] = field(default_factory=dict)
    target_groups: dict[str, str] = field(default_factory=dict)
    """ARN -> Adding, Added, InService; Removing, which is no longer attached."""
    hooks: dict[str, dict[str, Any]] = field(default_factory=dict)
    policies: dict[str, dict[str, Any]] = field(default_factory=dict)
    schedules: dict[str, dict[str, Any]] = field(default_factory=dict)
    notifications: list[dict[str, Any]] = field(default_factory=list)
    refreshes: list[dict[str, Any]] = field(default_factory=list)
    warm_pool: dict[str, Any] | None = None
    metrics: list[str] = field(default_factory=list)
    status: str | None = None
    rebalancing: list[Node] = field(default_factory=list)
    """Nodes over the desired number, until they are in service."""
    retry_at: float = 0.0
    cause: str = ""
    """Why it is not as large as it was asked to be: said in the activities that follow."""

    @property
    def attached(self) -> list[str]:
        return [arn for arn, state in self.target_groups.items() if state != "Removing"]

    @property
    def counted(self) -> list[Node]:
        return [node for node in self.nodes.values() if node.counts]

    def runs(self, process: str) -> bool:
        return process not in self.suspended

    def has(self, node: Node) -> bool:
        return self.nodes.get(node.id) is node

    def held(self, lifecycle: str) -> Iterator[Node]:
        return (node for node in self.nodes.values() if node.lifecycle == lifecycle)


@dataclass(frozen=True)
class Agent:
    """How the agent of Systems Manager is on a node, and what becomes of the commands that it gets.

    `ping` is Online, ConnectionLost, or "" for one that was never heard of. A command takes `seconds` (None: what the
    sandbox's Realism says; infinite: it never ends, nor is anything heard of it), and ends with this code.
    """

    ping: str = "Online"
    seconds: float | None = None
    code: int = 0
    output: str = ""
    errors: str = ""


@dataclass(eq=False)
class Invocation:
    """A command on one node; `status` is what StatusDetails tells, `code` -1 until it has ended."""

    instance: str
    status: str = "Pending"
    code: int = -1
    output: str = ""
    errors: str = ""
    began: float | None = None
    ended: float | None = None


@dataclass(eq=False)
class Command:
    """A command of Run Command: `given` are the arguments of SendCommand; `status` is what StatusDetails tells.

    Of its invocations `next` have had their turn, or never get it; so many are `running`, `completed`, and `failed`.
    """

    id: str
    given: dict[str, Any]
    requested: float
    expires: float
    invocations: dict[str, Invocation] = field(default_factory=dict)
    status: str = "Pending"
    next: int = 0
    running: int = 0
    completed: int = 0
    failed: int = 0


@dataclass(eq=False)
class State:
    """All of a region that Auto Scaling, target health and Run Command show."""

    groups: dict[str, Group] = field(default_factory=dict)
    targets: dict[str, dict[str, Target]] = field(default_factory=dict)
    """Target group's ARN -> instance -> target."""
    activities: list[Activity] = field(default_factory=list)
    commands: dict[str, Command] = field(default_factory=dict)
