"""Key files as ssh-keygen, OpenSSL and EC2 make them."""

import hashlib
import re
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from nodepkg.clients.aws.account import Account
from nodepkg.clients.aws.machines import Machines
from nodepkg.clients.keys import PublicKey, login_key, public_half, require_private
from nodepkg.errors import NodepkgError, RefusedError, UsageError
from tests.faults import aws

KINDS = {
    "ed25519": ["-t", "ed25519"],
    "openssh": ["-t", "rsa", "-b", "2048"],
    "pem": ["-t", "rsa", "-b", "2048", "-m", "PEM"],
    "pkcs8": ["-t", "rsa", "-b", "2048", "-m", "PKCS8"],
}


def keygen(path: Path, *options: str, passphrase: str = "") -> Path:
    subprocess.run(["ssh-keygen", "-q", "-C", "me@here", *options, "-N", passphrase, "-f", path], check=True)
    return path


def ssh_keygen_says(path: Path, *options: str) -> str:
    return subprocess.run(["ssh-keygen", *options, "-f", path], check=True, capture_output=True, text=True).stdout


def nobody(_: str) -> str | None:
    return None


class Answering:
    """Types these passphrases, one after the other."""

    def __init__(self, *answers: str) -> None:
        self.answers, self.questions = list(answers), list[str]()

    def __call__(self, question: str) -> str | None:
        self.questions.append(question)
        return self.answers.pop(0)


def complaint(path: Path, ask: object = nobody) -> tuple[type[NodepkgError], str]:
    with pytest.raises(NodepkgError) as caught:
        public_half(path, ask)  # type: ignore[arg-type]
    return type(caught.value), f"{caught.value.message}\n{caught.value.hint}"


@pytest.mark.parametrize("kind", KINDS)
def test_the_public_half_is_what_ssh_keygen_says(tmp_path: Path, kind: str) -> None:
    path = keygen(tmp_path / "key", *KINDS[kind])
    key = public_half(path, nobody)
    assert key.text.split() == ssh_keygen_says(path, "-y").split()[:2]
    assert re.fullmatch("nodepkg-key-[0-9a-f]{16}", key.name)
    assert "PRIVATE" not in repr(key)


@pytest.mark.parametrize("kind", KINDS)
def test_an_encrypted_key_asks_for_its_passphrase(tmp_path: Path, kind: str) -> None:
    path = keygen(tmp_path / "key", *KINDS[kind], passphrase="secret")
    ask = Answering("wrong", "", "secret")
    assert public_half(path, ask).text.split() == (tmp_path / "key.pub").read_text().split()[:2]
    assert [str(path) in question for question in ask.questions] == [True, True, True]
    error, told = complaint(path, Answering("a", "b", "c", "secret"))
    assert (error, "none of 3 passphrases" in told) == (RefusedError, True)
    error, told = complaint(path)
    assert (error, "no terminal" in told) == (RefusedError, True)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_key_that_others_can_read_is_refused_with_the_command_that_mends_it(tmp_path: Path, mode: int) -> None:
    path = keygen(tmp_path / "my 'key", "-t", "ed25519")
    path.chmod(mode)
    error, told = complaint(path)
    assert error is RefusedError
    subprocess.run(told.splitlines()[-1], shell=True, check=True)
    assert public_half(path, nobody).text.startswith("ssh-ed25519 ")


@pytest.mark.parametrize("kind", [*KINDS, "ecdsa"])
def test_a_key_to_log_in_with_is_asked_for_once_and_shown_to_nobody(tmp_path: Path, kind: str) -> None:
    path = keygen(tmp_path / "key", *KINDS.get(kind, ["-t", "ecdsa"]), passphrase="secret")
    key = login_key(path, Answering("secret"))
    (tmp_path / "opened").write_bytes(key.text)
    (tmp_path / "opened").chmod(0o600)
    assert ssh_keygen_says(tmp_path / "opened", "-y").split()[:2] == (tmp_path / "key.pub").read_text().split()[:2]
    assert "KEY" not in repr(key)
    path.chmod(0o644)
    with pytest.raises(RefusedError, match="others can read"):
        login_key(path, nobody)


def test_ssh_is_given_only_keys_that_it_takes(tmp_path: Path) -> None:
    """A public one is: its private half may be in the agent."""
    path = keygen(tmp_path / "key", "-t", "ed25519", passphrase="secret")
    require_private(path)
    require_private(tmp_path / "key.pub")
    path.chmod(0o644)
    with pytest.raises(RefusedError, match="others can read"):
        require_private(path)
    with pytest.raises(UsageError, match="No such file"):
        require_private(tmp_path / "none")


def test_what_is_no_private_key_is_told(tmp_path: Path) -> None:
    keygen(tmp_path / "key", "-t", "ed25519")
    keygen(tmp_path / "other", "-t", "ecdsa")
    (tmp_path / "garbage").write_bytes(b"\0\1\2")
    (tmp_path / "broken").write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n")
    (tmp_path / "broken.pem").write_text("-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n")
    (tmp_path / "key.ppk").write_text("PuTTY-User-Key-File-3: ssh-rsa\n")
    for name in ("broken", "broken.pem"):
        (tmp_path / name).chmod(0o600)
    told = {
        name: complaint(tmp_path / name)
        for name in ("none", "key.pub", "other", "garbage", "broken", "broken.pem", "key.ppk", ".")
    }
    assert {error for error, _ in told.values()} == {UsageError}
    assert "No such file" in told["none"][1]
    assert f"--key {tmp_path / 'key'}" in told["key.pub"][1]
    assert "EC2 takes RSA and Ed25519" in told["other"][1]
    assert all("is no private key" in told[name][1] for name in ("garbage", "broken", "broken.pem"))
    assert "puttygen" in told["key.ppk"][1]
    assert "directory" in told["."][1]


def test_fingerprints_are_those_that_ec2_documents(tmp_path: Path) -> None:
    """https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/verify-keys.html"""
    rsa, edwards = keygen(tmp_path / "rsa", *KINDS["pem"]), keygen(tmp_path / "ed", "-t", "ed25519")
    key = public_half(rsa, nobody)
    private = load_pem_private_key(rsa.read_bytes(), None)
    spki = subprocess.run(
        ["openssl", "rsa", "-in", rsa, "-pubout", "-outform", "DER"], check=True, capture_output=True
    ).stdout
    imported = hashlib.md5(spki).hexdigest()
    created = hashlib.sha1(private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())).hexdigest()
    for digits in (imported, created):
        assert key.is_of(fingerprint=":".join(re.findall("..", digits)), public="")
    shown = ssh_keygen_says(edwards, "-l").split()[1]
    for told in (shown, shown.removeprefix("SHA256:"), shown.removeprefix("SHA256:") + "="):
        assert public_half(edwards, nobody).is_of(fingerprint=told, public="")
        assert not key.is_of(fingerprint=told, public="")


def _finds(account: Account, key: PublicKey) -> list[str]:
    pairs = Machines(account, "us-east-1").key_pairs(public=True)
    assert all(pair.public for pair in pairs)
    return [pair.name for pair in pairs if key.is_of(fingerprint=pair.fingerprint, public=pair.public)]


@pytest.mark.parametrize("kind", ["rsa", "ed25519"])
def test_a_pair_that_ec2_made_is_found_by_the_file_that_it_gave(tmp_path: Path, kind: str) -> None:
    with aws() as account:
        ec2 = account.client("ec2", "us-east-1")
        made = {name: ec2.create_key_pair(KeyName=name, KeyType=kind) for name in ("ops", "other")}
        path = tmp_path / "ops.pem"
        path.touch(0o600)
        path.write_text(made["ops"]["KeyMaterial"])
        key = public_half(path, nobody)
        assert _finds(account, key) == ["ops"]
        assert key.is_of(fingerprint=made["ops"]["KeyFingerprint"], public="")
