"""Commands in this process, each held to its own policy."""

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import pytest

from nodepkg.clients.aws.account import Account
from nodepkg.permissions.commands import Facts, needed
from nodepkg.permissions.statement import policy
from nodepkg.sandbox.realistic import Realism, Realistic
from tests.answers import Answers, answers_of
from tests.cli.conftest import Done, Run, run, world
from tests.cli.test_start import Doing
from tests.faults import aws
from tests.iam import Authority
from tests.projects import make_project
from tests.worlds import World

__all__ = ["run", "world"]
REGION = "us-east-1"


@pytest.fixture
def authority() -> Authority:
    return Authority()


@pytest.fixture
def account(authority: Authority, doing: Doing) -> Iterator[Account]:
    realistic = Realistic(realism=Realism(*(0.02 for _ in fields(Realism))))
    authority.realistic = realistic
    with aws(doing, authority, realistic=realistic) as account:
        yield account


@pytest.fixture
def doing() -> Doing:
    return Doing()


@pytest.fixture
def answers(account: Account, authority: Authority) -> Iterator[Answers]:
    """Nodes that answer to HTTP."""
    assert account
    assert authority.realistic
    with answers_of(authority.realistic) as answers:
        yield answers


@dataclass
class Stage:
    """Where commands are run, and what of AWS they find there."""

    program: Run
    world: World
    account: Account
    authority: Authority
    folder: Path
    doing: Doing
    answers: Answers
    facts: Facts = field(default_factory=Facts)

    def project(self, **groups: Any) -> None:
        make_project(self.folder, groups)

    def held(self, *arguments: str, code: int = 0) -> Done:
        """The command line under the policy of its command, which has to be enough."""
        done = self.under(policy(needed([arguments[0]], self.facts)), *arguments)
        assert self.authority.denied == [], done.err
        assert done.code == code, done.err
        return done

    def under(self, document: dict[str, Any], *arguments: str) -> Done:
        with self.authority.holding(document):
            return self.program(*arguments)

    def free(self, *arguments: str) -> Done:
        """The command line with every permission: what only sets the scene."""
        done = self.program(*arguments)
        assert done.code == 0, done.err
        return done

    def client(self, service: str) -> Any:
        return self.account.client(service, REGION)

    def unused(self, command: str) -> set[str]:
        """Actions that the command's policy allows, and no call of it so far had to be allowed."""
        allowed = {action for statement in needed([command], self.facts) for action in statement.actions}
        return allowed - self.authority.actions


@pytest.fixture
def stage(
    doing: Doing,
    authority: Authority,
    answers: Answers,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> Stage:
    program, world, account, folder = map(request.getfixturevalue, ("run", "world", "account", "tmp_path"))
    monkeypatch.setenv("NODEPKG_CONSISTENCY_SECONDS", "0.05")
    monkeypatch.setenv("NODEPKG_POLL_SECONDS", "0.01")
    return Stage(program, world, account, authority, folder, doing, answers)
