"""Measures what `ratchet predict` costs on top of the model, and whether its memory is constant.

Run it with `python benchmarks/scoring.py`. A model is trained on simulated taxi trips. Then many
more trips are answered: by the model, from a frame that lies in memory and is as it takes it; and
by the command, from a parquet file to a parquet file with all columns. With `--coverage`, intervals
are held against the test rows of real tables instead.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# As the command line does.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import pandas as pd
import yaml

ROOT = Path(__file__).parents[1]
REAL_DATA = ROOT.parent / "shared" / "data"
sys.path.insert(0, str(ROOT / "src"))

# What the command may take of the time that the model alone takes.
PROMISED = 1.10
# Peak memory of ten times the rows, as a share of that of the rows.
PROMISED_MEMORY = 1.10
ROWS = 100_000
TIMES = 10
TAXI = {
    "target": "minutes(lpep_dropoff_datetime - lpep_pickup_datetime)",
    "filter": "1 <= target <= 60",
    "features": ["PULocationID", "DOLocationID", "trip_distance", "lpep_pickup_datetime"],
    "categorical": ["PULocationID", "DOLocationID"],
}


@dataclass(frozen=True)
class Speed:
    """What answering the same rows took."""

    family: str
    """The model."""
    alone: float
    """Seconds of the model, asked about a frame in memory."""
    command: float
    """Seconds of the command, from its first row read to its last one in the file."""
    ratio: float
    """How many times as long the command takes: the median of the pairs."""
    rows: int
    """Rows that were answered."""
    alone_cpu: float
    """Seconds of processor time of the model alone, all threads together."""
    command_cpu: float
    """The same of the command."""


def trained(folder: Path, data: dict[str, Any], **changes: Any) -> Any:
    """Train and promote a model of the table in ``folder/data``; give its project."""
    from ratchet.commands import pipeline
    from ratchet.project import Project

    values = {
        "name": "scored",
        "data": {"source": "data", **data},
        "train": {"search": {"budget_seconds": 30.0}},
        "evaluate": {"report": False, "resamples": 100},
        "promote": {"dirty_data": "allow", "dirty_tree": "allow", "resamples": 200, "min_rows": 20},
        "tracking": {"system_metrics": False, "uri": f"sqlite:///{folder}/mlflow.db"},
    }
    for name, value in changes.items():
        inner = values
        *above, last = name.split("__")
        for section in above:
            inner = inner.setdefault(section, {})
        inner[last] = value
    (folder / "params.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    project = Project.open(folder / "params.yaml")
    pipeline.run(project)
    return project


def speed(project: Any, data: Path, repeats: int) -> Speed:
    """Answer the rows of a file, by the model alone and by the command, in turns."""
    from ratchet import model
    from ratchet.serving import served
    from ratchet.serving.rows import accept
    from ratchet.steps.train import Leader
    from ratchet.table import read_table

    asked = served.load(project, served.find(project))
    features = accept(read_table(data).frame, asked.schema)
    alone, command = [], []
    for _ in range(repeats):
        begun = time.perf_counter(), time.process_time()
        asked.model.predict(features)
        alone.append((time.perf_counter() - begun[0], time.process_time() - begun[1]))
        command.append(_bulk(project, asked, data))
    assert model.threshold_of(asked.model) is None
    return Speed(
        Leader.load(project).name,
        *(statistics.median(wall for wall, _ in each) for each in (alone, command)),
        statistics.median(c[0] / a[0] for a, c in zip(alone, command, strict=True)),
        len(features),
        *(statistics.median(cpu for _, cpu in each) for each in (alone, command)),
    )


def _bulk(project: Any, asked: Any, data: Path) -> tuple[float, float]:
    """Time the work of the command without finding and loading the model, which any use needs."""
    from ratchet.commands import predict as command

    out = data.parent / "answers.parquet"
    request = command.Request(data, out, force=True, record=False)
    begun = []
    load = command.served.load
    command.served.load = lambda *_: asked
    try:
        original = command.bulk.score

        def timed(*given: Any, **named: Any) -> Any:
            begun.append((time.perf_counter(), time.process_time()))
            return original(*given, **named)

        command.bulk.score = timed
        command.run(project, request)
    finally:
        command.served.load, command.bulk.score = load, original
    wall, cpu = begun[0]
    return time.perf_counter() - wall, time.process_time() - cpu


def peak(project: Any, data: Path) -> tuple[float, float]:
    """Run the command as a user does; give its peak memory in MB and its seconds."""
    out = data.parent / "answers.parquet"
    command = [sys.executable, str(ROOT / "src"), "predict", "--data", str(data), "--out", str(out)]
    started = time.perf_counter()
    process = subprocess.Popen(
        [*command, "--force", "--no-record", "--quiet"], cwd=project.root, stdout=subprocess.DEVNULL
    )
    _, status, used = os.wait4(process.pid, 0)
    assert status == 0
    return used.ru_maxrss / 1024, time.perf_counter() - started


def coverage(tables: dict[str, Any], seeds: int) -> None:
    """Print how many test rows lie within the intervals that train's record gives."""
    from ratchet import model, tracking
    from ratchet.conformal import FILE, Conformal, Coverage
    from ratchet.schema import Schema
    from ratchet.serving import models
    from ratchet.steps import prepare
    from ratchet.table import encode_target

    told("| table | split | rows behind | test rows | promised | held | by seed | mean width |")
    told("|---|---|---|---|---|---|---|---|")
    for (name, split), (frames, data, by) in tables.items():
        found: dict[float, list[Coverage]] = {0.9: [], 0.95: []}
        behind = judged = 0
        for seed in range(seeds):
            with tempfile.TemporaryDirectory() as place:
                folder = Path(place)
                (folder / "data").mkdir()
                for part, frame in frames().items():
                    frame.to_parquet(folder / "data" / f"{part}.parquet")
                project = trained(folder, data, seed=seed, split=by, train__problem="regression")
                tracking.connect(project)
                known = Conformal.load(project.trained / FILE)
                schema = Schema.load(project.prepared / "schema.json")
                rows = prepare.read_part(project, "test")
                y = encode_target(rows[schema.target], schema)
                loaded = models.load(project, str(project.trained / "model"))
                said = model.predict(loaded, rows, schema).values
                behind, judged = known.n, len(y)
                for level, each in found.items():
                    each.append(Coverage.of(y, said, known.half_widths(said, level)))
        for level, each in found.items():
            shares = [one.share for one in each]
            told(
                f"| {name} | {split} | {behind:,} | {judged:,} | {level:.0%}"
                f" | {np.mean(shares):.1%} | {', '.join(f'{share:.1%}' for share in shares)}"
                f" | {np.mean([one.width for one in each]):,.4g} |"
            )


def real_tables() -> dict[str, Any]:
    """Describe the real tables that are there: their rows, settings and split."""
    at_random: dict[str, Any] = {"method": "random", "test": 0.2, "valid": 0.2}
    tables = {}
    if (REAL_DATA / "ames.parquet").exists():
        ames = {"target": "SalePrice"}
        tables["ames", "random"] = (
            lambda: {"rows": pd.read_parquet(REAL_DATA / "ames.parquet")},
            ames,
            at_random,
        )
    if (REAL_DATA / "wine_quality.parquet").exists():
        tables["wine_quality", "random"] = (
            lambda: {"rows": pd.read_parquet(REAL_DATA / "wine_quality.parquet")},
            {"target": "quality"},
            at_random,
        )
    months = sorted((REAL_DATA / "nyc-green-taxi").glob("*.parquet"))[:3]
    if months:

        def trips() -> dict[str, pd.DataFrame]:
            return {path.stem: pd.read_parquet(path) for path in months}

        tables["taxi", "random"] = (trips, TAXI, at_random)
        by_time = {"method": "time", "column": "lpep_pickup_datetime", "test": "1 month"}
        tables["taxi", "by time"] = (trips, TAXI, {**by_time, "valid": 0.2})
    return tables


def main() -> int:
    """Measure; exit with 1 if a promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--coverage", action="store_true", help="hold intervals against truth")
    parser.add_argument("--seeds", type=int, default=3, help="trainings a table")
    parser.add_argument("--tables", default="", help="real tables, by commas; all if left out")
    parser.add_argument("--rows", type=int, default=ROWS, help="rows of the smaller file")
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    if given.coverage:
        wanted = given.tables.split(",") if given.tables else None
        found = {k: v for k, v in real_tables().items() if wanted is None or k[0] in wanted}
        coverage(found, given.seeds)
        return 0
    told(
        "| model | rows | the model alone, s | predict, s | ratio | rows a second | processor, s |"
    )
    told("|---|---|---|---|---|---|---|")
    broken = []
    with tempfile.TemporaryDirectory() as place:
        small, many = _trips(Path(place), given.rows)
        for families, data in ((["lightgbm", "xgboost"], small), (["ridge"], many)):
            folder = Path(place) / families[0]
            (folder / "data").mkdir(parents=True)
            shutil.copy(Path(place) / "learned.parquet", folder / "data")
            project = trained(
                folder,
                TAXI,
                train__families=families,
                train__search__budget_seconds=15.0,
                split={"method": "random", "test": 0.2, "valid": 0.2},
            )
            found = speed(project, data, given.repeats)
            told(
                f"| {found.family} | {found.rows:,} | {found.alone:.2f} | {found.command:.2f}"
                f" | {found.ratio:.3f} | {found.rows / found.command:,.0f}"
                f" | {found.alone_cpu:.2f}, {found.command_cpu:.2f} |"
            )
            if found.ratio > PROMISED:
                broken.append(f"{found.family} takes {found.ratio:.3f} times as long")
        peaks = [peak(project, each) for each in (small, many)]
        told("\n| rows | the whole command, s | peak memory, MB |")
        told("|---|---|---|")
        for rows, (memory, seconds) in zip((given.rows, given.rows * TIMES), peaks, strict=True):
            told(f"| {rows:,} | {seconds:.1f} | {memory:,.0f} |")
        if peaks[1][0] > PROMISED_MEMORY * peaks[0][0]:
            broken.append("memory grows with the rows")
    told(f"\nbroken promises: {'; '.join(broken) or 'none'}")
    return int(bool(broken))


def _trips(folder: Path, rows: int) -> tuple[Path, Path]:
    """Simulate trips to learn from, new ones, and ten times as many."""
    from ratchet import taxi

    learned = taxi.write_months(
        folder / "learned", ["2023-01", "2023-02"], rows=15_000, seed=0, drift=0.0
    )
    pd.concat([pd.read_parquet(path) for path in learned]).to_parquet(folder / "learned.parquet")
    [small] = taxi.write_months(folder / "few", ["2023-03"], rows=rows, seed=1, drift=0.0)
    many = folder / "many" / "rows.parquet"
    many.parent.mkdir()
    pd.concat([pd.read_parquet(small)] * TIMES).to_parquet(many, index=False)
    return small, many


def told(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
