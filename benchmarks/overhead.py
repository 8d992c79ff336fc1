"""Measures what the step train costs on top of a bare hyperopt loop over the same trials.

Run it with `python benchmarks/overhead.py`. Every trial fits a ridge regression and then waits
until it has taken as long as it should; the step does all that it does for a user: lineage, every
trial on record, refit, the model logged and saved, MLflow in SQLite.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

# As the command line does.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import pandas as pd
import yaml
from hyperopt import STATUS_OK, Trials, fmin, hp, rand
from sklearn.linear_model import Ridge

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "src"))

from ratchet import backends  # noqa: E402
from ratchet.backends import Backend, Family, Fitted, Params, Request, Rows, Space, Task  # noqa: E402
from ratchet.features import Preparation  # noqa: E402
from ratchet.problem import ProblemType  # noqa: E402
from ratchet.project import Project  # noqa: E402
from ratchet.steps import prepare, train  # noqa: E402

TRIALS = 100
# Shorter searches show what is paid once and what is paid by the trial.
FEW_TRIALS = 20
ROWS, COLUMNS = 5000, 10
# Where a trial takes this long or longer, the step may take this many times as long as the loop.
PROMISED_FROM, PROMISED = 0.3, 1.05


class Timed(Backend):
    """Ridge regression, each fit of which takes ``seconds``."""

    name: ClassVar[str] = "timed"
    seconds: ClassVar[float] = 0.3
    fitted: ClassVar[list[Params]] = []
    starts: ClassVar[tuple[Params, ...]] = ()
    space: ClassVar[Space] = {}

    def families(self, task: Task) -> tuple[Family, ...]:
        """Describe the one family, all of whose trials are settled."""
        return (Family("timed", Preparation.SCALED, self.starts, self.space),)

    def fit(self, request: Request) -> Fitted:
        """Fit, and wait for the rest of the time."""
        self.fitted.append(request.params)
        ends = time.monotonic() + self.seconds
        model = Ridge(**request.params).fit(request.train.X, request.train.y)
        time.sleep(max(0.0, ends - time.monotonic()))
        return Fitted(model, dict(request.params))


@dataclass(frozen=True)
class Cost:
    """The same trials, both ways."""

    bare: float
    """Seconds of the bare loop, and of the fit of the best on all rows."""
    step: float
    """Seconds of the step train."""

    @property
    def extra(self) -> float:
        """Seconds on top of the bare loop."""
        return self.step - self.bare


def measure(seconds: float, n_trials: int) -> Cost:
    """Run trials of so many seconds in a bare loop, and in a new project with a new store."""
    points = [{"alpha": float(alpha)} for alpha in np.logspace(-3, 3, n_trials)]
    Timed.seconds, Timed.starts = seconds, tuple(points)
    with tempfile.TemporaryDirectory() as folder:
        project = _project(Path(folder), n_trials)
        prepare.run(project)
        bare = _bare(project, points)
        started = time.perf_counter()
        leader = train.run(project)
        step = time.perf_counter() - started
    if (leader.n_trials, leader.n_failed) != (n_trials, 0):
        raise SystemExit(
            f"The step tried {leader.n_trials} of {n_trials} settings, {leader.n_failed} failed:"
            " this is no comparison."
        )
    return Cost(bare, step)


def _project(folder: Path, n_trials: int) -> Project:
    random = np.random.default_rng(0)
    rows = pd.DataFrame(random.normal(size=(ROWS, COLUMNS)), columns=[*"abcdefghij"])
    rows["y"] = rows.sum(axis=1) + random.normal(size=ROWS)
    rows.to_csv(folder / "rows.csv", index=False)
    values = {
        "name": "overhead",
        "data": {"source": "rows.csv", "target": "y"},
        "train": {
            "families": ["timed"],
            "validation": "holdout",
            "ensemble": "none",
            "search": {"budget_seconds": None, "max_trials": n_trials},
        },
        "tracking": {"uri": f"sqlite:///{folder / 'mlflow.db'}"},
    }
    (folder / "params.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    return Project.open(folder / "params.yaml")


def _bare(project: Project, points: list[dict[str, float]]) -> float:
    """Take the time of ``fmin`` over the points, and of fitting the best on all rows."""
    parts = [prepare.read_part(project, name) for name in ("train", "valid")]
    rows = [Rows(part[[*"abcdefghij"]].to_numpy(), part["y"].to_numpy()) for part in parts]
    learn, valid = rows
    backend = Timed()

    def fit(params: Params, on: Rows) -> Ridge:
        task = Task(ProblemType.REGRESSION, len(on.y), COLUMNS)
        nominal = np.zeros(COLUMNS, dtype=bool)
        request = Request("timed", params, task, on, None, nominal, "rmse", threads=1, seed=0)
        return backend.fit(request).estimator

    settled = iter(points)

    def objective(_: dict[str, float]) -> dict[str, object]:
        # fmin draws as ever, but what is fitted are the trials of the other side.
        params = next(settled)
        error = fit(params, learn).predict(valid.X) - valid.y
        loss = float(np.sqrt(np.mean(error**2)))
        return {"loss": loss, "status": STATUS_OK, "params": params}

    started = time.perf_counter()
    trials = Trials()
    fmin(
        objective,
        {"alpha": hp.loguniform("alpha", np.log(1e-3), np.log(1e3))},
        algo=rand.suggest,  # the cheapest
        max_evals=len(points),
        trials=trials,
        rstate=np.random.default_rng(0),
        show_progressbar=False,
        verbose=False,
    )
    both = Rows(np.concatenate([r.X for r in rows]), np.concatenate([r.y for r in rows]))
    fit(trials.best_trial["result"]["params"], both)
    return time.perf_counter() - started


def main() -> int:
    """Print the table of benchmarks/README.md; 1 if the promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=3, help="runs, of which the median counts")
    parser.add_argument("--seconds", type=float, nargs="+", default=[0.3, 0.03], help="of a trial")
    asked = parser.parse_args()
    backends.register(Timed)
    measure(0.0, 2)  # The first of a process imports what the others find imported.
    told("| a trial, s | trials | bare loop, s | train, s | ratio | per trial, ms | once, s |")
    told("|---|---|---|---|---|---|---|")
    broken = []
    for seconds in asked.seconds:
        many, few = (
            [measure(seconds, n) for _ in range(asked.repeat)] for n in (TRIALS, FEW_TRIALS)
        )
        bare = statistics.median(cost.bare for cost in many)
        step = statistics.median(cost.step for cost in many)
        extra = [statistics.median(cost.extra for cost in costs) for costs in (many, few)]
        per_trial = (extra[0] - extra[1]) / (TRIALS - FEW_TRIALS)
        once = extra[0] - TRIALS * per_trial
        told(
            f"| {seconds:g} | {TRIALS} | {bare:.2f} | {step:.2f} | {step / bare:.3f}"
            f" | {per_trial * 1000:.1f} | {once:.2f} |"
        )
        if seconds >= PROMISED_FROM and step / bare > PROMISED:
            broken.append(f"{seconds:g} s")
    told(f"\nbroken promises: {'; '.join(broken) or 'none'}")
    return int(bool(broken))


def told(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
