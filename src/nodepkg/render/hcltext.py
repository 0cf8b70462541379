"""HCL as artefacts hold it: writing values, and reading a text into HCL's JSON syntax.

In that syntax (github.com/hashicorp/hcl/v2, json/spec.md) a block is an object below its type and labels, or a
list of them, and a string is a template: what stands in `${…}` is evaluated, and `$${` means `${`.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from textwrap import dedent
from typing import Any

from nodepkg.render.hclformat import behind

# What Packer's amazon plugin reads as a map (its builder/ebs/builder.hcl2spec.go); every other object is a block.
MAPS = frozenset(
    ["filters", "fleet_tags", "region_kms_key_ids", "run_tags", "run_volume_tags", "snapshot_tags", "spot_tags", "tags"]
)
# Blocks that it reads more than one of; the same file says which.
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
_IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
# Keys of python-hcl2's own among those of a block.
_ITS_OWN = frozenset({"__is_block__", "__comments__", "__inline_comments__"})
_ESCAPED = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
# So python-hcl2 gives a heredoc within an expression.
_QUOTED_HEREDOC = re.compile(r'"(<<-?([^\W\d][\w-]*)[ \t]*\n(?:.*?\n)??[ \t]*\2)"', re.DOTALL)
_MARK = re.compile(r"[$%](?=\{)")
_UNESCAPED = {"n": "\n", "r": "\r", "t": "\t"}


@dataclass(frozen=True)
class Expression:
    """HCL that is written as it is: `var.x`."""

    text: str


class HclError(ValueError):
    """A text that is not HCL; `line` of it, from 1, 0 if that is not known."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


def value(given: Any) -> str:
    """The value as HCL, in which text is text, whatever `${` it holds; not laid out yet."""
    match given:
        case Expression(text):
            return text
        case str():
            return f'"{escaped(given)}"'
        case Mapping():
            items = "".join(f"{_key(key)} = {value(item)}\n" for key, item in given.items())
            return f"{{\n{items}}}" if items else "{}"
        case list() | tuple():
            if len(given) <= 1:
                return f"[{''.join(map(value, given))}]"
            return "[\n{}]".format("".join(f"{value(item)},\n" for item in given))
    return json.dumps(given)


def body(given: Mapping[str, Any]) -> str:
    """What a Packer block holds: attributes, and a block for each object (or list of objects) that is no map."""
    return "".join(_attribute(key, item) for key, item in given.items())


def _attribute(key: str, given: Any) -> str:
    blocks = given if isinstance(given, list) and given else [given]
    if key in REPEATED and isinstance(given, list):
        blocks = [block for block in given if block is not None]
    if key in MAPS or not all(isinstance(block, dict) for block in blocks):
        return f"{_key(key)} = {value(given)}\n"
    return "".join(f"\n{_key(key)} {{\n{body(block)}}}\n\n" for block in blocks)


def _key(key: str) -> str:
    # `for` would begin an expression.
    return key if _IDENTIFIER.fullmatch(key) and key != "for" else f'"{escaped(key)}"'


def escaped(text: str) -> str:
    """The text for within quotes, so that nothing of it is evaluated."""
    plain = "".join(_ESCAPED.get(char, char if char.isprintable() else _unicode(char)) for char in text)
    return _MARK.sub(lambda mark: mark[0] * 2 if _doubles(plain, mark.start()) else _unicode(mark[0]), plain)


def _doubles(text: str, at: int) -> bool:
    """Whether `$${` will do for the mark at `at`: python-hcl2 reads it only where a closing brace follows.

    Behind another such mark it would be ambiguous.
    """
    return "}" in text[at:] and text[at - 1 : at] != text[at]


def _unicode(char: str) -> str:
    return f"\\u{ord(char):04x}" if ord(char) <= 0xFFFF else f"\\U{ord(char):08x}"


def read(text: str) -> dict[str, Any]:
    """The text in HCL's JSON syntax; every block is in a list. Raises HclError for what is not HCL."""
    import hcl2
    from lark.exceptions import LarkError

    try:
        parsed = hcl2.loads(text)
    except LarkError as error:
        line = getattr(error, "line", 0)
        raise HclError("a bracket or quote is missing, or this is no HCL", max(line, 0)) from error
    except (ValueError, RecursionError) as error:
        raise HclError(str(error) or "nested too deeply", 0) from error
    made = {key: _plain(blocks) for key, blocks in parsed.items() if key not in _ITS_OWN}
    for body in (body for block in made.get("variable", []) for body in block.values()):
        if isinstance(body.get("type"), str):  # it names a type, and is no value to evaluate
            body["type"] = body["type"].removeprefix("${").removesuffix("}")
    return made


def _plain(node: Any) -> Any:
    if isinstance(node, dict):
        return {_name(name): _plain(item) for name, item in node.items() if name not in _ITS_OWN}
    if isinstance(node, list):
        return [_plain(item) for item in node]
    return _text(node) if isinstance(node, str) else node


def _text(node: str) -> str:
    if node.startswith("${"):
        return _QUOTED_HEREDOC.sub(lambda found: f'"{_requoted(_heredoc(found[1]))}"', node)
    if node.startswith('"<<') and "\n" in node:  # only a heredoc holds a line end
        return _heredoc(node[1:-1])
    if node.startswith('"'):
        return _quoted(node)
    return f"${{{node}}}"  # a single word is a reference


def _name(key: str) -> str:
    return _quoted(key) if key.startswith('"') else key


def _quoted(text: str) -> str:
    return "".join(part if evaluated else _unescaped(part) for evaluated, part in parts(text[1:-1], escapes=True))


def _heredoc(text: str) -> str:
    opening, *lines, _closing = text.split("\n")
    content = "".join(f"{line}\n" for line in lines)
    return dedent(content) if opening.startswith("<<-") else content


def _requoted(template: str) -> str:
    """The content of a heredoc as that of a quoted string, which an expression in JSON can hold."""
    said = (part if evaluated else _between_quotes(part) for evaluated, part in parts(template))
    return "".join(said)


def _between_quotes(text: str) -> str:
    return "".join(_ESCAPED.get(char, char) for char in text)


def parts(template: str, *, escapes: bool = False) -> Iterator[tuple[bool, str]]:
    """A template string in parts: whether each is evaluated, and its text; `$${` is left as it is.

    With `escapes` a backslash escapes what follows, as in HCL's own syntax.
    """
    at = start = 0
    while at < len(template):
        if template.startswith(("$${", "%%{"), at):
            at += 3
        elif escapes and template[at] == "\\":
            at += 2
        elif template.startswith(("${", "%{"), at):
            end = behind(template, at + 2, "{")
            yield False, template[start:at]
            yield True, template[at:end]
            at = start = end
        else:
            at += 1
    yield False, template[start:]


def _unescaped(text: str) -> str:
    """What a text between evaluated parts says, as HCL's JSON syntax has it: backslashes mean themselves there."""
    pieces = re.split(r"(\$\$\{|%%\{)", text)
    said = [_meant(piece).replace("${", "$${").replace("%{", "%%{") for piece in pieces[::2]]
    return "".join(f"{piece}{mark}" for piece, mark in zip(said, [*pieces[1::2], ""], strict=True))


def _meant(text: str) -> str:
    def meant(found: re.Match[str]) -> str:
        code = found[1] or found[2]
        return chr(int(code, 16)) if code else _UNESCAPED.get(found[3], found[3])

    return re.sub(r"\\(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))", meant, text)
