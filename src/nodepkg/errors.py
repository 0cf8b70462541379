"""The error tree and the exit codes: every failure that is foreseen, on one screen."""

from enum import IntEnum


class ExitCode(IntEnum):
    """What the process answers; docs/design.md says the same (a test compares them)."""

    DONE = 0
    BUG = 1
    USAGE = 2
    CONFIG = 3
    REFUSED = 4
    AWS = 5
    TOOL = 6
    INTERRUPTED = 130


class NodepkgError(Exception):
    """A foreseen failure: what failed, on what, and what to do next.

    `hint` is the remedy: one sentence, or the command to run.
    """

    exit_code = ExitCode.BUG

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(NodepkgError):
    """The command line asks for something that does not exist."""

    exit_code = ExitCode.USAGE


class ConfigError(NodepkgError):
    """nodes.json, or a file that it needs, is wrong; `message` may hold several findings, one a line."""

    exit_code = ExitCode.CONFIG


class RefusedError(NodepkgError):
    """A precondition or a safety rule forbids it."""

    exit_code = ExitCode.REFUSED


class AwsError(NodepkgError):
    """AWS said no, or could not be reached. `code` is AWS's own word, such as `InvalidAMIID.NotFound`."""

    exit_code = ExitCode.AWS

    def __init__(self, message: str, *, code: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.code = code


class NotYetError(AwsError):
    """AWS did not do it, and will later: something else is under way. Whoever can wait looks again."""


class CredentialsError(AwsError):
    """There are no credentials, or AWS does not take them: what is local can still be shown."""


class ToolError(NodepkgError):
    """Another program or host failed: Packer, git, a node."""

    exit_code = ExitCode.TOOL


class UnreachableError(ToolError):
    """A host could not be reached, or the connection to it was lost. `passing`: it may go better the next time."""

    def __init__(self, message: str, *, passing: bool = False, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.passing = passing


class CompactedError(ToolError):
    """etcd does not have all that happened since a revision any more: list again, then watch from there."""


class LeaseGoneError(ToolError):
    """A lease of etcd has expired, or was revoked, and what was bound to it went with it."""


class HostKeyError(RefusedError):
    """A host shows a key that nothing vouches for. `algorithm` and `data` (base64) are the key."""

    def __init__(self, message: str, *, algorithm: str, data: str) -> None:
        super().__init__(message)
        self.algorithm = algorithm
        self.data = data
