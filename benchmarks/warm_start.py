"""Measures what it brings a retraining to begin with the champion's best trials.

Run it with `python benchmarks/warm_start.py`. Three real months come one after the other. The model
of the first begins afresh; those of the second and third do so, too, and beside that begin with the
best trials of the month before. Both get the same rows, the same seed and the same seconds.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

# As the command line does.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import pandas as pd
import yaml

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "src"))

from ratchet.course import Record  # noqa: E402
from ratchet.project import Project  # noqa: E402
from ratchet.steps import evaluate, prepare, train  # noqa: E402

MONTHS = ROOT.parent / "shared" / "data" / "nyc-green-taxi"
FILES = [f"green_tripdata_2023-0{month}.parquet" for month in (1, 2, 3)]


def opened(folder: Path, seed: int, seconds: float, start: str | None) -> Project:
    """Write the shipped settings for one training, and open them."""
    values = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    values["seed"] = seed
    # The last week of each month: one month alone has no other to be its test.
    values["split"] |= {"test": "7 days"}
    values["data"]["checks"] = None
    values["train"]["search"] |= {"budget_seconds": seconds, "warm_start": start}
    values["evaluate"] |= {"resamples": 100, "report": False}
    values["tracking"] = {
        "uri": f"sqlite:///{folder / 'mlflow.db'}",
        "system_metrics": False,
        "trials": 0,
    }
    (folder / "params.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    return Project.open(folder / "params.yaml")


def trained(folder: Path, seed: int, seconds: float, start: str | None) -> tuple[str, str]:
    """Train once; give the run, and a line of the table."""
    project = opened(folder, seed, seconds, start)
    prepare.run(project)
    leader = train.run(project)
    evaluate.run(project)
    scores = json.loads((project.evaluated / "metrics.json").read_text())
    trials = Record.load(project.trained / "search.json").course.trials
    done = [trial.score for trial in trials if not trial.error]
    found = next(n for n, score in enumerate(done, start=1) if score == min(done))
    numbers = [f"{each:.4f}" for each in (leader.score, scores["test/rmse"], min(done))]
    return leader.run_id, " | ".join([*numbers, f"{found} of {len(trials)}"])


def main() -> None:
    """Print a row for each training."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="budget of a training")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rows", type=int, help="rows of each month, by chance; all if left out")
    asked = parser.parse_args()
    if not all((MONTHS / name).exists() for name in FILES):
        sys.exit(f"The real months are not in {MONTHS}.")
    print("| month | begins | valid/rmse | test/rmse | best trial | found as trial |")  # noqa: T201
    print("|---|---|---|---|---|---|")  # noqa: T201
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "data").mkdir()
        last: str | None = None
        for month, name in enumerate(FILES, start=1):
            rows = pd.read_parquet(MONTHS / name)
            if asked.rows:
                rows = rows.sample(asked.rows, random_state=asked.seed).sort_index()
            rows.to_parquet(folder / "data" / name)
            ways = [("afresh", None)] if last is None else [("afresh", None), ("warm", last)]
            for begins, start in ways:
                run_id, row = trained(folder, asked.seed, asked.seconds, start)
                print(f"| {month} | {begins} | {row} |", flush=True)  # noqa: T201
                if begins == ways[-1][0]:
                    last = run_id


if __name__ == "__main__":
    main()
