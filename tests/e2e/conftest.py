"""What the end-to-end tests share: a copy of the example, and an embedded AWS."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from nodepkg.sandbox import process
from tests.e2e.program import CLEAN, Program

ROOT = Path(__file__).parents[2]


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """A copy of the example project, without its artefacts."""
    folder = tmp_path / "project"
    folder.mkdir()
    shutil.copy(ROOT / "nodes.json", folder)
    for part in ("cookbooks", "data_bags", "templates"):
        shutil.copytree(ROOT / part, folder / part)
    return folder


@pytest.fixture
def package(example: Path) -> Iterator[Program]:
    """The program in the copy; a sandbox that it started is stopped."""
    yield Program(example)
    process.stop(example / ".nodepkg" / "sandbox")


@pytest.fixture
def aws(tmp_path: Path) -> Iterator[process.Sandbox]:
    """The front as a real account would be met: by an endpoint in the environment, not by --sandbox."""
    state = tmp_path / "aws"
    yield process.start(state)
    process.stop(state)


@pytest.fixture
def on_aws(example: Path, aws: process.Sandbox) -> Program:
    """The program in the copy, with `aws` as its account."""
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_POLL_DELAY_SECONDS": "1"}
    return Program(example, {**CLEAN, **keys, "AWS_ENDPOINT_URL": aws.endpoint})
