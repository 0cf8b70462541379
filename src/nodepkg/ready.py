"""When a node serves. Pure: values in, values out."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from string import ascii_letters, digits

from nodepkg.clients.aws.ec2 import Address

_AS_THEY_ARE = frozenset(f"{ascii_letters}{digits}-._~".encode())


@dataclass(frozen=True)
class Health:
    """What the nodes of a group are asked: autoscale.health_url, or "" for nothing, and seconds for the answer."""

    url: str = ""
    timeout: float = 5.0


def address(template: str, node: Address) -> str:
    """The health_url of a node, whose fields the template may name; "" if it has not all that the template names."""
    for field, value in asdict(node).items():
        place = f"{{{field}}}"
        if place in template:
            if not value:
                return ""
            template = template.replace(place, _quoted(value))
    return template


def _quoted(value: str) -> str:
    """As a part of a URL: whatever a tag holds, it adds no part of its own."""
    return "".join(chr(byte) if byte in _AS_THEY_ARE else f"%{byte:02X}" for byte in value.encode())


def unready(*, lifecycle: str, health: str, checks: str, answer: str) -> str:
    """Why a node is not ready, the first of the reasons; "" if it is, and only its target groups have a say still.

    `lifecycle`, `health` and `checks` (the worst of EC2's status checks) are in AWS's words; `answer` is what is wrong
    with its answer to health_url, "" for nothing.
    """
    if lifecycle != "InService":
        return lifecycle
    if health.lower() != "healthy":
        return health
    if checks != "ok":
        return f"status checks {checks or 'not known'}"
    return f"health_url: {answer}" if answer else ""


def unhealthy_in(targets: Mapping[str, str]) -> str:
    """The first target group in which a node is not healthy, with its state there; "" if there is none.

    `targets`: ARN -> state, "" where it is not registered.
    """
    return next((f"{state or 'not'} in {_name(arn)}" for arn, state in targets.items() if state != "healthy"), "")


def _name(arn: str) -> str:
    """The name of a target group: arn:…:targetgroup/NAME/ID."""
    parts = arn.split("/")
    return parts[1] if len(parts) == 3 else arn
