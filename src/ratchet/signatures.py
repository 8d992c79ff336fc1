"""Keys of people who vouch for a model's files, and their signatures: Ed25519, made and checked."""

import base64
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ratchet import files
from ratchet.errors import RatchetError
from ratchet.manifest import Manifest, canonical

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )

PUBLIC = ".pub"
"""What the name of a public key's file adds to that of its private key."""

# So that a signature of one kind of thing is never taken for one of another.
_FORMAT = "ratchet model 1"
# Digits of a public key's digest by which it is called: none will meet another by chance.
_DIGITS = 16
_PRIVATE_MODE = 0o600


@dataclass(frozen=True)
class Statement:
    """What a signature says: these files are this version of this model, made by this run."""

    model: str
    """Name of the registered model."""
    version: int
    """Its version."""
    run_id: str
    """Run that trained it."""
    manifest: Manifest
    """Its files."""

    def content(self, by: str, at: str) -> bytes:
        """Give the bytes that are signed; ``by`` and ``at`` say who signs, and when."""
        return canonical(
            {
                "format": _FORMAT,
                "model": self.model,
                "version": self.version,
                "run": self.run_id,
                "files": dict(self.manifest.files),
                "by": by,
                "at": at,
            }
        )


@dataclass(frozen=True)
class Signature:
    """A signature as it is kept with a version; all else that it covers is at hand there."""

    key: str
    """Id of the key that made it."""
    value: bytes
    """64 bytes."""
    by: str
    """User and machine that signed."""
    at: str
    """When, in UTC."""

    @property
    def text(self) -> str:
        """The signature as it is written: JSON."""
        value = base64.b64encode(self.value).decode("ascii")
        return json.dumps({"key": self.key, "by": self.by, "at": self.at, "signature": value})

    @classmethod
    def parse(cls, text: str) -> "Signature | None":
        """Read what ``text`` gave; None where it is something else."""
        try:
            told = json.loads(text)
            value = base64.b64decode(told["signature"], validate=True)
            return cls(str(told["key"]), value, str(told["by"]), str(told["at"]))
        except (ValueError, TypeError, KeyError):
            return None


@dataclass(frozen=True)
class PublicKey:
    """What checks signatures."""

    id: str
    """How the key is called: the beginning of its digest."""
    place: Path
    """File that it was read from."""
    raw: "Ed25519PublicKey"
    """The key itself."""

    def fits(self, signature: Signature, statement: Statement) -> bool:
        """Tell whether the holder of the private key has signed this very statement."""
        from cryptography.exceptions import InvalidSignature

        try:
            self.raw.verify(signature.value, statement.content(signature.by, signature.at))
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True)
class PrivateKey:
    """What makes signatures."""

    id: str
    """How the key is called, as its public half."""
    raw: "Ed25519PrivateKey"
    """The key itself."""

    def sign(self, statement: Statement, *, by: str, at: str) -> Signature:
        """Vouch for a statement."""
        return Signature(self.id, self.raw.sign(statement.content(by, at)), by, at)


@dataclass(frozen=True)
class Pair:
    """A new key, as two files."""

    private: Path
    """What signs; nobody else may have it."""
    public: Path
    """What checks; anybody may have it."""
    id: str
    """How the key is called."""
    encrypted: bool
    """Whether the private half asks for a passphrase."""


def make(place: Path, passphrase: str | None) -> Pair:
    """Make a key, and write its halves to ``place`` and to ``place`` with ``.pub`` added.

    Parameters
    ----------
    place : Path
        Where the private half goes, readable for its owner only.
    passphrase : str or None
        What it is encrypted with; None leaves it as it is.

    Raises
    ------
    RatchetError
        If one of the files is there, or can't be written.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    public = place.with_name(place.name + PUBLIC)
    for path in (place, public):
        if path.exists():
            raise RatchetError(
                f"{path} is there already, and a key that is written over is lost with all that it"
                " has signed. Name another file, or remove this one."
            )
    made = Ed25519PrivateKey.generate()
    locked = (
        serialization.BestAvailableEncryption(passphrase.encode())
        if passphrase
        else serialization.NoEncryption()
    )
    content = made.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked
    )
    shown = made.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    files.write_bytes(place, content, mode=_PRIVATE_MODE)
    files.write_bytes(public, shown)
    return Pair(place, public, _id(made.public_key()), encrypted=bool(passphrase))


def private_key(place: Path, passphrase: str | None) -> PrivateKey:
    """Read the private half of a key.

    Parameters
    ----------
    place : Path
        Its file.
    passphrase : str or None
        What it was encrypted with.

    Raises
    ------
    RatchetError
        If it isn't there, is no private Ed25519 key, or the passphrase is not its own.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    content = _content(place, "private")
    try:
        found = serialization.load_pem_private_key(
            content, passphrase.encode() if passphrase else None
        )
    except TypeError:  # one has a passphrase, the other has none
        raise RatchetError(
            f"The key {place} is encrypted, and no passphrase was given."
            if not passphrase
            else f"The key {place} is not encrypted, and a passphrase was given: it may be another"
            " key than was meant."
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        found = None
    if not isinstance(found, Ed25519PrivateKey):
        raise RatchetError(
            f"{place} is no private Ed25519 key, or the passphrase is not its own."
            " `ratchet keygen FILE` makes one."
        )
    return PrivateKey(_id(found.public_key()), found)


def public_key(place: Path) -> PublicKey:
    """Read the public half of a key.

    Raises
    ------
    RatchetError
        If it isn't there, or is no public Ed25519 key.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    content = _content(place, "public")
    try:
        found = serialization.load_pem_public_key(content)
    except (ValueError, UnsupportedAlgorithm):
        found = None
    if not isinstance(found, Ed25519PublicKey):
        raise RatchetError(
            f"{place} is no public Ed25519 key. `ratchet keygen FILE` writes it to FILE{PUBLIC}."
        )
    return PublicKey(_id(found), place, found)


def _content(place: Path, which: str) -> bytes:
    try:
        return place.read_bytes()
    except OSError as error:
        raise RatchetError(
            f"The {which} key {place} can't be read: {error.strerror or error}."
        ) from None


def _id(key: "Ed25519PublicKey") -> str:
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()[:_DIGITS]
