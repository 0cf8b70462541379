"""An embedded AWS for each module, and an account that reaches it."""

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from nodepkg.clients.aws.account import Account
from nodepkg.sandbox import process
from nodepkg.sandbox.seed import Seed, SeedImage, SeedRegion

# With all that moto and botocore keep, to look for garbage as often as Python does took a seventh of the time.
gc.set_threshold(10_000, 10, 10)


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[process.Sandbox]:
    state: Path = tmp_path_factory.mktemp("aws")
    yield process.start(state)
    process.stop(state)


@pytest.fixture
def account(embedded: process.Sandbox) -> Account:
    """Empty but for one source image."""
    region = SeedRegion(
        images=(SeedImage("ami-1ebb2077", "precise"),), security_groups=("bee",), instance_types=("m1.large",)
    )
    process.seed(embedded, Seed({"us-east-1": region}))
    process.reset(embedded)
    return Account(endpoint=embedded.endpoint)


@pytest.fixture(autouse=True)
def consistent(monkeypatch: pytest.MonkeyPatch) -> None:
    """The embedded AWS shows at once what is so: nobody has to wait for it."""
    monkeypatch.setenv("NODEPKG_CONSISTENCY_SECONDS", "0")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What tests have to say for themselves (record_property "said"), also from the processes of -n."""
    said = [
        text for one in terminalreporter.stats.get("passed", []) for key, text in one.user_properties if key == "said"
    ]
    if said:
        terminalreporter.section("said by tests")
        for text in said:
            terminalreporter.write_line(text)
