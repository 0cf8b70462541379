"""One claim per group, against an embedded AWS: who gets it, who loses it, and that who lost it changes nothing."""

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

import pytest
from werkzeug.wrappers import Response

from nodepkg.clients.aws.account import Account
from nodepkg.clients.aws.ssm import Parameters
from nodepkg.errors import AwsError, ExitCode, RefusedError, UsageError
from nodepkg.lease.claim import Holder, Lease, LostLeaseError, StaleHeartbeatError, claim, consistency_seconds, holders
from nodepkg.sandbox.calls import Call
from nodepkg.sandbox.front import Layer
from tests.faults import Recorder, aws, dated, deny, lose_replies, refuse, throttle
from tests.faults.layers import Onward, layer
from tests.faults.server import QuickAccount

REGION = "us-east-1"
PATH = "/nodepkg/lease/group"
COMMAND = "package autoscale:update bee"
MINUTES = 60.0


class Clock:
    """One that stands still unless it is told; it begins now, since AWS writes down when a parameter was modified."""

    def __init__(self) -> None:
        self.now = float(int(time.time()))

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@dataclass
class World:
    """An AWS and this machine's clock, which agree."""

    account: Account
    clock: Clock
    calls: Recorder

    def claim(self, run: str = "run-1", group: str = "bee", **more: Any) -> Lease:
        given: dict[str, Any] = {"command": COMMAND, "window": 10.0, "sleep": self.clock.sleep, **more}
        return claim(self.account, REGION, group, run=run, **given)

    def take_over(self, run: str = "run-2") -> Lease:
        """What somebody does 21 minutes from now."""
        self.clock.sleep(21 * MINUTES)
        return self.claim(run, take_over=True)

    def change(self) -> None:
        self.client("ec2").create_tags(Resources=["ami-1ebb2077"], Tags=[{"Key": "changed", "Value": "yes"}])

    def client(self, service: str) -> Any:
        return self.account.client(service, REGION)

    @property
    def parameters(self) -> dict[str, Any]:
        """By what stands behind the path; each value as JSON."""
        found = Parameters(self.account, REGION).under(PATH, recursive=True)
        return {one.name.removeprefix(f"{PATH}/"): json.loads(one.value) for one in found}

    @property
    def sent(self) -> list[str]:
        """The calls that came so far; asking forgets them."""
        actions = [call.action for call in self.calls.calls]
        self.calls.calls.clear()
        return actions


@contextmanager
def world(*layers: Layer) -> Iterator[World]:
    clock, calls = Clock(), Recorder()
    with aws(*layers, dated(clock), calls) as account:
        yield World(QuickAccount(endpoint=account.endpoint, uptime=clock), clock, calls)


def put(world: World, name: str, value: str) -> None:
    Parameters(world.account, REGION).create(f"{PATH}/{name}", value, {})


def somebody(world: World, **more: Any) -> str:
    """The value of a holder on another machine."""
    now = world.clock()
    holder = Holder(COMMAND, "kim", "elsewhere", "boot", "space", 1, "1", "run-9", now, now, "bake", nonce="nine")
    return json.dumps(asdict(replace(holder, **more)))


class Old:
    """Layer that answers lists of claims as they were when `keep` was called, until `catch_up`."""

    def __init__(self) -> None:
        self._reply: bytes | None = None
        self._last = b""
        self._layer = layer(self._answer)

    def __call__(self, app: Any) -> Any:
        return self._layer(app)

    def keep(self) -> None:
        self._reply = self._last

    def catch_up(self) -> None:
        self._reply = None

    def _answer(self, call: Call, onward: Onward) -> Response:
        if call.action != "GetParametersByPath":
            return onward()
        if self._reply is not None:
            return Response(self._reply, mimetype="application/x-amz-json-1.1")
        reply = onward()
        self._last = reply.get_data()
        return reply


def when(action: str, then: Callable[[], object], times: int = 1) -> Layer:
    """The first calls of this action are throttled, and then something happens before each is tried again."""
    waiting = [then] * times

    def answer(call: Call, onward: Onward) -> Response:
        if call.action != action or not waiting:
            return onward()
        waiting.pop()()
        return call.error("RequestLimitExceeded", "Request limit exceeded.", 503)

    return layer(answer)


# Who gets it


def test_a_claim_says_who_and_since_when() -> None:
    with world() as there:
        lease = there.claim(state="claim")
        assert (lease.group, lease.region, lease.number, lease.run) == ("bee", REGION, 1, "run-1")
        value = there.parameters["bee/1"]
        assert (value["command"], value["run"], value["state"]) == (COMMAND, "run-1", "claim")
        assert value["since"] == value["heartbeat"] == there.clock()
        assert all(value[key] for key in ("user", "host", "boot", "namespace", "pid", "started", "nonce"))
        # An account's default may be the tier that costs money.
        assert [call.parameters["Tier"] for call in there.calls.of("PutParameter")] == ["Standard"]
        tags = there.client("ssm").list_tags_for_resource(ResourceType="Parameter", ResourceId=f"{PATH}/bee/1")
        assert {tag["Key"]: tag["Value"] for tag in tags["TagList"]} == {"nodepkg:managed": "true", "group": "bee"}


def test_a_second_claim_is_refused_and_told_who_since_when_and_in_which_state() -> None:
    with world() as there:
        put(there, "bee/7", somebody(there))
        there.clock.sleep(30)
        with pytest.raises(RefusedError) as refused:
            there.claim()
        assert refused.value.exit_code == ExitCode.REFUSED
        assert "kim@elsewhere" in refused.value.message
        assert COMMAND in refused.value.message
        assert "state: bake" in refused.value.message
        assert (
            f"since {time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime(there.clock() - 30))} UTC" in refused.value.message
        )
        assert "heartbeat 30 s ago" in refused.value.message
        assert "wait" in refused.value.hint
        assert list(there.parameters) == ["bee/7"]


def test_a_process_does_not_succeed_itself() -> None:
    with world() as there:
        there.claim("run-1")
        with pytest.raises(RefusedError):
            there.claim("run-1")


def test_each_group_has_its_own() -> None:
    with world() as there:
        assert [there.claim(group=group).number for group in ("bee", "bee-2", "be", "Bee")] == [1, 1, 1, 1]


def test_after_a_release_comes_the_next_number_and_only_one_parameter_stays() -> None:
    with world() as there:
        for number in (1, 2, 3):
            lease = there.claim(f"run-{number}")
            assert lease.number == number
            lease.release()
            assert [(name, value["released"]) for name, value in there.parameters.items()] == [(f"bee/{number}", True)]


def test_a_release_removes_all_older_claims_ten_a_call() -> None:
    with world() as there:
        for number in range(1, 26):
            put(there, f"bee/{number}", somebody(there, released=number == 25))
        lease = there.claim()
        assert lease.number == 26
        lease.release()
        assert list(there.parameters) == ["bee/26"]
        assert there.calls.counts["DeleteParameters"] == 3


def test_the_second_release_does_nothing() -> None:
    with world() as there:
        lease = there.claim()
        lease.release()
        before = there.parameters
        assert there.sent
        lease.release()
        assert there.sent == []
        assert there.parameters == before


def test_what_is_no_claim_of_ours_does_not_count() -> None:
    with world() as there:
        for name in ("bee/note", "bee/01", "bee/9/1", "bee/-1", "bee/1.5"):
            put(there, name, "9")
        assert there.claim().number == 1


def test_of_many_who_claim_at_once_one_wins_each_number() -> None:
    rounds, claimers = 12, 4
    with world() as there:
        winners: list[list[int]] = []
        for _ in range(rounds):
            start, won = threading.Barrier(claimers), list[Lease]()

            def race(run: str, start: threading.Barrier = start, won: list[Lease] = won) -> None:
                start.wait()
                with suppress(RefusedError):
                    won.append(there.claim(run, sleep=lambda _: None))

            threads = [threading.Thread(target=race, args=(f"run-{number}",)) for number in range(claimers)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            winners.append([lease.number for lease in won])
            won[0].release()
        assert winners == [[number] for number in range(1, rounds + 1)]
        assert list(there.parameters) == [f"bee/{rounds}"]


def test_of_two_who_write_at_the_same_moment_one_waits_and_looks_again() -> None:
    with world(refuse("PutParameter", "TooManyUpdates", 1)) as there:
        before = there.clock()
        assert there.claim().number == 1
        assert there.clock() > before
    with world(refuse("PutParameter", "TooManyUpdates")) as there, pytest.raises(RefusedError, match="at this moment"):
        there.claim()


# Who may be succeeded


def test_a_silent_holder_elsewhere_is_succeeded_after_twenty_minutes_if_so_told() -> None:
    with world() as there:
        put(there, "bee/1", somebody(there))
        there.clock.sleep(20 * MINUTES)
        with pytest.raises(RefusedError, match="held by kim@elsewhere") as refused:
            there.claim(take_over=True)
        assert "--take-over" in refused.value.hint
        there.clock.sleep(2)
        with pytest.raises(RefusedError, match="heartbeat 20 min ago") as refused:
            there.claim()
        assert "--take-over" in refused.value.hint
        assert there.claim(take_over=True).number == 2


def test_a_holder_that_is_heard_of_is_not_taken_over() -> None:
    with world() as there:
        lease = there.claim()
        for _ in range(4):
            there.clock.sleep(15 * MINUTES)
            lease.beat()
            with pytest.raises(RefusedError):
                there.claim("run-2", take_over=True)


@pytest.mark.parametrize(
    "value",
    [
        "not JSON",
        "[1]",
        "null",
        '{"pid": 1}',
        "9" * 4000,
        "[" * 4000,
        json.dumps({"command": "x", "user": "x", "host": "x", "boot": "x", "namespace": "x", "pid": True}),
    ],
)
def test_of_a_damaged_claim_only_its_age_counts(value: str) -> None:
    with world() as there:
        put(there, "bee/3", value)
        for take_over in (False, True):
            with pytest.raises(RefusedError, match="cannot be read"):
                there.claim(take_over=take_over)
        there.clock.sleep(21 * MINUTES)
        with pytest.raises(RefusedError, match="cannot be read"):
            there.claim()
        assert there.claim(take_over=True).number == 4


@pytest.mark.parametrize(
    "wrong", [{"heartbeat": "soon"}, {"heartbeat": float("nan")}, {"pid": -1}, {"released": "yes"}, {"since": 1e300}]
)
def test_a_claim_with_a_wrong_value_is_damaged(wrong: dict[str, Any]) -> None:
    with world() as there:
        put(there, "bee/1", json.dumps({**json.loads(somebody(there)), "released": True, **wrong}))
        with pytest.raises(RefusedError, match="cannot be read"):
            there.claim()


def test_a_claim_of_a_newer_version_is_understood() -> None:
    with world() as there:
        put(there, "bee/1", json.dumps({**json.loads(somebody(there, released=True)), "colour": "red"}))
        assert there.claim().number == 2


def test_nothing_that_a_holder_wrote_reaches_the_terminal_as_more_than_text() -> None:
    with world() as there:
        put(there, "bee/1", somebody(there, command="\x1b[2Jpackage", host="\x07host\n"))
        with pytest.raises(RefusedError) as refused:
            there.claim()
        assert refused.value.message.isprintable()


HOLDER = """
import sys, time
from nodepkg.errors import NodepkgError
from nodepkg.lease.claim import claim
from tests.faults.server import QuickAccount

account = QuickAccount(endpoint=sys.argv[1])
ec2 = account.client("ec2", "us-east-1")
lease = claim(account, "us-east-1", "bee", command="package autoscale:update bee", run="run-1", window=10.0)
print(lease.number, flush=True)
for _ in sys.stdin:
    try:
        with lease.fenced():
            ec2.create_tags(Resources=["ami-1ebb2077"], Tags=[{"Key": "changed", "Value": "yes"}])
        print("changed", flush=True)
    except NodepkgError as error:
        print(type(error).__name__, int(error.exit_code), flush=True)
"""


@contextmanager
def holder(there: World) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the group; a line on its input has it change something."""
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", HOLDER, str(there.account.endpoint)]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            assert answer(process) == "1"
            yield process
        finally:
            process.kill()


def answer(process: "subprocess.Popen[str]") -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def ask(process: "subprocess.Popen[str]") -> None:
    assert process.stdin
    process.stdin.write("change\n")
    process.stdin.flush()


def test_a_killed_holder_is_succeeded_at_once_and_a_living_one_is_not() -> None:
    with world() as there, holder(there) as process:
        ask(process)
        assert answer(process) == "changed"
        with pytest.raises(RefusedError, match="held by"):
            there.claim("run-2")
        process.kill()
        process.wait()
        assert there.claim("run-2").number == 2


def test_a_stopped_holder_that_wakes_up_after_a_take_over_changes_nothing() -> None:
    with world() as there, holder(there) as process:
        process.send_signal(signal.SIGSTOP)
        there.clock.sleep(19 * MINUTES)
        with pytest.raises(RefusedError):
            there.claim("run-2", take_over=True)
        there.clock.sleep(2 * MINUTES)
        assert there.claim("run-2", take_over=True).number == 2
        process.send_signal(signal.SIGCONT)
        ask(process)
        assert answer(process) == "LostLeaseError 4"
        assert "CreateTags" not in there.sent


# The fence


def test_who_was_taken_over_changes_nothing_and_is_told_by_whom() -> None:
    with world() as there:
        lease = there.claim()
        there.take_over()
        assert there.sent
        with pytest.raises(LostLeaseError, match=r"number 1.* claimed by .*autoscale:update") as lost, lease.fenced():
            there.change()
        assert lost.value.exit_code == ExitCode.REFUSED
        assert there.sent == ["GetParametersByPath"]


def test_who_was_taken_over_and_released_since_changes_nothing() -> None:
    with world() as there:
        lease = there.claim()
        there.take_over().release()
        with pytest.raises(LostLeaseError, match="claimed and released again by"), lease.fenced():
            there.change()


def test_a_call_that_is_tried_again_after_a_take_over_is_not_sent_again() -> None:
    taken: list[Lease] = []
    with world(when("CreateTags", lambda: taken.append(there.take_over()))) as there:
        lease = there.claim()
        assert there.sent
        with pytest.raises(LostLeaseError), lease.fenced():
            there.change()
        assert taken[0].number == 2
        assert there.sent.count("CreateTags") == 1


def test_a_call_that_is_tried_again_after_a_pause_is_not_sent_again() -> None:
    with world(when("CreateTags", lambda: there.clock.sleep(61))) as there:
        lease = there.claim()
        assert there.sent
        with pytest.raises(StaleHeartbeatError), lease.fenced():
            there.change()
        assert there.sent == ["GetParametersByPath", "CreateTags", "GetParametersByPath"]


def test_the_fence_costs_one_call_for_each_try_and_none_for_a_read() -> None:
    with world(throttle("CreateTags", 1)) as there:
        lease = there.claim()
        assert there.sent
        with lease.fenced():
            there.client("ec2").describe_images()
            there.client("autoscaling").describe_auto_scaling_groups()
            assert there.sent == ["DescribeImages", "DescribeAutoScalingGroups"]
            there.change()
        assert there.sent == ["GetParametersByPath", "CreateTags"] * 2
        there.change()
        assert there.sent == ["CreateTags"]


def test_within_the_fence_the_lease_writes_its_own_heartbeat() -> None:
    with world() as there:
        lease = there.claim()
        there.clock.sleep(5 * MINUTES)
        assert there.sent
        with lease.fenced():
            lease.beat()
            assert there.sent == ["GetParametersByPath", "PutParameter"]
            there.change()
            lease.release()


def test_another_thread_is_fenced_only_by_itself() -> None:
    with world() as there:
        lease = there.claim()
        there.take_over()
        with lease.fenced():
            thread = threading.Thread(target=there.change)
            thread.start()
            thread.join()
        assert "CreateTags" in there.sent


def test_a_stale_heartbeat_of_our_own_forbids_changes_until_the_next_one() -> None:
    with world() as there:
        lease = there.claim()
        there.clock.sleep(60)
        with lease.fenced():
            there.change()
        there.clock.sleep(1)
        with pytest.raises(StaleHeartbeatError, match="CreateTags is not sent"), lease.fenced():
            there.change()
        lease.beat()
        with lease.fenced():
            there.change()


def test_a_change_is_made_anew_where_throttling_outlasts_the_heartbeat() -> None:
    with world(when("CreateTags", lambda: there.clock.sleep(61), times=3)) as there:
        lease = there.claim()
        assert there.sent
        assert lease.making("tagging", there.change) is None
        sent = there.sent
        assert (sent.count("PutParameter"), sent[-1]) == (3, "CreateTags")


def test_a_change_is_not_made_anew_for_ever_nor_after_the_lease_is_lost() -> None:
    with world(when("CreateTags", lambda: there.clock.sleep(61), times=99)) as there:
        lease = there.claim()
        with pytest.raises(StaleHeartbeatError):
            lease.making("tagging", there.change)
        there.take_over()
        with pytest.raises(LostLeaseError):
            lease.making("tagging", there.change)


@pytest.mark.parametrize("stands", ["AWS's clock", "the local clock"])
def test_a_heartbeat_is_stale_by_whichever_clock_says_older(stands: str) -> None:
    local, remote = Clock(), Clock()
    with aws(dated(remote)) as served:
        account = QuickAccount(endpoint=served.endpoint, uptime=local)
        lease = claim(account, REGION, "bee", command=COMMAND, run="run-1", window=10.0)
        (remote if stands == "the local clock" else local).sleep(65)
        with pytest.raises(StaleHeartbeatError), lease.fenced():
            account.client("ec2", REGION).create_tags(Resources=["ami-1ebb2077"], Tags=[])


def test_where_aws_tells_no_time_the_local_clock_counts() -> None:
    local = Clock()

    def undated(call: Call, onward: Onward) -> Response:
        reply = onward()
        reply.headers["Date"] = "some day"
        return reply

    with aws(layer(undated)) as served:
        account = QuickAccount(endpoint=served.endpoint, uptime=local)
        lease = claim(account, REGION, "bee", command=COMMAND, run="run-1", window=10.0)
        local.sleep(61)
        with pytest.raises(StaleHeartbeatError), lease.fenced():
            account.client("ec2", REGION).create_tags(Resources=["ami-1ebb2077"], Tags=[])


def test_what_cannot_be_asked_is_not_changed() -> None:
    denied: list[bool] = []
    deny_all = deny("GetParametersByPath")

    def denying(app: Any) -> Any:
        refusing = deny_all(app)

        def answer(environ: Any, start: Any) -> Any:
            return refusing(environ, start) if denied else app(environ, start)

        return answer

    with world(denying) as there:
        lease = there.claim()
        denied.append(True)
        assert there.sent
        with pytest.raises(AwsError, match="AccessDenied"), lease.fenced():
            there.change()
        assert there.sent == ["GetParametersByPath"]
        there.clock.sleep(30)
        with pytest.raises(AwsError):
            lease.beat("bake")
        assert there.sent == ["GetParametersByPath"]


@pytest.mark.parametrize("spoil", ["removed", "overwritten", "damaged", "released"])
def test_a_claim_that_somebody_else_touched_is_lost(spoil: str) -> None:
    with world() as there:
        lease, parameters = there.claim(), Parameters(there.account, REGION)
        value = {"overwritten": somebody(there), "damaged": "{}", "released": somebody(there, released=True)}
        if spoil == "removed":
            parameters.delete([f"{PATH}/bee/1"])
            there.clock.sleep(11)
        else:
            parameters.overwrite(f"{PATH}/bee/1", value[spoil])
        with pytest.raises(LostLeaseError, match=r"removed|overwritten"), lease.fenced():
            there.change()
        lease.release()
        assert there.parameters.get("bee/1", {}).get("run") != "run-1"


def test_what_was_released_changes_nothing_more() -> None:
    with world() as there:
        lease = there.claim()
        lease.release()
        assert there.sent
        with pytest.raises(LostLeaseError, match="it has been released"), lease.fenced():
            there.change()
        with pytest.raises(LostLeaseError, match="it has been released"):
            lease.beat()
        assert there.sent == []


# Old lists


def test_a_claim_that_cannot_be_seen_yet_is_not_lost_within_the_window() -> None:
    old = Old()
    with world(old) as there:
        put(there, "bee/4", somebody(there, released=True))
        assert list(there.parameters) == ["bee/4"]
        old.keep()
        lease = there.claim()
        assert lease.number == 5
        there.clock.sleep(9)
        with lease.fenced():
            there.change()
        there.clock.sleep(2)
        with pytest.raises(LostLeaseError, match="removed"), lease.fenced():
            there.change()


def test_a_claim_on_an_old_list_finds_the_holder_in_its_way() -> None:
    old = Old()
    with world(old) as there:
        assert there.parameters == {}
        old.keep()
        put(there, "bee/1", somebody(there))
        with pytest.raises(RefusedError, match="held by kim@elsewhere"):
            there.claim()
        old.catch_up()
        assert list(there.parameters) == ["bee/1"]


def test_a_claim_on_an_old_list_goes_on_from_a_holder_that_has_released() -> None:
    old = Old()
    with world(old) as there:
        assert there.parameters == {}
        old.keep()
        for number in (1, 2):
            put(there, f"bee/{number}", somebody(there, released=True))
        assert there.claim().number == 3


@pytest.mark.parametrize("released", [False, True])
def test_a_claim_of_a_number_that_was_removed_is_lost_before_anything_is_changed(released: bool) -> None:
    old = Old()
    with world(old) as there:
        there.claim("run-1").release()
        assert list(there.parameters) == ["bee/1"]
        old.keep()
        # Meanwhile number 2 came and went, and number 3 removed it.
        put(there, "bee/3", somebody(there, released=released))
        lease = there.claim("run-2")
        assert lease.number == 2
        old.catch_up()
        there.clock.sleep(30)
        assert there.sent
        with pytest.raises(LostLeaseError, match="kim@elsewhere"), lease.fenced():
            there.change()
        with pytest.raises(LostLeaseError):
            lease.beat("bake")
        lease.release()
        assert set(there.sent) == {"GetParametersByPath"}
        assert there.parameters["bee/3"]["run"] == "run-9"


def test_a_newer_number_counts_within_the_window_too() -> None:
    with world() as there:
        lease = there.claim()
        put(there, "bee/2", somebody(there))
        with pytest.raises(LostLeaseError), lease.fenced():
            there.change()


# Replies that are lost


def test_a_lost_reply_to_a_claim_makes_no_second_one() -> None:
    with world(lose_replies("PutParameter")) as there:
        lease = there.claim()
        assert lease.number == 1
        assert list(there.parameters) == ["bee/1"]
        with lease.fenced():
            there.change()


def test_a_lost_reply_to_somebody_elses_claim_is_none_of_ours() -> None:
    """The first try fails unseen; before the second another process has the number, with the same run id."""
    other: list[Lease] = []

    def meanwhile() -> None:
        account = QuickAccount(endpoint=there.account.endpoint, uptime=there.clock)
        other.append(claim(account, REGION, "bee", command=COMMAND, run="run-1", window=10.0))

    with world(when("PutParameter", meanwhile)) as there:
        with pytest.raises(RefusedError, match="held by"):
            there.claim("run-1")
        assert other[0].number == 1
        assert list(there.parameters) == ["bee/1"]


def test_lost_replies_to_a_heartbeat_and_to_a_release_change_nothing() -> None:
    for count in (2, 3):
        losing = _nth_reply_lost("PutParameter", count)
        with world(losing, lose_replies("DeleteParameters")) as there:
            put(there, "bee/1", somebody(there, released=True))
            lease = there.claim()
            there.clock.sleep(30)
            lease.beat("bake")
            assert there.parameters["bee/2"]["heartbeat"] == there.clock()
            lease.release()
            assert [(name, value["released"]) for name, value in there.parameters.items()] == [("bee/2", True)]


def _nth_reply_lost(action: str, n: int) -> Layer:
    seen = [0]

    def respond(call: Call, onward: Onward) -> Response:
        reply = onward()
        seen[0] += call.action == action
        return call.error("InternalError", "lost", 500) if call.action == action and seen[0] == n + 1 else reply

    return layer(respond)


def test_a_release_that_fails_is_told_and_may_be_tried_again() -> None:
    with world(_refused_at("PutParameter", 2)) as there:
        lease = there.claim()
        with pytest.raises(AwsError, match="not now"):
            lease.release()
        assert not there.parameters["bee/1"]["released"]
        lease.release()
        assert there.parameters["bee/1"]["released"]


def _refused_at(action: str, n: int) -> Layer:
    seen = [0]

    def respond(call: Call, onward: Onward) -> Response:
        seen[0] += call.action == action
        refused = call.action == action and seen[0] == n
        return call.error("AccessDeniedException", "not now", 400) if refused else onward()

    return layer(respond)


# The heartbeat


def test_the_heartbeat_is_written_at_most_every_thirty_seconds_with_the_state() -> None:
    with world() as there:
        lease = there.claim(state="claim")
        since = there.clock()
        assert there.sent
        there.clock.sleep(29)
        lease.beat("claim")
        lease.beat("pin")
        assert there.sent == []
        there.clock.sleep(1)
        lease.beat("grow")
        assert there.sent == ["GetParametersByPath", "PutParameter"]
        value = there.parameters["bee/1"]
        assert (value["state"], value["since"], value["heartbeat"]) == ("grow", since, since + 30)


def test_a_lost_lease_writes_no_heartbeat() -> None:
    with world() as there:
        lease = there.claim()
        there.take_over()
        there.clock.sleep(30)
        assert there.sent
        with pytest.raises(LostLeaseError):
            lease.beat("bake")
        assert there.sent == ["GetParametersByPath"]


def test_what_is_too_long_for_a_parameter_is_cut() -> None:
    with world() as there:
        lease = there.claim(command=f"package autoscale:update {{{{}}}} {'bee ' * 2000}")
        there.clock.sleep(30)
        lease.beat("very long " * 1000)
        assert len(there.parameters["bee/1"]["state"]) == 100
        assert "{{}}" in there.parameters["bee/1"]["command"]


# What others see


def test_the_holders_of_all_groups_cost_one_list() -> None:
    with world() as there:
        lease = there.claim(group="bee")
        there.clock.sleep(30)
        lease.beat("bake")
        there.claim(group="www").release()
        there.claim(group="ftp")
        put(there, "www/x", "x")
        put(there, "odd/2", "damaged")
        for number in (10, 2, 1):
            put(there, f"ten/{number}", somebody(there, released=number != 10, run=f"run-{number}"))
        assert there.sent
        found = holders(there.account, REGION, ["bee", "www", "odd", "ten", "none"])
        assert set(there.sent) == {"GetParametersByPath"}
        assert sorted(found) == ["bee", "odd", "ten"]
        assert (found["bee"].state, found["bee"].run, found["ten"].run) == ("bake", "run-1", "run-10")
        assert found["odd"].damaged
        assert "cannot be read" in found["odd"].told(there.account.now())


@pytest.mark.parametrize(("text", "seconds"), [(None, 10.0), ("", 10.0), ("0", 0.0), ("2.5", 2.5), (" 3 ", 3.0)])
def test_the_consistency_window_may_be_told(text: str | None, seconds: float) -> None:
    assert consistency_seconds({} if text is None else {"NODEPKG_CONSISTENCY_SECONDS": text}) == seconds


@pytest.mark.parametrize("text", ["ten", "-1", "nan", "inf", "1,5"])
def test_a_consistency_window_that_is_no_number_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match=f"NODEPKG_CONSISTENCY_SECONDS={text}"):
        consistency_seconds({"NODEPKG_CONSISTENCY_SECONDS": text})
