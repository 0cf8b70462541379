"""What nodes.json wants of a group that runs, compared with what runs, key by key; and what forbids a rollout.

Pure: values in, values out. The desired size belongs to the group, and is never compared.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nodepkg.autoscale.journal import PHASE, Phase, targets_in
from nodepkg.clients.aws.autoscaling import AutoScalingGroup
from nodepkg.errors import RefusedError
from nodepkg.launch import DRAINS, MANAGED, Launch
from nodepkg.nodes.schema import Autoscale

# Without one of these a rollout could neither start nodes nor learn how they are.
NEEDED = frozenset({"Launch", "Terminate", "AddToLoadBalancer", "HealthCheck", "ReplaceUnhealthy"})

# EC2's words for what a node is started from, and nodes.json's.
_KEYS = {
    "ImageId": "image",
    "InstanceType": "instance_type",
    "SecurityGroupIds": "security_groups",
    "KeyName": "key_name",
    "IamInstanceProfile": "iam_instance_profile",
    "BlockDeviceMappings": "block_devices",
    "UserData": "user_data",
    "MetadataOptions": "metadata_options",
    "TagSpecifications": "tags",
}
_NONE = "none"
# What nodepkg sets of it; AWS answers more: a state, and its defaults of the rest.
_METADATA = {"HttpTokens": "optional", "HttpEndpoint": "enabled"}
_GP3 = {"Iops": 3000, "Throughput": 125}


@dataclass(frozen=True)
class Difference:
    """A key of which something else runs than is wanted; both values are for people."""

    key: str
    runs: str
    wanted: str

    def __str__(self) -> str:
        return f"{self.key}: {self.runs} -> {self.wanted}" if self.runs or self.wanted else f"{self.key} differs"


@dataclass(frozen=True)
class Wanted:
    """What nodes.json wants: how nodes are started, the target groups (ARNs), and the settings of the group."""

    launch: Launch
    targets: frozenset[str]
    settings: Autoscale

    @property
    def health_check_type(self) -> str:
        return self.settings.health_check_type or ("ELB" if self.targets else "EC2")


def next_targets(wanted: Collection[str], asg: AutoScalingGroup) -> frozenset[str]:
    """The target groups of the next generation: those that are wanted, and those that people have attached.

    What nodepkg has attached is in the tags of the group; where they have none, people have attached all.
    """
    by_people = set(asg.target_groups) - set(targets_in(asg.tags))
    return frozenset(wanted) | by_people


def replacing(wanted: Wanted, asg: AutoScalingGroup, data: Mapping[str, Any] | None) -> list[Difference]:
    """What can only be had by new nodes; `data` is the LaunchTemplateData that the group runs, None if it is gone."""
    found = in_template(wanted.launch.data, data)
    if asg.launch_configuration:
        configured = f"launch configuration {asg.launch_configuration}"
        found = [Difference("launch_template", configured, "a launch template")]
    place = wanted.launch.placement
    if asg.subnets:
        found += _difference("subnets", asg.subnets, place.ids)
    else:
        found += _difference("zones", asg.zones, [subnet.zone for subnet in place.subnets])
    found += _difference("health_check_type", _judges(asg.health_check_type), _judges(wanted.health_check_type))
    grace = wanted.settings.health_check_grace_period
    found += _difference("health_check_grace_period", [str(asg.health_check_grace_period)], [str(grace)])
    targets = next_targets(wanted.targets, asg)
    return found + _difference("target_groups", map(_name, asg.target_groups), map(_name, targets))


def in_template(wanted: Mapping[str, Any], runs: Mapping[str, Any] | None) -> list[Difference]:
    """What differs in how nodes are started."""
    if runs is None:
        return [Difference("launch_template", "a version that is gone", "a new one")]
    found = []
    for key in sorted({*wanted, *runs}, key=lambda key: _KEYS.get(key, key)):
        then, now = _comparable(key, runs.get(key)), _comparable(key, wanted.get(key))
        if then != now:
            name = _KEYS.get(key, key)
            found.append(Difference(name, "", "") if key == "UserData" else Difference(name, _told(then), _told(now)))
    return found


def sizes(settings: Autoscale, asg: AutoScalingGroup) -> list[Difference]:
    """What is changed in place. A max above node_max is right while so many nodes are desired."""
    least, most = in_place(settings, asg)
    told = [("node_min", asg.min, least), ("node_max", asg.max, most)]
    return [Difference(key, str(runs), str(wanted)) for key, runs, wanted in told if runs != wanted]


def in_place(settings: Autoscale, asg: AutoScalingGroup) -> tuple[int, int]:
    """The min and max that the group is to have."""
    return settings.node_min, max(settings.most, settings.node_min, asg.desired)


def serving(group: str, asgs: Sequence[AutoScalingGroup]) -> AutoScalingGroup:
    """The one that serves, of all that carry the group's tag; raises RefusedError if that is none, or not clear."""
    running = [asg for asg in asgs if asg.tags.get(PHASE) != Phase.KEPT and not asg.status]
    if not running:
        raise RefusedError(f"{group} does not run", hint=f"package autoscale:run {group}")
    if len(running) > 1:
        names = ", ".join(asg.name for asg in running)
        raise RefusedError(
            f"{group} runs as more than one Auto Scaling group: {names}",
            hint="delete those that are not meant to serve",
        )
    (asg,) = running
    if asg.tags.get(MANAGED) != "true":
        raise RefusedError(
            f"{group}: {asg.name} is not nodepkg's", hint=f"tag it with {MANAGED}=true, if nodepkg may replace it"
        )
    if asg.tags.get(PHASE) != Phase.SERVING:
        raise RefusedError(
            f"{group}: {asg.name} is not marked as the one that serves", hint=f"tag it with {PHASE}=serving, if it is"
        )
    return asg


def forbids(asg: AutoScalingGroup) -> list[str]:
    """Why the group cannot be replaced, as far as it shows that itself; each with what to do."""
    name = asg.name
    standby = [one.id for one in asg.members if "Standby" in one.lifecycle]
    protected = [one.id for one in asg.members if one.protected]
    suspended = sorted(NEEDED & asg.suspended)
    told = []
    if standby:
        told.append(f"{name}: {', '.join(standby)} in Standby: put back into service, or terminate, what is there")
    if protected:
        told.append(f"{name}: {', '.join(protected)} protected from scale-in: take the protection away")
    if asg.warm_pool:
        told.append(f"{name} has a warm pool, which is not carried over: delete it")
    if suspended:
        ours = set(suspended) <= set(asg.tags.get(DRAINS, "").split())
        by_deploy = f" by a deploy that was cut off: package instance:deploy {asg.tags.get('group', '')}"
        told.append(f"{name}: {', '.join(suspended)} suspended{by_deploy if ours else ': resume them'}")
    if asg.other_sources:
        sources = ", ".join(asg.other_sources)
        told.append(f"{name} gets traffic from {sources}, which is no target group and not carried over: detach it")
    if asg.mixed:
        told.append(f"{name} has a mixed instances policy, which is not carried over: give it a launch template")
    if asg.undeletable:
        told.append(f"{name} is protected from deletion: take the protection away")
    return told


def forbids_too(asg: str, refreshes: Iterable[str], policies: Iterable[str]) -> list[str]:
    """The same of what has to be asked for: instance refreshes that run, and policies that cannot be carried over."""
    told = [f"{asg}: instance refresh {refresh} is running: wait for its end, or cancel it" for refresh in refreshes]
    return told + [f"{asg}: its scaling policy cannot be carried over: {policy}: delete it" for policy in policies]


def _judges(health_check_type: str) -> list[str]:
    """Who judges nodes: AWS takes and tells several, separated by commas, of which EC2 is always one."""
    said = {one.strip() for one in health_check_type.split(",")} - {""}
    return sorted(said - {"EC2"}) or ["EC2"]


def _difference(key: str, runs: Iterable[str], wanted: Iterable[str]) -> list[Difference]:
    then, now = sorted(set(runs)), sorted(set(wanted))
    return [Difference(key, _told(then), _told(now))] if then != now else []


def _comparable(key: str, value: Any) -> Any:
    """The value as it would be however it was given: without an order that means nothing, and what AWS adds to it."""
    return _ALIKE.get(key, _said)(value)


def _tags(specifications: Iterable[Mapping[str, Any]] | None) -> Any:
    of_nodes = [
        one for one in specifications or () if one["ResourceType"] != "launch-template"
    ]  # moto's are among them
    tags = {one["ResourceType"]: {tag["Key"]: tag["Value"] for tag in one.get("Tags", [])} for one in of_nodes}
    return {kind: tags[kind] for kind in sorted(tags) if tags[kind]}


def _metadata(options: Mapping[str, Any] | None) -> Any:
    return {name: (options or {}).get(name, default) for name, default in _METADATA.items()}


def _profile(told: Mapping[str, str] | None) -> str:
    """Its name alone, which tells it from the others of the account, in whichever path it is."""
    return ((told or {}).get("Arn") or (told or {}).get("Name") or "").rpartition("/")[2]


def _volumes(mappings: Iterable[Mapping[str, Any]] | None) -> Any:
    return {one["DeviceName"]: _volume(one) for one in sorted(mappings or (), key=lambda one: str(one["DeviceName"]))}


def _volume(mapping: Mapping[str, Any]) -> Any:
    """What of a block device decides; what is not said is the same as AWS's default, said."""
    ebs = mapping.get("Ebs") or {}
    said = {"VolumeType": "gp2", **ebs, "DeleteOnTermination": str(ebs.get("DeleteOnTermination", True)).lower()}
    usual = _GP3 if said["VolumeType"] == "gp3" else {}
    kept = {key: one for key, one in said.items() if key not in usual or int(one or usual[key]) != usual[key]}
    return _said({**mapping, "Ebs": {key: str(kept[key]) if kept[key] else None for key in sorted(kept)}})


def _said(value: Any) -> Any:
    """Without what is empty or off, wherever: AWS tells that of some things that nobody has asked for."""
    if isinstance(value, Mapping):
        value = {key: said for key, one in value.items() if (said := _said(one)) is not None}
    return value or None


_ALIKE: Mapping[str, Callable[[Any], Any]] = {
    "SecurityGroupIds": lambda ids: sorted(ids or []),
    "TagSpecifications": _tags,
    "MetadataOptions": _metadata,
    "BlockDeviceMappings": _volumes,
    "IamInstanceProfile": _profile,
    "UserData": lambda text: "".join((text or "").split()),
}


def _told(value: Any) -> str:
    """In one line, for people."""
    if value in (None, "", [], {}):
        return _NONE
    if isinstance(value, dict):
        return ", ".join(f"{key}={_told(one)}" for key, one in value.items())
    return ", ".join(map(_told, value)) if isinstance(value, list) else str(value)


def _name(arn: str) -> str:
    """`web` of arn:…:targetgroup/web/0123456789abcdef; two of one name would be of two accounts."""
    return arn.split("/")[1] if "/" in arn else arn
