"""EC2's launch templates and their versions. Lists are read to their last page."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nodepkg.clients.aws.account import Account, aws_errors
from nodepkg.clients.aws.tags import Tags, tag_list, tags_of
from nodepkg.errors import AwsError

NO_SUCH_TEMPLATE = frozenset(
    {
        "InvalidLaunchTemplateId.NotFound",
        "InvalidLaunchTemplateId.VersionNotFound",
        "InvalidLaunchTemplateName.NotFoundException",
    }
)
LARGE_PAGES = {"PageSize": 200}  # the most that EC2 gives of launch templates and versions


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


@dataclass
class LaunchTemplates:
    """The launch templates of one region."""

    account: Account
    region: str

    @property
    def client(self) -> Any:
        return self.account.client("ec2", self.region)

    def tags(self, template: str) -> dict[str, str] | None:
        """The tags of a launch template; None if there is none of this name."""
        wanted = [{"Name": "launch-template-name", "Values": [template]}]
        found = self._pages(
            "describe_launch_templates", "LaunchTemplates", Filters=wanted, PaginationConfig=LARGE_PAGES
        )
        return tags_of(found[0]) if found else None

    def versions(self, template: str) -> list[TemplateVersion]:
        """All versions of a launch template, by its name; none if there is no such template."""
        return self._versions(LaunchTemplateName=template)

    def pinned_version(self, pin: TemplatePin) -> TemplateVersion | None:
        """The version that a group refers to; None if it has been deleted."""
        by = {"LaunchTemplateId": pin.id} if pin.id else {"LaunchTemplateName": pin.name}
        return next(iter(self._versions(**by, Versions=[pin.version])), None)

    def default_and_latest(self) -> list[TemplateVersion]:
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

    def create_version(
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

    def _pages(self, operation: str, key: str, **arguments: Any) -> list[Any]:
        return self.account.pages("ec2", self.region, operation, key, **arguments)


def _version(raw: Mapping[str, Any]) -> TemplateVersion:
    return TemplateVersion(
        template=raw.get("LaunchTemplateName") or raw["LaunchTemplateId"],
        number=int(raw["VersionNumber"]),
        image=raw.get("LaunchTemplateData", {}).get("ImageId"),
        default=bool(raw.get("DefaultVersion")),
        description=raw.get("VersionDescription", ""),
    )
