"""What a node remembers of services, on disk: so that it can go on without the registry, and after a crash."""

import json
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from nodepkg.clients import supervised
from nodepkg.durable import write_through
from nodepkg.errors import RefusedError
from nodepkg.services import entries
from nodepkg.services.entries import Provider
from nodepkg.services.view import Belief

HOME = Path(supervised.HOME)
FOLDER = "services"


@dataclass(frozen=True)
class State:
    """`agent` tells this node's announcements from those of others with the same id.

    `attributes`: what the last converge that succeeded was given, None before the first; `good`: the lists that were
    believed last; `provided`: the services that were announced; `retiring`: those of them that have left the run list
    and are still to be deleted; `run`: the token of a converge that was begun, and not seen to end, with what it was
    given and the lease of its slot.
    """

    agent: str
    attributes: Mapping[str, Any] | None = None
    good: Mapping[str, Mapping[str, Provider]] = field(default_factory=dict)
    provided: tuple[str, ...] = ()
    retiring: tuple[str, ...] = ()
    run: str = ""
    run_attributes: Mapping[str, Any] | None = None
    run_slot: int = 0

    def believed(self, beliefs: Mapping[str, Belief]) -> "State":
        return replace(self, good={service: dict(belief.good) for service, belief in beliefs.items()})

    @property
    def idle(self) -> "State":
        """When nothing runs any more."""
        return replace(self, run="", run_attributes=None, run_slot=0)


def new() -> State:
    """Of a node that knows nothing yet."""
    return State(secrets.token_hex(8))


class StateFile:
    """HOME/services/state.json. `damaged` says what is wrong with one that cannot be read: it is as if it were new."""

    def __init__(self, home: Path) -> None:
        self.folder = home / FOLDER
        self.path = self.folder / "state.json"
        self.damaged = ""

    def read(self) -> State:
        """Raises RefusedError if it is there, and may not be read."""
        try:
            return _state(json.loads(self.path.read_bytes()))
        except FileNotFoundError:
            return new()
        except OSError as error:
            raise RefusedError(
                f"{self.path} cannot be read: {error.strerror}", hint="the agent, and what asks for it, run as root"
            ) from error
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            self.damaged = f"{self.path} is damaged, and begun anew: {error}"
            return new()

    def write(self, state: State) -> None:
        """Whole or not at all. Raises RefusedError."""
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            # In ASCII, as a value of the registry may hold half a character.
            write_through(self.path, json.dumps(asdict(state)).encode())
        except OSError as error:
            raise RefusedError(f"{self.path} cannot be written: {error.strerror}") from error


def _state(document: Any) -> State:
    good = {
        service: {name: found for name, one in listed.items() if (found := entries.provider(json.dumps(one)))}
        for service, listed in document["good"].items()
    }
    return State(
        _word(document["agent"]),
        _maps(document["attributes"]),
        good,
        tuple(map(str, document["provided"])),
        tuple(map(str, document["retiring"])),
        str(document["run"]),
        _maps(document["run_attributes"]),
        int(document["run_slot"]),
    )


def _word(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("it does not say whose it is")
    return value


def _maps(value: Any) -> dict[str, Any] | None:
    if value is None:
        return None
    if not all(isinstance(value.get(name, {}), dict) for name in ("services", "available")):
        raise ValueError("attributes are no maps")
    if not all(isinstance(listed, list) for listed in value.get("services", {}).values()):
        raise ValueError("attributes have a service that is no list")
    return dict(value)
