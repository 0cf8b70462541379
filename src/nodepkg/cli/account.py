"""Which AWS a call talks to: the user's account, or the embedded one, started when it is needed."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nodepkg.cli.options import SANDBOX_STATE, Call
from nodepkg.errors import UsageError

if TYPE_CHECKING:
    from nodepkg.clients.aws.account import Account
    from nodepkg.nodes.group import Group


@dataclass(frozen=True)
class Cloud:
    """An account, and what a child process needs to talk to the same one and no other."""

    account: "Account"
    environ: Mapping[str, str]
    stage: Callable[[dict[str, Any]], dict[str, Any]] | None = None


# What Packer would take before a profile, as every AWS SDK does.
_BEFORE_A_PROFILE = (
    "AWS_ACCESS_KEY",
    "AWS_SECRET",
    "AWS_SESSION_TOKEN",
    "AWS_SECURITY_TOKEN",
    "AWS_WEB_IDENTITY",
    "AWS_ROLE_",
)


def _environ(profile: str | None) -> dict[str, str]:
    """The user's environment, in which `profile` counts if one was named."""
    if not profile:
        return dict(os.environ)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_BEFORE_A_PROFILE)}
    return {**kept, "AWS_PROFILE": profile}


def window(call: Call) -> float:
    """For how long the AWS of this call may show what is no longer true, in seconds: the embedded one shows what is."""
    from nodepkg.lease.claim import consistency_seconds

    return consistency_seconds(os.environ, default=0.0) if call.sandbox else consistency_seconds(os.environ)


def cloud(call: Call, root: Path, groups: "Sequence[Group]") -> Cloud:
    """The cloud of this call. With --sandbox it has what the groups refer to; their images are not built yet."""
    from nodepkg.clients.aws.account import Account

    trace = call.out.detail if call.out.verbose else None
    say = call.out.note
    if not call.sandbox:
        return Cloud(Account(profile=call.profile, say=say, trace=trace), _environ(call.profile))
    if call.profile:
        raise UsageError("--profile and --sandbox exclude each other", hint="the sandbox has one account of its own")

    from nodepkg.sandbox import process
    from nodepkg.sandbox.environment import child_environment
    from nodepkg.sandbox.needs import needs
    from nodepkg.sandbox.packer import staged_template

    state = root / SANDBOX_STATE
    call.out.note("sandbox: an embedded AWS, not a real account (to end it: package sandbox:stop)")
    sandbox = process.start(state)
    process.seed(sandbox, needs(groups))
    account = Account(endpoint=sandbox.endpoint, say=say, trace=trace)
    return Cloud(
        account, child_environment(os.environ, sandbox.endpoint), lambda made: staged_template(made, sandbox.endpoint)
    )
