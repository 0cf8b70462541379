"""Lists of instances and of Auto Scaling's things in the pages that AWS gives: moto fails where a page's end went."""

from operator import attrgetter

from moto.autoscaling.responses import AutoScalingResponse
from moto.core.responses import ActionResult
from moto.ec2.exceptions import InvalidParameterCombination
from moto.ec2.responses.instances import InstanceResponse

from nodepkg.sandbox.moto_pages import paged, paged_scaling


def _answer_describe_instances(self: InstanceResponse) -> ActionResult:
    """A page is counted in reservations; those that nodepkg and Packer make have an instance each."""
    self.error_on_dryrun()
    ids, filters = self._get_param("InstanceIds", []), self._filters_from_querystring()
    if ids and self._get_param("MaxResults"):
        raise InvalidParameterCombination("The parameter instancesSet cannot be used with the parameter maxResults")
    if ids:
        found = self.ec2_backend.get_reservations_by_instance_ids(ids, filters=filters)
    else:
        found = self.ec2_backend.describe_instances(filters=filters)
    return paged(self, "Reservations", found, key=attrgetter("id"), most=1000)


def _answer_describe_configurations(self: AutoScalingResponse) -> ActionResult:
    names = self._get_param("LaunchConfigurationNames", [])
    found = self.autoscaling_backend.describe_launch_configurations(names)
    return paged_scaling(self, "LaunchConfigurations", found, key=attrgetter("name"))


def _answer_describe_groups(self: AutoScalingResponse) -> ActionResult:
    names, filters = self._get_param("AutoScalingGroupNames", []), self._get_param("Filters", [])
    found = self.autoscaling_backend.describe_auto_scaling_groups(names, filters=filters)
    return paged_scaling(self, "AutoScalingGroups", found, key=attrgetter("name"))


def install() -> None:
    InstanceResponse.describe_instances = _answer_describe_instances  # type: ignore[method-assign]
    AutoScalingResponse.describe_launch_configurations = _answer_describe_configurations  # type: ignore[method-assign]
    AutoScalingResponse.describe_auto_scaling_groups = _answer_describe_groups  # type: ignore[method-assign]
