"""What a leader must show before it becomes the champion.

A gate is a function from numbers to a verdict with its reason; a leader is
promoted when every gate passes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import floor, isfinite, isnan, log10, nan
from typing import Literal

from ratchet.metrics import Metric

# A difference this small beside the scores is rounding.
_ROUNDING = 1e-9

# A reason is read in a list of them: so many slices or findings are told, the rest counted.
_SHOWN = 3

# Digits of a commit that tell it from any other.
_DIGITS = 12


@dataclass(frozen=True)
class GateResult:
    """Whether one condition for promotion was met, and why."""

    name: str
    """The gate's name, e.g. ``"better_than_champion"``."""
    passed: bool
    """Whether the condition was met."""
    reason: str
    """One sentence with the numbers."""


@dataclass(frozen=True)
class SliceResult:
    """Two models' scores on a part of the test rows."""

    column: str
    """Column that the rows were cut by."""
    label: str
    """What the rows have in common, e.g. ``"Berlin"`` or ``"1.2 to 3.4"``."""
    n_rows: int
    """Rows in the slice."""
    challenger: float
    """The leader's score, in the metric's own direction."""
    reference: float
    """The other model's score on the same rows."""
    gain: float
    """What the leader gains, in the metric's unit; negative where it loses."""
    low: float
    """Lower end of the gain's interval; NaN where none can be given."""
    high: float
    """Upper end of the gain's interval; NaN where none can be given."""
    failed: bool
    """Whether the leader is surely worse, or has no score where the other has one."""


@dataclass(frozen=True)
class SliceReport:
    """Every slice of the test rows, and how they were judged."""

    results: tuple[SliceResult, ...]
    """The worst first."""
    n_small: int
    """Slices that had too few rows to be judged."""
    min_rows: int
    """Rows that a slice needs."""
    max_loss: float
    """Loss in the metric's unit that a slice may show."""
    confidence: float
    """Probability that all intervals promise together."""
    confidence_each: float
    """Probability that each interval promises, corrected for their number."""

    @property
    def failed(self) -> tuple[SliceResult, ...]:
        """The slices on which the leader is surely worse."""
        return tuple(result for result in self.results if result.failed)

    @property
    def undecided(self) -> tuple[SliceResult, ...]:
        """The slices without an interval: one class only, or too few units."""
        return tuple(result for result in self.results if isnan(result.low) and not result.failed)


@dataclass(frozen=True)
class CheckResult:
    """What a model did when a declared check changed some columns."""

    name: str
    """The check's name in params.yaml."""
    n_rows: int
    """Rows that the change altered."""
    n_violations: int
    """Rows of these that broke the rule."""
    max_violations: float
    """Share of these rows that may break it."""
    fault: str
    """What an answer that broke it did, e.g. ``"fell by more than 0.5"``."""
    worst: str
    """The row that broke it most, or came closest, with its numbers; empty without rows."""
    before: float
    """Answer for that row as it was; NaN without rows."""
    after: float
    """Answer for that row when changed; NaN without rows."""


def required_score(metric: Metric, score: float, required: float) -> GateResult:
    """Pass when ``score`` reaches ``required``, in the metric's own direction.

    Parameters
    ----------
    metric : Metric
        The judge.
    score : float
        The leader's score on the test rows. NaN never passes.
    required : float
        ``promote.required`` of params.yaml.

    Examples
    --------
    >>> from ratchet import metrics, problem
    >>> rmse = metrics.default(problem.ProblemType.REGRESSION)
    >>> required_score(rmse, 5.0312, required=5.0).reason
    'rmse 5.0312, required <= 5.0000'
    """
    passed = metric.loss(score) <= metric.loss(required)
    sign = ">=" if metric.maximize else "<="
    places = decimals([score, required], [score - required])
    reason = f"{metric.name} {shown(score, places)}, required {sign} {shown(required, places)}"
    return GateResult("required_score", passed, reason)


def better_than_baseline(
    metric: Metric,
    *,
    leader: float,
    baseline: float,
    gain: float,
    low: float,
    high: float,
    confidence: float,
) -> GateResult:
    """Pass when the leader is surely better than a model that looks at no column.

    The whole interval of the gain must lie above 0.

    Parameters
    ----------
    metric : Metric
        The judge.
    leader, baseline : float
        Scores on the same test rows. NaN never passes.
    gain, low, high : float
        What the leader gains, in the metric's unit and positive when it is the
        better one, and the ends of its interval.
    confidence : float
        Probability in (0, 1) that the interval promises.
    """
    numbers = (leader, baseline, gain, low, high)
    passed = low > 0 and not any(map(isnan, numbers))
    places = decimals([leader, baseline], [gain, low])
    told = _compared(metric, "baseline", numbers, confidence, places)
    return GateResult("better_than_baseline", passed, f"{told}, needed more than 0")


def better_than_champion(
    metric: Metric,
    *,
    challenger: float,
    champion: float,
    gain: float,
    low: float,
    high: float,
    confidence: float,
    min_gain: float,
) -> GateResult:
    """Pass when the challenger is surely better, and by enough to be worth a change.

    The whole interval of the gain must lie above 0, and the gain must reach
    ``min_gain``. A tie keeps the champion.

    Parameters
    ----------
    metric : Metric
        The judge.
    challenger, champion : float
        Scores on the same rows, which neither was trained on. NaN never passes.
    gain, low, high : float
        What the challenger gains, in the metric's unit and positive when it is
        the better one, and the ends of its interval.
    confidence : float
        Probability in (0, 1) that the interval promises.
    min_gain : float
        ``promote.min_gain`` of params.yaml, in the metric's own unit.

    Examples
    --------
    >>> from ratchet import metrics, problem
    >>> rmse = metrics.default(problem.ProblemType.REGRESSION)
    >>> tie = better_than_champion(
    ...     rmse, challenger=5.0, champion=5.0, gain=0, low=-0.1, high=0.1,
    ...     confidence=0.95, min_gain=0,
    ... )
    >>> tie.passed
    False
    """
    numbers = (challenger, champion, gain, low, high)
    passed = low > 0 and gain >= min_gain and not any(map(isnan, numbers))
    places = decimals([challenger, champion], [gain, low, gain - min_gain])
    told = _compared(metric, "champion", numbers, confidence, places)
    needed = f"needed more than 0 and at least {shown(min_gain, places)}"
    return GateResult("better_than_champion", passed, f"{told}, {needed}")


def no_champion(metric: Metric, challenger: float) -> GateResult:
    """Pass because no champion holds the place yet.

    Parameters
    ----------
    metric : Metric
        The judge.
    challenger : float
        The challenger's score. NaN never passes.
    """
    told = f"{metric.name} {shown(challenger, decimals([challenger]))}"
    return GateResult("better_than_champion", not isnan(challenger), f"{told}, no champion yet")


def champion_cannot_score(version: int, reason: str, allowed: bool) -> GateResult:
    """Pass, if that is allowed, because the champion can't read today's columns.

    Takes the place of ``better_than_champion``, and says why either way.

    Parameters
    ----------
    version : int
        The champion's.
    reason : str
        What went wrong when it was asked.
    allowed : bool
        ``promote.allow_schema_change`` of params.yaml.
    """
    told = f"version {version}, the champion, can't score today's test rows ({reason})"
    end = (
        "it loses its claim, as promote.allow_schema_change says"
        if allowed
        else "nothing shows that the leader is better. If the columns were changed on purpose, set"
        " promote.allow_schema_change to true"
    )
    return GateResult("better_than_champion", allowed, f"{told}: {end}")


def enough_fair_rows(n_fair: int, n_left_out: int, min_rows: int) -> GateResult:
    """Pass when enough test rows are new to the champion.

    Parameters
    ----------
    n_fair : int
        Test rows that it was not trained on.
    n_left_out : int
        Test rows that it was trained on.
    min_rows : int
        ``promote.min_rows`` of params.yaml.

    Examples
    --------
    >>> enough_fair_rows(80, 1920, 100).reason
    '80 test rows are new to the champion (1,920 left out), required >= 100'
    """
    return GateResult(
        "enough_fair_rows",
        n_fair >= min_rows,
        f"{_counted(n_fair, 'test row is', 'test rows are')} new to the champion"
        f" ({n_left_out:,} left out), required >= {min_rows:,}",
    )


def no_bad_slice(metric: Metric, report: SliceReport, rival: str) -> GateResult:
    """Pass when the leader is surely worse on no slice of the test rows.

    A slice that can't be decided doesn't fail, and is counted: a gate that
    asks for certainty of harm can't find it there.

    Parameters
    ----------
    metric : Metric
        The judge.
    report : SliceReport
        Of ``slices.judge``.
    rival : str
        Who the leader was compared with: ``"champion"`` or ``"baseline"``.
    """
    bad, undecided = report.failed, report.undecided
    judged = _counted(len(report.results) - len(undecided), "slice")
    worst = bad or report.results[:1]
    parts = [
        f"surely worse than the {rival} by more than {report.max_loss:g} {metric.name} on"
        f" {len(bad)} of {judged}",
        *(_slice_told(metric, rival, result, report) for result in worst[:_SHOWN]),
    ]
    if len(worst) > _SHOWN:
        parts.append(f"and {len(worst) - _SHOWN} more")
    if report.n_small:
        small = _counted(report.n_small, "slice has", "slices have")
        parts.append(f"{small} fewer than {_counted(report.min_rows, 'row')}")
    if undecided:
        parts.append(f"{_counted(len(undecided), 'slice has', 'slices have')} no interval")
    return GateResult("no_bad_slice", not bad, "; ".join(parts))


def calibrated(error: float, allowed: float) -> GateResult:
    """Pass when a classifier's probabilities are about as frequent as they say.

    Parameters
    ----------
    error : float
        ``calibration_error`` on the test rows. NaN never passes.
    allowed : float
        ``promote.max_calibration_error`` of params.yaml.
    """
    return _at_most("calibrated", "calibration_error", error, allowed)


def fast_enough(
    *,
    one_row_ms: float,
    batch_ms: float,
    batch_rows: int,
    max_one_row: float | None,
    max_batch: float | None,
) -> GateResult:
    """Pass when the leader answers in time, one row and many.

    Parameters
    ----------
    one_row_ms, batch_ms : float
        Milliseconds, medians of repeated calls. NaN never passes.
    batch_rows : int
        Rows in the batch.
    max_one_row, max_batch : float or None
        ``promote.max_latency_ms`` of params.yaml; None asks nothing.
    """
    results = (
        _at_most("fast_enough", "1 row in", one_row_ms, max_one_row, " ms"),
        _at_most("fast_enough", f"{batch_rows:,} rows in", batch_ms, max_batch, " ms"),
    )
    return GateResult(
        "fast_enough",
        all(result.passed for result in results),
        "; ".join(result.reason for result in results),
    )


def small_enough(size_mb: float, allowed: float) -> GateResult:
    """Pass when the saved model folder is small enough.

    Parameters
    ----------
    size_mb : float
        Megabytes of 1,000,000 bytes. NaN never passes.
    allowed : float
        ``promote.max_size_mb`` of params.yaml.
    """
    return _at_most("small_enough", "model folder", size_mb, allowed, " MB")


def not_overfitted(
    metric: Metric, *, train: float, valid: float, baseline: float | None, allowed: float
) -> GateResult:
    """Pass when the leader keeps on validation most of what it gained in training.

    What it gained is told by the baseline: of the way from the baseline's
    validation score to the leader's training score, the share that is missing
    on validation. 0 means that validation is as good as training, 1 that
    nothing is left of the gain, more that the baseline is better. The share
    has no unit and is the same for any shift or scale of the metric, so one
    limit serves errors in minutes and areas under a curve.

    A leader that is as good on validation as in training passes whatever the
    baseline is. One that falls behind, and was no better than the baseline
    even in training, has no gain to lose a share of, and does not pass.

    Parameters
    ----------
    metric : Metric
        The judge.
    train, valid : float
        The leader's scores on the rows it was fitted on and on validation,
        in the metric's own direction. NaN never passes.
    baseline : float or None
        The baseline's validation score; None when it was not tried.
    allowed : float
        ``promote.max_overfit`` of params.yaml.

    Examples
    --------
    >>> from ratchet import metrics, problem
    >>> rmse = metrics.default(problem.ProblemType.REGRESSION)
    >>> told = not_overfitted(rmse, train=4.0, valid=5.0, baseline=8.0, allowed=0.3).reason
    >>> told.partition(": ")[2]
    '25.000 % of the gain lost, required <= 30.000 %'
    """
    lost = metric.loss(valid) - metric.loss(train)
    won = nan if baseline is None else metric.loss(baseline) - metric.loss(train)
    places = decimals([train, valid, nan if baseline is None else baseline], [lost, won])
    told = f"{metric.name} train {shown(train, places)}, valid {shown(valid, places)}"
    if baseline is not None:
        told += f", baseline {shown(baseline, places)}"
    name = "not_overfitted"
    if lost <= 0 and isfinite(lost):
        return GateResult(name, True, f"{told}: nothing lost")
    if baseline is None:
        return GateResult(
            name,
            False,
            f"{told}, and no baseline to tell how much that is. Add baseline to train.families,"
            " or set promote.max_overfit to null",
        )
    if won <= 0:
        return GateResult(name, False, f"{told}: no gain in training to lose")
    share = lost_gain(metric, train=train, valid=valid, baseline=baseline)
    places = decimals([100 * share, 100 * allowed])
    return GateResult(
        name,
        share <= allowed,
        f"{told}: {shown(100 * share, places)} % of the gain lost,"
        f" required <= {shown(100 * allowed, places)} %",
    )


def lost_gain(metric: Metric, *, train: float, valid: float, baseline: float) -> float:
    """Give the share of what a leader gained in training that is lost on validation.

    Parameters
    ----------
    metric : Metric
        The judge.
    train, valid, baseline : float
        As in ``not_overfitted``.

    Returns
    -------
    float
        0 or less where validation is no worse, 1 where nothing is left; NaN
        where nothing was gained in training.

    Examples
    --------
    >>> from ratchet import metrics, problem
    >>> rmse = metrics.default(problem.ProblemType.REGRESSION)
    >>> lost_gain(rmse, train=4.0, valid=5.0, baseline=8.0)
    0.25
    """
    won = metric.loss(baseline) - metric.loss(train)
    return (metric.loss(valid) - metric.loss(train)) / won if won > 0 else nan


def recorded_data(
    version: str, *, dirty: bool, reason: str, rule: Literal["refuse", "allow"]
) -> GateResult:
    """Pass when the bytes of the data can be had again.

    Parameters
    ----------
    version : str
        The data version.
    dirty : bool
        Whether neither DVC nor git has recorded it.
    reason : str
        Why, in a clause.
    rule : str
        ``promote.dirty_data`` of params.yaml.
    """
    if not dirty:
        return GateResult("recorded_data", True, f"data version {version} is recorded")
    told = f"data version {version} is dirty" + (f" ({reason})" if reason else "")
    if rule == "allow":
        return GateResult("recorded_data", True, f"{told}; promote.dirty_data is allow")
    way_out = "Record it with `dvc add` or `dvc commit`, or set promote.dirty_data to allow"
    return GateResult("recorded_data", False, f"{told}. {way_out}")


def recorded_tree(
    commit: str | None,
    *,
    dirty: bool | None,
    patch_whole: bool,
    reason: str,
    rule: Literal["clean", "recorded", "allow"],
) -> GateResult:
    """Pass when the code that made the leader can be had again.

    Code that no repository knows is not recorded: it passes only if anything does.

    Parameters
    ----------
    commit : str or None
        The commit that was checked out; None when there was none.
    dirty : bool or None
        Whether code differed from the commit; None when git couldn't tell.
    patch_whole : bool
        Whether the patch with the run holds every change.
    reason : str
        Why the commit or ``dirty`` is unknown, in a clause.
    rule : str
        ``promote.dirty_tree`` of params.yaml.
    """
    name = "recorded_tree"
    if commit is None or dirty is None:
        state = (
            f"the code may differ from commit {commit[:_DIGITS]}"
            if commit
            else "the code is in no commit"
        )
        state += f" ({reason})" if reason else ""
        way_out = "Commit it with git, or set promote.dirty_tree to allow"
        passed = rule == "allow"
    elif not dirty:
        return GateResult(name, True, f"the tree is clean at commit {commit[:_DIGITS]}")
    elif patch_whole:
        state = f"the tree differs from commit {commit[:_DIGITS]}, and the patch is in the run"
        way_out = "Commit the changes, or set promote.dirty_tree to recorded"
        passed = rule in ("recorded", "allow")
    else:
        state = f"the tree differs from commit {commit[:_DIGITS]}, and the patch is not whole"
        way_out = "Commit the changes, or set promote.dirty_tree to allow"
        passed = rule == "allow"
    end = f"; promote.dirty_tree is {rule}" if passed else f". {way_out}"
    return GateResult(name, passed, state + end)


def no_leakage(findings: Sequence[str]) -> GateResult:
    """Pass when no column was found to know the answer.

    Parameters
    ----------
    findings : sequence of str
        One sentence for each column.
    """
    if not findings:
        return GateResult("no_leakage", True, "no column was found to know the answer")
    told = "; ".join(finding.rstrip(".") for finding in findings[:_SHOWN])
    more = f"; and {len(findings) - _SHOWN} more" if len(findings) > _SHOWN else ""
    return GateResult("no_leakage", False, f"{_counted(len(findings), 'finding')}: {told}{more}")


def few_test_uses(n_uses: int, allowed: int | None) -> GateResult:
    """Pass when this test set has not judged too many models.

    Each look lets a little of the test set into what is chosen next.

    Parameters
    ----------
    n_uses : int
        How often it has judged a model before this one.
    allowed : int or None
        ``promote.max_test_uses`` of params.yaml; None only counts.

    References
    ----------
    Dwork, C., Feldman, V., Hardt, M., Pitassi, T., Reingold, O. and Roth, A.
    (2015). The Reusable Holdout: Preserving Validity in Adaptive Data
    Analysis. Science 349.
    """
    use = n_uses + 1
    told = f"use {use:,} of this test set"
    limit = "no limit" if allowed is None else f"required <= {allowed:,}"
    return GateResult("test_uses", allowed is None or use <= allowed, f"{told}, {limit}")


def behaves(result: CheckResult) -> GateResult:
    """Pass when a declared check found few enough rows that break its rule.

    Parameters
    ----------
    result : CheckResult
        Of ``behaviour.run``.
    """
    name = f"check/{result.name}"
    if not result.n_rows:
        return GateResult(name, False, "the change altered none of the rows, so nothing is shown")
    share = result.n_violations / result.n_rows
    return GateResult(
        name,
        share <= result.max_violations,
        f"{result.n_violations:,} of {_counted(result.n_rows, 'changed row')}"
        f" ({100 * share:.3g} %) {result.fault}, required <= {100 * result.max_violations:g} %;"
        f" {'worst' if result.n_violations else 'closest'}: {result.worst}",
    )


def decimals(scores: Iterable[float], differences: Iterable[float] = ()) -> int:
    """Choose how many decimals tell such scores, and what lies between them, apart.

    Parameters
    ----------
    scores : iterable of float
        The largest gets at least four digits after its first; below 1, four in all.
    differences : iterable of float
        Each gets at least two digits, unless it is rounding or nothing.

    Returns
    -------
    int
        At least 0, for ``shown``.

    Examples
    --------
    >>> decimals([5.0312, 5.1204]), decimals([0.0123]), decimals([27547.0])
    (4, 5, 0)
    >>> decimals([27547.31, 27547.72], [0.41])
    2
    """
    largest = max((abs(score) for score in scores if isfinite(score)), default=0) or 1
    # int() cuts towards 0, so that 0.91 gets four decimals as 9.1 does.
    places = [0, 4 - int(log10(largest))]
    for difference in map(abs, differences):
        if isfinite(difference) and difference > _ROUNDING * largest:
            # A difference of 0.1 comes as 0.0999… when it is taken between floats.
            places.append(1 - floor(round(log10(difference), 6)))
    return max(places)


def shown(value: float, places: int) -> str:
    """Write a score or a difference for a reader.

    Examples
    --------
    >>> shown(27547.312, 1), shown(-0.00001, 4), shown(float("nan"), 4)
    ('27,547.3', '0.0000', 'NaN')
    """
    return "NaN" if isnan(value) else f"{value:z,.{places}f}"


def _compared(
    metric: Metric,
    rival: str,
    numbers: tuple[float, float, float, float, float],
    confidence: float,
    places: int,
) -> str:
    ours, theirs, gain, low, high = (shown(number, places) for number in numbers)
    return (
        f"{metric.name} {ours}, {rival} {theirs}:"
        f" gain {gain} [{low}, {high}] at {100 * confidence:g} %"
    )


def _at_most(
    name: str, what: str, value: float, allowed: float | None, unit: str = ""
) -> GateResult:
    if allowed is None:
        return GateResult(name, True, f"{what} {shown(value, decimals([value]))}{unit}, no limit")
    places = decimals([value, allowed], [value - allowed])
    reason = f"{what} {shown(value, places)}{unit}, required <= {shown(allowed, places)}{unit}"
    return GateResult(name, value <= allowed, reason)


def _slice_told(metric: Metric, rival: str, result: SliceResult, report: SliceReport) -> str:
    scores = (result.challenger, result.reference)
    ends = (result.gain, result.low, result.high)
    places = decimals(scores, (result.gain, result.high))
    told = _compared(metric, rival, (*scores, *ends), report.confidence_each, places)
    return f"{result.column} {result.label} ({_counted(result.n_rows, 'row')}): {told}"


def _counted(n: int, one: str, many: str | None = None) -> str:
    """Count things.

    >>> _counted(1, "row"), _counted(2000, "row"), _counted(2, "row has", "rows have")
    ('1 row', '2,000 rows', '2 rows have')
    """
    return f"{n:,} {one if n == 1 else many or one + 's'}"
