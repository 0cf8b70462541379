"""Nodes that are asked over HTTP: real servers on loopback, some of which behave badly."""

import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from nodepkg.clients.web import answering

SECONDS = 0.3  # as long as a node may take, where it does not answer
LONG = 10.0  # where it does; nobody waits for it
Serve = Callable[[socket.socket], None]


@contextmanager
def server(serve: Serve) -> Iterator[str]:
    """Its address, `127.0.0.1:PORT`; `serve` gets each connection, in a thread of its own, and may raise OSError."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listening:
        serving = []

        def one(connection: socket.socket) -> None:
            with connection, suppress(OSError):
                serve(connection)

        def accept() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                serving.append(threading.Thread(target=one, args=(connection,)))
                serving[-1].start()

        accepting = threading.Thread(target=accept)
        accepting.start()
        yield f"127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)
        accepting.join()
        for thread in serving:
            thread.join()


def reply(text: str) -> Serve:
    def serve(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(text.encode())

    return serve


def drip(text: bytes) -> Serve:
    """The text, and then spaces for ever, one every 20 ms: no read of the client ever takes long."""

    def serve(connection: socket.socket) -> None:
        connection.sendall(text)
        while True:
            time.sleep(0.02)
            connection.sendall(b" ")

    return serve


def silent(connection: socket.socket) -> None:
    while connection.recv(65536):
        pass


def ask(address: str, path: str = "/", *, scheme: str = "http", timeout: float = LONG) -> str:
    url = f"{scheme}://{address}{path}"
    return answering([url], timeout=timeout, loopback_only=False)[url]


@pytest.mark.parametrize("status", ["200 OK", "204 No Content", "299 Fine"])
def test_what_answers_2xx_serves(status: str) -> None:
    with server(reply(f"HTTP/1.1 {status}\r\n\r\n")) as address:
        assert ask(address) == ""


@pytest.mark.parametrize("status", ["301 Moved", "404 Not Found", "500 Oops", "503 Busy"])
def test_what_answers_otherwise_does_not(status: str) -> None:
    with server(reply(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n")) as address:
        assert ask(address) == f"it answers {status[:3]}"


def test_a_redirect_is_not_followed() -> None:
    asked = []

    def target(connection: socket.socket) -> None:
        asked.append(connection.recv(65536))
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")

    with server(target) as other, server(reply(f"HTTP/1.1 302 Found\r\nLocation: http://{other}/\r\n\r\n")) as address:
        assert ask(address) == "it answers 302"
    assert asked == []


def test_it_is_asked_for_the_path_by_get_with_its_host() -> None:
    asked = []

    def serve(connection: socket.socket) -> None:
        asked.append(connection.recv(65536).decode().split("\r\n"))
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")

    with server(serve) as address:
        assert ask(address, "/health?deep=1") == ""
    assert asked[0][0] == "GET /health?deep=1 HTTP/1.1"
    assert f"Host: {address}" in asked[0]


def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with server(reply("HTTP/1.1 500 Proxy\r\n\r\n")) as proxy, server(reply("HTTP/1.1 200 OK\r\n\r\n")) as address:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://{proxy}")
        assert ask(address) == ""


def test_a_body_without_an_end_is_not_waited_for() -> None:
    with server(drip(b"HTTP/1.1 200 OK\r\n\r\n")) as address:
        assert ask(address) == ""


@pytest.mark.parametrize(
    ("scheme", "serve"),
    [
        pytest.param("http", silent, id="says nothing"),
        pytest.param("http", drip(b"HTTP/1.1 200 OK\r\nX: "), id="drips headers"),
        pytest.param("http", drip(b"HTTP/1.1"), id="drips its status"),
        pytest.param("http", drip(b"HTTP/1.1 100 Continue\r\n\r\nHTTP"), id="puts off"),
        pytest.param("https", silent, id="shakes no hands"),
        pytest.param("https", drip(b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc"), id="drips its hello"),
    ],
)
def test_no_server_holds_us_longer_than_its_seconds(scheme: str, serve: Serve) -> None:
    before = threading.active_count()
    with server(serve) as address:
        began = time.monotonic()
        assert ask(address, scheme=scheme, timeout=SECONDS) == "no answer within 0.3 s"
        assert time.monotonic() - began < SECONDS + 30  # what drips has no end
    for thread in threading.enumerate():
        if thread.name.startswith("asking"):
            thread.join(LONG)
    assert threading.active_count() == before


def test_a_name_that_takes_long_to_be_resolved_holds_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()

    def resolve(*_: object, **__: object) -> list[object]:
        release.wait(LONG)
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    assert ask("slow.invalid", timeout=SECONDS) == "no answer within 0.3 s"
    release.set()


@pytest.mark.parametrize("text", ["SSH-2.0-OpenSSH_9.6\r\n", "\0\1\2", "HTTP/1.1 abc\r\n\r\n", "HTTP/1.1", ""])
def test_what_is_no_web_server_does_not_serve(text: str) -> None:
    with server(reply(text)) as address:
        assert ask(address)


def test_endless_headers_come_to_an_end() -> None:
    def serve(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        while True:
            connection.sendall(b"X: y\r\n" * 100)

    with server(serve) as address:
        assert "HTTPException" in ask(address)


def test_a_closed_port_says_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"127.0.0.1:{listening.getsockname()[1]}"
    assert ask(address) == "no connection: Connection refused"


@pytest.mark.parametrize("url", ["http://127.0.0.1:99999/", "http://a..b/", f"http://{'a' * 70}/", "http://[::/"])
def test_what_is_no_url_says_so_and_raises_nothing(url: str) -> None:
    assert answering([url], timeout=LONG, loopback_only=False)[url]


@pytest.mark.parametrize("host", ["192.0.2.1", "0.0.0.0", "localhost", "127.0.0.1.example.org", "2130706433", "[::2]"])
def test_the_sandbox_asks_loopback_addresses_only(host: str) -> None:
    url = f"http://{host}:1/"
    told = answering([url], timeout=LONG, loopback_only=True)[url]
    assert told.endswith("is no loopback address, and the sandbox asks no other")


def test_the_sandbox_asks_nodes_on_loopback() -> None:
    with server(reply("HTTP/1.1 200 OK\r\n\r\n")) as address:
        url = f"http://{address}/"
        assert answering([url], timeout=LONG, loopback_only=True) == {url: ""}


def test_many_are_asked_side_by_side_and_not_all_at_once() -> None:
    """Each answers only when so many ask at the same time; more than that never do."""
    together = threading.Barrier(4, timeout=LONG)
    asking, most, lock = [0], [0], threading.Lock()

    def serve(connection: socket.socket) -> None:
        connection.recv(65536)
        with lock:
            asking[0] += 1
            most[0] = max(most[0], asking[0])
        together.wait()
        with lock:
            asking[0] -= 1
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")

    with server(serve) as address:
        urls = [f"http://{address}/{number}" for number in range(12)]
        assert answering(urls, timeout=LONG, loopback_only=True, at_once=4) == dict.fromkeys(urls, "")
    assert most == [4]


def test_nobody_is_asked_nothing() -> None:
    assert answering([], timeout=LONG, loopback_only=True) == {}


def test_one_url_twice_is_asked_once() -> None:
    asked = []

    def serve(connection: socket.socket) -> None:
        asked.append(connection.recv(65536))
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")

    with server(serve) as address:
        url = f"http://{address}/"
        assert answering([url, url], timeout=LONG, loopback_only=True) == {url: ""}
    assert len(asked) == 1


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of 127.0.0.1 that nobody has signed but itself, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a node")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "node.pem"
    plain = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM) + key.private_bytes(*plain))
    return path


def secure(certificate: Path) -> Serve:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    def serve(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as wrapped:
            wrapped.recv(65536)
            wrapped.sendall(b"HTTP/1.1 200 OK\r\n\r\n")

    return serve


def test_a_certificate_that_nobody_vouches_for_is_refused(certificate: Path) -> None:
    with server(secure(certificate)) as address:
        told = ask(address, scheme="https")
    assert "certificate verify failed" in told


def test_a_certificate_that_the_system_trusts_is_taken(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with server(secure(certificate)) as address:
        assert ask(address, scheme="https") == ""


def test_a_port_without_tls_says_so() -> None:
    with server(reply("HTTP/1.1 200 OK\r\n\r\n")) as address:
        assert "SSL" in ask(address, scheme="https").upper()
