"""services.json as the agent has it: what this node announces and needs, and by which rules."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nodepkg.errors import ConfigError
from nodepkg.nodes.names import service_name_problem
from nodepkg.pace import Share, share

# Where a bundle lies on a node unless packer.chef.path says otherwise.
DEFAULT_FILE = Path("/opt/nodepkg/services.json")


@dataclass(frozen=True)
class Where:
    """An address of a service. `port` is None for a service without one."""

    host: str
    port: int | None


@dataclass(frozen=True)
class Check:
    """Either `command` or `url` is set; the times are in seconds."""

    command: str
    url: str
    interval: float
    timeout: float
    rise: int
    fall: int


@dataclass(frozen=True)
class Offer:
    """A service that the node provides."""

    name: str
    port: int | None
    check: Check | None


@dataclass(frozen=True)
class Location:
    """Where the registry is, and how etcd is reached. Paths of files, "" for none."""

    endpoints: tuple[str, ...]
    prefix: str
    ca: str = ""
    certificate: str = ""
    key: str = ""
    user: str = ""
    password_file: str = ""


@dataclass(frozen=True)
class Terms:
    """All of services.json; times are in seconds."""

    group: str
    cookbook: str
    provides: tuple[Offer, ...]
    requires: tuple[str, ...]
    external: Mapping[str, tuple[Where, ...]]
    location: Location
    attribute: str
    address: str
    path: str
    command: str
    ttl: int
    debounce: float
    most_debounce: float
    at_once: Share
    timeout: float
    min_providers: int
    doubt: float

    @property
    def names(self) -> list[str]:
        """The services that the node provides."""
        return [offer.name for offer in self.provides]


def read(path: Path) -> Terms:
    """What the file says; raises ConfigError if it is not there, damaged, or not what group:create writes."""
    try:
        document = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise ConfigError(
            f"{path} is not there: does the group have the key services?",
            hint="package group:create writes it, an image or a deploy brings it; --services names another file",
        ) from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is no JSON: {error}", hint="package group:create writes it anew") from error
    try:
        return _terms(document)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        told = f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)
        raise ConfigError(
            f"{path} is not what group:create writes: {told}",
            hint="package group:create with this version of nodepkg writes it anew",
        ) from error


def _terms(document: dict[str, Any]) -> Terms:
    return Terms(
        group=_text(document["group"]),
        cookbook=_text(document["cookbook"]),
        provides=tuple(_offer(name, value) for name, value in document["provides"].items()),
        requires=tuple(_service(name) for name in _list(document["requires"])),
        external={
            _service(name): tuple(Where(_text(one["host"]), _port(one["port"])) for one in found)
            for name, found in document["external"].items()
        },
        location=location(document),
        attribute=_text(document["attribute"]),
        address=_text(document["address"]),
        path=_text(document["path"]),
        command=_text(document["command"]),
        ttl=_seconds(document["ttl"]),
        debounce=float(document["debounce"]),
        most_debounce=float(document["most_debounce"]),
        at_once=share(str(document["at_once"])),
        timeout=float(document["timeout"]),
        min_providers=int(document["min_providers"]),
        doubt=float(document["doubt"]),
    )


def location(document: Mapping[str, Any]) -> Location:
    """Where the registry is, in the words of services.json and of the key `services` alike."""
    tls = document["tls"]
    return Location(
        endpoints=tuple(_text(endpoint) for endpoint in _list(document["etcd"])),
        prefix=_text(document["prefix"]),
        ca=tls.get("ca") or "",
        certificate=tls.get("cert") or "",
        key=tls.get("key") or "",
        user=document["user"] or "",
        password_file=document["password_file"] or "",
    )


def _offer(name: str, value: Mapping[str, Any]) -> Offer:
    check = value["check"]
    made = None
    if check is not None:
        made = Check(
            check.get("command") or "",
            check.get("http") or "",
            float(check["interval"]),
            float(check["timeout"]),
            int(check["rise"]),
            int(check["fall"]),
        )
    return Offer(_service(name), _port(value["port"]), made)


def _service(name: Any) -> str:
    if problem := service_name_problem(_text(name)):
        raise ValueError(problem)
    return str(name)


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"{value!r} where a text is wanted")
    return value


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list | tuple):
        raise ValueError(f"{value!r} where a list is wanted")
    return list(value)


def _seconds(value: Any) -> int:
    if (seconds := int(value)) < 1:
        raise ValueError(f"{value!r} where seconds are wanted")
    return seconds


def _port(value: Any) -> int | None:
    if value is not None and not (isinstance(value, int) and 0 < value < 65536):
        raise ValueError(f"{value!r} is no port")
    return value
