"""What stands in the registry: its keys, and the values below them, read and written. Pure."""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar


@dataclass(frozen=True)
class Keys:
    """The keys below a prefix such as /nodepkg."""

    prefix: str

    @property
    def services(self) -> str:
        return f"{self.prefix}/services/"

    def providers(self, service: str) -> str:
        return f"{self.services}{service}/"

    def provider(self, service: str, instance: str) -> str:
        return f"{self.providers(service)}{instance}"

    @property
    def all_leaving(self) -> str:
        return f"{self.prefix}/leaving/"

    def leaving(self, instance: str) -> str:
        return f"{self.all_leaving}{instance}"

    @property
    def all_consumers(self) -> str:
        return f"{self.prefix}/consumers/"

    def consumer(self, service: str, instance: str) -> str:
        return f"{self.all_consumers}{service}/{instance}"

    def nodes(self, group: str) -> str:
        return f"{self.prefix}/nodes/{group}/"

    def node(self, group: str, instance: str) -> str:
        return f"{self.nodes(group)}{instance}"

    def pace(self, group: str) -> str:
        """Below it stands who of a group may converge: slot/0, slot/1, …, canary and proven."""
        return f"{self.prefix}/pace/{group}/"


@dataclass(frozen=True)
class Provider:
    """One instance that announces a service. `since` is an ISO time, `agent` whose announcement it is."""

    instance: str
    group: str
    address: str
    port: int | None
    zone: str
    since: str
    digest: str
    agent: str


@dataclass(frozen=True)
class Leaving:
    """An instance that is about to go: with all its services, or with some. `by` says who announced it."""

    instance: str
    by: str
    since: str
    services: tuple[str, ...] | None = None

    def takes(self, service: str) -> bool:
        return self.services is None or service in self.services

    def with_all_of(self, other: "Leaving") -> "Leaving":
        """What both take away, as the first of them announced it."""
        if self.services is None or other.services is None:
            return replace(self, services=None)
        return replace(self, services=tuple(dict.fromkeys((*self.services, *other.services))))


@dataclass(frozen=True)
class Node:
    """An agent that runs: the node's group and address, and the services that its run list has."""

    instance: str
    group: str
    address: str
    zone: str
    digest: str
    agent: str
    services: tuple[str, ...]


def written(entry: "Provider | Leaving | Node") -> str:
    """The value of its key."""
    return json.dumps(asdict(entry), separators=(",", ":"), ensure_ascii=False)


def provider(value: str) -> Provider | None:
    """None for a value that is none: whatever stands in etcd is data, and harms nobody."""
    return _read(Provider, value)


def leaving(key: str, value: str) -> Leaving:
    """One that cannot be read leaves with everything: the key alone says so."""
    return _read(Leaving, value) or Leaving(key.rpartition("/")[2], "somebody", "")


def node(value: str) -> Node | None:
    return _read(Node, value)


def owner(value: str) -> Provider | Node | None:
    """Whose key it is."""
    return provider(value) or node(value)


Entry = TypeVar("Entry", Provider, Leaving, Node)
_HALF = re.compile("[\ud800-\udfff]")
_TYPES: Mapping[str, tuple[type, ...]] = {"port": (int, type(None)), "services": (list, type(None))}


def _read(kind: type[Entry], value: str) -> Entry | None:
    try:
        document = json.loads(value)
        fields: dict[str, Any] = {name: document.get(name) for name in kind.__dataclass_fields__}
    except (ValueError, AttributeError, RecursionError):
        return None
    if not all(isinstance(field, _TYPES.get(name, (str,))) for name, field in fields.items()):
        return None
    if (port := fields.get("port")) is not None and (isinstance(port, bool) or not 0 < port < 65536):
        return None
    if fields.get("services") is not None:
        fields["services"] = tuple(str(name) for name in fields["services"])
    # JSON can say half a character, which no file and no terminal takes.
    if any(_HALF.search(text) for text in (*fields.values(), *(fields.get("services") or ())) if isinstance(text, str)):
        return None
    return kind(**fields)
