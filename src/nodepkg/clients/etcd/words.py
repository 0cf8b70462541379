"""What etcd, gRPC and the system say, in our words."""

import errno
import socket
import ssl
from collections.abc import Sequence

from nodepkg.errors import CompactedError, LeaseGoneError, ToolError, UnreachableError

CUT = "the connection was lost"
_PLAIN = {
    errno.ECONNREFUSED: "connection refused",
    errno.EHOSTUNREACH: "no route to the host",
    errno.ENETUNREACH: "no route to its network",
    errno.ECONNRESET: "the connection was reset",
    errno.EPIPE: CUT,
}


class UnansweredError(Exception):
    """One endpoint did not answer; another may. It does not leave the client.

    `lost`: there is no connection, or no more. `stale`: it had been open before the call, so a new one may do.
    """

    def __init__(self, told: str, *, lost: bool = False, stale: bool = False) -> None:
        super().__init__(told)
        self.lost = lost
        self.stale = stale


class LoginNeededError(Exception):
    """etcd does not know the token (any more). It does not leave the client."""


def reason(error: Exception) -> str:
    """Why there was no answer, in a few words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {error.reason or error}"
    if isinstance(error, socket.gaierror):
        return "no such name"
    if isinstance(error, OSError):
        return _PLAIN.get(error.errno or 0) or error.strerror or str(error) or "the connection failed"
    told = getattr(error, "message", "") or str(error)
    return CUT if told in ("", "Connection lost") or isinstance(error, AttributeError) else told


def refusal(status: str, message: str, endpoint: str) -> Exception:
    """What etcd refuses, which no other endpoint would grant. `status` is gRPC's."""
    if status == "UNAUTHENTICATED" or ("revision" in message and "old" in message and "auth" in message):
        return LoginNeededError(message)
    if "has been compacted" in message:
        return CompactedError(f"etcd at {endpoint}: {message}")
    if "lease not found" in message:
        return LeaseGoneError(f"etcd at {endpoint}: {message}")
    return ToolError(f"etcd at {endpoint} refuses: {message or status}")


def unreachable(tried: Sequence[str]) -> UnreachableError:
    """Nobody answered; `tried` has an endpoint and a reason each."""
    return UnreachableError(f"etcd does not answer: {'; '.join(dict.fromkeys(tried))}", passing=True)
