"""A clean-up of many groups under EC2's limits, ours and aws-amicleaner's; and 50 builds at once."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from measure import Command, Figure, run
from workplace import BENCH, ROOT, Workplace, copy_example, pip, venv

GROUPS, IMAGES, KEEP = 100, 30, 10
BURST, RATE = 100, 5  # EC2's bucket for DeregisterImage
BUILDS = 50


@dataclass
class Fleet:
    """An embedded AWS with images in it; `told` is what it counted, once it has ended."""

    environ: dict[str, str]
    told: dict[str, Any] = field(default_factory=dict)


@contextmanager
def fleet(place: Workplace, groups: int, images: int) -> Iterator[Fleet]:
    command = [place.script("python"), str(BENCH / "fleet.py"), str(groups), str(images)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        port = int(process.stdout.readline())
        environ = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "none",
            "AWS_SECRET_ACCESS_KEY": "none",
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        }
        made = Fleet(environ)
        yield made
        told, _ = process.communicate("")
        made.told = json.loads(told)


def figures(place: Workplace) -> Iterator[Figure]:
    pip(place.folder / "venv", f"{ROOT}[sandbox]")
    venv(place.folder / "amicleaner", "aws-amicleaner", constrained=False)
    folder = project(place.folder / "fleet", [f"group-{number:03}" for number in range(GROUPS)])
    doomed = GROUPS * (IMAGES - KEEP)
    ours = ["packer:clean", "-n", str(KEEP), "--max-delete", str(doomed), "--yes", "--quiet"]
    mine = cleaned(place, "ours", Command([place.script("package"), *ours], folder), doomed)
    amicleaner = str(place.folder / "amicleaner" / "bin" / "amicleaner")
    flags = ["--mapping-key", "tags", "--mapping-values", "group", "--keep-previous", str(KEEP), "-f"]
    theirs = cleaned(place, "amicleaner", Command([amicleaner, *flags], folder), doomed)
    name = f"clean {GROUPS} x {IMAGES} images, keep {KEEP}"
    least = (doomed - BURST) / RATE
    yield Figure(f"{name} : what EC2's bucket allows", [mine], [least], limit=1.1)
    yield Figure(f"{name} : aws-amicleaner", [mine], [theirs], limit=None)
    yield from parallel_builds(place)


def cleaned(place: Workplace, name: str, command: Command, doomed: int) -> float:
    """Seconds from start to end; what was called and refused goes to stderr."""
    with fleet(place, GROUPS, IMAGES) as aws:
        seconds = run(Command(command.arguments, command.folder, aws.environ)).seconds
    told = aws.told
    left = len(told["left"]) - (GROUPS * IMAGES - doomed) - 1  # and the source image
    print(
        f"{name}: {seconds:.1f} s, {told['seconds']:.1f} s between the first and the last deletion; "
        f"{left} images too many left, {told['snapshots']} snapshots left;\n"
        f"  calls {told['calls']}\n  refused {told['refused']}",
        file=sys.stderr,
    )
    return seconds


def parallel_builds(place: Workplace) -> Iterator[Figure]:
    """All at once, with a Packer that gives up at the first RequestLimitExceeded."""
    folder = project(place.folder / "builds", [f"build-{number:02}" for number in range(BUILDS)])
    subprocess.run(
        [place.script("package"), "group:create", "--quiet"], cwd=folder, check=True, stdout=subprocess.DEVNULL
    )
    with fleet(place, 1, 1) as aws:
        environ = {**aws.environ, "NODEPKG_PACKER": str(BENCH / "stub_packer.py")}
        command = [place.script("package"), "packer:run", "-n", str(BUILDS), "--yes", "--quiet", "--json"]
        begin = time.perf_counter()
        done = run(Command(command, folder, environ))
    seconds = time.perf_counter() - begin
    print(f"{BUILDS} builds: {seconds:.1f} s, refused {aws.told['refused']}", file=sys.stderr)
    assert not aws.told["refused"], aws.told["refused"]
    least = (BUILDS - 5) / 2
    yield Figure(f"{BUILDS} builds at once : what RunInstances' bucket allows", [done.seconds], [least], limit=None)


def project(folder: Path, groups: list[str]) -> Path:
    """The example with these groups in place of its own."""
    copy_example(folder)
    shutil.rmtree(folder / "templates")
    base = {"region": "us-east-1", "source_ami": "ami-1ebb2077", "packer": {"ssh_source_cidrs": ["192.0.2.0/24"]}}
    base["packer"]["builder"] = {"custom_endpoint_ec2": "http://127.0.0.1", "skip_region_validation": True}
    entries = {name: {"run_list": ["recipe[seatgeek::base]"]} for name in groups}
    (folder / "nodes.json").write_text(json.dumps({"__base__": base, **entries}, indent=4))
    return folder
