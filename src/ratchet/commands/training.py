"""A training as the store has it: its run, those around it, and their artifacts."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import nan
from pathlib import Path
from typing import Any

import pandas as pd

from ratchet import metrics, recorded, settings, table
from ratchet.commands.comparison import Member, SearchRecord, Side
from ratchet.errors import RatchetError, StoreError
from ratchet.metrics import Metric
from ratchet.recorded import Record
from ratchet.registry import references
from ratchet.schema import Column, Schema
from ratchet.searched import failures, tried_in
from ratchet.settings import Settings
from ratchet.steps import prepare
from ratchet.tracking import TEST_TAG

ROWS = (*prepare.PARTS, "read", "filtered_out", "stray")
"""Numbers of rows that prepare records."""

PREDICTED = ("problem", "data.target", "classes")
"""Facts that two trainings must share to be compared by their scores."""


@dataclass(frozen=True)
class Training:
    """A training, and what was found out about it in the store."""

    letter: str
    """A or B."""
    reference: references.Reference
    """What was asked for."""
    through: str
    """What the run is that was asked for, if it is another; else empty."""
    record: Record
    """The run of the training."""
    folder: Path
    """Where copies of its artifacts go."""
    chosen: str
    """``train.metric`` of the settings that are used now."""

    @classmethod
    def of(cls, letter: str, text: str, folder: Path, chosen: str) -> "Training":
        """Find the training that a person means.

        Raises
        ------
        StoreError
            If there is none, or the store fails.
        """
        reference = references.resolve(text)
        asked = recorded.read(reference.run_id)
        record = recorded.training_of(reference.run_id)
        if not record.step and not record.models:
            raise StoreError(
                f"Run {record.run_id} was not made by this project and has no model, and belongs to"
                " no training. Name a run that has trained or judged one."
            )
        other = asked is not None and asked.run_id != record.run_id
        return cls(
            letter,
            reference,
            asked.step if asked is not None and other else "",
            record,
            folder,
            chosen,
        )

    @cached_property
    def evaluation(self) -> Record | None:
        """The run that judged the leader."""
        found = self.record.tags.get("ratchet.evaluate_run")
        return recorded.read(found) if found else None

    @cached_property
    def preparation(self) -> Record | None:
        """The run that prepared its rows."""
        found = self.record.tags.get("ratchet.prepare_run")
        return recorded.read(found) if found else None

    @cached_property
    def leader(self) -> Mapping[str, Any]:
        """What ``leader.json`` says; nothing for a model that this project didn't train."""
        found = _json_of(self.artifact("leader.json"))
        return found if isinstance(found, dict) else {}

    @cached_property
    def schema(self) -> Schema | None:
        """The columns that it was trained on."""
        if self.preparation is None:
            return None
        found = _json_of(self.artifact("schema.json", self.preparation))
        try:
            return Schema.from_dict(found)
        except (TypeError, KeyError, ValueError):  # another version of this project wrote it
            return None

    @cached_property
    def metric(self) -> Metric | None:
        """The score that it optimised, where it can be found here."""
        if self.schema is None or not self.leader:
            return None
        return _metric(str(self.leader.get("metric_reference")), self.schema, self.chosen)

    @cached_property
    def trials(self) -> pd.DataFrame | None:
        """Every trial of its search."""
        found = self.artifact("trials.parquet")
        if found is None:
            return None
        try:
            return table.read_parquet(found, made_by="train")
        except RatchetError:
            return None

    @cached_property
    def settings(self) -> Settings | None:
        """Its settings, overrides included, as this version of the project reads them."""
        if self.params_file is None:
            return None
        try:
            return settings.load(self.params_file)
        except RatchetError:
            return None

    @cached_property
    def params_file(self) -> Path | None:
        """A copy of its parameter file, overrides included."""
        return self.artifact(f"lineage/{Path(self.params_place).name}")

    @property
    def params_place(self) -> str:
        """Where that file lies in the checkout."""
        return self.record.tags.get("ratchet.params_file", "params.yaml")

    @cached_property
    def patch(self) -> str:
        """Its uncommitted changes."""
        found = self.artifact("lineage/dirty.patch")
        return "" if found is None else found.read_text(encoding="utf-8", errors="replace")

    @cached_property
    def libraries(self) -> Mapping[str, str]:
        """Versions of all that was installed, else of what the tags name."""
        found = self.artifact("lineage/environment.txt")
        if found is None:
            prefix = "ratchet.version."
            return {
                name.removeprefix(prefix): version
                for name, version in self.record.tags.items()
                if name.startswith(prefix)
            }
        pins = found.read_text(encoding="utf-8", errors="replace").splitlines()
        return {name: version for name, _, version in (pin.partition("==") for pin in pins) if name}

    @property
    def test_rows(self) -> str | None:
        """Digest of the test rows that it was judged on."""
        return self.evaluation.tags.get(TEST_TAG) if self.evaluation else None

    @cached_property
    def facts(self) -> Mapping[str, str]:
        """Say what was read in words that can be compared."""
        facts = {
            name: value
            for name, value in (*self.record.tags.items(), *self.record.params.items())
            if name in ("ratchet.data_version", "ratchet.data_dirty", "data.target")
        }
        if self.schema is not None:
            facts["problem"] = self.schema.problem.value
            if self.schema.classes:
                facts["classes"] = ", ".join(map(str, self.schema.classes))
        return facts

    @cached_property
    def rows(self) -> Mapping[str, int]:
        """Count the rows of each part, as prepare says, else as the training's inputs do."""
        if self.preparation is not None:
            said = self.preparation.metrics
            return {part: int(said[f"rows/{part}"]) for part in ROWS if f"rows/{part}" in said}
        names = {context: part for part, context in prepare.CONTEXTS.items()}
        judged = self.evaluation.tables if self.evaluation else ()
        return {
            names[each.context]: each.rows
            for each in (*self.record.tables, *judged)
            if each.context in names and each.rows is not None
        }

    @cached_property
    def side(self) -> Side:
        """What it is, for people."""
        return Side(
            letter=self.letter,
            asked=self.reference.text,
            label=self.reference.label if self.reference.model else f"run {self.record.run_id[:8]}",
            run_id=self.record.run_id,
            run_name=self.record.name,
            through=self.through,
            started=self.record.started,
            leader=str(self.leader.get("name", "")),
            metric=str(self.leader.get("metric", "")),
            evaluated=self.evaluation.run_id if self.evaluation else None,
            test_rows=self.test_rows,
            confidence=self.record.params.get("evaluate.confidence", ""),
        )

    @cached_property
    def search(self) -> SearchRecord | None:
        """Its search; None where the run holds no trials."""
        if self.trials is None or self.metric is None:
            return None
        return SearchRecord(
            letter=self.letter,
            trials=len(self.trials),
            failed=int(self.trials["error"].notna().sum()),
            seconds=self.record.metrics.get("search/seconds", nan),
            families=tried_in(self.trials, self.metric),
            failures=tuple(failures(self.trials)),
            members=tuple(_members(self.leader)),
        )

    def artifact(self, name: str, record: Record | None = None) -> Path | None:
        """Fetch an artifact of its run, or of another one of its."""
        return recorded.download((record or self.record).run_id, name, self.folder)

    def score(self, name: str) -> float:
        """Give one of its metrics; NaN where it has none of that name."""
        return self.record.metrics.get(name, nan)


def _json_of(path: Path | None) -> Any:
    if path is None:
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return None


def _metric(name: str, schema: Schema, chosen: str) -> Metric | None:
    try:
        return metrics.on_record(name, schema.problem, chosen)
    except (RatchetError, ImportError):  # a function of the user's that this checkout has not
        return None


def _members(leader: Mapping[str, Any]) -> Iterator[Member]:
    for each in leader.get("members", ()):
        yield Member(
            name=str(each["name"]),
            weight=float(each["weight"]),
            trial=int(each["trial"]) + 1,
            params=json.dumps(each["params"], ensure_ascii=False),
        )


def type_of(column: Column) -> str:
    """Say what a column holds and how, e.g. ``"number (float64)"``."""
    return f"{column.kind.value} ({column.dtype})"
