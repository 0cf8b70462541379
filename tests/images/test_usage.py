"""The picture of who refers to which image, read from the embedded AWS."""

import pytest

from nodepkg.clients.aws.account import Account
from nodepkg.errors import AwsError
from nodepkg.images.usage import Usage, picture
from tests.faults import aws
from tests.worlds import STOCK_IMAGE, World

REGION = "us-east-1"


def traced(account: Account) -> tuple[Account, list[str]]:
    """The same account, and the calls that are made through it: `ec2 DescribeImages`."""
    calls: list[str] = []
    return Account(endpoint=account.endpoint, trace=lambda line: calls.append(line.removeprefix("aws: "))), calls


def by_words(usage: Usage, *images: str) -> list[tuple[str, ...]]:
    """What refers to each of these images, instances without their ids."""
    told = [usage.references.get(image, ()) for image in images]
    return [tuple(by.partition(" ")[2] if by.startswith("i-") else by for by in one) for one in told]


def test_instances_count_in_every_state_but_terminated() -> None:
    with aws() as account:
        world = World()
        running, stopped, terminated, unused = world.images("bee", 4)
        for image, state in ((running, "running"), (stopped, "stopped"), (terminated, "terminated")):
            world.instance(image, state)
        usage = picture(account, REGION)
        assert by_words(usage, running, stopped, terminated, unused) == [("(running)",), ("(stopped)",), (), ()]
        assert usage.counts["instances"] == 2


def test_an_old_version_of_thirty_that_a_group_of_size_0_pins_is_in_use() -> None:
    with aws() as account:
        world = World()
        images = world.images("bee", 30)
        world.template("bee", images, default=29)
        world.group("bee-v001", template="bee", version="4")
        usage = picture(account, REGION)
        assert set(usage.references) == {images[3], images[28], images[29]}
        assert usage.references[images[3]] == ("ASG bee-v001: launch template bee version 4",)
        assert set(picture(account, REGION, all_versions=True).references) == set(images)


def test_a_pin_to_a_version_that_is_gone_hides_no_other_of_the_template() -> None:
    with aws() as account:
        world = World()
        images = world.images("bee", 5)
        template = world.template("bee", images, default=5)
        world.group("bee-v001", template="bee", version="2")
        world.group("bee-v002", template="bee", version="3")
        account.client("ec2", REGION).delete_launch_template_versions(LaunchTemplateId=template, Versions=["2"])
        assert set(picture(account, REGION).references) == {images[2], images[4]}


def test_more_than_a_page_of_everything_is_read_to_its_end() -> None:
    with aws() as account:
        world = World()
        images = world.images("bee", 1200)
        for number in range(210):
            world.template(f"t-{number}", [images[number], images[210 + number]])
        for number in range(130):
            world.launch_configuration(f"c-{number}", images[420 + number])
            world.group(f"g-{number}", configuration=f"c-{number}")
        watched, calls = traced(account)
        usage = picture(watched, REGION)
        assert len(usage.images) == len(usage.snapshots) == 1200
        assert set(usage.references) == set(images[:550])
        assert str(usage) == "420 template versions, 130 launch configurations, 130 groups, 0 instances"
        pages = {"DescribeImages": 2, "DescribeSnapshots": 2, "DescribeLaunchTemplateVersions": 3}
        pages |= {"DescribeLaunchConfigurations": 2, "DescribeAutoScalingGroups": 2, "DescribeInstances": 1}
        assert {action: sum(call.endswith(action) for call in calls) for action in pages} == pages
        assert len(calls) == sum(pages.values())


@pytest.mark.parametrize("groups", [1, 40])
def test_calls_grow_with_pages_and_pinned_templates_only(groups: int) -> None:
    with aws() as account:
        world = World()
        for number in range(3):
            images = world.images(f"bee-{number}", 5)
            world.template(f"bee-{number}", images, default=5)
        for number in range(groups):
            world.group(f"g-{number}", template=f"bee-{number % 2}", version=str(1 + number % 4))
        watched, calls = traced(account)
        picture(watched, REGION)
        assert len(calls) == 6 + min(groups, 2)


def test_overrides_of_mixed_instances_count() -> None:
    with aws() as account:
        world = World()
        base, pinned, named, own, aliased = world.images("bee", 5)
        world.template("web", [base, STOCK_IMAGE], default=2)
        world.template("arm", [pinned, named, STOCK_IMAGE], default=3)
        by_name = {"LaunchTemplateSpecification": {"LaunchTemplateName": "arm", "Version": "1"}}
        arm = world.ec2.get_launch_template_by_name("arm").id
        by_id = {"LaunchTemplateSpecification": {"LaunchTemplateId": arm, "Version": "2"}}
        alias = world.parameter("/bee", aliased)
        world.group(
            "web-v001", template="web", version="1", overrides=[by_name, by_id, {"ImageId": own}, {"ImageId": alias}]
        )
        usage = picture(account, REGION)
        assert [usage.references[image] for image in (base, pinned, named, own, aliased)] == [
            ("ASG web-v001: launch template web version 1",),
            ("override of ASG web-v001: launch template arm version 1",),
            ("override of ASG web-v001: launch template arm version 2",),
            (f"override of ASG web-v001: {own}",),
            ("override of ASG web-v001: resolve:ssm:/bee",),
        ]


def test_images_named_through_parameters_are_resolved_ten_a_call() -> None:
    with aws() as account:
        world = World()
        images = world.images("bee", 25)
        for number, image in enumerate(images[:23]):
            world.template(f"t-{number}", [world.parameter(f"/bee/{number}", image)])
        world.parameter("/versioned", images[23])
        world.parameter("/versioned", images[24])
        world.template("t-version", ["resolve:ssm:/versioned:1"])
        account.client("ssm", REGION).label_parameter_version(
            Name="/versioned", ParameterVersion=2, Labels=["production"]
        )
        world.template("t-label", ["resolve:ssm:/versioned:production"])
        watched, calls = traced(account)
        usage = picture(watched, REGION)
        assert set(usage.references) == set(images)
        assert usage.references[images[24]] == ("launch template t-label version 1",)
        assert calls.count("ssm GetParameters") == 3


def test_a_parameter_that_nobody_can_resolve_is_told_with_all_that_name_it() -> None:
    with aws() as account:
        world = World()
        world.template("web", [STOCK_IMAGE, "resolve:ssm:/gone"])
        world.template("text", [world.parameter("/no-image", "hello")])
        world.group("web-v001", template="web", overrides=[{"ImageId": "resolve:ssm:/gone"}])
        with pytest.raises(AwsError) as missing:
            picture(account, REGION)
        for told in (
            "no image in us-east-1 is deleted",
            "resolve:ssm:/gone stands for, in launch template web version 2",
            "resolve:ssm:/gone stands for, in override of ASG web-v001",
            "resolve:ssm:/no-image stands for, in launch template text version 1",
        ):
            assert told in missing.value.message


def test_each_region_has_a_picture_of_its_own() -> None:
    with aws() as account:
        here, there = World(), World("eu-west-1")
        (near,), (far,) = here.images("bee", 1), there.images("bee", 1)
        there.launch_configuration("far", far)
        assert [image.id for image in picture(account, REGION).images if image.tags] == [near]
        assert picture(account, "eu-west-1").references == {far: ("launch configuration far",)}


def test_the_bases_of_current_images_and_the_latest_served_ones_are_in_use() -> None:
    with aws() as account:
        world = World()
        base, unused = world.images("base", 2)
        world.image("wasp 1", "wasp", tags={"nodepkg:source_ami": base})
        served = world.images("bee", 3, tags={"nodepkg:served": "2026"})
        references = picture(account, REGION).references
        assert references.keys() == {base, *served[1:]}
        assert picture(account, REGION, keep_served=1).references.keys() == {base, served[2]}
        assert unused not in references


def test_taken_is_the_moment_in_which_reading_began() -> None:
    ticks = iter(range(100))
    with aws() as account:
        assert picture(account, REGION, clock=lambda: float(next(ticks))).taken == 0.0
        assert next(ticks) == 1
