"""Folders of wheels, and whether all is there that the agent needs: pip asks no index for what is shipped."""

import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from email.parser import BytesParser
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import Version

from nodepkg.errors import RefusedError

# For which CPython one is: pydantic_core-2.50.4-cp312-cp312-manylinux_2_17_x86_64.whl. (abi3 is for all later ones.)
_FOR_ONE_PYTHON = re.compile(r"-cp3(\d+)-cp3\d+t?-")


@dataclass(frozen=True)
class Wheel:
    """A wheel: its file's name, its project's name in canonical form, and the requirements that it states."""

    file: str
    name: str
    version: Version
    requires: tuple[Requirement, ...]


def wheel(file: str, source: Path | None = None, content: zipfile.ZipFile | None = None) -> Wheel:
    """What the wheel of this name says; raises RefusedError for a file that is none."""
    try:
        name, version, _, _ = parse_wheel_filename(file)
        with content or zipfile.ZipFile(source or file) as opened:
            (path,) = (path for path in opened.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", path))
            stated = BytesParser().parsebytes(opened.read(path)).get_all("Requires-Dist", [])
        return Wheel(file, name, version, tuple(Requirement(line) for line in stated))
    except (InvalidWheelFilename, InvalidRequirement, zipfile.BadZipFile, ValueError, OSError) as error:
        raise RefusedError(f"{source or file}: is no wheel: {error}", hint="fetch it again") from error


def wheels_of(folder: Path) -> list[Path]:
    """The wheels of a folder but for nodepkg's own, by name; raises RefusedError if it cannot be read."""
    try:
        found = sorted(path for path in folder.iterdir() if path.suffix == ".whl" and path.is_file())
    except OSError as error:
        raise RefusedError(f"{folder}: cannot be read: {error.strerror}") from error
    return [path for path in found if not path.name.startswith("nodepkg-")]


@dataclass(frozen=True)
class Missing:
    """A requirement that no wheel meets, who states it, and the versions that are there."""

    requirement: str
    stated_by: str
    there: tuple[str, ...]

    def __str__(self) -> str:
        there = f" (there: {', '.join(self.there)})" if self.there else ""
        return f"{self.requirement}, which {self.stated_by} requires{there}"


def missing(own: Wheel, extra: str, there: Iterable[Wheel], environment: Mapping[str, str]) -> list[Missing]:
    """What is needed for `own[extra]` and met by none of the wheels; markers are read for that environment."""
    by_name: dict[str, list[Wheel]] = {}
    for one in there:
        by_name.setdefault(one.name, []).append(one)
    found: list[Missing] = []
    seen: set[tuple[str, str]] = set()
    waiting = [(own, frozenset({extra}))]
    while waiting:
        by, extras = waiting.pop(0)
        for requirement in _wanted(by, extras, environment):
            name = canonicalize_name(requirement.name)
            if (by.file, str(requirement)) in seen:
                continue
            seen.add((by.file, str(requirement)))
            known = by_name.get(name, [])
            meeting = [one for one in known if requirement.specifier.contains(one.version, prereleases=True)]
            if not meeting:
                found.append(Missing(_shown(requirement), by.name, tuple(str(one.version) for one in known)))
            waiting += [(one, frozenset(requirement.extras)) for one in meeting]
    return found


def _shown(requirement: Requirement) -> str:
    extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
    return f"{requirement.name}{extras}{requirement.specifier}"


def _wanted(by: Wheel, extras: frozenset[str], environment: Mapping[str, str]) -> Iterator[Requirement]:
    for requirement in by.requires:
        marker = requirement.marker
        if marker is None or any(marker.evaluate({**environment, "extra": extra}) for extra in {"", *extras}):
            yield requirement


def node_environment(files: Iterable[str]) -> dict[str, str]:
    """What markers are read for: Linux, and the Python that these wheels are for, else the one that runs this."""
    environment = {key: str(value) for key, value in default_environment().items()}
    environment |= {"os_name": "posix", "sys_platform": "linux", "platform_system": "Linux"}
    minors = [int(match[1]) for file in files if (match := _FOR_ONE_PYTHON.search(file))]
    if minors:
        environment["python_version"] = f"3.{min(minors)}"
        environment["python_full_version"] = f"3.{min(minors)}.0"
    return environment
