"""Lays results out as the tables of benchmarks/README.md."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pandas as pd
from contest import SYSTEMS, Result

# A table with a smaller share of repeated rows shows the same twice.
MIN_REPEATS = 0.01

TITLES = {system.name: system.title for system in SYSTEMS}


def lines(results: Sequence[Result]) -> Iterator[str]:
    """Give Markdown tables: losses, ranks, losses on unseen rows, seconds."""
    losses = _mean(results, lambda result: result.loss)
    failed = {(r.table, r.system): r.failed for r in results if r.failed}
    if not losses.empty:
        yield "Test loss; smaller is better\n"
        yield from _losses(losses)
    unseen = _mean([r for r in results if r.repeats >= MIN_REPEATS], lambda r: r.loss_unseen)
    if not unseen.empty:
        share = {result.table: result.repeats for result in results}
        yield "\nTest loss on the rows that don't repeat a training row\n"
        yield from _losses(unseen, names={t: f"{t} ({share[t]:.0%} repeat)" for t in unseen.index})
    yield "\nSeconds: fit / answer / whole process\n"
    yield from _seconds(results)
    for (table, system), reason in failed.items():
        yield f"\n{TITLES[system]} failed on {table}: {reason}"


def _mean(results: Sequence[Result], take: Callable[[Result], float | None]) -> pd.DataFrame:
    """Average over seeds: rows are tables, columns systems in their usual order."""
    long = pd.DataFrame(
        [(r.table, r.system, take(r)) for r in results], columns=["table", "system", "value"]
    ).astype({"value": "float64"})
    tables, systems = long["table"].unique(), [s for s in TITLES if s in set(long["system"])]
    wide = long.groupby(["table", "system"])["value"].mean().unstack()
    return wide.reindex(index=tables, columns=systems).dropna(how="all")


def _losses(losses: pd.DataFrame, names: dict[str, str] | None = None) -> Iterator[str]:
    yield from _head("table", losses.columns)
    best = losses.min(axis=1)
    for table, row in losses.iterrows():
        cells = [
            "failed" if np.isnan(loss) else f"**{_number(loss)}**" if won else _number(loss)
            for loss, won in zip(row, row == best[table], strict=True)
        ]
        yield _row((names or {}).get(table, table), cells)
    # A system that failed comes last; how far behind it is nobody can say.
    ranks = losses.rank(axis=1, na_option="bottom").mean()
    ratios = np.exp(np.log(losses.div(best, axis=0)).mean())
    yield _row("mean rank", [f"{rank:.2f}" for rank in ranks])
    yield _row("ratio to the best, geometric mean", [f"{ratio:.4f}" for ratio in ratios])


def _seconds(results: Sequence[Result]) -> Iterator[str]:
    fit = _mean(results, lambda result: result.fit)
    predict = _mean(results, lambda result: result.predict)
    whole = _mean(results, lambda result: result.whole)
    yield from _head("table", whole.columns)
    for table, row in whole.iterrows():
        cells = [
            f"{fit[system][table]:.1f} / {predict[system][table]:.2f} / {seconds:.0f}"
            if table in fit.index and fit[system].notna()[table]
            else f"failed / {seconds:.0f}"
            for system, seconds in row.items()
        ]
        yield _row(str(table), cells)


def _head(first: str, systems: Sequence[str]) -> Iterator[str]:
    yield _row(first, [TITLES[system] for system in systems])
    yield "|---" * (len(systems) + 1) + "|"


def _row(first: str, cells: Sequence[str]) -> str:
    return f"| {first} | {' | '.join(cells)} |"


def _number(loss: float) -> str:
    if loss >= 1000:
        return f"{loss:,.0f}"
    return f"{loss:.3f}" if loss >= 1 else f"{loss:.4f}"
