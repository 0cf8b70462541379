"""Launch templates: versions that can be deleted, lists in pages, images that stand in SSM parameters."""

from typing import Any

from moto.core.responses import ActionResult
from moto.core.types import Base64EncodedString
from moto.ec2.exceptions import EC2ClientError, InvalidLaunchTemplateVersionNotFound, OperationNotPermitted
from moto.ec2.models.launch_templates import LaunchTemplate, LaunchTemplateVersion
from moto.ec2.responses.launch_templates import LaunchTemplates
from moto.ssm.exceptions import ParameterVersionNotFound
from moto.ssm.models import ssm_backends

from nodepkg.sandbox.moto_pages import paged, told_tags

_MOST = 200
_SSM = "resolve:ssm:"


class _UnresolvedError(EC2ClientError):
    def __init__(self, parameter: str) -> None:
        super().__init__("InvalidParameterValue", f"The SSM parameter '{parameter}' holds no image")


def _create_version(self: LaunchTemplate, data: dict[str, Any], description: str) -> LaunchTemplateVersion:
    """moto numbers them by their count, so that a number would be given twice after a deletion."""
    last = vars(self).get("last_number", len(self.versions))
    version = LaunchTemplateVersion(self, last + 1, data, description)
    vars(self)["last_number"] = version.number
    self.versions.append(version)
    return version


def _get_version(self: LaunchTemplate, num: Any) -> LaunchTemplateVersion:
    wanted = {"$latest": self.versions[-1].number, "$default": self.default_version_number}.get(str(num).lower(), num)
    for version in self.versions:
        if str(version.number) == str(wanted):
            return version
    raise InvalidLaunchTemplateVersionNotFound(template_id=self.id, version=num)


def _default_version(self: LaunchTemplate) -> LaunchTemplateVersion:
    return self.get_version("$Default")


def _answer_describe_versions(self: LaunchTemplates) -> ActionResult:
    self.error_on_dryrun()
    versions = self._get_param("Versions", [])
    least, most = self._get_int_param("MinVersion"), self._get_int_param("MaxVersion")
    found = self.ec2_backend.describe_launch_template_versions(
        template_name=self._get_param("LaunchTemplateName"),
        template_id=self._get_param("LaunchTemplateId"),
        versions=versions,
        min_version=None,
        max_version=None,
        max_results=None,
    )
    chosen = {(template.id, version.number): (template, version) for template, version in found}
    if not versions:
        chosen = {key: pair for key, pair in chosen.items() if (least or 0) <= key[1] <= (most or key[1])}
    resolve = bool(self._get_bool_param("ResolveAlias", False))
    arn = f"arn:{self.partition}:iam::{self.current_account}:root"
    return paged(
        self,
        "LaunchTemplateVersions",
        list(chosen),
        key=lambda key: key,
        least=1,
        default=_MOST,
        most=_MOST,
        told=lambda key: {"CreatedBy": arn} | _told(self, *chosen[key], resolve=resolve),
    )


def _told(
    response: LaunchTemplates, template: LaunchTemplate, version: LaunchTemplateVersion, *, resolve: bool
) -> dict[str, Any]:
    data = version.data
    if resolve and version.image_id.startswith(_SSM):
        data = data | {"ImageId": _resolved(response, version.image_id.removeprefix(_SSM))}
    return {
        "CreateTime": version.create_time,
        "DefaultVersion": template.is_default(version),
        "LaunchTemplateData": data,
        "LaunchTemplateId": template.id,
        "LaunchTemplateName": template.name,
        "VersionDescription": version.description,
        "VersionNumber": version.number,
    }


def _resolved(response: LaunchTemplates, name: str) -> str:
    """`name`, `name:version` or `name:label`."""
    try:
        parameter = ssm_backends[response.current_account][response.region].get_parameter(name)
    except ParameterVersionNotFound as error:
        raise _UnresolvedError(name) from error
    if parameter is None:
        raise _UnresolvedError(name)
    return str(parameter.value)


def _answer_describe_templates(self: LaunchTemplates) -> ActionResult:
    self.error_on_dryrun()
    found = self.ec2_backend.describe_launch_templates(
        template_names=self._get_param("LaunchTemplateNames", []),
        template_ids=self._get_param("LaunchTemplateIds", []),
        filters=self._filters_from_querystring(),
    )
    arn = f"arn:{self.partition}:iam::{self.current_account}:root"
    return paged(
        self,
        "LaunchTemplates",
        found,
        key=lambda template: template.id,
        least=1,
        default=_MOST,
        most=_MOST,
        told=lambda template: {
            "CreateTime": template.create_time,
            "CreatedBy": arn,
            "DefaultVersionNumber": template.default_version_number,
            "LatestVersionNumber": template.latest_version_number,
            "LaunchTemplateId": template.id,
            "LaunchTemplateName": template.name,
            "Tags": told_tags(template),
        },
    )


def _answer_delete_versions(self: LaunchTemplates) -> ActionResult:
    """The default version stays, as in EC2; moto has no such action."""
    self.error_on_dryrun()
    name, template_id = self._get_param("LaunchTemplateName"), self._get_param("LaunchTemplateId")
    backend = self.ec2_backend
    template = backend.get_launch_template_by_name(name) if name else backend.get_launch_template(template_id)
    named = {"LaunchTemplateId": template.id, "LaunchTemplateName": template.name}
    gone, left = [], []
    for number in self._get_param("Versions", []):
        about = named | {"VersionNumber": int(number)}
        try:
            version = template.get_version(number)
        except InvalidLaunchTemplateVersionNotFound as error:
            left.append(about | {"ResponseError": {"Code": "launchTemplateVersionDoesNotExist", "Message": str(error)}})
            continue
        if template.is_default(version):
            raise OperationNotPermitted("The default version cannot be deleted.")
        template.versions.remove(version)
        gone.append(about)
    return ActionResult(
        {
            "SuccessfullyDeletedLaunchTemplateVersions": gone,
            "UnsuccessfullyDeletedLaunchTemplateVersions": left,
        }
    )


def _user_data(self: LaunchTemplateVersion) -> Base64EncodedString | None:
    """moto takes that of a first version for what it is, and that of every later one for a bug of its own."""
    given = self.data.get("UserData")
    return Base64EncodedString(given) if isinstance(given, str) else given


def install() -> None:
    LaunchTemplate.create_version = _create_version  # type: ignore[method-assign]
    LaunchTemplate.get_version = _get_version  # type: ignore[method-assign]
    LaunchTemplate.default_version = _default_version  # type: ignore[method-assign]
    LaunchTemplates.describe_launch_template_versions = _answer_describe_versions  # type: ignore[method-assign]
    LaunchTemplates.describe_launch_templates = _answer_describe_templates  # type: ignore[method-assign]
    LaunchTemplateVersion.user_data = property(_user_data)  # type: ignore[assignment,method-assign]
    LaunchTemplates.delete_launch_template_versions = _answer_delete_versions  # type: ignore[attr-defined]
