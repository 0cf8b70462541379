"""When a node serves. Pure: values in, values out."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from string import ascii_letters, digits

_AS_THEY_ARE = frozenset(f"{ascii_letters}{digits}-._~".encode())


@dataclass(frozen=True)
class Address:
    """What a health_url may say of a node; "" for what it has not (yet). `name` is its tag Name."""

    instance_id: str
    private_ip: str = ""
    public_ip: str = ""
    zone: str = ""
    name: str = ""


@dataclass(frozen=True)
class Health:
    """What the nodes of a group are asked: autoscale.health_url, or "" for nothing, and seconds for the answer."""

    url: str = ""
    timeout: float = 5.0


def address(template: str, node: Address) -> str:
    """The health_url of a node; "" if it has not all that the template names."""
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


def unready(*, lifecycle: str, health: str, checks: str, answer: str, targets: Mapping[str, str]) -> str:
    """Why a node does not serve, the first of the reasons; "" if it does.

    `lifecycle`, `health`, `checks` (the worst of EC2's status checks) and `targets` (its health in each attached target
    group) are in AWS's words; `answer` is what is wrong with its answer to health_url, "" for nothing.
    """
    if lifecycle != "InService":
        return lifecycle
    if health.lower() != "healthy":
        return health
    if checks != "ok":
        return f"status checks {checks}"
    if answer:
        return f"health_url: {answer}"
    return next((f"{state} in {_name(arn)}" for arn, state in targets.items() if state != "healthy"), "")


def _name(arn: str) -> str:
    """The name of a target group: arn:…:targetgroup/NAME/ID."""
    parts = arn.split("/")
    return parts[1] if len(parts) == 3 else arn
