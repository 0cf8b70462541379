"""git: at which commit the project stands."""

import subprocess
from pathlib import Path


def commit(folder: Path) -> str:
    """The commit of HEAD, with `-dirty` if anything in the folder differs from it; "" outside of git."""
    head = _git(folder, "rev-parse", "--verify", "HEAD")
    if not head:
        return ""
    return f"{head}-dirty" if _git(folder, "status", "--porcelain", "--", ".") else head


def _git(folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],  # noqa: S607 - git is where PATH says
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
