"""Whether a version's files are those that were promoted, and who has signed them."""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ratchet import tracking
from ratchet.errors import AlteredError, RatchetError, StoreError
from ratchet.manifest import Manifest
from ratchet.project import Project
from ratchet.registry import ledger, versions
from ratchet.registry.ledger import Ledger, Line
from ratchet.registry.versions import DIGEST_TAG, Version
from ratchet.signatures import PrivateKey, PublicKey, Signature, Statement, private_key, public_key

logger = logging.getLogger(__name__)

SIGNATURE_TAG = "ratchet.signature."
"""What the name of a version's tag with a signature begins with; the id of the key follows."""

EVIDENCE_KEY = "model_files"
"""Where the evidence of a promotion lists the files of the model."""

KEY_VARIABLE = "RATCHET_SIGNING_KEY"
"""Variable of the environment with the path of the key that signs."""

PASSPHRASE_VARIABLE = "RATCHET_SIGNING_PASSPHRASE"
"""Variable of the environment with what that key is encrypted with."""

# Said after why a version isn't loaded.
_WAY_OUT = (
    "It is not loaded. Restore it from a backup of the artifact store, or bring another version"
    " back: ratchet rollback --reason 'its files were changed'."
)
# Versions without a digest that were told of: once is enough, for a server that looks often, too.
_TOLD: set[str] = set()


@dataclass(frozen=True)
class Found:
    """The files of a version as they are now, which is as they were registered."""

    version: Version
    """The version."""
    manifest: Manifest
    """Its files."""
    tags: Mapping[str, str]
    """What is said of it."""
    is_known: bool
    """Whether there was anything on record to hold the files against."""

    @property
    def statement(self) -> Statement:
        """What a signature of it says."""
        return _statement(self.version, self.manifest)


@dataclass(frozen=True)
class Verified:
    """What became of the signatures in a ledger."""

    n_good: int
    """Signatures that fit."""
    faults: tuple[str, ...]
    """What doesn't, a clause each."""


def check(version: Version, folder: Path) -> Found:
    """Hold a copy of a version's files against what was put on record when it was promoted.

    Parameters
    ----------
    version : Version
        The version.
    folder : Path
        A copy of its files, which nobody else can write to.

    Raises
    ------
    AlteredError
        If a file was altered, removed or added since, or the record itself was.
    StoreError
        If the store fails.
    """
    manifest, tags = Manifest.read(folder), versions.tags_of(version)
    book, line = _registration(version)
    tagged = tags.get(DIGEST_TAG)
    if line is not None and tagged is not None and tagged != line.files:
        raise AlteredError(
            f"The tag {DIGEST_TAG} of {version.label} was changed: the ledger has another digest"
            f" of its files. {_WAY_OUT}"
        )
    recorded_digest = line.files if line is not None else tagged
    if recorded_digest is None:
        if version.label not in _TOLD:
            _TOLD.add(version.label)
            logger.warning(
                "%s has no digest of its files on record, so that nobody can tell whether they"
                " were changed: an earlier version of this project promoted it, or somebody"
                " registered it by other means.",
                version.label,
            )
        return Found(version, manifest, tags, is_known=False)
    if manifest.digest != recorded_digest:
        changes = _changes(book, line, manifest)
        raise AlteredError(
            f"The files of {version.label} are not those that were promoted: {changes}. {_WAY_OUT}"
        )
    return Found(version, manifest, tags, is_known=True)


def signature_fault(found: Found, keys: Sequence[PublicKey]) -> str:
    """Say why no signature of a version is good; empty when one of these keys has made one.

    Parameters
    ----------
    found : Found
        The version.
    keys : sequence of PublicKey
        Whose signatures count.
    """
    kept = {
        name.removeprefix(SIGNATURE_TAG): text
        for name, text in found.tags.items()
        if name.startswith(SIGNATURE_TAG)
    }
    label = found.version.label
    if not kept:
        return f"{label} is not signed"
    ours = [key for key in keys if key.id in kept]
    if not ours:
        known = ", ".join(f"{key.place.name} is {key.id}" for key in keys)
        signers = ", ".join(sorted(kept))
        return f"{label} is signed by {signers}, which registry.public_keys doesn't have ({known})"
    if any(fits(kept[key.id], key, found.statement) for key in ours):
        return ""
    return (
        f"{label} has a signature by {', '.join(key.id for key in ours)} that is not of this"
        " version with these files: they or the signature were changed"
    )


def require_signature(project: Project, found: Found) -> None:
    """Refuse a version that nobody has signed, where ``registry.require_signature`` is on.

    Raises
    ------
    StoreError
        If no key of ``registry.public_keys`` has signed these files as this version.
    RatchetError
        If a public key can't be read.
    """
    if not project.settings.registry.require_signature:
        return
    fault = signature_fault(found, public_keys(project))
    if fault:
        raise StoreError(
            f"{fault}, and registry.require_signature is on: it is not"
            f" loaded. Whoever holds a key signs it: ratchet sign {found.version.label}"
        )


def fits(text: str, key: PublicKey, statement: Statement) -> bool:
    """Tell whether a signature as it is kept is one of a statement, by this very key."""
    signature = Signature.parse(text)
    return signature is not None and signature.key == key.id and key.fits(signature, statement)


def public_keys(project: Project) -> tuple[PublicKey, ...]:
    """Read the keys of ``registry.public_keys``, whose paths begin at params.yaml.

    Raises
    ------
    RatchetError
        If one can't be read.
    """
    return tuple(public_key(project.root / name) for name in project.settings.registry.public_keys)


def signing_key(project: Project, place: Path | None = None) -> PrivateKey | None:
    """Read the key that signs; None where none is configured.

    Parameters
    ----------
    project : Project
        Whose ``registry.signing_key`` counts where the environment names no other.
    place : Path, optional
        Its file, before both.

    Raises
    ------
    RatchetError
        If it can't be read.
    """
    named = place or os.environ.get(KEY_VARIABLE) or None
    if named is None and project.settings.registry.signing_key is not None:
        named = project.root / Path(project.settings.registry.signing_key).expanduser()
    if named is None:
        return None
    return private_key(Path(named), os.environ.get(PASSPHRASE_VARIABLE) or None)


def sign(found: Found, key: PrivateKey) -> Signature:
    """Sign a version, and keep the signature with it and in the ledger.

    What this key has signed before stays as it was signed.

    Raises
    ------
    StoreError
        If the store fails.
    """
    own = _own_half(key)
    before = found.tags.get(SIGNATURE_TAG + key.id)
    if before is not None and fits(before, own, found.statement):
        signature = Signature.parse(before)
        assert signature is not None
        return signature
    at = datetime.now(UTC).isoformat(timespec="seconds")
    made = key.sign(found.statement, by=ledger.who(), at=at)
    book, line = _line_of(found.version)
    if book is not None and line is not None:
        # Of two that sign at once the first is kept, and both tell the same.
        standing = book.sign(line, key.id, made.text)
        if fits(standing, own, found.statement):
            made = Signature.parse(standing) or made
    versions.describe(found.version, {SIGNATURE_TAG + key.id: made.text}, None)
    return made


def promoted(version: Version, manifest: Manifest) -> Found:
    """Say of a version that was just made which files it was made of."""
    return Found(version, manifest, versions.tags_of(version), is_known=True)


def is_signed_by(version: Version, key: PrivateKey) -> bool:
    """Tell whether a version has a signature by a key, be it right or wrong."""
    return SIGNATURE_TAG + key.id in versions.tags_of(version)


def verified(
    project: Project,
    book: Ledger,
    lines: Sequence[Line],
    fetch: Callable[[Version], Manifest],
) -> Verified:
    """Verify the signatures that the ledger keeps, by the keys of ``registry.public_keys``.

    Signatures by other keys are left out: nobody here can say anything about them.

    Parameters
    ----------
    project : Project
        Whose settings name the keys.
    book : Ledger
        The ledger.
    lines : sequence of Line
        All its lines.
    fetch : callable
        Digests the files of a version whose line doesn't list them.

    Raises
    ------
    RatchetError
        If a key can't be read.
    StoreError
        If the store fails.
    """
    keys = {key.id: key for key in public_keys(project)}
    if not keys:
        return Verified(0, ())
    checked, faults = 0, []
    signed: set[int] = set()
    for number, kept in sorted(book.signatures().items()):
        line = lines[number - 1] if number <= len(lines) else None
        if line is None or line.champion is None:
            continue
        version = Version(book.model, line.champion, line.run_id)
        for name, text in sorted(kept.items()):
            if name not in keys:
                continue
            fault = _fault_of(book, lines, version, keys[name], text, fetch)
            checked += not fault
            signed |= set() if fault else {version.number}
            faults += [f"line {number}: {fault}"] if fault else []
    moved = next((line for line in reversed(lines) if line.kind.moves), None)
    if (
        project.settings.registry.require_signature
        and moved is not None
        and moved.champion is not None
        and moved.champion not in signed
    ):
        faults.append(
            f"line {moved.number}: version {moved.champion}, the champion, is signed by none of"
            " registry.public_keys"
        )
    return Verified(checked, tuple(faults))


def _fault_of(
    book: Ledger,
    lines: Sequence[Line],
    version: Version,
    key: PublicKey,
    text: str,
    fetch: Callable[[Version], Manifest],
) -> str:
    """Say what is wrong with one signature; empty when nothing is."""
    line = _first_with_files(lines, version.number)
    try:
        manifest = _listed(book, line) if line is not None else fetch(version)
    except RatchetError as error:
        return f"the signature of version {version.number} can't be checked: {error}".rstrip(".")
    if manifest is None:
        return f"the signature of version {version.number} can't be checked: its files are not told"
    if not fits(text, key, _statement(version, manifest)):
        return f"the signature of version {version.number} by {key.id} is not of its files"
    if _is_there(version) and SIGNATURE_TAG + key.id not in versions.tags_of(version):
        return f"version {version.number} has lost its signature by {key.id}, which the ledger has"
    return ""


def _is_there(version: Version) -> bool:
    try:
        versions.tags_of(version)
    except StoreError:
        return False
    return True


def _registration(version: Version) -> tuple[Ledger | None, Line | None]:
    """Find the line that registered a version, where it says which files.

    Whoever adds to a ledger adds at its end, so that the first one counts.
    """
    book = _ledger_of(version)
    return book, None if book is None else _first_with_files(book.lines(), version.number)


def _line_of(version: Version) -> tuple[Ledger | None, Line | None]:
    """Find a line to keep a signature at: the one that registered the version, else its last."""
    book = _ledger_of(version)
    if book is None:
        return None, None
    lines = book.lines()
    about = [line for line in lines if line.champion == version.number]
    return book, _first_with_files(lines, version.number) or (about[-1] if about else None)


def _first_with_files(lines: Sequence[Line], number: int) -> Line | None:
    return next((line for line in lines if line.champion == number and line.files), None)


def _ledger_of(version: Version) -> Ledger | None:
    """Find the ledger; None also where the server lets a user have the versions only."""
    try:
        return Ledger.of(version.model)
    except StoreError as error:
        cause = error.__cause__
        if getattr(cause, "error_code", None) in tracking.UNSEEN:
            return None
        raise


def _changes(book: Ledger | None, line: Line | None, manifest: Manifest) -> str:
    """Say which files are others, as far as the evidence can be had."""
    if book is not None and line is not None:
        try:
            listed = _listed(book, line)
        except StoreError:
            listed = None
        if listed is not None:
            return ", ".join(manifest.changes(listed))
    return "their digest is another one, and the list of them is gone"


def _listed(book: Ledger, line: Line) -> Manifest | None:
    """Read which files a line has registered; None where its evidence doesn't say so."""
    found = Manifest.parse(book.evidence_of(line).get(EVIDENCE_KEY))
    return found if found is not None and found.digest == line.files else None


def _statement(version: Version, manifest: Manifest) -> Statement:
    return Statement(version.model, version.number, version.run_id, manifest)


def _own_half(key: PrivateKey) -> PublicKey:
    return PublicKey(key.id, Path(key.id), key.raw.public_key())
