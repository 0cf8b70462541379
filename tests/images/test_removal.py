"""Deleting images in an embedded AWS: what goes, what stays, and what is looked at before each deletion."""

import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from io import BytesIO
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode

import pytest
from werkzeug.wrappers import Response

from nodepkg.clients.aws.account import Account
from nodepkg.errors import AwsError
from nodepkg.images.clean import Judgement, Rules
from nodepkg.images.removal import Removal, kept_too, plan_removal
from nodepkg.images.usage import Usage, picture
from nodepkg.plan import Report, execute
from nodepkg.sandbox.calls import Call
from nodepkg.sandbox.front import Layer
from nodepkg.sandbox.throttling import Throttling
from tests.faults import aws, deny, empty_page, refuse, short_pages
from tests.faults.layers import Onward, layer
from tests.images.pictures import REGION
from tests.worlds import World

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

OLD = timedelta(days=3)


class Clock:
    """One that stands still unless it is told."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def calls() -> Throttling:
    return Throttling()


@pytest.fixture
def account(calls: Throttling) -> Iterator[Account]:
    with aws(calls) as account:
        yield account


def rules(world: World, keep: int = 0) -> Rules:
    return Rules({REGION: ["bee", "wasp"]}, keep, world.now)


def removal(account: Account, world: World, keep: int = 0, clock: Callable[[], float] = Clock()) -> Removal:  # noqa: B008
    return Removal(account, lambda region: picture(account, region, clock=clock), rules(world, keep).judge, clock=clock)


def carry_out(removal: Removal, judgement: Judgement | None = None) -> list[Report]:
    judgement = judgement or removal.judgement(REGION)
    plan = plan_removal(judgement)
    return list(execute(plan, removal, dry_run=False, say=lambda _: None, at_once=4))


def left(world: World) -> tuple[set[str], set[str]]:
    """The images (but for the one that was there before) and the snapshots that there are."""
    images = {image.id for image in world.ec2.amis.values() if "group" in world.ec2.tags.get(image.id, {})}
    return images, set(world.ec2.snapshots)


def snapshots_of(world: World, *images: str) -> set[str]:
    found = world.ec2.describe_images(ami_ids=list(images))
    return {mapping["Ebs"]["SnapshotId"] for image in found for mapping in image.block_device_mappings}


def by_image(reports: list[Report]) -> dict[str, Report]:
    return {report["image"]: report for report in reports}


def without_delete_associated(app: "WSGIApplication") -> "WSGIApplication":
    """EC2 as it was: DeregisterImage leaves the snapshots, and says nothing of them."""

    def answer(environ: "WSGIEnvironment", start_response: "StartResponse") -> "Iterable[bytes]":
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        kept = [(key, value) for key, value in parse_qsl(body.decode()) if key != "DeleteAssociatedSnapshots"]
        changed = urlencode(kept).encode()
        environ |= {"wsgi.input": BytesIO(changed), "CONTENT_LENGTH": str(len(changed))}
        return app(environ, start_response)

    return answer


def test_images_go_with_their_snapshots_and_the_newest_stay(account: Account, calls: Throttling) -> None:
    world = World()
    bees, wasps = world.images("bee", 4, snapshots=2), world.images("wasp", 1)
    reports = carry_out(removal(account, world, keep=2))
    images, snapshots = left(world)
    assert images == {*bees[2:], *wasps}
    assert snapshots_of(world, *images) <= snapshots
    assert {report["image"] for report in reports} == set(bees[:2])
    assert all(len(report["snapshots"]) == 2 for report in reports)
    assert not snapshots & {one for report in reports for one in report["snapshots"]}
    assert calls.calls["DeleteSnapshot"] == 0
    assert calls.calls["DescribeImageAttribute"] == 2


@pytest.mark.parametrize("layers", [(), (without_delete_associated,)])
def test_a_snapshot_goes_with_the_last_image_that_has_it(layers: tuple[Layer, ...]) -> None:
    with aws(*layers) as account:
        world = World()
        first = world.image("one", "bee", age=OLD)
        world.image("two", "bee", age=OLD, shares_with=first)
        kept = world.image("three", "wasp", tags={"nodepkg:keep": "yes"})
        fourth = world.image("four", "bee", age=OLD, shares_with=kept)
        shared = snapshots_of(world, first)
        reports = carry_out(removal(account, world))
        images, snapshots = left(world)
        assert images == {kept}
        assert snapshots_of(world, kept) <= snapshots
        assert not shared & snapshots
        assert by_image(reports)[fourth]["snapshots"] == []


def test_where_ec2_leaves_the_snapshots_they_are_deleted_one_by_one() -> None:
    calls = Throttling()
    with aws(without_delete_associated, calls) as account:
        world = World()
        (image,) = world.images("bee", 1, snapshots=3)
        own = snapshots_of(world, image)
        (report,) = carry_out(removal(account, world))
        assert set(report["snapshots"]) == own
        assert not own & left(world)[1]
        assert calls.calls["DeleteSnapshot"] == 3


def test_protected_disabled_and_pending_images_stay(account: Account, calls: Throttling) -> None:
    world = World()
    protected = world.image("one", "bee", age=OLD)
    world.protect(protected, "enabled-with-cooldown")
    spared = {protected, *(world.image(state, "bee", age=OLD, state=state) for state in ("pending", "disabled"))}
    world.image("two", "bee", age=OLD, state="failed")
    carry_out(removal(account, world))
    assert left(world)[0] == spared
    assert calls.calls["DescribeImageAttribute"] == 1


def test_what_is_shared_with_others_stays_and_says_with_whom(account: Account) -> None:
    world = World()
    to_account, to_all, mine = world.images("bee", 3)
    world.share(to_account, UserId="123456789012")
    world.share(to_all, Group="all")
    reports = by_image(carry_out(removal(account, world)))
    assert reports[to_account]["kept"] == "shared with account 123456789012"
    assert reports[to_all]["kept"] == "shared with everybody"
    assert left(world)[0] == {to_account, to_all}
    assert "kept" not in reports[mine]


def test_the_plan_can_tell_what_is_shared(account: Account, calls: Throttling) -> None:
    world = World()
    shared, mine = world.images("bee", 2)
    world.share(shared, UserId="123456789012")
    made = removal(account, world)
    judgement = kept_too(made.judgement(REGION), made.sharing(made.judgement(REGION)))
    assert [verdict.image.id for verdict in judgement.doomed] == [mine]
    carry_out(made, judgement)
    assert calls.calls["DescribeImageAttribute"] == 2  # one each: what was read just now still holds


def test_what_comes_into_use_after_the_plan_is_kept_with_the_reason(account: Account) -> None:
    world, clock = World(), Clock()
    first, second, third = world.images("bee", 3)
    made = removal(account, world, clock=clock)
    plan = made.judgement(REGION)
    instance = world.instance(second)
    world.template("web", [third])
    clock.now = 61
    reports = by_image(carry_out(made, plan))
    assert reports[second]["kept"] == f"in use by {instance} (running)"
    assert reports[third]["kept"] == "in use by launch template web version 1"
    assert "kept" not in reports[first]
    assert left(world)[0] == {second, third}


def test_a_newer_image_that_goes_meanwhile_makes_room_among_the_newest(account: Account) -> None:
    """Somebody deletes the newest by hand: what would be the last one is no longer old enough to go."""
    world, clock = World(), Clock()
    old, new = world.images("bee", 2)
    made = removal(account, world, keep=1, clock=clock)
    plan = made.judgement(REGION)
    world.ec2.deregister_image(new)
    clock.now = 61
    (report,) = carry_out(made, plan)
    assert report["kept"] == "one of the newest 1"
    assert left(world)[0] == {old}


def test_only_what_was_planned_goes(account: Account) -> None:
    """After a question that stood for long the picture is another one: what it adds was not agreed to."""
    world = World()
    used, unused = world.images("bee", 2)
    instance = world.instance(used)
    made = removal(account, world)
    plan = made.judgement(REGION)
    world.ec2.terminate_instances([instance])
    made.forget()
    carry_out(made, plan)
    assert left(world)[0] == {used}
    assert unused not in left(world)[0]


def test_a_picture_is_renewed_before_it_is_sixty_seconds_old(account: Account) -> None:
    world, clock, taken = World(), Clock(), list[float]()
    world.images("bee", 12)

    def look(region: str) -> Usage:
        taken.append(clock.now)
        return picture(account, region, clock=clock)

    made = Removal(account, look, rules(world).judge, clock=clock)
    at_deletion = list[float]()
    for action in plan_removal(made.judgement(REGION)):
        clock.now += 13
        action.run(made)
        at_deletion.append(clock.now)
    assert left(world)[0] == set()
    assert len(taken) == 3
    assert all(min(now - at for at in taken if at <= now) <= 60 for now in at_deletion)


def late(action: str, happens: Callable[[], object]) -> Layer:
    """The first call of this action fails, and something happens before it is tried again."""
    calls = [0]

    def answer(call: Call, onward: Onward) -> Response:
        calls[0] += call.action == action
        if call.action != action or calls[0] > 1:
            return onward()
        happens()
        return call.error("InternalError", "An internal error", 500)

    return layer(answer)


@pytest.mark.parametrize("seconds", [61, 10])
def test_a_deletion_that_is_tried_again_late_rests_on_a_new_picture(seconds: float) -> None:
    world, clock, image = World(), Clock(), list[str]()

    def happens() -> None:
        clock.now += seconds
        world.instance(image[0])

    with aws(late("DeregisterImage", happens)) as account:
        image += world.images("bee", 1)
        (report,) = carry_out(removal(account, world, clock=clock))
        assert ("kept" in report) == (seconds > 60)
        assert (left(world)[0] == set(image)) == (seconds > 60)


def test_a_snapshot_that_is_tried_again_late_rests_on_a_new_picture() -> None:
    world, clock = World(), Clock()

    def happens() -> None:
        clock.now += 61
        world.image("being made", "bee", state="pending")

    with aws(late("DeleteSnapshot", happens)) as account:
        orphan = world.snapshot(age=timedelta(hours=2), tags=TAGS)
        (report,) = carry_out(removal(account, world, clock=clock))
        assert report["kept"] == "an image has it"
        assert orphan in left(world)[1]


def test_a_deletion_that_aws_never_takes_in_time_is_an_error() -> None:
    world, clock = World(), Clock()

    def answer(call: Call, onward: Onward) -> Response:
        if call.action != "DeregisterImage":
            return onward()
        clock.now += 61
        return call.error("InternalError", "An internal error", 500)

    with aws(layer(answer)) as account:
        (image,) = world.images("bee", 1)
        with pytest.raises(AwsError, match="takes no deletion in us-east-1 within 60 s"):
            carry_out(removal(account, world, clock=clock))
        assert left(world)[0] == {image}


def test_one_thread_takes_the_picture_while_the_others_wait(account: Account) -> None:
    world, looks = World(), list[str]()

    def look(region: str) -> Usage:
        looks.append(region)
        return picture(account, region)

    made = Removal(account, look, rules(world).judge)
    together = threading.Barrier(8)

    def ask() -> None:
        together.wait(timeout=30)
        made.judgement(REGION)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert looks == [REGION]


def test_a_picture_that_cannot_be_renewed_ends_it(account: Account) -> None:
    world, clock, looks = World(), Clock(), list[float]()
    world.images("bee", 9)

    def look(region: str) -> Usage:
        looks.append(clock.now)
        if clock.now:
            raise AwsError("describe images in us-east-1: InternalError: x")
        return picture(account, region, clock=clock)

    made = Removal(account, look, rules(world).judge, clock=clock)
    plan = made.judgement(REGION)
    clock.now = 61
    with pytest.raises(AwsError, match="InternalError"):
        carry_out(made, plan)
    assert len(looks) == 2
    assert len(left(world)[0]) == 9


def test_what_is_gone_already_is_as_good(account: Account) -> None:
    world, clock = World(), Clock()
    gone, gone_later, there = world.images("bee", 3)
    made = removal(account, world, clock=clock)
    plan = made.judgement(REGION)
    world.ec2.deregister_image(gone_later)
    carry_out(made, plan)
    world.ec2.snapshots.clear()
    clock.now = 61
    carry_out(made, plan)
    assert {gone, gone_later, there} == {report["image"] for report in made.done}
    assert left(world)[0] == set()


TAGS = {"nodepkg:image-snapshot": "true", "nodepkg:managed": "true", "group": "bee"}


@pytest.mark.parametrize(
    ("about", "goes"),
    [
        ({}, True),
        ({"age": timedelta(minutes=59)}, False),
        ({"tags": {**TAGS, "group": "ant"}}, False),
        ({"tags": {"nodepkg:managed": "true", "group": "bee"}}, False),
        ({"description": "Created by CreateImage(i-1) for THERE"}, False),
    ],
)
def test_snapshots_that_images_left_behind_go(account: Account, about: Mapping[str, Any], goes: bool) -> None:
    world = World()
    there = world.image("wasp", "wasp", state="disabled")
    told = str(about.get("description", "Created by CreateImage(i-1) for ami-0dead")).replace("THERE", there)
    made = world.snapshot(**{"age": timedelta(hours=2), "tags": TAGS, **about, "description": told})
    reports = carry_out(removal(account, world))
    assert reports == ([{"snapshot": made, "region": REGION}] if goes else [])
    assert (made in left(world)[1]) != goes


def test_an_orphan_that_an_image_has_after_all_stays(account: Account) -> None:
    world, clock = World(), Clock()
    orphan = world.snapshot(age=timedelta(hours=2), tags=TAGS)
    made = removal(account, world, clock=clock)
    plan = made.judgement(REGION)
    account.client("ec2", REGION).register_image(
        Name="again",
        RootDeviceName="/dev/sda1",
        BlockDeviceMappings=[{"DeviceName": "/dev/sda1", "Ebs": {"SnapshotId": orphan}}],
    )
    for clock.now in (0, 61):  # EC2 says so, then the picture does
        (report,) = carry_out(made, plan)
        assert report["kept"] == "an image has it"
    assert orphan in left(world)[1]


def test_of_a_large_account_nothing_goes_that_anything_refers_to() -> None:
    """However its lists are cut into pages."""
    with aws(short_pages(40), empty_page("DescribeImages", 2)) as account:
        world = World()
        images = iter(world.images("bee", 60 + 210 + 30 + 6, days_apart=0.1))
        stopped, of_override, resolved, base = (next(images) for _ in range(4))
        used = {stopped, of_override, resolved, base}
        world.instance(stopped, "stopped")
        world.template("resolving", [world.parameter("/images/bee", resolved)])
        world.image("built on it", "wasp", tags={"nodepkg:source_ami": base, "nodepkg:keep": ""})
        for number in range(60):
            used.add(image := next(images))
            world.launch_configuration(f"configuration-{number}", image)
        for number in range(210):
            used.add(image := next(images))
            world.template(f"template-{number}", [image])
        versions = [next(images) for _ in range(30)]
        world.template("many", versions, default=3)
        world.group("of-size-0", template="many", version="7")
        override = {"LaunchTemplateSpecification": {"LaunchTemplateName": "many", "Version": "11"}}
        world.group("mixed", template="many", version="9", overrides=[override, {"ImageId": of_override}])
        used |= {versions[number - 1] for number in (3, 7, 9, 11, 30)}
        unused = set(images) | set(versions) - used
        reports = carry_out(removal(account, world))
        assert {report["image"] for report in reports} == unused
        assert used <= left(world)[0]
        assert snapshots_of(world, *used) <= left(world)[1]


def test_an_image_that_aws_will_not_delete_keeps_no_other_from_going() -> None:
    with aws(refuse("DeregisterImage", "OperationNotPermitted", 1)) as account:
        world = World()
        images = world.images("bee", 6)
        cleaner = removal(account, world, keep=1)
        reports = carry_out(cleaner)
        kept = [str(report["image"]) for report in reports if "kept" in report]
        assert len(kept) == len(cleaner.refused) == 1
        assert "OperationNotPermitted" in cleaner.refused[0].message
        assert left(world)[0] & set(images) == {*kept, images[-1]}


def test_after_some_refusals_it_ends() -> None:
    with aws(deny("DeregisterImage")) as account:
        world = World()
        images = world.images("bee", 30)
        with pytest.raises(AwsError, match="UnauthorizedOperation"):
            carry_out(removal(account, world))
        assert set(images) <= left(world)[0]
