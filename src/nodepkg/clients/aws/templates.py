"""EC2's launch templates and their versions. Lists are read to their last page."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nodepkg.clients.aws.account import aws_errors
from nodepkg.clients.aws.regional import Regional, in_parts, unless
from nodepkg.clients.aws.tags import Tags, tag_list, tags_of
from nodepkg.errors import AwsError

NO_SUCH_TEMPLATE = (
    "InvalidLaunchTemplateId.NotFound",
    "InvalidLaunchTemplateId.VersionNotFound",
    "InvalidLaunchTemplateName.NotFoundException",
)
_VERSION_GONE = ("launchTemplateIdDoesNotExist", "launchTemplateNameDoesNotExist", "launchTemplateVersionDoesNotExist")
VERSIONS_OF_ONE = 200  # the most versions that one call may name
FILTER_VALUES = 200  # the most that one filter may have
LARGE_PAGES = {"PageSize": 200}  # the most that EC2 gives of launch templates and versions


@dataclass(frozen=True)
class TemplateVersion:
    """One version of a launch template, which is named by `template`; `image` may be a `resolve:ssm:…`.

    `data` is EC2's LaunchTemplateData.
    """

    template: str
    number: int
    image: str | None
    default: bool
    description: str = ""
    template_id: str = ""
    data: Mapping[str, Any] = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class Template:
    """A launch template; `default` and `latest` are numbers of versions."""

    id: str
    name: str
    tags: Tags
    default: int
    latest: int


@dataclass(frozen=True)
class TemplatePin:
    """How a group refers to a launch template: by id or name, and a version as AWS writes it (`3`, `$Latest`)."""

    id: str | None
    name: str | None
    version: str


class LaunchTemplates(Regional):
    """The launch templates of one region."""

    def tags(self, template: str) -> dict[str, str] | None:
        """The tags of a launch template; None if there is none of this name."""
        wanted = [{"Name": "launch-template-name", "Values": [template]}]
        found = self.pages("describe_launch_templates", "LaunchTemplates", Filters=wanted, PaginationConfig=LARGE_PAGES)
        return tags_of(found[0]) if found else None

    def named(self, names: Iterable[str]) -> dict[str, Template]:
        """By name; one call for up to 200. Those that are not there are left out."""
        found = dict[str, Template]()
        for part in in_parts(sorted(set(names)), FILTER_VALUES):
            wanted = [{"Name": "launch-template-name", "Values": list(part)}]
            for raw in self.pages(
                "describe_launch_templates", "LaunchTemplates", Filters=wanted, PaginationConfig=LARGE_PAGES
            ):
                found[raw["LaunchTemplateName"]] = _template(raw)
        return found

    def versions(self, template: str) -> list[TemplateVersion]:
        """All versions of a launch template, by its name; none if there is no such template."""
        return self._versions(LaunchTemplateName=template)

    def pinned_version(self, pin: TemplatePin) -> TemplateVersion | None:
        """The version that a group refers to; None if it has been deleted."""
        return next(iter(self._versions(**_by(pin), Versions=[pin.version])), None)

    def default_and_latest(self) -> list[TemplateVersion]:
        """Those of every launch template of the account."""
        return list(dict.fromkeys(self._versions(Versions=["$Default", "$Latest"])))

    def all_versions(self, template_id: str) -> list[TemplateVersion]:
        """Every version of one launch template; none if it is gone."""
        return self._versions(LaunchTemplateId=template_id)

    def pinned(self, pins: Sequence[TemplatePin]) -> list[TemplateVersion]:
        """The versions that these pins of one launch template name, and maybe others of it: one call for up to 200.

        Those that are gone are left out.
        """
        by = _by(pins[0])
        versions = sorted({pin.version for pin in pins})
        try:
            parts = in_parts(versions, VERSIONS_OF_ONE)
            return [version for part in parts for version in self._read(**by, Versions=part)]
        except AwsError as error:
            if error.code not in NO_SUCH_TEMPLATE:
                raise
            # EC2 refuses the whole call if one of the versions is gone, and shows none of the others.
            return self._versions(**by)

    def resolved(self, version: TemplateVersion) -> str | None:
        """The image of a version that names it through Systems Manager, as EC2 resolves it; None if it cannot."""
        told = self._read(LaunchTemplateId=version.template_id, Versions=[str(version.number)], ResolveAlias=True)
        return next((one.image for one in told if one.image and one.image.startswith("ami-")), None)

    def _versions(self, **wanted: Any) -> list[TemplateVersion]:
        try:
            return self._read(**wanted)
        except AwsError as error:
            if error.code in NO_SUCH_TEMPLATE:
                return []
            raise

    def _read(self, **wanted: Any) -> list[TemplateVersion]:
        key = "LaunchTemplateVersions"
        pages = self.pages("describe_launch_template_versions", key, **wanted, PaginationConfig=LARGE_PAGES)
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

    def set_default_version(self, template: str, number: int) -> None:
        """What starts nodes from this template without naming a version takes this one from now on."""
        with aws_errors(f"default version of launch template {template}"):
            self.client.modify_launch_template(LaunchTemplateName=template, DefaultVersion=str(number))

    def delete_template(self, template: str) -> None:
        """With all its versions; instances that it has started stay. One that is gone already is as good as deleted."""
        with unless(f"delete launch template {template}", *NO_SUCH_TEMPLATE):
            self.client.delete_launch_template(LaunchTemplateName=template)

    def delete_versions(self, template: str, numbers: Iterable[int]) -> dict[int, str]:
        """Why EC2 has left which of them, by number; one that is gone already is as good as deleted."""
        left: dict[int, str] = {}
        for part in in_parts([str(number) for number in sorted(numbers)], VERSIONS_OF_ONE):
            with unless(f"delete versions of launch template {template}", *NO_SUCH_TEMPLATE):
                told = self.client.delete_launch_template_versions(LaunchTemplateName=template, Versions=list(part))
                for raw in told.get("UnsuccessfullyDeletedLaunchTemplateVersions", []):
                    error = raw.get("ResponseError", {})
                    if error.get("Code") not in _VERSION_GONE:
                        left[int(raw["VersionNumber"])] = f"{error.get('Code')}: {error.get('Message', '')}"
        return left


def _by(pin: TemplatePin) -> dict[str, str | None]:
    return {"LaunchTemplateId": pin.id} if pin.id else {"LaunchTemplateName": pin.name}


def _template(raw: Mapping[str, Any]) -> Template:
    default, latest = int(raw.get("DefaultVersionNumber", 0)), int(raw.get("LatestVersionNumber", 0))
    return Template(raw["LaunchTemplateId"], raw["LaunchTemplateName"], tags_of(raw), default, latest)


def _version(raw: Mapping[str, Any]) -> TemplateVersion:
    return TemplateVersion(
        template=raw.get("LaunchTemplateName") or raw["LaunchTemplateId"],
        number=int(raw["VersionNumber"]),
        image=raw.get("LaunchTemplateData", {}).get("ImageId"),
        default=bool(raw.get("DefaultVersion")),
        description=raw.get("VersionDescription", ""),
        template_id=raw["LaunchTemplateId"],
        data=raw.get("LaunchTemplateData", {}),
    )
