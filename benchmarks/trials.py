"""Measures how many trials a minute several workers make, against one process.

Run it with `python benchmarks/trials.py`. A trial waits until it has taken as long as it should, so
that what is measured is what it costs to hand trials out and take results back, whatever else the
machine does. With `--fits`, trials are real fits of a table of simulated taxi trips instead, in
threads and in processes, and the cores decide; with `--plain`, fits in plain Python.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

# As the command line does.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "src"))
# Workers of a cluster begin with the environment alone.
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
)

from ratchet import container, taxi, trainer  # noqa: E402
from ratchet.backends import Family, Real  # noqa: E402
from ratchet.executor.cluster import connected  # noqa: E402
from ratchet.executor.machine import idle_seconds  # noqa: E402
from ratchet.executor.processes import Processes  # noqa: E402
from ratchet.features import Preparation  # noqa: E402
from ratchet.search import Budget, Candidate, Elsewhere, Scored, Trying, search  # noqa: E402
from ratchet.settings import Execution, from_mapping  # noqa: E402
from ratchet.table import Table, prepare_table  # noqa: E402

ROWS, COLUMNS = 20_000, 20
TAXI = {
    "source": "data",
    "target": "minutes(lpep_dropoff_datetime - lpep_pickup_datetime)",
    "filter": "1 <= target <= 60",
    "features": ["PULocationID", "DOLocationID", "trip_distance", "lpep_pickup_datetime"],
    "categorical": ["PULocationID", "DOLocationID"],
}
# Seconds of a trial, and trials for each worker.
LENGTHS = ((0.1, 60), (1.0, 12), (10.0, 2))


@dataclass
class Waiting:
    """A place whose trials wait, with rows that have to be sent."""

    seconds: float = 0.1
    """How long each trial takes."""
    rows: np.ndarray = field(default_factory=lambda: np.zeros((ROWS, COLUMNS)))
    """What every worker needs."""

    def evaluate(
        self, candidate: Candidate, deadline: float | None, cuts: Sequence[int | None] = ()
    ) -> Scored:
        """Wait, and score."""
        time.sleep(float(candidate.params.get("seconds", self.seconds)))
        return Scored(float(candidate.params["x"]), 0.0)

    def hand_over(self, candidate: Candidate) -> np.ndarray:
        """Give as much as the answers of a fold."""
        return np.zeros(ROWS // 5)


@contextmanager
def processes(workers: int) -> Iterator[Processes]:
    """Start processes of this machine."""
    executor = Processes(Trying(Waiting()), workers)
    try:
        yield executor
    finally:
        executor.close()


@contextmanager
def on_dask(workers: int) -> Iterator[object]:
    """Start a cluster on this machine."""
    with connected(Execution(engine="dask", workers=workers), cores=workers) as client:
        from ratchet.executor.scheduled import Scheduled

        executor = Scheduled(client, Trying(Waiting()))
        try:
            yield executor
        finally:
            executor.close()


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def a_minute(executor: object, seconds: float, trials: int) -> float:
    """Search with trials of one length; give how many a minute there were."""
    family = Family(
        "waiting", Preparation.NATIVE, ({"x": 1.0, "seconds": seconds},), {"x": Real(0.0, 1.0)}
    )
    place = Waiting(seconds)

    def evaluate(candidate: Candidate, deadline: float | None) -> Scored:
        return place.evaluate(candidate, deadline)

    # What TPE proposes has no length of its own.
    starts = tuple({"x": float(x), "seconds": seconds} for x in np.linspace(0, 1, trials))
    shelf = [("waiting", Family(family.name, family.preparation, starts))]
    elsewhere = None if executor is None else Elsewhere(executor, lambda *_: None)  # type: ignore[arg-type]
    begun = time.monotonic()
    done = search(shelf, evaluate, float, Budget(None, trials), 1, elsewhere=elsewhere)
    assert len(done) == trials, done
    assert not any(trial.error for trial in done), done[0].error
    return 60 * trials / (time.monotonic() - begun)


def waited() -> None:
    """Print trials a minute for each place and length."""
    places: list[tuple[str, int, Callable[[], object] | None]] = [
        ("this process", 1, None),
        ("2 processes", 2, lambda: processes(2)),
        ("Dask, 1 worker", 1, lambda: on_dask(1)),
        ("Dask, 2 workers", 2, lambda: on_dask(2)),
    ]
    say("| trials run in | begins after | 0.1 s | 1 s | 10 s |")
    say("|---|---|---|---|---|")
    alone: list[float] = []
    for name, workers, opened in places:
        begun = time.monotonic()
        if opened is None:
            begins, speeds = 0.0, [a_minute(None, each, n) for each, n in LENGTHS]
            alone = speeds
        else:
            with opened() as executor:  # type: ignore[attr-defined]
                a_minute(executor, 0.0, 2 * workers)
                begins = time.monotonic() - begun
                speeds = [a_minute(executor, each, n * workers) for each, n in LENGTHS]
        told = [
            f"{speed:.1f} ({speed / one:.2f})" for speed, one in zip(speeds, alone, strict=True)
        ]
        say(f"| {name} | {begins:.1f} s | {' | '.join(told)} |")


PLUGIN = """
import time

from ratchet.backends import Backend, Family, Fitted, Real, register
from ratchet.features import Preparation


@register
class Plain(Backend):
    name = "plain"

    def families(self, task):
        return (Family("plain", Preparation.SCALED, ({"x": 1.0},), {"x": Real(0.0, 9.0)}),)

    def fit(self, request):
        from sklearn.linear_model import Ridge

        total = 0.0
        for number in range(6_000_000):
            total += number * request.params["x"]
        return Fitted(Ridge().fit(request.train.X, request.train.y), request.params)
"""
"""A family whose fits are half a second of plain Python."""


def fitted(seconds: float, rows: int, *, plain: bool) -> None:
    """Print what the same budget brings in threads and in processes, in turns."""
    frame = taxi.simulate_month("2024-01", rows=rows, seed=1).to_pandas()
    table = Table(frame, (), (len(frame),))
    cores = container.cores()
    train = {"plugins": ["plain_family"], "families": ["plain"]} if plain else {}
    say(f"{rows:,} trips, {seconds:.0f} s each, {cores} cores")
    say("| validation | trials run in | trials | score | cores idle |")
    say("|---|---|---|---|---|")
    for validation in ("holdout",) if plain else ("holdout", "folds"):
        for workers in (None, cores) * 2:
            chosen = from_mapping(
                {
                    "name": "trials",
                    "data": TAXI,
                    "train": {
                        **train,
                        "validation": validation,
                        "search": {"budget_seconds": seconds, "max_trials": 100_000},
                    },
                    "execution": {"workers": workers},
                },
                origin="benchmark",
            )
            prepared = prepare_table(table, chosen.data, chosen.train.problem)
            cut = len(prepared.frame) * 4 // 5
            parts = (prepared.frame.iloc[:cut], prepared.frame.iloc[cut:])
            begun, idle = time.monotonic(), idle_seconds(cores)
            training = trainer.train(
                *(part.reset_index(drop=True) for part in parts), prepared.schema, chosen
            )
            left = (idle_seconds(cores) - idle) / (time.monotonic() - begun)
            where = f"{workers} processes" if workers else "this process"
            n, score = len(training.trials), training.score
            say(f"| {validation} | {where} | {n} | {score:.4f} | {left:.2f} |")


def main() -> None:
    """Read the arguments and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fits", action="store_true", help="real fits in threads and processes")
    parser.add_argument("--plain", action="store_true", help="fits in plain Python, likewise")
    parser.add_argument("--seconds", type=float, default=30.0, help="budget of each search of fits")
    parser.add_argument("--rows", type=int, default=8000, help="rows of the table of fits")
    arguments = parser.parse_args()
    if not (arguments.fits or arguments.plain):
        waited()
        return
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "plain_family.py").write_text(PLUGIN, encoding="utf-8")
        sys.path.append(folder)
        fitted(arguments.seconds, arguments.rows, plain=arguments.plain)


if __name__ == "__main__":
    main()
