"""Keys and what they have signed."""

import json
import stat
from dataclasses import replace

import pytest

from ratchet import signatures
from ratchet.errors import RatchetError
from ratchet.manifest import Manifest
from ratchet.signatures import Signature, Statement

FILES = Manifest({"MLmodel": "1", "model.skops": "2"})
STATEMENT = Statement("taxi", 3, "run", FILES)


@pytest.fixture
def keys(tmp_path):
    made = signatures.make(tmp_path / "keys" / "release", None)
    return signatures.private_key(made.private, None), signatures.public_key(made.public)


@pytest.fixture
def signature(keys):
    return keys[0].sign(STATEMENT, by="me@host", at="2026-11-26T07:00:00+00:00")


def test_a_key_is_two_files_of_which_one_is_its_owners_alone(tmp_path):
    made = signatures.make(tmp_path / "keys" / "release", None)
    assert stat.S_IMODE(made.private.stat().st_mode) == 0o600
    assert stat.S_IMODE(made.public.stat().st_mode) == 0o644
    assert made.public.name == "release.pub"
    assert b"PRIVATE" not in made.public.read_bytes()
    assert signatures.public_key(made.public).id == made.id
    assert signatures.private_key(made.private, None).id == made.id
    with pytest.raises(RatchetError, match="is there already, and a key that is written over is"):
        signatures.make(made.private, None)


def test_a_key_with_a_passphrase_opens_with_no_other(tmp_path):
    made = signatures.make(tmp_path / "key", "correct horse")
    assert made.encrypted
    assert b"ENCRYPTED" in made.private.read_bytes()
    assert signatures.private_key(made.private, "correct horse").id == made.id
    with pytest.raises(RatchetError, match="is encrypted, and no passphrase was given"):
        signatures.private_key(made.private, None)
    with pytest.raises(RatchetError, match="or the passphrase is not its own"):
        signatures.private_key(made.private, "battery staple")
    plain = signatures.make(tmp_path / "plain", None)
    with pytest.raises(RatchetError, match="is not encrypted, and a passphrase was given"):
        signatures.private_key(plain.private, "correct horse")


def test_a_signature_is_of_every_part_of_its_statement(keys, signature):
    _, public = keys
    assert public.fits(signature, STATEMENT)
    others = [
        replace(STATEMENT, model="tips"),
        replace(STATEMENT, version=4),
        replace(STATEMENT, run_id="another"),
        replace(STATEMENT, manifest=Manifest({**FILES.files, "model.skops": "3"})),
        replace(STATEMENT, manifest=Manifest({"MLmodel": "1"})),
        replace(STATEMENT, manifest=Manifest({**FILES.files, "code/more.py": "3"})),
        replace(STATEMENT, manifest=Manifest({"MLmodel": "1", "model2.skops": "2"})),
    ]
    assert not any(public.fits(signature, each) for each in others)
    assert not public.fits(replace(signature, by="you@host"), STATEMENT)
    assert not public.fits(replace(signature, at="2026-11-27T07:00:00+00:00"), STATEMENT)
    assert not public.fits(replace(signature, value=bytes(64)), STATEMENT)
    assert not public.fits(replace(signature, value=b""), STATEMENT)


def test_a_signature_is_of_its_own_key(tmp_path, signature):
    other = signatures.public_key(signatures.make(tmp_path / "other", None).public)
    assert not other.fits(signature, STATEMENT)


def test_a_signature_is_read_back_as_it_was(signature):
    assert Signature.parse(signature.text) == signature
    whole = json.loads(signature.text)
    for broken in ("", "no", "[]", "1", json.dumps({**whole, "signature": "*"}), "{}"):
        assert Signature.parse(broken) is None


@pytest.mark.parametrize("content", [b"", b"no key", b"-----BEGIN PRIVATE KEY-----\n\n"])
def test_what_is_no_key_is_refused(tmp_path, content):
    path = tmp_path / "key"
    path.write_bytes(content)
    with pytest.raises(RatchetError, match="is no private Ed25519 key"):
        signatures.private_key(path, None)
    with pytest.raises(RatchetError, match="is no public Ed25519 key"):
        signatures.public_key(path)


def test_a_key_of_another_kind_is_refused(tmp_path):
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

    made = generate_private_key(SECP256R1())
    plain = serialization.NoEncryption()
    pem, kind = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    shown = serialization.PublicFormat.SubjectPublicKeyInfo
    (tmp_path / "key").write_bytes(made.private_bytes(pem, kind, plain))
    (tmp_path / "key.pub").write_bytes(made.public_key().public_bytes(pem, shown))
    with pytest.raises(RatchetError, match="is no private Ed25519 key"):
        signatures.private_key(tmp_path / "key", None)
    with pytest.raises(RatchetError, match="is no public Ed25519 key"):
        signatures.public_key(tmp_path / "key.pub")


def test_a_key_that_is_not_there_is_told(tmp_path):
    with pytest.raises(RatchetError, match=r"The private key .*key can't be read: No such file"):
        signatures.private_key(tmp_path / "key", None)
    with pytest.raises(RatchetError, match=r"The public key .*key can't be read: No such file"):
        signatures.public_key(tmp_path / "key")
