"""What config:diff prints: like a diff, group by group; groups with the same differences under one heading."""

import json
import os
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nodepkg.cli.layout import count
from nodepkg.cli.output import Output

if TYPE_CHECKING:
    from nodepkg.clients.snapshot import Snapshot
    from nodepkg.diff import GroupChange
    from nodepkg.nodes.changes import Change

# More names than these are not told in a heading, or in a command to copy.
HEADING, COMMAND = 2, 20

_MARKS = {"added": "+", "removed": "-", "changed": "~", "moved": "~"}
_COLORS = {"+": "green", "-": "red", "~": "magenta"}


def show_difference(
    out: Output, then: "Snapshot", changed: "Sequence[GroupChange]", *, root: Path, compared: int, every: int
) -> None:
    """What became of the compared groups since the snapshot; the nodes.json in `root` has `every` of them now."""
    found = [replace(one, note=_noted(then, one.note)) for one in changed]
    shared = {path: kind for one in found for path, kind in one.shared.items()}
    told = {
        "rev": then.rev,
        "commit": then.commit,
        "files": [{"path": path, "change": str(kind)} for path, kind in shared.items()],
        "groups": document(found),
        "unchanged": compared - len(found),
        "commands": [out.suggested(command) for command in commands(found, every, root)],
        "notes": then.notes,
    }
    since = f"between {then.rev} ({then.commit[:12]}) and the working tree"
    if not found:
        but = ", but for what could not be compared" if then.notes else ""
        out.result(told, out.paragraph(f"no differences {since}{but}"))
        return
    differ = "differs" if len(found) == 1 else "differ"
    heading = out.paragraph(f"{len(found)} of {count(compared, 'group')} {differ} {since}")
    todo = [out.suggested(command) for command in commands(found, every, root, most=COMMAND)]
    steps = ["", "to run:", *(f"  {command}" for command in todo)] if todo else []
    out.result(told, [*heading, *lines(out, found), *steps])


def _noted(then: "Snapshot", note: str) -> str:
    """What was wrong with a group at the revision: what is asked for has to be right now."""
    said = then.said(note)
    return said if not said or said.startswith(f"{then.rev}:") else f"at {then.rev}: {said}"


def document(found: "Sequence[GroupChange]") -> list[dict[str, Any]]:
    """The groups that differ, as values."""
    return [
        {
            "group": one.group,
            "state": str(one.state),
            "changes": [_change(change) for change in one.changes],
            "files": [{"path": path, "change": str(kind)} for path, kind in one.files.items()],
            "artifacts": {path: str(kind) for path, kind in one.artifacts.items()},
            "rebuild": one.builds,
            "base": one.base or None,
            "asg": str(one.asg),
            "replace": one.asg == "replace",
            "note": one.note or None,
        }
        for one in found
    ]


def _change(change: "Change") -> dict[str, Any]:
    from nodepkg.nodes.source import show_path

    told = {"key": change.key, "change": str(change.kind), "before": change.before, "after": change.after}
    return {**told, "was": show_path(change.was)} if change.was else told


def lines(out: Output, found: "Sequence[GroupChange]") -> Iterator[str]:
    """The text, but for its heading."""
    folds: dict[str, list[GroupChange]] = {}
    for one in found:
        folds.setdefault(_fold(one), []).append(one)
    for same in folds.values():
        first, names = same[0], [one.group for one in same]
        word = "" if first.state == "changed" else f" ({first.state})"
        yield ""
        yield out.painted(f"{_few(names)}{word}", "bold")
        for change in first.changes:
            mark = _MARKS[change.kind]
            yield out.painted(f"  {mark} {_told(change)}", _COLORS[mark])
        for line in _files({**first.shared, **first.files}):
            yield out.painted(f"  ~ {line}", "magenta")
        if first.note:
            yield from out.paragraph(f"  note: {first.note}", indent=4)
        for line in _consequences(first, len(names)):
            yield from out.paragraph(f"  => {line}", indent=5)


def commands(found: "Sequence[GroupChange]", every: int, root: Path, *, most: int | None = None) -> Iterator[str]:
    """What to run, in this order; for `every` group of nodes.json, or more than `most`, without their names.

    What a group is built on comes before it, also if nobody asked for that. `root` is the folder of the project.
    """
    steps = {one.group: one for each in found for one in (*each.bases, each)}.values()
    refresh = [one.group for one in steps if _written(one)]
    build = [one.group for one in steps if one.builds]
    start = [one.group for one in found if one.asg == "start"]
    for command, names in (("group:create", refresh), ("packer:run", build), ("autoscale:run", start)):
        if len(names) == every and every > 1:
            yield f"package {command}"
        elif most and len(names) > most:
            yield f"package {command} …, with the names of {len(names)} groups (--json has them)"
        elif names:
            yield f"package {command} {' '.join(names)}"
    places = dict.fromkeys(root / path for one in steps for path in _left(one))
    there = [os.path.normpath(place) for place in places if os.path.lexists(place)]
    if most and len(there) > most:
        yield f"git rm …, with the names of {len(there)} files (--json has them)"
    elif there:
        yield f"git rm {shlex.join(there)}"


def _fold(one: "GroupChange") -> str:
    """What two groups have in common that are told as one."""
    told = {**document([one])[0], "group": "", "shared": len(one.shared)}
    told["artifacts"] = sorted(f"{path.replace(f'/{one.group}.', '/.')} {kind}" for path, kind in one.artifacts.items())
    return json.dumps(told)


def _few(names: Sequence[str]) -> str:
    if len(names) <= HEADING + 1:
        return ", ".join(names)
    return f"{', '.join(names[:HEADING])} and {len(names) - HEADING} more"


def _told(change: "Change") -> str:
    from nodepkg.nodes.source import show_path

    before, after = (json.dumps(value, ensure_ascii=False) for value in (change.before, change.after))
    if change.was:
        return f"{change.key}: {after}, was {show_path(change.was)}"
    return f"{change.key}: {({'added': after, 'removed': before}).get(change.kind, f'{before} -> {after}')}"


def _files(files: Iterable[str]) -> Iterator[str]:
    """`cookbooks/nginx: 2 files`; of a folder of its own only cookbooks and data bags have one."""
    grouped: dict[str, int] = {}
    for path in files:
        parts = path.split("/")
        folder = "/".join(parts[:2]) if parts[0] in ("cookbooks", "data_bags") and len(parts) > 2 else ""
        grouped[folder or path] = grouped.get(folder or path, 0) + bool(folder)
    for path, number in grouped.items():
        yield f"{path}: {count(number, 'file')}" if number else path


def _consequences(one: "GroupChange", groups: int) -> Iterator[str]:
    """What follows, in words; for several groups without their names."""
    if _written(one):
        yield f"artefacts to refresh: {_paths(one, _written(one), groups)}"
    if _left(one):
        yield f"files left behind: {_paths(one, _left(one), groups)}"
    if one.state == "removed":
        stays = "its images stay until they are deleted" if groups == 1 else "their images stay until they are deleted"
        yield f"{stays}, and so does the Auto Scaling group" if one.asg == "delete" else stays
        return
    if one.builds:
        word = "build" if one.state == "added" else "rebuild"
        yield f"image to {word}{f' after {one.base}' if one.base else ''}"
    told = {
        "start": "Auto Scaling group to start",
        "replace": "Auto Scaling group to replace",
        "resize": "Auto Scaling group to resize",
        "delete": "Auto Scaling group to delete: autoscale is false now",
    }.get(one.asg)
    if told:
        yield told
    if not one.follows:
        yield "nothing follows"


def _written(one: "GroupChange") -> list[str]:
    """The artefacts that group:create writes now."""
    return [path for path, kind in one.artifacts.items() if kind != "removed"]


def _left(one: "GroupChange") -> list[str]:
    """The artefacts that nothing writes any more; nothing removes them, either."""
    return [path for path, kind in one.artifacts.items() if kind == "removed"]


def _paths(one: "GroupChange", paths: Iterable[str], groups: int) -> str:
    def shown(path: str) -> str:
        word = " (new)" if one.state == "changed" and one.artifacts[path] == "added" else ""
        return (path.replace(f"/{one.group}.", "/GROUP.") if groups > 1 else path) + word

    return ", ".join(map(shown, paths))
