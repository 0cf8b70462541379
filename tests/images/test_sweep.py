"""What packer:sweep removes: the decider on plain values, and the actions against an embedded AWS."""

from collections.abc import Collection
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodepkg.clients.aws.account import Account
from nodepkg.errors import AwsError
from nodepkg.images.journal import Journal, Record, new_build_id
from nodepkg.images.leftovers import Leftover, key_pair_name, leftovers
from nodepkg.images.sweep import Broom, Sweep, Verdict, plan_sweep, spoken, sweep_plan
from nodepkg.plan import execute
from tests.faults import aws, deny, lose_replies, refuse, slow_termination
from tests.images.test_journal import program

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
REGION = "us-east-1"
NOTHING = timedelta()
ACCOUNT = "123456789012"  # that of moto


def build_of(age: timedelta, number: int = 0, now: datetime = NOW) -> str:
    return new_build_id((now - age).timestamp(), number.to_bytes(4, "big"))


OLD = build_of(timedelta(days=3))
YOUNG = build_of(timedelta(minutes=5))


def leftover(
    build: str = OLD, kind: Any = "key pair", age: timedelta | None = timedelta(days=3), **more: Any
) -> Leftover:
    started = None if age is None else NOW - age
    return Leftover(kind, f"{kind[:3]}-{build[-4:]}", "x", REGION, build, started=started, **more)


def judged(
    *found: Leftover,
    knows: Collection[str] = (OLD, YOUNG),
    lives: Collection[str] = (),
    older_than: timedelta = timedelta(hours=24),
) -> list[Verdict]:
    return sweep_plan(
        found,
        knows=knows.__contains__,
        lives=lives.__contains__,
        older_than=older_than,
        now=NOW,
    )


def why(*found: Leftover, **more: Any) -> list[tuple[str, str]]:
    return [(verdict.word, verdict.why) for verdict in judged(*found, **more)]


def test_what_an_ended_build_left_goes() -> None:
    assert why(leftover()) == [("remove", "its build began 3 d ago")]


def test_what_is_young_stays() -> None:
    young = leftover(YOUNG, age=timedelta(minutes=5))
    assert why(young) == [("spare", "younger than 24 h")]
    assert why(young, older_than=NOTHING) == [("remove", "its build began 5 min ago")]


def test_a_build_that_lives_keeps_everything_whatever_its_age() -> None:
    assert why(leftover(), lives=[OLD], older_than=NOTHING) == [("spare", "its build is running")]


def test_of_a_build_of_another_machine_only_the_age_counts() -> None:
    young = leftover(YOUNG, age=timedelta(minutes=5))
    assert why(young, knows=()) == [("spare", "younger than 24 h")]
    assert why(young, knows=(), older_than=NOTHING) == [("remove", "its build began 5 min ago, not from here")]
    assert why(leftover(), knows=()) == [("remove", "its build began 3 d ago, not from here")]


def test_what_tells_no_age_stays() -> None:
    assert why(leftover(age=None), older_than=NOTHING) == [("spare", "its age is not known")]


def test_what_packer_made_by_hand_stays() -> None:
    assert why(leftover(""), older_than=NOTHING) == [("spare", "no build of packer:run")]


def test_an_id_of_another_form_is_an_id() -> None:
    assert why(leftover("../x"), older_than=NOTHING) == [("remove", "its build began 3 d ago, not from here")]


def test_a_clock_that_is_ahead_makes_nothing_older() -> None:
    ahead = leftover(YOUNG, age=timedelta(minutes=-5))
    assert why(ahead) == [("spare", "younger than 24 h")]
    assert why(ahead, older_than=NOTHING) == [("remove", "its build began 0 s ago")]


def test_what_belongs_to_one_build_goes_together() -> None:
    parts = [leftover(kind="instance", age=timedelta(hours=23)), leftover(), leftover(kind="security group", age=None)]
    assert [verdict.removed for verdict in judged(*parts)] == [False, False, False]
    assert [verdict.removed for verdict in judged(*parts, older_than=timedelta(hours=22))] == [True, True, True]


def test_a_security_group_stays_as_long_as_an_instance_that_stays_uses_it() -> None:
    instance = leftover(YOUNG, "instance", timedelta(minutes=5))
    group = leftover(kind="security group", instances=(instance.id,))
    assert why(instance, group)[1] == ("spare", f"in use by {instance.id}")


def test_instances_go_first_and_key_pairs_last() -> None:
    found = [leftover(kind=kind) for kind in ("key pair", "security group", "instance")]
    assert [str(action) for action in plan_sweep(judged(*found))] == [
        f"terminate {found[2].line}",
        f"delete {found[1].line}",
        f"delete {found[0].line}",
    ]
    assert found[0].line == f"key pair {found[0].id} (x), in us-east-1"


@pytest.mark.parametrize(
    ("length", "text"),
    [
        (timedelta(), "0 s"),
        (timedelta(seconds=59), "59 s"),
        (timedelta(minutes=5, seconds=9), "5 min"),
        (timedelta(hours=24), "24 h"),
        (timedelta(hours=1, minutes=30), "1 h 30 min"),
        (timedelta(days=3, hours=4), "3 d 4 h"),
    ],
)
def test_a_length_of_time_is_told_in_two_units(length: timedelta, text: str) -> None:
    assert spoken(length) == text


some_builds = st.builds(
    build_of, st.timedeltas(timedelta(minutes=-5), timedelta(days=9)), st.integers(0, 3)
) | st.sampled_from(["", "x", "00000000deadbeef", "ffffffffdeadbeef"])


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[Leftover], set[str], set[str]]:
    """Leftovers of some builds, the builds that are known here, and those of them that live."""
    builds = draw(st.lists(some_builds, min_size=1, max_size=5, unique=True))
    kinds: list[Any] = ["instance", "security group", "key pair"]
    ages = st.none() | st.timedeltas(timedelta(minutes=-5), timedelta(days=9))
    found = [
        Leftover(kind, f"{kind}-{number}", "", REGION, build, started=None if age is None else NOW - age)
        for number, (kind, build, age) in enumerate(
            draw(st.lists(st.tuples(st.sampled_from(kinds), st.sampled_from(builds), ages), max_size=12))
        )
    ]
    users = [one.id for one in found if one.kind == "instance"]
    used = [
        replace(one, instances=tuple(draw(st.sets(st.sampled_from(users)))))
        if users and one.kind == "security group"
        else one
        for one in found
    ]
    known = draw(st.sets(st.sampled_from(builds)))
    return used, known, draw(st.sets(st.sampled_from(sorted(known)))) if known else set()


@given(worlds(), st.timedeltas(NOTHING, timedelta(days=5)))
def test_never_one_that_lives_nor_a_younger_one_nor_one_of_others(
    world: tuple[list[Leftover], set[str], set[str]], older_than: timedelta
) -> None:
    found, known, living = world
    verdicts = judged(*found, knows=known, lives=living, older_than=older_than)
    assert [verdict.leftover for verdict in verdicts] == found
    staying = {verdict.leftover.id for verdict in verdicts if not verdict.removed}
    for verdict in verdicts:
        assert verdict.why
        one = verdict.leftover
        ages = [NOW - other.started for other in found if other.build == one.build and other.started]
        if verdict.removed:
            assert one.build
            assert one.build not in living
            assert ages
            assert max(min(ages), NOTHING) >= older_than
            assert not staying & set(one.instances)
        elif one.kind != "security group" and one.build and one.build not in living and ages:
            assert max(min(ages), NOTHING) < older_than  # nothing else keeps it


class World:
    """What builds left, made as Packer makes it."""

    def __init__(self, account: Account, folder: Path) -> None:
        self.account = account
        self.ec2 = account.client("ec2", REGION)
        self.journal = Journal(folder)
        self.now = datetime.now(UTC)
        self.waits: list[float] = []
        self.broom = Broom(account, 1.0, clock=lambda: sum(self.waits), sleep=self.waits.append)

    def build(self, number: int, age: timedelta = NOTHING) -> str:
        return build_of(age, number, self.now)

    def record(self, build: str, **more: Any) -> Record:
        record = Record(build, "bee", REGION, "t", "d1", "c1", self.now.timestamp() - 1, "l", ACCOUNT)
        return replace(record, **more)

    def ended(self, build: str, **more: Any) -> Record:
        """A build that is known here, and that ended."""
        entry = self.journal.begin(self.record(build, **more))
        entry.close()
        return entry.record

    def key_pair(self, name: str, **tags: str) -> str:
        self.ec2.create_key_pair(KeyName=name, **specified("key-pair", tags))
        return name

    def group(self, name: str, description: str = "Temporary group for Packer", **tags: str) -> str:
        made = self.ec2.create_security_group(
            GroupName=name, Description=description, **specified("security-group", tags)
        )
        return str(made["GroupId"])

    def instance(self, *groups: str, **tags: str) -> str:
        made = self.ec2.run_instances(
            ImageId="ami-1ebb2077",
            MinCount=1,
            MaxCount=1,
            SecurityGroupIds=list(groups),
            **specified("instance", tags),
        )
        return str(made["Instances"][0]["InstanceId"])

    def everything_of(self, build: str) -> tuple[str, str, str]:
        """As an old Packer leaves it: only the instance has tags."""
        group = self.group(f"packer_{build}")
        instance = self.instance(group, **{"nodepkg:managed": "true", "nodepkg:build": build})
        return instance, group, self.key_pair(key_pair_name(build))

    def sweep(self, older_than: timedelta = NOTHING, **more: Any) -> Sweep:
        return Sweep(self.account, [REGION], self.journal, older_than, **more)

    def swept(self, **more: Any) -> list[str]:
        """The ids of what was removed."""
        verdicts = self.sweep(**more).examine()
        reports = list(execute(plan_sweep(verdicts), self.broom, dry_run=False, say=lambda _: None))
        return [report["id"] for report in reports if report["removed"]]

    def left(self) -> list[str]:
        states = [one for page in self.ec2.describe_instances()["Reservations"] for one in page["Instances"]]
        return [
            *(one["InstanceId"] for one in states if one["State"]["Name"] != "terminated"),
            *(
                one["GroupId"]
                for one in self.ec2.describe_security_groups()["SecurityGroups"]
                if one["GroupName"] != "default"
            ),
            *(one["KeyName"] for one in self.ec2.describe_key_pairs()["KeyPairs"]),
        ]


def specified(kind: str, tags: dict[str, str]) -> dict[str, Any]:
    listed = [{"Key": key, "Value": value} for key, value in tags.items()]
    return {"TagSpecifications": [{"ResourceType": kind, "Tags": listed}]} if listed else {}


def tags_of(build: str) -> dict[str, str]:
    return {"nodepkg:managed": "true", "nodepkg:build": build}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def test_everything_that_a_build_left_goes(folder: Path) -> None:
    with aws() as account:
        world = World(account, folder)
        build = world.build(1)
        instance, group, key_pair = world.everything_of(build)
        world.ended(build)
        assert world.swept() == [instance, group, key_pair]
        assert world.left() == []
        assert world.swept() == []


def test_what_is_not_ours_is_not_seen(folder: Path) -> None:
    with aws() as account:
        world = World(account, folder)
        build = world.build(1, timedelta(days=9))
        named = world.record(build, security_groups=("sg-gone", "mine", "packer_x"))
        world.journal.begin(named).close()
        own = [
            world.instance(world.group("theirs"), **{"nodepkg:build": build}),
            world.instance(**{"nodepkg:managed": "true", "group": "bee"}),
            world.group("tagged", "theirs", **{"nodepkg:build": build}),
            world.group("mine", "named by a record, but not made by Packer"),
            world.group("packer_y"),
            *(world.key_pair(name) for name in (f"my-nodepkg-{build}", f"nodepkg-{build}0", "nodepkg-", "nodepkg-bee")),
            world.key_pair("packer_x", **{"nodepkg:build": build}),
        ]
        assert leftovers(account, REGION, None, world.journal.records()) == []
        assert world.swept() == []
        assert set(own) < set(world.left())


def test_tags_and_records_tell_whose_a_thing_is(folder: Path) -> None:
    with aws() as account:
        world = World(account, folder)
        build, other = world.build(1), world.build(2)
        world.ended(build, security_groups=("packer_x",))
        by_name = world.group("packer_x")
        by_tag = world.group("any", "any", **tags_of(build))
        pair = world.key_pair("packer_x", **tags_of(build))
        strange = world.group("packer_z", **tags_of(other))
        found = leftovers(account, REGION, {build}, world.journal.records())
        assert {(one.id, one.group) for one in found} == {(by_name, "bee"), (by_tag, "bee"), (pair, "bee")}
        assert set(world.swept(builds={build})) == {by_name, by_tag, pair}
        assert world.left() == [strange]


def test_a_key_pair_that_packer_named_itself_is_that_of_its_record(folder: Path) -> None:
    """A template of the user's own need not take the name from packer:run."""
    with aws() as account:
        world = World(account, folder)
        told, heard = world.build(1), world.build(2)
        world.ended(told, key_pair="packer_1")
        world.ended(heard)
        line = "1700000000,,ui,say,==> amazon-ebs: Creating temporary keypair: packer_2\n"
        (world.journal.folder / f"{heard}.out").write_text(line)
        pairs = [world.key_pair(f"packer_{number}") for number in (1, 2, 3)]
        assert set(world.swept()) == set(pairs[:2])


def test_a_living_build_keeps_what_it_made(folder: Path) -> None:
    with aws() as account:
        world = World(account, folder)
        living, ended = world.build(1), world.build(2)
        entry = world.journal.begin(world.record(living))
        kept = world.everything_of(living)
        gone = world.everything_of(ended)
        world.ended(ended)
        assert world.swept() == list(gone)
        assert set(world.left()) == set(kept)
        entry.close()
        assert world.swept() == list(kept)


def test_what_a_build_left_is_told_line_by_line(folder: Path) -> None:
    with aws() as account:
        world = World(account, folder)
        build = world.build(1)
        instance, group, key_pair = world.everything_of(build)
        world.everything_of(world.build(2))
        assert [one.line for one in leftovers(account, REGION, {build}, [])] == [
            f"instance {instance}, running, in us-east-1",
            f"security group {group} (packer_{build}), in us-east-1",
            f"key pair {key_pair}, in us-east-1",
        ]


def test_what_others_remove_meanwhile_is_a_success(folder: Path) -> None:
    with aws() as account:
        world = World(account, folder)
        build = world.build(1)
        world.everything_of(build)
        world.ended(build)
        first, second = (plan_sweep(world.sweep().examine()) for _ in range(2))
        for plan in (first, second):
            assert {report["error"] for report in execute(plan, world.broom, dry_run=False, say=print)} == {None}
        assert world.left() == []


@pytest.mark.parametrize("action", ["TerminateInstances", "DeleteSecurityGroup", "DeleteKeyPair"])
def test_a_lost_reply_is_a_success(folder: Path, action: str) -> None:
    with aws(lose_replies(action)) as account:
        world = World(account, folder)
        build = world.build(1)
        world.ended(build)
        removed = world.everything_of(build)
        assert world.swept() == list(removed)
        assert world.left() == []


def test_a_security_group_is_deleted_as_soon_as_ec2_gives_it_free(folder: Path) -> None:
    with aws(refuse("DeleteSecurityGroup", "DependencyViolation", 3)) as account:
        world = World(account, folder)
        build = world.build(1)
        world.ended(build)
        removed = world.everything_of(build)
        assert world.swept() == list(removed)
        assert world.waits == [1.0] * 3


def test_one_that_stays_in_use_keeps_no_other_from_going(folder: Path) -> None:
    with aws(refuse("DeleteSecurityGroup", "DependencyViolation")) as account:
        world = World(account, folder)
        build = world.build(1)
        world.ended(build)
        instance, group, key_pair = world.everything_of(build)
        assert world.swept() == [instance, key_pair]
        assert world.broom.failures == {group: f"security group {group} in {REGION}: it is still in use after 60 s"}
        assert world.left() == [group]
        assert len(world.waits) == 60
        assert world.sweep().forget() == []


def test_the_next_sweep_finishes_on_another_machine_too(folder: Path) -> None:
    """Of an old Packer's security group only the instance tells whose it is, and the instance goes first."""
    with aws(refuse("DeleteSecurityGroup", "DependencyViolation", 61)) as account:
        world = World(account, folder)
        instance, group, key_pair = world.everything_of(world.build(1))
        assert world.swept() == [instance, key_pair]
        world.broom.failures.clear()
        assert World(account, folder / "other").swept() == [group]
        assert world.left() == []


def test_a_security_group_waits_for_no_instance_that_cannot_be_terminated(folder: Path) -> None:
    with aws(refuse("TerminateInstances", "OperationNotPermitted")) as account:
        world = World(account, folder)
        build = world.build(1)
        world.ended(build)
        instance, group, key_pair = world.everything_of(build)
        assert world.swept() == [key_pair]
        assert world.broom.failures == {
            instance: f"instance {instance} in {REGION}: terminate {instance}: OperationNotPermitted: not now",
            group: f"security group {group} in {REGION}: {instance} uses it",
        }
        assert world.waits == []


def test_an_instance_that_is_never_terminated_is_told(folder: Path) -> None:
    with aws(refuse("TerminateInstances", "InvalidInstanceID.NotFound")) as account:
        world = World(account, folder)  # EC2 says that it is gone, and shows it as running for ever
        build = world.build(1)
        world.ended(build)
        instance, group, key_pair = world.everything_of(build)
        world.broom.poll = 60.0
        assert world.swept() == [instance, key_pair]
        assert world.broom.failures[group].endswith(f"{instance} uses it, and is not terminated after 600 s")
        assert sum(world.waits) == 600


def test_a_build_that_left_nothing_is_forgotten(folder: Path) -> None:
    with aws() as account:
        world = World(account, folder)
        done, left, elsewhere, alive, other, unknown, old = (world.build(number) for number in range(7))
        for build in (done, left):
            world.ended(build)
        world.ended(other, account="210987654321")
        world.ended(unknown, account="")
        world.ended(old, account="", started=world.now.timestamp() - 31 * 86_400)
        world.ended(elsewhere, region="eu-west-1")
        world.key_pair(key_pair_name(left))
        entry = world.journal.begin(world.record(alive))
        assert world.sweep().forget() == [done, old]
        kept = {left, elsewhere, alive, other, unknown}
        assert {record.build for record in world.journal.records()} == kept
        entry.close()


def test_a_build_whose_image_waits_for_its_adoption_is_remembered(folder: Path) -> None:
    with aws() as account:
        world = World(account, folder)
        image = world.ec2.create_image(InstanceId=world.instance(), Name="bee 1")["ImageId"]
        named, known, other = (world.build(number) for number in range(3))
        world.ended(named, image_name="bee 1")
        world.ended(known, image_name="bee 1", image=image)
        world.ended(other, image_name="bee 2", image="ami-00000000")
        assert world.sweep().forget() == [other]
        world.ec2.create_tags(Resources=[image], Tags=[{"Key": "group", "Value": "bee"}])
        assert world.sweep().forget() == []
        world.ec2.create_tags(Resources=[image], Tags=[{"Key": "nodepkg:managed", "Value": "true"}])
        assert set(world.sweep().forget()) == {named, known}


def test_a_packer_that_winds_down_is_waited_for(folder: Path) -> None:
    with aws() as account, program(folder) as (ours, _):
        world = World(account, folder)
        (build,) = [record.build for record in world.journal.records()]
        key_pair = world.key_pair(key_pair_name(build))
        sweep = world.sweep()
        verdicts = sweep.examine()
        assert [verdict.word for verdict in verdicts] == ["spare"]
        assert sweep.settle(verdicts, world.broom, pytest.fail) is verdicts  # its nodepkg lives
        ours.kill()
        ours.wait()

        def packer_goes_on(seconds: float) -> None:
            """It removes what it made and ends, while we wait."""
            world.waits.append(seconds)
            world.ec2.delete_key_pair(KeyName=key_pair)
            assert ours.stdin is not None
            ours.stdin.close()  # what it waits for

        told: list[str] = []
        broom = Broom(account, 1.0, clock=lambda: sum(world.waits), sleep=packer_goes_on)
        assert sweep.settle(verdicts, broom, told.append) == []
        assert told
        assert all(build in line for line in told)


def test_what_ec2_does_not_show_yet_is_waited_for(folder: Path) -> None:
    with aws() as account:
        world = World(account, folder)
        ended, silent = world.build(1), world.build(2)
        for build in (ended, silent):
            world.ended(build)
        output = world.journal.folder / f"{ended}.out"
        output.write_text("1700000000,,ui,say,==> amazon-ebs: Creating temporary keypair: x\n")
        said = output.stat().st_mtime
        moments = iter([said + 1, said + 1, said + 1, said + 11, said + 11, said + 11])
        sweep = world.sweep(now=lambda: datetime.fromtimestamp(next(moments), UTC))
        assert sweep.examine() == []

        def appears(seconds: float) -> None:
            world.waits.append(seconds)
            world.key_pair(key_pair_name(ended))

        broom = Broom(account, 1.0, clock=lambda: sum(world.waits), sleep=appears)
        told: list[str] = []
        assert [verdict.leftover.build for verdict in sweep.settle([], broom, told.append)] == [ended]
        assert [ended in line for line in told] == [True]
        assert sweep.settle([], broom, pytest.fail) == []


def test_a_sweep_of_one_build_waits_for_no_other_and_forgets_none(folder: Path) -> None:
    with aws() as account, program(folder) as (ours, _):
        world = World(account, folder)
        asked, other = world.build(1), world.build(2)
        for build in (asked, other):
            world.ended(build)
        ours.kill()
        ours.wait()
        sweep = world.sweep(builds=[asked])
        assert sweep.settle([], world.broom, pytest.fail) == []
        assert sweep.forget() == [asked]


def test_a_packer_that_has_made_nothing_yet_is_waited_for(folder: Path) -> None:
    with aws() as account, program(folder) as (ours, _):
        world = World(account, folder)
        ours.kill()
        ours.wait()
        told: list[str] = []
        assert world.sweep().settle([], world.broom, told.append) == []
        assert len(told) == 1
        assert sum(world.waits) == 300


def test_a_packer_that_does_not_end_keeps_what_it_made(folder: Path) -> None:
    with aws() as account, program(folder) as (ours, _):
        world = World(account, folder)
        (build,) = [record.build for record in world.journal.records()]
        world.key_pair(key_pair_name(build))
        ours.kill()
        ours.wait()
        verdicts = world.sweep().settle(world.sweep().examine(), world.broom, lambda _: None)
        assert [verdict.word for verdict in verdicts] == ["spare"]
        assert sum(world.waits) == 300


def test_security_groups_wait_for_their_instances(folder: Path) -> None:
    with aws(slow_termination(5)) as account:
        world = World(account, folder)
        build = world.build(1)
        world.ended(build)
        removed = world.everything_of(build)
        assert world.swept() == list(removed)
        assert len(world.waits) == 5
        assert world.left() == []


def test_the_age_is_that_of_the_build_or_else_what_aws_tells(folder: Path) -> None:
    with aws() as account:
        world = World(account, folder)
        old = world.build(1, timedelta(days=3))
        strange = "00000000deadbeef"  # from before ids told the time
        world.everything_of(old)
        world.everything_of(strange)
        ages = {one.build: set[bool]() for one in leftovers(account, REGION, None, [])}
        for one in leftovers(account, REGION, None, []):
            ages[one.build].add(one.started is not None and world.now - one.started > timedelta(days=2))
        assert ages == {old: {True}, strange: {False}}
        world.ended(strange, started=world.now.timestamp() - 3 * 86_400)
        found = leftovers(account, REGION, {strange}, world.journal.records())
        assert {one.started for one in found} == {world.now - timedelta(days=3)}


def test_an_instance_that_is_going_is_told_as_that(folder: Path) -> None:
    with aws(slow_termination(1_000)) as account:
        world = World(account, folder)
        build = world.build(1)
        instance, group, key_pair = world.everything_of(build)
        world.ec2.terminate_instances(InstanceIds=[instance])
        found = leftovers(account, REGION, {build}, [])
        assert [(one.id, one.state) for one in found] == [(instance, "shutting-down"), (group, ""), (key_pair, "")]


@pytest.mark.parametrize("action", ["DescribeInstances", "DescribeSecurityGroups", "DescribeKeyPairs"])
def test_without_a_complete_picture_nothing_is_removed(folder: Path, action: str) -> None:
    with aws(deny(action)) as account:
        world = World(account, folder)
        with pytest.raises(AwsError, match="UnauthorizedOperation"):
            world.sweep().examine()
