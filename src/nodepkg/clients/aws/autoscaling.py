"""Auto Scaling: groups and launch configurations. Lists are read to their last page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nodepkg.clients.aws.account import Account, aws_errors
from nodepkg.clients.aws.regional import Regional
from nodepkg.clients.aws.tags import Tags, filters, tags_of
from nodepkg.clients.aws.templates import TemplatePin
from nodepkg.errors import AwsError

PAGE = {"PageSize": 100}  # the most that Auto Scaling gives of groups and launch configurations


@dataclass(frozen=True)
class Member:
    """An instance of an Auto Scaling group; `lifecycle` and `health` in AWS's words (InService, Healthy)."""

    id: str
    lifecycle: str
    health: str
    zone: str = ""
    protected: bool = False  # from scale-in


@dataclass(frozen=True)
class Override:
    """What a mixed-instances group starts some of its nodes from instead: a template or an image of its own."""

    template: TemplatePin | None = None
    image: str | None = None


@dataclass(frozen=True)
class AutoScalingGroup:
    """It starts nodes from a launch template or a launch configuration, and some as its overrides say.

    `suspended` are processes in AWS's words (Launch, AZRebalance, …), `target_groups` ARNs; `status` is "" but
    while AWS deletes the group.
    """

    name: str
    tags: Tags
    min: int
    max: int
    desired: int
    members: tuple[Member, ...]
    template: TemplatePin | None
    launch_configuration: str | None = None
    overrides: tuple[Override, ...] = ()
    suspended: frozenset[str] = frozenset()
    target_groups: tuple[str, ...] = ()
    subnets: tuple[str, ...] = ()
    zones: tuple[str, ...] = ()
    health_check_type: str = "EC2"
    health_check_grace_period: int = 0
    status: str = ""
    warm_pool: bool = False

    @property
    def pins(self) -> list[TemplatePin]:
        """Every launch template version that it refers to, its overrides' too."""
        return [pin for pin in (self.template, *(override.template for override in self.overrides)) if pin]


@dataclass(frozen=True)
class NewGroup:
    """What `create_group` is told. `tags` are propagated to the instances, `own_tags` are not."""

    name: str
    template: str
    version: int
    min: int
    max: int
    desired: int
    tags: Tags
    own_tags: Tags
    zones: Sequence[str] = ()
    subnets: Sequence[str] = ()
    target_group_arns: Sequence[str] = ()
    health_check_type: str = "EC2"
    health_check_grace_period: int = 300


class AutoScaling(Regional):
    """One region's Auto Scaling."""

    service = "autoscaling"

    def groups(self, tags: Tags | None = None) -> list[AutoScalingGroup]:
        """Those with all these tags, by name."""
        wanted = {"Filters": filters(tags)} if tags else {}
        pages = self.pages("describe_auto_scaling_groups", "AutoScalingGroups", **wanted, PaginationConfig=PAGE)
        return sorted((_group(raw) for raw in pages), key=lambda group: group.name)

    def images_of_launch_configurations(self) -> dict[str, str]:
        """Name -> image."""
        pages = self.pages("describe_launch_configurations", "LaunchConfigurations", PaginationConfig=PAGE)
        return {raw["LaunchConfigurationName"]: raw.get("ImageId", "") for raw in pages}

    def create_group(self, new: NewGroup) -> None:
        """Raises AwsError with code `AlreadyExists` if the name is taken."""
        tags = [_tag(new.name, key, value, propagate=True) for key, value in new.tags.items()]
        tags += [_tag(new.name, key, value, propagate=False) for key, value in new.own_tags.items()]
        arguments: dict[str, Any] = {
            "AutoScalingGroupName": new.name,
            "LaunchTemplate": {"LaunchTemplateName": new.template, "Version": str(new.version)},
            "MinSize": new.min,
            "MaxSize": new.max,
            "DesiredCapacity": new.desired,
            "HealthCheckType": new.health_check_type,
            "HealthCheckGracePeriod": new.health_check_grace_period,
            "Tags": tags,
        }
        if new.subnets:
            arguments["VPCZoneIdentifier"] = ",".join(new.subnets)
        if new.zones:
            arguments["AvailabilityZones"] = list(new.zones)
        if new.target_group_arns:
            arguments["TargetGroupARNs"] = list(new.target_group_arns)
        with aws_errors(f"create {new.name}"):
            self.client.create_auto_scaling_group(**arguments)


def target_group_arns(account: Account, region: str, names: Sequence[str]) -> list[str]:
    """The ARNs of target groups given by name or ARN; raises AwsError if one is not there."""
    unknown = [name for name in names if not name.startswith("arn:")]
    if not unknown:
        return list(names)
    client = account.client("elbv2", region)
    with aws_errors(f"target groups {', '.join(unknown)}"):
        found = client.describe_target_groups(Names=unknown)["TargetGroups"]
    arns = {raw["TargetGroupName"]: raw["TargetGroupArn"] for raw in found}
    missing = [name for name in unknown if name not in arns]
    if missing:
        raise AwsError(f"no target group {', '.join(missing)} in {region}", code="TargetGroupNotFound")
    return [arns.get(name, name) for name in names]


def _tag(group: str, key: str, value: str, *, propagate: bool) -> dict[str, Any]:
    return {
        "ResourceId": group,
        "ResourceType": "auto-scaling-group",
        "Key": key,
        "Value": value,
        "PropagateAtLaunch": propagate,
    }


def _group(raw: Mapping[str, Any]) -> AutoScalingGroup:
    mixed = raw.get("MixedInstancesPolicy", {}).get("LaunchTemplate", {})
    overrides = [
        Override(_pin(given.get("LaunchTemplateSpecification")), given.get("ImageId") or None)
        for given in mixed.get("Overrides", [])
    ]
    return AutoScalingGroup(
        name=raw["AutoScalingGroupName"],
        tags=tags_of(raw),
        min=raw["MinSize"],
        max=raw["MaxSize"],
        desired=raw["DesiredCapacity"],
        members=tuple(
            Member(
                member["InstanceId"],
                member["LifecycleState"],
                member["HealthStatus"],
                member.get("AvailabilityZone", ""),
                bool(member.get("ProtectedFromScaleIn")),
            )
            for member in raw.get("Instances", [])
        ),
        template=_pin(raw.get("LaunchTemplate") or mixed.get("LaunchTemplateSpecification")),
        launch_configuration=raw.get("LaunchConfigurationName"),
        overrides=tuple(override for override in overrides if override != Override()),
        suspended=frozenset(process["ProcessName"] for process in raw.get("SuspendedProcesses", [])),
        target_groups=tuple(raw.get("TargetGroupARNs", [])),
        subnets=tuple(subnet for subnet in raw.get("VPCZoneIdentifier", "").split(",") if subnet),
        zones=tuple(raw.get("AvailabilityZones", [])),
        health_check_type=raw.get("HealthCheckType", ""),
        health_check_grace_period=raw.get("HealthCheckGracePeriod", 0),
        status=raw.get("Status") or "",
        warm_pool=bool(raw.get("WarmPoolConfiguration")),
    )


def _pin(given: Mapping[str, str] | None) -> TemplatePin | None:
    if not given:
        return None
    # Without a version Auto Scaling takes the default one.
    return TemplatePin(
        given.get("LaunchTemplateId"), given.get("LaunchTemplateName"), given.get("Version") or "$Default"
    )
