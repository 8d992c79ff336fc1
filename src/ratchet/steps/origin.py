"""What the run of every step records about where it comes from."""

import re
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ratchet import files, lineage, masking, settings, tracking
from ratchet.errors import RatchetError
from ratchet.lineage import DataState, Lineage
from ratchet.project import Project
from ratchet.tracking import Item, Param, Tag

# Libraries whose version can change a result.
LIBRARIES = (
    "ratchet",
    "mlflow",
    "dvc",
    "scikit-learn",
    "xgboost",
    "lightgbm",
    "catboost",
    "hyperopt",
    "skrub",
    "skops",
    "pandas",
    "numpy",
    "pyarrow",
)

DATA_FILE = "data.json"

# Files that a refusal names: more would hide what to do.
_NAMED = 10


def require_clean(project: Project) -> None:
    """Make sure that the code is a commit's, where ``lineage.dirty`` is refuse.

    Raises
    ------
    RatchetError
        If it differs from the commit, is in none, or git can't tell.
    """
    if project.settings.lineage.dirty != "refuse":
        return
    found = _recorded(project, DataState("", False))
    if found.commit is not None and found.dirty is False:
        return
    way_out = "set lineage.dirty to record or allow"
    if found.commit is None or found.dirty is None:
        raise RatchetError(
            f"lineage.dirty is refuse, and the code is in no commit: {found.code_reason}."
            f" Commit it with git, or {way_out}."
        )
    names = found.changed[:_NAMED]
    more = len(found.changed) - len(names)
    told = ", ".join(names) + (f" and {more} more" if more else "")
    verb = "differs" if len(found.changed) == 1 else "differ"
    raise RatchetError(
        f"lineage.dirty is refuse, and {told} {verb} from commit {found.commit[:7]}."
        f" Commit the changes, or {way_out}."
    )


def of(project: Project, data: DataState) -> Lineage:
    """Say which code, data and parameters a step runs with.

    Parameters
    ----------
    project : Project
        What is run.
    data : DataState
        Version of the bytes that prepare read.
    """
    found = _recorded(project, data)
    if project.settings.lineage.dirty == "allow" and found.dirty:
        return replace(found, patch="", patch_whole=False)
    return found


def read_data(project: Project) -> DataState:
    """Read the data version that prepare wrote down.

    Raises
    ------
    RatchetError
        If prepare has not run.
    """
    return DataState(**files.read_json(project.prepared / DATA_FILE, made_by="prepare"))


def write_data(data: DataState, folder: Path) -> None:
    """Write down the data version for the steps that follow."""
    files.write_json(folder / DATA_FILE, asdict(data))


def items(project: Project, origin: Lineage) -> Iterator[Item]:
    """Yield params, hardware, versions and lineage as items of a run."""
    for name, value in _told(project.settings).items():
        yield Param(name, value)
    yield Tag("ratchet.params_file", lineage.place(project.params_file))
    if project.overrides:
        yield Tag("ratchet.overrides", masking.masked(" ".join(project.overrides)))
    for name, value in origin.tags():
        yield Tag(name, value)
    machine = lineage.hardware()
    for name, value in asdict(machine).items():
        shown = ", ".join(value) or "none" if isinstance(value, tuple) else str(value)
        yield Tag(f"ratchet.hardware.{name}", shown)
    for name, version in lineage.library_versions(LIBRARIES):
        yield Tag(f"ratchet.version.{name}", version)


def record(run_id: str, project: Project, origin: Lineage) -> None:
    """Write everything about a step's origin to its run, the patch of a dirty tree included."""
    tracking.write(run_id, items(project, origin))
    with tempfile.TemporaryDirectory() as folder:
        params = Path(folder) / project.params_file.name
        told = masking.masked(settings.as_yaml(project.settings))
        params.write_text(told, encoding="utf-8")
        environment = Path(folder) / "environment.txt"
        environment.write_text("\n".join(lineage.environment()) + "\n", encoding="utf-8")
        saved: list[Item] = [tracking.File(each, "lineage") for each in (params, environment)]
        if origin.patch:
            patch = Path(folder) / "dirty.patch"
            patch.write_text(origin.patch, encoding="utf-8")
            saved.append(tracking.File(patch, "lineage"))
        tracking.write(run_id, saved)


def _recorded(project: Project, data: DataState) -> Lineage:
    checks = project.settings.data.checks
    return lineage.record(
        project.root,
        source=project.source,
        params=_told(project.settings),
        data=data,
        modules=_named_modules(project.settings),
        beside=[] if checks is None else [project.root / checks],
    )


def _told(choices: settings.Settings) -> dict[str, Any]:
    """Give all settings as a run records them, without what is secret in an address."""
    return {name: masking.masked_in(each) for name, each in settings.flat(choices).items()}


def _named_modules(choices: settings.Settings) -> tuple[str, ...]:
    """Name the modules that the parameter file has a run import."""
    train = choices.train
    computed = [each.function for _, each in choices.data.derive if not isinstance(each, str)]
    paths = [train.metric or "", *_texts(train.backends), *computed]
    found = [path.partition(":")[0] for path in paths if re.fullmatch(r"[\w.]+:[\w.]+", path)]
    for options in train.backends.values():
        declared = options.get("modules")
        found += [str(each) for each in declared] if isinstance(declared, list | tuple) else []
    return tuple(sorted({*train.plugins, *found}))


def _texts(value: Any) -> Iterator[str]:
    """Yield every text in nested options."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list | tuple):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _texts(each)
