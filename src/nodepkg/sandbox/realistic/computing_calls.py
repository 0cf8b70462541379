"""EC2's calls that moto answers too simply: status checks; and what a ClientToken makes of a repeated request."""

from collections.abc import Mapping
from typing import Any

from werkzeug.wrappers import Response

from nodepkg.sandbox.calls import Call
from nodepkg.sandbox.realistic.errors import AwsRefusalError
from nodepkg.sandbox.realistic.world import World

Arguments = Mapping[str, Any]
ENDING = ("TerminateInstances", "StopInstances", "StartInstances")
_REMEMBERED = ("RunInstances", "CreateLaunchTemplate", "CreateLaunchTemplateVersion")
_OK, _INITIALIZING, _IMPAIRED = ("ok", "passed"), ("initializing", "initializing"), ("impaired", "failed")


def describe_status(world: World, arguments: Arguments) -> dict[str, Any]:
    """Of running instances only, unless all are asked for."""
    names = arguments.get("InstanceIds", [])
    there = {one.id: one for found in world.ec2.reservations.values() for one in found.instances}
    missing = [name for name in names if name not in there]
    if missing:
        some = f"ID '{missing[0]}' does" if len(missing) == 1 else f"IDs '{', '.join(missing)}' do"
        raise AwsRefusalError("InvalidInstanceID.NotFound", f"The instance {some} not exist")
    instances = [there[name] for name in names] if names else list(there.values())
    if not arguments.get("IncludeAllInstances"):
        instances = [one for one in instances if one.state == "running"]
    told = [_told(world, one) for one in instances]
    for wanted in arguments.get("Filters", []):
        told = [one for one in told if _value(one, wanted["Name"]) in wanted["Values"]]
    return {"InstanceStatuses": told}


def _told(world: World, instance: Any) -> dict[str, Any]:
    found = world.node(instance.id)
    checks = found[1].checks if found else "ok"
    status, result = {"ok": _OK, "impaired": _IMPAIRED}.get(checks, _INITIALIZING)
    if instance.state != "running":
        status, result = "not-applicable", ""
    details = [{"Name": "reachability", "Status": result}] if result else None
    return {
        "AvailabilityZone": instance.placement.zone if hasattr(instance.placement, "zone") else instance.placement,
        "InstanceId": instance.id,
        "InstanceState": {"Code": instance._state.code, "Name": instance.state},
        "InstanceStatus": {"Status": status, "Details": details},
        "SystemStatus": {"Status": status, "Details": details},
    }


def _value(told: Mapping[str, Any], name: str) -> str:
    values = {
        "instance-state-name": told["InstanceState"]["Name"],
        "instance-status.status": told["InstanceStatus"]["Status"],
        "system-status.status": told["SystemStatus"]["Status"],
        "availability-zone": told["AvailabilityZone"],
    }
    if name not in values:
        raise AwsRefusalError("InvalidParameterValue", f"The filter '{name}' is invalid")
    return str(values[name])


class Tokens:
    """What requests with a ClientToken were answered."""

    def __init__(self) -> None:
        self._answers: dict[tuple[str, str, str], tuple[Mapping[str, Any], bytes]] = {}

    def answer(self, call: Call) -> Response | None:
        """The former answer; None for what is new. Raises IdempotentParameterMismatch."""
        found = self._answers.get(self._key(call)) if self._is_remembered(call) else None
        if found is None:
            return None
        parameters, body = found
        if parameters != call.parameters:
            told = "The client token is already used with different parameters of the request."
            raise AwsRefusalError("IdempotentParameterMismatch", told)
        return Response(body, 200, mimetype="text/xml")

    def remember(self, call: Call, response: Response) -> None:
        """What was refused may be tried again."""
        if self._is_remembered(call) and response.status_code == 200:
            self._answers[self._key(call)] = (dict(call.parameters), response.get_data())

    def _is_remembered(self, call: Call) -> bool:
        return call.service == "ec2" and call.action in _REMEMBERED and bool(call.parameters.get("ClientToken"))

    def _key(self, call: Call) -> tuple[str, str, str]:
        return call.region, call.action, str(call.parameters["ClientToken"])


CALLS = {"DescribeInstanceStatus": describe_status}
