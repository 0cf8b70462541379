"""Private key files: the public half, which may be known elsewhere, and the key itself, which only logs in."""

import base64
import hashlib
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from nodepkg.errors import RefusedError, UsageError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

TRIES = 3
_MOST_BYTES = 64 * 1024
_MARK = b"PRIVATE KEY-----"
_PUBLIC = (b"ssh-", b"ecdsa-", b"sk-", b"---- BEGIN SSH2 PUBLIC", b"-----BEGIN PUBLIC", b"-----BEGIN RSA PUBLIC")

# Asks for the passphrase of the file; None: there is nobody to ask.
Ask = Callable[[str], str | None]


@dataclass(frozen=True)
class PublicKey:
    """The public half of a key: `text` in OpenSSH's form without a comment, and what EC2 may call it."""

    text: str
    fingerprints: frozenset[str]

    @property
    def name(self) -> str:
        """What a key pair is called that we import: the same on every machine, and nothing that a build's could be."""
        return f"nodepkg-key-{hashlib.sha256(_blob(self.text)).hexdigest()[:16]}"

    def is_of(self, *, fingerprint: str, public: str) -> bool:
        """Whether a key pair with this fingerprint, or public half ("" for what EC2 does not tell), is of this key."""
        told = fingerprint.removeprefix("SHA256:").rstrip("=")
        return told in self.fingerprints or public.split()[:2] == self.text.split()


@dataclass(frozen=True)
class LoginKey:
    """The private key of a file, to log in with: `text` is in OpenSSH's form, not encrypted, and for memory only."""

    path: Path
    text: bytes = field(repr=False)


def public_half(path: Path, ask: Ask) -> PublicKey:
    """Of the private key in a file: PEM, PKCS #8 or OpenSSH, RSA or Ed25519.

    Raises UsageError for what is no such file, RefusedError for one that others can read, or whose passphrase nobody
    gives.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

    key = _private(path, ask)
    if not isinstance(key, RSAPrivateKey | Ed25519PrivateKey):
        raise UsageError(f"{path} is a key of kind {_kind(key)}", hint="EC2 takes RSA and Ed25519")
    return _public(key)


def login_key(path: Path, ask: Ask) -> LoginKey:
    """As public_half, also for ECDSA: whatever a node's authorized_keys may have."""
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = _private(path, ask)
    try:
        return LoginKey(path, key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    except (ValueError, TypeError):
        raise UsageError(f"{path} is a key of kind {_kind(key)}", hint="SSH takes RSA, Ed25519 and ECDSA") from None


def require_private(path: Path) -> None:
    """Raises UsageError for a file that cannot be read, RefusedError for a private key that others can read."""
    _require_private(path, *_read(path))


def _private(path: Path, ask: Ask) -> "PrivateKeyTypes":
    content = _content(path)
    key = _loaded(path, content, None)
    return _opened(path, content, ask) if key is None else key


def _read(path: Path) -> tuple[int, bytes]:
    try:
        with path.open("rb") as file:
            return os.fstat(file.fileno()).st_mode, file.read(_MOST_BYTES)
    except OSError as error:
        raise UsageError(
            f"{path}: the key cannot be read: {error.strerror}", hint="--key PATH: the private key"
        ) from error


def _require_private(path: Path, mode: int, content: bytes) -> None:
    if _MARK in content and stat.S_IMODE(mode) & 0o077:
        raise RefusedError(
            f"{path}: others can read this private key (mode {stat.S_IMODE(mode):04o})",
            hint=f"chmod 600 {quote(str(path))}",
        )


def _content(path: Path) -> bytes:
    mode, content = _read(path)
    if content.lstrip().startswith(_PUBLIC):
        raise UsageError(
            f"{path} is a public key", hint=f"name the private one: --key {quote(str(path).removesuffix('.pub'))}"
        )
    if content.startswith(b"PuTTY-User-Key-File"):
        raise UsageError(
            f"{path} is a key of PuTTY's",
            hint=f"puttygen {quote(str(path))} -O private-openssh -o {quote(path.stem)}.pem",
        )
    if _MARK not in content:
        raise _no_key(path)
    _require_private(path, mode, content)
    return content


def _no_key(path: Path) -> UsageError:
    return UsageError(f"{path} is no private key", hint="--key takes one in PEM, PKCS #8 or OpenSSH's form")


def _opened(path: Path, content: bytes, ask: Ask) -> "PrivateKeyTypes":
    """An encrypted one."""
    for left in range(TRIES - 1, -1, -1):
        passphrase = ask(f"passphrase of {path}{'' if left == TRIES - 1 else ' (that was not it)'}: ")
        if passphrase is None:
            raise RefusedError(
                f"{path} is encrypted, and there is no terminal to ask for its passphrase",
                hint="run it on a terminal, or name a key without one",
            )
        if key := _loaded(path, content, passphrase.encode()):
            return key
    raise RefusedError(f"{path}: none of {TRIES} passphrases was the right one")


def _loaded(path: Path, content: bytes, passphrase: bytes | None) -> "PrivateKeyTypes | None":
    """None if it takes a passphrase, or another one."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_ssh_private_key

    load = load_ssh_private_key if b"BEGIN OPENSSH PRIVATE KEY" in content else load_pem_private_key
    try:
        return load(content, passphrase or (None if passphrase is None else b"\0"))  # an empty one is none to them
    except TypeError:  # so they say that it is encrypted
        return None
    except UnsupportedAlgorithm as error:
        raise UsageError(f"{path}: this kind of key is not known: {error}", hint="name one of RSA or Ed25519") from None
    except ValueError:
        if passphrase is None:
            raise _no_key(path) from None
        return None


def _kind(key: object) -> str:
    return type(key).__name__.lstrip("_").removesuffix("PrivateKey")


def _public(key: "RSAPrivateKey | Ed25519PrivateKey") -> PublicKey:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

    public = key.public_key()
    text = public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    spki = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    pkcs8 = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    return PublicKey(text, _fingerprints(_blob(text), spki, pkcs8))


def _blob(text: str) -> bytes:
    return base64.b64decode(text.split()[1])


def _fingerprints(blob: bytes, spki: bytes, pkcs8: bytes) -> frozenset[str]:
    """As EC2 has them: an RSA key that was imported, one that EC2 made, an Ed25519 key; and as simulators have them.

    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/verify-keys.html
    """
    digests = [
        hashlib.md5(spki, usedforsecurity=False),
        hashlib.sha1(pkcs8, usedforsecurity=False),
        hashlib.sha1(spki, usedforsecurity=False),
        hashlib.sha256(spki),
    ]
    openssh = base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
    return frozenset([openssh, *(digest.digest().hex(":") for digest in digests)])
