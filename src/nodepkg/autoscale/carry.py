"""What the old group has and the new one is to have: policies, scheduled actions, notifications, and its alarms."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from nodepkg.autoscale.steps import Change, OfAsg
from nodepkg.autoscale.view import View
from nodepkg.clients.aws.account import Account
from nodepkg.clients.aws.alarms import ACTIONS, Alarm, Alarms
from nodepkg.clients.aws.scaling import Extras, Policy, Scaling, ScheduledAction
from nodepkg.plan import Report

DIMENSION = "AutoScalingGroupName"
# An action that is due before it would have been put would be refused, and lost to the new group anyway.
SOON_SECONDS = 60.0
_TYPES = frozenset({"SimpleScaling", "StepScaling", "TargetTrackingScaling", "PredictiveScaling"})
_INVOKED_BY_ALARMS = frozenset({"SimpleScaling", "StepScaling"})


@dataclass(frozen=True)
class PutPolicy(OfAsg):
    """`arguments` are those of PutScalingPolicy, but for the group."""

    name: str
    arguments: Mapping[str, Any] = field(hash=False)

    @property
    def changes(self) -> tuple[str, str]:
        return self.asg, f"policy {self.name}"

    def __str__(self) -> str:
        return f"copy scaling policy {self.name} to {self.asg}"

    def run(self, account: Account, /) -> Report:
        Scaling(account, self.region).put_scaling_policy(self.asg, self.arguments)
        return self._done()

    def shows_in(self, view: View) -> bool:
        return self not in view.carry


@dataclass(frozen=True)
class PutScheduledAction(OfAsg):
    """`arguments` are those of PutScheduledUpdateGroupAction, but for the group."""

    name: str
    arguments: Mapping[str, Any] = field(hash=False)

    @property
    def changes(self) -> tuple[str, str]:
        return self.asg, f"scheduled action {self.name}"

    def __str__(self) -> str:
        return f"copy scheduled action {self.name} to {self.asg}"

    def run(self, account: Account, /) -> Report:
        Scaling(account, self.region).put_scheduled_action(self.asg, self.arguments)
        return self._done()

    def shows_in(self, view: View) -> bool:
        return self not in view.carry


@dataclass(frozen=True)
class PutNotification(OfAsg):
    """The topic is told of these types of events of the group."""

    topic: str
    types: frozenset[str]

    @property
    def changes(self) -> tuple[str, str]:
        return self.asg, f"notifications {self.topic}"

    def __str__(self) -> str:
        return f"copy the notifications to {self.topic} to {self.asg}"

    def run(self, account: Account, /) -> Report:
        Scaling(account, self.region).put_notification(self.asg, self.topic, self.types)
        return self._done()

    def shows_in(self, view: View) -> bool:
        return self not in view.carry


@dataclass(frozen=True)
class PointAlarm(OfAsg):
    """Makes an alarm of the group `source` one of `asg`; `policies` are (ARN, ARN in its place).

    All else of the alarm stays as it is at that moment.
    """

    alarm: str
    source: str
    policies: tuple[tuple[str, str], ...]

    @property
    def changes(self) -> tuple[str, str]:
        return self.alarm, "alarm"

    def __str__(self) -> str:
        return f"point alarm {self.alarm} from {self.source} to {self.asg}"

    def run(self, account: Account, /) -> Report:
        alarms = Alarms(account, self.region)
        for alarm in alarms.named([self.alarm]):
            if alarm.actions & dict(self.policies).keys():
                alarms.put(pointed(alarm, dict(self.policies), self.source, self.asg))
        return self._done()

    def shows_in(self, view: View) -> bool:
        return self not in view.alarms


def plan_carry(old: Extras, new: Extras, *, region: str, now: float) -> tuple[Change, ...]:
    """What is not on the new group yet; `now` in seconds since the epoch. What it has by that name stays as it is."""
    policies = {policy.name for policy in new.policies}
    schedules = {action.name for action in new.schedules}
    return (
        *(
            PutPolicy(region, new.group, policy.name, renamed(policy.arguments, old.group, new.group))
            for policy in old.policies
            if policy.name not in policies
        ),
        *(
            PutScheduledAction(region, new.group, action.name, arguments)
            for action in old.schedules
            if action.name not in schedules and (arguments := _still_due(action, now))
        ),
        *_notifications(old, new, region),
    )


def _still_due(action: ScheduledAction, now: float) -> dict[str, Any] | None:
    """What puts the action anew; None if it is over. AWS takes no time that has passed."""
    soon = now + SOON_SECONDS
    begun = action.start is not None and action.start.timestamp() <= soon
    over = action.end is not None and action.end.timestamp() <= soon
    if over or (begun and not action.recurrence):
        return None
    return {key: value for key, value in action.arguments.items() if not (begun and key == "StartTime")}


def _notifications(old: Extras, new: Extras, region: str) -> Iterator[Change]:
    for topic in sorted({topic for topic, _ in old.notifications - new.notifications}):
        # A topic's types are put all at once, so those that the new group has already have to be among them.
        types = {kind for one, kind in old.notifications | new.notifications if one == topic}
        yield PutNotification(region, new.group, topic, frozenset(types))


def invoking_alarms(policies: Iterable[Policy]) -> set[str]:
    """The names of the alarms that people have made: those of other policies are AWS's own."""
    return {alarm for policy in policies if policy.type in _INVOKED_BY_ALARMS for alarm in policy.alarms}


def plan_alarms(source: Extras, target: Extras, alarms: Iterable[Alarm], *, region: str) -> tuple[Change, ...]:
    """Points the alarms that invoke a policy of `source` to the policy of the same name of `target`."""
    arns = {policy.name: policy.arn for policy in target.policies}
    instead = {
        policy.arn: arns[policy.name]
        for policy in source.policies
        if policy.type in _INVOKED_BY_ALARMS and policy.name in arns
    }
    return tuple(
        PointAlarm(region, target.group, alarm.name, source.group, tuple(sorted(instead.items())))
        for alarm in alarms
        if alarm.actions & instead.keys()
    )


def pointed(alarm: Alarm, instead: Mapping[str, str], source: str, target: str) -> Alarm:
    """The alarm with other actions, each in its place, and with the other group in its dimensions."""
    actions = {
        key: [instead.get(arn, arn) for arn in alarm.arguments[key]] for key in ACTIONS if key in alarm.arguments
    }
    return replace(alarm, arguments=renamed(alarm.arguments, source, target) | actions)


def renamed(value: Any, old: str, new: str) -> Any:
    """The same with the other group's name in each dimension (of a metric) that has the one's."""
    if isinstance(value, Mapping):
        if value.get("Name") == DIMENSION and value.get("Value") == old:
            return {**value, "Value": new}
        return {key: renamed(one, old, new) for key, one in value.items()}
    return [renamed(one, old, new) for one in value] if isinstance(value, list) else value


def cannot_carry(policies: Iterable[Policy], group: str, targets: Collection[str]) -> list[str]:
    """Why policies of the group cannot be another's, in words for people; `targets` are the new group's, ARNs."""
    return [f"{policy.name}: {why}" for policy in policies if (why := _why_not(policy, group, targets))]


def _why_not(policy: Policy, group: str, targets: Collection[str]) -> str:
    if policy.type not in _TYPES:
        return f"its type is {policy.type}, which is not known"
    if any(group in expression for expression in _under("Expression", policy.arguments)):
        return f"one of its expressions names {group}"
    # app/NAME/ID/targetgroup/NAME/ID, which ends as the target group's ARN
    ends = tuple(arn.rpartition(":")[2] for arn in targets)
    for label in _under("ResourceLabel", policy.arguments):
        if not (ends and label.endswith(ends)):
            return f"it counts the requests of {label}, where the new group does not serve"
    return ""


def _under(key: str, value: Any) -> Iterator[str]:
    """The texts that have this key, however deep."""
    if isinstance(value, Mapping):
        if isinstance(text := value.get(key), str):
            yield text
        for one in value.values():
            yield from _under(key, one)
    elif isinstance(value, list):
        for one in value:
            yield from _under(key, one)
