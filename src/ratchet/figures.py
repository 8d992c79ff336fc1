"""Pictures of a search: what was tried, when, how good it was, and what came of it."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ratchet import drawing, files
from ratchet.gates import decimals, shown
from ratchet.metrics import Metric

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Together with the colours enough for every family of a search.
_MARKERS = ("o", "s", "D", "^", "v", "P", "X")
# Hyperparameters in one picture.
_PANELS = 6
# Curves or bars in one picture.
_MEMBERS = 12
# Points of a curve: more can't be seen.
_POINTS = 200
# Families in the picture of parallel coordinates, axes of each, and trials that it takes.
_BANDS = 2
_AXES = 7
_LINES = 5
# The share of a family's trials that is drawn in colour there.
_GOOD = 0.2
# A parameter whose values span more than this factor gets a logarithmic axis.
_LOG_SPAN = 20


@dataclass(frozen=True)
class Member:
    """A model of the leader's, as far as it is drawn."""

    name: str
    """What it is called."""
    weight: float = 1.0
    """Its share of the answer, 0 to 1."""
    curve: tuple[float, ...] = ()
    """Its loss after each round; empty when it has no rounds."""


def draw(
    folder: Path, trials: pd.DataFrame, metric: Metric, members: Sequence[Member] = ()
) -> tuple[Path, ...]:
    """Draw all that can be told of a search, an SVG file each.

    Parameters
    ----------
    folder : Path
        Where the files go; made when it isn't there.
    trials : pd.DataFrame
        A row a trial in the order they ended, with the columns ``backend``,
        ``family``, ``params`` (as JSON), ``score``, ``elapsed`` (in seconds)
        and ``error``; ``share`` of the rows where not every trial had all.
    metric : Metric
        What the scores measure.
    members : sequence of Member
        The models that the leader is made of.

    Returns
    -------
    tuple of Path
        The files. A figure that would be empty isn't drawn.
    """
    table = _prepared(trials, metric)
    figures: dict[str, Callable[[], Figure | None]] = {
        "search": lambda: _search(table, metric),
        "families": lambda: _families(table, metric),
        "hyperparameters": lambda: _hyperparameters(table, metric),
        "parallel": lambda: _parallel(table, metric),
        "learning_curves": lambda: _learning_curves(members, metric),
        "ensemble": lambda: _ensemble(members),
    }
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    with drawing.style():
        for name, make in figures.items():
            figure = make()
            if figure is not None:
                paths.append(folder / f"{name}.svg")
                files.write_text(paths[-1], drawing.finished(figure))
    return tuple(paths)


def _prepared(trials: pd.DataFrame, metric: Metric) -> pd.DataFrame:
    """Add the name of each trial's kind, its loss, and whether it saw all rows."""
    alone = trials.groupby("family")["backend"].transform("nunique") <= 1
    named = trials["family"].where(alone, trials["backend"] + "/" + trials["family"])
    score = pd.to_numeric(trials["score"], errors="coerce").astype("float64")
    score = score.where(np.isfinite(score))
    whole = trials["share"] >= 1 if "share" in trials else pd.Series(True, trials.index)
    return trials.assign(
        kind=named,
        score=score,
        loss=score.map(metric.loss),
        whole=whole,
        elapsed=pd.to_numeric(trials["elapsed"], errors="coerce"),
    )


def _search(table: pd.DataFrame, metric: Metric) -> "Figure | None":
    done, failed = table[table["score"].notna()], table[table["score"].isna()]
    if done.empty:
        return None
    low, high = _limits(done["score"], metric)
    longest = max(len(drawing.short(kind)) for kind in done["kind"])
    figure, axes = drawing.axes(right=0.7 + drawing.CHARACTER * max(longest, 20))
    for kind, color, marker in _styles(done, metric):
        rows = done[done["kind"] == kind]
        for whole, part in rows.groupby("whole"):
            axes.scatter(
                part["elapsed"],
                part["score"].clip(low, high),
                label=drawing.short(kind) if whole or not rows["whole"].any() else None,
                marker=marker,
                s=40,
                linewidths=0.6 if whole else 1.0,
                edgecolors=drawing.PAPER if whole else color,
                facecolors=color if whole else "none",
                zorder=3,
                clip_on=False,
            )
    ranked = done[done["whole"]] if done["whole"].any() else done
    ranked = ranked.sort_values("elapsed", kind="stable")
    best = ranked["score"].cummax() if metric.maximize else ranked["score"].cummin()
    axes.step(
        [*ranked["elapsed"], table["elapsed"].max()],
        [*best.clip(low, high), np.clip(best.iloc[-1], low, high)],
        where="post",
        color=drawing.INK,
        linewidth=1.4,
        label=f"best so far: {_number(best.iloc[-1])}",
    )
    if not failed.empty:
        axes.plot(
            failed["elapsed"],
            np.zeros(len(failed)),
            "x",
            color=drawing.FAINT,
            transform=axes.get_xaxis_transform(),
            clip_on=False,
            label=f"failed ({len(failed)})",
        )
    if not done["whole"].all():
        axes.plot([], [], "o", color=drawing.FAINT, markerfacecolor="none", label="on fewer rows")
    _scored(axes.yaxis, axes.set_ylim, low, high, metric)
    axes.set_xlim(0, 1.03 * _positive(table["elapsed"].max()))
    axes.xaxis.set_major_formatter(lambda seconds, _: f"{seconds:,g}")
    axes.set_xlabel("seconds since the search began")
    plural = "trial" if len(table) == 1 else "trials"
    drawing.titled(figure, f"{len(table)} {plural}{_outside(done, low, high)}")
    axes.legend(loc="center left", bbox_to_anchor=(1.02, 0.5), frameon=False, fontsize=8)
    return figure


def _families(table: pd.DataFrame, metric: Metric) -> "Figure | None":
    done = table[table["score"].notna()]
    if done.empty:
        return None
    kinds = _styles(table, metric)
    low, high = _limits(done["score"], metric)
    labels = [_told(kind, table, metric) for kind, *_ in kinds]
    figure, axes = drawing.axes(
        height=1.0 + 0.33 * len(kinds) + 0.2,
        left=0.3 + drawing.CHARACTER * max(map(len, labels)),
    )
    for place, (kind, color, marker) in enumerate(kinds):
        scores = table.loc[table["kind"] == kind, "score"].dropna()
        # Steps of the golden ratio: close ones lie apart, and the same search gives the same file.
        spread = 0.6 * (np.arange(1, len(scores) + 1) * 0.618034 % 1 - 0.5)
        axes.scatter(
            scores.clip(low, high),
            place + (0 * spread if len(scores) == 1 else spread),
            color=color,
            marker=marker,
            s=34,
            linewidths=0.5,
            edgecolors=drawing.PAPER,
            zorder=3,
            clip_on=False,
        )
        if len(scores):
            best = np.clip(scores.max() if metric.maximize else scores.min(), low, high)
            axes.plot([best, best], [place - 0.4, place + 0.4], color=drawing.INK, clip_on=False)
    axes.set_yticks(range(len(kinds)), labels, fontsize=9)
    axes.set_ylim(len(kinds) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)
    _scored(axes.xaxis, axes.set_xlim, low, high, metric)
    drawing.titled(figure, f"the best of each family{_outside(done, low, high)}")
    return figure


def _told(kind: str, table: pd.DataFrame, metric: Metric) -> str:
    scores = table.loc[table["kind"] == kind, "score"]
    n_failed = int(scores.isna().sum())
    best = scores.max() if metric.maximize else scores.min()
    told = drawing.short(kind) + (f" ({n_failed} failed)" if n_failed else "")
    return f"{told}  {_number(best)}" if len(scores) > n_failed else told


def _hyperparameters(table: pd.DataFrame, metric: Metric) -> "Figure | None":
    done = table[table["score"].notna() & table["whole"]]
    if done.empty:
        return None
    kind = done["kind"].iloc[int(done["loss"].argmin())]
    rows = done[done["kind"] == kind]
    values = pd.DataFrame([json.loads(each) for each in rows["params"]], index=rows.index)
    values = values.map(_plain)
    varied = [str(name) for name in values if values[name].nunique(dropna=False) > 1]
    if len(rows) < 3 or not varied:
        return None
    names = varied[:_PANELS]
    columns = min(3, len(names))
    n_rows = -(-len(names) // columns)
    figure = drawing.blank(0.5 + 1.75 * n_rows, left=0.85, right=0.15, bottom=0.55)
    figure.subplots_adjust(hspace=0.45, wspace=0.08)
    grid = figure.subplots(n_rows, columns, squeeze=False, sharey=True)
    low, high = _limits(rows["score"], metric)
    best = int(rows["loss"].argmin())
    for place, axes in enumerate(grid.flat):
        if place >= len(names):
            figure.delaxes(axes)
            continue
        drawing.bare(axes)
        at = _placed(axes, values[names[place]])
        heights = rows["score"].clip(low, high)
        axes.scatter(
            at, heights, color=drawing.COLORS[0], s=20, linewidths=0.6, edgecolors=drawing.PAPER
        )
        axes.scatter(
            at.iloc[best],
            heights.iloc[best],
            s=80,
            facecolors="none",
            edgecolors=drawing.INK,
            linewidths=1.4,
        )
        axes.set_xlabel(drawing.short(names[place]), fontsize=9)
        axes.tick_params(labelsize=8)
        if place % columns == 0:
            _scored(axes.yaxis, axes.set_ylim, low, high, metric, size=8)
    left_out = len(varied) - len(names)
    more = f"; {left_out} more not shown" if left_out else ""
    drawing.titled(figure, f"{drawing.short(kind)}: score by hyperparameter, the best ringed{more}")
    return figure


def _parallel(table: pd.DataFrame, metric: Metric) -> "Figure | None":
    """Draw a line a trial through its hyperparameters, for the families that lead."""
    done = table[table["score"].notna() & table["whole"]]
    bands = []
    for kind, *_ in _styles(done, metric):
        rows = done[done["kind"] == kind].sort_values("loss", kind="stable")
        values = pd.DataFrame([json.loads(each) for each in rows["params"]], index=rows.index)
        values = values.map(_plain)
        varied = [str(name) for name in values if values[name].nunique(dropna=False) > 1]
        if len(rows) >= _LINES and len(varied) > 1:
            bands.append((kind, rows, values[varied[: _AXES - 1]]))
    if not bands:
        return None
    del bands[_BANDS:]
    height = 0.35 + 2.7 * len(bands)
    figure = drawing.blank(height, left=0.75, right=0.75, bottom=0.3)
    figure.subplots_adjust(top=1 - 1.0 / height, hspace=0.5)
    grid = figure.subplots(len(bands), 1, squeeze=False)
    for axes, (kind, rows, values) in zip(grid.flat, bands, strict=True):
        axes.set_axis_off()
        columns = [*(_spread(values[name]) for name in values), _scale_of_scores(rows, metric)]
        heads = [*(drawing.short(str(name), 20) for name in values), metric.name]
        n_good = max(1, round(_GOOD * len(rows)))
        heights = np.column_stack([column.heights for column in columns])
        # The best last, so that they lie above the others.
        for place in reversed(range(len(rows))):
            good = place < n_good
            axes.plot(
                range(len(columns)),
                heights[place],
                color=drawing.INK if not place else drawing.COLORS[0] if good else drawing.FAINT,
                linewidth=1.8 if not place else 1.0 if good else 0.6,
                alpha=1.0 if good else 0.45,
                clip_on=False,
            )
        for place, (column, head) in enumerate(zip(columns, heads, strict=True)):
            axes.plot([place, place], [0, 1], color=drawing.INK, linewidth=0.8, clip_on=False)
            axes.text(place, 1.08, head, ha="center", va="bottom", fontsize=8, weight="bold")
            for at, told in column.ticks:
                axes.text(
                    place + 0.04,
                    at,
                    told,
                    fontsize=7,
                    va="center",
                    color=drawing.INK,
                    # Lines run under the words.
                    bbox={"facecolor": drawing.PAPER, "edgecolor": "none", "pad": 0.6},
                )
        axes.set_xlim(0, len(columns) - 1)
        axes.set_ylim(0, 1)
        told = f"{drawing.short(kind)}, {len(rows)} trials"
        axes.text(-0.075, 1.25, told, fontsize=9, va="bottom", transform=axes.transAxes)
    drawing.titled(figure, "a line a trial: the best one thick, the best fifth in colour")
    return figure


@dataclass(frozen=True)
class _Column:
    """One axis of parallel coordinates."""

    heights: np.ndarray
    """Where each trial lies, from 0 to 1."""
    ticks: tuple[tuple[float, str], ...]
    """Where words stand, and which."""


def _spread(values: pd.Series) -> _Column:
    """Place a hyperparameter's values from 0 to 1."""
    numbers = pd.to_numeric(values, errors="coerce")
    if numbers.notna().all() and not values.map(lambda each: isinstance(each, bool)).any():
        low, high = float(numbers.min()), float(numbers.max())
        scaled = numbers.to_numpy(dtype=float)
        if low > 0 and high / low > _LOG_SPAN:
            scaled = np.log(scaled)
        heights = (scaled - scaled.min()) / _positive(float(np.ptp(scaled)))
        return _Column(heights, ((0.0, f"{low:.3g}"), (1.0, f"{high:.3g}")))
    told = values.map(lambda each: drawing.short(str(each), 12))
    kinds = sorted(told.unique())
    at = {kind: place / max(1, len(kinds) - 1) for place, kind in enumerate(kinds)}
    return _Column(told.map(at).to_numpy(dtype=float), tuple((at[kind], kind) for kind in kinds))


def _scale_of_scores(rows: pd.DataFrame, metric: Metric) -> _Column:
    """Place scores so that the better ones are above."""
    low, high = _limits(rows["score"], metric)
    worst, best = (low, high) if metric.maximize else (high, low)
    heights = (rows["score"].clip(low, high) - worst) / ((best - worst) or 1.0)
    places = decimals([low, high], [high - low])
    edge = "" if rows["score"].between(low, high).all() else " or worse"
    return _Column(
        heights.to_numpy(),
        ((0.0, _trimmed(shown(worst, places)) + edge), (1.0, _trimmed(shown(best, places)))),
    )


def _learning_curves(members: Sequence[Member], metric: Metric) -> "Figure | None":
    drawn = [member for member in members if np.isfinite(member.curve).sum() > 1][:_MEMBERS]
    if not drawn:
        return None
    below = 0.17 * len(drawn)
    figure, axes = drawing.axes(3.6 + below, bottom=0.65 + below, width=drawing.NARROW)
    sign = -1.0 if metric.maximize else 1.0
    ends, starts = [], []
    for place, member in enumerate(drawn):
        losses = np.asarray(member.curve, dtype=float)
        rounds = np.flatnonzero(np.isfinite(losses))
        best = rounds[np.argmin(losses[rounds])]
        # The axis is logarithmic, and so are the gaps between the points.
        even = np.geomspace(1, len(rounds), min(_POINTS, len(rounds))).round().astype(int) - 1
        kept = np.union1d(rounds[even], best)
        color = drawing.COLORS[place % len(drawing.COLORS)]
        axes.plot(
            kept + 1,
            sign * losses[kept],
            color=color,
            linestyle=("-", "--", ":")[place // len(drawing.COLORS) % 3],
            linewidth=1.4,
            label=f"{drawing.short(member.name)}: {_number(sign * losses[best])} at {best + 1}",
        )
        axes.plot(best + 1, sign * losses[best], "o", color=color, markersize=5)
        ends.append(losses[best])
        # Where a tenth of the rounds is over: the first ones would squeeze the rest.
        starts.append(losses[rounds[len(rounds) // 10]])
    worst = max(*starts, *ends)
    low, high = sorted((sign * min(ends), sign * worst))
    _logarithmic(axes, 1.0, 3.0)
    axes.set_xlim(
        left=1 + min(np.flatnonzero(np.asarray(each.curve) <= worst)[0] for each in drawn)
    )
    _scored(axes.yaxis, axes.set_ylim, low, high, metric)
    axes.set_xlabel("round")
    drawing.titled(figure, "learning curves, the best round marked")
    figure.legend(loc="lower center", frameon=False, fontsize=8.5, labelspacing=0.3)
    return figure


def _ensemble(members: Sequence[Member]) -> "Figure | None":
    if len(members) < 2:
        return None
    ranked = sorted(members, key=lambda member: -member.weight)
    drawn = ranked[:_MEMBERS]
    names = [drawing.short(member.name) for member in drawn]
    figure, axes = drawing.axes(
        height=1.2 + 0.33 * len(drawn), left=0.3 + drawing.CHARACTER * max(map(len, names))
    )
    weights = [member.weight for member in drawn]
    bars = axes.barh(range(len(drawn)), weights, color=drawing.COLORS[0], height=0.7)
    axes.bar_label(bars, [f"{100 * weight:.3g} %" for weight in weights], padding=3, fontsize=9)
    axes.set_yticks(range(len(drawn)), names, fontsize=9)
    axes.set_ylim(len(drawn) - 0.5, -0.5)
    axes.set_xlim(0, 1.15 * _positive(max(weights)))
    axes.grid(axis="y", visible=False)
    axes.xaxis.set_major_formatter(lambda weight, _: f"{100 * weight:.3g} %")
    axes.set_xlabel("share of the answer")
    left_out = len(ranked) - len(drawn)
    more = f", {left_out} smaller ones not shown" if left_out else ""
    drawing.titled(figure, f"ensemble of {len(ranked)} models{more}")
    return figure


def _styles(table: pd.DataFrame, metric: Metric) -> list[tuple[str, str, str]]:
    """Give each kind of model a colour and a marker, the best first; failed ones come last."""
    ranked = table.groupby("kind")["loss"].min().sort_values(kind="stable", na_position="last")
    return [
        (str(kind), drawing.COLORS[place % len(drawing.COLORS)], _MARKERS[place % len(_MARKERS)])
        for place, kind in enumerate(ranked.index)
    ]


def _limits(scores: pd.Series, metric: Metric) -> tuple[float, float]:
    """Find the part of the axis that is worth showing: a baseline must not squeeze the rest."""
    losses = scores.dropna().map(metric.loss)
    if losses.empty:
        return 0.0, 1.0
    quarter, three_quarters = losses.quantile([0.25, 0.75])
    worst = min(losses.max(), three_quarters + 1.5 * (three_quarters - quarter))
    ends = sorted(metric.loss(each) for each in (losses.min(), worst))
    return ends[0], ends[1]


def _scored(
    axis: Any,
    limit: Callable[[float, float], Any],
    low: float,
    high: float,
    metric: Metric,
    size: float = 10,
) -> None:
    """Make an axis one of scores."""
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 0.5
    limit(low - margin, high + margin)
    places = decimals([low, high], [high - low])
    axis.set_major_formatter(lambda value, _: _trimmed(shown(value, places)))
    axis.get_major_locator().set_params(nbins=6)
    better = "larger" if metric.maximize else "smaller"
    axis.set_label_text(f"{metric.name} ({better} is better)", fontsize=size)


def _outside(done: pd.DataFrame, low: float, high: float) -> str:
    outside = int(((done["score"] < low) | (done["score"] > high)).sum())
    return f"; {outside} far off, drawn at the edge" if outside else ""


def _logarithmic(axes: "Axes", *ticks: float) -> None:
    from matplotlib.ticker import LogLocator

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=ticks, numticks=6))
    axes.minorticks_off()
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,g}")


def _placed(axes: "Axes", values: pd.Series) -> pd.Series:
    """Set up a panel's x axis for the values of a hyperparameter, and say where they lie."""
    numbers = pd.to_numeric(values, errors="coerce")
    if numbers.notna().all() and not values.map(lambda each: isinstance(each, bool)).any():
        if numbers.min() > 0 and numbers.max() / numbers.min() > _LOG_SPAN:
            _logarithmic(axes, 1.0)
        return numbers.astype("float64")
    told = values.map(lambda each: drawing.short(str(each), 12))
    kinds = sorted(told.unique())
    axes.set_xticks(range(len(kinds)), kinds)
    axes.set_xlim(-0.6, len(kinds) - 0.4)
    return told.map({kind: float(place) for place, kind in enumerate(kinds)})


def _plain(value: Any) -> Any:
    """Turn a missing value, and one of several parts, into text."""
    if isinstance(value, Mapping | Sequence) and not isinstance(value, str):
        return json.dumps(value)
    return "default" if value is None or value != value else value


def _number(value: float) -> str:
    return shown(value, decimals([value]))


def _trimmed(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text else text


def _positive(value: float) -> float:
    return value if value > 0 else 1.0
