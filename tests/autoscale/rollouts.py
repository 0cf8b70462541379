"""A rollout on the rig, driven by a loop that does nothing but observe, remember, decide and run."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from nodepkg.autoscale.claim import CreateNext, next_name
from nodepkg.autoscale.journal import Phase, Record
from nodepkg.autoscale.observe import Observation, Subject, observe
from nodepkg.autoscale.rollout import Act, Step, Wait, decide
from nodepkg.autoscale.steps import Change
from nodepkg.autoscale.view import Goal, Seen, Terms, View, remember
from nodepkg.autoscale.writes import Writes
from nodepkg.clients.aws.alarms import Alarms
from nodepkg.clients.aws.autoscaling import AutoScaling, NewGroup
from nodepkg.clients.aws.scaling import Extras, Scaling
from nodepkg.clients.aws.templates import LaunchTemplates
from nodepkg.errors import NotYetError
from nodepkg.launch import CreateTemplateVersion, Launch, launch
from nodepkg.nodes.schema import Autoscale
from nodepkg.sandbox.front import Layer
from tests.autoscale.test_run import group
from tests.fleets import REGION, STOCK_IMAGE, Rig, fleet

TERMS = Terms(min=1, max=4, ready_timeout=120, bake_time=10, timeout=20, unhealthy_after=20, window=5)
GROUP = "bee-group"
OLD, NEW = f"{GROUP}-v001", f"{GROUP}-v002"
TOPIC = "arn:aws:sns:us-east-1:123456789012:ops"
HOOK = {
    "LifecycleHookName": "drain",
    "LifecycleTransition": "autoscaling:EC2_INSTANCE_TERMINATING",
    "HeartbeatTimeout": 30,
    "DefaultResult": "CONTINUE",
}


@contextmanager
def quick(*layers: Layer, **settings: Any) -> Iterator[Rig]:
    """A rig on which nothing takes long."""
    with fleet(
        *layers, **settings, pending=5, checks=5, healthy=5, drain=5, termination=5, notice=5, retry=10, delete=5
    ) as rig:
        rig.world()  # looks on from here
        yield rig


def no_web(urls: Collection[str], *, timeout: float) -> Mapping[str, str]:
    raise AssertionError(f"nobody asked for {urls}")


def begun(
    rig: Rig, desired: int = 2, *, targets: Collection[str] = (), hooks: Sequence[Mapping[str, Any]] = ()
) -> Launch:
    """A group of nodepkg's serves, of launch template version 1; this is what the next one is to be started with."""
    made = launch(rig.account, group(), STOCK_IMAGE, "")
    CreateTemplateVersion(made, "first").run(rig.account)
    new = NewGroup(
        OLD,
        GROUP,
        1,
        min=1,
        max=4,
        desired=desired,
        tags={"group": GROUP},
        own_tags={"nodepkg:managed": "true", "nodepkg:phase": "serving"},
        subnets=made.placement.ids,
        target_group_arns=list(targets),
        hooks=hooks,
    )
    AutoScaling(rig.account, REGION).create_group(new)
    rig.wait(60)
    return launch(rig.account, group(key_name="new"), rig.world().image(GROUP), "")


def hung_on(rig: Rig, asg: str = OLD) -> None:
    """Gives the group two policies, of which an alarm invokes one, a schedule and a topic."""
    client = rig.client("autoscaling")
    steps = [{"MetricIntervalLowerBound": 0.0, "ScalingAdjustment": 1}]
    arn = client.put_scaling_policy(
        AutoScalingGroupName=asg,
        PolicyName="up",
        PolicyType="StepScaling",
        AdjustmentType="ChangeInCapacity",
        StepAdjustments=steps,
    )["PolicyARN"]
    tracking = {
        "PredefinedMetricSpecification": {"PredefinedMetricType": "ASGAverageCPUUtilization"},
        "TargetValue": 50.0,
    }
    client.put_scaling_policy(
        AutoScalingGroupName=asg,
        PolicyName="cpu",
        PolicyType="TargetTrackingScaling",
        TargetTrackingConfiguration=tracking,
        Enabled=False,
    )
    client.put_scheduled_update_group_action(
        AutoScalingGroupName=asg, ScheduledActionName="night", Recurrence="0 3 * * *", MinSize=1, TimeZone="Europe/Rome"
    )
    client.put_notification_configuration(
        AutoScalingGroupName=asg, TopicARN=TOPIC, NotificationTypes=["autoscaling:EC2_INSTANCE_LAUNCH"]
    )
    rig.client("cloudwatch").put_metric_alarm(
        AlarmName="busy",
        AlarmActions=[TOPIC, arn],
        MetricName="CPUUtilization",
        Namespace="AWS/EC2",
        Statistic="Average",
        Dimensions=[{"Name": "AutoScalingGroupName", "Value": asg}],
        Period=60,
        EvaluationPeriods=2,
        DatapointsToAlarm=1,
        Threshold=70.0,
        ComparisonOperator="GreaterThanThreshold",
        TreatMissingData="notBreaching",
    )


def extras(rig: Rig, asg: str) -> Extras:
    return Scaling(rig.account, REGION).extras([asg])[asg]


def alarm(rig: Rig, name: str = "busy") -> Mapping[str, Any]:
    (found,) = Alarms(rig.account, REGION).named([name])
    return found.arguments


@dataclass(frozen=True)
class Standing:
    """What a rollback has to restore."""

    asgs: Mapping[str, tuple[int, int, frozenset[str], tuple[str, ...]]]
    versions: tuple[int, ...]
    alarm: Mapping[str, Any] | None


def standing(rig: Rig, *, alarmed: bool = False) -> Standing:
    asgs = {
        asg.name: (asg.min, asg.max, asg.suspended, asg.target_groups)
        for asg in AutoScaling(rig.account, REGION).groups()
    }
    versions = tuple(version.number for version in LaunchTemplates(rig.account, REGION).versions(GROUP))
    return Standing(asgs, versions, alarm(rig) if alarmed else None)


@dataclass
class Drive:
    """One process. `steps` are the changes that it has made."""

    rig: Rig
    launch: Launch
    targets: frozenset[str] = frozenset()
    goal: Goal = Goal.UPDATE
    terms: Terms = TERMS
    run_id: str = "run-1"
    poll: float = 5
    steps: list[str] = field(default_factory=list)
    aim: str = ""

    def claim(self, seen: Observation) -> Change | None:
        view = seen.view
        old = view.old
        if self.goal is Goal.ROLLBACK or old is None:
            return None
        record = Record(
            self.run_id,
            Phase.CLAIM,
            old.name,
            old.targets,
            old.suspended,
            self.targets,
            image=self.launch.image,
            since=self.rig.clock.now(),
        )
        hooks = Scaling(self.rig.account, REGION).lifecycle_hooks(old.name)
        return CreateNext(REGION, next_name(old.name), self.launch, Autoscale(), record, hooks, self.run_id)

    def observe(self) -> Observation:
        subject = Subject(GROUP, REGION, self.terms, self.goal, aim=self.aim, claim=self.claim)
        return observe(self.rig.account, [subject], web=no_web)[GROUP]

    def ticks(self) -> Iterator[tuple[View, Step]]:
        """What is observed, and the step that follows; the step is done when the next tick is asked for."""
        clock, writes = self.rig.clock, Writes()
        seen: Seen = {}
        clock.sleep(self.terms.window)
        for _ in range(2000):
            began = clock.now()
            view = self.observe().view
            if not writes.after(began - self.terms.window).show_in(view):
                clock.sleep(1)
                continue
            self.aim = view.new.name if view.new else self.aim
            seen = remember(seen, view, clock.now())
            view = replace(view, seen=seen, aim=self.aim)
            step = decide(view, began, region=REGION)
            yield view, step
            if isinstance(step, Act):
                writes = writes.and_also(step.change, clock.now()) if self.act(step) else writes
            elif isinstance(step, Wait):
                clock.sleep(self.poll)
            else:
                return
        raise AssertionError(f"no end; the last steps: {self.steps[-5:]}")

    def act(self, step: Act) -> bool:
        try:
            step.change.run(self.rig.account)
        except NotYetError:
            self.rig.clock.sleep(self.poll)
            return False
        self.steps.append(f"{step.state}: {step.change}")
        return True

    def end(self, after: int = 2000) -> Step | None:
        """The last step; None if so many changes were made before that, and the process ended."""
        last: Step | None = None
        for _, step in self.ticks():
            if len(self.steps) == after:
                return None
            last = step
        return last
