"""export: a registered model as an ONNX file that answers alike."""

import json
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from ratchet import files, recorded, tracking
from ratchet.errors import RatchetError
from ratchet.export import whole
from ratchet.export.whole import TOLERANCE, Agreement
from ratchet.project import Project
from ratchet.schema import Schema
from ratchet.serving import rows, served
from ratchet.serving.served import Served
from ratchet.steps import prepare

logger = logging.getLogger(__name__)

# Test rows that both are asked about: more find no other ways through the model.
_ROWS = 5_000


@dataclass(frozen=True)
class Exported:
    """An ONNX file that is there."""

    to: str
    """The file."""
    version: str
    """The version that it answers as, such as ``taxi/3``."""
    run_id: str
    """The run that trained it."""
    bytes: int
    """Its size."""
    rows: int
    """Rows that it and the model were asked about."""
    of: str
    """Which rows these are."""
    largest_difference: float
    """Between their answers: relative for quantities, absolute for probabilities."""
    seconds: float
    """Wall-clock time."""

    def line(self) -> str:
        """Say it in one line."""
        return (
            f"export: {self.version} is in {self.to} ({self.bytes / 1e6:.1f} MB); on"
            f" {self.rows:,} {self.of} its answers differ by {self.largest_difference:.1e} at most"
        )


def run(project: Project, reference: str | None, to: Path) -> Exported:
    """Write a registered model as an ONNX file, after both have answered the same rows alike.

    Parameters
    ----------
    project : Project
        Whose registry has it.
    reference : str, optional
        ``NUMBER``, ``NAME/NUMBER`` or ``NAME@ALIAS``; None means the champion.
    to : Path
        The file; one that is there is replaced.

    Raises
    ------
    RatchetError
        If packages are missing, a part of the model has no counterpart, or the
        answers differ; there is no new file then.
    StoreError
        If there is no such version, or it can't be loaded.
    """
    started = time.monotonic()
    if to.suffix.lower() != ".onnx":
        raise RatchetError(f"{to} must end in .onnx, by which runtimes know it.")
    whole.require()
    tracking.connect(project)
    asked = served.load(project, served.find(project, reference))
    if not asked.schema.problem.has_target:
        raise RatchetError(
            f"{asked.label} finds clusters, and only models of a target can be written as ONNX."
        )
    if not hasattr(asked.model, "get_params"):
        raise RatchetError(
            f"{asked.label} was saved by another library than scikit-learn, and has a form of its"
            " own to be exported from."
        )
    content = whole.converted(asked.model, asked.schema, _about(asked))
    known, told = _rows(project, asked)
    agreement = whole.compared(
        content,
        asked.model,
        pd.concat([known, whole.probes(known, asked.schema)], ignore_index=True),
        asked.schema,
    )
    _refuse(agreement, asked)
    files.write_bytes(to.absolute(), content)
    found = Exported(
        to=str(to),
        version=asked.label,
        run_id=asked.training.run_id,
        bytes=len(content),
        rows=agreement.n_rows,
        of=told,
        largest_difference=agreement.largest,
        seconds=time.monotonic() - started,
    )
    logger.info("%s", found.line())
    return found


def _about(asked: Served) -> dict[str, str]:
    """Say in the file where it comes from."""
    schema = asked.schema
    told = {
        "ratchet.version": asked.label,
        "ratchet.run_id": asked.training.run_id,
        "ratchet.data_version": asked.training.tags.get("ratchet.data_version", ""),
        "ratchet.problem": str(schema.problem),
        "ratchet.target": str(schema.target),
    }
    if schema.classes:
        told["ratchet.classes"] = json.dumps(list(schema.classes), ensure_ascii=False)
    return told


def _rows(project: Project, asked: Served) -> tuple[pd.DataFrame, str]:
    """Find rows to ask about: the test rows, where those of this model are prepared here."""
    path = project.prepared / "schema.json"
    if path.exists() and Schema.load(path) == asked.schema:
        test = prepare.read_part(project, "test")
        return test.head(_ROWS)[asked.schema.names], "test rows and probes"
    with TemporaryDirectory() as folder:
        example = recorded.example_of(asked.version.uri, Path(folder))
    if example is None:
        raise RatchetError(
            f"There are no rows to prove that the file answers as {asked.label} does: its test rows"
            " are not prepared here. Run ratchet prepare with the settings of that training."
        )
    return rows.accept(example, asked.schema), "rows of the model's example and probes"


def _refuse(agreement: Agreement, asked: Served) -> None:
    if agreement.is_equal:
        return
    classes = ""
    if agreement.other_classes:
        classes = f" and another class in {agreement.other_classes:,} of them"
    raise RatchetError(
        f"The ONNX file does not answer as {asked.label} does, so that it is not written: on"
        f" {agreement.n_rows:,} rows the largest difference is {agreement.largest:.3g}"
        f" ({TOLERANCE:g} is allowed){classes}."
    )
