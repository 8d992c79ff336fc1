"""Ratchet, by the steps that a user runs: prepare and train in a project folder.

It gets the training rows only. Its own validation rows come out of them; of its
own test part, which nothing reads here, a row of each class is the least it can do with.
"""

import os
import sys
import tempfile
from pathlib import Path

# As the command line does.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
sys.path.insert(0, str(Path(__file__).parents[3] / "src"))

import pandas as pd
import yaml
from job import Job

from ratchet import model, tracking
from ratchet.leakage import Leak
from ratchet.project import Project
from ratchet.schema import Schema
from ratchet.steps import prepare, train


def main() -> None:
    """Fit, predict, hand over."""
    job = Job.given()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = job.train()
        (folder / "data").mkdir()
        rows.to_parquet(folder / "data" / "rows.parquet", index=False)
        params = folder / "params.yaml"
        params.write_text(yaml.safe_dump(settings(job, rows, folder)), encoding="utf-8")
        project = Project.open(params)
        with job.timed("prepare"):
            prepare.run(project)
        with job.timed("fit"):
            leader = train.run(project)
        test = job.test()
        with job.timed("predict"):
            schema = Schema.load(project.prepared / "schema.json")
            fitted = tracking.load_model(str(project.trained / "model"))
            answer = model.predict(fitted, test, schema)
    if job.is_regression:
        values = answer.values
    else:
        order = [list(schema.classes).index(label) for label in job.classes]
        values = answer.probabilities[:, order]
    job.answer(
        values,
        leader=leader.name,
        valid=leader.score,
        trials=leader.n_trials,
        failed=leader.n_failed,
        fitted_rows=leader.n_rows,
        given_rows=len(rows),
    )


def settings(job: Job, rows: pd.DataFrame, folder: Path) -> dict:
    """Write params.yaml as a user would who has this table and this budget."""
    split: dict = {"method": "random" if job.is_regression else "stratified"}
    if job.time_column:
        split = {"method": "time", "column": job.time_column}
    return {
        "name": "benchmark",
        "seed": job.seed,
        "data": {
            "source": "data",
            "target": f"col({job.target!r})",
            "categorical": job.categorical,
            # The rows and columns are those that every system gets.
            "allow": {kind.value: "part of the benchmark" for kind in Leak},
        },
        "split": {**split, "test": max(1, len(job.classes)) / len(rows)},
        "train": {
            "problem": job.problem,
            "metric": job.metric,
            "threads": job.threads,
            "search": {"budget_seconds": job.budget},
        },
        "tracking": {"uri": f"sqlite:///{folder / 'mlflow.db'}"},
    }


if __name__ == "__main__":
    main()
