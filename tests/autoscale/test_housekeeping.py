"""What goes when a rollout is over, and what stays whoever uses it."""

import pytest

from nodepkg.autoscale.housekeeping import DeleteTemplateVersions, served, surplus, template_changes
from nodepkg.autoscale.view import Asg
from nodepkg.clients.aws.autoscaling import AutoScalingGroup, Override
from nodepkg.clients.aws.images import UNDATED, Image
from nodepkg.clients.aws.templates import LaunchTemplates, Template, TemplatePin, TemplateVersion
from nodepkg.errors import AwsError
from tests.autoscale.rollouts import GROUP, OLD, begun, quick
from tests.fleets import REGION

OURS = "nodepkg 0123456789abcdef0123456789abcdef"
MANAGED = {"nodepkg:managed": "true"}


def template(default: int = 1, latest: int = 4, **tags: str) -> Template:
    return Template("lt-1", "bee", tags or MANAGED, default, latest)


def asg(name: str, version: str, *, by: str = "id", status: str = "", of: str = "lt-1") -> AutoScalingGroup:
    pin = TemplatePin(of, None, version) if by == "id" else TemplatePin(None, "bee", version)
    return AutoScalingGroup(name, {}, 1, 1, 1, (), pin, status=status)


def version(number: int, description: str = OURS) -> TemplateVersion:
    return TemplateVersion("bee", number, "ami-1", default=number == 1, description=description, template_id="lt-1")


def told(*users: AutoScalingGroup, of: Template | None = None, versions: tuple[TemplateVersion, ...] = ()) -> list[str]:
    running = asg("bee-v002", "2")
    every = versions or tuple(version(number) for number in range(1, 5))
    return [str(one) for one in template_changes(REGION, running, of or template(), every, [running, *users])]


def test_the_running_version_becomes_the_default_and_the_unused_ones_go() -> None:
    assert told() == [
        "make 2 the default version of launch template bee",
        "delete versions 1, 3, 4 of launch template bee",
    ]
    assert told(of=template(default=2)) == ["delete versions 1, 3, 4 of launch template bee"]
    assert told(of=template(default=2), versions=(version(2),)) == []


@pytest.mark.parametrize(
    ("user", "left"),
    [
        (asg("kept", "1"), "3, 4"),
        (asg("foreign", "3", by="name"), "1, 4"),
        (asg("foreign", "$Latest"), "1, 3"),
        (asg("foreign", "$Default"), "1, 3, 4"),
        (asg("other", "3", of="lt-2"), "1, 3, 4"),
        (asg("going", "3", status="Delete in progress"), "1, 3, 4"),
    ],
)
def test_a_version_that_some_asg_refers_to_stays(user: AutoScalingGroup, left: str) -> None:
    assert told(user)[-1] == f"delete versions {left} of launch template bee"


def test_a_version_that_a_mixed_group_has_in_an_override_stays() -> None:
    mixed = AutoScalingGroup(
        "mixed", {}, 1, 1, 1, (), None, overrides=(Override(TemplatePin("lt-1", None, "4"), None),)
    )
    assert told(mixed)[-1] == "delete versions 1, 3 of launch template bee"


def test_versions_that_people_made_stay_and_so_does_a_template_of_theirs() -> None:
    versions = (version(2), version(3, "by hand"), version(4, ""), version(5, f"{OURS} copy"))
    assert told(of=template(default=2), versions=versions) == []
    assert told(of=template(owner="ops")) == []


def test_a_group_that_is_not_pinned_to_a_version_of_the_template_changes_nothing() -> None:
    for pin in ("$Latest", "$Default"):
        running = asg("bee-v001", pin)
        assert template_changes(REGION, running, template(), [version(3)], [running]) == ()
    assert template_changes(REGION, asg("bee-v001", "2"), None, [], []) == ()


def test_the_oldest_of_too_many_kept_groups_go() -> None:
    kept = [Asg(f"bee-v00{number}", 0, 0, 0, deleting=number == 2) for number in range(1, 5)]
    assert [str(one) for one in surplus(REGION, kept, 1)] == ["delete bee-v001", "delete bee-v003"]
    assert surplus(REGION, kept, 4) == ()


def test_an_image_is_noted_once_and_only_if_it_is_ours() -> None:
    image = Image("ami-1", "bee", UNDATED, "available", {})
    assert [str(one) for one in served(REGION, "bee-v001", image)] == ["note on image ami-1 that it has served"]
    assert served(REGION, "bee-v001", Image("ami-1", "bee", UNDATED, "available", {"nodepkg:served": "true"})) == ()
    assert served(REGION, "bee-v001", None) == ()


def test_versions_are_deleted_two_hundred_at_a_time_and_those_that_are_gone_are_as_good() -> None:
    with quick() as rig:
        begun(rig, 1)
        templates = LaunchTemplates(rig.account, REGION)
        client = rig.client("ec2")
        for number in range(2, 204):
            data = {"ImageId": "ami-1", "KeyName": str(number)}
            client.create_launch_template_version(LaunchTemplateName=GROUP, LaunchTemplateData=data)
        rig.account.sent.clear()
        change = DeleteTemplateVersions(REGION, OLD, GROUP, tuple(range(2, 204)))
        for _ in range(2):
            change.run(rig.account)
            assert [one.number for one in templates.versions(GROUP)] == [1]
        assert rig.account.sent.count("DeleteLaunchTemplateVersions") == 4
        with pytest.raises(AwsError, match="default version"):
            templates.delete_versions(GROUP, [1])
