"""Runs one system on one table at a time, each in a process and an environment of its own."""

import hashlib
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from tables import Table

HERE = Path(__file__).parent
SOURCE = HERE.parents[1] / "src" / "ratchet"
# A system that takes longer than so many budgets is ended; starting and reading take time, too.
PATIENCE = 3
START_SECONDS = 60
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_MAX_THREADS",
    "LOKY_MAX_CPU_COUNT",
)


@dataclass(frozen=True)
class System:
    """One that takes part."""

    name: str
    """Name on the command line and in the results."""
    title: str
    """Column of the printed tables."""
    script: Path
    """What runs it."""
    packages: tuple[str, ...] = ()
    """Whose versions say which it was; none for this project, which is known by its source."""

    def interpreter(self, given: Mapping[str, Path]) -> Path | None:
        """Give a Python that has what the script needs; None where that can't be had."""
        if self.name in given:
            return given[self.name]
        if not self.packages:
            return Path(sys.executable)
        if not _said("uv", "sync", "--quiet", "--script", self.script):
            return None
        found = _said("uv", "python", "find", "--script", self.script)
        return Path(found.stdout.strip()) if found else None

    def versions(self, interpreter: Path) -> dict[str, str]:
        """Say exactly what takes part: versions, or the digest of this project's source."""
        if not self.packages:
            whole = hashlib.sha256()
            for path in sorted(SOURCE.rglob("*.py")):
                whole.update(path.read_bytes())
            return {"source": whole.hexdigest()[:12]}
        asked = (
            "import json, sys; from importlib.metadata import version;"
            " print(json.dumps({n: version(n) for n in sys.argv[1:]}))"
        )
        found = _said(interpreter, "-c", asked, *self.packages)
        if not found:
            raise SystemExit(f"{interpreter} has not all of {', '.join(self.packages)}.")
        return json.loads(found.stdout)


_SYSTEMS = HERE / "systems"
SYSTEMS = (
    System(
        "hyperopt",
        "hyperopt+xgb loop",
        _SYSTEMS / "hyperopt_loop.py",
        ("hyperopt", "xgboost"),
    ),
    System(
        "optuna",
        "Optuna by hand",
        _SYSTEMS / "optuna_script.py",
        ("optuna", "lightgbm", "xgboost"),
    ),
    System(
        "flaml",
        "FLAML",
        _SYSTEMS / "flaml_automl.py",
        ("FLAML", "lightgbm", "xgboost", "catboost"),
    ),
    System(
        "autogluon",
        "AutoGluon medium",
        _SYSTEMS / "autogluon_medium.py",
        ("autogluon.tabular", "lightgbm", "catboost", "torch"),
    ),
    System("ours", "Ratchet", _SYSTEMS / "ours.py"),
)


@dataclass(frozen=True)
class Result:
    """What one system made of one table."""

    system: str
    """Its name."""
    table: str
    """Name of the table."""
    digest: str
    """Of the table's rows."""
    budget: float
    """Seconds that it was given."""
    threads: int
    """Threads that it was given."""
    seed: int
    """Seed that it was given."""
    versions: dict[str, str]
    """What it was."""
    failed: str | None = None
    """Why there is no loss."""
    loss: float | None = None
    """On all held-out rows."""
    loss_unseen: float | None = None
    """On held-out rows that don't repeat a training row; None where none does."""
    repeats: float = 0.0
    """Share of held-out rows that repeat a training row."""
    fit: float | None = None
    """Seconds of the fit, everything included."""
    predict: float | None = None
    """Seconds of the answer about the held-out rows."""
    whole: float = 0.0
    """Seconds of the whole process: imports, reading, fit, answer."""
    load: float = 0.0
    """Processes that ran at the end of it, a minute's average: how quiet the machine was."""
    finished: str = ""
    """When, in UTC."""
    more: dict[str, Any] = field(default_factory=dict)
    """What the system says of its answer."""

    @property
    def key(self) -> tuple[Any, ...]:
        """What makes another run of it unnecessary."""
        versions = tuple(sorted(self.versions.items()))
        asked = (self.budget, self.threads, self.seed)
        return (self.system, self.table, self.digest, *asked, versions)


class Results:
    """All that was ever measured, as lines of JSON in one file."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / "results.jsonl"

    def __iter__(self) -> Iterator[Result]:
        if self._path.exists():
            for line in self._path.read_text(encoding="utf-8").splitlines():
                yield Result(**json.loads(line))

    def add(self, result: Result) -> None:
        """Keep a result, also when the next one never comes."""
        with self._path.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(asdict(result)) + "\n")


def run(
    system: System, interpreter: Path, table: Table, budget: float, threads: int, seed: int
) -> Result:
    """Let a system learn a table; what goes wrong is in the result."""
    asked = {
        "target": table.target,
        "problem": table.problem,
        "metric": table.metric,
        "classes": table.classes,
        "categorical": list(table.categorical),
        "time_column": table.time_column,
        "budget": budget,
        "threads": threads,
        "seed": seed,
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        table.train.to_parquet(folder / "train.parquet", index=False)
        table.test.drop(columns=table.target).to_parquet(folder / "test.parquet", index=False)
        (folder / "job.json").write_text(json.dumps(asked), encoding="utf-8")
        started = time.perf_counter()
        failed = _run_alone([str(interpreter), str(system.script), name], folder, budget, threads)
        found = {} if failed else _judged(table, folder)
        if found and not math.isfinite(found["loss"]):
            failed, found = "its answer is not finite", {}
        return Result(
            system=system.name,
            table=table.name,
            digest=table.digest,
            budget=budget,
            threads=threads,
            seed=seed,
            versions=system.versions(interpreter),
            failed=failed,
            whole=time.perf_counter() - started,
            load=os.getloadavg()[0],
            finished=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            **found,
        )


def _run_alone(command: list[str], folder: Path, budget: float, threads: int) -> str | None:
    """Run a command; give the reason why it failed, or None."""
    environment = {name: v for name, v in os.environ.items() if not name.startswith("MLFLOW_")}
    environment |= dict.fromkeys(THREAD_VARIABLES, str(threads))
    log = folder / "log.txt"
    with log.open("w") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = process.wait(START_SECONDS + PATIENCE * budget)
        except subprocess.TimeoutExpired:
            return f"ended when it was {PATIENCE} budgets and {START_SECONDS} s old"
        finally:
            # Its own processes must not take time from the next system.
            _end(process)
    if code:
        lines = log.read_text(errors="replace").strip().splitlines()
        return " ".join(lines[-1:])[-500:] or f"exit code {code}"
    return None


def _end(process: subprocess.Popen) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _judged(table: Table, folder: Path) -> dict[str, Any]:
    answer = pd.read_parquet(folder / "predictions.parquet").to_numpy()
    told = json.loads((folder / "answer.json").read_text(encoding="utf-8"))
    some = bool(table.repeats.any())
    return {
        "loss": table.loss(answer),
        "loss_unseen": table.loss(answer, ~table.repeats) if some else None,
        "repeats": float(table.repeats.mean()),
        "fit": told["seconds"]["fit"],
        "predict": told["seconds"]["predict"],
        "more": told["more"],
    }


def _said(*command: Any) -> subprocess.CompletedProcess[str] | None:
    """Run a short command; None if it fails or isn't there."""
    try:
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    except OSError:
        return None
    return None if done.returncode else done
