"""Packer templates in HCL2, for Packer 1.7 and newer."""

import re
from collections.abc import Iterator
from typing import Any

from nodepkg.nodes.group import Group
from nodepkg.nodes.rules import ssh_is_closed
from nodepkg.render.hclformat import formatted
from nodepkg.render.hcltext import REPEATED, Expression, HclError, escaped, parts, read
from nodepkg.render.packer_language import Rendered, each_text, literal

OWN_VARIABLES = frozenset({"nodepkg_build", "nodepkg_commit", "nodepkg_digest", "nodepkg_key_pair"})
# What decides values elsewhere in a template, so that it counts for the image.
_VALUES = ("variable", "variables", "local", "locals", "data")
# What Packer's template engine knows in JSON only.
_ENGINE = re.compile(r"(\{\{\s*template_dir\s*\}\}|\{\{\s*user\s+[`\"](\w+)[`\"]\s*\}\})")


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
        closed = ssh_is_closed(group.settings.packer)
        address = {} if closed else {"temporary_security_group_source_public_ip": True}
        options = {"http_endpoint": "enabled", "http_tokens": "required", "http_put_response_hop_limit": 1}
        return {**address, "metadata_options": options}

    def evaluated(self, value: Any) -> Any:
        if isinstance(value, str):
            found = _ENGINE.split(value)
            if len(found) == 1:
                return value
            said = [escaped(text) for text in found[::3]]
            asked = ["${path.root}" if name is None else f"${{var.{name}}}" for name in found[2::3]]
            return Expression('"' + "".join(a + b for a, b in zip(said, [*asked, ""], strict=True)) + '"')
        if isinstance(value, list):
            return [self.evaluated(item) for item in value]
        return {key: self.evaluated(item) for key, item in value.items()} if isinstance(value, dict) else value

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

    `values` holds what there is of variables, locals and data sources besides nodepkg's own variables, and what
    build blocks lay over their sources.
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
    overlays = [{key: build[key] for key in ("source", "dynamic") if key in build} for build in builds]
    values |= {"build": overlays} if any(overlays) else {}
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

    def said(text: str) -> str:
        return "".join(_expression(part) if evaluated else _plain(part) for evaluated, part in parts(text))

    return each_text(value, said)


def _expression(part: str) -> str:
    if part == "${path.root}":
        return "{{template_dir}}"
    variable = re.fullmatch(r"\$\{var\.(\w+)\}", part)
    return f"{{{{user `{variable[1]}`}}}}" if variable else f"{{{{hcl `{part}`}}}}"


def _plain(part: str) -> str:
    return part.replace("$${", "${").replace("%%{", "%{")
