"""The wheel of this very nodepkg, made from its installation: nothing is built, nothing is fetched."""

import base64
import hashlib
import io
import zipfile
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import nodepkg
from nodepkg.errors import RefusedError

# What says how this installation came about, and what is written anew.
_OF_THE_INSTALLATION = frozenset({"INSTALLER", "REQUESTED", "RECORD", "WHEEL", "direct_url.json"})
_WHEEL = "Wheel-Version: 1.0\nGenerator: nodepkg\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
_BEGIN_OF_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip file knows


def own_wheel() -> tuple[str, bytes]:
    """Name and content of the wheel; the same bytes for the same installation, on every machine.

    An editable installation will do as well: its code is there, and so is what it says of itself. Raises RefusedError
    where nodepkg runs without being installed, or is another version than the one that was.
    """
    try:
        described = distribution("nodepkg")
    except PackageNotFoundError:
        raise _not_installed("nodepkg runs from a folder in which it is not installed") from None
    if described.version != nodepkg.__version__:
        raise _not_installed(f"nodepkg {nodepkg.__version__} runs, and {described.version} was installed")
    content = dict(sorted([*_code(Path(nodepkg.__file__).parent), *_description(described)]))
    return f"nodepkg-{described.version}-py3-none-any.whl", _zipped(content, f"{_info(described)}/RECORD")


def _not_installed(told: str) -> RefusedError:
    return RefusedError(
        f"{told}, so no wheel can be made of it",
        hint="pip install nodepkg (or, in a checkout, pip install -e .), and call that one",
    )


def _info(described: Distribution) -> str:
    return f"nodepkg-{described.version}.dist-info"


def _code(package: Path) -> Iterator[tuple[str, bytes]]:
    for path in package.rglob("*"):
        inside = path.relative_to(package)
        if path.is_file() and not any(part == "__pycache__" or part.startswith(".") for part in inside.parts):
            yield f"nodepkg/{inside.as_posix()}", path.read_bytes()


def _description(described: Distribution) -> Iterator[tuple[str, bytes]]:
    folder = _info(described)
    yield f"{folder}/WHEEL", _WHEEL.encode("ascii")
    found = [path for path in described.files or () if path.parts[0].endswith(".dist-info")]
    if not any(path.name == "METADATA" for path in found):
        raise _not_installed("nodepkg was installed without the description that a wheel has to have")
    for path in found:
        if path.name not in _OF_THE_INSTALLATION:
            yield "/".join((folder, *path.parts[1:])), Path(str(described.locate_file(path))).read_bytes()


def _zipped(content: dict[str, bytes], record: str) -> bytes:
    """Not compressed: then no version of zlib shows in it, and a bundle compresses it anyway."""
    lines = "".join(f"{path},sha256={_digest(data)},{len(data)}\n" for path, data in content.items())
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as wheel:
        for path, data in {**content, record: f"{lines}{record},,\n".encode()}.items():
            entry = zipfile.ZipInfo(path, _BEGIN_OF_TIME)
            entry.external_attr = 0o100644 << 16
            entry.create_system = 3  # Unix, wherever it is made
            wheel.writestr(entry, data)
    return buffer.getvalue()


def _digest(data: bytes) -> str:
    """As RECORD has it (the binary distribution format): URL-safe, without padding."""
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode("ascii")
