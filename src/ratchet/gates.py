"""What a leader must show before it becomes the champion.

A gate is a function from numbers to a verdict with its reason; a leader is
promoted when every gate passes.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import floor, isfinite, isnan, log10

from ratchet.metrics import Metric

# A difference this small beside the scores is rounding.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class GateResult:
    """Whether one condition for promotion was met, and why."""

    name: str
    """The gate's name, e.g. ``"better_than_champion"``."""
    passed: bool
    """Whether the condition was met."""
    reason: str
    """One sentence with the numbers."""


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
