"""Brings the exact bytes of a recorded data version back, out of all that DVC can reach."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from http.client import HTTPException
from pathlib import Path, PurePosixPath

import yaml

from ratchet import lineage
from ratchet.errors import DataError
from ratchet.masking import masked

_VERSION = re.compile(r"[0-9a-f]{32}(\.dir)?")
_OPTION = re.compile(r"remote\.(.+?)\.(\w+)=(.*)")

# Variables of a hook, a stage or an experiment, which would lead DVC and git elsewhere.
_MISLEADING = ("GIT_", "DVC_ROOT", "DVC_STAGE", "DVC_EXP_")

# How DVC is configured to link files has no meaning where there is nothing to link.
_USELESS = ("type",)

# Seconds after which a web server that doesn't answer counts as dead.
_PATIENCE = 10

# Characters of what DVC says that a message holds.
_WORDS = 200


def fetch(
    root: Path,
    version: str,
    into: Path,
    *,
    name: str = "data",
    also: Path | None = None,
    recorded: Path | None = None,
) -> None:
    """Bring a data version out of DVC's cache, else out of its remotes, into a new place.

    Each file is brought from the first place that has it, and its md5 is
    computed anew. Nothing changes in the checkout: not its files, cache,
    config or locks. ``into`` is there whole or not at all.

    Parameters
    ----------
    root : Path
        Folder inside of a DVC project: its cache and remotes are asked.
    version : str
        The md5 of a file, or that of a folder's listing followed by ``.dir``.
    into : Path
        File or folder to make; nothing may be there.
    name : str
        What the data are called, for messages.
    also : Path or None
        File or folder whose bytes are taken where they are the right ones, such as the
        source in a checkout: it may never have been in DVC.
    recorded : Path or None
        Path of the data in a checkout of the commit that recorded the version. Needed
        where that is a folder inside of one that DVC tracks: DVC knows the outer one.

    Raises
    ------
    DataError
        If ``version`` is none, ``into`` is there or can't be written, or a file
        is nowhere; the message says where it was looked for.
    """
    if not _VERSION.fullmatch(version):
        raise DataError(
            f"{version!r} is no data version. One is an md5 such as"
            " 6faf7ec659f00b5ab27dd14576f538af, of a folder followed by .dir."
        )
    into, recorded = _absolute(into), None if recorded is None else _absolute(recorded)
    if os.path.lexists(into):
        raise DataError(f"{into} is there already. Name a place where nothing is.")
    try:
        into.parent.mkdir(parents=True, exist_ok=True)
        # Beside its destination, so that it can be renamed.
        with tempfile.TemporaryDirectory(prefix=f".{into.name}-", dir=into.parent) as folder:
            search = _Search(lineage.dvc_root(root), Path(folder), also)
            content = Path(folder) / "content"
            if not search.bring(version, content, recorded):
                raise DataError(f"Version {version} of {name} can't be had: {search.told(root)}")
            content.rename(into)
    except OSError as error:
        where = error.filename or into
        raise DataError(f"Can't bring {name} to {into}: {where}: {error.strerror}.") from error


class _Search:
    """Looks for files by their md5: in a given place, in DVC's cache, in its remotes."""

    def __init__(self, top: Path | None, scratch: Path, also: Path | None) -> None:
        self._top = top
        self._scratch = scratch
        self._also = also
        self._listed: Mapping[str, str] = {}
        self._loose: dict[str, Path] = {}
        self._damaged: set[Path] = set()
        self._said: dict[str, str] = {}
        self._trouble = ""

    def bring(self, version: str, content: Path, recorded: Path | None) -> bool:
        """Make the file or folder ``content``; tell whether all of it was found."""
        if not version.endswith(".dir"):
            wanted: Mapping[str, str] = {"": version}
        else:
            listed = self._listing(version, recorded)
            if listed is None:
                return False
            wanted = listed
            content.mkdir()
        missing = self._lay_out(wanted, content)
        if missing and self._look_at_source():
            missing = self._lay_out({n: m for n, m in wanted.items() if m in missing}, content)
        for remote, options in self._remotes.items() if missing else ():
            self._download(remote, options, [(md5, md5) for md5 in missing])
            missing = self._lay_out({n: m for n, m in wanted.items() if m in missing}, content)
            if not missing:
                break
        return not missing

    def told(self, root: Path) -> str:
        """Say where it was looked for, and what would help."""
        if self._top is None:
            return f"{root} is in no DVC project, which would have a cache and remotes."
        lost = len(self._damaged)
        damage = f" (damaged files: {lost})" if lost else ""
        places = [f"the cache {lineage.cache_folder(self._top)}{damage}"]
        places += [f"{remote} ({why})" for remote, why in self._said.items()]
        return (
            f"not all of it is in {'; '.join(places)}. {self._trouble}".rstrip()
            + " Run `dvc push` in a checkout that has it."
        )

    def _listing(self, version: str, recorded: Path | None) -> Mapping[str, str] | None:
        """Find the files of a folder: by its own version, else as a part of what is tracked."""
        found = self._read_listing(version)
        if found is not None:
            return found
        if self._look_at_source() and lineage.folder_version(self._listed) == version:
            return self._listed
        whole, inside = version, "."
        pointer = lineage.tracked_version(recorded) if recorded is not None else None
        if recorded is not None and pointer is not None and pointer.tracked != recorded:
            whole, inside = (
                pointer.version or version,
                recorded.relative_to(pointer.tracked).as_posix(),
            )
            found = pointer.listing or self._read_listing(whole)
        for remote, options in self._remotes.items() if found is None else ():
            self._download(remote, options, [(whole, inside)])
            found = self._read_listing(whole)
            if found is not None:
                break
        return None if found is None else _checked(lineage.part_of(found, inside), version)

    def _look_at_source(self) -> bool:
        """Compute what the given file or folder has, which may take a while; tell whether any."""
        also, self._also = self._also, None
        if also is not None and also.is_dir():
            self._listed = lineage.listing(also)
            self._loose = {md5: also / name for name, md5 in self._listed.items()}
        elif also is not None and also.exists():
            self._loose = {lineage.data_version(also): also}
        return bool(self._loose)

    def _read_listing(self, version: str) -> Mapping[str, str] | None:
        for place in self._places(version):
            if not place.is_file():
                continue
            try:
                entries = json.loads(place.read_bytes())
                found = {str(each["relpath"]): str(each["md5"]) for each in entries}
            except (ValueError, TypeError, KeyError):
                found = {}
            if lineage.folder_version(found) == version:
                return _checked(found, version)
            self._damaged.add(place)
        return None

    def _places(self, md5: str) -> Iterator[Path]:
        """Name the paths at which a file may lie."""
        if md5 in self._loose:
            yield self._loose[md5]
        own = self._scratch / ".dvc" / "cache"
        for folder in (own, lineage.cache_folder(self._top)) if self._top else ():
            yield folder / "files" / "md5" / md5[:2] / md5[2:]
            # Where DVC 2 kept it. Its md5 leaves out line ends of Windows, and ours will tell.
            yield folder / md5[:2] / md5[2:]

    def _lay_out(self, wanted: Mapping[str, str], content: Path) -> set[str]:
        """Put files where they belong; give the md5 of those that are nowhere."""
        targets: dict[str, list[Path]] = {}
        for name, md5 in wanted.items():
            targets.setdefault(md5, []).append(content / name if name else content)
        with ThreadPoolExecutor(max_workers=4) as pool:
            found = list(pool.map(self._put, targets, targets.values()))
        return {md5 for md5, there in zip(targets, found, strict=True) if not there}

    def _put(self, md5: str, targets: Sequence[Path]) -> bool:
        first, *others = targets
        first.parent.mkdir(parents=True, exist_ok=True)
        for place in self._places(md5):
            if not place.is_file():
                continue
            if place.is_relative_to(self._scratch):
                place.rename(first)  # what was downloaded is nobody else's
                first.chmod(0o644)
            else:
                shutil.copyfile(place, first)
            if lineage.data_version(first) == md5:
                for other in others:
                    other.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(first, other)
                return True
            self._damaged.add(place)
            first.unlink()
        return False

    @cached_property
    def _remotes(self) -> Mapping[str, Mapping[str, str]]:
        """The remotes of the project with their options, the default one first."""
        listed = self._dvc(self._top, "config", "--list") if self._top is not None else None
        if listed is None:
            return {}
        options: dict[str, dict[str, str]] = {}
        default = ""
        for line in listed.stdout.splitlines():
            if line.startswith("core.remote="):
                default = line.removeprefix("core.remote=")
            elif found := _OPTION.fullmatch(line):
                options.setdefault(found[1], {})[found[2]] = found[3]
        remotes = {name: options[name] for name in options if "url" in options[name]}
        if not remotes:
            self._trouble = "No remote is configured (`dvc remote add`)."
        self._configure(remotes)
        return dict(sorted(remotes.items(), key=lambda each: each[0] != default))

    def _configure(self, remotes: Mapping[str, Mapping[str, str]]) -> None:
        """Make a DVC project with the same remotes and a cache of its own."""
        lines = ["[core]", "no_scm = true", "analytics = false", "check_update = false"]
        for name, options in remotes.items():
            lines.append(f"['remote \"{name}\"']")
            lines += [f"{o} = {_quoted(v)}" for o, v in options.items() if o not in _USELESS]
        # A value that more general config files set would hold, so that it is set too.
        lines += ["[cache]", f"dir = {_quoted(str(self._scratch / '.dvc' / 'cache'))}"]
        file = self._scratch / ".dvc" / "config"
        file.parent.mkdir(exist_ok=True)
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def _download(
        self, remote: str, options: Mapping[str, str], wanted: Iterable[tuple[str, str]]
    ) -> None:
        """Have DVC bring what a remote has into the scratch cache.

        ``wanted`` holds pairs of a version and of the part of it to bring, ``.`` or a
        path for a folder.
        """
        told = f"the remote {remote!r} at {masked(options['url'])}"
        outs, targets = [], []
        for number, (version, inside) in enumerate(wanted):
            outs.append({"md5": version, "path": str(number), "hash": "md5"})
            if version.endswith(".dir") and inside != ".":
                targets.append(f"{number}/{inside}")
        pointer = self._scratch / "wanted.dvc"
        pointer.write_text(yaml.safe_dump({"outs": outs}), encoding="utf-8")
        done = self._dvc(
            self._scratch, "fetch", "--remote", remote, "--", *(targets or [pointer.name])
        )
        if done is not None:
            self._said[told] = _reason(done, options["url"])

    def _dvc(self, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str] | None:
        """Run DVC; None where it isn't installed."""
        command = (
            [sys.executable, "-m", "dvc"]
            if importlib.util.find_spec("dvc") is not None
            else [path for path in [shutil.which("dvc")] if path]
        )
        if not command:
            self._trouble = "Its remotes were not asked: DVC is not installed (`pip install dvc`)."
            return None
        kept = {k: v for k, v in os.environ.items() if not k.startswith(_MISLEADING)}
        own = {"DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": str(self._scratch / "site")}
        return subprocess.run(
            [*command, *arguments],
            cwd=folder,
            env=kept | own,
            stdin=subprocess.DEVNULL,  # a question would wait for ever
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )


def _checked(listed: Mapping[str, str], version: str) -> Mapping[str, str] | None:
    """Give a listing if it is that of the version; refuse one that leads out of its folder."""
    for name, md5 in listed.items():
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or not _VERSION.fullmatch(md5):
            raise DataError(
                f"The listing of data version {version} is not to be trusted: it names {name!r}"
                f" with md5 {md5!r}, and files must lie inside of the folder."
            )
    return listed if lineage.folder_version(listed) == version else None


def _reason(done: subprocess.CompletedProcess[str], url: str) -> str:
    """Say why not all was there: in DVC's words, where it has some."""
    lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR: ")]
    told = masked(lines[0].removeprefix("ERROR: ")) if lines else _knock(url)
    told = told or "it lacks a file"
    return told if len(told) <= _WORDS else f"{told[: _WORDS - 3]}..."


def _knock(url: str) -> str:
    """Say why a web server doesn't answer, since to DVC it is one that lacks all files."""
    scheme, found, rest = url.partition("://")
    if not found or scheme not in ("http", "https"):
        return ""
    host, slash, path = rest.partition("/")
    request = urllib.request.Request(
        f"{scheme}://{host.rpartition('@')[2]}{slash}{path}", method="HEAD"
    )
    try:
        with urllib.request.urlopen(request, timeout=_PATIENCE):
            return ""
    except urllib.error.HTTPError:  # it answers, if only that there is no such page
        return ""
    except (OSError, ValueError, HTTPException) as error:
        return f"no answer: {getattr(error, 'reason', error)}"


def _quoted(value: str) -> str:
    """Quote a value as DVC's config files want it."""
    for quote in ('"', "'", "'''"):
        if quote not in value:
            return f"{quote}{value}{quote}"
    return value


def _absolute(path: Path) -> Path:
    """Make a path absolute and free of ``..``, with links kept as DVC keeps them."""
    return Path(os.path.abspath(path))  # noqa: PTH100 - Path.resolve would follow links
