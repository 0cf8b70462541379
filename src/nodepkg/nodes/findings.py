"""What is wrong with an entry of nodes.json: pydantic's errors in the words of the field."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from nodepkg.nodes.schema import Settings
from nodepkg.nodes.source import KeyPath, Source, kind_of, show_path


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: in which entry (a group or a layer), at which key, and for which groups."""

    entry: str
    key_path: KeyPath
    problem: str
    groups: tuple[str, ...] = ()

    @property
    def place(self) -> KeyPath:
        return (self.entry, *self.key_path)

    def text(self) -> str:
        where = show_path(self.key_path)
        told = f"{where}: {self.problem}" if where else self.problem
        if self.entry in self.groups or not self.groups:
            return f"{self.entry}: {told}"
        others = f" and {len(self.groups) - 1} more" if len(self.groups) > 1 else ""
        return f"{self.groups[0]}{others}: {told} (from layer {self.entry})"


def report(source: Source, findings: Iterable[Finding]) -> list[str]:
    """The findings as `file:line: text`, in the order of the file, each once."""
    unique = list(dict.fromkeys(findings))
    lines = source.lines({finding.place for finding in unique})
    unique.sort(key=lambda finding: lines[finding.place])
    return [f"{source.path}:{lines[finding.place]}: {finding.text()}" for finding in unique]


def problems(
    entry: dict[str, Any], error: ValidationError, *, of_one_entry: bool = False
) -> Iterator[tuple[KeyPath, str]]:
    """Each key path of the entry that pydantic objects to, with all objections in one sentence.

    In `of_one_entry` a key may be missing that the merge at level 1 can bring in.
    """
    details: dict[KeyPath, list[ErrorDetails]] = defaultdict(list)
    for detail in error.errors(include_url=False):
        mergeable = detail["type"] == "missing" and len(detail["loc"]) == 2
        if not (of_one_entry and mergeable):
            details[_present(entry, detail["loc"])].append(detail)
    for path, same in details.items():
        if not any(other[: len(path)] == path for other in details if other != path):  # of a union the branch that fits
            yield path, _sentence(path, same)


def _sentence(path: KeyPath, same: list[ErrorDetails]) -> str:
    wanted = [word for detail in same if (word := _wanted(detail))]
    if len(wanted) == len(same):  # all branches of a union want another type
        return f"has to be {' or '.join(dict.fromkeys(wanted))}, and is {kind_of(same[0]['input'])}"
    return " or ".join(dict.fromkeys(_problem(path, detail) for detail in same if not _wanted(detail)))


def _wanted(detail: ErrorDetails) -> str | None:
    """The type that was wanted, if that is what is wrong."""
    if detail["type"] == "literal_error" and detail.get("ctx", {}).get("expected") == "False":
        return "false"
    return _WANTED.get(detail["type"])


def _present(entry: Any, loc: tuple[str | int, ...]) -> KeyPath:
    """Pydantic's location without its own words for the branch of a union."""
    path: list[str | int] = []
    for part in loc:
        inside = isinstance(entry, dict) and part in entry
        if inside or (isinstance(entry, list) and isinstance(part, int) and part < len(entry)):
            entry = entry[part]
            path.append(part)
    return tuple(path)


_WANTED = {
    "string_type": "a string",
    "int_type": "a whole number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
}


def _problem(path: KeyPath, detail: ErrorDetails) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        return _unknown_key(path)
    if kind == "missing":
        return f"{detail['loc'][-1]} is missing"
    if kind == "value_error":
        return str(context["error"])
    if kind == "string_pattern_mismatch":
        examples = _field(path).examples if path else None
        return f"{_shown(detail['input'])} is not legal" + (f"; an example: {_shown(examples[0])}" if examples else "")
    if kind == "literal_error":
        return f"{_shown(detail['input'])} is none of {context['expected']}"
    told = detail["msg"].replace("Input should be", "has to be").replace("String should have", "has to have")
    return told[0].lower() + told[1:]


def _shown(value: Any) -> str:
    text = f'"{value}"' if isinstance(value, str) else f"{value!r}"
    return text if len(text) <= 60 else text[:57] + "…"


def _unknown_key(path: KeyPath) -> str:
    known = _known_keys(path[:-1])
    nearest = get_close_matches(str(path[-1]), known, n=1, cutoff=0.6)
    if nearest:
        return f"unknown key; did you mean {nearest[0]}?"
    return f"unknown key; known are {', '.join(known)}" if len(known) <= 8 else "unknown key (docs/nodes.md lists them)"


def _field(path: KeyPath) -> FieldInfo:
    """The field at this path, or the one whose list holds it."""
    names = [part for part in path if isinstance(part, str)]
    model: type[BaseModel] = Settings
    for name in names[:-1]:
        model = next(_models_in(model.model_fields[name].annotation), model)
    return model.model_fields[names[-1]]


def _known_keys(path: KeyPath) -> list[str]:
    model: type[BaseModel] = Settings
    for part in path:
        if isinstance(part, str):
            model = next(_models_in(model.model_fields[part].annotation), model)
    return list(model.model_fields)


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models_in(inner)
