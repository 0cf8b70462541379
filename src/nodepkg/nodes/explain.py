"""Each effective value of a group with the layer and the place that gave it, and the rule of the merge."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from typing import Any, NamedTuple, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from nodepkg.errors import UsageError
from nodepkg.nodes.inheritance import chain_of
from nodepkg.nodes.load import Nodes
from nodepkg.nodes.schema import SOURCE_KEYS, Settings
from nodepkg.nodes.source import KeyPath, show_path
from nodepkg.nodes.trace import Given, Trace, present


class Rule(StrEnum):
    """How a value came to count; DEFAULT: nobody set it."""

    APPEND = "append"
    MERGE = "merge"
    OVERRIDE = "override"
    DEFAULT = "default"


@dataclass(frozen=True)
class Row:
    """One effective value, and what gave it.

    `given` is None for a default; with `is_reset` it is null, and `value` the default again. `overrides` is
    what does not count, the nearest first. `by` is set where an entry gives a value that does not count: the path
    of the key that counts instead, or replaces whole what held it, so that there is no value, or (DEFAULT) only
    the default; `given` is then that key's.
    """

    path: KeyPath
    value: Any
    rule: Rule
    given: Given | None = None
    overrides: tuple[Given, ...] = ()
    by: KeyPath | None = None
    is_reset: bool = False

    @property
    def key(self) -> str:
        return show_path(self.path)


class _Spot(NamedTuple):
    """What the schema knows of a path: its field, and the model of an object there."""

    field: FieldInfo | None
    model: type[BaseModel] | None


def explanation(nodes: Nodes, name: str) -> "Explanation":
    """Of the group with this name."""
    chain = [(entry, nodes.entries[entry]) for entry in chain_of(name, nodes.entries)[0]]
    return Explanation(Trace(chain, nodes.merged(name)))


@dataclass(frozen=True)
class Explanation:
    """The values of one group, as rows."""

    trace: Trace

    def rows(self, path: KeyPath = ()) -> list[Row]:
        """The rows at or below the path; without one every value, in the order of the schema, then the others.

        For what cannot be there, as `autoscale.node_min` where autoscale is false, the row that says so.
        """
        if not path:
            keys = dict.fromkeys([*Settings.model_fields, *self.trace.merged])
            return [row for key in keys for row in self._below((key,))]
        if self._counts_instead(path[:2]):
            return [self._row(path[:2])]
        above = (path[:end] for end in range(1, len(path)))
        end = next((one for one in above if not isinstance(self._effective(one), dict | list | BaseModel)), None)
        return self._below(path) if end is None else self._lost(path) or self._below(end)

    def resolve(self, text: str) -> KeyPath:
        """The path that the text means; of keys that hold dots or brackets the longest that fits.

        Raises UsageError, with the nearest paths, if there is none.
        """
        path = self._resolve((), text)
        if not path:
            raise UsageError(f"no key {text}", hint=f"did you mean {' or '.join(self._nearest(text))}?")
        return path

    def known(self, path: KeyPath = ()) -> Iterator[KeyPath]:
        """Every path below this one that there is something to say of."""
        for part in self._inside(path):
            yield (*path, part)
            yield from self.known((*path, part))

    def _resolve(self, at: KeyPath, rest: str) -> KeyPath | None:
        if not rest and at:
            return at
        for part in sorted(self._inside(at), key=lambda part: len(str(part)), reverse=True):
            for spelling in _spellings(at, part):
                after = rest.removeprefix(spelling)
                if rest.startswith(spelling) and (not after or after[0] in ".["):
                    found = self._resolve((*at, part), after)
                    if found:
                        return found
        return None

    def _inside(self, path: KeyPath) -> list[str | int]:
        """The keys or indexes below a path: that are there, that an entry gave, or that have a default."""
        if not path:
            return [*dict.fromkeys([*Settings.model_fields, *self.trace.keys])]
        value = self.trace.value(path) if self.trace.has(path) else None
        if isinstance(value, list):
            return [*range(len(value))]
        given = [entry.value for entry in self.trace.given(path) if len(entry.path) == len(path)]
        model = _spot(path).model
        fields = list(model.model_fields) if model else []
        held = [key for one in (value, *given) if isinstance(one, dict) for key in one]
        return [*dict.fromkeys([*fields, *held])]

    def _nearest(self, text: str) -> list[str]:
        known = dict.fromkeys(show_path(path) for path in self.known())
        near = get_close_matches(re.sub(r"\.(\d+)$", r"[\1]", text), known, n=3, cutoff=0.6)
        last = _last_key(text)
        same = [path for path in known if _last_key(path) == last]
        begun = [path for path in known if path.startswith(text)]
        above = sorted((path for path in known if text.startswith((f"{path}[", f"{path}."))), key=len)[-1:]
        found = [*above, *near, *same, *begun] if _without_index(text) != text else [*same, *begun, *near, *above]
        return [*dict.fromkeys([*found, *get_close_matches(text, known, n=1, cutoff=0.0)])][:3]

    def _below(self, path: KeyPath) -> list[Row]:
        spot = _spot(path)
        if not self.trace.has(path):
            return self._defaults(path) if spot.field and not self._lost_source(path) else self._lost(path)
        value = self.trace.value(path)
        if value is None and spot.field:
            return self._defaults(path)
        if isinstance(value, dict) and spot.model:
            keys = dict.fromkeys([*spot.model.model_fields, *value])
            itself = [] if value else [self._row(path)]
            return [*itself, *(row for key in keys for row in self._below((*path, key)))]
        if isinstance(value, dict) and value and (spot.field or len(path) == 1):
            return [self._row((*path, key)) for key in value]
        if isinstance(value, list) and value and len(path) == 1 and path != ("inherits",):
            return [self._row((*path, index)) for index in range(len(value))]
        return [self._row(path)]

    def _effective(self, path: KeyPath) -> Any:
        """The value, or the default; None where there is neither."""
        value = self.trace.value(path) if self.trace.has(path) else None
        return _default(path) if value is None else value

    def _row(self, path: KeyPath) -> Row:
        winner, *others = self.trace.given(path)
        by = self._counts_instead(path)
        if by:
            return Row(path, None, _rule(path), self.trace.given(by)[0], (winner, *others), by)
        return Row(path, self.trace.value(path), _rule(path), winner, tuple(others))

    def _defaults(self, path: KeyPath) -> list[Row]:
        """The rows of what has no value but its default; also where null makes it count again."""
        default, model = _default(path), _spot(path).model
        if isinstance(default, BaseModel) and model:
            return [row for key in model.model_fields for row in self._defaults((*path, key))]
        given = tuple(self.trace.given(path))
        above = present(self.trace.merged, path)
        if above and self.trace.value(above) is None:
            return [Row(path, default, _rule(above), given[0], given[1:], is_reset=True)]
        if above and any(len(entry.path) == len(path) for entry in given):
            winner = self.trace.given(above)[0]
            return [Row(path, default, Rule.DEFAULT, winner, _but(winner, given), above)]
        return [Row(path, default, Rule.DEFAULT, overrides=given)]

    def _lost(self, path: KeyPath) -> list[Row]:
        """The row of what an entry gives, and what is nothing now, since another key counts; none for anything else."""
        given = tuple(self.trace.given(path))
        by = self._lost_source(path) or present(self.trace.merged, path)
        if not by or not any(len(entry.path) == len(path) for entry in given):
            return []
        winner = self.trace.given(by)[0]
        return [Row(path, None, Rule.OVERRIDE, winner, _but(winner, given), by)]

    def _counts_instead(self, path: KeyPath) -> KeyPath:
        """The item of a list that counts in place of this one, since both name the same; else nothing.

        As nodes.group takes them: of two volumes of one device the last, of a security group the first.
        """
        key, index = path if len(path) == 2 else ("", "")
        if key not in ("block_devices", "security_groups") or not isinstance(index, int) or not self.trace.has(path):
            return ()
        items = self.trace.value((key,))
        names = [item.get("device") if isinstance(item, dict) else item for item in items]
        same = [each for each, name in enumerate(names) if isinstance(name, str) and name == names[index]] or [index]
        counts = same[-1] if key == "block_devices" else same[0]
        return () if counts == index else (key, counts)

    def _lost_source(self, path: KeyPath) -> KeyPath:
        """The key that names the source image, if this path is in one that did, too; else nothing."""
        if path[0] not in SOURCE_KEYS or self.trace.has(path[:1]) or not self.trace.given(path[:1]):
            return ()
        return next(((key,) for key in SOURCE_KEYS if self.trace.has((key,))), ())


def _rule(path: KeyPath) -> Rule:
    """The rule by which the value at this path came to count."""
    if len(path) == 1 or path[0] == "inherits":
        return Rule.OVERRIDE
    return Rule.APPEND if isinstance(path[1], int) else Rule.MERGE


def _default(path: KeyPath) -> Any:
    """What the schema gives where nobody does: plain values or a model; None for nothing."""
    field = _spot(path).field
    if path == ("autoscale",):
        return False  # as nodes.json writes it
    default = field.get_default(call_default_factory=True) if field else None
    return None if default is PydanticUndefined else default


def _but(winner: Given, given: Iterable[Given]) -> tuple[Given, ...]:
    """What is given but for the winner itself."""
    return tuple(one for one in given if one.place != winner.place)


def _without_index(text: str) -> str:
    """`run_list` of `run_list[0]` and `run_list.0`."""
    return re.sub(r"(\[\d*\]?|\.\d+)+$", "", text)


def _last_key(text: str) -> str:
    return re.split(r"[.\[]", _without_index(text))[-1]


def _spellings(at: KeyPath, part: str | int) -> tuple[str, ...]:
    """How a part of a path is written behind what is in front of it: `[0]` or `.0`."""
    if isinstance(part, int):
        return f"[{part}]", f".{part}"
    return (f".{part}",) if at else (part,)


def _spot(path: KeyPath) -> _Spot:
    field: FieldInfo | None = None
    model: type[BaseModel] | None = Settings
    items: type[BaseModel] | None = None
    for part in path:
        if isinstance(part, int):
            field, model, items = None, items, None
        else:
            field = model.model_fields.get(part) if model else None
            model, items = _models(field.annotation) if field else (None, None)
    return _Spot(field, model)


def _models(annotation: Any) -> tuple[type[BaseModel] | None, type[BaseModel] | None]:
    """The model of an object of this type, and that of the items of a list of it."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, None
    inner = [_models(part)[0] for part in get_args(annotation)]
    model = next((one for one in inner if one), None)
    return (None, model) if get_origin(annotation) is list else (model, None)
