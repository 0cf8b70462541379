"""What actions are allowed on: resources and conditions, each with the name of its statement.

Which action takes which resource and which key is said by AWS's Service Authorization Reference; a test compares.
"""

from collections.abc import Collection

from nodepkg.permissions.statement import Condition, Statement

_MANAGED = "nodepkg:managed"
OWN = Condition("StringEquals", f"aws:ResourceTag/{_MANAGED}", ("true",))
# What is made carries the tag from the beginning, and what is tagged gets it.
TAGGED_OWN = Condition("StringEquals", f"aws:RequestTag/{_MANAGED}", ("true",))


def look(*actions: str) -> Statement:
    """Reading that AWS does not narrow."""
    return Statement("Look", frozenset(actions))


# Parameters.


def image_parameters() -> Statement:
    """Images that a launch template names by parameters, whosever those are."""
    return Statement("ReadImageParameters", frozenset({"ssm:GetParameters"}), ("ssm:parameter/*",))


def leases(*actions: str) -> Statement:
    """Who has a group, or the name of an instance."""
    return Statement("Leases", frozenset(actions), ("ssm:parameter/nodepkg/lease/*",))


# EC2.


def own_images(*actions: str) -> Statement:
    return Statement("ChangeOwn", frozenset(actions), ("ec2:image/*", "ec2:snapshot/*"), (OWN,))


def tagged_images() -> Statement:
    """An image that Packer made, or that is adopted."""
    return Statement("TagAsOwn", frozenset({"ec2:CreateTags"}), ("ec2:image/*", "ec2:snapshot/*"), (TAGGED_OWN,))


def notes(kind: str, keys: Collection[str], *actions: str) -> Statement:
    """Tags of our own on what is ours, but for the one that says so. `keys` may be patterns."""
    only = Condition("ForAllValues:StringLike", "aws:TagKeys", tuple(sorted(keys)))
    return Statement("NotesOnOwn", frozenset(actions), (f"ec2:{kind}/*",), (OWN, only))


def new_templates() -> Statement:
    created = frozenset({"ec2:CreateLaunchTemplate"})
    return Statement("CreateAsOwn", created, ("ec2:launch-template/*",), (TAGGED_OWN,))


def own_templates(*actions: str) -> Statement:
    return Statement("ChangeOwn", frozenset(actions), ("ec2:launch-template/*",), (OWN,))


def tagged_at_creation(*creations: str) -> Statement:
    """Tags that a call gives to what it makes."""
    made_by = Condition("StringEquals", "ec2:CreateAction", tuple(sorted(creations)))
    return Statement("TagAtCreation", frozenset({"ec2:CreateTags"}), ("ec2:*/*",), (made_by,))


_LAUNCHED_WITH = ("image", "key-pair", "network-interface", "security-group", "subnet", "volume")


def started_from_own_templates() -> tuple[Statement, ...]:
    """What Auto Scaling starts for whoever makes or changes a group: it has the caller checked for it."""
    run = frozenset({"ec2:RunInstances"})
    kinds = tuple(f"ec2:{kind}/*" for kind in ("instance", *_LAUNCHED_WITH))
    through = Condition("ArnLike", "ec2:LaunchTemplate", ("arn:aws:ec2:*:*:launch-template/*",))
    return (
        Statement("ChangeOwn", run, ("ec2:launch-template/*",), (OWN,)),
        Statement("StartFromTemplates", run, kinds, (through,)),
        tagged_at_creation("RunInstances"),
    )


def started_tagged() -> tuple[Statement, ...]:
    """Instances that are started one by one, each tagged as nodepkg's."""
    run, others = frozenset({"ec2:RunInstances"}), tuple(f"ec2:{kind}/*" for kind in _LAUNCHED_WITH)
    return (
        Statement("CreateAsOwn", run, ("ec2:instance/*",), (TAGGED_OWN,)),
        Statement("CreateFrom", run, others),
        tagged_at_creation("RunInstances"),
    )


def own_instances(*actions: str) -> Statement:
    return Statement("ChangeOwn", frozenset(actions), ("ec2:instance/*",), (OWN,))


def passed_roles(*services: str) -> Statement:
    """The role of an instance profile (or of a lifecycle hook): nodes.json names the profile, not the role."""
    to = Condition("StringEquals", "iam:PassedToService", tuple(sorted(services)))
    return Statement("PassRoles", frozenset({"iam:PassRole"}), ("iam:role/*",), (to,))


# What Packer makes for a build.


def images_of_own_instances() -> tuple[Statement, ...]:
    create = frozenset({"ec2:CreateImage"})
    return (
        Statement("ChangeOwn", create, ("ec2:instance/*",), (OWN,)),
        Statement("CreateFrom", create, ("ec2:image/*", "ec2:snapshot/*")),
    )


def build_key_pairs(*actions: str) -> Statement:
    """Their names are ours, so they need no tag."""
    return Statement("KeyPairsOfBuilds", frozenset(actions), ("ec2:key-pair/nodepkg-*",))


def new_security_groups() -> tuple[Statement, ...]:
    create = frozenset({"ec2:CreateSecurityGroup"})
    return (
        Statement("CreateAsOwn", create, ("ec2:security-group/*",), (TAGGED_OWN,)),
        Statement("CreateSecurityGroupsIn", create, ("ec2:vpc/*",)),
    )


def own_security_groups(*actions: str) -> Statement:
    return Statement("ChangeOwn", frozenset(actions), ("ec2:security-group/*",), (OWN,))


def tagged_security_groups() -> Statement:
    """packer:sweep tags one that it is about to delete."""
    tags = frozenset({"ec2:CreateTags"})
    return Statement("TagAsOwn", tags, ("ec2:security-group/*",), (TAGGED_OWN,))


def untagged_security_groups() -> Statement:
    """What Packer before 1.7 makes without tags, so that nothing tells its own groups from others."""
    actions = frozenset({"ec2:AuthorizeSecurityGroupIngress", "ec2:CreateSecurityGroup", "ec2:DeleteSecurityGroup"})
    return Statement("AnySecurityGroupForOldPacker", actions, ("ec2:security-group/*",))


# Auto Scaling, CloudWatch.

_GROUPS = ("autoscaling:autoScalingGroup:*",)


def new_groups() -> Statement:
    return Statement("CreateAsOwn", frozenset({"autoscaling:CreateAutoScalingGroup"}), _GROUPS, (TAGGED_OWN,))


def role_of_first_group() -> Statement:
    """Auto Scaling makes this role with the account's first group."""
    linked = Condition("StringEquals", "iam:AWSServiceName", ("autoscaling.amazonaws.com",))
    role = "iam:role/aws-service-role/autoscaling.amazonaws.com/*"
    return Statement("RoleOfFirstGroup", frozenset({"iam:CreateServiceLinkedRole"}), (role,), (linked,))


def own_groups(*actions: str) -> Statement:
    return Statement("ChangeOwn", frozenset(f"autoscaling:{name}" for name in actions), _GROUPS, (OWN,))


def scaling_alarms() -> Statement:
    """Alarms that invoke a scaling policy: one of a copied policy is pointed to it."""
    policies = ("arn:aws:autoscaling:*:*:scalingPolicy:*",)
    invokes = Condition("ForAnyValue:StringLike", "cloudwatch:AlarmActions", policies)
    return Statement(
        "PointScalingAlarms", frozenset({"cloudwatch:PutMetricAlarm"}), ("cloudwatch:alarm:*",), (invokes,)
    )


# Single instances, and deploys.


def imported_key_pairs() -> Statement:
    imported = frozenset({"ec2:ImportKeyPair"})
    return Statement("CreateAsOwn", imported, ("ec2:key-pair/nodepkg-*",), (TAGGED_OWN,))


def targets(*actions: str) -> Statement:
    """Target groups are the user's, so they have no tag of ours."""
    return Statement("LeaveAndJoinTargetGroups", frozenset(actions), ("elasticloadbalancing:targetgroup/*",))


def commands_on_own_instances() -> tuple[Statement, ...]:
    """AWS narrows neither what is asked of commands nor their end."""
    send = frozenset({"ssm:SendCommand"})
    own = Condition("StringEquals", f"ssm:resourceTag/{_MANAGED}", ("true",))
    return (
        Statement("RunShellScripts", send, ("ssm:document/AWS-RunShellScript",)),
        Statement("RunOnOwnInstances", send, ("ec2:instance/*",), (own,)),
        Statement("CancelCommands", frozenset({"ssm:CancelCommand"})),
    )


def bundles(buckets: Collection[str]) -> Statement:
    """In the buckets that nodes.json names; in any, if it names none."""
    names = sorted(buckets) or ["*"]
    actions = frozenset({"s3:GetObject", "s3:ListBucket", "s3:PutObject"})
    return Statement("Bundles", actions, tuple(f"s3:{name}{of}" for name in names for of in ("", "/nodepkg/*")))
