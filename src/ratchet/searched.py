"""What a search has cost and brought, summed up from its trials."""

import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

from ratchet.metrics import Metric


@dataclass(frozen=True)
class Tried:
    """One family of the search."""

    family: str
    """Its name."""
    trials: int
    """How many candidates were tried."""
    failed: int
    """How many failed."""
    best: float
    """Best score on the validation rows; NaN when all failed."""
    seconds: float
    """Wall-clock time they took together."""


@dataclass(frozen=True)
class Failed:
    """Trials that failed for the same reason."""

    reason: str
    """What the first of them said."""
    families: tuple[tuple[str, int], ...]
    """Family and number of those trials."""


@dataclass(frozen=True)
class Spent:
    """What one family has cost and brought, as values that survive JSON."""

    family: str
    """Its name."""
    trials: int
    """How many candidates were tried."""
    failed: int
    """How many failed."""
    cut_short: int
    """How many a deadline has ended before they were done."""
    best: float | None
    """Best score on the validation rows; None when all failed."""
    seconds: float
    """Wall-clock time they took together."""


@dataclass(frozen=True)
class Search:
    """A search, as values that survive JSON."""

    metric: str
    """The metric that was optimised."""
    maximize: bool
    """Whether a larger score of it is a better one."""
    n_trials: int
    """Trials."""
    n_resumed: int
    """Trials that an earlier, interrupted run had made."""
    seconds: float
    """Wall-clock time of search and last fits."""
    best: float | None
    """The best score on the validation rows, of trials on all rows where there are any."""
    best_trial: int | None
    """Number of that trial, from 0."""
    best_after: float | None
    """Seconds after which it was there."""
    best_family: str | None
    """Its family."""
    best_params: tuple[tuple[str, str], ...]
    """Its hyperparameters, by name."""
    families: tuple[Spent, ...]
    """What was tried, the best family first."""
    failures: tuple[Failed, ...]
    """Why trials failed, the most frequent reason first."""
    members: tuple[tuple[str, float], ...]
    """What the leader is made of, and the share of each in the answer."""

    @property
    def trial_seconds(self) -> float:
        """Wall-clock time of all trials; more than that of the search where some ran at once."""
        return math.fsum(each.seconds for each in self.families)

    @property
    def n_failed(self) -> int:
        """Trials that failed."""
        return sum(each.failed for each in self.families)


def of(
    trials: pd.DataFrame, metric: Metric, seconds: float, members: Sequence[tuple[str, float]]
) -> Search:
    """Sum up a search.

    Parameters
    ----------
    trials : pd.DataFrame
        Content of ``trials.parquet``.
    metric : Metric
        What the scores are.
    seconds : float
        Wall-clock time of search and last fits.
    members : sequence of (str, float)
        What the leader is made of, and the share of each in the answer.
    """
    done = trials[trials["score"].notna()]
    whole = done[done["share"] >= 1] if (done["share"] >= 1).any() else done
    best = None if whole.empty else whole.iloc[int(whole["score"].map(metric.loss).argmin())]
    cut_short = trials[trials["cut_short"]]["family"].value_counts()
    return Search(
        metric=metric.name,
        maximize=metric.maximize,
        n_trials=len(trials),
        n_resumed=int(trials["resumed"].sum()),
        seconds=seconds,
        best=None if best is None else float(best["score"]),
        best_trial=None if best is None else int(best["number"]),
        best_after=None if best is None else float(best["elapsed"]),
        best_family=None if best is None else str(best["family"]),
        best_params=() if best is None else tuple(_told(json.loads(best["params"]))),
        families=tuple(
            Spent(
                family=each.family,
                trials=each.trials,
                failed=each.failed,
                cut_short=int(cut_short.get(each.family, 0)),
                best=None if math.isnan(each.best) else each.best,
                seconds=each.seconds,
            )
            for each in tried_in(trials, metric)
        ),
        failures=tuple(failures(trials)),
        members=tuple(members),
    )


def tried_in(trials: pd.DataFrame, metric: Metric) -> tuple[Tried, ...]:
    """Sum up a table of trials by family, the best family first.

    Parameters
    ----------
    trials : pd.DataFrame
        Content of ``trials.parquet``.
    metric : Metric
        What the scores are.
    """
    tried = [
        Tried(
            family=str(family),
            trials=len(rows),
            failed=int(rows["score"].isna().sum()),
            best=float(rows["score"].max() if metric.maximize else rows["score"].min()),
            seconds=float(rows["seconds"].sum()),
        )
        for family, rows in trials.groupby("family", sort=False)
    ]

    def rank(each: Tried) -> tuple[bool, float]:
        return math.isnan(each.best), metric.loss(each.best)

    return tuple(sorted(tried, key=rank))


def failures(trials: pd.DataFrame) -> Iterator[Failed]:
    """Group failed trials by their reason, whatever the numbers in it."""
    failed = trials[trials["error"].notna()]
    kinds = failed["error"].map(lambda error: re.sub(r"\d[\d.,e+-]*", "#", error))
    groups = [same for _, same in failed.groupby(kinds, sort=False)]
    for same in sorted(groups, key=len, reverse=True):
        families = same["family"].value_counts(sort=False)
        yield Failed(
            str(same["error"].iloc[0]),
            tuple((str(name), int(count)) for name, count in families.items()),
        )


def _told(params: dict[str, object]) -> Iterator[tuple[str, str]]:
    for name, value in params.items():
        yield name, f"{value:.3g}" if isinstance(value, float) else str(value)
