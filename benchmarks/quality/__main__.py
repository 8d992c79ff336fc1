"""Runs this project's search and every peer on the same tables, and prints who was best.

Run it with `python benchmarks/quality`. Peers run in environments of their own, which uv makes
from the head of each script in `systems/`; one whose environment can't be made is left out.
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

import board
import contest
import tables
from contest import Result, Results, System
from tables import Table

ROOT = Path(__file__).parents[2]


def main() -> None:
    """Run what is missing, and print the tables of benchmarks/README.md."""
    asked = _arguments()
    _use_cores(asked.threads)
    readers = dict(tables.of_folder(asked.tables_from) if asked.tables_from else tables.shared())
    names = _chosen(asked.tables, readers, "table")
    systems = {system.name: system for system in contest.SYSTEMS}
    chosen = [systems[name] for name in _chosen(asked.only, systems, "system")]
    players = _players(chosen, dict(asked.env))
    results = Results(asked.results)
    found: list[Result] = []
    for name in names:
        read = readers[name]
        if read is None:
            told(f"{name} is skipped: its file is not in {tables.SHARED}.")
            continue
        table = read()
        for seed in range(asked.seed, asked.seed + asked.repeat):
            found += _round(players, table, asked.budget, asked.threads, seed, results)
    told("")
    for line in board.lines(found):
        told(line)


def _round(
    players: Sequence[tuple[System, Path]],
    table: Table,
    budget: float,
    threads: int,
    seed: int,
    results: Results,
) -> list[Result]:
    """Let each system learn a table in turn, unless it has been done."""
    done = {result.key: result for result in results}
    found = []
    for system, interpreter in players:
        versions = system.versions(interpreter)
        bare = Result(system.name, table.name, table.digest, budget, threads, seed, versions)
        result = done.get(bare.key)
        if result is None or result.failed:
            result = contest.run(system, interpreter, table, budget, threads, seed)
            results.add(result)
            told(_line(result))
        found.append(result)
    return found


def _line(result: Result) -> str:
    what = f"{result.table}, {result.system}, seed {result.seed}"
    if result.failed:
        return f"{what}: failed after {result.whole:.0f} s: {result.failed}"
    return (
        f"{what}: {result.loss:.5g}, fit {result.fit:.1f} s, answer {result.predict:.2f} s,"
        f" whole {result.whole:.0f} s, load {result.load:.1f}"
    )


def _players(systems: Sequence[System], given: dict[str, Path]) -> list[tuple[System, Path]]:
    """Pair the systems with their interpreters; say which has none."""
    players = []
    for system in systems:
        interpreter = system.interpreter(given)
        if interpreter is None:
            told(f"{system.title} is left out: uv can't make the environment of {system.script}.")
        else:
            players.append((system, interpreter))
    return players


def _chosen(wanted: str | None, there: dict[str, object], what: str) -> list[str]:
    if wanted is None:
        return list(there)
    names = wanted.split(",")
    unknown = [name for name in names if name not in there]
    if unknown:
        raise SystemExit(f"No {what} is called {', '.join(unknown)}. There are {', '.join(there)}.")
    return names


def _use_cores(threads: int) -> None:
    """Leave as many cores as threads to this process and those it starts, where that is possible.

    A library that ignores the threads it is given then gains nothing by it.
    """
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python benchmarks/quality", description=__doc__)
    parser.add_argument("--only", help="systems to run, e.g. ours,flaml")
    parser.add_argument("--tables", help="tables to run, e.g. adult,ames")
    parser.add_argument("--tables-from", type=Path, help="folder of other tables", metavar="DIR")
    parser.add_argument("--budget", type=float, default=60.0, help="seconds for each")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0, help="the first one")
    parser.add_argument("--repeat", type=int, default=1, help="number of seeds")
    parser.add_argument(
        "--results", type=Path, default=ROOT / "build" / "quality", help="folder that keeps results"
    )
    parser.add_argument(
        "--env",
        type=_pair,
        action="append",
        default=[],
        metavar="NAME=PYTHON",
        help="interpreter for a system, instead of one that uv makes; repeatable",
    )
    return parser.parse_args()


def _pair(text: str) -> tuple[str, Path]:
    name, equals, path = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"must be NAME=PYTHON, got {text!r}")
    return name, Path(path).absolute()


def told(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
