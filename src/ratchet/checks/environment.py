"""Checks of the interpreter, the installed packages and what `mlflow run` would build."""

import importlib.metadata
import os
import platform
import re
import sys
import tomllib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from ratchet import lineage, packaged
from ratchet.checks.base import (
    Said,
    Site,
    SkipError,
    count,
    error,
    installing,
    ok,
    program,
    quoted,
    some,
    warning,
)

# More pins than these make a command that nobody would read: the whole lock is shorter.
_MOST_PINS = 8
# Extras that conda.yaml leaves out: for a cluster, single answers, another program and an object
# store.
_NOT_BUILT = ("dask", "explain", "onnx", "s3")


def python_version(site: Site) -> Iterator[Said]:
    """See that the interpreter is one that the project allows."""
    from packaging.specifiers import SpecifierSet
    from packaging.version import Version

    asked = _project(site.root).get("requires-python")
    if asked is None:
        raise SkipError("no pyproject.toml says which Python is needed")
    running = platform.python_version()
    if Version(running) in SpecifierSet(str(asked)):
        yield ok(f"Python {running}, {asked} is asked for")
        return
    least = re.search(r"\d+\.\d+", str(asked))
    version = least[0] if least else "3"
    mend = (
        f"make install PYTHON=python{version}"
        if installing(site.root) == "make install"
        else f"uv sync --frozen --python {version}"
    )
    yield error(f"Python {running} runs, {asked} is asked for", mend)


def packages(site: Site) -> Iterator[Said]:
    """See that the installed packages have the versions of the lock."""
    if not (site.root / "uv.lock").is_file() and (site.root / "conda.yaml").is_file():
        yield from _as_listed(site.root)
        return
    locked = _locked(site.root)
    asked = {_name(each) for each in _project(site.root).get("dependencies", ())}
    needed = _closure(locked, extras=False)
    missing, other = [], []
    for name in sorted(needed):
        versions = {each["version"] for each in locked[name] if "version" in each}
        installed = _installed(name)
        if installed is None:
            # Others may be for another platform.
            if name in asked:
                missing.append(name)
        elif versions and installed not in versions:
            other.append((name, installed, sorted(versions)[-1]))
    if missing:
        told = f"{some(missing)} of the project's dependencies not installed"
        yield error(told, _installing(site.root, missing, locked))
    if other:
        named = some(f"{name} {installed} (locked: {lock})" for name, installed, lock in other)
        yield warning(
            f"{count(len(other), 'package')} other than the lock says: {named}",
            _installing(site.root, [name for name, *_ in other], locked),
        )
    if not missing and not other:
        yield ok(f"{count(len(needed), 'package')} as uv.lock has them")


def _as_listed(root: Path) -> Iterator[Said]:
    """Compare what is installed with the pins of a conda.yaml that is the lock itself."""
    from packaging.markers import Marker

    listed = _listed(root / "conda.yaml")
    pins = [pin.partition(";") for pin in listed if "==" in pin.partition(";")[0]]
    here = [pin.split("==") for pin, _, marker in pins if not marker or Marker(marker).evaluate()]
    asked = {_name(name): version.strip() for name, version in here}
    found = {name: _installed(name) for name in asked}
    missing = sorted(name for name, version in found.items() if version is None)
    other = sorted(name for name, version in found.items() if version not in (None, asked[name]))
    mend = installing(root)
    if missing:
        yield error(f"{some(missing)} of conda.yaml not installed", mend)
    if other:
        named = some(f"{name} {found[name]} (listed: {asked[name]})" for name in other)
        told = f"{count(len(other), 'package')} other than conda.yaml says: {named}"
        yield warning(told, mend)
    if not missing and not other:
        yield ok(f"{count(len(asked), 'package')} as conda.yaml has them")


def _installing(root: Path, names: list[str], locked: dict[str, list[dict[str, Any]]]) -> str:
    own = (root / ".venv").resolve()
    if Path(sys.prefix).resolve() == own and not (root / ".venv").is_symlink():
        return installing(root)
    uv = program("uv") is not None
    into = ("uv", "pip", "install", "--python", sys.executable)
    install = into if uv else (sys.executable, "-m", "pip", "install")
    if len(names) > _MOST_PINS and uv:
        exported = "uv export --frozen --no-dev --no-hashes --no-emit-project"
        return f"{exported} | {quoted(*install)} -r -"
    pins = [f"{name}=={_fitting(locked[name])}" for name in names]
    return quoted(*install, *pins)


def _fitting(entries: list[dict[str, Any]]) -> str:
    """Choose the version that is locked for this interpreter."""
    from packaging.markers import Marker

    for entry in entries:
        markers = entry.get("resolution-markers")
        if not markers or any(Marker(each).evaluate() for each in markers):
            return str(entry["version"])
    return str(entries[0]["version"])


def conda_yaml(site: Site) -> Iterator[Said]:
    """See that what `mlflow run` builds is what the lock has, and not the project itself."""
    file = site.root / "conda.yaml"
    if not file.is_file():
        raise SkipError("there is no conda.yaml")
    listed = _listed(file)
    script = site.root / ".ci" / "conda_yaml.py"
    mend = f"python {script.relative_to(site.root)}" if script.is_file() else ""
    # A wheel says in its name which code it holds; a folder may hold any.
    folders = ("-e", "--editable", ".", "file:")
    if any(pin.startswith(folders) and not pin.endswith(".whl") for pin in listed):
        yield error(
            "conda.yaml installs the project itself: MLflow names the environment after this text"
            " alone, so that a second clone would run the first one's code",
            mend or r"sed -i -E '/^ *- (-e|--editable|\.)/d' conda.yaml",
        )
        return
    if not (site.root / "uv.lock").is_file():
        gone = [pin for pin in listed if pin.endswith(".whl") and not _is_there(site.root, pin)]
        if gone:
            yield error(
                f"conda.yaml names {some(gone)}, which is not there: nothing can build it",
                quoted("git", "checkout", "HEAD", "--", *gone),
            )
        else:
            yield ok(f"{count(len(listed), 'requirement')}, and no lock besides")
        return
    locked = _locked(site.root)
    pins = {pin.partition(";")[0].strip() for pin in listed}
    expected = {
        f"{name}=={entry['version']}"
        for name in _closure(locked, extras=True, but=_NOT_BUILT)
        for entry in locked[name]
        if "version" in entry
    }
    # An extra of a dependency is written in brackets, and is no other package.
    plain = {re.sub(r"\[.*?\]", "", pin) for pin in pins}
    stale, absent = sorted(plain - expected), sorted(expected - plain)
    if stale or absent:
        told = []
        if stale:
            told.append(f"it has {some(stale)}, which uv.lock has not")
        if absent:
            told.append(f"it lacks {some(absent)}")
        yield error(f"conda.yaml differs from uv.lock: {'; '.join(told)}", mend)
    else:
        yield ok(f"{count(len(pins), 'pin')} of uv.lock")


def _is_there(root: Path, wheel: str) -> bool:
    return "://" in wheel or (root / wheel).is_file()


def environment_manager(site: Site) -> Iterator[Said]:
    """See that `mlflow run` can build or use an environment on this machine."""
    if not (site.root / "MLproject").is_file():
        raise SkipError("there is no MLproject")
    if program("mlflow") is None:
        yield error("the program mlflow is not on the path", installing(site.root))
        return
    if any(program(name) for name in (os.environ.get("MLFLOW_CONDA_HOME", ""), "conda") if name):
        yield ok("conda is installed: mlflow run .")
        return
    usable = [
        name
        for name, there in (
            ("uv", program("uv") is not None),
            ("local", _covered(site.root)),
            ("virtualenv", program("pyenv") is not None),
        )
        if there
    ]
    if not usable:
        yield error(
            "conda, uv and pyenv are not installed, and this environment lacks packages: nothing"
            " can run the project",
            quoted(sys.executable, "-m", "pip", "install", "uv"),
        )
        return
    others = f" (or {', '.join(usable[1:])})" if usable[1:] else ""
    yield ok(f"conda is not installed: mlflow run . --env-manager {usable[0]}{others}")


def _covered(root: Path) -> bool:
    """Tell whether all that the project depends on is installed here."""
    names = map(_name, _project(root).get("dependencies", ("mlflow", "scikit-learn")))
    return not any(_installed(name) is None for name in names)


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def threads(site: Site) -> Iterator[Said]:
    """See that OMP_NUM_THREADS does not contradict train.threads."""
    given = os.environ.get("OMP_NUM_THREADS")
    if given is None:
        yield ok("OMP_NUM_THREADS is not set")
        return
    cores = lineage.hardware().cores_logical
    wanted = site.project.settings.train.threads
    first = given.split(",")[0].strip()
    if not first.isdigit() or int(first) < 1:
        yield warning(f"OMP_NUM_THREADS is {given!r}, not a number", "unset OMP_NUM_THREADS")
    elif wanted is not None and int(first) != wanted:
        yield warning(
            f"OMP_NUM_THREADS is {first}, and train.threads {wanted}: libraries will use the one or"
            " the other",
            f"export OMP_NUM_THREADS={wanted}",
        )
    elif int(first) > cores:
        yield warning(
            f"OMP_NUM_THREADS is {first} on {count(cores, 'core')}: threads would wait for each"
            " other",
            "unset OMP_NUM_THREADS",
        )
    elif wanted is None and int(first) < cores:
        yield warning(
            f"OMP_NUM_THREADS is {first}, and train.threads null, which means all {cores} cores",
            "unset OMP_NUM_THREADS",
        )
    else:
        yield ok(f"OMP_NUM_THREADS is {first}, as train.threads has it")


def mlflow_variables(site: Site) -> Iterator[Said]:
    """See that no variable of an earlier `mlflow run` is left in the shell."""
    left = os.environ.get("MLFLOW_RUN_ID")
    if left:
        yield error(
            f"MLFLOW_RUN_ID is {left}: the next step would go on with that run, and its params"
            " can't change",
            "unset MLFLOW_RUN_ID",
        )
    else:
        yield ok("MLFLOW_RUN_ID is not set")


def _project(root: Path) -> dict[str, Any]:
    try:
        content = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    found = content.get("project")
    return found if isinstance(found, dict) else {}


def _locked(root: Path) -> dict[str, list[dict[str, Any]]]:
    """Read uv.lock: each package's entries, of which there may be one for each platform."""
    try:
        content = tomllib.loads((root / "uv.lock").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SkipError("there is no uv.lock") from None
    except (OSError, ValueError) as fault:
        raise SkipError(f"uv.lock can't be read: {fault}") from None
    found: dict[str, list[dict[str, Any]]] = {}
    for entry in content.get("package", ()):
        found.setdefault(str(entry["name"]), []).append(entry)
    return found


def _closure(
    locked: dict[str, list[dict[str, Any]]], *, extras: bool, but: Collection[str] = ()
) -> set[str]:
    """Name all that the project needs, directly or not; development tools don't count."""
    own = [
        entry
        for entries in locked.values()
        for entry in entries
        if "virtual" in entry["source"] or "editable" in entry["source"]
    ]
    waiting = [need for entry in own for need in _needs(entry, extras, but)]
    seen: set[tuple[str, str]] = set()
    while waiting:
        need = waiting.pop()
        for extra in ("", *need.get("extra", ())):
            if (need["name"], extra) in seen:
                continue
            seen.add((need["name"], extra))
            for entry in locked.get(need["name"], ()):
                optional = entry.get("optional-dependencies", {}).get(extra, ())
                waiting += optional if extra else entry.get("dependencies", ())
    return {name for name, _ in seen}


def _needs(entry: dict[str, Any], extras: bool, but: Collection[str]) -> Iterator[dict[str, Any]]:
    yield from entry.get("dependencies", ())
    for extra, needs in entry.get("optional-dependencies", {}).items():
        if extras and extra not in but:
            yield from needs


def _listed(file: Path) -> list[str]:
    return list(packaged.listed_in(file))


def _name(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    return re.sub(r"[-_.]+", "-", found[0]).lower() if found else ""
