"""CloudWatch's alarms, as far as they make Auto Scaling groups scale."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from nodepkg.clients.aws.account import aws_errors
from nodepkg.clients.aws.regional import Regional, in_parts

ALARMS_OF_ONE = 100  # the most that one call may name
ACTIONS = ("OKActions", "AlarmActions", "InsufficientDataActions")


@dataclass(frozen=True)
class Alarm:
    """`arguments` are those of PutMetricAlarm, or of PutCompositeAlarm if it is `composite`."""

    name: str
    arguments: Mapping[str, Any]
    composite: bool = False

    @property
    def actions(self) -> frozenset[str]:
        """The ARNs of all that it invokes, in whichever state."""
        return frozenset(arn for key in ACTIONS for arn in self.arguments.get(key, ()))


class Alarms(Regional):
    """Those of one region."""

    service = "cloudwatch"

    def named(self, names: Collection[str]) -> list[Alarm]:
        """By name; those that are not there are left out."""
        found = []
        for part in in_parts(sorted(names), ALARMS_OF_ONE):
            asked: Any = {"AlarmNames": list(part), "AlarmTypes": ["MetricAlarm", "CompositeAlarm"]}
            with aws_errors(f"alarms in {self.region}"):
                for page in self.client.get_paginator("describe_alarms").paginate(**asked):
                    found += [self._alarm(raw, composite=False) for raw in page.get("MetricAlarms", [])]
                    found += [self._alarm(raw, composite=True) for raw in page.get("CompositeAlarms", [])]
        return sorted(found, key=lambda alarm: alarm.name)

    def put(self, alarm: Alarm) -> None:
        """The alarm of this name gets these arguments; its state, and its tags, are left as they are."""
        put = self.client.put_composite_alarm if alarm.composite else self.client.put_metric_alarm
        with aws_errors(f"alarm {alarm.name}"):
            put(**alarm.arguments)

    def _alarm(self, raw: Mapping[str, Any], *, composite: bool) -> Alarm:
        operation = "PutCompositeAlarm" if composite else "PutMetricAlarm"
        return Alarm(raw["AlarmName"], self.arguments(operation, raw), composite)
