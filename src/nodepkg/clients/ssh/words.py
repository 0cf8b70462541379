"""What asyncssh and the system raise, in our words."""

import errno
import socket

from nodepkg.clients.ssh.target import HostKey, Target
from nodepkg.errors import HostKeyError, UnreachableError

_PLAIN = {
    errno.ECONNREFUSED: "connection refused",
    errno.EHOSTUNREACH: "no route to the host",
    errno.ENETUNREACH: "no route to its network",
    errno.ECONNRESET: "the connection was reset",
    errno.EPIPE: "the connection was lost",
}


def in_words(error: Exception, target: Target, seen: list[HostKey], seconds: float) -> Exception:
    """Why nobody was connected to; `seen` are the host keys that were shown, `seconds` how long was waited."""
    import asyncssh

    where = f"{target.address}{f' port {target.port}' if target.port else ''}"
    if isinstance(error, asyncssh.HostKeyNotVerifiable) and seen:
        return HostKeyError(f"{where}: {error.reason}", algorithm=seen[-1].algorithm, data=seen[-1].data)
    if isinstance(error, TimeoutError):
        return UnreachableError(f"{where}: no answer within {seconds:g} s")
    if isinstance(error, asyncssh.PermissionDenied):
        user = f" of {target.user}" if target.user else ""
        return UnreachableError(f"{where}: the login{user} is refused: it takes none of the keys")
    passing = isinstance(error, asyncssh.ConnectionLost | ConnectionResetError | BrokenPipeError)
    return UnreachableError(f"{where}: {reason(error)}", passing=passing)


def reason(error: Exception) -> str:
    """In a few words, for people."""
    import asyncssh

    if isinstance(error, socket.gaierror):
        return "no such name"
    if isinstance(error, OSError):
        return _PLAIN.get(error.errno or 0) or error.strerror or str(error) or "the connection failed"
    if isinstance(error, asyncssh.ConnectionLost):
        return "the connection was lost"
    return str(getattr(error, "reason", "") or error) or "the connection failed"
