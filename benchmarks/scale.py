"""Measures seconds and peak memory of each step by the number of rows, against a bare script.

Run it with `python benchmarks/scale.py`, which takes about 4 minutes; `--rows 20000000` takes 15
more and 12 GB of memory. Each size of table is made of simulated taxi trips, prepared,
trained on and judged by the steps as a user runs them, each a process of its own: once with the
memory that there is, and once with `data.memory_limit_mb`, so that the table is worked on in
pieces. Beside them runs a script of a dozen lines of pandas and XGBoost.

`--columns 180` adds so many columns of an instrument's readings to each trip, and
`--within 600` runs the steps under a limit of the kernel's on the memory that a process may have
(in MB: by a control group where one may be made, else RLIMIT_DATA), and says how many times larger
the table would be in memory.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "src"))

ROWS = (100_000, 1_000_000)
# Trips of a file: more would take the memory that is to be measured later.
PER_FILE = 500_000
# Memory that steps in pieces may take for rows, in MB.
LIMIT = 60
# Where a group of processes gets a limit, and the file that has it: the old kind and the new.
CONTROL_GROUPS = (
    (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"),
    (Path("/sys/fs/cgroup"), "memory.max"),
)
# Of what the kernel lets a process have, so much is for rows: the libraries take the rest.
SHARE_FOR_ROWS = 0.1
STEPS = ("prepare", "train", "evaluate")
WAYS = ("script", "memory", "pieces")
FEATURES = [
    "PULocationID",
    "DOLocationID",
    "trip_distance",
    "lpep_pickup_datetime",
    "passenger_count",
    "payment_type",
    "trip_type",
    "RatecodeID",
]
# The same trees in each way: the seconds are to be compared.
TREES, ROUNDS = {"max_depth": 6, "learning_rate": 0.2}, 50
SETTINGS: dict[str, Any] = {
    "name": "scale",
    "data": {
        "source": "data",
        "target": "minutes(lpep_dropoff_datetime - lpep_pickup_datetime)",
        "filter": "1 <= target <= 60",
        "categorical": ["PULocationID", "DOLocationID"],
    },
    "train": {
        "metric": "rmse",
        "families": ["xgboost"],
        "ensemble": "none",
        "validation": "holdout",
        "search": {"budget_seconds": None, "max_trials": 1},
    },
    "evaluate": {"resamples": 200, "report": False},
    "tracking": {"system_metrics": False},
}
MAKE = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from ratchet.taxi import simulate_month, write_months
rows, per_file, columns = map(int, sys.argv[3:])
n_files = -(-rows // per_file)
months = [f"{2010 + number // 12}-{number % 12 + 1:02}" for number in range(n_files)]
write_months(Path(sys.argv[2]), months, rows // n_files)
few = simulate_month(months[0], 20_000).to_pandas()
if columns:
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq
    chance = np.random.default_rng(0)
    for path in sorted(Path(sys.argv[2]).glob("*.parquet")):
        source = pq.ParquetFile(path)
        names = [f"reading_{number}" for number in range(columns)]
        schema = source.schema_arrow
        for name in names:
            schema = schema.append(pa.field(name, pa.float64()))
        with pq.ParquetWriter(path.with_suffix(".wide"), schema) as out:
            for batch in source.iter_batches(50_000):
                drawn = chance.integers(0, 256, (columns, len(batch))) / 8
                arrays = [*batch.columns, *map(pa.array, drawn)]
                out.write_batch(pa.record_batch(arrays, schema=schema))
        path.with_suffix(".wide").replace(path)
    few = next(pq.ParquetFile(path).iter_batches(20_000)).to_pandas()
print(few.memory_usage(deep=True).sum() / len(few) * rows / 2**20)
"""
BARE = """
import json, sys
import pandas as pd
from xgboost import XGBRegressor
trips = pd.read_parquet(sys.argv[1])
target = (trips.lpep_dropoff_datetime - trips.lpep_pickup_datetime).dt.total_seconds() / 60
kept = target.between(1, 60)
trips, target = trips[kept], target[kept]
names, trees = json.loads(sys.argv[2])
X = trips[names].assign(
    hour=trips.lpep_pickup_datetime.dt.hour, weekday=trips.lpep_pickup_datetime.dt.weekday
).drop(columns="lpep_pickup_datetime")
for name in ("PULocationID", "DOLocationID"):
    X[name] = X[name].astype("category")
part = pd.Series(range(len(X)), X.index).sample(frac=1, random_state=0)
test, rest = part.index[: len(X) // 5], part.index[len(X) // 5 :]
model = XGBRegressor(**trees, enable_categorical=True)
model.fit(X.loc[rest], target.loc[rest])
error = ((model.predict(X.loc[test]) - target.loc[test]) ** 2).mean() ** 0.5
print(error)
"""


@dataclass(frozen=True)
class Table:
    """What is worked on."""

    folder: Path
    """Holds it, and all that comes of it."""
    rows: int
    """Trips."""
    columns: int
    """Readings beside each trip."""
    rounds: int
    """Trees that are to be grown."""

    @property
    def features(self) -> list[str]:
        """Name the columns that are learned from."""
        return [*FEATURES, *(f"reading_{number}" for number in range(self.columns))]


@dataclass(frozen=True)
class Step:
    """What a program took."""

    name: str
    """What it was."""
    seconds: float
    """From its start to its end, the import of all libraries included."""
    peak_mb: float
    """The most memory that it had at a time, in MB."""
    failed: str = ""
    """Its last line, if it didn't end well."""


@dataclass(frozen=True)
class Run:
    """All steps on one table in one way."""

    rows: int
    """Trips of the table."""
    table_mb: float
    """What the table takes in memory as pandas holds it, in MB."""
    way: str
    """``in memory``, ``in pieces``, ``bare script``, or the limit of the kernel's."""
    steps: tuple[Step, ...]
    """The steps, one after the other."""
    rmse: float | None
    """On the test rows, in minutes."""

    @property
    def peak_mb(self) -> float:
        """The most memory of any step."""
        return max(step.peak_mb for step in self.steps)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the comparison; exit 1 if a step failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, nargs="+", default=ROWS, help="trips of each table")
    parser.add_argument("--columns", type=int, default=0, help="readings added to each trip")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="trees")
    parser.add_argument("--limit", type=int, default=LIMIT, help="data.memory_limit_mb, in MB")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS, help="what is measured")
    parser.add_argument("--within", type=int, help="memory that the kernel lets a step have, in MB")
    parser.add_argument("--folder", type=Path, help="where tables are made, and stay")
    parser.add_argument("--json", action="store_true", help="print every number")
    given = parser.parse_args(arguments)
    runs = []
    for rows in given.rows:
        with tempfile.TemporaryDirectory(prefix="scale-", dir=given.folder) as folder:
            table = Table(Path(folder), rows, given.columns, given.rounds)
            for run in measure(table, given.ways, given.limit, given.within):
                runs.append(run)
                if not given.json:
                    sys.stdout.write(f"{told(run)}\n")
                    sys.stdout.flush()
    if given.json:
        sys.stdout.write(f"{json.dumps([asdict(run) for run in runs], indent=2)}\n")
    return int(any(step.failed for run in runs for step in run.steps))


def measure(table: Table, ways: Sequence[str], limit: int, within: int | None) -> Iterator[Run]:
    """Make a table, and work on it in each way."""
    table_mb = make(table)
    if within is not None:
        share = int(SHARE_FOR_ROWS * within)
        yield in_steps(table, table_mb, f"within {within} MB", share, within)
        return
    for way in ways:
        if way == "script":
            yield bare(table, table_mb)
        else:
            in_pieces = way == "pieces"
            yield in_steps(table, table_mb, f"in {way}", limit if in_pieces else None)


def make(table: Table) -> float:
    """Write trips of as many months as it takes; give the MB that they take in memory.

    In a process of its own: what this one has ever had counts as what its children had.
    """
    numbers = map(str, (table.rows, PER_FILE, table.columns))
    command = [sys.executable, "-c", MAKE, str(ROOT / "src"), str(table.folder / "data"), *numbers]
    made = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(made.stdout)


def in_steps(
    table: Table, table_mb: float, way: str, limit: int | None, within: int | None = None
) -> Run:
    """Run the steps of the project on a table."""
    folder, rows = table.folder, table.rows
    shutil.rmtree(folder / "build", ignore_errors=True)
    data, train = SETTINGS["data"], SETTINGS["train"]
    settings = {
        **SETTINGS,
        "data": {**data, "features": table.features, "memory_limit_mb": limit},
        "train": {**train, "backends": {"xgboost": TREES | {"n_estimators": table.rounds}}},
    }
    (folder / "params.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    steps = []
    for name in STEPS:
        command = [sys.executable, str(ROOT / "src"), name, "--params", str(folder / "params.yaml")]
        steps.append(ran(name, command, folder, within))
        if steps[-1].failed:
            return Run(rows, table_mb, way, tuple(steps), None)
    scores = json.loads((folder / "build" / "evaluate" / "metrics.json").read_text())
    return Run(rows, table_mb, way, tuple(steps), scores["test/rmse"])


def bare(table: Table, table_mb: float) -> Run:
    """Run the bare script on a table."""
    folder, rows = table.folder, table.rows
    given = json.dumps([table.features, TREES | {"n_estimators": table.rounds}])
    command = [sys.executable, "-c", BARE, str(folder / "data"), given]
    out = folder / "bare.txt"
    step = ran("script", command, folder, None, out)
    error = None if step.failed else float(out.read_text().split()[-1])
    return Run(rows, table_mb, "bare script", (step,), error)


def ran(
    name: str, command: list[str], folder: Path, within: int | None, out: Path | None = None
) -> Step:
    """Run a program, and measure it."""
    environment = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}"}
    log = folder / f"{name}.log"
    started = time.monotonic()
    with (
        nullcontext() if within is None else confined(within) as confine,
        log.open("wb") as errors,
        (out or folder / "out.txt").open("wb") as printed,
    ):
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdout=printed,
            stderr=errors,
            preexec_fn=confine,
        )
        peak = 0.0
        while process.poll() is None:
            peak = max(peak, _peak_mb(process.pid))
            time.sleep(0.02)
    seconds = time.monotonic() - started
    lines = log.read_text(errors="replace").strip().splitlines()
    if process.returncode < 0:
        failed = f"killed by signal {-process.returncode}"
    else:
        failed = "" if process.returncode == 0 else (lines or [f"exit {process.returncode}"])[-1]
    return Step(name, seconds, peak, failed)


def _peak_mb(pid: int) -> float:
    """Ask the kernel for the most memory that a program has had.

    What ``wait4`` says would begin with the memory of the process that started it.
    """
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 2**10
    return 0.0


@contextmanager
def confined(megabytes: int) -> Iterator[Callable[[], object]]:
    """Give what has a process get no more memory from the kernel; a control group if it may be.

    A limit of the process itself (RLIMIT_DATA) counts what it has asked for, whether it
    has used that or not, and so is the stricter one.
    """
    most = megabytes * 2**20
    group = _group(most)
    if group is None:
        yield lambda: resource.setrlimit(resource.RLIMIT_DATA, (most, most))
        return
    try:
        yield lambda: (group / "cgroup.procs").write_text(str(os.getpid()))
    finally:
        group.rmdir()


def _group(most: int) -> Path | None:
    """Make a control group with so many bytes; None where that may not be."""
    for top, name in CONTROL_GROUPS:
        group = top / f"ratchet-scale-{os.getpid()}"
        with suppress(OSError):
            group.mkdir()
            with suppress(OSError):
                (group / name).write_text(str(most))
                return group
            group.rmdir()
    return None


def told(run: Run) -> str:
    """Put a run into a line."""
    steps = ", ".join(
        f"{step.name} {step.seconds:.0f} s {step.peak_mb:,.0f} MB"
        + (f" ({step.failed})" if step.failed else "")
        for step in run.steps
    )
    error = "" if run.rmse is None else f", rmse {run.rmse:.3f}"
    ratio = f", table / peak {run.table_mb / run.peak_mb:.1f}"
    return f"{run.rows:>11,} rows ({run.table_mb:,.0f} MB) {run.way}: {steps}{error}{ratio}"


if __name__ == "__main__":
    sys.exit(main())
