"""Looks at a table and decides what its parameter file says."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ratchet import folds, leakage, settings, splits, table
from ratchet.errors import DataError
from ratchet.leakage import Finding, Leak
from ratchet.problem import ProblemType
from ratchet.settings import SplitMethod
from ratchet.survey import columns, dealing, target
from ratchet.survey.base import Choice, Remark, Survey
from ratchet.survey.columns import Columns
from ratchet.survey.dealing import Dealing
from ratchet.survey.target import Target
from ratchet.table import Prepared, Table

SEED = 42
"""Of the split and of the rows that are sampled: the one that the parameter file has."""

# Leaks that a column makes, which goes away with it.
_OF_COLUMNS = (Leak.REBUILT, Leak.GAP, Leak.ORDERED_ID, Leak.NEAR_PERFECT)
# What is left after columns were dropped is looked at again, so many times.
_ROUNDS = 6

# A comparison on fewer test rows than promote.min_rows is refused; a small table has half of its
# own few, and at least so many.
_FEWEST = 10


class _Every(Collection[str]):
    """Holds every name: whatever can't be read is left out of the table."""

    def __contains__(self, _: object) -> bool:
        return True

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def look(source: Path, wanted: str | None, problem: ProblemType | None = None) -> Survey:
    """Look at a table as prepare would, and choose settings that let it pass.

    Columns that know the answer are dropped with the evidence. Equal tables give
    equal surveys.

    Parameters
    ----------
    source : Path
        File or folder of parquet or CSV files.
    wanted : str or None
        Column to predict, or an expression; None asks which.
    problem : ProblemType or None
        What the user says it is; None decides from the target.

    Raises
    ------
    DataError
        If the table can't be read or learned from, or there is no such target.
    """
    read = table.read_table(source, drop=_Every())
    aim = target.read(read.frame, wanted, problem)
    found = columns.read(read, aim.sources)
    first = _Draft(read, aim, found, _dealing(read, aim, found))
    draft, report = _without_leaks(first)
    prepared, parts = draft.prepared()
    choices = [*aim.choices, *draft.dealing.choices(), *_of_few_rows(aim, draft.dealing, parts)]
    return Survey(
        files=read.files,
        n_rows=len(read.frame),
        n_columns=read.frame.shape[1] + len(read.left_out),
        problem=prepared.schema.problem,
        choices=tuple(choices),
        drop=draft.columns.drop,
        labels=draft.labels,
        facts=(
            *read.notes,
            *prepared.notes,
            *columns.facts(prepared.frame, prepared.schema),
            *parts.notes,
            *report.notes,
        ),
        refused=tuple(finding.evidence for finding in report.findings),
    )


def _of_few_rows(aim: Target, way: Dealing, parts: splits.Splits) -> Iterator[Choice]:
    """Yield what a small table needs, so that chance decides less."""
    n_valid, n_test = len(parts.valid), len(parts.test)
    in_turn = way.method is not SplitMethod.TIME and aim.problem.has_target
    if n_valid < folds.MANY_SCORED and in_turn:
        because = (
            f"There are only {n_valid} validation rows, on which a candidate may be good by chance:"
            " training and validation rows score it in turn."
        )
        yield Choice("train.validation", settings.Validation.FOLDS.value, because)
    if n_test < settings.Promote().min_rows:
        least = max(min(_FEWEST, n_test), n_test // 2)
        because = (
            f"There are only {n_test} test rows: a gain over the champion must be large to be sure."
        )
        yield Choice("promote.min_rows", least, because)


@dataclass(frozen=True)
class _Draft:
    """Settings on trial: how the table would be prepared and dealt."""

    table: Table
    target: Target
    columns: Columns
    dealing: Dealing

    @property
    def labels(self) -> tuple[Remark, ...]:
        """Labels among the features; a column of groups is none."""
        return tuple(each for each in self.columns.labels if each.column != self.dealing.column)

    def data(self) -> settings.Data:
        conditions = {each.setting: each.value for each in self.target.choices}
        return settings.Data(
            source="data",
            target=self.target.expression,
            filter=conditions.get("data.filter"),
            drop=tuple(remark.column for remark in self.columns.drop),
            categorical=tuple(remark.column for remark in self.labels),
            positive=conditions.get("data.positive"),
        )

    def split(self) -> settings.Split:
        deal = self.dealing
        return settings.Split(method=deal.method, column=deal.column, test=deal.test)

    def prepared(self) -> tuple[Prepared, splits.Splits]:
        """Prepare and deal the rows, as the step prepare does."""
        by, data = self.dealing.column, self.data()
        names = [str(name) for name in self.table.frame.columns]
        keep = (*((by,) if by else ()), *leakage.watched(names, data))
        visible = (by,) if by and self.dealing.method is SplitMethod.TIME else ()
        problem = self.target.problem
        prepared = table.prepare_table(self.table, data, problem, keep=keep, visible=visible)
        labels = None
        if prepared.schema.problem.is_classification:
            labels = np.asarray(prepared.frame[prepared.schema.target].to_numpy())
        dealt = splits.split(
            len(prepared.frame),
            self.split(),
            SEED,
            labels=labels,
            by=prepared.extra[by] if by else None,
        )
        return prepared, dealt

    def leaks(self) -> leakage.Report:
        prepared, dealt = self.prepared()
        return leakage.look(prepared, dealt, self.split(), seed=SEED)

    def without(self, remarks: Sequence[Remark]) -> "_Draft":
        names = {remark.column for remark in remarks}
        kept = tuple(each for each in self.columns.labels if each.column not in names)
        found = Columns((*self.columns.drop, *remarks), kept)
        if self.dealing.column in names and self.dealing.method is not SplitMethod.GROUP:
            return replace(self, columns=found, dealing=_dealing(self.table, self.target, found))
        return replace(self, columns=found)


def _dealing(read: Table, aim: Target, found: Columns) -> Dealing:
    """Take the best way of dealing that this table allows."""
    dropped = {remark.column for remark in found.drop}
    possible = dealing.ways(read.frame, aim, dropped)
    for way in possible[:-1]:
        try:
            _Draft(read, aim, found, way).prepared()
        except DataError:
            continue  # such as groups that are too few, or a month that holds every row
        return way
    return possible[-1]


def _without_leaks(draft: _Draft) -> tuple[_Draft, leakage.Report]:
    """Drop the columns that know the answer; give what can't be settled so."""
    for _ in range(_ROUNDS):
        report = draft.leaks()
        guilty = _remarks([each for each in report.findings if each.kind in _OF_COLUMNS])
        groups = [each for each in report.findings if each.kind is Leak.GROUPS]
        if guilty:
            draft = draft.without(guilty)
        elif groups:
            name = groups[0].columns[0]
            draft = replace(draft, dealing=dealing.by_group(name, f"{groups[0].evidence}."))
        else:
            return draft, report
    return draft, draft.leaks()


def _remarks(findings: Sequence[Finding]) -> list[Remark]:
    """Say of each column why it is dropped, by the first finding that names it."""
    remarks: dict[str, Remark] = {}
    for finding in findings:
        for name in finding.columns:
            if len(finding.columns) > 1:
                others = ", ".join(each for each in finding.columns if each != name)
                more = f"; if it is known in time and {others} is not, take it out of this list"
            else:
                more = ""
            told = f"{finding.kind.replace('_', ' ')}: {finding.evidence}{more}"
            remarks.setdefault(name, Remark(name, told))
    return list(remarks.values())
