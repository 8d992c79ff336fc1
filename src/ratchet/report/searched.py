"""What the search did and cost, as sentences, tables and the pictures that train has drawn."""

from collections.abc import Iterator
from pathlib import Path

from ratchet.drawing import Drawing
from ratchet.gates import decimals, shown
from ratchet.report.pieces import NOTHING, Block, Cell, Row, Table, counted, cut, headings, table
from ratchet.searched import Search


def blocks(search: Search, figures: Path | None) -> tuple[Block, ...]:
    """Tell what was tried, what each family cost, and why trials failed.

    Parameters
    ----------
    search : Search
        What came of it.
    figures : Path or None
        Folder of the pictures that train has drawn; those that are there are shown.
    """
    return (
        Block("", tuple(_told(search)), drawings=_drawings(search, figures)),
        Block("What each family cost", _cost_told(search), _families(search)),
        _failed(search),
    )


def _told(search: Search) -> Iterator[str]:
    resumed = f", {search.n_resumed} of them by an interrupted run" if search.n_resumed else ""
    yield (
        f"{counted(search.n_trials, 'trial')} of {len(search.families)}"
        f" {'family' if len(search.families) == 1 else 'families'}"
        f" in {search.seconds:.1f} s, the last fits included{resumed}; {search.n_failed} failed."
    )
    if search.best is not None and search.best_after is not None:
        yield (
            f"The best single candidate came from {search.best_family}, as trial"
            f" {(search.best_trial or 0) + 1} after {search.best_after:.1f} s, with validation"
            f" {search.metric} {_score(search, search.best)}."
        )
    if len(search.members) > 1:
        yield f"The leader is made of {len(search.members)} candidates: {_members(search)}."


def _cost_told(search: Search) -> tuple[str, ...]:
    if not search.families:
        return ()
    dearest = max(search.families, key=lambda each: each.seconds)
    total = search.trial_seconds
    beside = " They ran beside each other." if total > search.seconds else ""
    share = f", {100 * dearest.seconds / total:.0f} % of it for {dearest.family}" if total else ""
    return (f"All trials together took {total:.1f} s{share}.{beside}",)


def _families(search: Search) -> Table:
    rows = [
        Row(
            (
                Cell(each.family),
                Cell(NOTHING if each.best is None else _score(search, each.best), "number"),
                Cell(f"{each.trials:,}", "number"),
                Cell(f"{each.failed:,}", "number"),
                Cell(f"{each.cut_short:,}", "number"),
                Cell(f"{each.seconds:.2f}", "number"),
            )
        )
        for each in search.families
    ]
    head = (
        "family",
        f"best validation {search.metric}",
        "trials",
        "failed",
        "cut short",
        "seconds",
    )
    return Table(headings(head, range(1, 6)), tuple(rows))


def _failed(search: Search) -> Block:
    if not search.failures:
        return Block("Failed trials", ("None.",))
    rows = [
        (", ".join(f"{count} {family}" for family, count in each.families), cut(each.reason))
        for each in search.failures
    ]
    return Block("Failed trials", (), table(("trials", "reason of the first"), rows))


def _drawings(search: Search, figures: Path | None) -> tuple[Drawing, ...]:
    """Take the pictures that train has drawn, with what is to be seen on each."""
    if figures is None or search.best is None:
        return ()
    told = {
        "search": (
            "Score over time",
            f"{counted(search.n_trials, 'trial')} over {search.seconds:.0f} s; the best"
            f" {search.metric}, {_score(search, search.best)}, was there after"
            f" {search.best_after or 0.0:.1f} s.",
        ),
        "families": (
            "Scores by family",
            "The best score of each family: "
            + ", ".join(
                f"{each.family} {_score(search, each.best)}"
                for each in search.families
                if each.best is not None
            )
            + ".",
        ),
        "hyperparameters": (
            "Score by hyperparameter",
            f"Scores of the trials of {search.best_family} by each hyperparameter;"
            f" the best had {_params(search)}.",
        ),
        "parallel": (
            "Hyperparameters in parallel",
            "A line a trial through its hyperparameters to its score, for the families that lead;"
            f" the best, of {search.best_family}, had {_params(search)}.",
        ),
        "ensemble": (
            "Shares in the answer",
            f"The leader answers with the weighted mean of {_members(search)}.",
        ),
    }
    return tuple(
        Drawing(name, title, sentence, (figures / f"{name}.svg").read_text(encoding="utf-8"))
        for name, (title, sentence) in told.items()
        if (figures / f"{name}.svg").is_file()
    )


def _members(search: Search) -> str:
    return ", ".join(f"{100 * weight:.3g} % {name}" for name, weight in search.members)


def _params(search: Search) -> str:
    return ", ".join(f"{name} {value}" for name, value in search.best_params) or "none"


def _score(search: Search, value: float) -> str:
    best = [each.best for each in search.families if each.best is not None]
    return shown(value, decimals(best))
