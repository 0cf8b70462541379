"""One claim per group."""

from nodepkg.errors import RefusedError


class LostLeaseError(RefusedError):
    """Another one has the group now."""


class StaleHeartbeatError(RefusedError):
    """Our own last heartbeat is too old to change anything."""
