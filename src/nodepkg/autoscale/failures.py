"""What a change came to that raised an error: whether it may have been made, and what that means for the rollout."""

from enum import Enum

from nodepkg.clients.aws.undecided import is_undecided
from nodepkg.errors import AwsError, CredentialsError, NodepkgError, NotYetError, ToolError
from nodepkg.lease.claim import LostLeaseError, StaleHeartbeatError

__all__ = ["Verdict", "is_undecided", "judge"]


class Verdict(Enum):
    """What an error of a change means."""

    LOST = "the lease is somebody else's"
    STALE = "our own heartbeat is too old"
    CREDENTIALS = "AWS does not know us any more"
    NOT_YET = "AWS is not ready for it"
    UNTOLD = "the registry of services did not take it: AWS is not concerned"
    UNCLEAR = "it may have been made, or may be made yet"
    NO = "AWS, or a rule, said no: it was not made"


def judge(error: NodepkgError) -> Verdict:
    """What a change that raised this came to."""
    for kind, verdict in (
        (LostLeaseError, Verdict.LOST),
        (StaleHeartbeatError, Verdict.STALE),
        (CredentialsError, Verdict.CREDENTIALS),
        (NotYetError, Verdict.NOT_YET),
        (ToolError, Verdict.UNTOLD),
    ):
        if isinstance(error, kind):
            return verdict
    return Verdict.UNCLEAR if isinstance(error, AwsError) and is_undecided(error) else Verdict.NO
