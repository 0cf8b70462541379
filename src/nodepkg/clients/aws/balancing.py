"""Elastic Load Balancing: the health of targets."""

from nodepkg.clients.aws.regional import Regional, unless


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
