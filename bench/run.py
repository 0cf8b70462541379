"""Measures the figures and prints them as a table: bench/README.md says what they mean.

Usage: python bench/run.py [startup] [aws] [large] [peers] [ec2] [bundle] [ssh] [rollouts] [services]
       python bench/run.py [overhead] [calls] [replacing]    parts of rollouts
"""

import os
import platform
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import aws
import bundles
import ec2
import large
import peers
import rollouts
import ssh_fleets
import startup
from measure import HEAD, Figure
from workplace import Workplace, prepare, prepare_peers

import services

GROUPS = 10_000
WITH_PLAYBOOK = 1_000
RATIOS = ("startup", "aws", "large", "peers", "ec2", "bundle")


def figures(place: Workplace, commands: int, wanted: list[str]) -> Iterator[Figure]:
    if "startup" in wanted:
        yield from startup.figures(place, commands, times=25)
    if "aws" in wanted:
        yield from aws.figures(place, times=25)
    if "ec2" in wanted:
        yield from ec2.figures(place)
    if "bundle" in wanted:
        yield from bundles.figures(place, times=15)
    if "large" in wanted:
        yield from large.figures(place, GROUPS, times=5)
    if "peers" in wanted:
        prepare_peers(place)
        print(f"({peers.versions(place)})", file=sys.stderr)
        yield from peers.figures(place, GROUPS, WITH_PLAYBOOK, times=5)


def main() -> None:
    wanted = sys.argv[1:] or [*RATIOS, "ssh", "rollouts", "services"]
    parts = rollouts.PARTS if "rollouts" in wanted else [part for part in rollouts.PARTS if part in wanted]
    for name in [name for name in os.environ if name.startswith(("AWS_", "NODEPKG_", "PYTHON"))]:
        del os.environ[name]
    os.environ |= {"AWS_EC2_METADATA_DISABLED": "true", "COLUMNS": "100"}
    with tempfile.TemporaryDirectory(prefix="nodepkg-bench-") as folder:
        place, commands = prepare(Path(folder).resolve())
        print(f"Python {platform.python_version()}, {os.cpu_count()} cores, {platform.machine()}", flush=True)
        if set(RATIOS) & set(wanted):
            print(f"\n{HEAD}", flush=True)
        for figure in figures(place, commands, wanted):
            print(figure.row(), flush=True)
        if "ssh" in wanted:
            for line in ssh_fleets.tables(place):
                print(line, flush=True)
        if parts:
            for line in rollouts.tables(place, parts):
                print(line, flush=True)
        if "services" in wanted:
            for line in services.tables(place):
                print(line, flush=True)


if __name__ == "__main__":
    main()
