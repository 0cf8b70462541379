"""What EC2 does for a group: starts a node from its launch template, and ends one."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from moto.autoscaling.models import autoscaling_backends
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.ssm.models import ssm_backends

from nodepkg.sandbox.realistic.errors import LaunchFailureError, invalid
from nodepkg.sandbox.realistic.records import Group, Node
from nodepkg.sandbox.realistic.world import World

STATES = {"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48}
_SSM = "resolve:ssm:"


@dataclass(frozen=True)
class Source:
    """What a node is started from; of template and launch configuration (moto's own) there is one."""

    image: str
    type: str
    template: dict[str, str] | None = None
    version: Any = None
    configuration: Any = None


def source(world: World, group: Group) -> Source:
    """What the next node of the group is started from; raises LaunchFailureError for what is not there."""
    settings = group.settings
    if "LaunchConfigurationName" in settings:
        return _from_configuration(world, settings["LaunchConfigurationName"])
    mixed = settings.get("MixedInstancesPolicy", {}).get("LaunchTemplate", {})
    override: dict[str, Any] = next(iter(mixed.get("Overrides", [])), {})
    given = override.get("LaunchTemplateSpecification") or settings.get("LaunchTemplate")
    template, version = _version(world, given or mixed.get("LaunchTemplateSpecification", {}))
    named = {
        "LaunchTemplateId": template.id,
        "LaunchTemplateName": template.name,
        "Version": str(version.number),
    }
    image = override.get("ImageId") or version.data.get("ImageId", "")
    kind = override.get("InstanceType") or version.data.get("InstanceType", "m1.small")
    return Source(_resolved(world, image), kind, template=named, version=version)


def check(world: World, group: Group) -> None:
    """What AWS looks at before it takes a group, or a change of it; raises ValidationError."""
    if "LaunchConfigurationName" in group.settings:
        return
    try:
        found = source(world, group)
    except LaunchFailureError as error:
        raise invalid(f"You must use a valid fully-formed launch template. {error}") from error
    if found.image not in world.ec2.amis:
        told = f"The image id '[{found.image}]' does not exist"
        raise invalid(f"You must use a valid fully-formed launch template. {told}")


def _version(world: World, given: dict[str, str]) -> tuple[Any, Any]:
    templates = world.ec2.launch_templates.values()
    name, template_id = given.get("LaunchTemplateName"), given.get("LaunchTemplateId")
    template = next((one for one in templates if (name and one.name == name) or one.id == template_id), None)
    if template is None:
        raise LaunchFailureError(
            f"The specified launch template, with template name or id {name or template_id}, does not exist."
        )
    wanted = given.get("Version") or "$Default"
    try:
        return template, template.get_version(wanted)
    except Exception as error:
        raise LaunchFailureError(
            f"Could not find launch template version {wanted} of template {template.name}."
        ) from error


def _from_configuration(world: World, name: str) -> Source:
    found = autoscaling_backends[DEFAULT_ACCOUNT_ID][world.region].launch_configurations.get(name)
    if found is None:
        raise LaunchFailureError(f"Launch configuration name not found - {name}")
    return Source(found.image_id, found.instance_type, configuration=found)


def _resolved(world: World, image: str) -> str:
    """The image in an SSM parameter: `resolve:ssm:NAME`."""
    if not image.startswith(_SSM):
        return image
    parameter = ssm_backends[DEFAULT_ACCOUNT_ID][world.region].get_parameter(image.removeprefix(_SSM))
    if parameter is None:
        raise LaunchFailureError(f"The SSM parameter '{image.removeprefix(_SSM)}' holds no image")
    return str(parameter.value)


def launch(world: World, group: Group, zone: str) -> Node:
    """A node that EC2 says is `pending`; raises LaunchFailureError with the words of the group's activity."""
    found = source(world, group)
    _refuse(world, group, found, zone)
    tags = {tag["Key"]: tag["Value"] for tag in group.tags.values() if tag["PropagateAtLaunch"]}
    if found.version is not None:
        tags = found.version.instance_tags | tags
    try:
        instance = _run(world, group, found, zone, tags | {"aws:autoscaling:groupName": group.name})
    except Exception as error:  # moto's refusals have no class of their own
        raise LaunchFailureError(f"{getattr(error, 'message', error)} Launching EC2 instance failed.") from error
    instance.launch_time = datetime.fromtimestamp(world.now, UTC).replace(tzinfo=None)
    set_state(instance, "pending")
    world.launched[instance.id] = instance
    return Node(
        instance.id,
        found.image,
        zone,
        found.type,
        world.now,
        template=found.template,
        launch_configuration=group.settings.get("LaunchConfigurationName"),
        protected=bool(group.settings.get("NewInstancesProtectedFromScaleIn")),
    )


def _refuse(world: World, group: Group, found: Source, zone: str) -> None:
    image = world.ec2.amis.get(found.image)
    if image is None:
        raise LaunchFailureError(f"The image id '[{found.image}]' does not exist. Launching EC2 instance failed.")
    if image.state != "available":
        raise LaunchFailureError(f"The image '{found.image}' is not available. Launching EC2 instance failed.")
    if zone in world.short_zones:
        rest = ", ".join(one for one in group.zones if one not in world.short_zones) or "another one"
        raise LaunchFailureError(
            f"We currently do not have sufficient {found.type} capacity in the Availability Zone you requested "
            f"({zone}). Our system will be working on provisioning additional capacity. You can currently get "
            f"{found.type} capacity by not specifying an Availability Zone in your request or choosing {rest}. "
            "Launching EC2 instance failed."
        )
    running = sum(len(one.nodes) for one in world.groups.values())
    if world.quota is not None and running >= world.quota:
        raise LaunchFailureError(
            "You have requested more vCPU capacity than your current vCPU limit of "
            f"{world.quota} allows for the instance bucket that the specified instance type belongs to. "
            "Launching EC2 instance failed."
        )


def _run(world: World, group: Group, found: Source, zone: str, tags: dict[str, str]) -> Any:
    configuration, version = found.configuration, found.version
    profile = (version.data.get("IamInstanceProfile") or {}) if version is not None else {}
    template = found.template and {key: found.template[key] for key in ("LaunchTemplateId", "Version")}
    return world.ec2.run_instances(
        found.image,
        1,
        configuration.user_data if configuration else version.user_data,
        configuration.security_groups if configuration else version.security_groups,
        instance_type=found.type,
        is_instance_type_default=False,
        region_name=world.region,
        placement=zone,
        subnet_id=_subnet(world, group, zone),
        tags={"instance": tags},
        launch_config=configuration,
        launch_template=template,
        associate_public_ip=configuration.associate_public_ip_address if configuration else None,
        iam_instance_profile_name=profile.get("Name"),
        iam_instance_profile_arn=profile.get("Arn"),
    ).instances[0]


def _subnet(world: World, group: Group, zone: str) -> str | None:
    names = [name for name in group.settings.get("VPCZoneIdentifier", "").split(",") if name]
    found = world.ec2.describe_subnets(subnet_ids=names) if names else []
    return next((str(one.id) for one in found if one.availability_zone == zone), None)


def set_state(instance: Any, state: str) -> None:
    """EC2's: pending, running, shutting-down."""
    instance._state.name, instance._state.code = state, STATES[state]


def end(instance: Any) -> None:
    """EC2 has terminated it."""
    if instance is not None and instance.state != "terminated":
        instance.terminate()
