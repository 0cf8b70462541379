"""Who this node is: its instance id, and the address that it announces."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nodepkg.clients.metadata import Identity, identity
from nodepkg.errors import ConfigError
from nodepkg.services.registry import ThisNode
from nodepkg.services.terms import Terms


@dataclass(frozen=True)
class Said:
    """What the command line says of this node; "" for what EC2 is to be asked."""

    instance: str = ""
    address: str = ""
    zone: str = ""


def this_node(terms: Terms, said: Said, agent: str, home: Path, environ: Mapping[str, str]) -> ThisNode:
    """This node as it announces itself. Raises ToolError if EC2 has to be asked, and does not answer."""
    known = Identity(said.instance, said.address, "", "", said.zone)
    if not (said.instance and said.address):
        known = identity(environ)
    instance = said.instance or known.instance_id
    if "/" in instance:
        raise ConfigError(f"{instance!r} is no id of an instance: it is a part of a key")
    address = said.address or _address(terms.address, known)
    return ThisNode(instance, terms.group, address, said.zone or known.zone, bundle_digest(home), agent)


def bundle_digest(home: Path) -> str:
    """The digest of the bundle that a deploy left here, "" if none has: the first word of its record."""
    try:
        words = (home / "bundle").read_text(encoding="utf-8").split()
    except (OSError, ValueError):
        return ""
    return words[0] if words and words[-1] == "." else ""


def _address(template: str, known: Identity) -> str:
    for name in known.__dataclass_fields__:
        value = getattr(known, name)
        if f"{{{name}}}" in template and not value:
            raise ConfigError(f"services.address names {name}, and this node has none", hint="--address says it")
        template = template.replace(f"{{{name}}}", value)
    return template
