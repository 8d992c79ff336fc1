"""What the tests share: an empty MLflow store, made once, and projects on tiny tables."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

ROOT = Path(__file__).parents[1]
REAL_DATA = ROOT.parent / "shared" / "data"

# An experiment, a run or a store of whoever starts the tests must not reach them.
for name in [name for name in os.environ if name.startswith(("MLFLOW_", "DVC_", "GIT_"))]:
    del os.environ[name]


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database with its tables made, built once: that takes seconds."""
    import mlflow

    path = tmp_path_factory.mktemp("mlflow") / "empty.db"
    mlflow.MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def store(empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator["object"]:
    """A private MLflow store that lives as long as the test."""
    import mlflow

    shutil.copy(empty_store, tmp_path / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    mlflow.set_tracking_uri(None)
    mlflow.set_registry_uri(None)
    yield mlflow.MlflowClient()
    while mlflow.active_run():
        mlflow.end_run()
    mlflow.set_tracking_uri(None)
    mlflow.set_registry_uri(None)


def tiny_table(rows: int = 240, seed: int = 0) -> pd.DataFrame:
    """Rows whose ``price`` follows from the other columns, but for a little noise."""
    random = np.random.default_rng(seed)
    size = random.uniform(20, 200, rows)
    town = random.choice(["Aachen", "Berlin", "Cottbus"], rows)
    sold = pd.Timestamp("2024-01-01") + pd.to_timedelta(np.sort(random.integers(0, 180, rows)), "D")
    level = pd.Series(town).map({"Aachen": 2.0, "Berlin": 4.0, "Cottbus": 1.0}).to_numpy()
    price = size * level + random.normal(0, 10, rows)
    return pd.DataFrame(
        {
            "size": size,
            "town": town,
            "rooms": random.integers(1, 6, rows),
            "sold": sold,
            "price": price.round(2),
            "dear": np.where(price > np.median(price), "yes", "no"),
        }
    )


def tiny_settings(**changes: object) -> dict:
    """Settings for ``tiny_table`` that train in a second; ``changes`` are dotted names."""
    values: dict = {
        "name": "tiny",
        "seed": 7,
        "data": {"source": "data", "target": "price", "drop": ["dear"]},
        "train": {
            "families": ["baseline", "linear"],
            "search": {"budget_seconds": None, "max_trials": 3},
        },
        "evaluate": {"resamples": 100},
        "promote": {"resamples": 200},
        "tracking": {"system_metrics": False},
    }
    for name, value in changes.items():
        *sections, last = name.split("__")
        inner = values
        for section in sections:
            inner = inner.setdefault(section, {})
        inner[last] = value
    return values


@pytest.fixture
def tiny(tmp_path: Path, store: object) -> Callable[..., Path]:
    """Make a project folder on a tiny table; give the path of its params.yaml."""

    def make(table: pd.DataFrame | None = None, **changes: object) -> Path:
        folder = tmp_path / "project"
        (folder / "data").mkdir(parents=True, exist_ok=True)
        (tiny_table() if table is None else table).to_parquet(folder / "data" / "rows.parquet")
        params = folder / "params.yaml"
        params.write_text(yaml.safe_dump(tiny_settings(**changes)), encoding="utf-8")
        return params

    return make


@pytest.fixture
def git() -> Callable[..., str]:
    """Run git in a folder with a committer of its own and no configuration of the user's."""

    def run(folder: Path, *arguments: str) -> str:
        environment = {
            **os.environ,
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_AUTHOR_NAME": "test",
            "GIT_AUTHOR_EMAIL": "test@example.com",
            "GIT_COMMITTER_NAME": "test",
            "GIT_COMMITTER_EMAIL": "test@example.com",
        }
        return subprocess.run(
            ["git", *arguments],
            cwd=folder,
            env=environment,
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    return run
