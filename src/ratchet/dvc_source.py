"""Teaches MLflow what ``dvc://`` is: where the data of a run come from, and how to have them."""

import os
import re
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote, unquote_to_bytes

from mlflow.data.filesystem_dataset_source import FileSystemDatasetSource

from ratchet.errors import DataError

if TYPE_CHECKING:
    from ratchet.lineage import Checkout

# Nothing else of this project is imported before it is needed: MLflow loads this module
# whenever it is imported itself, by the entry point, also where nobody asks for data.

_SCHEME = "dvc://"
_URI = re.compile(
    r"dvc://(?P<repo>[^@?#]+)@(?P<commit>[0-9a-f]{40}|[0-9a-f]{64})/(?P<path>[^@?#]+)"
    r"\?md5=(?P<version>[0-9a-f]{32}(?:\.dir)?)"
)

# How git may reach a repository whose address came out of a tracking server: by no command of its.
_PROTOCOLS = "file:git:http:https:ssh"

# What a hook sets, which would lead git to the hook's repository.
_MISLEADING = (
    *("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_PREFIX"),
    *("GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_NAMESPACE"),
)

# An option of a remote by which a repository's own config runs a command.
_COMMAND = "bearer_token_command"


class DvcDatasetSource(FileSystemDatasetSource):
    """Data that DVC has recorded: ``dvc://REPO@COMMIT/PATH?md5=VERSION``.

    ``REPO`` is the address of the git repository, without credentials, or the
    absolute path of the checkout; ``PATH`` is the data's place in it, and
    ``VERSION`` the md5 of the bytes that were read. Each is percent-encoded, so
    that ``@`` and ``?`` in them part nothing.

    Parameters
    ----------
    uri : str
        As above.

    Raises
    ------
    DataError
        If it is no such URI.
    """

    def __init__(self, uri: str) -> None:
        found = _URI.fullmatch(uri)
        if found is None:
            raise DataError(
                f"{_masked(uri)!r} is no dvc:// URI. One is dvc://REPO@COMMIT/PATH?md5=VERSION,"
                " with the commit in full and '@', '?' and '#' percent-encoded."
            )
        self._uri = uri
        self.repo, self.path = _plain(found["repo"]), _plain(found["path"])
        self.commit, self.version = found["commit"], found["version"]
        if not {"", ".", ".."}.isdisjoint(self.path.split("/")):
            raise DataError(
                f"{_masked(uri)!r} has the path {self.path!r}, which is none inside of REPO."
            )

    @property
    def uri(self) -> str:
        """The URI."""
        return self._uri

    @staticmethod
    def _get_source_type() -> str:
        # The UI shows the address of the types that it knows, and of no other. This is the one
        # of them that no class of MLflow's own has taken.
        return "external"

    @staticmethod
    def _can_resolve(raw_source: Any) -> bool:
        return isinstance(raw_source, str) and raw_source.startswith(_SCHEME)

    @classmethod
    def _resolve(cls, raw_source: Any) -> Self:
        return cls(raw_source)

    def to_dict(self) -> dict[Any, Any]:
        """Give what MLflow keeps with the run."""
        return {"url": self._uri}

    @classmethod
    def from_dict(cls, source_dict: dict[Any, Any]) -> Self:
        """Make the source again from what MLflow has kept."""
        return cls(str(source_dict.get("url")))

    def load(self, dst_path: str | None = None) -> str:
        """Bring the exact bytes of this version, whatever lies at the path today.

        They come out of the cache and the remotes of a checkout on this machine: the one
        that the process works in, if it is one of the repository, or the one that the URI
        names. Else the repository is cloned, and its remotes are asked. Their md5 is
        computed anew.

        Parameters
        ----------
        dst_path : str or None
            Folder to put them in, made if need be; None makes a temporary one, which stays.

        Returns
        -------
        str
            Path of the file or folder with the data.

        Raises
        ------
        DataError
            If the bytes are nowhere; the message says where they were looked for.
        """
        folder = Path(dst_path or tempfile.mkdtemp(prefix="ratchet-"))
        into = folder / self.path.rpartition("/")[2]
        try:
            self._bring(into)
        except BaseException:
            if dst_path is None:
                folder.rmdir()
            raise
        return str(into)

    def _bring(self, into: Path) -> None:
        from ratchet import datastore, lineage

        reasons: list[str] = []
        with tempfile.TemporaryDirectory(prefix="ratchet-") as scratch:
            for number, top in enumerate((*_checkouts(self.repo), None)):
                clone = Path(scratch) / str(number)
                root = clone if top is None else top
                try:
                    if top is None or self._is_part(top):
                        _clone(self.repo if top is None else str(top), self.commit, clone)
                    recorded = (clone if clone.exists() else root) / self.path
                    if top is None:
                        _refuse_commands(lineage.dvc_root(recorded.parent), self.repo)
                    datastore.fetch(
                        (root / self.path).parent,
                        self.version,
                        into,
                        name=self.path,
                        recorded=recorded,
                    )
                except DataError as error:
                    reasons.append(str(error))
                else:
                    return
        raise DataError(" ".join(dict.fromkeys(reasons)))

    def _is_part(self, top: Path) -> bool:
        """Tell whether only the recorded commit's pointers can say which files these are."""
        from ratchet import lineage

        source = top / self.path
        pointer = lineage.tracked_version(source) if self.version.endswith(".dir") else None
        return self.version.endswith(".dir") and (pointer is None or pointer.tracked != source)


def _masked(text: str) -> str:
    from ratchet.masking import masked

    return masked(text)


def _plain(quoted: str) -> str:
    return os.fsdecode(unquote_to_bytes(quoted))


def uri_of(source: Path, version: str) -> str | None:
    """Name recorded data by a ``dvc://`` URI.

    Parameters
    ----------
    source : Path
        File or folder with the data.
    version : str
        The md5 of their bytes.

    Returns
    -------
    str or None
        None where they lie in no git checkout with a commit: nothing can be cloned then.
    """
    from ratchet import lineage

    place = Path(os.path.abspath(source))  # noqa: PTH100 - Path.resolve would follow links
    found = lineage.checkout(place.parent)
    if found is None:
        return None
    repo = quote(os.fsencode(_address(found)), safe="/:")
    path = quote(os.fsencode(place.relative_to(found.top).as_posix()), safe="/")
    return f"{_SCHEME}{repo}@{found.commit}/{path}?md5={version}"


def _address(checkout: "Checkout") -> str:
    """Say where a checkout was cloned from, else where it lies."""
    from ratchet import lineage

    url = checkout.remote_url
    if url is None:
        # Not the workspace of an experiment, which DVC deletes.
        return str(lineage.main_checkout(checkout.top))
    if "://" in url or re.match(r"[^/]+:", url):
        return url
    return os.path.abspath(checkout.top / url)  # noqa: PTH100


def _checkouts(repo: str) -> list[Path]:
    """Find the checkouts on this machine whose caches may have data of a repository."""
    from ratchet import lineage

    here = lineage.checkout(Path.cwd())
    named = Path(repo.removeprefix("file://"))
    found = [here.top] if here and repo in (_address(here), str(here.top)) else []
    if named.is_absolute() and (named / ".git").exists() and named not in found:
        found.append(named)
    return found


def _clone(repo: str, commit: str, into: Path) -> None:
    """Clone a repository at a commit; at its newest where it lacks that: the md5 will tell."""
    _git(repo, "clone", "--quiet", "--no-checkout", "--", repo, str(into))
    try:
        _git(repo, "-C", str(into), "checkout", "--quiet", "--detach", commit)
    except DataError:
        _git(repo, "-C", str(into), "checkout", "--quiet", "HEAD")


def _git(repo: str, *arguments: str) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_MISLEADING)}
    own = {"GIT_TERMINAL_PROMPT": "0", "GIT_ALLOW_PROTOCOL": _PROTOCOLS, "LC_ALL": "C"}
    try:
        done = subprocess.run(
            ("git", *arguments),
            env=kept | own | {"GIT_LFS_SKIP_SMUDGE": "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    except OSError as error:
        raise DataError(f"git can't be run: {error.strerror}. Install it.") from error
    if done.returncode:
        told = _masked(" ".join(done.stderr.split()))[:300]
        raise DataError(f"The repository {_masked(repo)} can't be cloned: {told.rstrip('.')}.")


def _refuse_commands(top: Path | None, repo: str) -> None:
    """Refuse a cloned repository whose config would have DVC run a command."""
    file = top / ".dvc" / "config" if top else None
    if file and _COMMAND in file.read_text(encoding="utf-8", errors="replace").lower():
        raise DataError(
            f"The repository {_masked(repo)} has {_COMMAND} in its .dvc/config, a command that DVC"
            " would run. If you trust it, clone it yourself and load the data inside of the clone."
        )
