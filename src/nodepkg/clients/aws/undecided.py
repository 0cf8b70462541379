"""Errors with which AWS decides nothing: what was asked for may have been carried out, or may be yet."""

from nodepkg.errors import AwsError

# What AWS answers without having decided anything, after all the tries that botocore makes: throttling, and faults of
# its own (a 5xx without words has its number for a code).
_UNDECIDED = (
    "Throttl",
    "RequestThrottled",
    "RequestLimitExceeded",
    "TooManyRequests",
    "SlowDown",
    "Internal",
    "ServiceUnavailable",
    "ServiceFault",
    "Unavailable",
    "RequestTimeout",
    "ResourceContention",
    "PriorRequestNotComplete",
    "TransactionInProgress",
)


def is_undecided(error: AwsError) -> bool:
    """Whether AWS, or the network, has not said yes or no: it may be otherwise the next time."""
    return not error.code or error.code.startswith(_UNDECIDED) or (error.code.isdigit() and error.code[:1] == "5")
