"""Packer templates in JSON, which every Packer reads."""

import json
import re
from typing import Any

from nodepkg.nodes.group import Group
from nodepkg.nodes.source import finite, no_constant
from nodepkg.render.jsontext import canonical, pretty
from nodepkg.render.packer_language import Rendered, literal

_HALF = re.compile(r"\\u[dD][89a-fA-F]")


class PackerJson:
    """The Language of packer.format json."""

    suffix = ".json"
    template_suffix = ".j2"

    def variable(self, name: str) -> str:
        return f"{{{{user `{name}`}}}}"

    def beside(self, path: str) -> str:
        return f"{{{{template_dir}}}}/{literal(path)}"

    def build_defaults(self, group: Group) -> dict[str, Any]:  # noqa: ARG002 - Packer 1.6.6 knows none of them
        return {}

    def evaluated(self, value: Any) -> Any:
        return value

    def read(self, text: str) -> Rendered:
        try:
            document = json.loads(text, object_pairs_hook=_unique, parse_constant=no_constant, parse_float=finite)
            text.encode("utf-8")
            if _HALF.search(text):
                canonical(document)  # half of a character is JSON, and no text
        except json.JSONDecodeError as error:
            shown = text.split("\n")[error.lineno - 1].strip()[:100]
            raise ValueError(f"not JSON: {error.msg} on line {error.lineno} of it: {shown}") from error
        except (ValueError, RecursionError) as error:
            raise ValueError(f"not JSON: {error}") from error
        builders = document.get("builders") if isinstance(document, dict) else None
        if not isinstance(builders, list) or not all(isinstance(builder, dict) for builder in builders):
            raise ValueError("no Packer template: it has no builders")
        return Rendered(pretty(document), document)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)} stands twice in an object")
    return made
