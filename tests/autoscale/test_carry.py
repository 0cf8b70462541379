"""What of an old group the new one gets, and its alarms."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from nodepkg.autoscale.carry import PointAlarm, cannot_carry, invoking_alarms, plan_alarms, plan_carry, pointed
from nodepkg.clients.aws.alarms import Alarm, Alarms
from nodepkg.clients.aws.scaling import Extras, Policy, ScheduledAction
from tests.autoscale.rollouts import TOPIC, alarm, begun, extras, hung_on, quick
from tests.fleets import REGION

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
WEB = "arn:aws:elasticloadbalancing:us-east-1:1:targetgroup/web/12"


def policy(name: str, kind: str = "StepScaling", *alarms: str, arn: str = "", **arguments: Any) -> Policy:
    return Policy(name, kind, arn or f"arn:{name}", alarms, {"PolicyName": name, "PolicyType": kind, **arguments})


def action(
    name: str, *, start: timedelta | None = None, end: timedelta | None = None, recurrence: str = ""
) -> ScheduledAction:
    times = {"StartTime": start and NOW + start, "EndTime": end and NOW + end, "Recurrence": recurrence or None}
    arguments = {"ScheduledActionName": name, "MinSize": 1} | {key: value for key, value in times.items() if value}
    return ScheduledAction(name, times["StartTime"], times["EndTime"], recurrence, arguments)  # type: ignore[arg-type]


def planned(old: Extras, new: Extras | None = None) -> list[str]:
    changes = plan_carry(old, new or Extras("bee-v002"), region=REGION, now=NOW.timestamp())
    return [str(change).removesuffix(" to bee-v002") for change in changes]


def test_what_the_new_group_has_by_name_is_not_copied_again() -> None:
    old = Extras("bee-v001", (policy("down"), policy("up")), (action("night", recurrence="0 3 * * *"),))
    assert planned(old) == ["copy scaling policy down", "copy scaling policy up", "copy scheduled action night"]
    assert planned(old, Extras("bee-v002", (policy("up", arn="arn:other"),), old.schedules)) == [
        "copy scaling policy down"
    ]


@pytest.mark.parametrize(
    ("scheduled", "copied"),
    [
        (action("once", start=timedelta(hours=1)), {"StartTime"}),
        (action("once", start=timedelta(hours=-1)), None),
        (action("once", start=timedelta(seconds=20)), None),
        (action("daily", start=timedelta(hours=-1), recurrence="0 3 * * *"), {"Recurrence"}),
        (action("daily", start=timedelta(hours=1), recurrence="0 3 * * *"), {"StartTime", "Recurrence"}),
        (action("daily", end=timedelta(hours=1), recurrence="0 3 * * *"), {"EndTime", "Recurrence"}),
        (action("daily", end=timedelta(hours=-1), recurrence="0 3 * * *"), None),
    ],
)
def test_a_scheduled_action_is_copied_while_it_is_due(scheduled: ScheduledAction, copied: set[str] | None) -> None:
    changes = plan_carry(Extras("bee-v001", (), (scheduled,)), Extras("bee-v002"), region=REGION, now=NOW.timestamp())
    arguments = [set(change.arguments) - {"ScheduledActionName", "MinSize"} for change in changes]  # type: ignore[attr-defined]
    assert arguments == ([] if copied is None else [copied])


def test_the_types_of_a_topic_are_put_with_those_that_are_there() -> None:
    old = Extras("bee-v001", notifications=frozenset({("ops", "launch"), ("ops", "terminate"), ("dev", "launch")}))
    new = Extras("bee-v002", notifications=frozenset({("ops", "test"), ("dev", "launch")}))
    (change,) = plan_carry(old, new, region=REGION, now=0.0)
    assert (change.topic, change.types) == ("ops", {"launch", "terminate", "test"})  # type: ignore[attr-defined]


def test_a_policy_that_measures_its_group_measures_the_new_one() -> None:
    metric = {"Dimensions": [{"Name": "AutoScalingGroupName", "Value": "bee-v001"}, {"Name": "x", "Value": "bee-v001"}]}
    (change,) = plan_carry(
        Extras("bee-v001", (policy("own", "TargetTrackingScaling", TargetTrackingConfiguration=metric),)),
        Extras("bee-v002"),
        region=REGION,
        now=0.0,
    )
    copied = change.arguments["TargetTrackingConfiguration"]["Dimensions"]  # type: ignore[attr-defined]
    assert [dimension["Value"] for dimension in copied] == ["bee-v002", "bee-v001"]


def test_alarms_that_aws_manages_are_nobodys_business() -> None:
    policies = [policy("cpu", "TargetTrackingScaling", "TargetTracking-1"), policy("up", "StepScaling", "busy")]
    assert invoking_alarms([*policies, policy("down", "SimpleScaling", "idle")]) == {"busy", "idle"}


def test_only_alarms_that_invoke_a_policy_which_the_other_group_has_are_pointed_to_it() -> None:
    old = Extras("bee-v001", (policy("up", arn="arn:o:up"), policy("gone", arn="arn:o:gone")))
    new = Extras("bee-v002", (policy("up", arn="arn:n:up"),))
    alarms = [
        Alarm("busy", {"AlarmActions": [TOPIC, "arn:o:up"], "OKActions": ["arn:o:gone"]}),
        Alarm("calm", {"OKActions": ["arn:o:up"]}),
        Alarm("else", {"AlarmActions": ["arn:o:gone", TOPIC]}),
        Alarm("done", {"AlarmActions": ["arn:n:up"]}),
    ]
    assert [str(change) for change in plan_alarms(old, new, alarms, region=REGION)] == [
        "point alarm busy from bee-v001 to bee-v002",
        "point alarm calm from bee-v001 to bee-v002",
    ]
    back = plan_alarms(new, old, alarms, region=REGION)
    assert back == (PointAlarm(REGION, "bee-v001", "done", "bee-v002", (("arn:n:up", "arn:o:up"),)),)


def test_of_an_alarm_all_but_the_policy_and_the_group_stays() -> None:
    arguments = {
        "AlarmName": "busy",
        "AlarmActions": [TOPIC, "arn:o:up"],
        "OKActions": [TOPIC],
        "Threshold": 0.0,
        "ActionsEnabled": False,
        "Metrics": [
            {"Id": "e", "Expression": "m * 2", "ReturnData": True},
            {
                "Id": "m",
                "MetricStat": {"Metric": {"Dimensions": [{"Name": "AutoScalingGroupName", "Value": "bee-v001"}]}},
            },
        ],
    }
    moved = pointed(Alarm("busy", arguments), {"arn:o:up": "arn:n:up"}, "bee-v001", "bee-v002")
    assert moved.arguments["AlarmActions"] == [TOPIC, "arn:n:up"]
    back = pointed(moved, {"arn:n:up": "arn:o:up"}, "bee-v002", "bee-v001")
    assert back.arguments == arguments
    assert moved.arguments["Metrics"] != arguments["Metrics"]


ALARMS: list[dict[str, Any]] = [
    {
        "MetricName": "Latency",
        "Namespace": "AWS/ELB",
        "ExtendedStatistic": "p99",
        "Period": 60,
        "Unit": "Seconds",
        "EvaluationPeriods": 3,
        "DatapointsToAlarm": 2,
        "Threshold": 0.5,
        "ComparisonOperator": "LessThanThreshold",
        "TreatMissingData": "breaching",
        "EvaluateLowSampleCountPercentile": "ignore",
        "Dimensions": [{"Name": "AutoScalingGroupName", "Value": "bee-group-v001"}],
        "ActionsEnabled": False,
        "AlarmDescription": "slow",
    },
    {
        "EvaluationPeriods": 1,
        "ComparisonOperator": "LessThanLowerOrGreaterThanUpperThreshold",
        "ThresholdMetricId": "band",
        "Metrics": [
            {"Id": "band", "Expression": "ANOMALY_DETECTION_BAND(m, 2)", "Label": "band", "ReturnData": True},
            {
                "Id": "m",
                "MetricStat": {
                    "Metric": {
                        "Namespace": "AWS/EC2",
                        "MetricName": "CPUUtilization",
                        "Dimensions": [{"Name": "AutoScalingGroupName", "Value": "bee-group-v001"}],
                    },
                    "Period": 300,
                    "Stat": "Average",
                },
                "ReturnData": True,
            },
        ],
    },
]


@pytest.mark.parametrize("number", [0, 1])
def test_an_alarm_that_is_pointed_there_and_back_is_as_it_was(number: int) -> None:
    with quick() as rig:
        begun(rig, 1)
        hung_on(rig)
        (up,) = (one for one in extras(rig, "bee-group-v001").policies if one.name == "up")
        rig.client("cloudwatch").put_metric_alarm(AlarmName="own", AlarmActions=[up.arn], **ALARMS[number])
        before = alarm(rig, "own")
        assert {key: before[key] for key in ALARMS[number]} == ALARMS[number]
        there = PointAlarm(REGION, "bee-group-v002", "own", "bee-group-v001", ((up.arn, "arn:n:up"),))
        for _ in range(2):  # the second time nothing is left to do
            there.run(rig.account)
            assert alarm(rig, "own")["AlarmActions"] == ["arn:n:up"]
            assert "bee-group-v001" not in str(alarm(rig, "own"))
        PointAlarm(REGION, "bee-group-v001", "own", "bee-group-v002", (("arn:n:up", up.arn),)).run(rig.account)
        assert alarm(rig, "own") == before


def test_alarms_are_read_a_hundred_at_a_time() -> None:
    with quick() as rig:
        client = rig.client("cloudwatch")
        for number in range(3):
            client.put_metric_alarm(AlarmName=f"a{number}", **ALARMS[0])
        names = [f"a{number}" for number in range(120)]
        assert [one.name for one in Alarms(rig.account, REGION).named(names)] == ["a0", "a1", "a2"]


def test_policies_that_cannot_be_another_groups_are_named_with_the_reason() -> None:
    label = {"ResourceLabel": "app/lb/1/targetgroup/web/12"}
    search = {"Expression": 'SUM(SEARCH(\'{AWS/EC2,AutoScalingGroupName} "bee-v001"\', "Average"))'}
    policies = [
        policy("fine", "TargetTrackingScaling", Specification=label),
        policy("new", "QuantumScaling"),
        policy("search", "PredictiveScaling", Queries=[search]),
    ]
    assert cannot_carry(policies, "bee-v001", [WEB]) == [
        "new: its type is QuantumScaling, which is not known",
        "search: one of its expressions names bee-v001",
    ]
    assert "fine: it counts the requests of app/lb/1/targetgroup/web/12" in cannot_carry(policies, "bee-v001", [])[0]
