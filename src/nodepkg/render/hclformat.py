"""HCL laid out as `packer fmt` does: indentation, spaces, aligned equals signs and comments.

The rules are those of hclwrite (github.com/hashicorp/hcl/v2, hclwrite/format.go), which Packer uses: it moves what
is on a line, and never breaks or joins lines. What stands inside a quoted string is left as it is.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby, zip_longest

_WORDS = (
    ("identifier", re.compile(r"[^\W\d][\w-]*")),
    ("number", re.compile(r"\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")),
    ("comment", re.compile(r"(?:#|//)[^\n]*|/\*.*?\*/", re.DOTALL)),
    ("heredoc", re.compile(r"<<-?([^\W\d][\w-]*)[ \t]*\n(?:.*?\n)??[ \t]*\1(?=[ \t]*(?:\n|\Z))", re.DOTALL)),
    ("mark", re.compile(r"\.\.\.|=>|==|!=|<=|>=|&&|\|\||::|\S")),
)
# After one of these (or nothing) a minus negates; after anything else it subtracts.
_BEFORE_NEGATION = frozenset(
    ["(", "{", "[", "=", ":", ",", "?", "+", "*", "/", "%", "-", "==", "!=", ">", ">=", "<", "<=", "&&", "||"]
)


@dataclass(frozen=True)
class Token:
    """A word of HCL; a quoted string, a heredoc or a comment is one, whatever it holds."""

    kind: str
    text: str

    @property
    def brackets(self) -> int:
        """By how many levels what follows is deeper."""
        return (self.text in ("(", "[", "{")) - (self.text in (")", "]", "}"))


@dataclass
class _Line:
    """A line in the cells that are aligned: what leads, the `= value` of an attribute, a comment behind them."""

    lead: list[Token]
    assign: list[Token] = field(default_factory=list)
    comment: str = ""
    indent: int = 0
    assign_at: int = 0

    @property
    def brackets(self) -> int:
        return sum(token.brackets for token in (*self.lead, *self.assign))

    @property
    def before_assign(self) -> str:
        return f"{' ' * self.indent}{_spaced(self.lead)}" if self.lead else ""

    @property
    def before_comment(self) -> str:
        if not self.assign:
            return self.before_assign
        return f"{self.before_assign.ljust(self.assign_at)} {_spaced(self.assign)}"


def formatted(text: str) -> str:
    """The text as `packer fmt` would leave it, without empty lines at its ends and without two in a row."""
    lines = [_cells(line) for line in _lines(text)]
    _indent(lines)
    for assigning, run in _runs(lines, "assign"):
        widest = max(len(line.before_assign) for line in run) if assigning else 0
        for line in run:
            line.assign_at = widest
    told: list[str] = []
    for commented, run in _runs(lines, "comment"):
        widest = max(len(line.before_comment) for line in run) + 1 if commented else 0
        told += [f"{line.before_comment.ljust(widest)}{line.comment}" for line in run]
    return "".join(f"{line}\n" for line in _without_empty(told))


def tokens(text: str) -> Iterator[Token]:
    """The words of the text, line ends included, white space not."""
    at = 0
    while at < len(text):
        if text[at].isspace() and text[at] != "\n":
            at += 1
            continue
        token = _token(text, at)
        yield token
        at += len(token.text)


def _token(text: str, at: int) -> Token:
    if text[at] == "\n":
        return Token("newline", "\n")
    if text[at] == '"':
        return Token("string", text[at : behind(text, at + 1, '"')])
    found = ((kind, pattern.match(text, at)) for kind, pattern in _WORDS)
    return next(Token(kind, match[0]) for kind, match in found if match)


def behind(text: str, at: int, opened: str) -> int:
    """Where what was `opened` before `at` is closed: a string (`"`) or an interpolation (`{`)."""
    open_with = [opened]
    while open_with and at < len(text):
        in_string = open_with[-1] == '"'
        if in_string and (text[at] == "\\" or text.startswith(("$${", "%%{"), at)):
            at += 1 if text[at] == "\\" else 2  # what follows means itself
        elif in_string and text.startswith(("${", "%{"), at):
            open_with.append("{")
            at += 1
        elif text[at] == '"':
            open_with.pop() if in_string else open_with.append('"')
        elif not in_string and text[at] in "{}":
            open_with.append("{") if text[at] == "{" else open_with.pop()
        at += 1
    return at


def _lines(text: str) -> Iterator[list[Token]]:
    line: list[Token] = []
    for token in tokens(text):
        if token.kind == "newline":
            yield line
            line = []
        else:
            line.append(token)
    yield line


def _cells(words: list[Token]) -> _Line:
    line = _Line(words)
    if len(words) > 1 and words[-1].kind == "comment" and not words[-1].text.startswith("/*"):
        line.comment = line.lead.pop().text.rstrip()
    equals = next((index for index, word in enumerate(line.lead) if index and word.text == "="), None)
    # A value that goes on in the next lines is not aligned.
    if equals and not sum(word.brackets for word in line.lead[equals:]):
        line.lead, line.assign = line.lead[:equals], line.lead[equals:]
    return line


def _indent(lines: list[_Line]) -> None:
    """Two spaces for each line that opened more brackets than it closed, until as many are closed."""
    opened: list[int] = []
    for line in lines:
        change = line.brackets
        closed = max(-change, 0)
        while closed and opened:
            taken = min(closed, opened[-1])
            closed -= taken
            opened[-1] -= taken
            if not opened[-1]:
                opened.pop()
        line.indent = 2 * len(opened)
        if change > 0:
            opened.append(change)


def _runs(lines: list[_Line], cell: str) -> list[tuple[bool, list[_Line]]]:
    """Neighbouring lines that all have the cell, or all have not."""
    return [(has, list(run)) for has, run in groupby(lines, lambda line: bool(getattr(line, cell)))]


def _spaced(words: list[Token]) -> str:
    told = ""
    before = None
    for word, after in zip_longest(words, words[1:]):
        told += word.text.rstrip() if word.kind == "comment" else word.text
        told += " " if after and _space_between(before, word, after) else ""
        before = word
    return told


def _space_between(before: Token | None, word: Token, after: Token) -> bool:  # noqa: PLR0911 - a case each
    """Whether a space stands behind the word, as hclwrite's spaceAfterToken has it."""
    if (word.kind == "identifier" and after.text in ("(", "::")) or word.text == "::":
        return False
    if "." in (word.text, after.text) or after.text in (",", "..."):
        return False
    if word.text == ",":
        return True
    if word.text == "in" and before and before.kind == "identifier":
        return True
    if after.text == "[" and (word.kind in ("identifier", "number") or word.brackets < 0):
        return False
    if word.text == "!":
        return False
    if word.text == "-":
        return before is not None and before.text not in _BEFORE_NEGATION
    if word.text == "{" or after.text == "}":
        return (word.text, after.text) != ("{", "}")
    return word.brackets <= 0 and after.brackets >= 0


def _without_empty(lines: list[str]) -> list[str]:
    """Without two empty lines in a row, and without any beside the bracket that opens or closes what they are in."""
    kept: list[str] = []
    for line in lines:
        if line.lstrip().startswith((")", "]", "}")) and kept and not kept[-1]:
            kept.pop()
        if line or (kept and kept[-1] and not kept[-1].endswith(("(", "[", "{"))):
            kept.append(line)
    return kept[:-1] if kept and not kept[-1] else kept
