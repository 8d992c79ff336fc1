"""Counts how often equal and better models are promoted, and what one fair test costs.

Run it with `python benchmarks/promotion.py`; it also draws `docs/images/promotion-power.png`.
"""

import argparse
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

# Each process works by itself; threads of a library would only take turns with the others.
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
from scipy import stats  # noqa: E402

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "src"))

from ratchet import evaluation, gates, metrics  # noqa: E402
from ratchet.metrics import Metric, Predictions  # noqa: E402
from ratchet.problem import ProblemType  # noqa: E402
from ratchet.settings import Promote  # noqa: E402

PLOT = ROOT / "docs" / "images" / "promotion-power.png"

RMSE = metrics.named("rmse", ProblemType.REGRESSION)
LOG_LOSS = metrics.named("log_loss", ProblemType.BINARY)
ROC_AUC = metrics.named("roc_auc", ProblemType.BINARY)

# Test rows and how many pairs are drawn; small tables are cheap, and more pairs say more.
EQUAL_PAIRS = {200: 2000, 1000: 1000, 5000: 500}
# A rate that keeps its promise is above the bound once in so many tables of results.
NOISE = 0.999

GAINS = {
    0.01: (500, 1000, 2000, 5000, 10_000, 20_000, 50_000),
    0.02: (200, 500, 1000, 2000, 5000, 10_000),
    0.05: (100, 200, 500, 1000, 2000),
}
GAIN_PAIRS = 200

ROWS_A_DAY = 10
BIG_TABLE = 1_000_000


@dataclass(frozen=True)
class Pair:
    """A challenger and a champion on the same test rows."""

    metric: Metric
    y: np.ndarray
    challenger: Predictions
    champion: Predictions
    blocks: np.ndarray | None = None
    """What the rule draws as a whole; None draws rows."""


@dataclass(frozen=True)
class Count:
    """What became of many pairs."""

    n_rows: int
    pairs: int
    higher: int
    """Promoted where the higher score wins."""
    promoted: int
    """Promoted by the default rule."""

    @property
    def bound(self) -> float:
        """Largest share that the confidence promises, with the noise of so many pairs."""
        return most_promoted(self.pairs) / self.pairs


def most_promoted(pairs: int) -> int:
    """Tell how many of so many equal challengers a rule that keeps its promise promotes at most."""
    return int(stats.binom.ppf(NOISE, pairs, (1 - Promote().confidence) / 2))


# Pairs


def regressors(rng: np.random.Generator, n: int, gain: float = 0.0) -> Pair:
    """Draw two unbiased regressors; the challenger's RMSE is lower by the share ``gain``.

    Nine tenths of the champion's squared error is noise that nobody predicts,
    and that both share; the rest is their own, independent and of equal variance.
    """
    shared = 0.9
    y = rng.normal(scale=shared**0.5, size=n)
    own = [((1 - each) ** 2 - shared) ** 0.5 for each in (gain, 0.0)]
    return Pair(RMSE, y, *(Predictions(rng.normal(scale=scale, size=n)) for scale in own))


def classifiers(rng: np.random.Generator, n: int) -> Pair:
    """Draw two classifiers that see the true log-odds through independent noise."""
    truth = rng.normal(scale=1.5, size=n)
    y = (rng.random(n) < _logistic(truth)).astype(int)
    return Pair(LOG_LOSS, y, *(_two_classes(truth + rng.normal(size=n)) for _ in range(2)))


def days(rng: np.random.Generator, n: int, by_row: bool = False, memory: float = 0.0) -> Pair:
    """Draw two regressors whose errors have a part that lasts all day.

    Of each one's own squared error half belongs to the day; ``memory`` is the
    correlation of a day's part with the day before. Blocks are those that the
    project itself cuts, unless the rule is made to draw row by row.
    """
    day = np.arange(n) // ROWS_A_DAY
    times = pd.Series(pd.Timestamp("2026-01-01") + pd.to_timedelta(day, "D"))

    def error() -> Predictions:
        daily = rng.normal(size=day[-1] + 1)
        for k in range(1, len(daily)):
            daily[k] = memory * daily[k - 1] + (1 - memory**2) ** 0.5 * daily[k]
        return Predictions(daily[day] + rng.normal(size=n))

    noise = rng.normal(size=n)
    return Pair(RMSE, noise, error(), error(), None if by_row else evaluation.time_blocks(times))


def unlike_regressors(rng: np.random.Generator, n: int) -> Pair:
    """Draw a challenger with rare errors that are large, of the champion's RMSE in the long run.

    One error in fifty is five times as wide.
    """
    wide = np.where(rng.random(n) < 0.02, 5.0, 1.0) / (0.98 + 0.02 * 25) ** 0.5
    return Pair(
        RMSE, np.zeros(n), *(Predictions(rng.normal(size=n) * scale) for scale in (wide, 1.0))
    )


def _logistic(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logits))


def _two_classes(logits: np.ndarray) -> Predictions:
    p = _logistic(logits)
    return Predictions((p > 0.5).astype(int), np.column_stack([1 - p, p]))


EQUAL: dict[str, Callable[[np.random.Generator, int], Pair]] = {
    "regressors, rmse": regressors,
    "classifiers, log_loss": classifiers,
    "errors that last a day, drawn by row": partial(days, by_row=True),
    "errors that last a day, drawn by block": days,
    "errors that outlast a day, drawn by block": partial(days, memory=0.7),
    "challenger's rare errors are large": unlike_regressors,
}
# The rule is not made for these: rows are drawn where blocks are needed, days resemble the day
# before, or the difference is so skewed that few rows don't show it.
HARD = (
    "errors that last a day, drawn by row",
    "errors that outlast a day, drawn by block",
    "challenger's rare errors are large",
)


# Promotions


def count(draw: Callable[[np.random.Generator, int], Pair], n: int, pairs: int, seed: int) -> Count:
    """Draw pairs, and ask both rules about each."""
    rules = Promote()
    higher = promoted = 0
    for k in range(pairs):
        pair = draw(np.random.default_rng((seed, n, k)), n)
        found = evaluation.paired_difference(
            pair.metric,
            pair.y,
            pair.challenger,
            pair.champion,
            confidence=rules.confidence,
            resamples=rules.resamples,
            seed=k,
            clusters=pair.blocks,
        )
        verdict = gates.better_than_champion(
            pair.metric,
            challenger=found.challenger,
            champion=found.champion,
            gain=found.gain,
            low=found.low,
            high=found.high,
            confidence=found.confidence,
            min_gain=rules.min_gain,
        )
        higher += found.gain > 0
        promoted += verdict.passed
    return Count(n, pairs, higher, promoted)


def equal_models(pool: ProcessPoolExecutor) -> dict[str, list[Count]]:
    """Count promotions of challengers that are no better."""
    asked = {
        name: [
            pool.submit(count, draw, n, pairs, seed)
            for n, pairs in sorted(EQUAL_PAIRS.items(), reverse=True)
        ]
        for seed, (name, draw) in enumerate(EQUAL.items())
    }
    return {name: [each.result() for each in counts][::-1] for name, counts in asked.items()}


def better_models(pool: ProcessPoolExecutor) -> dict[float, list[Count]]:
    """Count promotions of challengers that are better."""
    asked = {
        gain: [
            pool.submit(count, partial(regressors, gain=gain), n, GAIN_PAIRS, 100 + seed)
            for n in sizes
        ]
        for seed, (gain, sizes) in enumerate(GAINS.items())
    }
    return {gain: [each.result() for each in counts] for gain, counts in asked.items()}


# Cost


def measure(metric: Metric) -> None:
    """Print what one comparison on a large table costs, in seconds and megabytes."""
    rng = np.random.default_rng(0)
    draw = regressors if metric is RMSE else classifiers
    pair = draw(rng, BIG_TABLE)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    evaluation.paired_difference(metric, pair.y, pair.challenger, pair.champion, seed=0)
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    told(f"| {metric.name} | {seconds:.1f} | {peak / 1000:,.0f} | {before / 1000:,.0f} |")


def costs() -> Iterator[str]:
    """Measure each metric in a process of its own, whose peak is its own."""
    for metric in (RMSE, LOG_LOSS, ROC_AUC):
        yield subprocess.run(
            [sys.executable, __file__, "--cost", metric.name],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()


# What is shown


def plot(equal: dict[str, list[Count]], better: dict[float, list[Count]]) -> None:
    """Draw promotions of equal models, and power against test rows, under both rules."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    shown = {name: counts for name, counts in equal.items() if name not in HARD}
    for index, (name, counts) in enumerate(shown.items()):
        _lines(left, counts, f"C{index + 3}", name)
    left.axhline((1 - Promote().confidence) / 2, color="black", linewidth=1, linestyle=":")
    left.text(200, 0.035, "promised: at most 2.5 %", fontsize=8)
    left.set(title="Equal models: promoted by mistake", ylim=(0, 0.6))
    for index, (gain, counts) in enumerate(better.items()):
        _lines(right, counts, f"C{index}", f"gain of {gain:.0%} of the RMSE")
    right.set(title="Better models: promoted rightly", ylim=(0, 1.03))
    for axes in (left, right):
        axes.set(xscale="log", xlabel="test rows", ylabel="share promoted")
        axes.plot([], [], color="grey", linestyle="--", label="the higher score wins")
        axes.grid(alpha=0.3)
    left.set_xticks(list(EQUAL_PAIRS), [f"{n:,}" for n in EQUAL_PAIRS])
    left.set_xticks([], minor=True)
    left.legend(fontsize=8, loc="center left")
    right.legend(fontsize=8, loc="lower right")
    PLOT.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(PLOT, dpi=130, metadata={"Software": None})


def _lines(axes, counts: Sequence[Count], color: str, label: str) -> None:  # type: ignore[no-untyped-def]
    rows = [each.n_rows for each in counts]
    rule = [each.promoted / each.pairs for each in counts]
    higher = [each.higher / each.pairs for each in counts]
    axes.plot(rows, rule, color=color, marker="o", markersize=4, label=label)
    axes.plot(rows, higher, color=color, linestyle="--", marker=".", markersize=4, alpha=0.6)


def told(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)  # noqa: T201


def main() -> int:
    """Print the tables of benchmarks/README.md and draw the plot; 1 if a promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cost", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.cost:
        measure(next(each for each in (RMSE, LOG_LOSS, ROC_AUC) if each.name == asked.cost))
        return 0
    started = time.perf_counter()
    told("| metric | seconds | peak MB | of which data and libraries |\n|---|---|---|---|")
    for line in costs():
        told(line)
    with ProcessPoolExecutor() as pool:
        equal = equal_models(pool)
        better = better_models(pool)
    told("\n| equal models | test rows | pairs | higher score wins | default rule | at most |")
    told("|---|---|---|---|---|---|")
    for name, counts in equal.items():
        for each in counts:
            told(
                f"| {name} | {each.n_rows:,} | {each.pairs:,} | {each.higher / each.pairs:.1%}"
                f" | {each.promoted / each.pairs:.1%} | {each.bound:.1%} |"
            )
    told("\n| gain | test rows | higher score wins | default rule |\n|---|---|---|---|")
    for gain, counts in better.items():
        for each in counts:
            told(
                f"| {gain:.0%} | {each.n_rows:,} | {each.higher / each.pairs:.0%}"
                f" | {each.promoted / each.pairs:.0%} |"
            )
    plot(equal, better)
    broken = [
        f"{name}, {each.n_rows} rows"
        for name, counts in equal.items()
        for each in counts
        if name not in HARD and each.promoted / each.pairs > each.bound
    ]
    told(f"\nbroken promises: {'; '.join(broken) or 'none'}")
    told(f"{time.perf_counter() - started:.0f} s")
    return bool(broken)


if __name__ == "__main__":
    sys.exit(main())
