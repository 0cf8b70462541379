"""How a group stands: pure, and on the rig."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from nodepkg.autoscale.journal import Phase, Record, Sizes, kept_sizes
from nodepkg.autoscale.listing import Generation, Standing, document, state, step_of
from nodepkg.autoscale.observe import observed
from nodepkg.autoscale.outlook import Wanted, listed_nodes, standings, view_of
from nodepkg.autoscale.rollout import Act, Refuse, Wait
from nodepkg.autoscale.view import Goal, Terms
from nodepkg.clients.aws.autoscaling import AutoScalingGroup, Member
from nodepkg.clients.aws.images import Image
from nodepkg.clients.aws.templates import TemplatePin
from nodepkg.lease.claim import Holder, claim
from tests.autoscale import rollouts
from tests.autoscale.operated import ASG, GROUP, asg, begun, carry_out
from tests.autoscale.test_run import group as group_of
from tests.autoscale.test_stop import bee, stopping
from tests.fleets import REGION, STOCK_IMAGE, Rig, fleet

NOW = 1_000_000.0
AUTOSCALE = {
    "node_max": rollouts.TERMS.max,
    "ready_timeout": int(rollouts.TERMS.ready_timeout),
    "bake_time": int(rollouts.TERMS.bake_time),
    "timeout": int(rollouts.TERMS.timeout),
}
OURS = {"group": GROUP, "nodepkg:managed": "true"}
SERVING = {**OURS, "nodepkg:phase": "serving"}
NEWEST = Image("ami-2", "bee 2", datetime(2026, 1, 1, tzinfo=UTC), "available", {})
ALARMS = frozenset({"ScheduledActions", "AZRebalance", "AlarmNotification"})


def generation(name: str, tags: dict[str, str], nodes: int = 2, image: str = "ami-1", **more: Any) -> Generation:
    members = tuple(Member(f"i-{name}-{number}", "InService", "Healthy") for number in range(nodes))
    sizes = {"min": nodes, "max": 4 if nodes else 0, "desired": nodes} | more
    found = AutoScalingGroup(name, tags, members=members, template=TemplatePin("lt-1", GROUP, "1"), **sizes)
    return Generation(found, observed(found, listed_nodes(found)), image)


def standing(*generations: Generation, **more: Any) -> Standing:
    facts: dict[str, Any] = {"in_nodes": True, "scales": True, "newest": NEWEST, "holder": None} | more
    return Standing(GROUP, REGION, generations=generations, view=view_of(generations, Terms()), **facts)


def record(phase: Phase, **more: Any) -> Record:
    return Record("r", phase, ASG, version=2, image="ami-2", own=Sizes(1, 4, 2), since=NOW - 60, **more)


def rolling(phase: Phase, old: Generation | None = None, **more: Any) -> Standing:
    new = generation("bee-v002", OURS | record(phase, **more).tags(), image="ami-2", suspended={"ScheduledActions"})
    return standing(old or generation(ASG, SERVING, suspended={"ScheduledActions", "AZRebalance"}), new)


@pytest.mark.parametrize(
    ("one", "state", "next_command"),
    [
        (standing(generation(ASG, SERVING)), "serving", "package autoscale:update bee"),
        (standing(generation(ASG, SERVING, image="ami-2")), "serving", ""),
        (standing(generation(ASG, SERVING), newest=None), "serving", ""),
        (standing(generation(ASG, SERVING), in_nodes=False), "serving", ""),
        (standing(generation(ASG, SERVING | kept_sizes(Sizes(1, 4, 2)), 0)), "stopped", ""),
        (standing(), "not running", "package autoscale:run bee"),
        (standing(newest=None), "not running", ""),
        (standing(scales=False), "not running", ""),
        (standing(generation(ASG, {"group": GROUP})), "unclear", ""),
        (standing(generation(ASG, SERVING), generation("bee-v002", SERVING)), "unclear", ""),
        (rolling(Phase.CLAIM), "bake", "package autoscale:update bee"),
        (rolling(Phase.ROLLBACK), "rollback", "package autoscale:rollback bee"),
        (rolling(Phase.HOLD), "hold", "package autoscale:update bee"),
    ],
)
def test_a_group_has_a_state_and_what_is_to_be_run_next(one: Standing, state: str, next_command: str) -> None:
    told = document(one, step_of(one, {}, NOW)[0], NOW)
    assert (told["state"], told["next"] or "") == (state, next_command)


def test_who_looks_for_the_first_time_sees_the_row_that_a_rollout_is_in() -> None:
    baked = rolling(Phase.CLAIM)
    assert state(baked, step_of(baked, {}, NOW)[0]) == "bake"
    matched = rolling(Phase.CLAIM, generation(ASG, SERVING, suspended=ALARMS))
    step, _ = step_of(matched, {}, NOW)
    assert isinstance(step, Act)
    assert step.state == "cut"


def test_who_goes_on_looking_sees_for_how_long_it_has_held() -> None:
    one = rolling(Phase.CLAIM)
    first, seen = step_of(one, {}, NOW)
    second, _ = step_of(one, seen, NOW + 30)
    assert isinstance(first, Wait)
    assert isinstance(second, Wait)
    assert first.until == second.until


def test_of_a_rollout_it_is_told_why_and_by_whom() -> None:
    holder = Holder("autoscale:update bee", "ops", "host", "", "", 1, "", "r", NOW - 90, NOW - 3, state="undo")
    one = replace(rolling(Phase.ROLLBACK, reason="bee-v002 became sick"), holder=holder)
    told = document(one, step_of(one, {}, NOW)[0], NOW)
    assert told["rollout"] | {"why": ""} == {
        "state": "rollback",
        "why": "",
        "until": None,
        "undoing": True,
        "old": ASG,
        "new": "bee-v002",
        "image": "ami-2",
        "version": 2,
        "phase": "rollback",
        "since": NOW - 60,
        "deadline": None,
        "reason": "bee-v002 became sick",
    }
    assert told["owner"] == {
        "who": "ops@host",
        "command": "autoscale:update bee",
        "state": "undo",
        "pid": 1,
        "since": NOW - 90,
        "heartbeat_age_seconds": 3,
    }


def wanted(*everywhere: str) -> Wanted:
    return Wanted({GROUP: REGION, "wasp": REGION}, {GROUP: bee()}, everywhere)


def test_what_nodes_json_does_not_have_any_more_is_listed_behind() -> None:
    with fleet() as rig:
        begun(rig, name="ant-v001", tag="ant")
        begun(rig, name="alien", tag="alien", tags={"nodepkg:managed": "no"})
        begun(rig)
        found = standings(rig.account, wanted(REGION), window=10)
        assert [(one.group, one.in_nodes, len(one.generations)) for one in found] == [
            (GROUP, True, 1),
            ("wasp", True, 0),
            ("ant", False, 1),
        ]
        assert [one.group for one in standings(rig.account, wanted(), window=10)] == [GROUP, "wasp"]


def test_health_is_that_of_nodes_and_targets() -> None:
    with fleet(healthy=20) as rig:
        web = rig.world().target_group("web")
        begun(rig, target_groups=[web])
        (generation,) = standings(rig.account, wanted(), window=10)[0].generations
        assert (generation.ready, generation.in_service, generation.image) == (2, 2, STOCK_IMAGE)
        rig.world().sick(rig.world().nodes(ASG)[0].id, "unhealthy")
        (generation,) = standings(rig.account, wanted(), window=10)[0].generations
        assert (generation.ready, generation.in_service) == (1, 2)


def test_who_holds_a_group_and_that_it_is_stopped_is_seen() -> None:
    with fleet() as rig:
        begun(rig)
        carry_out(rig, stopping(rig))
        lease = claim(rig.account, REGION, GROUP, command="autoscale:start bee", run="r", window=0)
        one = standings(rig.account, wanted(), window=10)[0]
        told = document(one, None, rig.account.now())
        assert told["owner"]["command"] == "autoscale:start bee"
        assert (told["state"], told["generations"][0]["remembers"]) == ("stopped", {"min": 1, "max": 4, "desired": 2})
        lease.release()
        assert standings(rig.account, wanted(), window=10)[0].holder is None


def calls(rig: Rig, groups: int) -> int:
    homes = {f"g{number:03}": REGION for number in range(groups)}
    before = len(rig.account.sent)
    assert len(standings(rig.account, Wanted(homes, {}, [REGION]), window=10)) == groups
    return len(rig.account.sent) - before


def test_calls_grow_with_pages_and_not_with_groups() -> None:
    with fleet() as rig:
        begun(rig, 1, name="g000-v001", tag="g000")
        few = calls(rig, 1)
        for number in range(1, 30):
            rig.group(f"g{number:03}-v001", 1, tag=f"g{number:03}")
        rig.wait(300)
        assert calls(rig, 30) == few
        assert asg(rig, "g029-v001").members


def told_at_first_sight(rig: Rig) -> str:
    """What somebody says who looks once, now."""
    settings = {rollouts.GROUP: group_of(autoscale=AUTOSCALE)}
    (one,) = standings(rig.account, Wanted({rollouts.GROUP: REGION}, settings), window=rollouts.TERMS.window)
    return state(one, step_of(one, {}, rig.clock.now())[0])


@pytest.mark.parametrize("goal", [Goal.UPDATE, Goal.ROLLBACK])
def test_at_every_step_of_a_rollout_who_looks_once_names_its_row(goal: Goal) -> None:
    """But for moments: what a rollout looks at for one window more is taken as seen, that a bake is over is not."""
    with fleet() as rig:
        targets = [rig.world().target_group("web")]
        wanted = rollouts.begun(rig, targets=targets)
        drive = rollouts.Drive(rig, wanted, frozenset(targets))
        rows = list[tuple[str, str]]()
        for view, step in drive.ticks():
            assert not isinstance(step, Refuse)
            if isinstance(step, Act | Wait) and view.new:
                rows.append((step.state, told_at_first_sight(rig)))
                if goal is Goal.ROLLBACK and step.state == "cut":
                    break
        if goal is Goal.ROLLBACK:
            back = rollouts.Drive(rig, wanted, frozenset(targets), goal=goal, aim=drive.aim)
            rows = [
                (step.state, told_at_first_sight(rig))
                for view, step in back.ticks()
                if isinstance(step, Act | Wait) and view.record and view.record.phase is Phase.ROLLBACK
            ]
        others = {pair for pair in rows if pair[0] != pair[1]}
        assert others <= {("match", "bake"), ("match", "cut"), ("retire", "done")}
        forward = {"claim", "pin", "grow", "attach", "bake", "match", "cut", "hold", "retire", "done"}
        assert {row for row, _ in rows} == (forward if goal is Goal.UPDATE else {"rollback"})
