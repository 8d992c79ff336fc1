"""Checks of git and of whose code it is that runs."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import ratchet
from ratchet import lineage, masking, packaged
from ratchet.checks.base import (
    Said,
    Site,
    SkipError,
    above,
    count,
    error,
    installing,
    ok,
    program,
    quoted,
    some,
    trouble,
    warning,
)
from ratchet.lineage import DataState
from ratchet.project import Project, masked

# Names that say a file shows how a secret looks, and holds none.
_SHOWN = (".example", ".sample", ".template", ".dist")

_FIRST = "git add --all && git commit --message 'First version'"

# Seconds that an interpreter may take to say where a package is.
_PATIENCE = 20


def repository(site: Site) -> Iterator[Said]:
    """See that the code is in a commit of git, or its changes can be recorded whole."""
    rule = (
        site.opened.settings.promote.dirty_tree if isinstance(site.opened, Project) else "recorded"
    )
    code = lineage.record(
        site.root, source=site.root / "data", params={}, data=DataState("", dirty=False)
    )
    if code.commit is None or code.dirty is None:
        what = f"whether its code is that of {code.commit[:12]}" if code.commit else "its commit"
        told = f"no run can say {what}: {code.code_reason}"
        yield trouble(told, _committing(code.code_reason), stops=rule != "allow")
        return
    where = f"commit {code.commit[:12]}{f' on {code.branch}' if code.branch else ''}"
    if not code.dirty:
        yield ok(f"{where}, and the tree is clean")
    elif rule == "clean":
        told = f"the tree differs from {where}: promote.dirty_tree asks for a clean one"
        yield error(told, "git add --all && git commit --message 'What has changed'")
    elif rule == "recorded" and not code.patch_whole:
        told = f"the tree differs from {where} by what no run records: a large file or a secret"
        yield error(told, "git add --all && git commit --message 'What has changed'")
    else:
        yield ok(f"{where}, and a run records how the tree differs from it")


def _committing(reason: str) -> str:
    if "not installed" in reason:
        return _getting("git")
    if "safe.directory" in reason:
        return reason.split("`")[1]
    if "no commit yet" in reason:
        return _FIRST
    if "no git repository" in reason or "tracks none of it" in reason:
        return f"git init && {_FIRST}"
    if "which differs from" in reason:
        return "python src doctor"
    return ""


def _getting(name: str) -> str:
    for manager in ("apt-get", "dnf", "brew", "apk"):
        if program(manager):
            asks = "--yes " if manager in ("apt-get", "dnf") else ""
            prefix = "" if manager == "brew" or os.geteuid() == 0 else "sudo "
            return f"{prefix}{manager} {'add' if manager == 'apk' else 'install'} {asks}{name}"
    return ""


def history(site: Site) -> Iterator[Said]:
    """See that the clone has the whole history, in which older runs' commits are."""
    if site.top is None or lineage.ask_git(site.root, "rev-parse", "HEAD") is None:
        raise SkipError("there is no commit")
    if lineage.ask_git(site.root, "rev-parse", "--is-shallow-repository") == "true":
        yield warning(
            "the clone is shallow: the commits of older runs are not in it, nor can be made again",
            "git fetch --unshallow",
        )
    else:
        yield ok("the history is whole")


def secrets(site: Site) -> Iterator[Said]:
    """See that git tracks no file of secrets, and params.yaml holds no password."""
    found = False
    listed = lineage.ask_git(site.root, "ls-files", "-z", "--", ".")
    for name in (listed or "").split("\0"):
        path = Path(name)
        if path.suffix in _SHOWN or not masking.is_secret_file(name):
            continue
        found = True
        untracked = quoted("git", "rm", "--cached", "--", name)
        ignored = f"printf '\\n/%s\\n' {quoted(name)} >> .gitignore"
        yield warning(
            f"git tracks {name}: who can read the repository, reads the secrets in it; change them",
            f"{untracked} && {ignored}",
        )
    uri = site.opened.settings.tracking.uri if isinstance(site.opened, Project) else None
    if uri and masked(uri) != uri:
        found = True
        yield warning(
            f"tracking.uri in {site.params_file.name} holds a password ({masked(uri)}): leave it"
            " null, and set MLFLOW_TRACKING_URI in the environment"
        )
    if not found:
        yield ok("no file of secrets is tracked")


def whose_code(site: Site) -> Iterator[Said]:
    """See that the code that runs is this checkout's, whichever way it is started."""
    ours = site.root / "src" / "ratchet"
    running = Path(ratchet.__file__).resolve().parent
    if not (ours / "__init__.py").is_file():
        listed = packaged.listed_in(site.root / "conda.yaml")
        other = packaged.other_than(listed)
        if other:
            told = (
                f"{other}: no run can say that its code is what the project has on record"
                " (`python src lock` records what runs)"
            )
            yield error(told, f"{quoted('rm', '-rf', '.venv')} && {installing(site.root)}")
        else:
            asked = ", as conda.yaml asks" if any(map(packaged.is_ours, listed)) else ""
            yield ok(f"ratchet {packaged.running_version()} runs from {running}{asked}")
        return
    wrong = False
    if running != ours.resolve():
        wrong = True
        yield error(f"this is the code of {running}, not of {ours}", "python src doctor")
    found = _imported(sys.executable)
    if found is not None and found != ours.resolve():
        wrong = True
        told = f"without `python src`, `import ratchet` gives the code of {found}"
        yield warning(told, _unlinking(found))
    if not wrong:
        yield ok("it is this checkout's")


def _unlinking(found: Path) -> str:
    paths = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    if any(Path(path).resolve() == found.parent for path in paths):
        return "unset PYTHONPATH"
    for folder in map(Path, sys.path):
        if "packages" not in folder.name:
            continue
        for link in folder.glob("*.pth"):
            lines = link.read_text(encoding="utf-8", errors="replace").splitlines()
            if any(Path(line.strip()).resolve() == found.parent for line in lines if line.strip()):
                # uv and pip both write the name of the distribution into that of the file.
                owned = "ratchet" in link.name
                return _uninstalling() if owned else quoted("rm", link)
    return _uninstalling()


def _uninstalling() -> str:
    if program("uv"):
        return quoted("uv", "pip", "uninstall", "--python", sys.executable, "ratchet")
    return quoted(sys.executable, "-m", "pip", "uninstall", "--yes", "ratchet")


def _imported(python: str) -> Path | None:
    """Ask an interpreter where it takes the package from when nobody helps; None if nowhere."""
    tell = "import ratchet; print(ratchet.__file__)"
    try:
        done = subprocess.run(
            (python, "-P", "-c", tell),
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=False,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    told = done.stdout.strip()
    return Path(told).resolve().parent if done.returncode == 0 and told else None


def own_environment(site: Site) -> Iterator[Said]:
    """See that the folder .venv is this clone's own, not another's."""
    folder = site.root / ".venv"
    if not folder.exists() and not folder.is_symlink():
        raise SkipError("there is no .venv")
    mend = f"{quoted('rm', '-rf', '.venv')} && {installing(site.root)}"
    place = folder.resolve()
    if not place.is_relative_to(site.root.resolve()):
        owner = above(place, "src/ratchet")
        told = f"of the clone {owner}" if owner else "outside of this folder"
        yield warning(
            f".venv is a link to {place}, {told}: what is installed for one changes both",
            mend.replace("rm -rf", "rm"),
        )
        return
    strangers = list(_scripts_of_others(folder))
    if strangers:
        name, python = strangers[0]
        yield warning(
            f"{count(len(strangers), 'program')} in .venv/bin start another environment"
            f" ({some(each for each, _ in strangers)}; {name} starts {python}): it was copied",
            mend,
        )
        return
    yield ok(".venv is this clone's own")


def _scripts_of_others(venv: Path) -> Iterator[tuple[str, str]]:
    """Find the programs that start an interpreter outside of their environment."""
    for script in sorted((venv / "bin").glob("*")):
        if script.is_symlink() or not script.is_file():
            continue
        with script.open("rb") as file:
            lines = [os.fsdecode(file.readline(4096)).strip() for _ in range(2)]
        # Where the path is too long for a kernel, a shell starts the interpreter.
        started = lines[1].removeprefix("'''exec' ") if lines[0] == "#!/bin/sh" else lines[0][2:]
        python = started.split(" ")[0].strip("\"'")
        called = Path(python).name.startswith("python")
        shared = not called or Path(python).is_relative_to("/usr")
        if not shared and Path(python).parent.resolve() != script.parent.resolve():
            yield script.name, python
