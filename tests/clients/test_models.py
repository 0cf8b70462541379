"""Which parts of botocore a command loads: a client for each service that it uses, and for no other."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from botocore.loaders import Loader

from nodepkg.clients.aws.models import Models
from nodepkg.sandbox.process import Sandbox

ROOT = Path(__file__).parents[2]

# Runs a command line, and tells the services whose models were read from botocore's folder of data.
PROGRAM = """
import sys
read = set()
def note(event, arguments):
    if event == "open" and isinstance(arguments[0], str):
        before, _, behind = arguments[0].partition("/botocore/data/")
        read.update({behind.split("/")[0]} if "/" in behind else ())
sys.addaudithook(note)
from nodepkg.cli import commands
from nodepkg.cli.app import run
code = run(sys.argv[1:])
print("services:", *sorted(read))
sys.exit(code)
"""


@pytest.mark.parametrize(
    ("command", "code", "services"),
    [
        (["group:status", "12_04-bee"], 0, ["autoscaling", "ec2"]),
        (["packer:clean", "12_04-bee"], 0, ["autoscaling", "ec2"]),
        (["autoscale:run", "12_04-bee"], 4, ["autoscaling", "ec2"]),
        (["group:list"], 0, []),
    ],
)
def test_a_command_loads_the_services_that_it_uses(
    embedded: Sandbox, command: list[str], code: int, services: list[str]
) -> None:
    reached = {"AWS_ENDPOINT_URL": embedded.endpoint, "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *command],
        cwd=ROOT,
        env={**os.environ, **reached},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert done.stdout.splitlines()[-1].split() == ["services:", *services]


def test_models_of_the_users_own_come_first_as_botocore_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINE", str(tmp_path))
    assert str(tmp_path) in Models(os.pathsep.join(["$MINE", "/elsewhere"])).search_paths
    assert str(tmp_path) not in Models(None).search_paths


def test_every_service_of_botocore_can_be_asked_for() -> None:
    own = Loader()
    assert set(own.list_available_services("service-2")) <= set(Models().list_available_services("service-2"))
    assert Models().load_service_model("sqs", "service-2") == own.load_service_model("sqs", "service-2")
