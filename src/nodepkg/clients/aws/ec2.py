"""EC2: images, launch templates, and what nodes are placed in. Lists are read to their last page."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from nodepkg.clients.aws.account import Account, aws_errors
from nodepkg.errors import AwsError

Tags = Mapping[str, str]

NO_SUCH_TEMPLATE = frozenset(
    {
        "InvalidLaunchTemplateId.NotFound",
        "InvalidLaunchTemplateId.VersionNotFound",
        "InvalidLaunchTemplateName.NotFoundException",
    }
)
LARGE_PAGES = {"PageSize": 200}  # the most that EC2 gives of launch templates and versions


@dataclass(frozen=True)
class Image:
    """A machine image. `created` is aware (UTC); `size_gb` is the sum of its volumes."""

    id: str
    name: str
    created: datetime
    state: str
    tags: Tags
    snapshots: tuple[str, ...] = ()
    size_gb: int = 0

    @property
    def order(self) -> tuple[datetime, str]:
        """Which of two images is newer: the creation date decides, then the id."""
        return (self.created, self.id)


@dataclass(frozen=True)
class TemplateVersion:
    """One version of a launch template; `data` is LaunchTemplateData as EC2 shows it."""

    template: str
    number: int
    image: str | None
    default: bool
    description: str = ""


@dataclass(frozen=True)
class TemplatePin:
    """How a group refers to a launch template: by id or name, and a version as AWS writes it (`3`, `$Latest`)."""

    id: str | None
    name: str | None
    version: str


@dataclass(frozen=True)
class Subnet:
    id: str
    zone: str
    vpc: str


@dataclass
class Ec2:
    """One region's EC2."""

    account: Account
    region: str

    @property
    def client(self) -> Any:
        return self.account.client("ec2", self.region)

    def images(self, tags: Tags | None = None) -> list[Image]:
        """The account's own images with all these tags, oldest first; disabled ones too."""
        pages = self._pages("describe_images", "Images", Owners=["self"], Filters=filters(tags), IncludeDisabled=True)
        return sorted((_image(raw) for raw in pages), key=lambda image: image.order)

    def image(self, image: str) -> Image | None:
        """The account's own image of this id, if there is one that is not deregistered."""
        wanted = [{"Name": "image-id", "Values": [image]}]
        pages = self._pages("describe_images", "Images", Owners=["self"], Filters=wanted, IncludeDisabled=True)
        return next((_image(raw) for raw in pages), None)

    def images_of_instances(self) -> dict[str, str]:
        """For each instance that is not terminated, the image that it was started from."""
        alive = ["pending", "running", "shutting-down", "stopping", "stopped"]
        pages = self._pages(
            "describe_instances", "Reservations", Filters=[{"Name": "instance-state-name", "Values": alive}]
        )
        return {raw["InstanceId"]: raw["ImageId"] for page in pages for raw in page["Instances"]}

    def managed_snapshots(self, ids: Sequence[str]) -> list[str]:
        """Those of the snapshots that exist and that nodepkg manages."""
        if not ids:
            return []
        wanted = [{"Name": "snapshot-id", "Values": list(ids)}, *filters({"nodepkg:managed": "true"})]
        found = self._pages("describe_snapshots", "Snapshots", OwnerIds=["self"], Filters=wanted)
        return [raw["SnapshotId"] for raw in found]

    def deregister_image(self, image: str, *, with_snapshots: bool) -> None:
        """With its snapshots, as far as EC2 does that itself; one that is gone already is as good."""
        with aws_errors(f"deregister {image}"):
            try:
                self.client.deregister_image(ImageId=image, DeleteAssociatedSnapshots=with_snapshots)
            except self.client.exceptions.ClientError as error:
                if _code(error) not in ("InvalidAMIID.NotFound", "InvalidAMIID.Unavailable"):
                    raise

    def delete_snapshot(self, snapshot: str) -> bool:
        """False if another image uses it, and it stays; one that is gone already is as good as deleted."""
        with aws_errors(f"delete {snapshot}"):
            try:
                self.client.delete_snapshot(SnapshotId=snapshot)
            except self.client.exceptions.ClientError as error:
                if _code(error) == "InvalidSnapshot.InUse":
                    return False
                if _code(error) != "InvalidSnapshot.NotFound":
                    raise
        return True

    def template_tags(self, template: str) -> dict[str, str] | None:
        """The tags of a launch template; None if there is none of this name."""
        wanted = [{"Name": "launch-template-name", "Values": [template]}]
        found = self._pages(
            "describe_launch_templates", "LaunchTemplates", Filters=wanted, PaginationConfig=LARGE_PAGES
        )
        return tags_of(found[0]) if found else None

    def template_versions(self, template: str) -> list[TemplateVersion]:
        """All versions of a launch template, by its name; none if there is no such template."""
        return self._versions(LaunchTemplateName=template)

    def pinned_version(self, pin: TemplatePin) -> TemplateVersion | None:
        """The version that a group refers to; None if it has been deleted."""
        by = {"LaunchTemplateId": pin.id} if pin.id else {"LaunchTemplateName": pin.name}
        return next(iter(self._versions(**by, Versions=[pin.version])), None)

    def default_and_latest_versions(self) -> list[TemplateVersion]:
        """Those of every launch template of the account."""
        return self._versions(Versions=["$Default", "$Latest"])

    def resolved_image(self, version: TemplateVersion) -> str | None:
        """The image of a version, also where it names one through Systems Manager (`resolve:ssm:…`)."""
        if version.image is None or not version.image.startswith("resolve:"):
            return version.image
        (found,) = self._versions(
            LaunchTemplateName=version.template, Versions=[str(version.number)], ResolveAlias=True
        ) or [version]
        if found.image is None or found.image.startswith("resolve:"):
            raise AwsError(
                f"launch template {version.template} version {version.number}: cannot resolve {version.image}"
            )
        return found.image

    def _versions(self, **wanted: Any) -> list[TemplateVersion]:
        key = "LaunchTemplateVersions"
        try:
            pages = self._pages("describe_launch_template_versions", key, **wanted, PaginationConfig=LARGE_PAGES)
        except AwsError as error:
            if error.code in NO_SUCH_TEMPLATE:
                return []
            raise
        return [_version(raw) for raw in pages]

    def create_template_version(
        self, template: str, data: Mapping[str, Any], *, description: str, tags: Tags, first: bool, token: str
    ) -> int:
        """Adds a version, with the template itself if it is the `first`; its number."""
        given = {"LaunchTemplateName": template, "VersionDescription": description, "ClientToken": token}
        with aws_errors(f"launch template {template}"):
            if first:
                specification = [{"ResourceType": "launch-template", "Tags": tag_list(tags)}]
                made = self.client.create_launch_template(
                    **given, LaunchTemplateData=data, TagSpecifications=specification
                )
                return int(made["LaunchTemplate"]["LatestVersionNumber"])
            made = self.client.create_launch_template_version(**given, LaunchTemplateData=data)
            return int(made["LaunchTemplateVersion"]["VersionNumber"])

    def zones_offering(self, instance_type: str) -> set[str]:
        pages = self._pages(
            "describe_instance_type_offerings",
            "InstanceTypeOfferings",
            LocationType="availability-zone",
            Filters=[{"Name": "instance-type", "Values": [instance_type]}],
        )
        return {raw["Location"] for raw in pages}

    def default_subnets(self) -> list[Subnet]:
        """The default subnet of each zone."""
        pages = self._pages("describe_subnets", "Subnets", Filters=[{"Name": "default-for-az", "Values": ["true"]}])
        return sorted((_subnet(raw) for raw in pages), key=lambda subnet: subnet.zone)

    def subnets(self, ids: Sequence[str]) -> list[Subnet]:
        return [_subnet(raw) for raw in self._pages("describe_subnets", "Subnets", SubnetIds=list(ids))]

    def security_groups(self, names: Iterable[str], vpc: str) -> dict[str, str]:
        """Name -> id, of those that the VPC has."""
        wanted = [{"Name": "group-name", "Values": list(names)}, {"Name": "vpc-id", "Values": [vpc]}]
        pages = self._pages("describe_security_groups", "SecurityGroups", Filters=wanted)
        return {raw["GroupName"]: raw["GroupId"] for raw in pages}

    def _pages(self, operation: str, key: str, **arguments: Any) -> list[Any]:
        return self.account.pages("ec2", self.region, operation, key, **arguments)


def filters(tags: Tags | None) -> list[dict[str, Any]]:
    return [{"Name": f"tag:{key}", "Values": [value]} for key, value in (tags or {}).items()]


def tag_list(tags: Tags) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def tags_of(raw: Mapping[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in raw.get("Tags", [])}


def _code(error: Any) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _image(raw: Mapping[str, Any]) -> Image:
    volumes = [mapping["Ebs"] for mapping in raw.get("BlockDeviceMappings", []) if "Ebs" in mapping]
    return Image(
        id=raw["ImageId"],
        name=raw.get("Name", ""),
        created=datetime.fromisoformat(raw.get("CreationDate") or "1970-01-01T00:00:00+00:00"),
        state=raw.get("State", ""),
        tags=tags_of(raw),
        snapshots=tuple(volume["SnapshotId"] for volume in volumes if volume.get("SnapshotId")),
        size_gb=sum(volume.get("VolumeSize") or 0 for volume in volumes),
    )


def _version(raw: Mapping[str, Any]) -> TemplateVersion:
    return TemplateVersion(
        template=raw.get("LaunchTemplateName") or raw["LaunchTemplateId"],
        number=int(raw["VersionNumber"]),
        image=raw.get("LaunchTemplateData", {}).get("ImageId"),
        default=bool(raw.get("DefaultVersion")),
        description=raw.get("VersionDescription", ""),
    )


def _subnet(raw: Mapping[str, Any]) -> Subnet:
    return Subnet(raw["SubnetId"], raw["AvailabilityZone"], raw["VpcId"])
