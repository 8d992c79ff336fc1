"""Plants leaks of every kind in real tables, and counts the ones found and the false alarms.

Run it with `python benchmarks/leakage.py`; `--seeds` changes how many splits each clean table gets.
"""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn import datasets

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "src"))

from ratchet import expressions, leakage, settings, splits, table  # noqa: E402
from ratchet.errors import DataError  # noqa: E402
from ratchet.leakage import Leak, Report  # noqa: E402
from ratchet.problem import ProblemType, detect_problem  # noqa: E402
from ratchet.settings import Data, Split  # noqa: E402
from ratchet.splits import Splits  # noqa: E402
from ratchet.table import Table  # noqa: E402

REAL_DATA = ROOT.parent / "shared" / "data"
# Rows of a table that leaks are planted in; clean tables are looked at whole.
MAX_ROWS = 6000
# Fewer rows than this can't show what bins of the target or its highest tenth do.
SMALL = 100


@dataclass(frozen=True)
class Task:
    """A table as a project has it."""

    name: str
    frame: pd.DataFrame
    data: Data
    split: Split = field(default_factory=Split)
    problem: ProblemType | None = None
    reverse: bool = False
    """Whether training and test rows are exchanged once they are dealt."""

    def look(self, seed: int = 42) -> Report:
        """Prepare and split the table as the step does, and look for leaks."""
        by = self.split.column
        names = [str(name) for name in self.frame.columns]
        keep = (*((by,) if by else ()), *leakage.watched(names, self.data))
        whole = Table(self.frame, (Path(self.name),), (len(self.frame),))
        rows = table.prepare_table(whole, self.data, self.problem, keep=keep)
        y = rows.frame[rows.schema.target]
        parts = splits.split(
            len(y),
            self.split,
            seed,
            labels=y.to_numpy() if rows.schema.problem.is_classification else None,
            by=rows.extra[by] if by else None,
        )
        if self.reverse:
            parts = Splits(parts.test, parts.valid, parts.train, parts.stray)
        return leakage.look(rows, parts, self.split, seed=seed, allow=self.data.allow)

    def target(self) -> np.ndarray:
        """Target as numbers: codes of the classes, or the quantity."""
        y = expressions.evaluate(self.data.target, self.frame)
        if self.is_quantity:
            return y.to_numpy("float64", na_value=np.nan)
        return pd.factorize(y, sort=True)[0].astype("float64")

    @property
    def is_quantity(self) -> bool:
        """Whether it is a regression, as a project on this table would find."""
        return (self.problem or self._guess) is ProblemType.REGRESSION

    @property
    def _guess(self) -> ProblemType:
        y = expressions.evaluate(self.data.target, self.frame)
        return detect_problem(y)

    def with_columns(self, **columns: object) -> "Task":
        """Add feature columns."""
        data = self.data
        if data.features is not None:
            data = data.model_copy(update={"features": (*data.features, *columns)})
        return replace(self, frame=self.frame.assign(**columns), data=data)

    def reordered(self, order: np.ndarray) -> "Task":
        """Take rows, in an order, some perhaps several times."""
        return replace(self, frame=self.frame.iloc[order].reset_index(drop=True))

    def smaller(self) -> "Task":
        """Keep every n-th row that the filter keeps and that has a target."""
        frame = self.frame
        if self.data.filter is not None:
            y = expressions.evaluate(self.data.target, frame)
            kept = expressions.evaluate(self.data.filter, frame, {"target": y})
            frame = frame[kept.astype("boolean").fillna(False).to_numpy(bool)]
        return replace(self, frame=frame.iloc[:: -(-len(frame) // MAX_ROWS)].reset_index(drop=True))


def tasks() -> Iterator[Task]:
    """Give the clean tables: the ones of scikit-learn, the real ones, and the project's own."""
    for name in ("iris", "breast_cancer", "wine", "digits", "diabetes"):
        bunch = getattr(datasets, f"load_{name}")(as_frame=True)
        yield Task(name, bunch.frame.copy(), Data(source=name, target="target"))
    bunch = datasets.load_linnerud(as_frame=True)
    for name, y in bunch.target.items():
        yield Task(
            f"linnerud {name}",
            bunch.data.assign(**{str(name): y}),
            Data(source="linnerud", target=str(name)),
            problem=ProblemType.REGRESSION,
        )
    for name, params, source in (
        ("project", "params.yaml", ROOT / "data"),
        ("project tips", "examples/tips.yaml", ROOT / "data"),
        ("taxi", "params.yaml", REAL_DATA / "nyc-green-taxi"),
    ):
        if source.exists():
            chosen = settings.load(ROOT / params)
            yield Task(name, table.read_table(source).frame, chosen.data, chosen.split)
    for name, target in (("adult", "income"), ("wine_quality", "quality"), ("ames", "SalePrice")):
        path = REAL_DATA / f"{name}.parquet"
        if path.exists():
            task = Task(name, table.read_table(path).frame, Data(source=name, target=target))
            yield task
            if name == "wine_quality":
                yield replace(task, name=f"{name} score", problem=ProblemType.REGRESSION)


@dataclass(frozen=True)
class Planted:
    """A task with a leak in it, and what must be found."""

    kind: Leak
    variant: str
    task: Task
    columns: tuple[str, ...]

    def found_by(self, report: Report) -> bool:
        """Tell whether a finding of this kind names these columns and no others."""
        # Labels that stand for a part of the target are groups, too.
        kinds = {self.kind, Leak.GROUPS} if self.kind is Leak.NEAR_PERFECT else {self.kind}
        return any(
            finding.kind in kinds and set(finding.columns) == set(self.columns)
            for finding in report.findings
        )


def planted(task: Task, seed: int = 0) -> Iterator[Planted]:
    """Plant each kind of leak in a task, in each of its variants that the table can show."""
    random = np.random.default_rng(seed)
    plant = _in_quantity if task.is_quantity else _in_classes
    yield from plant(task, task.target(), random)
    yield from _in_order(task, task.target(), random)
    yield from _in_groups(replace(task, split=Split()), task.target(), random)
    yield from _in_copies(replace(task, split=Split()), task.target(), random)
    yield from _in_time(task, random)


_Random = np.random.Generator


def _in_quantity(task: Task, y: np.ndarray, random: _Random) -> Iterator[Planted]:
    n, small = len(y), len(y) < SMALL
    spread = np.ptp(np.quantile(y, [0.05, 0.95]))
    start = random.uniform(0, 50, n) * spread
    day = pd.Timestamp("2024-01-01") + pd.to_timedelta(random.uniform(0, 1e6, n), unit="s")
    few = random.random(n) < (0 if small else 0.01)
    wrong = np.where(few, random.permutation(y), y)
    half = np.where(random.random(n) < 0.5, y, np.nan) if not small else y
    size = random.uniform(1, 20, n)
    for variant, column in (
        ("another unit", y * 60 + 5),
        ("rounded", np.round(y / spread * 40)),
        ("1 % wrong rows", -wrong),
        ("half of the rows empty", half),
    ):
        yield Planted(Leak.REBUILT, variant, task.with_columns(leak=column), ("leak",))
    for variant, a, b in (
        ("difference", start, start + y),
        ("difference of times", day, day + pd.to_timedelta(y, unit="s")),
        ("difference, 1 % wrong rows", start, start + wrong),
        ("sum", y * random.uniform(0, 1, n), None),
        ("product", size, y / size),
        ("ratio", size, y * size),
    ):
        b = y - a if b is None else b
        yield Planted(Leak.REBUILT, variant, task.with_columns(leak=a, leak2=b), ("leak", "leak2"))
    ranks = pd.Series(y).rank().to_numpy() / n
    yield Planted(
        Leak.NEAR_PERFECT, "its exponential", task.with_columns(leak=np.exp(6 * ranks)), ("leak",)
    )
    if not small:
        noisy = y + random.normal(0, 0.02 * y.std(), n)
        noisy = np.exp(3 * (noisy - y.mean()) / y.std())
        yield Planted(Leak.NEAR_PERFECT, "with noise", task.with_columns(leak=noisy), ("leak",))
        bins = pd.qcut(pd.Series(y), 40, labels=False, duplicates="drop").to_numpy(int)
        labels = np.array([f"b{k}" for k in random.permutation(bins.max() + 1)])[bins]
        yield Planted(Leak.NEAR_PERFECT, "labels", task.with_columns(leak=labels), ("leak",))
    values = random.normal(size=n)
    middle = np.median(y)
    gaps = {"the higher half": y > middle, "the lower half": y < middle}
    if not small:
        gaps["the highest tenth"] = y > np.quantile(y, 0.9)
    for variant, filled in gaps.items():
        column = np.where(filled, values, np.nan)
        if filled.sum() >= 6:
            yield Planted(Leak.GAP, variant, task.with_columns(leak=column), ("leak",))


def _in_classes(task: Task, y: np.ndarray, random: _Random) -> Iterator[Planted]:
    n = len(y)
    codes = y.astype(int)
    n_classes = codes.max() + 1
    few = random.random(n) < 0.01
    names = np.array([f"n{k}" for k in random.permutation(n_classes)])
    for variant, column in (
        ("other names", names[codes]),
        ("other numbers", random.permutation(n_classes)[codes] * 7 + 3),
        ("1 % missing", np.where(few, np.nan, codes)),
    ):
        yield Planted(Leak.REBUILT, variant, task.with_columns(leak=column), ("leak",))
    start = random.uniform(0, 50, n) * n_classes
    inside = codes + random.uniform(0.1, 0.9, n)
    part = random.uniform(-3, 3, n) * n_classes
    size = random.uniform(1, 20, n)
    day = pd.Timestamp("2024-01-01") + pd.to_timedelta(random.uniform(0, 1e6, n), unit="s")
    for variant, a, b in (
        ("difference", start, start + inside),
        ("difference of times", day, day + pd.to_timedelta(inside, unit="h")),
        ("sum", part, inside - part),
        ("product", size, (inside + 1) / size),
        ("ratio", size, (inside + 1) * size),
    ):
        yield Planted(Leak.REBUILT, variant, task.with_columns(leak=a, leak2=b), ("leak", "leak2"))
    wrong = random.random(n) < 0.002
    score = np.where(wrong, random.permutation(inside), inside)
    labels = np.array([f"l{k}" for k in random.permutation(4 * n_classes)])
    for variant, column in (
        ("ranges", inside),
        ("ranges, 0.2 % wrong rows", score),
        ("4 labels each", labels[4 * codes + random.integers(0, 4, n)]),
    ):
        yield Planted(Leak.NEAR_PERFECT, variant, task.with_columns(leak=column), ("leak",))
    values = random.normal(size=n)
    for rank, code in enumerate(pd.Series(codes).value_counts().index[:2]):
        own = codes == code
        for variant, filled in (
            ("filled for it", own),
            ("filled for 7 of 10", own & (random.random(n) < 0.7)),
            ("empty for it", ~own),
        ):
            column = np.where(filled, values, np.nan)
            name = f"class {rank + 1} {variant}"
            yield Planted(Leak.GAP, name, task.with_columns(leak=column), ("leak",))


def _in_order(task: Task, y: np.ndarray, random: _Random) -> Iterator[Planted]:
    n = len(y)
    ranks = pd.Series(y).rank().to_numpy() / n
    order = np.argsort(ranks + random.normal(0, 0.15, n))
    numbers = np.cumsum(random.integers(1, 9, n)) + 10_000
    for variant, column in (
        ("numbers", numbers),
        ("texts", pd.Series(numbers).map("ORD-{:08d}".format)),
    ):
        sorted_ = task.reordered(order).with_columns(leak=column)
        yield Planted(Leak.ORDERED_ID, variant, sorted_, ("leak",))
    if task.split.column is None:
        when = pd.Timestamp("2024-01-01") + pd.to_timedelta(np.arange(n), unit="h")
        timed = task.reordered(order).with_columns(leak=numbers, when=when)
        shuffled = timed.reordered(random.permutation(n))
        yield Planted(Leak.ORDERED_ID, "in order of a time", shuffled, ("leak",))


def _in_groups(task: Task, y: np.ndarray, random: _Random) -> Iterator[Planted]:
    n = len(y)
    size = 5 if n >= SMALL else 2
    order = np.lexsort((random.random(n), y))
    groups = np.empty(n, dtype=int)
    groups[order] = np.arange(n) // size
    names = random.permutation(groups.max() + 1) + 1000
    groups = names[groups]
    if n >= SMALL:
        moved = random.random(n) < 0.02
        groups[moved] = random.choice(names, moved.sum())
    texts = pd.Series(groups).map("patient {}".format)
    for variant, column in (("numbers", groups), ("texts", texts)):
        yield Planted(Leak.GROUPS, variant, task.with_columns(leak=column), ("leak",))
    dropped = replace(
        task,
        frame=task.frame.assign(leak=texts),
        data=task.data.model_copy(update={"drop": (*task.data.drop, "leak")}),
    )
    yield Planted(Leak.GROUPS, "not a feature", dropped, ("leak",))


def _in_copies(task: Task, y: np.ndarray, random: _Random) -> Iterator[Planted]:
    n = len(y)
    twice = task.reordered(random.permutation(np.tile(np.arange(n), 2)))
    yield Planted(Leak.REPEATED, "every row twice", twice, ())
    numbered = twice.with_columns(number=random.permutation(2 * n) + 1)
    yield Planted(Leak.REPEATED, "with new numbers", numbered, ())
    if task.is_quantity:
        rare = y >= np.quantile(y, 0.7)
    else:
        codes = pd.Series(y).value_counts()
        rare = y == codes[codes >= 40].index[-1]
    copies = task.reordered(random.permutation(np.repeat(np.arange(n), np.where(rare, 5, 1))))
    yield Planted(Leak.REPEATED, "some rows five times", copies, ())


def _in_time(task: Task, random: _Random) -> Iterator[Planted]:
    n = len(task.frame)
    when = pd.Timestamp("2024-01-01") + pd.to_timedelta(random.permutation(n), unit="h")
    timed = task.with_columns(when=when)
    split = Split(method="time", column="when", test=0.3)
    yield Planted(
        Leak.OLDER_TEST, "split by time", replace(timed, split=split, reverse=True), ("when",)
    )
    years = pd.Series(when).rank(pct=True).mul(10).astype(int).to_numpy()
    by_year = replace(
        timed.with_columns(year=years),
        split=Split(method="group", column="year", test=0.3),
    )
    oldest_first = next(
        (
            replace(by_year, split=by_year.split, frame=by_year.frame.assign(year=renamed))
            for renamed in _namings(years, by_year, random)
        ),
        None,
    )
    if oldest_first is not None:
        yield Planted(Leak.OLDER_TEST, "split by year", oldest_first, ("when",))


def _namings(years: np.ndarray, task: Task, random: _Random) -> Iterator[np.ndarray]:
    """Rename the years so that the split takes the oldest ones for test."""
    codes = pd.factorize(years, sort=True)[0]
    dealt = splits.split(len(codes), task.split, 42, by=pd.Series(codes))
    tested = np.unique(codes[dealt.test])
    others = np.setdiff1d(np.unique(codes), tested)
    names = np.empty(codes.max() + 1, dtype=int)
    names[np.arange(len(tested))] = tested
    names[len(tested) :] = others
    yield names[codes]


def every_column() -> None:
    """Take each other column for the target, and print what is found for a person to judge."""
    n_targets = n_findings = 0
    for task in tasks():
        if task.data.features is not None or task.data.filter is not None:
            continue
        for name in map(str, task.frame.columns):
            data = Data(source=task.name, target=name, filter=f"not missing(col({name!r}))")
            try:
                findings = replace(task, data=data, problem=None).smaller().look().findings
            except DataError:  # a column of many texts or of rare classes is no target
                continue
            n_targets, n_findings = n_targets + 1, n_findings + len(findings)
            for finding in findings:
                print(f"{task.name}, {name}: {finding.kind.value}: {finding.evidence}")  # noqa: T201
    print(f"{n_findings} findings for {n_targets} targets")  # noqa: T201


def main() -> None:
    """Print what was found and what was raised falsely."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--every-column", action="store_true", help="make each column the target")
    given = parser.parse_args()
    if given.every_column:
        every_column()
        return
    seeds = given.seeds
    clean: dict[str, int] = {}
    found: Counter[tuple[str, Leak]] = Counter()
    sown: Counter[tuple[str, Leak]] = Counter()
    missed = []
    for task in tasks():
        started = time.perf_counter()
        reports = [task.look(seed) for seed in range(seeds)]
        seconds = (time.perf_counter() - started) / seeds
        alarms = [finding for report in reports for finding in report.findings]
        clean[task.name] = sum(bool(report.findings) for report in reports)
        print(f"{task.name}: {clean[task.name]} false alarms in {seeds} splits, {seconds:.2f} s")  # noqa: T201
        for alarm in alarms:
            print(f"  {alarm}")  # noqa: T201
        for leak in planted(task.smaller()):
            sown[task.name, leak.kind] += 1
            if leak.found_by(leak.task.look()):
                found[task.name, leak.kind] += 1
            else:
                missed.append(f"{task.name}: {leak.kind.value}, {leak.variant}")
    print(f"\n| table | clean: false alarms | {' | '.join(kind.value for kind in Leak)} |")  # noqa: T201
    print("|---" * (len(Leak) + 2) + "|")  # noqa: T201
    for name, alarms_ in clean.items():
        cells = [f"{found[name, kind]}/{sown[name, kind]}" for kind in Leak]
        print(f"| {name} | {alarms_}/{seeds} | {' | '.join(cells)} |")  # noqa: T201
    cells = [
        f"{sum(found[name, kind] for name in clean)}/{sum(sown[name, kind] for name in clean)}"
        for kind in Leak
    ]
    print(f"| all | {sum(clean.values())}/{seeds * len(clean)} | {' | '.join(cells)} |")  # noqa: T201
    print(f"\nfound {sum(found.values())} of {sum(sown.values())}")  # noqa: T201
    for line in missed:
        print(f"missed  {line}")  # noqa: T201


if __name__ == "__main__":
    main()
