"""checks: hold the table against its rules without preparing it, or write rules that fit it."""

from dataclasses import dataclass
from pathlib import Path

from ratchet import datachecks, files, table
from ratchet.datachecks import Report
from ratchet.errors import RatchetError
from ratchet.project import Project
from ratchet.steps import prepare


@dataclass(frozen=True)
class Checked:
    """A table held against its rules."""

    file: str
    """File of the rules, relative to params.yaml."""
    report: Report
    """What was found."""


@dataclass(frozen=True)
class Written:
    """Rules that were written for a table."""

    path: Path
    """The file."""
    n_columns: int
    """Columns that have rules."""
    next: tuple[str, ...]
    """What else must be done for prepare to check them, one sentence each."""


def run(project: Project) -> Checked:
    """Check the table as prepare does; write and record nothing.

    Raises
    ------
    DataError
        If the table can't be read.
    SettingsError
        If the rules can't be read.
    RatchetError
        If ``data.checks`` names no file.
    """
    rules = prepare.check_rules(project)
    if rules is None:
        raise RatchetError(
            "data.checks is null, so that there is nothing to check. Write rules that fit the"
            " table with `ratchet checks --write`."
        )
    project.require_own("data.source", project.source)
    raw = table.read_table(project.source, drop=project.settings.data.drop)
    return Checked(str(project.settings.data.checks), prepare.check_table(project, raw, rules))


def write(project: Project, *, force: bool = False) -> Written:
    """Write rules that the table keeps, to be edited and committed.

    Parameters
    ----------
    project : Project
        Its table is read; the file is the one that ``data.checks`` names, or ``schema.json``.
    force : bool
        Whether rules that are there may be replaced; they are kept beside as ``.bak``.

    Raises
    ------
    DataError
        If the table can't be read.
    RatchetError
        If the file is there, or can't be written.
    """
    data, split = project.settings.data, project.settings.split
    name = data.checks or datachecks.FILE
    path = project.root / name
    project.require_own("data.checks", path)
    project.require_own("data.source", project.source)
    if path.exists():
        if not force:
            raise RatchetError(
                f"{path} is there already. Edit it, or write it anew with --force, which keeps it"
                f" as {path.name}.bak."
            )
        files.write_bytes(path.with_name(f"{path.name}.bak"), path.read_bytes())
    raw = table.read_table(project.source, drop=data.drop)
    kept = table.rows_kept(raw, data, (split.column,) if split.column else ())
    frame = raw.frame.loc[kept].drop(columns=list(data.drop), errors="ignore")
    rules = datachecks.infer(frame, categorical=data.categorical)
    rules.save(path)
    return Written(path, len(rules.columns), tuple(_next(project, name)))


def _next(project: Project, name: str) -> list[str]:
    steps = []
    if project.settings.data.checks is None:
        steps.append(f"Set data.checks to {name} in {project.params_file.name}.")
    pipeline = project.root / "dvc.yaml"
    if pipeline.is_file() and name not in pipeline.read_text(encoding="utf-8"):
        steps.append(f"Add {name} to the deps of prepare in dvc.yaml.")
    return steps
