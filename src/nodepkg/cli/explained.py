"""What config:explain prints."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nodepkg.cli.output import Output

if TYPE_CHECKING:
    from nodepkg.nodes.explain import Row
    from nodepkg.nodes.source import KeyPath, Source
    from nodepkg.nodes.trace import Given

Cells = tuple[str, str, str, str, str]


def show_rows(out: Output, source: "Source", group: str, rows: "Sequence[Row]", *, overridden: bool) -> None:
    """The rows as a table; with `overridden` each with what it was laid over below it."""
    given = [one for row in rows for one in (row.given, *row.overrides) if one]
    lines = source.lines({one.place for one in given})
    document = {
        "group": group,
        "file": str(source.path),
        "values": [_document(source, row, lines) for row in rows],
    }
    cells = [line for row in rows for line in _cells(source, row, lines, overridden=overridden)]
    out.table(document, ("key", "rule", "layer", "place", "value"), cells)


def _document(source: "Source", row: "Row", lines: "Mapping[KeyPath, int]") -> dict[str, Any]:
    from nodepkg.nodes.source import show_path

    return {
        "key": row.key,
        "path": list(row.path),
        "value": row.value,
        "layer": row.given and row.given.layer,
        "place": row.given and {"file": str(source.path), "line": lines[row.given.place]},
        "rule": str(row.rule),
        "reset": row.is_reset,
        "by": show_path(row.by) if row.by else None,
        "overrides": [
            {
                "layer": one.layer,
                "place": {"file": str(source.path), "line": lines[one.place]},
                "value": one.value,
            }
            for one in row.overrides
        ],
    }


def _cells(source: "Source", row: "Row", lines: "Mapping[KeyPath, int]", *, overridden: bool) -> Iterator[Cells]:
    def place(given: "Given | None") -> tuple[str, str]:
        return (given.layer, f"{source.path}:{lines[given.place]}") if given else ("", "")

    yield row.key, str(row.rule), *place(row.given), _shown(row)
    if overridden:
        for one in row.overrides:
            yield "  instead of", "", *place(one), json.dumps(one.value, ensure_ascii=False)


def _shown(row: "Row") -> str:
    """The value as JSON, or none, and why it is that."""
    from nodepkg.nodes.source import show_path

    is_default = row.rule == "default"
    if row.by and not is_default:
        return f"none: {show_path(row.by)} counts instead"
    nothing = row.value is None and (is_default or row.is_reset)
    text = "none" if nothing else json.dumps(row.value, ensure_ascii=False)
    if row.by:
        return f"{text} ({show_path(row.by)} replaces it whole)"
    if row.path[0] == "tags" and row.value is None and row.overrides:
        return f"{text} (takes back the layer's)"
    return f"{text} (null: the default again)" if row.is_reset else text
