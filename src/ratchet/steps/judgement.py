"""Judge a challenger by every gate of params.yaml, on the test rows of today."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from weakref import finalize

import numpy as np
import pandas as pd

from ratchet import behaviour, cost, evaluation, gates, leakage, metrics, slices, table, tracking
from ratchet.behaviour import CheckResult
from ratchet.cost import Cost
from ratchet.errors import RatchetError, StoreError
from ratchet.evaluation import Difference
from ratchet.gates import GateResult, SliceReport
from ratchet.lineage import Lineage
from ratchet.metrics import Metric, Predictions
from ratchet.project import Project
from ratchet.registry.versions import Version
from ratchet.report.verdict import Rival, RivalScore
from ratchet.schema import Schema
from ratchet.serving import models
from ratchet.steps import evaluate, parts, prepare, restore
from ratchet.steps.tested import Tested
from ratchet.steps.train import ROWS_FILE, Code, Leader


@dataclass(frozen=True)
class Challenger:
    """A model that asks for the champion's place."""

    run_id: str
    """Run that made it."""
    model_uri: str
    """Where MLflow keeps it, ``models:/m-…``."""
    name: str
    """What it is, for people."""
    metric: str
    """Score that the gates compare."""
    metric_reference: str
    """What that score is found by: its name, or the import path of the user's function."""
    folder: Path
    """Where its saved model lies, to be weighed."""
    test_digest: str
    """Which test rows it is judged on."""
    train_score: float | None
    """That score on the rows it was trained on; None when this project didn't train it."""
    valid_score: float | None
    """That score on the validation rows; None as above."""
    baseline_score: float | None
    """The baseline's score on the validation rows."""
    code: Code
    """The code that trained it."""
    rows: Path | None = None
    """Where the hashes of the rows that it was trained on lie; None leaves that to its run."""


@dataclass(frozen=True)
class Judgement:
    """What the gates said, and what they saw."""

    metric: str
    """Score that was compared."""
    score: float
    """The challenger's, on all test rows."""
    reigning: Version | None
    """The champion that it was compared with."""
    gates: tuple[GateResult, ...]
    """Every gate, also those after the first that did not pass."""
    baseline: Difference
    """What the challenger gains over the baseline."""
    champion: Difference | None
    """What it gains over the champion; None where there is none to compare with."""
    n_left_out: int
    """Test rows that either model was trained on, and that the comparison left out."""
    test_uses: int
    """Models that these test rows have judged before."""
    cost: Cost
    """Time and room that the challenger takes."""
    slices: SliceReport
    """Parts of the test rows."""
    checks: tuple[CheckResult, ...]
    """What it did when declared columns changed."""
    rival: Rival | None = None
    """The champion by every score, for the report; None where none is wanted, or there is none to
    compare with."""

    @property
    def against_champion(self) -> GateResult:
        """The gate that speaks for a leader when all pass."""
        return next(gate for gate in self.gates if gate.name == "better_than_champion")

    def plain(self) -> dict[str, Any]:
        """Give the judgement as plain values, without the gates, which the decision has."""
        value = asdict(self)
        del value["gates"]
        return value


def challenger_of(project: Project, run_id: str | None, *, dry_run: bool = False) -> Challenger:
    """Say who asks for the place: the leader of ``build/train``, or the model of a run.

    Runs of the leader that are not in the store are logged again, but in a dry run.

    Raises
    ------
    RatchetError
        If a step has not run.
    StoreError
        If the run is not there, and can't be logged again, or has no model.
    """
    digest = parts.digest_of(parts.part(project, "test").hashes)
    trained = Leader.load(project)
    leader = restore.look(project) or trained
    if run_id in (None, trained.run_id, leader.run_id):
        evaluate.require(project)
        if not dry_run:
            leader = restore.leader(project)
            restore.evaluation(project, leader)
        return Challenger(
            run_id=leader.run_id,
            model_uri=leader.model_uri,
            name=leader.name,
            metric=leader.metric,
            metric_reference=leader.metric_reference,
            folder=project.trained / "model",
            test_digest=digest,
            train_score=leader.train_score,
            valid_score=leader.score,
            baseline_score=leader.baseline_score,
            code=leader.code,
            rows=project.trained / ROWS_FILE,
        )
    scratch = TemporaryDirectory(prefix="ratchet-")
    given = tracking.model_of(run_id, Path(scratch.name))
    challenger = Challenger(
        run_id=run_id,
        model_uri=given.uri,
        name=given.name,
        metric=leader.metric,
        metric_reference=leader.metric_reference,
        folder=given.folder,
        test_digest=digest,
        train_score=None,
        valid_score=None,
        baseline_score=None,
        code=Code.of_tags(given.tags),
    )
    finalize(challenger, scratch.cleanup)  # its files are there for as long as it is
    return challenger


def judge(
    project: Project,
    challenger: Challenger,
    reigning: Version | None,
    source: Lineage,
    on_phase: Callable[[str], None] = lambda _: None,
    *,
    forced: bool = False,
) -> Judgement:
    """Ask every gate.

    Parameters
    ----------
    project : Project
        Whose settings hold the gates.
    challenger : Challenger
        Who asks for the place.
    reigning : Version or None
        The champion, if there is one.
    source : Lineage
        Code and data that the challenger comes from.
    on_phase : callable
        Is told what begins: ``"compare"``, ``"slices"``, ``"latency"``, ``"checks"``.
    forced : bool
        Go on where the champion can't be loaded, which fails a gate; else it ends the judgement.

    Raises
    ------
    RatchetError
        If a step has not run.
    AlteredError
        If the champion's files are not those that were promoted.
    StoreError
        If MLflow's store fails, or hasn't got the champion's files.
    """
    on_phase("compare")
    bench = _Bench.of(project, challenger.metric_reference)
    ours = models.load(project, str(challenger.folder))
    predicted = bench.tested.predict(ours)
    trivial = bench.tested.predict(models.load(project, str(project.trained / "baseline")))
    score = metrics.score(bench.metric, bench.y, predicted)
    baseline = bench.compare(predicted, trivial)
    duel = _Duel.of(bench, challenger, reigning, predicted, score, forced=forced)
    rules = project.settings.promote
    rival = "baseline" if duel.theirs is None else "champion"
    on_phase("slices")
    report = slices.judge(
        bench.metric,
        bench.y[duel.fair],
        predicted.only(duel.fair),
        (trivial if duel.theirs is None else duel.theirs).only(duel.fair),
        bench.rows[duel.fair],
        bench.schema,
        rules.slices,
        confidence=rules.confidence,
        resamples=rules.resamples,
        seed=project.settings.seed,
        clusters=bench.clusters_of(duel.fair),
    )
    on_phase("latency")
    measured = cost.measure(ours, bench.tested.rows, bench.schema, challenger.folder)
    on_phase("checks")
    checked = behaviour.run(
        ours,
        bench.schema,
        rules.checks,
        bench.tested.rows,
        project.settings.seed,
        train_rows=prepare.read_part(project, "train") if rules.checks else None,
    )
    uses = tracking.count_uses(project, challenger.test_digest, but=challenger.run_id)
    results = [
        *(
            [gates.required_score(bench.metric, score, rules.required)]
            if rules.required is not None
            else []
        ),
        _against_baseline(bench.metric, baseline),
        *duel.gates,
        *_optional(project, challenger, bench, predicted, measured),
        *([gates.no_bad_slice(bench.metric, report, rival)] if rules.slices.columns else []),
        gates.recorded_data(
            source.data_version,
            dirty=source.data_dirty,
            reason=source.data_reason,
            rule=rules.dirty_data,
        ),
        gates.recorded_tree(
            challenger.code.commit,
            dirty=challenger.code.dirty,
            patch_whole=challenger.code.patch_whole,
            reason=challenger.code.reason,
            rule=rules.dirty_tree,
        ),
        gates.no_leakage(_leaks(project)),
        gates.few_test_uses(uses, rules.max_test_uses),
        *(gates.behaves(result) for result in checked),
    ]
    return Judgement(
        metric=bench.metric.name,
        score=score,
        reigning=reigning,
        gates=tuple(results),
        baseline=baseline,
        champion=duel.difference,
        n_left_out=int((~duel.fair).sum()),
        test_uses=uses,
        cost=measured,
        slices=report,
        checks=checked,
        rival=duel.rival(bench, predicted) if project.settings.evaluate.report else None,
    )


@dataclass(frozen=True)
class _Bench:
    """The test rows on which models are compared."""

    project: Project
    schema: Schema
    metric: Metric
    tested: Tested
    y: np.ndarray
    clusters: np.ndarray | None

    @property
    def rows(self) -> pd.DataFrame:
        """All rows that are scored, with the columns of slices."""
        return self.tested.everyone

    @classmethod
    def of(cls, project: Project, metric: str) -> "_Bench":
        schema = Schema.load(project.prepared / "schema.json")
        tested = Tested.of(project, schema, project.settings.promote.slices.columns or ())
        rows = tested.everyone
        return cls(
            project,
            schema,
            metrics.named(metric, schema.problem),
            tested,
            evaluate.truth(project, schema, rows),
            prepare.clusters_of(rows),
        )

    def clusters_of(self, kept: np.ndarray) -> np.ndarray | None:
        return None if self.clusters is None else self.clusters[kept]

    def compare(
        self, challenger: Predictions, champion: Predictions, kept: np.ndarray | None = None
    ) -> Difference:
        everything = np.ones(len(self.y), dtype=bool)
        rows = everything if kept is None else kept
        rules = self.project.settings.promote
        return evaluation.paired_difference(
            self.metric,
            self.y[rows],
            challenger.only(rows),
            champion.only(rows),
            confidence=rules.confidence,
            resamples=rules.resamples,
            seed=self.project.settings.seed,
            clusters=self.clusters_of(rows),
        )


@dataclass(frozen=True)
class _Duel:
    """The challenger and the champion, on rows that neither was trained on."""

    gates: tuple[GateResult, ...]
    fair: np.ndarray
    theirs: Predictions | None = None
    difference: Difference | None = None
    version: int = 0

    def rival(self, bench: "_Bench", predicted: Predictions) -> Rival | None:
        """Give every score of both; None where they were not compared."""
        if self.theirs is None or self.difference is None:
            return None
        rows, y = bench.rows[self.fair], bench.y[self.fair]
        ours, theirs = (
            evaluate.judge(bench.project, bench.schema, y, each.only(self.fair), rows)
            for each in (predicted, self.theirs)
        )
        compared = bench.metric.name
        return Rival(
            version=self.version,
            n_rows=ours.n_rows,
            n_left_out=int((~self.fair).sum()),
            confidence=ours.confidence,
            scores=tuple(
                RivalScore.of(mine, its)
                for mine, its in sorted(
                    zip(ours.scores, theirs.scores, strict=True),
                    key=lambda pair: pair[0].metric != compared,
                )
            ),
        )

    @classmethod
    def of(
        cls,
        bench: _Bench,
        challenger: Challenger,
        reigning: Version | None,
        predicted: Predictions,
        score: float,
        *,
        forced: bool,
    ) -> "_Duel":
        rules = bench.project.settings.promote
        everything = np.ones(len(bench.y), dtype=bool)
        if reigning is None:
            return cls((gates.no_champion(bench.metric, score),), everything)
        if reigning.run_id == challenger.run_id:
            told = f"version {reigning.number}, the champion, is this model"
            return cls((GateResult("better_than_champion", False, told),), everything)
        try:
            theirs = bench.tested.predict(
                models.load_version(bench.project, reigning, signed=False)
            )
        except StoreError as error:  # the store's fault says nothing about the champion
            if not forced:
                raise
            told = f"version {reigning.number}, the champion, can't be compared: {error}"
            return cls((GateResult("better_than_champion", False, told),), everything)
        except (RatchetError, KeyError, ValueError, TypeError, AttributeError) as error:
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            verdict = gates.champion_cannot_score(
                reigning.number, reason, rules.allow_schema_change
            )
            return cls((verdict,), everything)
        fair = ~(trained_on(bench.rows, reigning.run_id) | _known_to(challenger, bench.rows))
        enough = gates.enough_fair_rows(int(fair.sum()), int((~fair).sum()), rules.min_rows)
        if not enough.passed:
            told = f"not compared: {enough.reason}"
            return cls(
                (enough, GateResult("better_than_champion", False, told)), everything, theirs
            )
        difference = bench.compare(predicted, theirs, fair)
        verdict = gates.better_than_champion(
            bench.metric,
            challenger=difference.challenger,
            champion=difference.champion,
            gain=difference.gain,
            low=difference.low,
            high=difference.high,
            confidence=difference.confidence,
            min_gain=rules.min_gain,
        )
        return cls((enough, verdict), fair, theirs, difference, reigning.number)


def trained_on(rows: pd.DataFrame, run_id: str) -> np.ndarray:
    """Mark the rows that the model of a run was trained on, as far as the run says.

    Returns
    -------
    np.ndarray of shape (n_rows,)
        All False for a run that doesn't say.
    """
    return _among(rows, tracking.load_array(run_id, ROWS_FILE))


def _known_to(challenger: Challenger, rows: pd.DataFrame) -> np.ndarray:
    """Mark the rows that a challenger was trained on, as far as its folder or its run says."""
    if challenger.rows is None:
        return trained_on(rows, challenger.run_id)
    return _among(rows, table.read_array(challenger.rows, made_by="train"))


def _among(rows: pd.DataFrame, known: np.ndarray | None) -> np.ndarray:
    """Mark the rows whose hashes are known."""
    if known is None:
        return np.zeros(len(rows), dtype=bool)
    return np.isin(rows[prepare.ROW].to_numpy(), known)


def _against_baseline(metric: Metric, difference: Difference) -> GateResult:
    return gates.better_than_baseline(
        metric,
        leader=difference.challenger,
        baseline=difference.champion,
        gain=difference.gain,
        low=difference.low,
        high=difference.high,
        confidence=difference.confidence,
    )


def _optional(
    project: Project,
    challenger: Challenger,
    bench: _Bench,
    predicted: Predictions,
    measured: Cost,
) -> Iterator[GateResult]:
    """Ask the gates that params.yaml turns on."""
    rules = project.settings.promote
    if rules.max_calibration_error is not None and predicted.probabilities is not None:
        judge = metrics.named("calibration_error", bench.schema.problem)
        error = metrics.score(judge, bench.y, predicted)
        yield gates.calibrated(error, rules.max_calibration_error)
    limits = rules.max_latency_ms
    if limits.one_row is not None or limits.batch is not None:
        yield gates.fast_enough(
            one_row_ms=measured.one_row_ms,
            batch_ms=measured.batch_ms,
            batch_rows=measured.batch_rows,
            max_one_row=limits.one_row,
            max_batch=limits.batch,
        )
    if rules.max_size_mb is not None:
        yield gates.small_enough(measured.size_mb, rules.max_size_mb)
    if rules.max_overfit is not None:
        if challenger.train_score is None or challenger.valid_score is None:
            told = "this project did not train it, so its training score is not known"
            yield GateResult("not_overfitted", False, told)
        else:
            yield gates.not_overfitted(
                bench.metric,
                train=challenger.train_score,
                valid=challenger.valid_score,
                baseline=challenger.baseline_score,
                allowed=rules.max_overfit,
            )


def _leaks(project: Project) -> list[str]:
    return [
        f"{', '.join(found.columns) or 'whole rows'}: {found.evidence}"
        for found in leakage.load(project.prepared / "leakage.json")
        if found.allowed_because is None
    ]
