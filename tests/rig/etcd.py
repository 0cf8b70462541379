"""Debian's etcd on loopback: one member or a cluster, which tests kill, stop, restart and compact.

Each member ends with its block, or with this process, however that ends.
"""

import base64
import ipaddress
import json
import re
import shutil
import signal
import ssl
import subprocess
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.rig.sshd import environment, free_port

ADDRESS = "127.0.0.1"
SECONDS_TO_START = 60.0
# One member elects itself at once; three share the cores with other tests, and are not to elect all the time.
ALONE = ("--heartbeat-interval=20", "--election-timeout=100")
TOGETHER = ("--heartbeat-interval=100", "--election-timeout=1000")


class EtcdError(Exception):
    """etcd cannot be had on this machine, or does not answer."""


@dataclass(frozen=True)
class Certificates:
    """PEM files of one authority: a server's for 127.0.0.1, and a client's."""

    authority: Path
    server: tuple[Path, Path]
    client: tuple[Path, Path]


@dataclass
class Member:
    """One etcd. It has not been started yet."""

    name: str
    folder: Path
    certificates: Certificates | None = None
    port: int = field(default_factory=lambda: free_port(ADDRESS))
    peer: int = field(default_factory=lambda: free_port(ADDRESS))
    options: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"{'https' if self.certificates else 'http'}://{ADDRESS}:{self.port}"

    @property
    def as_peer(self) -> str:
        return f"http://{ADDRESS}:{self.peer}"

    @property
    def log(self) -> str:
        return (self.folder / f"{self.name}.log").read_text(errors="replace")

    def start(self) -> None:
        """Begins it, again on the data that it has."""
        # SIGKILL, since one that is stopped heeds nothing else.
        line = [
            "setpriv",
            "--pdeathsig",
            "KILL",
            "etcd",
            f"--name={self.name}",
            f"--data-dir={self.folder / self.name}",
        ]
        line += [f"--listen-client-urls={self.endpoint}", f"--advertise-client-urls={self.endpoint}"]
        line += [f"--listen-peer-urls={self.as_peer}", f"--initial-advertise-peer-urls={self.as_peer}"]
        line += ["--unsafe-no-fsync", "--logger=zap", *self.options]
        if self.certificates:
            certificate, key = self.certificates.server
            line += [f"--cert-file={certificate}", f"--key-file={key}", "--client-cert-auth"]
            line += [f"--trusted-ca-file={self.certificates.authority}"]
        with (self.folder / f"{self.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                line, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment(), cwd=self.folder
            )

    def ready(self) -> None:
        """Waits until it serves, which takes a leader."""
        assert self.process
        deadline = time.monotonic() + SECONDS_TO_START
        while self.process.poll() is None and time.monotonic() < deadline:
            with suppress(OSError, ValueError):
                if json.loads(self._ask("/health", None, timeout=1))["health"] == "true":
                    return
            time.sleep(0.01)
        why = "did not answer" if self.process.poll() is None else f"ended with {self.process.returncode}"
        raise EtcdError(f"{self.endpoint} {why}:\n{self.log[-4000:]}")

    def kill(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None

    def restart(self) -> None:
        self.kill()
        self.start()
        self.ready()

    def wipe(self) -> None:
        """Kills it, and takes its data away: what starts next has no history."""
        self.kill()
        shutil.rmtree(self.folder / self.name)

    def stop(self) -> None:
        """It hangs: its connections stay, and nothing is answered."""
        assert self.process
        self.process.send_signal(signal.SIGSTOP)
        deadline = time.monotonic() + SECONDS_TO_START
        while not all(_is_stopped(thread) for thread in Path(f"/proc/{self.process.pid}/task").iterdir()):
            assert time.monotonic() < deadline
            time.sleep(0.001)

    def go_on(self) -> None:
        assert self.process
        self.process.send_signal(signal.SIGCONT)

    def empty(self) -> None:
        """It runs, and has no keys. Its revision is anything."""
        if self.process is None:
            self.start()
        self.go_on()
        self.ready()
        self.call("kv/deleterange", key="AA==", range_end="AA==")

    def call(self, path: str, **values: object) -> dict[str, Any]:
        """Asks etcd's JSON gateway, such as `call("kv/compaction", revision=7)`."""
        answer: dict[str, Any] = json.loads(self._ask(f"/v3/{path}", json.dumps(values).encode(), timeout=10))
        return answer

    def compact(self, revision: int) -> None:
        """Forgets all that was before this revision."""
        self.call("kv/compaction", revision=revision, physical=True)

    @property
    def leads(self) -> bool:
        told = self.call("maintenance/status")
        return bool(told["leader"] == told["header"]["member_id"])

    def calls(self, kind: str = "started") -> Counter[str]:
        """By method, since it was started: the calls in gRPC, or with `msg_received` the messages of those who call."""
        counted = re.compile(rf'grpc_server_{kind}_total\{{grpc_method="(\w+)",grpc_service="etcdserverpb\..*\}} (\S+)')
        found = counted.findall(self._ask("/metrics", None, timeout=10).decode())
        return Counter({name: int(float(number)) for name, number in found})

    def protect(self, root: str, user: str, password: str, prefix: str) -> None:
        """Turns on authentication: `user`, who has this password, may read and write what begins with `prefix`."""
        start = prefix.encode()
        end = start[:-1] + bytes([start[-1] + 1])
        allowed = {"permType": "READWRITE", "key": _b64(start), "range_end": _b64(end)}
        for name, secret in (("root", root), (user, password)):
            self.call("auth/user/add", name=name, password=secret)
            self.call("auth/role/add", name=name)
            self.call("auth/user/grant", user=name, role=name)
        self.call("auth/role/grant", name=user, perm=allowed)
        self.call("auth/enable")

    def _ask(self, path: str, body: bytes | None, timeout: float) -> bytes:
        context = None
        if self.certificates:
            context = ssl.create_default_context(cafile=self.certificates.authority)
            context.load_cert_chain(*self.certificates.client)
        with urllib.request.urlopen(f"{self.endpoint}{path}", body, timeout=timeout, context=context) as answer:
            told: bytes = answer.read()
        return told


@contextmanager
def etcd(
    folder: Path, *, members: int = 1, certificates: Certificates | None = None, options: tuple[str, ...] = ()
) -> Iterator[list[Member]]:
    """So many members of one cluster that serves, with their data in a new folder below `folder`."""
    missing = [program for program in ("etcd", "setpriv") if not shutil.which(program)]
    if missing:
        raise EtcdError(
            f"missing on this machine: {' '.join(missing)} (Debian: apt-get install etcd-server util-linux)"
        )
    scratch = Path(tempfile.mkdtemp(prefix="etcd-", dir=folder))
    made = [Member(f"m{number}", scratch, certificates) for number in range(members)]
    cluster = ",".join(f"{one.name}={one.as_peer}" for one in made)
    pace = ALONE if members == 1 else TOGETHER
    with ExitStack() as until_the_end:
        for member in made:
            member.options = (f"--initial-cluster={cluster}", *pace, *options)
            until_the_end.callback(member.kill)
            member.start()
        for member in made:
            member.ready()
        yield made


def _is_stopped(thread: Path) -> bool:
    """One that has ended meanwhile does nothing either."""
    with suppress(OSError):
        return (thread / "stat").read_text().rpartition(")")[2].split()[0] == "T"
    return True


def _b64(text: bytes) -> str:
    return base64.b64encode(text).decode()


def certificates(folder: Path, *, client: str = "a node") -> Certificates:
    """A new authority, and what it signs; `client` is the common name in the client's certificate."""
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority = _signed("an authority", authority_key, None, authority_key)
    _write(folder / "authority", authority, authority_key)
    written = []
    for file, name in (("server", "etcd"), ("client", client)):
        key = ec.generate_private_key(ec.SECP256R1())
        written.append(_write(folder / file, _signed(name, key, authority, authority_key), key))
    return Certificates(folder / "authority.pem", written[0], written[1])


def _signed(
    name: str, key: ec.EllipticCurvePrivateKey, issuer: x509.Certificate | None, issuer_key: ec.EllipticCurvePrivateKey
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder(issuer.subject if issuer else subject, subject, key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()),
            critical=False,
        )
    )
    if issuer:
        # etcd's gateway shows the server's certificate to etcd itself, so it is a client's as well.
        usage = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(ADDRESS))])
        builder = builder.add_extension(x509.ExtendedKeyUsage(usage), critical=False)
        builder = builder.add_extension(address, critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


def _write(stem: Path, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> tuple[Path, Path]:
    files = stem.with_suffix(".pem"), stem.with_suffix(".key")
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files[1].touch(mode=0o600)
    files[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return files
