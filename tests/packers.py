"""The Packers that tests run: Debian's, and those that NODEPKG_TEST_PACKERS names (a list like PATH)."""

import os
import shutil

import pytest

from nodepkg.clients.packer import FIRST_WITH_INIT, find


def packers() -> list[str]:
    """Paths; Debian's own must be there: a test that cannot run has failed."""
    debian = shutil.which("packer", path="/usr/bin:/usr/local/bin") or shutil.which("packer")
    if debian is None:
        raise pytest.UsageError("the tests need packer: apt-get install packer")
    others = [path for path in os.environ.get("NODEPKG_TEST_PACKERS", "").split(os.pathsep) if path]
    return [debian, *others]


each_packer = pytest.mark.parametrize("packer", packers())

# Each Packer with each language that it reads.
each_language = pytest.mark.parametrize(
    ("packer", "language"),
    [
        (path, language)
        for path in packers()
        for language in ("json", "hcl2")
        if language == "json" or find({"NODEPKG_PACKER": path}).version >= FIRST_WITH_INIT
    ],
)
