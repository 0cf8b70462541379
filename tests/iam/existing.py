"""What there is in the embedded AWS that an authorisation depends on: ARNs, and the tags of resources."""

from collections.abc import Mapping
from typing import Any

from moto.autoscaling.models import autoscaling_backends
from moto.core.models import DEFAULT_ACCOUNT_ID as ACCOUNT
from moto.ec2.models import ec2_backends

from nodepkg.sandbox.realistic import Realistic

KINDS = {
    "ami": "image",
    "eni": "network-interface",
    "i": "instance",
    "key": "key-pair",
    "lt": "launch-template",
    "sg": "security-group",
    "snap": "snapshot",
    "subnet": "subnet",
    "vol": "volume",
    "vpc": "vpc",
}


class Existing:
    """One region of the embedded account."""

    def __init__(self, region: str, realistic: Realistic | None) -> None:
        self.region, self._realistic = region, realistic

    @property
    def _ec2(self) -> Any:
        return ec2_backends[ACCOUNT][self.region]

    def arn(self, service: str, resource: str) -> str:
        account = "" if resource.startswith(("image/", "snapshot/")) else ACCOUNT
        return f"arn:aws:{service}:{self.region}:{account}:{resource}"

    def ec2_arn(self, id_: str) -> str:
        """By the id alone, which tells what it is; a key pair's ARN has its name."""
        return self.arn("ec2", f"{KINDS[id_.rpartition('-')[0]]}/{id_}")

    def tags(self, id_: str) -> dict[str, str]:
        """Of something of EC2."""
        return dict(self._ec2.tags.get(id_, {}))

    def key_pair_tags(self, name: str) -> dict[str, str]:
        pair = self._ec2.key_pairs.get(name)
        return self.tags(pair.id) if pair else {}

    def launch_template(self, told: Mapping[str, Any]) -> str:
        """The id of the one that is named; "" if there is none."""
        given: str = told.get("LaunchTemplateId", "")
        return given or self._ec2.launch_template_name_to_ids.get(told.get("LaunchTemplateName"), "")

    def launch_template_data(self, told: Mapping[str, Any]) -> dict[str, Any]:
        """The data of the version that is meant, in the words of the API; empty if there is none."""
        template = self._ec2.launch_templates.get(self.launch_template(told))
        if template is None:
            return {}
        version = told.get("Version") or "$Default"
        number = {"$Default": template.default_version_number, "$Latest": template.latest_version_number}.get(version)
        return dict(template.get_version(int(number or version)).data)

    def snapshots(self, image: str) -> list[str]:
        from nodepkg.sandbox.moto_snapshots import devices_of

        found = self._ec2.amis.get(image)
        return [snapshot.id for _, snapshot in devices_of(found)] if found else []

    def group(self, name: str) -> tuple[str, dict[str, str]]:
        """ARN and tags of an Auto Scaling group; of one that is not there as far as a request tells."""
        arn = self.arn("autoscaling", f"autoScalingGroup:some-id:autoScalingGroupName/{name}")
        if self._realistic:
            found = self._realistic.world(self.region).groups.get(name)
            return arn, {key: tag["Value"] for key, tag in found.tags.items()} if found else {}
        moto = autoscaling_backends[ACCOUNT][self.region].autoscaling_groups.get(name)
        return arn, {tag["key"]: tag["value"] for tag in moto.tags} if moto else {}
