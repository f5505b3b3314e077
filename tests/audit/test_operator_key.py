"""The operator's key file: made once, for its owner alone, and refused where somebody else had a hand in it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_public_key,
    load_pem_private_key,
)

from skillwarrant_audit import OperatorKey, signing
from skillwarrant_format.errors import AuditError, FormatError

P256 = ec.generate_private_key(ec.SECP256R1())
PEM = P256.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "operator.pem"


def write(path: Path, data: bytes, mode: int = 0o600) -> None:
    path.touch(mode=0o600)
    path.write_bytes(data)
    path.chmod(mode)


def test_a_new_key_is_a_p256_key_that_only_its_owner_can_read(path: Path) -> None:
    key = OperatorKey.load_or_create(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    private = load_pem_private_key(path.read_bytes(), password=None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    assert isinstance(private.curve, ec.SECP256R1)
    assert key.key_id == signing.key_id(private.public_key())
    assert signing.read_public(key.public_pem(), what="it") == private.public_key()
    assert [entry.name for entry in path.parent.iterdir()] == ["operator.pem"]


def test_a_key_is_its_owners_alone_whatever_the_umask(path: Path) -> None:
    before = os.umask(0)
    try:
        OperatorKey.load_or_create(path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_same_file_is_the_same_key(path: Path) -> None:
    first = OperatorKey.load_or_create(path)
    before = path.read_bytes()
    assert OperatorKey.load_or_create(path).key_id == OperatorKey.load(path).key_id == first.key_id
    assert path.read_bytes() == before


def test_what_it_signs_verifies_with_the_public_half(path: Path) -> None:
    key = OperatorKey.load_or_create(path)
    envelope = key.sign(b"payload")
    assert signing.verify(signing.read_public(key.public_pem(), what="it"), envelope) == b"payload"


def test_a_key_made_with_openssl_is_taken(path: Path) -> None:
    write(path, P256.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()), 0o400)
    assert OperatorKey.load(path).key_id == signing.key_id(P256.public_key())


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o644, 0o666, 0o700 | 0o001])
def test_a_key_that_is_open_to_others_is_refused(path: Path, mode: int) -> None:
    write(path, PEM, mode)
    with pytest.raises(AuditError, match=rf"open to others.*mode {mode:04o}"):
        OperatorKey.load_or_create(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_key_that_belongs_to_somebody_else_is_refused(path: Path) -> None:
    write(path, PEM)
    os.chown(path, 12345, 12345)
    with pytest.raises(AuditError, match="somebody else's"):
        OperatorKey.load(path)


def test_a_link_is_refused_wherever_it_leads(path: Path) -> None:
    write(path.with_name("real.pem"), PEM)
    path.symlink_to("real.pem")
    with pytest.raises(AuditError, match="cannot read the operator's key"):
        OperatorKey.load_or_create(path)


def test_a_link_into_nowhere_is_not_followed_to_make_a_key_there(path: Path) -> None:
    path.symlink_to("nowhere.pem")
    with pytest.raises(AuditError):
        OperatorKey.load_or_create(path)
    assert not path.with_name("nowhere.pem").exists()


def test_a_fifo_is_refused_and_not_waited_for(path: Path) -> None:
    os.mkfifo(path, 0o600)
    with pytest.raises(AuditError, match="no regular file"):
        OperatorKey.load(path)


def test_a_missing_key_is_told_with_what_to_do(path: Path) -> None:
    with pytest.raises(AuditError, match=r"No such file.*Restore the key"):
        OperatorKey.load(path)


@pytest.mark.parametrize(
    "data",
    [
        ec.generate_private_key(ec.SECP384R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        ec.generate_private_key(ec.SECP256K1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        ed25519.Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        rsa.generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        P256.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")),
        P256.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()),
        b"",
        b"-----BEGIN PRIVATE KEY-----\n",
        PEM[:-40],
        b"#" * 10_000_000,
    ],
    ids=["P-384", "secp256k1", "Ed25519", "RSA", "encrypted", "DER", "empty", "begun", "cut", "long"],
)
def test_a_file_that_holds_another_kind_of_key_is_refused_and_kept(path: Path, data: bytes) -> None:
    write(path, data)
    with pytest.raises(AuditError, match="expected an unencrypted P-256 private key"):
        OperatorKey.load_or_create(path)
    assert path.read_bytes() == data


@pytest.mark.parametrize(
    "data",
    [b"\0", PEM, P256.public_key().public_bytes(Encoding.X962, signing.PublicFormat.CompressedPoint)],
    ids=["zero", "a private key", "a bare point"],
)
def test_what_is_no_public_key_is_not_read_as_one(data: bytes) -> None:
    with pytest.raises(FormatError):
        signing.read_public(data, what="it")


def test_a_public_key_has_one_spelling_in_der() -> None:
    """RFC 5480 allows a compressed point too, under which one key would have two ids."""
    point = P256.public_key().public_bytes(Encoding.X962, signing.PublicFormat.CompressedPoint)
    compressed = bytes.fromhex("3039301306072a8648ce3d020106082a8648ce3d030107032200") + point
    assert load_der_public_key(compressed) == P256.public_key()
    with pytest.raises(FormatError, match="not in the normal form"):
        signing.read_public(compressed, what="it")
