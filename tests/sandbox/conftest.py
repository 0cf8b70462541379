"""A real sandbox for the tests, one per module, and clients that speak to it by an explicit endpoint."""

import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nodepkg.sandbox import process
from nodepkg.sandbox.process import Sandbox
from nodepkg.sandbox.seed import Seed, SeedImage, SeedRegion

SEED = Seed(
    {
        "us-east-1": SeedRegion(
            images=(
                SeedImage("ami-1ebb2077", "ubuntu-12.04"),
                SeedImage(None, "ubuntu/images/*jammy*", "099720109477", "arm64"),
            ),
            security_groups=("bee", "external", "sg-0123456789abcdef0"),
            key_pairs=("ops",),
            instance_profiles=("web", "arn:aws:iam::111122223333:instance-profile/path/db"),
            instance_types=("m1.large",),
            subnets=("subnet-0aaaaaaaaaaaaaaaa", "subnet-0bbbbbbbbbbbbbbbb"),
            buckets=("example-deploys",),
        )
    }
)

Client = Callable[[str], Any]


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    directory = tmp_path_factory.mktemp("sandbox") / "state"
    yield directory
    process.stop(directory)


@pytest.fixture(scope="module")
def sandbox(state: Path) -> Sandbox:
    return process.start(state)


@pytest.fixture
def seeded(sandbox: Sandbox) -> Sandbox:
    process.seed(sandbox, SEED)
    process.reset(sandbox)
    return sandbox


@pytest.fixture
def client(seeded: Sandbox) -> Client:
    return clients(seeded.endpoint)


def clients(endpoint: str) -> Client:
    def make(service: str) -> Any:
        return importlib.import_module("boto3").client(
            service,
            endpoint_url=endpoint,
            region_name="us-east-1",
            aws_access_key_id="sandbox",
            aws_secret_access_key="sandbox",
        )

    return make
