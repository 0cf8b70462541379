"""The program as a user runs it: a process of its own, in a project of its own."""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

# What a developer's own AWS configuration must not reach the tests with.
CLEAN = {
    **{key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "NODEPKG_", "PKR_"))},
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
    "CHECKPOINT_DISABLE": "1",
    "NO_COLOR": "1",
}


@dataclass
class Program:
    """`package` in a folder, with an environment in which no real account can be reached."""

    folder: Path
    environ: dict[str, str] = field(default_factory=lambda: dict(CLEAN))
    command: tuple[str, ...] = (sys.executable, "-m", "nodepkg")

    def __call__(self, *arguments: str, code: int = 0, **environ: str) -> "subprocess.CompletedProcess[str]":
        """Runs it, and asserts its exit code."""
        done = self.run(arguments, environ)
        assert done.returncode == code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def run(self, arguments: "tuple[str, ...]", environ: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [*self.command, *arguments],
            cwd=self.folder,
            env={**self.environ, **environ},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
