"""What a World puts into the embedded AWS is what boto reads there."""

from datetime import timedelta

from tests.faults import aws
from tests.worlds import World


def test_images_have_the_ages_sizes_tags_and_snapshots_asked_for() -> None:
    with aws() as account:
        world = World()
        made = world.images("bee", 3, days_apart=2, size_gb=5, snapshots=2, tags={"x": "y"})
        found = account.client("ec2", "us-east-1").describe_images(Owners=["self"])["Images"]
        newest, middle, oldest = sorted(found, key=lambda image: str(image["CreationDate"]), reverse=True)
        assert [oldest["ImageId"], middle["ImageId"], newest["ImageId"]] == made
        assert oldest["CreationDate"] == (world.now - timedelta(days=4)).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        tags = {tag["Key"]: tag["Value"] for tag in newest["Tags"]}
        assert tags == {"group": "bee", "nodepkg:managed": "true", "x": "y"}
        volumes = [mapping["Ebs"] for mapping in newest["BlockDeviceMappings"]]
        assert [volume["VolumeSize"] for volume in volumes] == [5, 5]
        (snapshot,) = account.client("ec2", "us-east-1").describe_snapshots(SnapshotIds=[volumes[0]["SnapshotId"]])[
            "Snapshots"
        ]
        assert {"Key": "nodepkg:image-snapshot", "Value": "true"} in snapshot["Tags"]
        assert snapshot["Description"].endswith(f" for {made[-1]}")


def test_everything_that_can_refer_to_an_image_can_be_made() -> None:
    with aws() as account:
        world = World()
        first, second = world.images("bee", 2)
        world.launch_configuration("old", first)
        world.template("bee", [first, world.parameter("/bee", second)], default=2)
        world.group("plain", configuration="old")
        world.group("pinned", template="bee", version="1")
        world.group("mixed", template="bee", overrides=[{"InstanceType": "m1.large", "ImageId": first}])
        states = {world.instance(first, state): state for state in ("running", "stopped", "terminated")}
        ec2, scaling = (account.client(service, "us-east-1") for service in ("ec2", "autoscaling"))
        (configuration,) = scaling.describe_launch_configurations()["LaunchConfigurations"]
        assert configuration["ImageId"] == first
        versions = ec2.describe_launch_template_versions(LaunchTemplateName="bee")["LaunchTemplateVersions"]
        assert [one["LaunchTemplateData"]["ImageId"] for one in versions] == [first, "resolve:ssm:/bee"]
        groups = {
            one["AutoScalingGroupName"]: one for one in scaling.describe_auto_scaling_groups()["AutoScalingGroups"]
        }
        assert {one["MaxSize"] for one in groups.values()} == {0}
        assert groups["plain"]["LaunchConfigurationName"] == "old"
        assert groups["pinned"]["LaunchTemplate"]["Version"] == "1"
        assert groups["mixed"]["MixedInstancesPolicy"]["LaunchTemplate"]["Overrides"][0]["ImageId"] == first
        reservations = ec2.describe_instances()["Reservations"]
        found = {one["InstanceId"]: one["State"]["Name"] for part in reservations for one in part["Instances"]}
        assert found == states


def test_protected_shared_and_orphaned_are_what_they_are_called() -> None:
    with aws() as account:
        world = World()
        (image,) = world.images("bee", 1)
        twin = world.image("twin", "bee", shares_with=image)
        world.protect(image)
        world.share(image, UserId="111122223333")
        orphan = world.snapshot(size_gb=3, tags={"a": "b"}, age=timedelta(hours=2))
        ec2 = account.client("ec2", "us-east-1")
        found = {one["ImageId"]: one for one in ec2.describe_images(Owners=["self"])["Images"]}
        assert found[image]["DeregistrationProtection"] == "enabled-without-cooldown"
        assert found[image]["BlockDeviceMappings"] == found[twin]["BlockDeviceMappings"]
        shared = ec2.describe_image_attribute(ImageId=image, Attribute="launchPermission")["LaunchPermissions"]
        assert shared == [{"UserId": "111122223333"}]
        (snapshot,) = ec2.describe_snapshots(SnapshotIds=[orphan])["Snapshots"]
        assert (snapshot["VolumeSize"], snapshot["Tags"]) == (3, [{"Key": "a", "Value": "b"}])
        assert len(ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]) == 2
