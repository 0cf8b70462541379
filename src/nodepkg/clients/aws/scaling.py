"""What hangs on Auto Scaling groups: policies, scheduled actions, notifications, hooks. Lists are read to their end."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from nodepkg.clients.aws.account import aws_errors
from nodepkg.clients.aws.autoscaling import PAGE, unless_busy, unless_said
from nodepkg.clients.aws.regional import Regional, in_parts

# For so many groups they are asked for one after the other; for more, all of the region are read.
ONE_BY_ONE = 4
_NAMES_OF_ONE = 50
_REFRESHING = frozenset({"Pending", "InProgress", "Cancelling", "RollbackInProgress", "Baking"})
_GROUP = "AutoScalingGroupName"


@dataclass(frozen=True)
class Policy:
    """A scaling policy. `type` in AWS's words (StepScaling, …), `alarms` are the names of those that invoke it.

    `arguments` are those of PutScalingPolicy, but for the group.
    """

    name: str
    type: str
    arn: str
    alarms: tuple[str, ...]
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class ScheduledAction:
    """`start` and `end` are aware; `arguments` are those of PutScheduledUpdateGroupAction, but for the group."""

    name: str
    start: datetime | None
    end: datetime | None
    recurrence: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class Extras:
    """All of that of one group, which is named. `notifications` are (topic, type)."""

    group: str
    policies: tuple[Policy, ...] = ()
    schedules: tuple[ScheduledAction, ...] = ()
    notifications: frozenset[tuple[str, str]] = field(default_factory=frozenset)


class Scaling(Regional):
    """That of one region."""

    service = "autoscaling"

    def extras(self, groups: Collection[str]) -> dict[str, Extras]:
        """Of each of the groups; one that is not there has none."""
        policies, schedules = self.policies(groups), self.scheduled_actions(groups)
        notifications = self.notifications(groups)
        return {name: Extras(name, policies[name], schedules[name], notifications[name]) for name in groups}

    def policies(self, groups: Collection[str]) -> dict[str, tuple[Policy, ...]]:
        """By group, each group's by name."""
        return {
            group: tuple(sorted(map(self._policy, found), key=lambda policy: policy.name))
            for group, found in self._of("describe_policies", "ScalingPolicies", groups).items()
        }

    def scheduled_actions(self, groups: Collection[str]) -> dict[str, tuple[ScheduledAction, ...]]:
        """By group, each group's by name; those that are over are none."""
        return {
            group: tuple(sorted(map(self._scheduled, found), key=lambda action: action.name))
            for group, found in self._of("describe_scheduled_actions", "ScheduledUpdateGroupActions", groups).items()
        }

    def notifications(self, groups: Collection[str]) -> dict[str, frozenset[tuple[str, str]]]:
        """(topic, type) by group."""
        found: dict[str, set[tuple[str, str]]] = {group: set() for group in groups}
        for part in in_parts(sorted(groups), _NAMES_OF_ONE):
            pages = self.pages(
                "describe_notification_configurations",
                "NotificationConfigurations",
                AutoScalingGroupNames=part,
                PaginationConfig=PAGE,
            )
            for raw in pages:
                found[raw[_GROUP]].add((raw["TopicARN"], raw["NotificationType"]))
        return {group: frozenset(pairs) for group, pairs in found.items()}

    def lifecycle_hooks(self, group: str) -> tuple[dict[str, Any], ...]:
        """As CreateAutoScalingGroup takes them, by name."""
        with aws_errors(f"lifecycle hooks of {group}"):
            found = self.client.describe_lifecycle_hooks(AutoScalingGroupName=group)["LifecycleHooks"]  # all at once
            taken = self.client.meta.service_model.shape_for("LifecycleHookSpecification").members
        hooks = (
            {key: value for key, value in raw.items() if key in taken and value not in (None, "")} for raw in found
        )
        return tuple(sorted(hooks, key=lambda hook: str(hook["LifecycleHookName"])))

    def running_refreshes(self, group: str) -> list[str]:
        """The ids of the instance refreshes of a group that are not over."""
        running, more = list[str](), dict[str, str]()
        with aws_errors(f"instance refreshes of {group}"):
            while True:
                told = self.client.describe_instance_refreshes(AutoScalingGroupName=group, MaxRecords=100, **more)
                found = told.get("InstanceRefreshes", [])
                running += [raw["InstanceRefreshId"] for raw in found if raw.get("Status") in _REFRESHING]
                if not told.get("NextToken"):
                    return running
                more = {"NextToken": told["NextToken"]}

    def put_scaling_policy(self, group: str, arguments: Mapping[str, Any]) -> None:
        """One of this name gets these arguments."""
        with unless_busy(f"scaling policy {arguments['PolicyName']} of {group}"):
            self.client.put_scaling_policy(**arguments, AutoScalingGroupName=group)

    def put_scheduled_action(self, group: str, arguments: Mapping[str, Any]) -> None:
        """One of this name gets these arguments."""
        with unless_busy(f"scheduled action {arguments['ScheduledActionName']} of {group}"):
            self.client.put_scheduled_update_group_action(**arguments, AutoScalingGroupName=group)

    def put_notification(self, group: str, topic: str, types: Iterable[str]) -> None:
        """The topic is told of these types, and of no others."""
        with unless_busy(f"notifications of {group} to {topic}"):
            self.client.put_notification_configuration(
                AutoScalingGroupName=group, TopicARN=topic, NotificationTypes=sorted(types)
            )

    def _of(self, operation: str, key: str, groups: Collection[str]) -> dict[str, list[Mapping[str, Any]]]:
        asked: Sequence[Mapping[str, str]] = (
            [{_GROUP: group} for group in sorted(groups)] if len(groups) <= ONE_BY_ONE else [{}]
        )
        found: dict[str, list[Mapping[str, Any]]] = {group: [] for group in groups}
        for which in asked:
            with unless_said("not found"):
                for raw in self.pages(operation, key, **which, PaginationConfig=PAGE):
                    if raw[_GROUP] in found:
                        found[raw[_GROUP]].append(raw)
        return found

    def _policy(self, raw: Mapping[str, Any]) -> Policy:
        arguments = self.arguments("PutScalingPolicy", raw)
        arguments.pop("MinAdjustmentStep", None)  # the old name of MinAdjustmentMagnitude
        del arguments[_GROUP]
        return Policy(
            name=raw["PolicyName"],
            type=raw.get("PolicyType") or "SimpleScaling",
            arn=raw["PolicyARN"],
            alarms=tuple(alarm["AlarmName"] for alarm in raw.get("Alarms", [])),
            arguments=arguments,
        )

    def _scheduled(self, raw: Mapping[str, Any]) -> ScheduledAction:
        arguments = self.arguments("PutScheduledUpdateGroupAction", raw)
        arguments.pop("Time", None)  # the old name of StartTime
        del arguments[_GROUP]
        return ScheduledAction(
            name=raw["ScheduledActionName"],
            start=raw.get("StartTime"),
            end=raw.get("EndTime"),
            recurrence=raw.get("Recurrence") or "",
            arguments=arguments,
        )
