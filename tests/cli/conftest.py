"""The program in this process, in a copy of the example."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nodepkg.cli import commands
from nodepkg.cli.app import run as run_program
from nodepkg.clients.aws.account import Account
from nodepkg.sandbox.calls import read
from nodepkg.sandbox.throttling import Throttling
from tests.faults import aws
from tests.projects import make_project
from tests.worlds import World

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


Run = Callable[..., Done]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """One command line."""
    assert commands

    def call(*arguments: str) -> Done:
        code = run_program(list(arguments))
        said = capsys.readouterr()
        return Done(int(code), said.out, said.err)

    return call


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the example project, without artefacts, as the current folder."""
    folder = tmp_path / "project"
    folder.mkdir()
    shutil.copy(ROOT / "nodes.json", folder)
    for part in ("cookbooks", "data_bags", "templates"):
        shutil.copytree(ROOT / part, folder / part)
    monkeypatch.chdir(folder)
    for variable in ("NODEPKG_NODES", "NODEPKG_SANDBOX"):
        monkeypatch.delenv(variable, raising=False)
    return folder


FLEET = {name: {"run_list": ["recipe[x]"], "source_ami": "ami-1ebb2077"} for name in ("bee", "wasp")}


class Refusing:
    """Layer that answers some actions with an error which no retry helps against."""

    def __init__(self) -> None:
        self.actions: set[str] = set()

    def __call__(self, app: "WSGIApplication") -> "WSGIApplication":
        def answer(environ: "WSGIEnvironment", start_response: "StartResponse") -> "Iterable[bytes]":
            call = read(environ)
            if call.action in self.actions:
                return call.error("UnauthorizedOperation", "not you", 403)(environ, start_response)
            return app(environ, start_response)

        return answer


@pytest.fixture
def calls() -> Throttling:
    return Throttling()


@pytest.fixture
def refusing() -> Refusing:
    return Refusing()


@pytest.fixture
def account(calls: Throttling, refusing: Refusing) -> Iterator[Account]:
    with aws(refusing, calls) as account:
        yield account


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, account: Account) -> World:
    """A project with two groups as the current folder, and an account that the environment leads to."""
    make_project(tmp_path, FLEET)
    monkeypatch.chdir(tmp_path)
    for name in ("AWS_PROFILE", "NODEPKG_NODES", "NODEPKG_SANDBOX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", str(account.endpoint))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    return World()


def existing(world: World) -> set[str]:
    return {image for image in world.ec2.amis if "group" in world.ec2.tags.get(image, {})}
