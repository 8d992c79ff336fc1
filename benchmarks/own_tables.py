"""Takes tables to promoted models with `ratchet init` and `dvc repro`, with no edit between.

Run it with `python benchmarks/own_tables.py`. It prints a row of docs/own-table.md for each table:
scikit-learn's own, and those in ../shared/data that are there.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared" / "data"
SKLEARN = ("iris", "wine", "breast_cancer", "diabetes", "digits")


@dataclass(frozen=True)
class Case:
    """A table and what is to be predicted."""

    name: str
    path: Path
    target: str


def cases(folder: Path) -> Iterator[Case]:
    """Write scikit-learn's tables to a folder; give all that there are, the small ones first."""
    from sklearn import datasets

    for name in SKLEARN:
        path = folder / f"{name}.csv"
        getattr(datasets, f"load_{name}")(as_frame=True).frame.to_csv(path, index=False)
        yield Case(name, path, "target")
    real = (
        Case("wine_quality", SHARED / "wine_quality.parquet", "quality"),
        Case("ames", SHARED / "ames.parquet", "SalePrice"),
        Case("adult", SHARED / "adult.parquet", "income"),
        Case("taxi, 3 months", SHARED / "nyc-green-taxi", "tip_amount"),
    )
    yield from (case for case in real if case.path.exists())


def taken(case: Case, folder: Path, budget: float) -> str:
    """Make the project, run it, and give its row."""
    project = folder / re.sub(r"\W+", "-", case.name)
    ratchet = (sys.executable, str(ROOT / "src"))
    options = ("--data", case.path, "--target", case.target, "--budget", budget, "--yes")
    started = time.monotonic()
    found = command(folder, *ratchet, "init", project, *options)
    made = time.monotonic()
    command(project, "dvc", "repro")
    done = time.monotonic()
    said = command(project, *ratchet, "status")
    line = dict(
        re.findall(r"^(test/\w+|promoted|won|target|split) +(.*)$", f"{found}\n{said}", re.M)
    )
    shape = re.search(r"([\d,]+) rows of ([\d,]+) columns", found)
    assert shape is not None
    metric = next(name for name in line if name.startswith("test/"))
    score, baseline = line[metric].split(", baseline ")
    return (
        f"| {case.name} | {shape[1]}, {shape[2]} | {line['split'].partition(':')[0]}"
        f" | {made - started:.0f} s | {done - made:.0f} s | {metric.removeprefix('test/')} {score}"
        f" | {baseline} | {line['promoted'].partition(',')[0]} |"
    )


def command(place: Path, *words: object) -> str:
    """Run a command as a user does, in the environment that runs this."""
    tools = Path(sys.executable).parent
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW")}
    environment = {
        **inherited,
        "PATH": f"{tools}{os.pathsep}{inherited['PATH']}",
        "PYTHONPATH": str(ROOT / "src"),
        "COLUMNS": "200",
    }
    done = subprocess.run(
        [str(word) for word in words],
        cwd=place,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{' '.join(map(str, words))} failed:\n{done.stdout}")
    return done.stdout


def main() -> None:
    """Take each table from a file to a champion."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--budget", type=float, default=15, help="seconds of each search")
    parser.add_argument("names", nargs="*", help="only these tables")
    given = parser.parse_args()
    print("| table | rows, columns | split | init | run | test score | baseline | promoted |")  # noqa: T201
    print("|---|---|---|---|---|---|---|---|", flush=True)  # noqa: T201
    with tempfile.TemporaryDirectory(prefix="ratchet-tables-") as folder:
        for case in cases(Path(folder)):
            if not given.names or case.name in given.names:
                print(taken(case, Path(folder), given.budget), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
