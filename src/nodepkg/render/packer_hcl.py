"""Packer templates in HCL2, for Packer 1.7 and newer."""

from collections.abc import Iterator
from typing import Any

from nodepkg.nodes.group import Group
from nodepkg.nodes.rules import CLOSED_BUILDS
from nodepkg.render.hclformat import formatted
from nodepkg.render.hcltext import Expression, HclError, escaped, parts, read
from nodepkg.render.packer_language import Rendered, literal

# Blocks of a builder that may stand more than once (the amazon plugin's builder/ebs/builder.hcl2spec.go).
REPEATED = frozenset(
    {
        "Statement",
        "ami_block_device_mappings",
        "filter",
        "fleet_tag",
        "launch_block_device_mappings",
        "license_specifications",
        "run_tag",
        "run_volume_tag",
        "snapshot_tag",
        "spot_tag",
        "tag",
    }
)
OWN_VARIABLES = frozenset({"nodepkg_build", "nodepkg_commit", "nodepkg_digest"})
# What decides values elsewhere in a template, so that it counts for the image.
_VALUES = ("variable", "variables", "local", "locals", "data")


class PackerHcl:
    """The Language of packer.format hcl2."""

    suffix = ".pkr.hcl"
    template_suffix = ".pkr.hcl.j2"

    def variable(self, name: str) -> Expression:
        return Expression(f"var.{name}")

    def beside(self, path: str) -> Expression:
        return Expression(f'"${{path.root}}/{escaped(literal(path))}"')

    def build_defaults(self, group: Group) -> dict[str, Any]:
        """IMDSv2 on the build machine, and SSH to it from the caller's own address unless networks are named."""
        packer = group.settings.packer
        closed = packer.ssh_source_cidrs or packer.builder.keys() & CLOSED_BUILDS
        address = {} if closed else {"temporary_security_group_source_public_ip": True}
        options = {"http_endpoint": "enabled", "http_tokens": "required", "http_put_response_hop_limit": 1}
        return {**address, "metadata_options": options}

    def read(self, text: str) -> Rendered:
        try:
            template = read(text)
        except HclError as error:
            lines = text.split("\n")
            shown = f" on line {error.line} of it: {lines[error.line - 1].strip()[:100]}" if error.line else ""
            raise ValueError(f"not HCL: {error}{shown}") from error
        document = as_json(template)
        if not document["builders"]:
            raise ValueError("no Packer template: it has no source")
        return Rendered(formatted(text), document)


def as_json(template: dict[str, Any]) -> dict[str, Any]:
    """What a template (in HCL's JSON syntax) says, in the words of Packer's JSON, so that both have one digest.

    `values` holds what there is of variables, locals and data sources besides nodepkg's own variables.
    """
    builds = template.get("build", [])
    document: dict[str, Any] = {
        "builders": [
            {"type": kind, **_words(_unwrapped(body))}
            for sources in template.get("source", [])
            for kind, named in sources.items()
            for body in named.values()
        ],
        "provisioners": [
            {"type": kind, **_words(body)}
            for build in builds
            for provisioner in build.get("provisioner", [])
            for kind, body in provisioner.items()
        ],
    }
    values = {kind: kept for kind in _VALUES if (kept := list(_not_own(template.get(kind, []))))}
    return {**document, "values": values} if values else document


def _not_own(blocks: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for block in blocks:
        if not block.keys() <= OWN_VARIABLES:
            yield block


def _unwrapped(body: dict[str, Any]) -> dict[str, Any]:
    """A block that stands once, as an object: in HCL's JSON syntax each is in a list."""
    made = {}
    for key, item in body.items():
        blocks = item if isinstance(item, list) and all(isinstance(block, dict) for block in item) else []
        inner = [_unwrapped(block) for block in blocks]
        made[key] = inner[0] if len(inner) == 1 and key not in REPEATED else inner or item
    return made


def _words(value: Any) -> Any:
    """The value with what HCL evaluates in the words of JSON's template engine."""
    if isinstance(value, str):
        return "".join(_expression(part) if evaluated else _plain(part) for evaluated, part in parts(value))
    if isinstance(value, list):
        return [_words(item) for item in value]
    if isinstance(value, dict):
        return {_words(key): _words(item) for key, item in value.items()}
    return value


def _expression(part: str) -> str:
    if part == "${path.root}":
        return "{{template_dir}}"
    name = part.removeprefix("${var.").removesuffix("}")
    return f"{{{{user `{name}`}}}}" if name in OWN_VARIABLES else f"{{{{hcl `{part}`}}}}"


def _plain(part: str) -> str:
    return part.replace("$${", "${").replace("%%{", "%{")
