"""Auto Scaling: groups and launch configurations. Lists are read to their last page."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from nodepkg.clients.aws.account import aws_errors
from nodepkg.clients.aws.regional import Regional, in_parts, unless
from nodepkg.clients.aws.tags import Tags, filters, tags_of
from nodepkg.clients.aws.templates import TemplatePin
from nodepkg.errors import AwsError, NotYetError

PAGE = {"PageSize": 100}  # the most that Auto Scaling gives of anything
FILTER_VALUES = 5  # the most that one filter by a tag's value may have
TARGET_GROUPS_OF_ONE = 10  # the most that one call attaches or detaches
NAMES_OF_ONE = 50  # the most groups that one call may name
TAGS_OF_ONE = 25  # the most that one call adds or removes
# What Auto Scaling says when it did nothing since it is at something else.
_BUSY = ("ResourceContention", "ResourceInUse", "ScalingActivityInProgress")


@dataclass(frozen=True)
class Member:
    """An instance of an Auto Scaling group; `lifecycle` and `health` in AWS's words (InService, Healthy)."""

    id: str
    lifecycle: str
    health: str
    zone: str = ""
    protected: bool = False  # from scale-in


@dataclass(frozen=True)
class Activity:
    """Something that Auto Scaling does: `status` in its words (Failed, Successful …), `reason` why it came to that.

    `started` is in seconds since the epoch, `cause` why it was begun.
    """

    id: str
    status: str
    description: str
    reason: str
    started: float
    cause: str = ""

    @property
    def trouble(self) -> str:
        """Why a node did not come, or had to go: in AWS's words without the moment; "" if this is no trouble."""
        if self.failed:
            return self.reason or self.description
        was_sick = self.description.startswith("Terminating") and re.search("health|status check", self.cause)
        return re.sub(r"^At \S+ ", "", self.cause) if was_sick else ""

    @property
    def failed(self) -> bool:
        return self.status in ("Failed", "Cancelled")


@dataclass(frozen=True)
class Override:
    """What a mixed-instances group starts some of its nodes from instead: a template or an image of its own."""

    template: TemplatePin | None = None
    image: str | None = None


@dataclass(frozen=True)
class AutoScalingGroup:
    """It starts nodes from a launch template or a launch configuration, and some as its overrides say.

    `suspended` are processes in AWS's words (Launch, AZRebalance, …), `target_groups` ARNs; `status` is "" but
    while AWS deletes the group. `undeletable`: AWS refuses its deletion, also without force (DeletionProtection).
    `other_sources` are what it gets traffic from besides target groups: classic load balancers, VPC Lattice.
    `mixed`: it has a mixed instances policy, of several types or with Spot instances.
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
    undeletable: bool = False
    other_sources: tuple[str, ...] = ()
    mixed: bool = False

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
    hooks: Sequence[Mapping[str, Any]] = ()  # lifecycle hooks, as Scaling.lifecycle_hooks gives them


class AutoScaling(Regional):
    """One region's Auto Scaling."""

    service = "autoscaling"

    def groups(self, tags: Tags | None = None) -> list[AutoScalingGroup]:
        """Those with all these tags, by name."""
        wanted = {"Filters": filters(tags)} if tags else {}
        pages = self.pages("describe_auto_scaling_groups", "AutoScalingGroups", **wanted, PaginationConfig=PAGE)
        return sorted((_group(raw) for raw in pages), key=lambda group: group.name)

    def groups_tagged(self, key: str, values: Collection[str]) -> list[AutoScalingGroup]:
        """Those whose tag `key` has one of the values, by name; for many values all that have the key are read."""
        by_value = 0 < len(values) <= FILTER_VALUES
        named, wanted = (f"tag:{key}", sorted(values)) if by_value else ("tag-key", [key])
        pages = self.pages(
            "describe_auto_scaling_groups",
            "AutoScalingGroups",
            Filters=[{"Name": named, "Values": wanted}],
            PaginationConfig=PAGE,
        )
        unique = {group.name: group for group in map(_group, pages)}
        return sorted((one for one in unique.values() if one.tags.get(key) in values), key=lambda group: group.name)

    def groups_with(self, key: str) -> list[AutoScalingGroup]:
        """Those that have a tag of this key, by name."""
        wanted = [{"Name": "tag-key", "Values": [key]}]
        pages = self.pages("describe_auto_scaling_groups", "AutoScalingGroups", Filters=wanted, PaginationConfig=PAGE)
        found = {group.name: group for group in map(_group, pages) if key in group.tags}
        return sorted(found.values(), key=lambda group: group.name)

    def group(self, name: str) -> AutoScalingGroup | None:
        pages = self.pages("describe_auto_scaling_groups", "AutoScalingGroups", AutoScalingGroupNames=[name])
        return next(map(_group, pages), None)

    def groups_named(self, names: Collection[str]) -> list[AutoScalingGroup]:
        """By name; those that are not there (or cannot be seen yet) are left out."""
        found = []
        for part in in_parts(sorted(set(names)), NAMES_OF_ONE):
            key, asked = "AutoScalingGroups", {"AutoScalingGroupNames": list(part), "PaginationConfig": PAGE}
            found += [_group(raw) for raw in self.pages("describe_auto_scaling_groups", key, **asked)]
        return sorted(found, key=lambda group: group.name)

    def activities(self, group: str, *, most: int = 20) -> list[Activity]:
        """What the group did last, the newest first; nothing of one that is not there."""
        told: dict[str, Any] = {}
        with unless(f"activities of {group}", "ValidationError"):
            told = self.client.describe_scaling_activities(AutoScalingGroupName=group, MaxRecords=most)
        return [
            Activity(
                raw["ActivityId"],
                raw["StatusCode"],
                raw.get("Description", ""),
                raw.get("StatusMessage", "").strip(),
                raw["StartTime"].timestamp(),
                raw.get("Cause", "").strip(),
            )
            for raw in told.get("Activities", [])
        ]

    def images_of_launch_configurations(self) -> dict[str, str]:
        """Name -> image."""
        pages = self.pages("describe_launch_configurations", "LaunchConfigurations", PaginationConfig=PAGE)
        return {raw["LaunchConfigurationName"]: raw.get("ImageId", "") for raw in pages}

    def create_group(self, new: NewGroup) -> None:
        """Raises AwsError with code `AlreadyExists` if the name is taken, also by one that AWS is deleting.

        NotYetError while Auto Scaling cannot see the version of the launch template, which may be seconds old.
        """
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
        if new.hooks:
            arguments["LifecycleHookSpecificationList"] = [dict(hook) for hook in new.hooks]
        try:
            with unless_busy(f"create {new.name}"):
                self.client.create_auto_scaling_group(**arguments)
        except AwsError as error:
            if _says(error, "pending delete"):
                raise AwsError(error.message, code="AlreadyExists") from error
            raise

    # Each of these may be called twice: the second time changes nothing. They raise NotYetError while AWS is at
    # something else with the group.

    def update_sizes(self, group: str, *, min: int, max: int, desired: int | None = None) -> None:
        """Without `desired` AWS moves the desired size only if it is outside of min and max."""
        wanted = {"MinSize": min, "MaxSize": max} | ({} if desired is None else {"DesiredCapacity": desired})
        with unless_busy(f"set the sizes of {group}"):
            self.client.update_auto_scaling_group(AutoScalingGroupName=group, **wanted)

    def update_template(self, group: str, template: str, version: int) -> None:
        """Nodes that run are left as they are."""
        pin = {"LaunchTemplateName": template, "Version": str(version)}
        with unless_busy(f"set the launch template of {group}"):
            self.client.update_auto_scaling_group(AutoScalingGroupName=group, LaunchTemplate=pin)

    def suspend_processes(self, group: str, processes: Iterable[str]) -> None:
        with unless_busy(f"suspend processes of {group}"):
            self.client.suspend_processes(AutoScalingGroupName=group, ScalingProcesses=sorted(processes))

    def resume_processes(self, group: str, processes: Iterable[str]) -> None:
        with unless_busy(f"resume processes of {group}"):
            self.client.resume_processes(AutoScalingGroupName=group, ScalingProcesses=sorted(processes))

    def set_instance_health(self, instance: str, health: str) -> None:
        """`Healthy` or `Unhealthy`; one that is no member (any more) is passed over."""
        with unless_said("not found"), unless_busy(f"set the health of {instance}"):
            self.client.set_instance_health(InstanceId=instance, HealthStatus=health)

    def create_or_update_tags(self, group: str, tags: Tags) -> None:
        """In their order, not propagated to instances."""
        for part in in_parts(list(tags.items()), TAGS_OF_ONE):
            with unless_busy(f"tag {group}"):
                self.client.create_or_update_tags(Tags=[_tag(group, *tag, propagate=False) for tag in part])

    def delete_tags(self, group: str, keys: Iterable[str]) -> None:
        """Those that are gone already are as good."""
        of = {"ResourceId": group, "ResourceType": "auto-scaling-group"}
        for part in in_parts(sorted(keys), TAGS_OF_ONE):
            with unless_busy(f"remove tags of {group}"):
                self.client.delete_tags(Tags=[of | {"Key": key} for key in part])

    def attach_target_groups(self, group: str, arns: Iterable[str]) -> None:
        for part in in_parts(sorted(arns), TARGET_GROUPS_OF_ONE):
            with unless_busy(f"attach target groups to {group}"):
                self.client.attach_load_balancer_target_groups(AutoScalingGroupName=group, TargetGroupARNs=part)

    def detach_target_groups(self, group: str, arns: Iterable[str]) -> None:
        """Those that are not attached are as good as detached."""
        for part in in_parts(sorted(arns), TARGET_GROUPS_OF_ONE):
            try:
                self._detach(group, part)
            except AwsError as error:
                if not _says(error, "not part of"):
                    raise
                # One that is not attached, as after a lost reply, has all of them refused.
                for arn in part:
                    with unless_said("not part of"):
                        self._detach(group, [arn])

    def _detach(self, group: str, arns: Sequence[str]) -> None:
        with unless_busy(f"detach target groups from {group}"):
            self.client.detach_load_balancer_target_groups(AutoScalingGroupName=group, TargetGroupARNs=list(arns))

    def delete_group(self, group: str) -> None:
        """Without force: raises NotYetError while it has instances; one that is gone already, or goes, is as good."""
        with unless_said("not found"), unless_said("pending delete"), unless_busy(f"delete {group}"):
            self.client.delete_auto_scaling_group(AutoScalingGroupName=group)


@contextmanager
def unless_busy(what: str) -> Iterator[None]:
    """As aws_errors(what), but NotYetError where Auto Scaling did nothing and will later.

    It is at something else, or does not see a launch template (or its version) that EC2 has just made.
    """
    try:
        with aws_errors(what):
            yield
    except AwsError as error:
        unseen = _says(error, "launch template") and "does not exist" in error.message
        if error.code in _BUSY or unseen:
            raise NotYetError(error.message, code=error.code) from error
        raise


@contextmanager
def unless_said(words: str) -> Iterator[None]:
    """An error in these words ends the block and is none: Auto Scaling has one code for all that it cannot do."""
    try:
        yield
    except AwsError as error:
        if not _says(error, words):
            raise


def _says(error: AwsError, words: str) -> bool:
    return error.code == "ValidationError" and words in error.message


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
        subnets=tuple(one.strip() for one in raw.get("VPCZoneIdentifier", "").split(",") if one.strip()),
        zones=tuple(raw.get("AvailabilityZones", [])),
        health_check_type=raw.get("HealthCheckType", ""),
        health_check_grace_period=raw.get("HealthCheckGracePeriod", 0),
        status=raw.get("Status") or "",
        warm_pool=bool(raw.get("WarmPoolConfiguration")),
        undeletable=raw.get("DeletionProtection") == "prevent-all-deletion",
        other_sources=_other_sources(raw),
        mixed=bool(raw.get("MixedInstancesPolicy")),
    )


def _other_sources(raw: Mapping[str, Any]) -> tuple[str, ...]:
    """Target groups and classic load balancers are among AWS's traffic sources, however they were attached."""
    balancers = raw.get("LoadBalancerNames", [])
    told = {*balancers, *raw.get("TargetGroupARNs", [])}
    sources = (one["Identifier"] for one in raw.get("TrafficSources", []))
    return (*balancers, *(source for source in sources if source not in told))


def _pin(given: Mapping[str, str] | None) -> TemplatePin | None:
    if not given:
        return None
    # Without a version Auto Scaling takes the default one.
    return TemplatePin(
        given.get("LaunchTemplateId"), given.get("LaunchTemplateName"), given.get("Version") or "$Default"
    )
