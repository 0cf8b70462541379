"""The merge alone: the role of each group, by ours, by Jsonnet and by Ansible."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from measure import Command, Figure, compare
from project import make_project
from workplace import BENCH, Workplace

PROGRAMS = BENCH / "peers"


def figures(place: Workplace, groups: int, with_playbook: int, times: int) -> Iterator[Figure]:
    """Each starts without roles, and writes one file for each group; the playbook writes them all into one."""
    python, playbook = place.peers_script("python"), place.peers_script("ansible-playbook")
    for name, arguments, size, runs in (
        ("rjsonnet", [python, str(PROGRAMS / "jsonnet.py"), str(PROGRAMS / "roles.jsonnet")], groups, times),
        ("Ansible's combine, as a library", [python, str(PROGRAMS / "combine.py")], groups, times),
        ("Ansible, one task", [playbook, "-i", "localhost,", str(PROGRAMS / "roles.yml")], with_playbook, 2),
    ):
        folder = place.folder / f"merge by {name}"
        ours, theirs = folder / "ours", folder / "theirs"
        make_project(ours, size)
        make_project(theirs, size)
        environ = {"OUT": str(theirs / "all.json"), "NODES": str(theirs / "nodes.json")}
        mine = Command([place.script("package"), "role:create"], ours, before=without_roles(ours))
        peer = Command(arguments, theirs, environ, before=without_roles(theirs))
        yield compare(f"roles of {size} groups : {name}", mine, peer, times=runs, limit=1.0)
        same_roles(ours, theirs)


def without_roles(folder: Path):
    def remove() -> None:
        shutil.rmtree(folder / "roles", ignore_errors=True)
        (folder / "roles").mkdir()
        (folder / "all.json").unlink(missing_ok=True)
        os.sync()

    return remove


def same_roles(ours: Path, peer: Path) -> None:
    """Raises if one says something else; the order of keys and the layout are each program's own."""
    all_in_one = json.loads((peer / "all.json").read_text("utf-8")) if (peer / "all.json").exists() else None
    for path in (ours / "roles").iterdir():
        theirs = all_in_one[path.stem] if all_in_one else json.loads((peer / "roles" / path.name).read_text("utf-8"))
        assert json.loads(path.read_text("utf-8")) == theirs, path


def versions(place: Workplace) -> str:

    listed = subprocess.run([place.peers_script("pip"), "list", "--format=json"], capture_output=True, check=True)
    found = {one["name"]: one["version"] for one in json.loads(listed.stdout)}
    return ", ".join(f"{name} {found[name]}" for name in ("rjsonnet", "ansible-core"))
