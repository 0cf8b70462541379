"""Waiting for the nodes of new groups, on a rig in which they take their time."""

from collections.abc import Collection, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest

from nodepkg.autoscale.awaiting import Awaited, Standing, Waiting
from nodepkg.errors import AwsError, UnreachableError
from nodepkg.lease.claim import BEAT_SECONDS, LostLeaseError
from nodepkg.ready import Health
from nodepkg.services.blocking import EtcdRegistries, Picture
from tests.autoscale.registers import MEMBERSHIP
from tests.faults import Recorder, refuse
from tests.fleets import REGION, STOCK_IMAGE, Rig, fleet


@dataclass
class Told:
    """What a watcher hears; `then` is done at the first look at a group after that many seconds."""

    rig: Rig
    then: dict[float, Any] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    warnings: list[tuple[float, str]] = field(default_factory=list)
    standings: list[Standing] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._began = self.rig.clock.now()

    @property
    def seconds(self) -> float:
        return self.rig.clock.now() - self._began

    def began(self, awaited: Awaited) -> None:
        self.lines.append(f"began {awaited.asg}")

    def stands(self, standing: Standing) -> None:
        self.standings.append(standing)

    def ended(self, group: str, told: str) -> None:
        self.lines.append(told)

    def warning(self, text: str) -> None:
        self.warnings.append((self.seconds, text))

    def tick(self) -> None:
        for after in [after for after in self.then if after <= self.seconds]:
            self.then.pop(after)()


@dataclass
class Beaten:
    """A lease that notes when it was kept alive."""

    rig: Rig
    moments: list[float] = field(default_factory=list)
    error: Exception | None = None

    def fenced(self) -> Any:
        return nullcontext()

    def release(self) -> None:
        pass

    def beat(self, state: str | None = None) -> None:
        self.moments.append(self.rig.clock.now())
        if self.error:
            raise self.error


def everybody_answers(urls: Collection[str], *, timeout: float) -> Mapping[str, str]:
    return dict.fromkeys(urls, "")


def wait(rig: Rig, told: Told, *asgs: str, lease: Any = None, web: Any = everybody_answers, **terms: Any) -> None:
    poll, timeout, health = terms.get("poll", 5.0), terms.get("timeout", 900.0), terms.get("health", Health())
    leases: Any = dict.fromkeys(asgs, lease or Beaten(rig))
    registries, membership = terms.get("registries"), terms.get("membership")
    waiting = Waiting(rig.account, leases, told, web=web, poll=poll, sleep=rig.clock.sleep, registries=registries)
    waiting.wait([Awaited(asg, REGION, asg, health, timeout, STOCK_IMAGE, membership) for asg in asgs])


def test_it_ends_when_the_nodes_are_ready_and_says_how_far_it_was() -> None:
    with fleet(pending=30, checks=60, healthy=20) as rig:
        told = Told(rig)
        target = rig.world().target_group("web")
        rig.group("web-v001", 2, target_groups=[target])
        wait(rig, told, "web-v001")
        assert rig.world().serving("bee") == 2
    assert 90 <= told.seconds <= 100
    assert told.lines == ["began web-v001", "web-v001 is ready: 2 nodes"]
    lacks = [standing.why.partition(": ")[2] for standing in told.standings]
    assert list(dict.fromkeys(lacks)) == ["Pending", "status checks initializing", ""]
    assert (told.standings[0].ready, told.standings[-1].ready, told.standings[-1].desired) == (0, 2, 2)


def test_a_target_group_that_sends_nothing_yet_is_waited_for() -> None:
    with fleet(pending=10, checks=10, healthy=200) as rig:
        told = Told(rig)
        rig.group("web-v001", 1, target_groups=[rig.world().target_group("web")])
        wait(rig, told, "web-v001")
    assert 200 <= told.seconds <= 230
    assert told.standings[-2].why.endswith(": initial in web")


def test_a_health_url_is_waited_for() -> None:
    answers = ["it answers 503", "no connection: Connection refused", ""]

    def web(urls: Collection[str], *, timeout: float) -> Mapping[str, str]:
        why = answers.pop(0) if urls and answers else ""
        return dict.fromkeys(urls, why)

    with fleet() as rig:
        told = Told(rig)
        rig.group("web-v001", 1)
        wait(rig, told, "web-v001", web=web, health=Health("http://{private_ip}/"))
    whys = [standing.why for standing in told.standings if "health_url" in standing.why]
    assert [why.partition("health_url: ")[2] for why in whys] == ["it answers 503", "no connection: Connection refused"]


def test_services_are_waited_for_and_asked_for_once_a_look() -> None:
    looks: list[object] = []

    class Registries(EtcdRegistries):
        def look(self, asked: Any) -> Any:
            looks.append(asked)
            ids = [node.id for name in ("web-v001", "wasp-v001") for node in rig.world().nodes(name)]
            services = {"api", "workers"} if rig.clock.now() > late else {"api"}
            return {MEMBERSHIP.location: Picture(dict.fromkeys(ids, frozenset(services)))}

    with fleet() as rig:
        told, late = Told(rig), rig.clock.now() + 600
        for name in ("web-v001", "wasp-v001"):
            rig.group(name, 1)
        wait(rig, told, "web-v001", "wasp-v001", registries=Registries(), membership=MEMBERSHIP)
    whys = {one.why.partition(": ")[2] for one in told.standings}
    assert "workers not announced" in whys
    assert 600 < told.seconds < 610
    assert looks == [{MEMBERSHIP.location: {}}] * len(looks)
    assert len(looks) == len(told.standings) / 2


def test_a_registry_that_cannot_be_asked_leaves_no_node_ready() -> None:
    class Registries(EtcdRegistries):
        def look(self, asked: Any) -> Any:
            return dict.fromkeys(asked, UnreachableError("nobody answers"))

    with fleet() as rig:
        rig.group("web-v001", 1)
        with pytest.raises(AwsError, match="it is not known what it has announced: nobody answers"):
            wait(rig, Told(rig), "web-v001", timeout=300, registries=Registries(), membership=MEMBERSHIP)


def test_a_group_without_nodes_is_ready_at_once() -> None:
    with fleet() as rig:
        told = Told(rig)
        rig.group("web-v001", 0)
        wait(rig, told, "web-v001", timeout=0)
    assert told.lines[-1] == "web-v001 is ready: 0 nodes"


def test_nodes_that_are_not_ready_in_time_are_an_error_that_says_what_to_do() -> None:
    with fleet() as rig:
        told = Told(rig)
        rig.world().sick(STOCK_IMAGE, "impaired")
        rig.group("web-v001", 1)
        with pytest.raises(AwsError) as error:
            wait(rig, told, "web-v001", timeout=300)
        assert rig.world().group("web-v001") is not None
    assert 300 <= told.seconds < 305
    assert "web-v001: not ready within 300 s: 0 of 1 nodes ready; i-" in error.value.message
    assert (
        "status checks impaired; AWS says: an instance was taken out of service in response to" in error.value.message
    )
    assert "package autoscale:delete web-v001" in error.value.hint
    assert error.value.exit_code == 5


@pytest.mark.parametrize(("timeout", "ready"), [(90, True), (89, False)])
def test_readiness_is_looked_at_before_the_deadline(timeout: float, ready: bool) -> None:
    """The nodes are ready when their time is just up."""
    with fleet(pending=30, checks=60) as rig:
        told = Told(rig)
        rig.group("web-v001", 1)
        if ready:
            wait(rig, told, "web-v001", timeout=timeout, poll=1000)
        else:
            with pytest.raises(AwsError, match="not ready within 89 s"):
                wait(rig, told, "web-v001", timeout=timeout, poll=1000)


def test_a_zone_without_capacity_is_told_at_once_and_once_and_waited_for() -> None:
    with fleet(retry=60) as rig:
        rig.world().short("us-east-1a")
        told = Told(rig, {250: lambda: rig.world().short()})
        rig.group("web-v001", 1, zones=["us-east-1a"])
        wait(rig, told, "web-v001")
    assert told.lines[-1] == "web-v001 is ready: 1 node"
    ((after, text),) = told.warnings
    assert after < 30
    assert "web-v001: AWS cannot start a node: " in text
    assert "capacity" in text


def test_awss_own_reason_is_in_the_error() -> None:
    with fleet() as rig:
        rig.world().quota(1)
        told = Told(rig)
        rig.group("web-v001", 2)
        with pytest.raises(AwsError) as error:
            wait(rig, told, "web-v001", timeout=300)
    assert "1 of 2 nodes ready; AWS says: " in error.value.message
    assert told.warnings[0][1].rpartition("node: ")[2] in error.value.message
    assert len(told.warnings) == 1


def test_nodes_that_end_before_they_run_are_told_with_their_reason() -> None:
    with fleet() as rig:
        rig.world().sick(STOCK_IMAGE, "failing")
        told = Told(rig)
        rig.group("web-v001", 1)
        with pytest.raises(AwsError, match="AWS says: "):
            wait(rig, told, "web-v001", timeout=300)
    assert told.warnings


def test_one_group_that_fails_keeps_no_other_from_being_waited_for() -> None:
    with fleet() as rig:
        rig.world().short("us-east-1a")
        told = Told(rig)
        rig.group("bad-v001", 1, zones=["us-east-1a"])
        rig.group("good-v001", 1, zones=["us-east-1b"])
        rig.group("worse-v001", 1, zones=["us-east-1a"])
        with pytest.raises(AwsError) as error:
            wait(rig, told, "bad-v001", "good-v001", "worse-v001", timeout=300)
    assert "good-v001 is ready: 1 node" in told.lines
    assert [line.partition(":")[0] for line in error.value.message.split("\n")] == ["bad-v001", "worse-v001"]
    assert "package autoscale:delete bad-v001, package autoscale:delete worse-v001" in error.value.hint


def test_a_group_that_is_deleted_meanwhile_is_not_waited_for() -> None:
    with fleet(delete=100, termination=100) as rig:
        delete = rig.client("autoscaling").delete_auto_scaling_group
        told = Told(rig, {20: lambda: delete(AutoScalingGroupName="web-v001", ForceDelete=True)})
        rig.group("web-v001", 1)
        with pytest.raises(AwsError, match=r"web-v001: AWS says: Delete in progress"):
            wait(rig, told, "web-v001")
    assert told.seconds < 40


def test_a_group_that_aws_does_not_show_is_waited_for_and_told_in_the_end() -> None:
    with fleet() as rig:
        told = Told(rig, {100: lambda: rig.group("web-v001", 1)})
        wait(rig, told, "web-v001")
        with pytest.raises(AwsError, match="gone-v001: not ready within 60 s: AWS does not show it"):
            wait(rig, told, "gone-v001", timeout=60)


def test_leases_are_kept_alive_however_seldom_it_looks() -> None:
    with fleet() as rig:
        told, lease = Told(rig), Beaten(rig)
        rig.group("web-v001", 1)
        wait(rig, told, "web-v001", poll=600, lease=lease)
    moments = [*lease.moments, rig.clock.now()]
    assert max(later - earlier for earlier, later in pairwise(moments)) < BEAT_SECONDS
    assert len(told.standings) == 2


def test_a_lease_that_is_lost_ends_it() -> None:
    with fleet() as rig:
        rig.group("web-v001", 1)
        with pytest.raises(LostLeaseError):
            wait(rig, Told(rig), "web-v001", lease=Beaten(rig, error=LostLeaseError("gone")))


def test_a_heartbeat_that_cannot_be_written_is_told_and_ends_nothing() -> None:
    with fleet() as rig:
        told = Told(rig)
        rig.group("web-v001", 1)
        wait(rig, told, "web-v001", poll=30, lease=Beaten(rig, error=AwsError("SSM is away")))
    assert [text for _, text in told.warnings] == ["web-v001: the heartbeat cannot be written: SSM is away"]


def test_an_aws_that_cannot_be_looked_at_for_a_while_ends_nothing() -> None:
    with fleet(refuse("DescribeAutoScalingGroups", "Weather", 3)) as rig:
        told = Told(rig)
        rig.group("web-v001", 1)
        wait(rig, told, "web-v001")
    ((_, text),) = told.warnings
    assert "AWS cannot be looked at" in text
    assert "Weather" in text
    assert told.lines[-1] == "web-v001 is ready: 1 node"


def test_an_aws_that_cannot_be_looked_at_any_more_ends_it() -> None:
    with fleet(refuse("DescribeInstanceStatus", "Weather")) as rig:
        rig.group("web-v001", 1)
        rig.wait(600)
        with pytest.raises(AwsError, match="Weather"):
            wait(rig, Told(rig), "web-v001")


def test_many_groups_take_as_many_calls_as_one() -> None:
    counts = []
    for groups in (1, 12):
        calls = Recorder()
        with fleet(calls) as rig:
            names = [rig.group(f"web-{number}-v001", 1) for number in range(groups)]
            calls.calls.clear()
            wait(rig, Told(rig), *names)
            counts.append(calls.counts)
    assert counts[0] == counts[1]
