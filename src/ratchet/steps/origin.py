"""What the run of every step records about where it comes from."""

import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from ratchet import files, lineage, settings, tracking
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
    "hyperopt",
    "skrub",
    "skops",
    "pandas",
    "numpy",
    "pyarrow",
)

DATA_FILE = "data.json"


def of(project: Project, data: DataState) -> Lineage:
    """Say which code, data and parameters a step runs with.

    Parameters
    ----------
    project : Project
        What is run.
    data : DataState
        Version of the bytes that prepare read.
    """
    return lineage.record(
        project.root,
        source=project.source,
        params=settings.flat(project.settings),
        data=data,
    )


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
    for name, value in settings.flat(project.settings).items():
        yield Param(name, value)
    yield Tag("ratchet.params_file", lineage.place(project.params_file))
    if project.overrides:
        yield Tag("ratchet.overrides", " ".join(project.overrides))
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
        params.write_text(settings.as_yaml(project.settings), encoding="utf-8")
        environment = Path(folder) / "environment.txt"
        environment.write_text("\n".join(lineage.environment()) + "\n", encoding="utf-8")
        saved: list[Item] = [tracking.File(each, "lineage") for each in (params, environment)]
        if origin.patch:
            patch = Path(folder) / "dirty.patch"
            patch.write_text(origin.patch, encoding="utf-8")
            saved.append(tracking.File(patch, "lineage"))
        tracking.write(run_id, saved)
