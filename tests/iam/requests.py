"""What a call has to be allowed, as AWS's Service Authorization Reference says: each action on each resource.

A call that changes something and is not known here is an error, so that none passes unseen.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from nodepkg.sandbox.calls import Call
from nodepkg.sandbox.realistic.protocol import arguments
from tests.iam.evaluation import Request
from tests.iam.existing import Existing

Told = Mapping[str, Any]
_PREFIXES = {"monitoring": "cloudwatch"}  # of actions, where it is not the name that requests are signed for
_GROUP = "AutoScalingGroupName"


def requests(call: Call, method: str, path: str, existing: Existing) -> list[Request]:
    """All of them have to be allowed."""
    if call.service == "s3":
        return [_of_s3(method, path)]
    prefix = _PREFIXES.get(call.service, call.service)
    action = f"{prefix}:{call.action}"
    known = _KNOWN.get(action)
    if known:
        told = call.parameters if call.speaks_json else arguments(call)
        return list(known(told, existing))
    if not call.action.startswith(("Describe", "List", "Get")):
        raise AssertionError(f"nobody has said what {action} has to be allowed")
    return [Request(action)]


def _resource_tags(tags: Mapping[str, str]) -> dict[str, str]:
    return {f"aws:ResourceTag/{key}": value for key, value in tags.items()}


def _request_tags(tags: Iterable[Told]) -> dict[str, str | tuple[str, ...]]:
    given = {tag["Key"]: tag.get("Value", "") for tag in tags}
    return {f"aws:RequestTag/{key}": value for key, value in given.items()} | (
        {"aws:TagKeys": tuple(given)} if given else {}
    )


# EC2


def _on(action: str, id_: str, existing: Existing, **more: Any) -> Request:
    return Request(f"ec2:{action}", existing.ec2_arn(id_), _resource_tags(existing.tags(id_)) | more)


def _by_id(action: str, key: str) -> Callable[[Told, Existing], Iterator[Request]]:
    def found(told: Told, existing: Existing) -> Iterator[Request]:
        ids = told[key] if isinstance(told[key], list) else [told[key]]
        return (_on(action, id_, existing) for id_ in ids)

    return found


def _new(action: str, kind: str, told: Told, existing: Existing, name: str = "new", **more: str) -> Iterator[Request]:
    """Something that is made, with the tags that the request gives it."""
    arn = existing.arn("ec2", f"{kind}/{name}")
    tags = [tag for one in told.get("TagSpecifications", []) if one["ResourceType"] == kind for tag in one["Tags"]]
    context = _request_tags(tags)
    yield Request(f"ec2:{action}", arn, context | more)
    if tags:
        yield Request("ec2:CreateTags", arn, context | {"ec2:CreateAction": action})


def _create_tags(told: Told, existing: Existing) -> Iterator[Request]:
    return (_on("CreateTags", id_, existing, **_request_tags(told["Tags"])) for id_ in told["Resources"])


def _delete_tags(told: Told, existing: Existing) -> Iterator[Request]:
    keys = tuple(tag["Key"] for tag in told["Tags"])
    return (_on("DeleteTags", id_, existing, **{"aws:TagKeys": keys}) for id_ in told["Resources"])


def _deregister_image(told: Told, existing: Existing) -> Iterator[Request]:
    yield _on("DeregisterImage", told["ImageId"], existing)
    if told.get("DeleteAssociatedSnapshots"):  # AWS's pages do not say whether it asks; if it does, it is this
        yield from (_on("DeleteSnapshot", id_, existing) for id_ in existing.snapshots(told["ImageId"]))


def _create_image(told: Told, existing: Existing) -> Iterator[Request]:
    yield _on("CreateImage", told["InstanceId"], existing)
    for kind in ("image", "snapshot"):
        yield from _new("CreateImage", kind, told, existing)


def _create_security_group(told: Told, existing: Existing) -> Iterator[Request]:
    yield from _new("CreateSecurityGroup", "security-group", told, existing)
    yield Request("ec2:CreateSecurityGroup", existing.arn("ec2", f"vpc/{told.get('VpcId') or 'vpc-default'}"))


def _of_key_pair(action: str, *, new: bool) -> Callable[[Told, Existing], Iterator[Request]]:
    def found(told: Told, existing: Existing) -> Iterator[Request]:
        name = told["KeyName"]
        if new:
            return _new(action, "key-pair", told, existing, name)
        context = _resource_tags(existing.key_pair_tags(name))
        return iter([Request(f"ec2:{action}", existing.arn("ec2", f"key-pair/{name}"), context)])

    return found


def _of_template(action: str) -> Callable[[Told, Existing], Iterator[Request]]:
    return lambda told, existing: iter([_on(action, existing.launch_template(told), existing)])


def _run_instances(told: Told, existing: Existing) -> Iterator[Request]:
    """Also what a launch template says, for which Auto Scaling has the caller checked."""
    template, more = told.get("LaunchTemplate"), dict[str, str]()
    if template:
        id_ = existing.launch_template(template)
        more = {"ec2:LaunchTemplate": existing.ec2_arn(id_)}
        told = {**existing.launch_template_data(template), **told}
        yield _on("RunInstances", id_, existing, **more)
    for kind in ("instance", "network-interface", "volume"):
        yield from _new("RunInstances", kind, told, existing, **more)
    for id_ in (told["ImageId"], told.get("SubnetId") or "subnet-1", *(told.get("SecurityGroupIds") or ["sg-1"])):
        yield _on("RunInstances", id_, existing, **more)
    if told.get("KeyName"):
        arn = existing.arn("ec2", f"key-pair/{told['KeyName']}")
        yield Request("ec2:RunInstances", arn, _resource_tags(existing.key_pair_tags(told["KeyName"])) | more)
    if any((told.get("IamInstanceProfile") or {}).values()):
        yield _pass_role("ec2.amazonaws.com")


def _pass_role(service: str) -> Request:
    return Request("iam:PassRole", "arn:aws:iam::123456789012:role/some-role", {"iam:PassedToService": service})


# Auto Scaling


def _of_group(action: str) -> Callable[[Told, Existing], Iterator[Request]]:
    def found(told: Told, existing: Existing) -> Iterator[Request]:
        names = [told[_GROUP]] if _GROUP in told else sorted({tag["ResourceId"] for tag in told["Tags"]})
        for arn, tags in map(existing.group, names):
            context = _resource_tags(tags) | (_request_tags(told["Tags"]) if _GROUP not in told else {})
            yield Request(f"autoscaling:{action}", arn, context)
        if told.get("LaunchTemplate"):
            yield from _run_instances({"LaunchTemplate": told["LaunchTemplate"]}, existing)

    return found


def _set_health(told: Told, existing: Existing) -> Iterator[Request]:
    arn, tags = existing.group(existing.tags(told["InstanceId"])["aws:autoscaling:groupName"])
    yield Request("autoscaling:SetInstanceHealth", arn, _resource_tags(tags))


def _create_group(told: Told, existing: Existing) -> Iterator[Request]:
    arn, _ = existing.group(told[_GROUP])
    yield Request("autoscaling:CreateAutoScalingGroup", arn, _request_tags(told.get("Tags", [])))
    yield from _run_instances({"LaunchTemplate": told["LaunchTemplate"]}, existing)
    if any(hook.get("RoleARN") for hook in told.get("LifecycleHookSpecificationList", [])):
        yield _pass_role("autoscaling.amazonaws.com")


# Systems Manager, CloudWatch, Elastic Load Balancing, S3


def _of_parameters(action: str) -> Callable[[Told, Existing], Iterator[Request]]:
    def found(told: Told, existing: Existing) -> Iterator[Request]:
        for name in told.get("Names") or [told.get("Name") or told["Path"]]:
            arn = existing.arn("ssm", f"parameter/{name.lstrip('/')}")
            tags = _request_tags(told.get("Tags", []))
            yield Request(f"ssm:{action}", arn, tags)
            if tags:
                yield Request("ssm:AddTagsToResource", arn, tags)

    return found


def _send_command(told: Told, existing: Existing) -> Iterator[Request]:
    document = told["DocumentName"]
    owner = "" if document.startswith("AWS-") else "123456789012"
    yield Request("ssm:SendCommand", f"arn:aws:ssm:{existing.region}:{owner}:document/{document}")
    for id_ in told.get("InstanceIds", []):
        tags = {f"ssm:resourceTag/{key}": value for key, value in existing.tags(id_).items()}
        yield Request("ssm:SendCommand", existing.ec2_arn(id_), tags)
    targets = {one["Key"].removeprefix("tag:"): one["Values"] for one in told.get("Targets", [])}
    if targets:
        tags = {f"ssm:resourceTag/{key}": values[0] for key, values in targets.items() if len(values) == 1}
        yield Request("ssm:SendCommand", existing.arn("ec2", "instance/*"), tags)


def _put_alarm(action: str) -> Callable[[Told, Existing], Iterator[Request]]:
    def found(told: Told, existing: Existing) -> Iterator[Request]:
        actions = {"cloudwatch:AlarmActions": tuple(told.get("AlarmActions", []))}
        yield Request(f"cloudwatch:{action}", existing.arn("cloudwatch", f"alarm:{told['AlarmName']}"), actions)

    return found


def _of_target_group(action: str) -> Callable[[Told, Existing], Iterator[Request]]:
    return lambda told, existing: iter([Request(f"elasticloadbalancing:{action}", told["TargetGroupArn"])])


def _of_s3(method: str, path: str) -> Request:
    bucket, _, key = path.lstrip("/").partition("/")
    if not key:
        return Request({"GET": "s3:ListBucket", "HEAD": "s3:ListBucket"}[method], f"arn:aws:s3:::{bucket}")
    action = {"GET": "GetObject", "HEAD": "GetObject", "PUT": "PutObject", "DELETE": "DeleteObject"}[method]
    return Request(f"s3:{action}", f"arn:aws:s3:::{bucket}/{key}")


_OF_GROUPS = [
    "UpdateAutoScalingGroup",
    "DeleteAutoScalingGroup",
    "CreateOrUpdateTags",
    "DeleteTags",
    "SuspendProcesses",
    "ResumeProcesses",
    "AttachLoadBalancerTargetGroups",
    "DetachLoadBalancerTargetGroups",
    "PutScalingPolicy",
    "PutScheduledUpdateGroupAction",
    "PutNotificationConfiguration",
    "SetDesiredCapacity",
]
_OF_PARAMETERS = ("PutParameter", "GetParameter", "GetParameters", "GetParametersByPath", "DeleteParameters")
_OF_TEMPLATES = (
    "CreateLaunchTemplateVersion",
    "ModifyLaunchTemplate",
    "DeleteLaunchTemplate",
    "DeleteLaunchTemplateVersions",
)
_KNOWN: dict[str, Callable[[Told, Existing], Iterator[Request]]] = {
    **{f"autoscaling:{action}": _of_group(action) for action in _OF_GROUPS},
    "autoscaling:CreateAutoScalingGroup": _create_group,
    "autoscaling:SetInstanceHealth": _set_health,
    **{f"ec2:{action}": _of_template(action) for action in _OF_TEMPLATES},
    "ec2:CreateLaunchTemplate": lambda told, existing: _new("CreateLaunchTemplate", "launch-template", told, existing),
    "ec2:TerminateInstances": _by_id("TerminateInstances", "InstanceIds"),
    "ec2:StopInstances": _by_id("StopInstances", "InstanceIds"),
    "ec2:GetConsoleOutput": _by_id("GetConsoleOutput", "InstanceId"),
    "ec2:DescribeImageAttribute": _by_id("DescribeImageAttribute", "ImageId"),
    "ec2:DeleteSnapshot": _by_id("DeleteSnapshot", "SnapshotId"),
    "ec2:DeleteSecurityGroup": _by_id("DeleteSecurityGroup", "GroupId"),
    "ec2:AuthorizeSecurityGroupIngress": _by_id("AuthorizeSecurityGroupIngress", "GroupId"),
    "ec2:DeleteTags": _delete_tags,
    "ec2:DeregisterImage": _deregister_image,
    "ec2:CreateTags": _create_tags,
    "ec2:CreateImage": _create_image,
    "ec2:CreateSecurityGroup": _create_security_group,
    "ec2:CreateKeyPair": _of_key_pair("CreateKeyPair", new=True),
    "ec2:ImportKeyPair": _of_key_pair("ImportKeyPair", new=True),
    "ec2:DeleteKeyPair": _of_key_pair("DeleteKeyPair", new=False),
    "ec2:RunInstances": _run_instances,
    **{f"ssm:{action}": _of_parameters(action) for action in _OF_PARAMETERS},
    "ssm:SendCommand": _send_command,
    "ssm:CancelCommand": lambda told, existing: iter([Request("ssm:CancelCommand")]),
    "cloudwatch:PutMetricAlarm": _put_alarm("PutMetricAlarm"),
    "cloudwatch:PutCompositeAlarm": _put_alarm("PutCompositeAlarm"),
    "elasticloadbalancing:RegisterTargets": _of_target_group("RegisterTargets"),
    "elasticloadbalancing:DeregisterTargets": _of_target_group("DeregisterTargets"),
}
