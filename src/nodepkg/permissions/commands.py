"""Which command needs what. A command that talks to AWS and is not here is found by a test."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase

from nodepkg.errors import UsageError
from nodepkg.permissions import scopes
from nodepkg.permissions.statement import Statement

_EC2 = "ec2.amazonaws.com"
_LEASE = ("ssm:GetParametersByPath", "ssm:PutParameter", "ssm:DeleteParameters", "ssm:AddTagsToResource")


@dataclass(frozen=True)
class Facts:
    """On what a policy depends besides the commands.

    `buckets` are those of nodes.json (`deploy.bucket`); `old_packer`: Packer is older than 1.7.
    """

    buckets: tuple[str, ...] = ()
    old_packer: bool = False


# What refers to images: packer:list, clean and delete.
_PICTURE = (
    scopes.look(
        "ec2:DescribeImages",
        "ec2:DescribeInstances",
        "ec2:DescribeLaunchTemplateVersions",
        "ec2:DescribeSnapshots",
        "autoscaling:DescribeAutoScalingGroups",
        "autoscaling:DescribeLaunchConfigurations",
    ),
    scopes.image_parameters(),
)
_DELETE_IMAGES = (
    *_PICTURE,
    scopes.look("ec2:DescribeImageAttribute"),
    scopes.own_images("ec2:DeregisterImage", "ec2:DeleteSnapshot"),
)
_LEFTOVERS = (
    scopes.look("ec2:DescribeImages", "ec2:DescribeInstances", "ec2:DescribeKeyPairs", "ec2:DescribeSecurityGroups"),
)
# Where a group's nodes are placed.
_PLACES = (scopes.look("ec2:DescribeInstanceTypeOfferings", "ec2:DescribeSecurityGroups", "ec2:DescribeSubnets"),)
# How they are started.
_LAUNCH = (
    *_PLACES,
    scopes.look(
        "ec2:DescribeImages",
        "ec2:DescribeLaunchTemplates",
        "ec2:DescribeLaunchTemplateVersions",
        "elasticloadbalancing:DescribeTargetGroups",
    ),
)
_NODES = (scopes.look("ec2:DescribeInstanceStatus", "elasticloadbalancing:DescribeTargetHealth"),)
# Whether nodes serve, and why they are missing.
_READINESS = (*_NODES, scopes.look("autoscaling:DescribeScalingActivities", "ec2:DescribeInstances"))
_GROUPS = (scopes.look("autoscaling:DescribeAutoScalingGroups"),)
_CLAIM = (scopes.leases(*_LEASE, "ssm:GetParameters"),)
_CREATE = (
    *_LAUNCH,
    scopes.new_templates(),
    scopes.own_templates("ec2:CreateLaunchTemplateVersion"),
    scopes.tagged_at_creation("CreateLaunchTemplate"),
    scopes.new_groups(),
    scopes.role_of_first_group(),
    *scopes.started_from_own_templates(),
    scopes.passed_roles(_EC2),
    scopes.notes("image", {"nodepkg:served"}, "ec2:CreateTags"),
)
# A default version, and no versions that nobody uses.
_TIDY_TEMPLATE = scopes.own_templates("ec2:ModifyLaunchTemplate", "ec2:DeleteLaunchTemplateVersions")
# What hangs on a group, and its rollout.
_ROLLOUT = (
    *_GROUPS,
    *_READINESS,
    *_CLAIM,
    scopes.look(
        "autoscaling:DescribeInstanceRefreshes",
        "autoscaling:DescribeNotificationConfigurations",
        "autoscaling:DescribePolicies",
        "autoscaling:DescribeScheduledActions",
        "cloudwatch:DescribeAlarms",
        "ec2:DescribeImages",
        "ec2:DescribeLaunchTemplates",
        "ec2:DescribeLaunchTemplateVersions",
    ),
    scopes.own_groups(
        "AttachLoadBalancerTargetGroups",
        "CreateOrUpdateTags",
        "DeleteAutoScalingGroup",
        "DeleteTags",
        "DetachLoadBalancerTargetGroups",
        "PutNotificationConfiguration",
        "PutScalingPolicy",
        "PutScheduledUpdateGroupAction",
        "ResumeProcesses",
        "SuspendProcesses",
        "UpdateAutoScalingGroup",
    ),
    _TIDY_TEMPLATE,
    scopes.scaling_alarms(),
    scopes.notes("image", {"nodepkg:served"}, "ec2:CreateTags"),
)
_SIZES = (*_GROUPS, *_CLAIM, scopes.own_groups("UpdateAutoScalingGroup"))

COMMANDS: Mapping[str, tuple[Statement, ...]] = {
    "group:status": (
        scopes.look(
            "autoscaling:DescribeAutoScalingGroups", "ec2:DescribeImages", "ec2:DescribeLaunchTemplateVersions"
        ),
    ),
    "packer:run": (
        *_LEFTOVERS,
        scopes.look("ec2:DescribeRegions", "ec2:DescribeSubnets", "ec2:DescribeVolumes", "ec2:DescribeVpcs"),
        scopes.look("iam:GetInstanceProfile"),
        *scopes.started_tagged(),
        scopes.own_instances("ec2:StopInstances", "ec2:TerminateInstances"),
        *scopes.images_of_own_instances(),
        scopes.tagged_images(),
        scopes.build_key_pairs("ec2:CreateKeyPair", "ec2:DeleteKeyPair"),
        *scopes.new_security_groups(),
        scopes.own_security_groups("ec2:AuthorizeSecurityGroupIngress", "ec2:DeleteSecurityGroup"),
        scopes.tagged_at_creation("CreateImage", "CreateKeyPair", "CreateSecurityGroup"),
        scopes.passed_roles(_EC2),
    ),
    "packer:clean": _DELETE_IMAGES,
    "packer:delete": _DELETE_IMAGES,
    "packer:list": _PICTURE,
    "packer:sweep": (
        *_LEFTOVERS,
        scopes.own_instances("ec2:TerminateInstances"),
        scopes.build_key_pairs("ec2:DeleteKeyPair"),
        scopes.tagged_security_groups(),
        scopes.own_security_groups("ec2:DeleteSecurityGroup"),
    ),
    "packer:adopt": (scopes.look("ec2:DescribeImages"), scopes.tagged_images()),
    "autoscale:run": (
        *_GROUPS,
        *_READINESS,
        *_CLAIM,
        *_CREATE,
        _TIDY_TEMPLATE,
    ),
    "autoscale:update": (
        *_ROLLOUT,
        *_CREATE,
        scopes.look("autoscaling:DescribeLifecycleHooks"),
        scopes.passed_roles("autoscaling.amazonaws.com"),
    ),
    "autoscale:rollback": _ROLLOUT,
    "autoscale:status": (
        *_GROUPS,
        *_NODES,
        scopes.look("ec2:DescribeImages", "ec2:DescribeLaunchTemplateVersions"),
        scopes.leases("ssm:GetParametersByPath"),
    ),
    "autoscale:resize": _SIZES,
    "autoscale:stop": (*_SIZES, scopes.own_groups("CreateOrUpdateTags", "SuspendProcesses")),
    "autoscale:start": (*_SIZES, *_READINESS, scopes.own_groups("DeleteTags", "ResumeProcesses")),
    "autoscale:delete": (
        *_SIZES,
        *_NODES,
        scopes.look("ec2:DescribeLaunchTemplates"),
        scopes.own_groups("DeleteAutoScalingGroup", "DetachLoadBalancerTargetGroups", "SuspendProcesses"),
        scopes.own_templates("ec2:DeleteLaunchTemplate"),
    ),
    "instance:create": (
        *_PLACES,
        scopes.look("ec2:DescribeImages", "ec2:DescribeInstances", "ec2:DescribeKeyPairs"),
        scopes.leases(*_LEASE, "ssm:GetParameters"),
        scopes.imported_key_pairs(),
        *scopes.started_tagged(),
        scopes.tagged_at_creation("ImportKeyPair"),
        scopes.notes("instance", {"nodepkg:phase", "nodepkg:run"}, "ec2:DeleteTags"),
        scopes.passed_roles(_EC2),
    ),
    "instance:list": (
        *_GROUPS,
        scopes.look("ec2:DescribeImages", "ec2:DescribeInstances", "ec2:DescribeInstanceStatus"),
    ),
    "instance:delete": (
        scopes.look("ec2:DescribeInstances"),
        scopes.leases(*_LEASE, "ssm:GetParameters"),
        scopes.own_instances("ec2:TerminateInstances"),
    ),
    "instance:ssh": (scopes.look("ec2:DescribeInstances"),),
    "instance:deploy": (
        *_GROUPS,
        *_NODES,
        *_CLAIM,
        scopes.look("ec2:DescribeInstances"),
        scopes.own_instances("ec2:GetConsoleOutput"),
        scopes.notes("instance", {"nodepkg:drained*"}, "ec2:CreateTags", "ec2:DeleteTags"),
        scopes.targets("elasticloadbalancing:DeregisterTargets", "elasticloadbalancing:RegisterTargets"),
        scopes.own_groups(
            "CreateOrUpdateTags", "DeleteTags", "ResumeProcesses", "SetInstanceHealth", "SuspendProcesses"
        ),
        scopes.look(
            "ssm:DescribeInstanceInformation",
            "ssm:ListCommandInvocations",
            "ssm:ListCommands",
        ),
        *scopes.commands_on_own_instances(),
    ),
}


def chosen(patterns: Sequence[str]) -> list[str]:
    """The commands that the patterns (names or globs; none: all) mean, in the order of COMMANDS.

    Raises UsageError for a pattern that means none.
    """
    found = set[str]() if patterns else set(COMMANDS)
    for pattern in patterns:
        matched = {name for name in COMMANDS if fnmatchcase(name, pattern)}
        if not matched:
            raise _no_such_command(pattern)
        found |= matched
    return [name for name in COMMANDS if name in found]


def needed(names: Sequence[str], facts: Facts) -> list[Statement]:
    """What these commands need; not merged."""
    statements = [statement for name in names for statement in COMMANDS[name]]
    if facts.old_packer and "packer:run" in names:
        statements.append(scopes.untagged_security_groups())
    if "instance:deploy" in names:
        statements.append(scopes.bundles(facts.buckets))
    return statements


def _no_such_command(pattern: str) -> UsageError:
    nearest = get_close_matches(pattern, COMMANDS, n=3, cutoff=0.4)
    hint = f"did you mean {', '.join(nearest)}?" if nearest else f"they are: {', '.join(COMMANDS)}"
    return UsageError(f"no command {pattern} talks to AWS", hint=hint)
