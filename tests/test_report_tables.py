"""Reports of real tables, one for each kind of problem, as a browser shows them."""

import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import pytest
import yaml
from conftest import REAL_DATA
from test_report import Tables, as_shown, own_artifacts
from test_report_page import browser, look, nothing_serious

from ratchet import cost, tracking
from ratchet.project import Project
from ratchet.steps import evaluate, prepare, promote, train

pytestmark = pytest.mark.slow

__all__ = ["browser", "own_artifacts"]  # fixtures

# A page of more rows looks the same, and its search takes longer.
ROWS = 1500


@dataclass(frozen=True)
class Task:
    """A question to a table."""

    source: str
    target: str | None
    families: tuple[str, ...]
    data: dict = field(default_factory=dict)
    split: dict = field(default_factory=dict)
    problem: str | None = None


TASKS = {
    "binary": Task("adult.parquet", "income", ("logistic", "xgboost")),
    "multiclass": Task(
        "wine_quality.parquet", "quality", ("logistic", "xgboost"), problem="multiclass"
    ),
    "regression": Task("ames.parquet", "SalePrice", ("ridge", "xgboost")),
    "time": Task(
        "nyc-green-taxi/green_tripdata_2023-01.parquet",
        "minutes(lpep_dropoff_datetime - lpep_pickup_datetime)",
        ("ridge", "xgboost"),
        data={
            "filter": "1 <= target <= 60",
            "features": [
                *("PULocationID", "DOLocationID", "trip_distance", "lpep_pickup_datetime")
            ],
            "categorical": ["PULocationID", "DOLocationID"],
        },
        split={"method": "time", "column": "lpep_pickup_datetime"},
    ),
    "clustering": Task("wine_quality.parquet", None, ("kmeans",), data={"drop": ["quality"]}),
}


def run(task: Task, folder: Path) -> Project:
    """Take a table from its rows to a decision."""
    source = REAL_DATA / task.source
    if not source.exists():
        pytest.skip(f"{source} is not there")
    (folder / "data").mkdir(parents=True)
    rows = pd.read_parquet(source)
    drawn = rows.sample(min(ROWS, len(rows)), random_state=0).sort_index()
    drawn.to_parquet(folder / "data" / "rows.parquet")
    values = {
        "name": Path(task.source).stem,
        "data": {"source": "data", "target": task.target, **task.data},
        "split": task.split,
        "train": {
            "problem": "clustering" if task.target is None else task.problem,
            "families": ["baseline", *task.families],
            "search": {"budget_seconds": None, "max_trials": 5},
            "threads": 1,
        },
        "evaluate": {"resamples": 200},
        "promote": {"resamples": 200, "dirty_data": "allow", "dirty_tree": "allow"},
        "tracking": {"system_metrics": False},
    }
    (folder / "params.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    project = Project.open(folder / "params.yaml")
    tracking.connect(project)
    for step in (prepare, train, evaluate, promote):
        step.run(project)
    return project


def pictures(name: str) -> Iterator[Path]:
    """Say where pictures are kept, if RATCHET_SCREENSHOTS says that they are."""
    folder = os.environ.get("RATCHET_SCREENSHOTS")
    if folder:
        yield Path(folder) / name


@pytest.mark.parametrize("kind", list(TASKS))
def test_the_report_of_a_real_table_can_be_read_by_everybody(
    kind, browser, store, tmp_path, monkeypatch
):
    monkeypatch.setattr(cost, "_SECONDS", 0.05)
    project = run(TASKS[kind], tmp_path / "project")
    page = project.promoted / "report.html"
    text = page.read_text(encoding="utf-8")
    assert len(text) < 5_000_000
    assert len((project.promoted / "report.md").read_text(encoding="utf-8")) < 65_536
    found = json.loads((project.evaluated / "metrics.json").read_text())
    decision = json.loads((project.promoted / "decision.json").read_text())
    [(metric, told)] = re.findall(r"On [\d,]+ test rows its (\w+) is (.*?) at 95 %", text)
    assert metric == decision["metric"]
    assert as_shown(told, *(found[f"test/{metric}{end}"] for end in ("", "_low", "_high")))
    [_, *gates] = Tables(text).found["Gates"]
    assert [row[0] for row in gates] == [each["name"] for each in decision["gates"]]
    for width in (1280, 375):
        for scheme in ("light", "dark"):
            opened, faults = look(browser, page, width, scheme)
            assert faults == []
            assert opened.evaluate("document.documentElement.scrollWidth") <= width
            if width == 1280 or scheme == "light":
                nothing_serious(opened)
            for path in pictures(f"report-{kind}-{width}-{scheme}.png"):
                opened.screenshot(path=path, full_page=True)
            opened.close()
    for path in pictures(f"report-{kind}.html"):
        shutil.copy(page, path)
