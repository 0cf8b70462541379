"""Where it is measured: a temporary folder with virtual environments, the example, and a project of many groups."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
BENCH = ROOT / "bench"
COUNT = """
from nodepkg.cli import commands
from nodepkg.cli.app import app
from typer.main import get_command
print(sum(not command.hidden for command in get_command(app).commands.values()))
"""


@dataclass(frozen=True)
class Workplace:
    folder: Path

    def script(self, name: str) -> str:
        return str(self.folder / "venv" / "bin" / name)

    def peers_script(self, name: str) -> str:
        return str(self.folder / "peers" / "bin" / name)

    @property
    def example(self) -> Path:
        return self.folder / "example"

    @property
    def solo_rb(self) -> str:
        return str(ROOT / "src" / "nodepkg" / "templates" / "solo.rb")


def prepare(folder: Path) -> tuple[Workplace, int]:
    """Installs nodepkg and the bare programs, with the versions of constraints.txt; the number of its commands."""
    place = Workplace(folder)
    venv(folder / "venv", str(ROOT))
    told = subprocess.run([place.script("python"), "-c", COUNT], capture_output=True, text=True, check=True)
    bare = shutil.copytree(BENCH / "bare", folder / "bare")
    (bare / "bare_count.py").write_text(f"COMMANDS = {int(told.stdout)}\n")
    pip(folder / "venv", str(bare))
    copy_example(place.example)
    return place, int(told.stdout)


def prepare_peers(place: Workplace) -> None:
    venv(place.folder / "peers", "rjsonnet", "ansible-core", constrained=False)


def venv(folder: Path, *wanted: str, constrained: bool = True) -> None:
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    pip(folder, *wanted, constrained=constrained)


def pip(folder: Path, *wanted: str, constrained: bool = True) -> None:
    """Installed as a user would, with compiled modules."""
    environ = {**os.environ, "PIP_CONSTRAINT": str(ROOT / "constraints.txt")} if constrained else dict(os.environ)
    install = [folder / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check", "--compile", *wanted]
    subprocess.run(install, env=environ, check=True)


def copy_example(folder: Path) -> None:
    folder.mkdir()
    shutil.copy(ROOT / "nodes.json", folder)
    for part in ("cookbooks", "data_bags", "templates"):
        shutil.copytree(ROOT / part, folder / part)
