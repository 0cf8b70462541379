"""The archive of a bundle of 5,000 files, first and again, against `tar czf` of the same folders."""

import json
import random
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from measure import Figure
from workplace import BENCH, Workplace

FILES = 5_000
KINDS = ("recipes", "attributes", "files/default", "templates/default")
SIZES = {"files of 2.6 kB": (100, 700), "files of 0.5 kB": (10, 150)}  # words in a file


@dataclass(frozen=True)
class Turn:
    """Seconds of one turn: tar, the archive made, and found again; and the last two with the start of Python."""

    tar: float
    made: float
    again: float
    made_process: float
    again_process: float


def figures(place: Workplace, times: int) -> Iterator[Figure]:
    for name, words in SIZES.items():
        project = place.folder / name
        make_project(project, words)
        turns = [turn(place, project) for _ in range(times + 1)][1:]
        tar = [one.tar for one in turns]
        told = f"bundle of {FILES} {name}"
        yield Figure(f"{told} : `tar czf`", [one.made for one in turns], tar, limit=2.0)
        yield Figure(f"{told}, nothing changed : `tar czf`", [one.again for one in turns], tar, limit=0.3)
        yield Figure(f"{told}, with the start of Python : `tar czf`", [one.made_process for one in turns], tar, None)
        yield Figure(f"{told}, nothing changed, with it : `tar czf`", [one.again_process for one in turns], tar, None)


def make_project(folder: Path, words: tuple[int, int]) -> None:
    """100 cookbooks of random words, the same ones each time."""
    chance = random.Random(1)
    known = ["".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=chance.randint(2, 9))) for _ in range(3000)]
    for number in range(FILES):
        path = folder / f"cookbooks/book{number // 50:03}/{KINDS[number % 4]}/file{number}.rb"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(" ".join(chance.choices(known, k=chance.randint(*words))))
    group = {"run_list": ["recipe[book001]"], "source_ami": "ami-1ebb2077", "region": "us-east-1"}
    (folder / "nodes.json").write_text(json.dumps({"bee": group}))


def turn(place: Workplace, project: Path) -> Turn:
    out = place.folder / "plain.tar.gz"
    begin = time.perf_counter()
    subprocess.run(["tar", "czf", out, "-C", project, "cookbooks"], check=True)
    tar = time.perf_counter() - begin
    shutil.rmtree(project / ".nodepkg", ignore_errors=True)
    made, made_process = bundled(place, project)
    again, again_process = bundled(place, project)
    return Turn(tar, made, again, made_process, again_process)


def bundled(place: Workplace, project: Path) -> tuple[float, float]:
    """Seconds of the archive alone, and of its process."""
    begin = time.perf_counter()
    command = [place.script("python"), str(BENCH / "bundling.py"), str(project), "bee"]
    told = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(told.stdout), time.perf_counter() - begin
