"""Asks nodes over HTTP whether they serve: many at the same time, each within its seconds, whatever a server does."""

import socket
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPException
from ipaddress import ip_address
from queue import Empty, SimpleQueue

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NameResolutionError, NewConnectionError
from urllib3.util import Url, parse_url

from nodepkg import __version__

AT_ONCE = 32
_HEADERS = {"User-Agent": f"nodepkg/{__version__}", "Accept": "*/*", "Connection": "close"}


def answering(urls: Collection[str], *, timeout: float, loopback_only: bool, at_once: int = AT_ONCE) -> dict[str, str]:
    """Each url with "" if GET was answered with 2xx within `timeout` seconds, else why not.

    No redirect is followed and no proxy used; of a body nothing is read. With `loopback_only` no address but a loopback
    one is asked, and no name.
    """
    waiting, running, ended = list(dict.fromkeys(urls))[::-1], set[_Question](), SimpleQueue[_Question]()
    answers = dict.fromkeys(urls, "")
    while waiting or running:
        while waiting and len(running) < at_once:
            question = _Question(waiting.pop(), timeout, ended, loopback_only=loopback_only)
            running.add(question)
            question.start()
        with suppress(Empty):
            until = min(question.deadline for question in running)
            ended.get(timeout=max(until - time.monotonic(), 0))
        for question in [one for one in running if one.is_over]:
            running.remove(question)
            answers[question.url] = question.result()
    return answers


class _Question(threading.Thread):
    """One GET. A daemon, since a name that is not resolved holds a thread for as long as the system likes."""

    def __init__(self, url: str, timeout: float, ended: "SimpleQueue[_Question]", *, loopback_only: bool) -> None:
        super().__init__(name=f"asking {url}", daemon=True)
        self.url = url
        self.deadline = time.monotonic() + timeout
        self._timeout = timeout
        self._ended = ended
        self._loopback_only = loopback_only
        self._answer: str | None = None
        self._connection: HTTPConnection | None = None

    @property
    def is_over(self) -> bool:
        return self._answer is not None or time.monotonic() >= self.deadline

    def result(self) -> str:
        """The answer; what has none yet is cut off."""
        if self._answer is None:
            self._answer = self._late
            sock = self._connection.sock if self._connection else None
            if sock is not None:
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)  # wakes the thread, which closes it
        return self._answer

    @property
    def _late(self) -> str:
        return f"no answer within {self._timeout:g} s"

    def run(self) -> None:
        told = self._ask()
        if self._answer is None:
            self._answer = told
        self._ended.put(self)

    def _ask(self) -> str:
        try:
            url = parse_url(self.url)
            if self._loopback_only and not _is_loopback(url.host or ""):
                return f"{url.host} is no loopback address, and the sandbox asks no other"
            with self._connected(url) as connection:
                connection.request("GET", url.request_uri, headers=_HEADERS, preload_content=False)
                status = connection.getresponse().status
        except TimeoutError:
            return self._late
        except (HTTPError, HTTPException, OSError, ValueError) as error:
            return _reason(error, self._late)
        return "" if 200 <= status < 300 else f"it answers {status}"

    @contextmanager
    def _connected(self, url: Url) -> Iterator[HTTPConnection]:
        kind = HTTPSConnection if url.scheme == "https" else HTTPConnection
        self._connection = kind(url.host or "", url.port, timeout=self._timeout)
        try:
            self._connection.connect()
            if self.is_over:  # a name with many addresses, each of which may take the whole time
                raise TimeoutError
            yield self._connection
        finally:
            self._connection.close()


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _reason(error: Exception, late: str) -> str:
    if isinstance(error, NameResolutionError):
        return "its name is not known"
    if isinstance(error, NewConnectionError) and isinstance(error.__cause__, OSError):
        return f"no connection: {error.__cause__.strerror or error.__cause__}"
    if isinstance(error, ConnectTimeoutError):
        return late
    if isinstance(error, HTTPException) and not isinstance(error, OSError):
        return f"it does not answer as a web server does: {type(error).__name__}"
    return f"{type(error).__name__}: {error}"[:200]
