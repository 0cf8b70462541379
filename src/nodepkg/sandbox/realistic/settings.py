"""How long things take."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Realism:
    """Seconds, short ones by default: what takes AWS minutes can be watched. Quotas and retries are AWS's in kind."""

    pending_seconds: float = 5.0
    """From the launch of a node until EC2 says `running`."""
    status_check_seconds: float = 5.0
    """From then until its status checks say `ok`, or `impaired`."""
    health_seconds: float = 5.0
    """From the registration of a target until it is healthy, or unhealthy."""
    drain_seconds: float = 5.0
    """From the deregistration of a target until it is gone."""
    termination_seconds: float = 5.0
    """From the end of draining, and of lifecycle hooks, until the node is gone."""
    notice_seconds: float = 2.0
    """Until a group notices that a node of it has become sick."""
    retry_seconds: float = 20.0
    """After a launch that failed, until the next one is tried."""
    delete_seconds: float = 3.0
    """From the request to delete a group until its name is free."""
    command_seconds: float = 3.0
    """From the moment at which a node gets a command until it has ended."""


AT_ONCE = Realism(
    pending_seconds=0,
    status_check_seconds=0,
    health_seconds=0,
    drain_seconds=0,
    termination_seconds=0,
    notice_seconds=0,
    delete_seconds=0,
    command_seconds=0,
)
"""Nothing takes time but the next try after a launch that failed."""
