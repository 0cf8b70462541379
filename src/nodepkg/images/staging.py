"""What Packer reads for a build: the template on disk, or what the embedded AWS makes of it."""

import json
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from nodepkg.clients.aws.account import Account
from nodepkg.clients.aws.images import Image, Images
from nodepkg.clients.aws.tags import Tags
from nodepkg.errors import RefusedError
from nodepkg.images.adopt import adopt
from nodepkg.images.journal import Record
from nodepkg.images.workbench import Build
from nodepkg.render import hcltext

Stage = Callable[[dict[str, Any]], dict[str, Any]]


class Templates:
    """Gives a build its template. `stage` rewrites it for the embedded AWS; None: it is built as it is."""

    def __init__(self, root: Path, stage: Stage | None) -> None:
        self._root = root
        self._stage = stage

    def prepare(self, build: Build, opened: ExitStack) -> tuple[Path, frozenset[str]]:
        """The template's path, and the names of the user variables that it declares.

        A variable that is not declared is an error in HCL2, and of no use in JSON.
        """
        path = self._root / build.template
        document = packer_template(path)
        declared = frozenset(_declared(document, path))
        if self._stage is None:
            return path, declared
        # Private, since it holds the endpoint of a process of ours; packer/ is not touched.
        folder = opened.enter_context(tempfile.TemporaryDirectory(prefix="nodepkg-"))
        staged = Path(folder, path.name.replace(".pkr.hcl", ".pkr.json"))
        staged.write_text(json.dumps(self._stage(document)), "utf-8")
        return staged, declared


def packer_template(path: Path) -> dict[str, Any]:
    """A template on disk as JSON: one in HCL2 in HCL's JSON syntax, which Packer reads as well."""
    try:
        text = path.read_text("utf-8")
        return dict(json.loads(text)) if path.suffix == ".json" else hcltext.read(text)
    except (ValueError, TypeError) as error:
        raise RefusedError(f"{path}: is no template: {error}", hint="package packer:create writes it anew") from error


def _declared(document: dict[str, Any], path: Path) -> list[str]:
    if path.suffix == ".json":
        return list(document.get("variables") or {})
    return [name for block in document.get("variable", []) for name in block]


class AwsRegistry:
    """The account's images, as a Registry."""

    def __init__(self, account: Account, tags: Mapping[str, Tags]) -> None:
        """`tags` are those of each group."""
        self._account = account
        self._tags = tags

    def identity(self, region: str) -> str:
        return self._account.identity(region)

    def find(self, build: Build, image: str | None, name: str | None) -> Image | None:
        images = Images(self._account, build.region)
        if image:
            return images.image(image)
        return max(images.named(name), key=lambda found: found.order, default=None) if name else None

    def adopt(self, build: Build, image: Image, record: Record) -> None:
        adopt(self._account, build.region, image, build.group, tags=self._tags[build.group], record=record)
