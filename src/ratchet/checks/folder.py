"""Checks of the project's own files: parameters, and what a shell reads of the others."""

import re
from collections.abc import Iterator

import yaml

from ratchet import settings
from ratchet.checks.base import Said, Site, SkipError, above, error, ok, quoted, read_yaml, warning
from ratchet.errors import SettingsError
from ratchet.lineage import ask_git
from ratchet.project import Project

# How people call the file when they don't look.
_ALIKE = ("params.yaml", "params.yml", "parameters.yaml", "parameters.yml")

_PARAMETER = re.compile(r"\{\w+\}")


def parameters(site: Site) -> Iterator[Said]:
    """See that the parameter file is there, and every setting in it is allowed."""
    file, found = site.params_file, site.opened
    if isinstance(found, Project):
        yield ok(f"{file.name} describes the task {found.settings.name}")
    elif file.exists():
        reason = " ".join(str(found).split("\n")[0].split()) + "".join(
            f" {line.strip(' -')};" for line in str(found).split("\n")[1:]
        )
        yield error(reason.rstrip(";"), _put_back(site) if _committed_loads(site) else "")
    else:
        yield _absent(site)


def _absent(site: Site) -> Said:
    file = site.params_file
    told = f"there is no {file.name} in {site.root}"
    if not site.root.is_dir():
        return error(f"there is no folder {site.root}")
    for other in sorted(site.root.iterdir()):
        if file.name == "params.yaml" and other.name.lower() in _ALIKE:
            return error(f"{told}, but {other.name}", quoted("mv", other.name, file.name))
    folder = above(site.root, file.name)
    if folder is not None:
        return error(f"{told}, but in {folder}", quoted("cd", folder))
    return error(f"{told}: go to a project's folder, or name the file with --params")


def _committed_loads(site: Site) -> bool:
    text = ask_git(site.root, "show", f"HEAD:./{site.params_file.name}")
    try:
        values = yaml.safe_load(text or "")
        if isinstance(values, dict):
            settings.from_mapping(values, origin=site.params_file.name)
            return True
    except (SettingsError, yaml.YAMLError, ValueError):
        pass
    return False


def _put_back(site: Site) -> str:
    return quoted("git", "checkout", "HEAD", "--", site.params_file.name)


def mlproject_quotes(site: Site) -> Iterator[Said]:
    """See that no quotes stand around a parameter in MLproject, which would undo MLflow's own."""
    file = site.root / "MLproject"
    if not file.is_file():
        raise SkipError("there is no MLproject")
    entries = read_yaml(file).get("entry_points")
    commands = {
        str(name): str(entry.get("command", ""))
        for name, entry in (entries.items() if isinstance(entries, dict) else ())
        if isinstance(entry, dict)
    }
    found = [name for name, command in commands.items() if _quotes_one(command)]
    for name in found:
        yield error(
            f"the entry point {name} has quotes around a parameter: a shell would run what the"
            " parameter holds",
            r"""sed -i -E "s/[\\]?['\"](\{[A-Za-z_]+\})[\\]?['\"]/\1/g" MLproject""",
        )
    strange = [
        name
        for name, command in commands.items()
        if (site.root / "src" / "ratchet").is_dir() and re.match(r"\s*ratchet\b", command)
    ]
    for name in strange:
        yield warning(
            f"the entry point {name} starts the program `ratchet`, which may be another clone's",
            r"sed -i -E 's/^( *command: *)ratchet /\1python src /' MLproject",
        )
    if not found and not strange:
        yield ok(f"no quotes around the parameters of {len(commands)} entry points")


def _quotes_one(command: str) -> bool:
    """Tell whether a parameter stands between quotes."""
    quote = ""
    for at, letter in enumerate(command):
        if letter == quote:
            quote = ""
        elif not quote and letter in "'\"`":
            quote = letter
        elif quote and _PARAMETER.match(command, at):
            return True
    return False


def stage_commands(site: Site) -> Iterator[Said]:
    """See that no stage of dvc.yaml takes a parameter into its command, unquoted as that is."""
    file = site.root / "dvc.yaml"
    if not file.is_file():
        raise SkipError("there is no dvc.yaml")
    found = _unquoted(read_yaml(file))
    committed = yaml.safe_load(ask_git(site.root, "show", "HEAD:./dvc.yaml") or "") or {}
    clean = isinstance(committed, dict) and committed and not _unquoted(committed)
    for name in found:
        yield error(
            f"the stage {name} has ${{}} in its cmd: a shell would run what the parameter holds;"
            " the step reads its parameters from params.yaml by itself",
            "git checkout HEAD -- dvc.yaml" if clean else "",
        )
    if not found:
        yield ok("no parameter goes through a stage's command line")


def _unquoted(content: dict) -> list[str]:
    stages = content.get("stages")
    found = []
    for name, stage in stages.items() if isinstance(stages, dict) else ():
        cmd = stage.get("cmd", "") if isinstance(stage, dict) else ""
        lines = cmd if isinstance(cmd, list) else [cmd]
        if any("${" in str(line) for line in lines):
            found.append(str(name))
    return found
