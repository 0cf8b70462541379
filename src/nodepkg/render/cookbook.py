"""The Chef cookbook nodepkg-services: what a node needs to run the agent, as files of a project."""

import io
import re
import zipfile
from dataclasses import dataclass
from importlib.resources import files as package_files
from pathlib import Path

import nodepkg
from nodepkg.errors import RefusedError
from nodepkg.render import wheelhouse
from nodepkg.render.files import Artifact, Blob
from nodepkg.render.own_wheel import own_wheel
from nodepkg.render.starter import shipped_files

NAME = "nodepkg-services"
EXTRA = "agent"
WHEELS = f"{NAME}/files/wheels"
_RELEASE = re.compile(r"\d+(?:\.\d+){0,2}")


@dataclass(frozen=True)
class Cookbook:
    """Its files, by paths relative to the folder of cookbooks; `leftovers` are wheels there that are none of them."""

    texts: list[Artifact]
    wheels: list[Blob]
    leftovers: list[str]

    @property
    def files(self) -> list[Artifact | Blob]:
        return [*self.texts, *self.wheels]


def cookbook(cookbooks: Path, wheels: Path | None = None) -> Cookbook:
    """The cookbook as it has to be in this folder of cookbooks.

    `wheels` is a folder that has all the wheels that nodepkg's needs; without, nodes ask the package index of their
    own. Raises RefusedError if one is missing there, or if no wheel of nodepkg can be made.
    """
    name, content = own_wheel()
    shipped = _checked(name, content, wheels) if wheels else []
    blobs = [Blob(f"{WHEELS}/{name}", content), *(Blob(f"{WHEELS}/{path.name}", _read(path)) for path in shipped)]
    return Cookbook(_texts(), blobs, _leftovers(cookbooks, {blob.path for blob in blobs}))


def _texts() -> list[Artifact]:
    found = shipped_files(package_files("nodepkg") / "templates" / "cookbook")
    texts = {path: file.read_text("utf-8") for path, file in found}
    texts["metadata.rb"] = texts["metadata.rb"].replace("{version}", chef_version(nodepkg.__version__))
    return [Artifact("", f"{NAME}/{path}", texts[path]) for path in sorted(texts)]


def chef_version(version: str) -> str:
    """A version as Chef takes it: two or three numbers, and nothing else."""
    match = _RELEASE.match(version)
    numbers = match[0].split(".") if match else ["0"]
    return ".".join([*numbers, "0", "0"][: max(len(numbers), 2)])


def _checked(name: str, content: bytes, folder: Path) -> list[Path]:
    paths = wheelhouse.wheels_of(folder)
    own = wheelhouse.wheel(name, content=zipfile.ZipFile(io.BytesIO(content)))
    there = [wheelhouse.wheel(path.name, path) for path in paths]
    environment = wheelhouse.node_environment(path.name for path in paths)
    missing = wheelhouse.missing(own, EXTRA, there, environment)
    if missing:
        python = environment["python_version"]
        raise RefusedError(
            "\n".join(f"{folder} has no wheel for {one}" for one in missing) + f"\n(for Python {python} on Linux)",
            hint=f"with that Python: pip download --only-binary=:all: 'nodepkg[{EXTRA}]' -d DIR",
        )
    return paths


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise RefusedError(f"{path}: cannot be read: {error.strerror}") from error


def _leftovers(cookbooks: Path, wanted: set[str]) -> list[str]:
    """Wheels of another version, and such as are shipped no more: pip would choose among all that are there."""
    there = sorted(f"{WHEELS}/{path.name}" for path in (cookbooks / WHEELS).glob("*.whl"))
    return [path for path in there if path not in wanted]


def remove(cookbooks: Path, leftovers: list[str]) -> None:
    """Removes those files; raises RefusedError naming the first that stays."""
    for path in leftovers:
        try:
            (cookbooks / path).unlink(missing_ok=True)
        except OSError as error:
            raise RefusedError(f"{cookbooks / path}: cannot be removed: {error.strerror}") from error
