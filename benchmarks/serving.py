"""Measures `ratchet serve` beside `mlflow models serve` of the same champion, over loopback.

Run it with `python benchmarks/serving.py`; it needs wrk (`apt-get install wrk`). Both servers run
at once, and are asked in turns: what else the machine does meanwhile, it does to both. `--project`
takes a folder in which a pipeline has been run, else one is made of simulated months.
"""

import argparse
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
# Rows of a request, and requests that are under way at once.
CASES = ((1, 1), (1, 4), (1, 16), (1, 64), (100, 1), (100, 16))
TRAINING = (
    "train.search.budget_seconds=20 evaluate.report=false data.checks=null"
    " promote.dirty_data=allow promote.dirty_tree=allow"
)
TRIP = {
    "PULocationID": 74,
    "DOLocationID": 42,
    "trip_distance": 2.3,
    "lpep_pickup_datetime": "2023-03-01T08:30:00",
}
# wrk prints for people; this prints what it has counted.
SCRIPT = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = [==[%s]==]
function done(summary, latency, requests)
  local lost = summary.errors
  io.write(string.format(
    '\\n{"requests": %%d, "microseconds": %%d, "p50": %%f, "p99": %%f, "failed": %%d}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    lost.connect + lost.read + lost.write + lost.status + lost.timeout))
end
"""
PATIENCE = 300


@dataclass(frozen=True)
class Load:
    """What a load generator has counted in one round."""

    per_second: float
    """Requests that were answered in a second."""
    p50: float
    """Milliseconds until half of them were."""
    p99: float
    """Milliseconds until 99 of 100 were."""


def counted(told: str) -> Load:
    """Read what ``SCRIPT`` prints; a request that failed ends the comparison."""
    found = json.loads(told.strip().splitlines()[-1])
    if found["failed"] or not found["requests"]:
        raise SystemExit(f"{found['failed']} requests failed: this is no comparison.\n{told}")
    seconds = found["microseconds"] / 1e6
    return Load(found["requests"] / seconds, found["p50"] / 1e3, found["p99"] / 1e3)


def line(rows: int, clients: int, ours: Sequence[Load], bare: Sequence[Load]) -> str:
    """Give a line of the table: medians of the rounds, and their ratio."""

    def middle(loads: Sequence[Load], name: str) -> float:
        return statistics.median(getattr(load, name) for load in loads)

    speed = [middle(loads, "per_second") for loads in (ours, bare)]
    waits = [f"{middle(each, 'p50'):.0f} / {middle(each, 'p99'):.0f}" for each in (ours, bare)]
    return (
        f"| {rows} | {clients} | {speed[0]:.1f} | {speed[1]:.1f} | {speed[0] / speed[1]:.2f}"
        f" | {waits[0]} | {waits[1]} |"
    )


HEAD = """\
| rows a request | clients | requests/s | MLflow's | ratio | p50 / p99, ms | MLflow's |
|---|---|---|---|---|---|---|"""


def main(arguments: argparse.Namespace) -> None:
    """Train if need be, start both servers, and print the table."""
    wrk = shutil.which("wrk")
    if wrk is None:
        raise SystemExit("This needs wrk, an HTTP load generator: apt-get install wrk")
    with tempfile.TemporaryDirectory() as folder:
        project = arguments.project or trained(Path(folder))
        with served(project) as (ours, bare):
            told(HEAD)
            for rows, clients in CASES:
                script = Path(folder) / f"{rows}.lua"
                body = json.dumps({"dataframe_records": [TRIP] * rows})
                script.write_text(SCRIPT % body, encoding="utf-8")
                if asked(ours, body) != asked(bare, body):
                    raise SystemExit("The servers' answers differ: this is no comparison.")
                loads: dict[str, list[Load]] = {ours: [], bare: []}
                for turn in range(arguments.rounds):
                    for address in (ours, bare) if turn % 2 else (bare, ours):
                        command = [wrk, "-t1", f"-c{clients}", f"-d{arguments.seconds}s"]
                        command += ["--timeout", "30s", "-s", str(script), f"{address}/invocations"]
                        done = subprocess.run(command, capture_output=True, text=True, check=True)
                        loads[address].append(counted(done.stdout))
                told(line(rows, clients, loads[ours], loads[bare]))


def trained(folder: Path) -> Path:
    """Make a project of simulated months whose champion is what a search of 20 s finds."""
    shutil.copy(ROOT / "params.yaml", folder)
    ratchet = [sys.executable, str(ROOT / "src")]
    subprocess.run([*ratchet, "sample", "--out", "data"], cwd=folder, check=True)
    subprocess.run([*ratchet, "run", "--set", TRAINING], cwd=folder, check=True)
    return folder


@contextmanager
def served(project: Path) -> Iterator[tuple[str, str]]:
    """Hold both servers open; give their addresses, ours first."""
    ports = [free(), free()]
    store = f"sqlite:///{project / 'mlflow.db'}"
    commands = (
        [sys.executable, str(ROOT / "src"), "serve", "--port", str(ports[0]), "--quiet"],
        [
            *(sys.executable, "-m", "mlflow", "models", "serve", "--env-manager", "local"),
            *("-m", "models:/green-taxi-duration@champion", "--port", str(ports[1])),
        ],
    )
    # As the command line does, so that neither has an advantage of it.
    environment = os.environ | {
        "MLFLOW_TRACKING_URI": store,
        "OMP_WAIT_POLICY": "PASSIVE",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    started = [
        subprocess.Popen(
            command,
            cwd=project,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        for command in commands
    ]
    try:
        addresses = [f"http://127.0.0.1:{port}" for port in ports]
        until = time.monotonic() + PATIENCE
        for address, process in zip(addresses, started, strict=True):
            while not answers(address):
                if process.poll() is not None or time.monotonic() > until:
                    raise SystemExit(f"A server did not start: {process.args}")
                time.sleep(0.2)
        yield addresses[0], addresses[1]
    finally:
        for process in started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
            process.wait()


def free() -> int:
    """Find a port that nobody listens at."""
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        return int(place.getsockname()[1])


def answers(address: str) -> bool:
    """Tell whether a server is there."""
    try:
        with urllib.request.urlopen(f"{address}/ping", timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False


def asked(address: str, body: str) -> bytes:
    """Ask a server once."""
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{address}/invocations", body.encode(), headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return bytes(answer.read())


def told(text: str) -> None:
    """Print a line at once."""
    print(text, flush=True)  # noqa: T201


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--project", type=Path, help="folder in which a pipeline has been run")
    parser.add_argument("--rounds", type=int, default=2, help="turns of each server")
    parser.add_argument("--seconds", type=int, default=4, help="of each turn")
    main(parser.parse_args())
