"""Elastic Load Balancing: target groups, their targets, and the health of these."""

from collections.abc import Sequence

from nodepkg.clients.aws.account import Account, aws_errors
from nodepkg.clients.aws.regional import Regional, in_parts, unless
from nodepkg.errors import AwsError

TARGETS_OF_ONE = 100  # targets that one call registers or deregisters


class LoadBalancing(Regional):
    """One region's."""

    service = "elbv2"

    def target_health(self, target_group: str) -> dict[str, str]:
        """Instance -> its state in AWS's words (initial, healthy, unhealthy, draining, unused …), by the group's ARN.

        Of one that is registered with several ports a state that is not healthy counts. A target group that is gone has
        no targets.
        """
        states: dict[str, str] = {}
        with unless(f"target health of {target_group}", "TargetGroupNotFound"):
            # AWS gives all of a target group in one answer.
            told = self.client.describe_target_health(TargetGroupArn=target_group)
            for raw in told.get("TargetHealthDescriptions", []):
                instance, state = raw["Target"]["Id"], raw.get("TargetHealth", {}).get("State", "unknown")
                if states.get(instance, "healthy") == "healthy":
                    states[instance] = state
        return states

    def register_targets(self, target_group: str, instances: Sequence[str]) -> None:
        """At the target group's own port. Those that are registered already stay as they are.

        An instance that does not run (any more), and a target group that is gone, are passed over.
        """
        for part in in_parts(instances, TARGETS_OF_ONE):
            try:
                self._register(target_group, part)
            except AwsError as error:
                if error.code != "InvalidTarget":
                    raise
                # It refuses all of them for one.
                for instance in part:
                    with unless(f"register {instance} in {target_group}", "InvalidTarget"):
                        self._register(target_group, [instance])

    def _register(self, target_group: str, instances: Sequence[str]) -> None:
        with unless(f"register targets in {target_group}", "TargetGroupNotFound"):
            self.client.register_targets(TargetGroupArn=target_group, Targets=[{"Id": one} for one in instances])

    def deregister_targets(self, target_group: str, instances: Sequence[str]) -> None:
        """They drain. Those that are not registered are as good; a target group that is gone has none."""
        for part in in_parts(instances, TARGETS_OF_ONE):
            with unless(f"deregister targets of {target_group}", "TargetGroupNotFound", "InvalidTarget"):
                self.client.deregister_targets(TargetGroupArn=target_group, Targets=[{"Id": one} for one in part])


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


def target_groups(account: Account, region: str) -> dict[str, str]:
    """Name -> ARN, of all that the region has."""
    found = account.pages("elbv2", region, "describe_target_groups", "TargetGroups")
    return {raw["TargetGroupName"]: raw["TargetGroupArn"] for raw in found}
