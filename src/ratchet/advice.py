"""One next experiment to try after a search, and why: a rule is a function from numbers.

Each rule looks for one thing that a search can suffer from and answers with
``Advice`` or None. They are asked in the order of what mending is worth:

1. ``failures``: trials that fail alike try nothing.
2. ``underfit``: the columns or the families say next to nothing, and no search mends that.
3. ``optimistic``, ``noisy``: the validation rows choose by chance.
4. ``overfit``: what was learned does not hold on rows that were not learned.
5. ``unfinished``: the best fit was still growing when it ended.
6. ``starved``: a family that leads or nearly does has hardly been tried.
7. ``bound``: the best value lies at the end of what may be tried.
8. ``improving``, then ``saturated``: the budget is too small, or too large.
9. ``repeat``: nothing stands out, so that chance is what to look at.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isfinite, nan
from statistics import median

from ratchet.backends import Dimension, Integer, Params, Real
from ratchet.gates import decimals, shown
from ratchet.metrics import Metric

# Trials that fail alike are worth a look from so many, when they are this share of all.
MANY_FAILURES = 2
FAILED_SHARE = 0.2
# Of the way from the baseline to a perfect score: who gains less has learned next to nothing.
LITTLE_LEARNED = 0.05
# Shares of the gain over the baseline. What choosing on validation may pretend, ...
OPTIMISM = 0.1
# ... what the choice of the members may, ...
NOISE = 0.05
# ... what validation may lose of what training gained, ...
OVERFIT = 0.5
# ... how far behind the best a family is still close to it, ...
CLOSE = 0.1
# ... and what the last third of a search must bring to go on, or its last two thirds to matter.
LATE_GAIN = 0.01
NO_GAIN = 0.001
# A family has hardly been tried with so many trials.
FEW_TRIALS = 3
# Trials of a family from which its values say something, and of a search from which its end does.
ENOUGH_VALUES = 6
ENOUGH_TRIALS = 9
# Part of a range that counts as its end.
EDGE = 0.02
# A fit is unfinished when its last tenth still brought this share of its gain.
LAST_ROUNDS = 0.1
STILL_FALLING = 0.01

# What a smaller number of makes a model simpler, and what a larger number of does.
SIZES = ("max_depth", "depth", "num_leaves", "max_leaf_nodes")
BRAKES = {"min_samples_leaf": 4, "min_child_samples": 4, "n_neighbors": 4, "alpha": 10}


@dataclass(frozen=True)
class Advice:
    """An experiment to try next."""

    rule: str
    """Name of the rule that gives it."""
    what: str
    """What to try, as a sentence."""
    because: str
    """The reason with its numbers, as a sentence."""
    overrides: tuple[str, ...]
    """Assignments for ``--set`` that do it."""


@dataclass(frozen=True)
class Failure:
    """Trials that failed for the same reason."""

    reason: str
    """What the first of them said."""
    family: str
    """Their family."""
    count: int
    """How many they are."""


@dataclass(frozen=True)
class Tried:
    """One family of a search."""

    family: str
    """Its name."""
    trials: int
    """How many of its candidates ended well."""
    best: float
    """Best score on validation; NaN when all failed."""
    seconds: float
    """Wall-clock time of all of them."""
    cut_short: bool = False
    """Whether the deadline ended the fit of its best candidate."""
    tunable: bool = True
    """Whether there is more to try than its starts."""


@dataclass(frozen=True)
class Values:
    """The values of one hyperparameter that a family has tried."""

    backend: str
    """Name of the backend."""
    family: str
    """Name of the family."""
    name: str
    """Name of the hyperparameter."""
    dimension: Dimension
    """What may be tried."""
    tried: tuple[float, ...]
    """Values of trials that ended well."""
    scores: tuple[float, ...]
    """Their scores on validation."""


@dataclass(frozen=True)
class Growth:
    """How the weightiest model of a leader grew in rounds."""

    backend: str
    """Name of the backend."""
    family: str
    """Name of the family."""
    rounds: str
    """Hyperparameter that counts the rounds, e.g. ``"n_estimators"``."""
    steps: tuple[int, ...]
    """Rounds of the points of its curve, rising."""
    scores: tuple[float, ...]
    """Score on validation after each of them."""
    cut_short: bool = False
    """Whether the deadline ended it."""


@dataclass(frozen=True)
class Budget:
    """What ended a search."""

    seconds: float | None
    """``train.search.budget_seconds``; None without a limit."""
    max_trials: int
    """``train.search.max_trials``."""
    used_trials: int
    """Trials that were made."""

    def times(self, factor: float) -> tuple[str, ...]:
        """Give the assignments of a budget that many times as large, or as small.

        Examples
        --------
        >>> Budget(60.0, 1000, 41).times(2), Budget(None, 25, 25).times(0.5)
        (('train.search.budget_seconds=120',), ('train.search.max_trials=12',))
        """
        assignments = []
        if self.seconds is not None:
            assignments.append(f"train.search.budget_seconds={_number(self.seconds * factor)}")
        if self.seconds is None or (factor > 1 and self.used_trials >= self.max_trials):
            trials = self.max_trials if self.seconds is None else self.used_trials
            assignments.append(f"train.search.max_trials={max(1, int(trials * factor))}")
        return tuple(assignments)


@dataclass(frozen=True)
class Search:
    """One search and its leader, as far as the rules look at them."""

    metric: Metric
    """Score that was optimised; all scores are in its own direction, NaN where unknown."""
    families: tuple[Tried, ...]
    """What was tried, the baseline included."""
    baselines: tuple[str, ...]
    """Families that ignore the features."""
    failures: tuple[Failure, ...]
    """What failed, the most frequent first."""
    best: tuple[float, ...]
    """Best score so far, after each trial on all rows."""
    train: float
    """The leader's score on rows it was fitted on."""
    valid: float
    """Its score on validation."""
    honest: float
    """The same on rows that its members were not chosen with either."""
    baseline: float
    """The baseline's score on validation."""
    test_baseline: float
    """The baseline's score on the test rows."""
    test: float
    """The leader's score on the test rows."""
    test_low: float
    """Lower end of its interval."""
    test_high: float
    """Upper end of its interval."""
    n_folds: int
    """Fits of a trial; 1 for a holdout."""
    by_time: bool
    """Whether test rows are later than validation rows, and these than training rows."""
    valid_size: float | str
    """``split.valid``."""
    alone: bool
    """Whether ``train.ensemble`` is none."""
    all_families: bool
    """Whether ``train.families`` leaves none out."""
    all_features: bool
    """Whether ``data.features`` leaves none out."""
    seed: int
    """``seed``."""
    budget: Budget
    """What ended it."""
    best_params: Params
    """Hyperparameters of the best trial."""
    best_backend: str
    """Its backend."""
    growth: Growth | None = None
    """How the weightiest member grew; None where it doesn't grow or its curve is not known."""
    values: tuple[Values, ...] = ()
    """What the best trial's family tried of each hyperparameter that it searches."""


def applicable(search: Search) -> Iterator[Advice]:
    """Yield what the rules advise, the most valuable first; ``repeat`` always comes last."""
    metric, folds = search.metric, (search.n_folds, search.by_time, search.alone)
    names = [each.family for each in search.families]
    found = (
        failures(search.failures, search.budget.used_trials, names, search.baselines),
        underfit(
            metric,
            valid=search.valid,
            baseline=search.baseline,
            all_families=search.all_families,
            all_features=search.all_features,
            budget=search.budget,
        ),
        optimistic(
            metric,
            valid=search.valid,
            test=search.test,
            low=search.test_low,
            high=search.test_high,
            baselines=(search.baseline, search.test_baseline),
            choices=folds,
            valid_size=search.valid_size,
        ),
        noisy(
            metric,
            valid=search.valid,
            honest=search.honest,
            baseline=search.baseline,
            choices=folds,
        ),
        overfit(
            metric,
            train=search.train,
            valid=search.valid,
            baseline=search.baseline,
            backend=search.best_backend,
            params=search.best_params,
        ),
        unfinished(metric, search.growth, search.budget) if search.growth else None,
        starved(
            metric,
            search.families,
            baseline=search.baseline,
            baselines=search.baselines,
            budget=search.budget,
        ),
        bound(metric, search.values),
        improving(metric, search.best, search.budget),
        saturated(metric, search.best, search.budget),
        repeat(search.seed),
    )
    return (each for each in found if each is not None)


def failures(
    found: Sequence[Failure], n_trials: int, families: Sequence[str], baselines: Sequence[str]
) -> Advice | None:
    """Advise to leave out what fails, when many trials fail for the same reason.

    Parameters
    ----------
    found : sequence of Failure
        What failed.
    n_trials : int
        Trials of the search, the failed ones included.
    families : sequence of str
        All families that were tried.
    baselines : sequence of str
        Those that ignore the features.
    """
    if not found:
        return None
    worst = max(found, key=lambda each: each.count)
    # One cause may stop several families.
    alike = [each for each in found if each.reason == worst.reason]
    count, broken = sum(each.count for each in alike), [each.family for each in alike]
    if count < MANY_FAILURES or count < FAILED_SHARE * n_trials:
        return None
    because = (
        f"{count} of {n_trials} trials failed for the same reason, all of"
        f" {' and '.join(broken)}: {worst.reason}."
    )
    left = [name for name in families if name not in broken]
    if set(left) <= set(baselines):
        return Advice(
            "failures",
            "Mend what the message names, and see in three trials whether it holds.",
            because,
            ("train.search.max_trials=3",),
        )
    return Advice(
        "failures",
        f"Leave out {' and '.join(broken)} until that is mended: the others get its time.",
        because,
        (_families(left),),
    )


def underfit(
    metric: Metric,
    *,
    valid: float,
    baseline: float,
    all_families: bool,
    all_features: bool,
    budget: Budget,
) -> Advice | None:
    """Advise to look at more when the best is hardly better than the constant answer.

    What is learned is measured on the way from the baseline to a perfect
    score, so that the rule has no unit; a metric without a best score has none.
    """
    low, high = metric.bounds
    perfect = high if metric.maximize else low
    way = metric.loss(baseline) - metric.loss(perfect)
    learned = metric.loss(baseline) - metric.loss(valid)
    if not (isfinite(way) and way > 0 and learned < LITTLE_LEARNED * way):
        return None
    because = (
        f"The best trial hardly beats the constant answer: valid/{metric.name}"
        f" {_two(valid, baseline)}, which is {_percent(learned / way)} of the way to a perfect one."
    )
    if not all_families:
        what = "Try every family that fits the problem."
        return Advice("underfit", what, because, ("train.families=null",))
    if not all_features:
        what = "Let the model see every column."
        return Advice("underfit", what, because, ("data.features=null",))
    what = (
        "Search four times as long. If that brings nothing either, the table needs other columns,"
        " not another model."
    )
    return Advice("underfit", what, because, budget.times(4))


def optimistic(
    metric: Metric,
    *,
    valid: float,
    test: float,
    low: float,
    high: float,
    baselines: tuple[float, float],
    choices: tuple[int, bool, bool],
    valid_size: float | str,
) -> Advice | None:
    """Advise another validation when it promises more than all of the test interval.

    Test rows may be harder for any model: what the constant answer loses on
    them is forgiven.

    Parameters
    ----------
    metric : Metric
        The judge.
    valid, test, low, high : float
        The leader's scores on validation and on test, and the interval of the latter.
    baselines : (float, float)
        The baseline's scores on validation and on test.
    choices : (int, bool, bool)
        Fits of a trial, whether the split is by time, and whether the best candidate is alone.
    valid_size : float or str
        ``split.valid``.
    """
    shift = baselines[1] - baselines[0]
    promised = valid + shift
    lost = metric.loss(test) - metric.loss(promised)
    best_end = high if metric.maximize else low
    gain = _gain(metric, valid, baselines[0])
    if not (metric.beats(promised, best_end) and lost > OPTIMISM * gain):
        return None
    places = decimals([valid, test])
    because = (
        f"Validation promises more than test keeps: {metric.name} {shown(valid, places)} on"
        f" validation, {shown(test, places)} [{shown(low, places)}, {shown(high, places)}] on test,"
        f" where the baseline went from {shown(baselines[0], places)} to"
        f" {shown(baselines[1], places)}."
    )
    if choices[1]:
        if isinstance(valid_size, str):
            return None
        return Advice(
            "optimistic",
            "Choose on the rows that are nearest in time to the test rows.",
            because,
            (f"split.valid={_number(valid_size / 2)}",),
        )
    return _other_validation("optimistic", because, choices)


def noisy(
    metric: Metric,
    *,
    valid: float,
    honest: float,
    baseline: float,
    choices: tuple[int, bool, bool],
) -> Advice | None:
    """Advise a steadier validation when the members owe their score to how they were chosen.

    Parameters
    ----------
    metric : Metric
        The judge.
    valid, honest, baseline : float
        The leader's score on validation, the same on rows that its members
        were not chosen with, and the baseline's.
    choices : (int, bool, bool)
        As in ``optimistic``.
    """
    lost = metric.loss(honest) - metric.loss(valid)
    if not lost > NOISE * _gain(metric, valid, baseline):
        return None
    because = (
        f"The validation score is partly luck: {metric.name} {_two(valid, honest, 'is')} on rows"
        " that the members were not chosen with."
    )
    return _other_validation("noisy", because, choices)


def overfit(
    metric: Metric,
    *,
    train: float,
    valid: float,
    baseline: float,
    backend: str,
    params: Params,
) -> Advice | None:
    """Advise a simpler model when validation keeps less than half of what training gained.

    Parameters
    ----------
    metric : Metric
        The judge.
    train, valid, baseline : float
        The leader's scores in training and on validation, and the baseline's.
    backend : str
        Backend of the best trial.
    params : mapping
        Its hyperparameters.
    """
    won = metric.loss(baseline) - metric.loss(train)
    lost = metric.loss(valid) - metric.loss(train)
    if not (won > 0 and lost > OVERFIT * won):
        return None
    simpler = _simpler(params)
    if simpler is None:
        return None
    name, old, new = simpler
    places = decimals([train, valid, baseline])
    return Advice(
        "overfit",
        f"Fix {name} at {new:.4g} where the best trial had {old:.4g}: a simpler model.",
        f"Of what training gained over the baseline, validation has lost {_percent(lost / won)}:"
        f" {metric.name} {shown(train, places)} in training, {shown(valid, places)} on validation,"
        f" baseline {shown(baseline, places)}.",
        (f"train.backends.{backend}.{name}={_number(new)}",),
    )


def unfinished(metric: Metric, growth: Growth, budget: Budget) -> Advice | None:
    """Advise more rounds when the best model was still getting better as it ended."""
    losses = [metric.loss(score) for score in growth.scores]
    if len(losses) < 3 or losses[-1] > min(losses):
        return None
    end = growth.steps[-1]
    before = [
        loss
        for step, loss in zip(growth.steps, losses, strict=True)
        if step <= (1 - LAST_ROUNDS) * end
    ]
    gained = losses[0] - losses[-1]
    if not before or not min(before) - losses[-1] > STILL_FALLING * gained:
        return None
    places = decimals(growth.scores, [min(before) - losses[-1]])
    because = (
        f"{growth.family} was still getting better when it ended: its last tenth of {end:,} rounds"
        f" brought {shown(min(before) - losses[-1], places)} {metric.name}."
    )
    if growth.cut_short:
        return Advice(
            "unfinished",
            "Give the fit the time that its deadline took.",
            because,
            budget.times(2),
        )
    return Advice(
        "unfinished",
        "Let it grow twice as long; early stopping still ends it when nothing is gained.",
        because,
        (f"train.backends.{growth.backend}.{growth.rounds}={2 * end}",),
    )


def starved(
    metric: Metric,
    families: Sequence[Tried],
    *,
    baseline: float,
    baselines: Sequence[str],
    budget: Budget,
) -> Advice | None:
    """Advise more trials of a family that leads or nearly does, and was hardly tried.

    When others that are far behind have taken half of the time, they are left
    out; else the budget grows.
    """
    done = [each for each in families if isfinite(each.best) and each.family not in baselines]
    if not done:
        return None
    lead = min(done, key=lambda each: metric.loss(each.best))
    reach = CLOSE * _gain(metric, lead.best, baseline)
    close = [each for each in done if metric.loss(each.best) - metric.loss(lead.best) <= reach]
    hungry = [
        each for each in close if each.tunable and (each.trials <= FEW_TRIALS or each.cut_short)
    ]
    if not hungry:
        return None
    first = hungry[0]
    place = (
        "leads"
        if first is lead
        else f"is close to {lead.family}, {metric.name} {_two(first.best, lead.best)},"
    )
    because = f"{first.family} {place} with {first.trials} of {budget.used_trials} trials"
    because += ", the best of them cut short." if first.cut_short else "."
    far = [each for each in done if each not in close]
    if sum(each.seconds for each in far) > sum(each.seconds for each in done) / 2:
        return Advice(
            "starved",
            "Leave the time to those that lead: "
            f"{', '.join(each.family for each in far)} took more than half of it.",
            because,
            (_families([*baselines, *(each.family for each in close)]),),
        )
    return Advice("starved", "Search four times as long.", because, budget.times(4))


def bound(metric: Metric, values: Sequence[Values]) -> Advice | None:
    """Advise to go beyond a bound that the best value touches, with what lies near it better.

    A start may touch a bound by chance. So the trials in the third of the
    range next to it must be better, in the median, than those elsewhere; of
    several hyperparameters the one is taken where they are so by most.
    """
    found: list[tuple[float, Advice]] = []
    for each in values:
        if not isinstance(each.dimension, Real | Integer) or len(each.tried) < ENOUGH_VALUES:
            continue
        losses = [metric.loss(score) for score in each.scores]
        places = [_place(value, each.dimension) for value in each.tried]
        best = places[losses.index(min(losses))]
        upper = best >= 1 - EDGE
        if not (upper or best <= EDGE):
            continue
        beyond = _beyond(each.dimension, upper)
        near = [
            loss
            for place, loss in zip(places, losses, strict=True)
            if (place >= 2 / 3 if upper else place <= 1 / 3)
        ]
        others = sorted(losses)
        for loss in near:
            others.remove(loss)
        if beyond is None or len(near) < 2 or len(others) < 2:
            continue
        gain = median(others) - median(near)
        if not gain > 0:
            continue
        end = each.dimension.high if upper else each.dimension.low
        gap = decimals(each.scores, [gain])
        found.append(
            (
                gain,
                Advice(
                    "bound",
                    f"Fix {each.name} of {each.family} at {beyond:.4g}, beyond what the search may"
                    " try.",
                    f"The best trial has {each.name} at the {'upper' if upper else 'lower'} end of"
                    f" its range, {end:.4g}, and near it trials are better by {shown(gain, gap)}"
                    f" {metric.name} in the median.",
                    (f"train.backends.{each.backend}.{each.name}={_number(beyond)}",),
                ),
            )
        )
    return max(found, key=lambda pair: pair[0])[1] if found else None


def improving(metric: Metric, best: Sequence[float], budget: Budget) -> Advice | None:
    """Advise a larger budget when the last third of the trials still brought something.

    Parameters
    ----------
    metric : Metric
        The judge.
    best : sequence of float
        Best score so far, after each trial.
    budget : Budget
        What ended the search.
    """
    gains = _gains(metric, best, 2 / 3)
    if gains is None or not gains[1] > LATE_GAIN * gains[0]:
        return None
    places = decimals(best, [gains[1]])
    return Advice(
        "improving",
        "Search twice as long.",
        f"The search was still finding better candidates: its last third of {len(best)} trials"
        f" brought {shown(gains[1], places)} {metric.name}.",
        budget.times(2),
    )


def saturated(metric: Metric, best: Sequence[float], budget: Budget) -> Advice | None:
    """Advise half the budget when the last two thirds of the trials brought nothing.

    Parameters
    ----------
    metric, best, budget
        As in ``improving``.
    """
    gains = _gains(metric, best, 1 / 3)
    if gains is None or gains[1] > NO_GAIN * gains[0]:
        return None
    return Advice(
        "saturated",
        "Search half as long, and spend what is saved on more rows or better columns.",
        f"The last two thirds of {len(best)} trials brought no better {metric.name}.",
        budget.times(0.5),
    )


def repeat(seed: int) -> Advice:
    """Advise the same again under another seed, which shows what is owed to chance."""
    return Advice(
        "repeat",
        "Do the same again with another seed: how far the scores move is what chance does.",
        "Nothing in this search stands out.",
        (f"seed={seed + 1}",),
    )


def _gain(metric: Metric, score: float, baseline: float) -> float:
    """Give what a score gains over the baseline; NaN, which no rule passes, without any."""
    gain = metric.loss(baseline) - metric.loss(score)
    return gain if gain > 0 else nan


def _gains(metric: Metric, best: Sequence[float], share: float) -> tuple[float, float] | None:
    """Give what all trials gained over the first, and what those after a share of them did."""
    if len(best) < ENOUGH_TRIALS:
        return None
    first, then, last = (metric.loss(best[at]) for at in (0, math.ceil(share * len(best)) - 1, -1))
    gained = first - last
    return (gained, then - last) if gained > 0 else None


def _other_validation(rule: str, because: str, choices: tuple[int, bool, bool]) -> Advice | None:
    n_folds, by_time, alone = choices
    if n_folds == 1 and not by_time:
        what, override = "Score every trial on folds.", "train.validation=folds"
    elif not alone:
        what, override = "Take the best candidate alone: fewer choices.", "train.ensemble=none"
    elif n_folds > 1:
        what, override = "Deal the rows to twice as many folds.", f"train.folds={_folds(n_folds)}"
    else:
        return None
    return Advice(rule, what, because, (override,))


def _folds(n: int) -> int:
    return min(20, 2 * n)


def _simpler(params: Params) -> tuple[str, float, float] | None:
    """Find a hyperparameter that makes a model simpler: its name, its value and a new one."""
    for name in SIZES:
        value = params.get(name)
        if isinstance(value, int | float) and value >= 2:
            return name, value, max(1, int(value) // 2)
    for name, factor in BRAKES.items():
        value = params.get(name)
        if isinstance(value, int | float) and value > 0:
            return name, value, value * factor
    return None


def _place(value: float, dimension: Real | Integer) -> float:
    """Give the place of a value in its range, from 0 to 1."""
    low, high = float(dimension.low), float(dimension.high)
    if high <= low:
        return 0.5
    if dimension.log:
        value, low, high = (math.log(max(each, 1e-300)) for each in (value, low, high))
    return (value - low) / (high - low)


def _beyond(dimension: Real | Integer, upper: bool) -> float | None:
    """Give a value beyond an end of a range; None where the end is in the nature of things.

    A real number on a linear scale up to 1 is a share, and a whole one counts
    something of which there is at least one.

    Examples
    --------
    >>> _beyond(Integer(2, 12), upper=True), _beyond(Real(0.01, 0.3, log=True), upper=False)
    (15, 0.005)
    >>> _beyond(Real(0.5, 1.0), upper=True), _beyond(Integer(1, 50, log=True), upper=False)
    (None, None)
    """
    low, high = dimension.low, dimension.high
    step = (high - low) / 4
    if upper:
        beyond = high * 2 if dimension.log else high + step
        if isinstance(dimension, Real) and not dimension.log and high <= 1:
            beyond = min(beyond, 1.0)
    else:
        beyond = low / 2 if dimension.log else low - step
    if isinstance(dimension, Integer):
        beyond = max(1, math.ceil(beyond) if upper else math.floor(beyond))
    if beyond <= 0 or beyond == (high if upper else low):
        return None
    return beyond


def _families(names: Sequence[str]) -> str:
    return f"train.families=[{', '.join(dict.fromkeys(names))}]"


def _number(value: float) -> str:
    """Write a number that YAML reads as one; ``5e-05`` would be text to it.

    Examples
    --------
    >>> _number(5e-05), _number(120.0), _number(15)
    ('5.0e-05', '120', '15')
    """
    text = f"{value:.6g}"
    return text if "e" not in text or "." in text else text.replace("e", ".0e")


def _two(score: float, other: float, joint: str = "against") -> str:
    places = decimals([score, other], [score - other])
    return f"{shown(score, places)} {joint} {shown(other, places)}"


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
