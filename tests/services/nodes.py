"""Nodes for tests of services: their services.json, and who they are."""

import json
from pathlib import Path
from typing import Any

from nodepkg.services.entries import Provider
from nodepkg.services.registry import ThisNode
from nodepkg.services.terms import Terms, read

PREFIX = "/nodepkg"


def document(
    *endpoints: str, group: str = "bee", provides: tuple[str, ...] = (), requires: tuple[str, ...] = (), **more: Any
) -> dict[str, Any]:
    """A services.json as group:create writes it; services have the port 8080, and times are short."""
    checks = more.pop("checks", {})
    return {
        "group": group,
        "cookbook": "svc",
        "provides": {name: {"port": 8080, "check": checks.get(name)} for name in provides},
        "requires": list(requires),
        "external": {},
        "etcd": list(endpoints) or ["http://127.0.0.1:2379"],
        "prefix": PREFIX,
        "tls": {},
        "user": None,
        "password_file": None,
        "attribute": "nodepkg",
        "address": "{private_ip}",
        "path": "/opt/nodepkg",
        "command": "true",
        "ttl": 3,
        "debounce": 0.1,
        "most_debounce": 2,
        "at_once": 1,
        "timeout": 60,
        "min_providers": 1,
        "doubt": 5,
        **more,
    }


def write(file: Path, /, **said: Any) -> Path:
    """The file, from `document`."""
    file.parent.mkdir(parents=True, exist_ok=True)
    endpoints = said.pop("endpoints", ())
    file.write_text(json.dumps(document(*endpoints, **said)), encoding="utf-8")
    return file


def terms(*endpoints: str, **said: Any) -> Terms:
    """The same, read."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        return read(write(Path(folder) / "services.json", endpoints=endpoints, **said))


def provider(instance: str, port: int | None = 8080, group: str = "bee") -> Provider:
    return Provider(
        instance, group, f"host-{instance}", port, "a", "2026-11-30T00:00:00+00:00", "", f"agent-{instance}"
    )


def node(instance: str, group: str = "bee") -> ThisNode:
    return ThisNode(instance, group, f"host-{instance}", "a", "", f"agent-{instance}")
