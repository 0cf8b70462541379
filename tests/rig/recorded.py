"""What the recording chef-solo of a host (host/chef-solo) has written down."""

import stat
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Run:
    """One call of chef-solo. `end` and `code` are None if it runs, or was killed; times are seconds since the epoch.

    argv starts with "chef-solo"; `files` are those of the folder of its -c file, by their paths there, and `dna` what
    the -j file held. `beside` is whether another one ran on this host when it began.
    """

    argv: tuple[str, ...]
    cwd: str
    environ: str
    files: dict[str, bytes]
    dna: bytes | None
    begin: float
    end: float | None
    code: int | None
    beside: bool


def read(folder: Path) -> Run:
    argv, code, dna = folder / "argv", folder / "code", folder / "dna.json"
    told = code.read_text().strip() if code.exists() else ""
    files = folder / "files"
    return Run(
        argv=tuple(argv.read_text().split("\0")[:-1]),
        cwd=(folder / "cwd").read_text().rstrip("\n"),
        environ=(folder / "environ").read_text(),
        files={str(path.relative_to(files)): path.read_bytes() for path in sorted(files.rglob("*")) if _is_file(path)},
        dna=dna.read_bytes() if dna.exists() else None,
        begin=(folder / "cwd").stat().st_mtime,
        end=code.stat().st_mtime if told else None,
        code=int(told) if told else None,
        beside=(folder / "beside").exists(),
    )


def _is_file(path: Path) -> bool:
    return stat.S_ISREG(path.lstat().st_mode)
