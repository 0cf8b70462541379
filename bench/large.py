"""10,000 groups: all artefacts, first and again; one role; memory; that both sides write the same bytes."""

import filecmp
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from measure import Command, Figure, compare, pairs
from project import KINDS, RECIPES, make_project
from workplace import Workplace

ONE = f"{KINDS[4321 % 5]}-{RECIPES[4321 % 6]}-04321"
WRITTEN = ("roles", "packer", "dna")


def figures(place: Workplace, groups: int, times: int) -> Iterator[Figure]:
    ours, peer = place.folder / "ours", place.folder / "plain"
    for folder in (ours, peer):
        make_project(folder, groups)
    create = [place.script("package"), "group:create"]
    plain = [place.script("bare-create"), place.solo_rb]
    first = pairs(Command(create, ours, before=fresh(ours)), Command(plain, peer, before=fresh(peer)), times)
    files = same_bytes(ours, peer)
    named = f"`group:create` of {groups} groups ({files} files)"
    yield Figure(f"{named} : plain Python", *seconds(first), limit=2.0)
    second = pairs(Command(create, ours, before=os.sync), Command(plain, peer, before=os.sync), times)
    yield Figure(f"{named}, nothing changed : plain Python, which writes again", *seconds(second), limit=1.0)
    peak = [one.megabytes for one in (*first[0], *second[0])]
    yield Figure(f"{named}, memory", [max(peak)], [], limit=400, unit="MB")
    role = Command([place.script("package"), "role:create", ONE], ours)
    for name, script, limit in (
        ("Typer and json.load", "bare-load", 1.5),
        ("Python and json.load", "bare-load-python", None),
    ):
        load = Command([place.script(script), "nodes.json"], ours)
        yield compare(f"`role:create {ONE}` of {groups} : {name}", role, load, times=times * 3, limit=limit)


def seconds(both: tuple[list, list]) -> list[list[float]]:
    return [[one.seconds for one in side] for side in both]


def fresh(folder: Path):
    """Takes away what was written, and waits until the disk is at rest."""

    def remove() -> None:
        for name in WRITTEN:
            shutil.rmtree(folder / name, ignore_errors=True)
        os.sync()

    return remove


def same_bytes(ours: Path, peer: Path) -> int:
    """How many files there are; raises if a single one is missing or differs."""
    listed = [
        sorted(path.relative_to(root) for name in WRITTEN for path in (root / name).rglob("*.json"))
        for root in (ours, peer)
    ]
    assert listed[0] == listed[1], "they write different files"
    _, different, unread = filecmp.cmpfiles(ours, peer, listed[0], shallow=False)
    assert not different and not unread, f"they write different bytes: {different[:3]}"
    return len(listed[0])
