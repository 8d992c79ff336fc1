"""Counts how often monitor calls rows moved that did not, and finds planted drifts.

Run it with `python benchmarks/false_alarms.py`; `--only alarms`, `drifts` or `months` runs a part.
"""

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

# Each process works by itself; threads of a library would only take turns with the others.
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
from scipy import stats  # noqa: E402

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "src"))

from ratchet import container, drift, evaluation, metrics, settings, table, taxi  # noqa: E402
from ratchet.drift import ColumnReference, DriftReport, Expected, Reference, Verdict  # noqa: E402
from ratchet.features import Preparation, preparation  # noqa: E402
from ratchet.metrics import Predictions  # noqa: E402
from ratchet.schema import Kind, Schema  # noqa: E402
from ratchet.settings import Data, Monitor  # noqa: E402
from ratchet.table import Table, encode_target, prepare_table  # noqa: E402

REAL_DATA = ROOT.parent / "shared" / "data"
MONTHS = REAL_DATA / "nyc-green-taxi"
TARGETS = {"adult": "income", "ames": "SalePrice", "wine_quality": "quality"}
SIZES = (200, 2_000, 20_000)
DRAWS = 200
"""Draws of each size, dealt to the tables that have as many rows."""
PLANTED = 60
"""Draws of each planted drift and size."""
# The largest share of false alarms that is allowed.
MOST = 0.05

# Rows of the reference, of the test part and of a model that answers.
MOST_REFERENCE, MOST_TEST, MOST_FITTED = 20_000, 5_000, 4_000
# A table needs so many rows beside the new ones.
LEAST_LEFT = 1.0

Change = Callable[["Task", pd.DataFrame, np.random.Generator], pd.DataFrame]


@dataclass(frozen=True)
class Task:
    """A prepared table."""

    name: str
    frame: pd.DataFrame
    schema: Schema
    clock: str | None = None
    """The time that its project splits by."""


@cache
def tasks() -> tuple[Task, ...]:
    """Prepare the real tables that are there; of the taxi the first month."""
    found = []
    for name, target in TARGETS.items():
        path = REAL_DATA / f"{name}.parquet"
        if path.exists():
            rows = prepare_table(table.read_table(path), Data(source=name, target=target), None)
            found.append(Task(name, rows.frame, rows.schema))
    first = MONTHS / "green_tripdata_2023-01.parquet"
    if first.exists():
        found.append(month(table.read_table(first), "taxi"))
    if not found:
        raise SystemExit(f"None of the real tables is in {REAL_DATA}.")
    return tuple(found)


def month(raw: Table, name: str) -> Task:
    """Prepare a month of trips as the project does."""
    chosen = settings.load(ROOT / "params.yaml")
    by = str(chosen.split.column)
    rows = prepare_table(raw, chosen.data, None, keep=(by,), visible=(by,))
    return Task(name, rows.frame, rows.schema, by)


# One draw


def compared(
    task: Task, reference: pd.DataFrame, test: pd.DataFrame, new: pd.DataFrame, seed: int
) -> DriftReport:
    """Do what prepare, evaluate and monitor do, with a model of a second."""
    schema = task.schema
    clock = None if task.clock is None else reference[task.clock]
    kept = Reference.of(
        reference, schema, growing=drift.growing(reference, schema.columns, clock), seed=seed
    )
    ask, constant = fitted(reference.head(MOST_FITTED), schema, seed)
    metric = metrics.default(schema.problem)
    y = encode_target(test[schema.target], schema)
    said = ask(test)
    column, kind = drift.answers(said, schema)
    score = evaluation.evaluate(y, said, (metric,), resamples=1000, seed=seed).scores[0]
    tested = Expected(
        answers=ColumnReference.of(column, kind),
        metric=metric.name,
        score=score.value,
        low=score.low,
        high=score.high,
        baseline=metrics.score(metric, y, constant(len(y))),
        confidence=0.95,
        n_rows=len(test),
    )
    said = ask(new)
    limits = Monitor()
    live = drift.live_score(
        metric,
        encode_target(new[schema.target], schema),
        said,
        tested,
        least_loss=limits.watch.loss,
        resamples=1000,
        seed=seed + 1,
    )
    answers = (tested.answers, drift.answers(said, schema)[0])
    return drift.compare(kept, new, limits, seed=seed, answers=answers, live=live)


def fitted(
    rows: pd.DataFrame, schema: Schema, seed: int
) -> tuple[Callable[[pd.DataFrame], Predictions], Callable[[int], Predictions]]:
    """Fit boosted trees; give what asks them, and what answers the same to every row."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    from sklearn.pipeline import make_pipeline

    y = encode_target(rows[schema.target], schema)
    classes = len(schema.classes)
    kind = HistGradientBoostingClassifier if classes else HistGradientBoostingRegressor
    model = make_pipeline(
        preparation(schema, Preparation.CODES, time_ordered=True),
        kind(max_iter=40, max_leaf_nodes=15, early_stopping=False, random_state=seed),
    ).fit(rows[schema.names], y)

    def ask(of: pd.DataFrame) -> Predictions:
        if not classes:
            return Predictions(model.predict(of[schema.names]))
        said = np.zeros((len(of), classes))
        said[:, model[-1].classes_] = model.predict_proba(of[schema.names])
        return Predictions(said.argmax(axis=1), said)

    def constant(n: int) -> Predictions:
        if not classes:
            return Predictions(np.full(n, y.mean()))
        shares = np.bincount(y, minlength=classes) / len(y)
        return Predictions(np.full(n, shares.argmax()), np.tile(shares, (n, 1)))

    return ask, constant


def drawn(name: str, size: int, seed: int, plant: str = "") -> tuple[str, str]:
    """Deal a table's rows by chance, plant a drift in the new ones; give verdict and reasons."""
    task = next(each for each in tasks() if each.name == name)
    rng = np.random.default_rng([seed, size])
    order = rng.permutation(len(task.frame))
    new, left = order[:size], order[size:]
    n_test = min(MOST_TEST, len(left) // 4)
    test, reference = left[:n_test], left[n_test : n_test + MOST_REFERENCE]
    parts = [task.frame.iloc[each].reset_index(drop=True) for each in (reference, test, new)]
    if plant:
        parts[2] = PLANTS[plant](task, parts[2], rng)
    report = compared(task, *parts, seed)
    about = ", ".join(sorted({each.about for each in report.findings}))
    return report.verdict.value, about


def suits(task: Task, size: int) -> bool:
    """Tell whether a table can be dealt to so many new rows and at least as many others."""
    return len(task.frame) >= (1 + LEAST_LEFT) * size


# Drifts


def shifted(
    task: Task, new: pd.DataFrame, rng: np.random.Generator, by: float = 0.5
) -> pd.DataFrame:
    """Shift a column of numbers by a share of its standard deviation."""
    names = [
        each.name
        for each in task.schema.columns
        # Of a column that is nearly always 0 or missing, a deviation says nothing.
        if each.kind is Kind.NUMBER and task.frame[each.name].quantile([0.25, 0.75]).nunique() > 1
    ]
    name = rng.choice(names)
    return new.assign(**{name: new[name] + by * clipped_deviation(task.frame[name])})


def clipped_deviation(values: pd.Series) -> float:
    """Give the standard deviation of all but the outermost hundredth on either side."""
    return float(values.clip(*values.quantile([0.01, 0.99])).std())


def labelled(
    task: Task, new: pd.DataFrame, rng: np.random.Generator, in_: float = 0.05
) -> pd.DataFrame:
    """Put a label that never was into a share of the rows of a column."""
    name = rng.choice(task.schema.of_kind(Kind.CATEGORY))
    strange = -1.0 if pd.api.types.is_numeric_dtype(new[name]) else "never seen"
    return new.assign(**{name: new[name].mask(share_of(new, in_, rng), strange)})


def emptied(
    task: Task, new: pd.DataFrame, rng: np.random.Generator, of: float = 0.1
) -> pd.DataFrame:
    """Take the values of a share of the rows of a column away."""
    names = [each.name for each in task.schema.columns if new[each.name].notna().mean() > 0.9]
    name = rng.choice(names)
    return new.assign(**{name: new[name].mask(share_of(new, of, rng))})


def share_of(rows: pd.DataFrame, share: float, rng: np.random.Generator) -> np.ndarray:
    """Mark a share of the rows, exactly."""
    marked = np.zeros(len(rows), dtype=bool)
    marked[rng.permutation(len(rows))[: round(share * len(rows))]] = True
    return marked


PLANTS: dict[str, Change] = {
    "a column of numbers shifted by 0.5 sd": shifted,
    "a column of numbers shifted by 0.2 sd": partial(shifted, by=0.2),
    "a new label in 5 % of the rows": labelled,
    "a new label in 2 % of the rows": partial(labelled, in_=0.02),
    "10 % more missing values": emptied,
    "3 % more missing values": partial(emptied, of=0.03),
}


def plantable(task: Task, plant: str) -> bool:
    """Tell whether a table has columns for a drift."""
    return "label" not in plant or bool(task.schema.of_kind(Kind.CATEGORY))


def simulated(seed: int, size: int, strength: float) -> tuple[str, str]:
    """Learn from a simulated month, and look at the next one, drifted by the generator."""
    first, second, third = (
        month(raw(f"2023-0{number}", seed, rows, moved), "taxi")
        for number, rows, moved in ((1, 15_000, 0.0), (2, 5_000, 0.0), (3, size, strength))
    )
    report = compared(first, first.frame, second.frame, third.frame, seed)
    return report.verdict.value, ", ".join(sorted({each.about for each in report.findings}))


def raw(name: str, seed: int, rows: int, strength: float) -> Table:
    """Simulate a month."""
    return Table(taxi.simulate_month(name, rows, seed, strength).to_pandas(), (), ())


# Tables of results


def alarms(sizes: Sequence[int], seeds: Sequence[int], run: Callable[..., list]) -> Iterator[str]:
    """Count verdicts where nothing has moved."""
    yield "| new rows | draws | `drift` | `watch` | `drift`, 95 % interval |"
    yield "|---|---|---|---|---|"
    for size in sizes:
        fit = [task.name for task in tasks() if suits(task, size)]
        given = [(fit[seed % len(fit)], size, seed) for seed in seeds]
        found = run(drawn, given)
        for (name, _, seed), (verdict, about) in zip(given, found, strict=True):
            if verdict != Verdict.NONE:
                sys.stderr.write(f"  {name} {size:,} draw {seed}: {verdict}: {about}\n")
        count, draws = Counter(verdict for verdict, _ in found), len(seeds)
        low, high = interval(count[Verdict.DRIFT], draws)
        yield (
            f"| {size:,} | {draws} ({', '.join(fit)}) | {count[Verdict.DRIFT] / draws:.1%} |"
            f" {count[Verdict.WATCH] / draws:.1%} | {low:.1%} to {high:.1%} |"
        )
        assert low <= MOST, f"more than {MOST:.0%} false alarms"


def drifts(sizes: Sequence[int], draws: int, run: Callable[..., list]) -> Iterator[str]:
    """Count the planted drifts that are found."""
    yield "| planted | new rows | draws | found | of them as `drift` |"
    yield "|---|---|---|---|---|"
    for plant in PLANTS:
        for size in sizes:
            fit = [t.name for t in tasks() if suits(t, size) and plantable(t, plant)]
            found = run(drawn, [(fit[s % len(fit)], size, 10_000 + s, plant) for s in range(draws)])
            yield line(plant, size, found)


def months(draws: int, run: Callable[..., list]) -> Iterator[str]:
    """Count simulated months that are found to have drifted, and tell of real ones."""
    yield "| simulated month | new rows | draws | found | of them as `drift` |"
    yield "|---|---|---|---|---|"
    for strength in (0.0, 0.1, 0.25, 0.5, 1.0):
        for size in (500, 5_000):
            found = run(simulated, [(seed, size, strength) for seed in range(draws)])
            yield line(f"drift {strength:g}", size, found)
    files = sorted(MONTHS.glob("*.parquet"))
    if len(files) < 2:
        return
    yield ""
    first = month(table.read_table(files[0]), "taxi")
    rng = np.random.default_rng(0)
    order = rng.permutation(len(first.frame))
    for path in files[1:]:
        later = month(table.read_table(path), "taxi")
        half = len(order) // 5
        report = compared(
            first,
            first.frame.iloc[np.sort(order[half:])].reset_index(drop=True),
            first.frame.iloc[order[:half]].reset_index(drop=True),
            later.frame,
            0,
        )
        yield f"{path.stem} against {files[0].stem}: {report.verdict}. {' '.join(report.reasons)}"


def line(what: str, size: int, found: Sequence[tuple[str, str]]) -> str:
    """Give a line of a table of found drifts."""
    count = Counter(verdict for verdict, _ in found)
    n, drifted = len(found), count[Verdict.DRIFT]
    return f"| {what} | {size:,} | {n} | {(n - count[Verdict.NONE]) / n:.0%} | {drifted / n:.0%} |"


def interval(k: int, n: int) -> tuple[float, float]:
    """Give the exact interval of a share."""
    found = stats.binomtest(k, n).proportion_ci(0.95)
    return float(found.low), float(found.high)


def main() -> None:
    """Print the tables of ``benchmarks/README.md``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=("alarms", "drifts", "months"))
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--draws", type=int, default=DRAWS)
    parser.add_argument("--planted", type=int, default=PLANTED)
    parser.add_argument("--first", type=int, default=0, help="number of the first draw")
    asked = parser.parse_args()
    seeds = range(asked.first, asked.first + asked.draws)
    started = time.monotonic()
    with ProcessPoolExecutor(container.cores()) as pool:

        def run(function: Callable[..., tuple[str, str]], given: Sequence[tuple]) -> list:
            return list(pool.map(partial(_call, function), given))

        parts = {
            "alarms": lambda: alarms(asked.sizes, seeds, run),
            "drifts": lambda: drifts(asked.sizes, asked.planted, run),
            "months": lambda: months(max(1, asked.planted // 3), run),
        }
        for name, tell in parts.items():
            if asked.only in (None, name):
                for told in tell():
                    sys.stdout.write(f"{told}\n")
                sys.stdout.write(f"\n{time.monotonic() - started:.0f} s\n\n")


def _call(function: Callable[..., tuple[str, str]], given: tuple) -> tuple[str, str]:
    return function(*given)


if __name__ == "__main__":
    main()
