"""Signs versions, and says who has signed one: keygen, sign and verify."""

import logging
import os
from dataclasses import dataclass
from pathlib import Path

from ratchet import lineage, signatures, tracking
from ratchet.errors import AlteredError, RatchetError
from ratchet.project import Project
from ratchet.registry import integrity
from ratchet.registry.integrity import KEY_VARIABLE, PASSPHRASE_VARIABLE
from ratchet.serving import models, served

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class NewKey:
    """A key that was made."""

    private: str
    """File that signs."""
    public: str
    """File that checks."""
    id: str
    """How the key is called."""
    encrypted: bool
    """Whether it asks for a passphrase."""

    def line(self) -> str:
        """Say it in one line."""
        locked = "" if self.encrypted else ", not encrypted"
        return f"keygen: key {self.id} is in {self.private}{locked}; {self.public} checks"


@dataclass(frozen=True)
class Signed:
    """A version that is signed."""

    version: str
    """Such as ``taxi/3``."""
    key: str
    """Id of the key."""
    by: str
    """User and machine that signed."""
    at: str
    """When, in UTC."""
    files: int
    """Files that the signature covers."""
    digest: str
    """Digest of them all."""

    def line(self) -> str:
        """Say it in one line."""
        return (
            f"sign: {self.version}, {self.files} files, is signed by key {self.key}"
            f" ({self.by} at {self.at})"
        )


@dataclass(frozen=True)
class Verdict:
    """What is known of a version's files."""

    version: str
    """Such as ``taxi/3``."""
    intact: bool
    """Whether the files are those that were promoted."""
    on_record: bool
    """Whether there was anything to hold them against."""
    signed: bool | None
    """Whether a known key has signed them; None where ``registry.public_keys`` names none."""
    fault: str
    """What is wrong, in a sentence; empty when nothing is."""

    @property
    def is_good(self) -> bool:
        """Whether there is nothing to say against it."""
        return not self.fault

    def line(self) -> str:
        """Say it in one line."""
        if self.fault:
            return f"verify: {self.fault}"
        told = "the files are those that were promoted" if self.on_record else "no digest on record"
        return f"verify: {self.version}: {told}{', and signed' if self.signed else ''}"


def make_key(place: Path) -> NewKey:
    """Make a key to sign with; the environment may hold a passphrase for it.

    Raises
    ------
    RatchetError
        If a file is there, can't be written, or would be recorded with the next run.
    """
    folder = next(each for each in place.absolute().parents if each.is_dir())
    in_git = lineage.ask_git(folder, "rev-parse", "--show-toplevel")
    if in_git and not lineage.ask_git(folder, "check-ignore", "--", str(place.absolute())):
        raise RatchetError(
            f"{place} would lie in the git checkout {in_git.strip()}, which doesn't ignore it, and"
            " what isn't committed is recorded with runs. Name a file elsewhere, such as"
            " ~/.config/ratchet/key, or have git ignore it first."
        )
    made = signatures.make(place, os.environ.get(PASSPHRASE_VARIABLE) or None)
    found = NewKey(str(made.private), str(made.public), made.id, made.encrypted)
    logger.info("%s", found.line())
    return found


def sign(project: Project, reference: str | None, key: Path | None) -> Signed:
    """Vouch for a version: its files, as they are kept now and were promoted.

    Parameters
    ----------
    project : Project
        Whose registry has it.
    reference : str or None
        As for ``served.find``; None means the champion.
    key : Path or None
        File of the private key; None takes that of the environment or of ``registry.signing_key``.

    Raises
    ------
    RatchetError
        If there is no key, or it can't be read.
    AlteredError
        If the files are not those that were promoted.
    StoreError
        If there is no such version, or the store fails.
    """
    mine = integrity.signing_key(project, key)
    if mine is None:
        raise RatchetError(
            f"There is no key to sign with. Name its file: --key FILE, {KEY_VARIABLE} or"
            " registry.signing_key. `ratchet keygen FILE` makes one."
        )
    tracking.connect(project)
    found = models.fetch(served.find(project, reference))
    made = integrity.sign(found, mine)
    told = Signed(
        version=found.version.label,
        key=made.key,
        by=made.by,
        at=made.at,
        files=len(found.manifest.files),
        digest=found.manifest.digest,
    )
    logger.info("%s", told.line())
    return told


def verify(project: Project, reference: str | None) -> Verdict:
    """Say whether a version is what was promoted and who vouches for it; nothing is loaded.

    Parameters
    ----------
    project : Project
        Whose settings name the public keys.
    reference : str or None
        As for ``served.find``; None means the champion.

    Raises
    ------
    RatchetError
        If a public key can't be read.
    StoreError
        If there is no such version, its files aren't there, or the store fails.
    """
    keys = integrity.public_keys(project)
    tracking.connect(project)
    version = served.find(project, reference)
    try:
        found = models.fetch(version)
    except AlteredError as error:
        return Verdict(version.label, False, True, None, str(error))
    fault = integrity.signature_fault(found, keys) if keys else ""
    return Verdict(
        version.label, True, found.is_known, None if not keys else not fault, fault and f"{fault}."
    )
