"""Two models on the same test rows, which neither was trained on."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isnan

import numpy as np
import pandas as pd

from ratchet import evaluation, gates, model, settings, slices, tracking
from ratchet.commands.comparison import Paired, SliceLine, Slices
from ratchet.commands.training import PREDICTED, Training, type_of
from ratchet.errors import AlteredError, RatchetError
from ratchet.metrics import Metric, Predictions
from ratchet.project import Project
from ratchet.registry.versions import Version
from ratchet.schema import Kind, Schema
from ratchet.serving import models
from ratchet.steps import evaluate, judgement, parts, prepare

# Slices on which B gains least, and slices on which either has its worst scores.
LEAST_GAINS = 5
WORST_SCORES = 3
# A column of more labels than these is cut only where promote.slices names it: that takes long.
MAX_LABELS = 300


@dataclass(frozen=True)
class Duel:
    """Two trainings on the same rows, or why not."""

    not_paired: str = ""
    """Why they aren't compared there, in a clause."""
    paired: Paired | None = None
    """What one gains over the other."""
    slices: Slices | None = None
    """The worst parts of the rows."""
    not_sliced: str = ""
    """Why there are none, in a clause."""

    @classmethod
    def of(cls, project: Project, first: Training, second: Training) -> "Duel":
        """Compare two trainings by the fair test that promotes a champion.

        Parameters
        ----------
        project : Project
            Has the test rows in ``build/prepared``; its settings say how sure to be.
        first, second : Training
            The second one is the challenger.

        Raises
        ------
        StoreError
            If the store fails.
        """
        reason = "".join(_why_not(first, second))
        if reason:
            return cls(reason, not_sliced=reason)
        try:
            return _fought(project, first, second)
        except _NotComparableError as told:
            return cls(str(told), not_sliced=str(told))


class _NotComparableError(Exception):
    """The two can't be compared on the same rows; the message is a clause that says why."""


def _why_not(first: Training, second: Training) -> Iterator[str]:
    """Yield the first reason, from what the runs say, not to ask the models again."""
    if first.record.run_id == second.record.run_id:
        yield "A and B are the same run"
        return
    for each in (first, second):
        if each.evaluation is None or each.test_rows is None:
            yield f"{each.letter} has not been evaluated"
            return
        if each.schema is None or each.metric is None or not each.record.models:
            yield f"the run of {each.letter} does not say what its model reads and is judged by"
            return
    if first.test_rows != second.test_rows:
        yield "they were judged on different test rows"
        return
    old, new = (each.facts for each in (first, second))
    for name in PREDICTED:
        if old.get(name) != new.get(name):
            yield f"they don't predict the same: {name} {old.get(name)} and {new.get(name)}"
            return
    assert first.metric and second.metric  # the loop above has looked
    if first.metric.name != second.metric.name:
        yield f"they optimise different scores, {first.metric.name} and {second.metric.name}"


def _fought(project: Project, first: Training, second: Training) -> Duel:
    """Ask both models about the test rows that neither was trained on."""
    assert first.schema and first.metric and second.schema  # `_why_not` has looked
    metric = first.metric
    rows, here = _rows_at_hand(project, first)
    scored = evaluate.judged(project, here, rows)
    y = evaluate.truth(project, here, scored)
    a, b = (_predicted(project, each, scored, here) for each in (first, second))
    learned = [judgement.trained_on(scored, each.record.run_id) for each in (first, second)]
    fair = ~np.logical_or(*learned)
    rules = project.settings.promote
    n_fair = int(fair.sum())
    if n_fair < rules.min_rows:
        raise _NotComparableError(
            f"{n_fair:,} of {len(fair):,} test rows are new to both, and promote.min_rows asks for"
            f" {rules.min_rows:,}"
        )
    clusters = prepare.clusters_of(scored)
    bench = _Bench(
        project,
        here,
        metric,
        scored[fair],
        y[fair],
        a.only(fair),
        b.only(fair),
        None if clusters is None else clusters[fair],
    )
    found = evaluation.paired_difference(
        metric,
        bench.y,
        bench.b,
        bench.a,
        resamples=rules.resamples,
        confidence=rules.confidence,
        seed=project.settings.seed,
        clusters=bench.clusters,
    )
    paired = Paired(
        metric=metric.name,
        a=found.champion,
        b=found.challenger,
        gain=found.gain,
        low=found.low,
        high=found.high,
        confidence=found.confidence,
        resamples=found.resamples,
        n_rows=found.n_rows,
        n_left_out=len(fair) - n_fair,
    )
    try:
        return Duel(paired=paired, slices=bench.slices())
    except _NotComparableError as told:
        return Duel(paired=paired, not_sliced=str(told))


def _rows_at_hand(project: Project, training: Training) -> tuple[pd.DataFrame, Schema]:
    """Read the test rows that both were judged on, where they still are."""
    try:
        test = parts.part(project, "test")
        schema = Schema.load(project.prepared / "schema.json")
    except RatchetError as error:
        raise _NotComparableError(f"the test rows are not at hand: {error}".rstrip(".")) from None
    known = prepare.ROW in test.stored.names
    if not known or parts.digest_of(test.hashes) != training.test_rows:
        version = training.record.tags.get("ratchet.data_version", "unknown")
        raise _NotComparableError(
            f"{project.prepared / 'test.parquet'} holds other test rows than they were judged on;"
            f" prepare makes those again from data version {version}"
        )
    return test.frame(), schema


def _predicted(
    project: Project, training: Training, rows: pd.DataFrame, here: Schema
) -> Predictions:
    """Ask a model about rows that were prepared for another one, if it can read them."""
    assert training.schema is not None  # `_why_not` has looked
    known = {column.name: column for column in here.columns}
    for column in training.schema.columns:
        found = known.get(column.name)
        if found is None or type_of(found) != type_of(column):
            has = "it not" if found is None else f"it as {type_of(found)}"
            raise _NotComparableError(
                f"{training.letter} reads the column {column.name} as {type_of(column)}, and the"
                f" rows at hand have {has}"
            )
    if (training.schema.target, training.schema.classes) != (here.target, here.classes):
        raise _NotComparableError(
            f"the rows at hand have another target than {training.letter} predicts"
        )
    into = training.folder / f"model-{training.letter}"
    try:
        named = training.reference
        if named.model is not None and named.version is not None:
            version = Version(named.model, named.version, named.run_id)
            asked = models.load_version(project, version, signed=False)
        else:
            folder = tracking.fetch(f"models:/{training.record.models[-1]}", into)
            asked = models.load(project, str(folder))
        return model.predict(asked, rows, training.schema)
    except AlteredError as error:
        raise _NotComparableError(str(error).rstrip(".")) from None
    except (RatchetError, KeyError, ValueError, TypeError, AttributeError) as error:
        told = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}".rstrip(".")
        raise _NotComparableError(
            f"the model of {training.letter} can't be asked again: {told}"
        ) from None


@dataclass(frozen=True)
class _Bench:
    """Rows that neither was trained on, and what both say about them."""

    project: Project
    schema: Schema
    metric: Metric
    rows: pd.DataFrame
    y: np.ndarray
    a: Predictions
    b: Predictions
    clusters: np.ndarray | None

    def slices(self) -> Slices:
        """Compare both on parts of the rows, and keep the worst."""
        if not self.schema.problem.has_target:
            raise _NotComparableError("how well clusters are apart is told by all rows together")
        choices = self._choices()
        rules, chosen = self.project.settings.promote, self.project.settings
        try:
            report = slices.judge(
                self.metric,
                self.y,
                self.b,
                self.a,
                self.rows,
                self.schema,
                choices,
                confidence=rules.confidence,
                resamples=rules.resamples,
                seed=chosen.seed,
                clusters=self.clusters,
            )
        except RatchetError as error:
            raise _NotComparableError(str(error).rstrip(".")) from None
        if not report.results:
            raise _NotComparableError(
                f"none of {report.n_small} slices by {', '.join(choices.columns or ())} has"
                f" {choices.min_rows} rows, as promote.slices.min_rows asks"
            )
        places = {
            (part.column, part.label): part.places
            for part in slices.parts(self.rows, self.schema, choices)
        }
        worst_a, worst_b = (
            _worst(report.results, [self.metric.loss(score) for score in scores])
            for scores in (
                [result.reference for result in report.results],
                [result.challenger for result in report.results],
            )
        )
        wanted = {*range(min(LEAST_GAINS, len(report.results))), *worst_a, *worst_b}
        lines = []
        for at in sorted(wanted):
            result = report.results[at]
            here = places[result.column, result.label]
            (a_low, a_high), (b_low, b_high) = (
                self._interval(each, here) for each in (self.a, self.b)
            )
            whose = [
                letter
                for letter, worst in (("A", worst_a), ("B", worst_b))
                if worst and worst[0] == at
            ]
            lines.append(
                SliceLine(
                    column=result.column,
                    label=result.label,
                    n_rows=result.n_rows,
                    a=result.reference,
                    a_low=a_low,
                    a_high=a_high,
                    b=result.challenger,
                    b_low=b_low,
                    b_high=b_high,
                    gain=result.gain,
                    low=result.low,
                    high=result.high,
                    worst_of=" and ".join(whose),
                )
            )
        return Slices(
            columns=tuple(choices.columns or ()),
            declared=bool(rules.slices.columns),
            lines=tuple(lines),
            n_slices=len(report.results),
            n_small=report.n_small,
            min_rows=report.min_rows,
            confidence=chosen.evaluate.confidence,
            confidence_all=report.confidence,
        )

    def _choices(self) -> settings.Slices:
        declared = self.project.settings.promote.slices
        if declared.columns:
            return declared
        labels = tuple(
            column.name
            for column in self.schema.columns
            if column.kind in (Kind.CATEGORY, Kind.BOOLEAN) and column.distinct <= MAX_LABELS
        )
        if not labels:
            raise _NotComparableError(
                f"promote.slices.columns names none, and no column has {MAX_LABELS} labels or fewer"
            )
        return declared.model_copy(update={"columns": labels})

    def _interval(self, said: Predictions, places: np.ndarray) -> tuple[float, float]:
        rules = self.project.settings.evaluate
        scores = evaluation.evaluate(
            self.y[places],
            said.only(places),
            [self.metric],
            resamples=rules.resamples,
            confidence=rules.confidence,
            seed=self.project.settings.seed,
            clusters=None if self.clusters is None else self.clusters[places],
        )
        found = scores.score(self.metric.name)
        return found.low, found.high


def _worst(results: Sequence[gates.SliceResult], losses: Sequence[float]) -> list[int]:
    """Give the places of the largest losses, the largest first."""
    known = [at for at in range(len(results)) if not isnan(losses[at])]
    return sorted(known, key=lambda at: -losses[at])[:WORST_SCORES]
