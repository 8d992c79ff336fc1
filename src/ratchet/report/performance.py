"""How good a leader is: curves, matrices and clouds of its answers about the test rows."""

import re
from collections.abc import Iterable, Sequence
from html import unescape
from math import inf, log, nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ratchet import curves, drawing
from ratchet.curves import (
    Bin,
    Binary,
    ByClass,
    Cloud,
    Clusters,
    Confusion,
    Curve,
    Histogram,
    Multiclass,
    OverTime,
    Performance,
    Ranking,
    Regression,
    Reliability,
    Thresholds,
)
from ratchet.drawing import COLORS, FAINT, INK, PAPER, Drawing, short
from ratchet.gates import decimals, shown
from ratchet.report.pieces import (
    MOST_LINES,
    NOTHING,
    Block,
    Cell,
    Row,
    Table,
    counted,
    cut,
    headings,
    number,
    table,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEARNING_CURVES = Path("figures") / "learning_curves.svg"
"""Where train has drawn its learning curves."""

# Share of all rows at which gain and lift are told.
_LOOKED_AT = 0.1
# Share of false alarms at which a ROC curve is told.
_ALARMS = 0.05
# Fewer rows than this share say little of how much they are lifted.
_FROM = 0.01
# Clusters that have a colour.
_COLORED = len(COLORS)
# Clusters with a bar of their own.
_BARS = 20
# How dense the densest cell is: words in ink must be read on it.
_DENSEST = 0.6
# Steps of density in a cloud.
_DENSITIES = 5
# Words on a picture, in points.
_SMALL = 8.5
# Width of a digit of that size, and what an axis's name takes, in inches.
_DIGIT = 0.075
_NAME = 0.4

_ROUND = re.compile(r"<text[^>]*>([^<]+: [^<]+ at \d+)</text>")


def blocks(part: Performance, trained: Path | None = None) -> tuple[Block, ...]:
    """Lay out how good a leader is.

    Parameters
    ----------
    part : Performance
        What evaluate found out.
    trained : Path, optional
        Folder of train's outputs, whose learning curves are shown; None shows none.
    """
    with drawing.style():
        return tuple(_blocks(part, trained))


def _blocks(part: Performance, trained: Path | None) -> list[Block]:
    match part.answers:
        case Binary() as answers:
            found = _of_two(answers, part)
        case Multiclass() as answers:
            found = _of_several(answers, part)
        case Regression() as answers:
            found = _of_quantities(answers, part)
        case Clusters() as answers:
            found = _of_clusters(answers, part)
    if part.over_time is not None and len(part.over_time.spans) > 1:
        found.append(
            Block(
                "Over time",
                (
                    f"Each span has its own rows of the test set; {_intervals(part)} take them"
                    " as independent of each other.",
                ),
                drawings=(_over_time(part.over_time),),
            )
        )
    curve = None if trained is None else learning_curves(trained)
    if curve is not None:
        found.append(
            Block(
                "While it learned",
                ("Validation scores of the members of the leader, by round.",),
                drawings=(curve,),
            )
        )
    return found


def learning_curves(trained: Path) -> Drawing | None:
    """Take over the learning curves that train has drawn; None where no member has any.

    Parameters
    ----------
    trained : Path
        Folder of train's outputs.
    """
    path = trained / LEARNING_CURVES
    if not path.exists():
        return None
    svg = path.read_text(encoding="utf-8")
    best = [unescape(found).replace(" at ", " at round ") for found in _ROUND.findall(svg)]
    told = f"Best validation score of each member: {'; '.join(best)}."
    return Drawing("learning_curves", "Learning curves", told, svg)


# Two classes


def _of_two(answers: Binary, part: Performance) -> list[Block]:
    positive = answers.labels[1]
    found = []
    if answers.ranking is None or answers.gain is None:
        found.append(Block("Ranking", (f"All test rows are of one class: {_only(answers)}.",)))
    else:
        found.append(
            Block(
                f"Ranking: rows of class {positive} come first",
                (
                    f"Of two rows, one of class {positive} and one of class {answers.labels[0]},"
                    f" the first gets the higher probability in {_percent(answers.ranking.auc)}"
                    f" of all cases (roc_auc {_number(answers.ranking.auc)}).",
                ),
                drawings=(
                    _roc_of_one(answers.ranking),
                    _precision_recall_of_one(answers.ranking),
                    _gain(answers.gain, answers.ranking),
                    _lift(answers.gain, answers.ranking),
                ),
            )
        )
    found.append(
        Block(
            "Probabilities",
            (_calibrated(answers.reliability, f"class {positive}", part),),
            drawings=(
                _reliability(answers.reliability, f"class {positive}"),
                _spread(answers.scores, answers.labels),
            ),
        )
    )
    lines: tuple[str, ...] = ()
    drawings = [_matrix(answers.confusion)]
    if answers.thresholds is not None:
        lines = (_decided(answers.thresholds, positive),)
        drawings.append(_thresholds(answers.thresholds, positive))
    found.append(
        Block(
            "Decisions",
            lines,
            table(
                ("actual", *(f"predicted {label}" for label in answers.labels), "right"),
                [
                    (label, *(f"{count:,}" for count in line), _share(line[place], sum(line)))
                    for place, (label, line) in enumerate(
                        zip(answers.labels, answers.confusion.counts, strict=True)
                    )
                ],
                numbers=True,
            ),
            tuple(drawings),
        )
    )
    return found


def _only(answers: Binary) -> str:
    counts = answers.confusion.counts
    return answers.labels[1] if sum(counts[1]) else answers.labels[0]


def _roc_of_one(of: Ranking) -> Drawing:
    figure, axes = _unit_square("false alarms: share of the others", "found: share of the class")
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1, linestyle="--")
    axes.plot(of.roc.x, of.roc.y, color=COLORS[0], linewidth=1.8)
    axes.fill_between(of.roc.x, of.roc.y, color=COLORS[0], alpha=0.12, linewidth=0)
    _say(axes, f"area {_number(of.auc)}", right=True)
    axes.text(0.52, 0.44, "by chance", fontsize=_SMALL, rotation=38, color=FAINT)
    found = _at(of.roc, _ALARMS)
    return _drawn(
        figure,
        "roc",
        "ROC curve",
        f"The area under the ROC curve is {_number(of.auc)}, where chance has 0.5. With"
        f" {_percent(_ALARMS)} of the others taken for class {of.label}, {_percent(found)} of it"
        " is found.",
    )


def _precision_recall_of_one(of: Ranking) -> Drawing:
    figure, axes = _unit_square(
        "recall: share of the class found", "precision: share that is right"
    )
    axes.axhline(of.share, color=FAINT, linewidth=1, linestyle="--")
    _beside_a_level(axes, of.share, f"by chance {_percent(of.share)}")
    axes.plot(of.precision_recall.x, of.precision_recall.y, color=COLORS[0], linewidth=1.8)
    # A curve of rare rows falls at once, one of frequent ones stays above the lower left corner.
    rare = of.share < 0.2
    _say(axes, f"average {_number(of.average_precision)}", right=rare, top=rare)
    return _drawn(
        figure,
        "precision_recall",
        "Precision and recall",
        f"The average precision is {_number(of.average_precision)}; by chance it would be"
        f" {_number(of.share)}, the share of class {of.label} in the rows. To find half of it,"
        f" {_percent(_at(of.precision_recall, 0.5))} of what is taken for it is right.",
    )


def _gain(of: Curve, ranking: Ranking) -> Drawing:
    figure, axes = _unit_square("rows looked at, likeliest first", "found: share of the class")
    axes.plot([0, ranking.share, 1], [0, 1, 1], color=FAINT, linewidth=1, linestyle=":")
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1, linestyle="--")
    axes.plot(of.x, of.y, color=COLORS[0], linewidth=1.8)
    axes.text(0.52, 0.44, "by chance", fontsize=_SMALL, rotation=38, color=FAINT)
    found = _at(of, _LOOKED_AT)
    axes.plot(_LOOKED_AT, found, "o", color=COLORS[0], markersize=5, zorder=4)
    _say(axes, f"{_percent(found)} in the first {_percent(_LOOKED_AT)}", right=True)
    return _drawn(
        figure,
        "gain",
        "Cumulative gain",
        f"The {_percent(_LOOKED_AT)} of the rows with the highest probability hold"
        f" {_percent(found)} of class {ranking.label}; a perfect order would put"
        f" {_percent(min(1.0, _LOOKED_AT / ranking.share))} there.",
    )


def _lift(of: Curve, ranking: Ranking) -> Drawing:
    points = [(x, y / x) for x, y in zip(of.x, of.y, strict=True) if x >= _FROM]
    top = max(1.0, *(height for _, height in points)) * 1.12
    figure, axes = _panel("rows looked at, likeliest first", "lift: times as many as by chance")
    axes.axhline(1, color=FAINT, linewidth=1, linestyle="--")
    axes.plot(*zip(*points, strict=True), color=COLORS[0], linewidth=1.8)
    _percents(axes.xaxis)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, top)
    lift = _at(of, _LOOKED_AT) / _LOOKED_AT
    axes.plot(_LOOKED_AT, lift, "o", color=COLORS[0], markersize=5, zorder=4)
    _say(axes, f"{lift:.2f} in the first {_percent(_LOOKED_AT)}", right=True, top=True)
    return _drawn(
        figure,
        "lift",
        "Lift",
        f"Among the {_percent(_LOOKED_AT)} of the rows with the highest probability, class"
        f" {ranking.label} is {lift:.2f} times as frequent as among all.",
    )


def _calibrated(of: Reliability, what: str, part: Performance) -> str:
    inside = sum(_holds(each) for each in of.bins)
    return (
        f"The probability of {what} and how often it is right differ by"
        f" {_number(of.error)} in the mean (calibration_error); brier is {_number(of.brier)}."
        f" In {inside} of {counted(len(of.bins), 'bin')} the {_percent(part.confidence)} interval"
        " of the frequency holds the mean probability."
    )


def _holds(each: Bin) -> bool:
    low, high = each.score_low, each.score_high
    return low is not None and high is not None and low <= each.value <= high


def _reliability(of: Reliability, what: str) -> Drawing:
    figure, axes = _unit_square("probability, mean of a bin", "frequency")
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1, linestyle="--")
    likely = sum(each.value for each in of.bins) > len(of.bins) / 2
    at = (0.2, 0.03) if likely else (0.68, 0.5)
    axes.text(*at, "as it should be", fontsize=_SMALL, rotation=38, color=FAINT)
    _whiskers(axes, of.bins)
    rows = [each.rows for each in of.bins]
    few, many = min(rows), max(rows)
    told = f"{few:,}" if few == many else f"{few:,} to {many:,}"
    axes.text(0.03, 0.93, f"{counted(len(rows), 'bin')} of {told} rows", fontsize=_SMALL)
    _say(axes, f"error {_number(of.error)}", right=True)
    worst = max(of.bins, key=lambda each: abs(each.value - (each.score or 0)))
    return _drawn(
        figure,
        "calibration",
        "Calibration",
        f"The calibration error of the probability of {what} is {_number(of.error)}. The bin that"
        f" is farthest off has the mean probability {_number(worst.value)} and the frequency"
        f" {_number(worst.score)}, in {counted(worst.rows, 'row')}.",
    )


def _spread(of: Histogram, labels: tuple[str, str]) -> Drawing:
    figure, axes = _panel("probability", "share of the class's rows", height=3.7, top=0.65)
    looks = (COLORS[1], "--"), (COLORS[0], "-")
    for rows, (color, stroke) in zip(of.rows, looks, strict=True):
        shares = [count / max(1, sum(rows)) for count in rows]
        axes.stairs(shares, of.edges, color=color, fill=True, alpha=0.25)
        axes.stairs(shares, of.edges, color=color, linewidth=1.5, linestyle=stroke)
    _percents(axes.xaxis)
    _percents(axes.yaxis)
    axes.set_xlim(0, 1)
    axes.set_ylim(bottom=0)
    _key(figure, [(short(label, 18), *look) for label, look in zip(labels, looks, strict=True)])
    middle = " and ".join(
        f"{_number(median)} for class {label}"
        for label, median in zip(labels, of.medians, strict=True)
        if median is not None
    )
    return _drawn(
        figure,
        "scores",
        f"Probability of class {short(labels[1], 18)}",
        f"The median probability of class {labels[1]} is {middle}.",
    )


def _decided(of: Thresholds, positive: str) -> str:
    where = (
        f"Class {positive} is predicted from a probability of {of.used:.3g} on, which was chosen"
        " on rows that the model had not learned from"
        if of.tuned
        else f"Class {positive} is predicted where it is the likelier one"
    )
    return (
        f"{where}: for {_percent(of.said)} of the test rows. Of these {_percent(of.precision_used)}"
        f" are right (precision), and {_percent(of.recall_used)} of the class are found (recall)."
    )


def _thresholds(of: Thresholds, positive: str) -> Drawing:
    figure, axes = _panel(f"threshold of class {short(positive, 20)}", "", height=3.9, top=0.65)
    lines = (
        ("precision", COLORS[0], "-", of.precision),
        ("recall", COLORS[1], "--", of.recall),
        (of.metric, COLORS[2], "-", of.score),
    )
    for _, color, stroke, heights in lines:
        axes.plot(of.at, heights, color=color, linewidth=1.6, linestyle=stroke)
    lowest = min(0.0, *of.score)
    axes.axvline(of.used, color=INK, linewidth=1)
    axes.plot(of.used, of.score_used, "o", color=COLORS[2], markersize=6, zorder=4)
    left = of.used > sum(axes.get_xlim()) / 2
    axes.annotate(
        f"used: {of.used:.3g}",
        (of.used, lowest + 0.02),
        (-5 if left else 5, 0),
        textcoords="offset points",
        ha="right" if left else "left",
        fontsize=_SMALL,
    )
    axes.set_ylim(lowest, 1.02)
    _key(figure, [(name, color, stroke) for name, color, stroke, _ in lines])
    better = (
        ""
        if of.best is None or of.score_best is None
        else f" The best on these very rows would be {_number(of.score_best)} at"
        f" {of.best:.3g}, which nobody could know before."
    )
    return _drawn(
        figure,
        "thresholds",
        "Decisions by threshold",
        f"At the threshold used, {of.used:.3g}, {of.metric} is {_number(of.score_used)},"
        f" precision {_number(of.precision_used)} and recall {_number(of.recall_used)}.{better}",
    )


# Several classes


def _of_several(answers: Multiclass, part: Performance) -> list[Block]:
    found = [
        Block(
            "Probabilities",
            (_calibrated(answers.reliability, "the likeliest class", part),),
            drawings=(_reliability(answers.reliability, "the likeliest class"),),
        )
    ]
    if answers.rankings:
        hardest = answers.rankings[0]
        found.insert(
            0,
            Block(
                "Each class against the others",
                (
                    f"Class {hardest.label} is the hardest to tell from the others"
                    f" (area under its ROC curve {_number(hardest.auc)}).",
                    *_left_out(answers),
                ),
                drawings=(
                    _rocs(answers.rankings, answers.ranked),
                    _precision_recalls(answers.rankings, answers.ranked),
                ),
            ),
        )
    rows = [
        (
            each.label,
            number(each.precision, 4),
            number(each.recall, 4),
            number(each.f1, 4),
            number(each.auc, 4),
            f"{each.rows:,}",
            f"{each.said:,}",
        )
        for each in _ordered(answers.classes)
    ]
    head = ("class", "precision", "recall", "f1", "roc_auc", "rows", "predicted")
    found.append(Block("By class", (), table(head, rows, numbers=True)))
    confusion = answers.confusion
    mistakes = _mistakes(confusion) if confusion.mistakes else None
    lines = (
        f"{_right(confusion, part.rows)}."
        + (" The most frequent mistakes:" if confusion.mistakes else ""),
    )
    found.append(Block("Which are taken for which", lines, mistakes, (_matrix(confusion),)))
    return found


def _mistakes(of: Confusion) -> Table:
    lines = [
        Row(
            (
                Cell(cut(each.actual)),
                Cell(cut(each.said)),
                Cell(f"{each.rows:,}", "number"),
                Cell(f"{100 * each.share:.1f} %", "number"),
            )
        )
        for each in of.mistakes
    ]
    head = headings(("actual", "predicted", "rows", "of the actual class"), (2, 3))
    return Table(head, tuple(lines))


def _ordered(of: Sequence[ByClass]) -> Sequence[ByClass]:
    """Put the hardest classes first where a table doesn't hold all."""
    if len(of) <= MOST_LINES:
        return of
    return sorted(of, key=lambda each: inf if each.f1 is None else each.f1)


def _left_out(answers: Multiclass) -> tuple[str, ...]:
    drawn, absent = len(answers.rankings), len(answers.classes) - answers.ranked
    told = []
    if answers.ranked > drawn:
        told.append(f"Of {answers.ranked} classes the {drawn} hardest are drawn.")
    if absent:
        told.append(
            f"{counted(absent, 'class').replace('classs', 'classes')} can't be ranked: the test"
            " rows are without it, or are of it alone."
        )
    return tuple(told)


def _rocs(of: Sequence[Ranking], ranked: int) -> Drawing:
    figure, axes = _unit_square(
        "false alarms: share of the others", "found: share of the class", under=len(of)
    )
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1, linestyle="--")
    for each, color, line in _lines(of):
        axes.plot(each.roc.x, each.roc.y, color=color, linestyle=line, linewidth=1.5)
    _legend(figure, [(each.label, each.auc) for each in of])
    return _drawn(
        figure,
        "roc",
        _title("ROC curves", "areas", len(of), ranked),
        "Area under the ROC curve of each class against the others: "
        + _listed((each.label, each.auc) for each in of),
    )


def _precision_recalls(of: Sequence[Ranking], ranked: int) -> Drawing:
    figure, axes = _unit_square(
        "recall: share of the class found", "precision: share that is right", under=len(of)
    )
    for each, color, line in _lines(of):
        curve = each.precision_recall
        axes.plot(curve.x, curve.y, color=color, linestyle=line, linewidth=1.5)
    _legend(figure, [(each.label, each.average_precision) for each in of])
    return _drawn(
        figure,
        "precision_recall",
        _title("Precision-recall curves", "averages", len(of), ranked),
        "Average precision of each class against the others: "
        + _listed((each.label, each.average_precision) for each in of),
    )


def _title(what: str, numbers: str, drawn: int, ranked: int) -> str:
    return (
        f"{what}, with {numbers}" if drawn == ranked else f"{what}: the hardest {drawn} of {ranked}"
    )


def _lines(of: Sequence[Ranking]) -> Iterable[tuple[Ranking, str, str]]:
    kinds = ("-", "--", "-.", ":", "-", "--")
    return zip(of, COLORS, kinds, strict=False)


def _listed(of: Iterable[tuple[str, float]]) -> str:
    return "; ".join(f"{label}: {_number(value)}" for label, value in of) + "."


def _right(of: Confusion, rows: int) -> str:
    return f"Of {counted(rows, 'row')} {_percent(of.right / rows)} get their own class"


def _matrix(of: Confusion) -> Drawing:
    """Draw counts, each cell as dense as its share of the actual class."""
    names = [short(label, 14) for label in of.labels]
    k, longest = len(names), max(map(len, names))
    flat = longest * drawing.CHARACTER > 2.8 / k
    left = 0.6 + drawing.CHARACTER * longest
    width = max(drawing.NARROW, left + 0.4 * k + 0.2)
    bottom = 0.6 + (0.8 * drawing.CHARACTER * longest if flat else 0.0)
    figure, axes = drawing.axes(0.45 + bottom + max(1.9, 0.34 * k), left, 0.2, bottom, width=width)
    axes.grid(visible=False)
    for i, line in enumerate(of.counts):
        for j, count in enumerate(line):
            share = count / max(1, sum(line))
            drawing.squares(
                axes, [j], [i], 1, 1, COLORS[0] if i == j else COLORS[1], _DENSEST * share
            )
            said = f"{count:,}" if k > 4 or not sum(line) else f"{count:,}\n{_percent(share)}"
            if count or k <= 4:
                size = 10 if k <= 4 else 8.5 if k <= 8 else 7.5
                axes.text(j + 0.5, i + 0.5, said, ha="center", va="center", fontsize=size, zorder=4)
    axes.set_xticks([j + 0.5 for j in range(k)], names, rotation=45 if flat else 0)
    for label in axes.get_xticklabels() if flat else ():
        label.set_horizontalalignment("right")
        label.set_rotation_mode("anchor")
    axes.set_yticks([i + 0.5 for i in range(k)], names)
    axes.tick_params(length=0, labelsize=_SMALL)
    axes.set_xlim(0, k)
    axes.set_ylim(k, 0)
    axes.set_xlabel("predicted", fontsize=9)
    axes.set_ylabel("actual", fontsize=9)
    rows = sum(map(sum, of.counts))
    told = [f"{_right(of, rows)}."]
    if k == 2:
        told += [
            f"Of {counted(sum(line), 'row')} of class {of.labels[i]}, {line[1 - i]:,} are taken"
            f" for class {of.labels[1 - i]}."
            for i, line in enumerate(of.counts)
        ]
    elif of.mistakes:
        most = of.mistakes[0]
        told.append(
            f"The most frequent mistake: {counted(most.rows, 'row')} of class {most.actual}"
            f" ({_percent(most.share)} of it) taken for class {most.said}."
        )
    if of.together:
        told.append(f"{of.together} classes that are confused less share the last line.")
    title = "Confusion matrix" + (f", {of.together} classes together" if of.together else "")
    return _drawn(figure, "confusion", title, " ".join(told))


# Quantities


def _of_quantities(answers: Regression, part: Performance) -> list[Block]:
    low, high = answers.quantiles[1], answers.quantiles[-2]
    same = decimals(answers.quantiles)
    places = decimals((answers.mae, answers.bias), [answers.bias])
    lines = [
        f"An answer is off by {shown(answers.mae, places)} in the mean (mae). Nine in ten errors"
        f" lie between {_number(low)} and {_number(high)}: an error is the actual value less the"
        " predicted one, so that it is above 0 where the answer was too small.",
    ]
    if answers.largest:
        most = answers.largest[0]
        lines.append(
            f"The {_percent(most.share)} of the rows with the largest errors hold"
            f" {_percent(most.absolute)} of the sum of absolute errors and"
            f" {_percent(most.squared)} of that of squared ones."
        )
    if part.coverage is not None:
        lines.append(
            f"Intervals of {100 * part.confidence:g} % around single answers, as predict gives"
            f" them, hold the actual value of {_percent(part.coverage.share)} of the rows. In the"
            f" mean they are {_number(part.coverage.width)} wide."
        )
    return [
        Block(
            "Predicted and actual",
            (),
            drawings=(_predicted(answers, part.rows), _residuals(answers)),
        ),
        Block(
            "Errors",
            tuple(lines),
            table(
                ("quantile", "error"),
                [
                    (_percent(share), shown(error, same))
                    for share, error in zip(curves.QUANTILES, answers.quantiles, strict=True)
                ],
                numbers=True,
            ),
            (_errors(answers), _by_size(answers, part)),
        ),
    ]


def _predicted(of: Regression, rows: int) -> Drawing:
    name = short(of.target, 24)
    figure, axes = _panel(f"predicted {name}", f"actual {name}", height=4.1)
    low = min(*of.predicted.x, *of.predicted.y)
    high = max(*of.predicted.x, *of.predicted.y)
    high += max(of.predicted.width, of.predicted.height)
    _cloud(axes, of.predicted, (low, high), (low, high))
    axes.plot([low, high], [low, high], color=INK, linewidth=1)
    axes.annotate(
        "exact",
        (high, high),
        (-4, -32),
        textcoords="offset points",
        ha="right",
        va="top",
        fontsize=_SMALL,
    )
    return _drawn(
        figure,
        "predicted",
        _outside("Predicted and actual", of.predicted),
        f"Actual over predicted values of {counted(rows, 'test row')}; the mean absolute error is"
        f" {_number(of.mae)}.",
    )


def _residuals(of: Regression) -> Drawing:
    figure, axes = _panel(f"predicted {short(of.target, 24)}", "actual less predicted", height=4.1)
    cloud = of.residuals
    wide = min(cloud.x), max(cloud.x) + cloud.width
    _cloud(axes, cloud, wide, (min(cloud.y), max(cloud.y) + cloud.height))
    axes.axhline(0, color=INK, linewidth=1)
    at = [each.value for each in of.middle]
    for name, heights in (
        ("95 %", [_or_nan(each.score_high) for each in of.middle]),
        ("median", [_or_nan(each.score) for each in of.middle]),
        ("5 %", [_or_nan(each.score_low) for each in of.middle]),
    ):
        style = "-" if name == "median" else "--"
        axes.plot(at, heights, color=COLORS[1], linewidth=1.6, linestyle=style, zorder=4)
        axes.annotate(
            name,
            (at[-1], heights[-1]),
            (3, 0),
            textcoords="offset points",
            va="center",
            fontsize=_SMALL,
            zorder=5,
        )
    first, last = of.middle[0], of.middle[-1]
    told = (
        f"The median error is {_number(first.score)} for the smallest predictions, of"
        f" {_number(first.value)} in the mean, and {_number(last.score)} for the largest, of"
        f" {_number(last.value)}."
        if len(of.middle) > 1
        else f"The median error is {_number(first.score)}."
    )
    return _drawn(figure, "residuals", _outside("Errors by prediction", cloud), told)


def _errors(of: Regression) -> Drawing:
    figure, axes = _panel("actual less predicted", "rows")
    (rows,) = of.errors.rows
    axes.stairs(rows, of.errors.edges, color=COLORS[0], fill=True, alpha=_DENSEST)
    low, middle, high = of.quantiles[1], of.quantiles[3], of.quantiles[-2]
    axes.set_ylim(0, 1.22 * max(rows))
    for value, name in ((low, "5 %"), (middle, "median"), (high, "95 %")):
        axes.plot([value, value], [0, 1.08 * max(rows)], color=INK, linewidth=1)
        axes.annotate(
            name,
            (value, 1.08 * max(rows)),
            (0, 3),
            textcoords="offset points",
            ha={"5 %": "right", "95 %": "left"}.get(name, "center"),
            fontsize=_SMALL,
        )
    axes.set_xlim(of.errors.edges[0], of.errors.edges[-1])
    return _drawn(
        figure,
        "errors",
        "Errors, actual less predicted",
        f"Nine in ten errors lie between {_number(low)} and {_number(high)}; the median is"
        f" {_number(middle)}, the mean {_number(of.bias)}.",
    )


def _by_size(of: Regression, part: Performance) -> Drawing:
    figure, axes = _panel(f"actual {short(of.target, 24)}, mean of a bin", "mean absolute error")
    _whiskers(axes, of.by_actual)
    axes.axhline(of.mae, color=FAINT, linewidth=1, linestyle="--")
    tops = [each.score_high or each.score or 0.0 for each in of.by_actual]
    axes.set_ylim(0, 1.12 * max(*tops, of.mae) or 1.0)
    # Where the curve is farther from the level.
    first, last = (
        abs((each.score or 0.0) - of.mae) for each in (of.by_actual[0], of.by_actual[-1])
    )
    _beside_a_level(axes, of.mae, f"all rows {_number(of.mae)}", right=last > first)
    worst = max(of.by_actual, key=lambda each: each.score or 0.0)
    return _drawn(
        figure,
        "errors_by_size",
        "Error by size of the actual value",
        f"The mean absolute error is largest, {_number(worst.score)}, for the"
        f" {counted(worst.rows, 'row')} whose actual value is {_number(worst.low)} to"
        f" {_number(worst.high)}; over all rows it is {_number(of.mae)}.",
    )


def _cloud(axes: "Axes", of: Cloud, wide: tuple[float, float], tall: tuple[float, float]) -> None:
    if of.rows:
        most = max(of.rows)
        density = [min(_DENSITIES - 1, _step(count, most)) for count in of.rows]
        for step in sorted(set(density)):
            here = [place for place, each in enumerate(density) if each == step]
            drawing.squares(
                axes,
                [of.x[place] for place in here],
                [of.y[place] for place in here],
                of.width,
                of.height,
                COLORS[0],
                0.15 + 0.8 * step / (_DENSITIES - 1),
            )
    else:
        drawing.dots(axes, of.x, of.y, COLORS[0], 3.4 if len(of.x) < 400 else 2.6)
    for limit, (low, high) in ((axes.set_xlim, wide), (axes.set_ylim, tall)):
        margin = 0.03 * (high - low) or 0.5
        limit(low - margin, high + margin)


def _step(count: int, most: int) -> int:
    """Give the step of density of a cell, on a logarithmic scale."""
    return int(_DENSITIES * log(count) / log(most)) if most > 1 else _DENSITIES - 1


def _outside(title: str, of: Cloud) -> str:
    return f"{title}; {of.outside} far off, at the edge" if of.outside else title


# Clusters


def _of_clusters(answers: Clusters, part: Performance) -> list[Block]:
    named = [each for each in answers.sizes if each.label >= 0]
    noise = sum(each.rows for each in answers.sizes if each.label < 0)
    lines = [
        f"{counted(part.rows - noise, 'row')} in {counted(len(named), 'cluster')}"
        + (f", and {counted(noise, 'row')} in none." if noise else ".")
    ]
    return [
        Block(
            "Clusters",
            tuple(lines),
            table(
                ("cluster", "rows", "share", "silhouette"),
                [
                    (
                        _cluster(each.label),
                        f"{each.rows:,}",
                        f"{100 * each.share:.1f} %",
                        number(each.silhouette, 4),
                    )
                    for each in answers.sizes
                ],
                numbers=True,
            ),
            (_sizes(answers), _map(answers)),
        )
    ]


def _cluster(label: int) -> str:
    return "in none" if label < 0 else str(label)


def _tints(of: Clusters) -> dict[int, str]:
    return {
        each.label: COLORS[place] if each.label >= 0 and place < _COLORED else FAINT
        for place, each in enumerate(of.sizes)
    }


def _sizes(of: Clusters) -> Drawing:
    drawn = of.sizes[:_BARS]
    tints = _tints(of)
    figure, axes = _panel("share of the rows", "", height=1.2 + 0.3 * len(drawn), left=0.75)
    shares = [each.share for each in drawn]
    bars = axes.barh(
        range(len(drawn)), shares, color=[tints[each.label] for each in drawn], height=0.7
    )
    axes.bar_label(
        bars,
        [
            f"{100 * each.share:.1f} %"
            + ("" if each.silhouette is None else f", silhouette {each.silhouette:.2f}")
            for each in drawn
        ],
        padding=3,
        fontsize=_SMALL,
    )
    axes.set_yticks(range(len(drawn)), [_cluster(each.label) for each in drawn])
    axes.set_ylim(len(drawn) - 0.5, -0.5)
    axes.set_xlim(0, 1.9 * max(shares))
    axes.grid(axis="y", visible=False)
    _percents(axes.xaxis)
    more = len(of.sizes) - len(drawn)
    title = "Size of the clusters" + (f"; {more} more not shown" if more else "")
    largest = of.sizes[0]
    scored = [each for each in of.sizes if each.silhouette is not None]
    worst = min(scored, key=lambda each: each.silhouette or 0.0, default=None)
    told = (
        f"Cluster {_cluster(largest.label)} is the largest, with {_percent(largest.share)} of the"
        " rows."
    )
    if worst is not None and worst.silhouette is not None:
        told += (
            f" Cluster {worst.label} holds together worst, with a silhouette of"
            f" {worst.silhouette:.2f}."
        )
    return _drawn(figure, "cluster_sizes", title, told)


def _map(of: Clusters) -> Drawing:
    figure, axes = _panel(
        f"first axis, {_percent(of.shares[0])} of the variance",
        f"second axis, {_percent(of.shares[1])}",
        height=4.1,
    )
    tints = _tints(of)
    # The small ones last, so that the large ones don't cover them.
    for each in sorted(of.sizes, key=lambda each: (each.label >= 0, -each.rows)):
        here = [place for place, label in enumerate(of.labels) if label == each.label]
        if not here:
            continue
        x, y = [of.x[place] for place in here], [of.y[place] for place in here]
        drawing.dots(axes, x, y, tints[each.label], 3.0)
        if each.label >= 0:
            axes.text(
                sorted(x)[len(x) // 2],
                sorted(y)[len(y) // 2],
                str(each.label),
                weight="bold",
                ha="center",
                va="center",
                zorder=5,
                fontsize=9,
                bbox={"facecolor": PAPER, "edgecolor": "none", "alpha": 0.75, "pad": 1.5},
            )
    for limit, values in ((axes.set_xlim, of.x), (axes.set_ylim, of.y)):
        low, high = min(values), max(values)
        margin = 0.04 * (high - low) or 0.5
        limit(low - margin, high + margin)
    return _drawn(
        figure,
        "clusters",
        "Where the clusters are",
        f"{counted(len(of.x), 'test row')} on the two axes along which rows differ most, which hold"
        f" {_percent(sum(of.shares))} of the variance, coloured by their cluster.",
    )


# Time


def _over_time(of: OverTime) -> Drawing:
    better = "larger" if of.maximize else "smaller"
    figure, axes = _panel(short(of.column, 32), f"{of.metric} ({better} is better)")
    known = [(place, each) for place, each in enumerate(of.spans) if each.score is not None]
    for place, each in known:
        if each.low is not None and each.high is not None:
            axes.plot([place, place], [each.low, each.high], color=COLORS[0], linewidth=1.2)
    axes.plot(
        [place for place, _ in known],
        [_or_nan(each.score) for _, each in known],
        "o-",
        color=COLORS[0],
        linewidth=0.8,
        markersize=4,
    )
    last = len(of.spans) - 1
    shown_at = sorted({0, last // 2, last})
    axes.set_xticks(shown_at, _days([of.spans[place].begins for place in shown_at]))
    labels = axes.get_xticklabels()
    if len(labels) > 1:
        labels[0].set_horizontalalignment("left")
        labels[-1].set_horizontalalignment("right")
    axes.set_xlim(-0.5, last + 0.5)
    scores = [each.score for _, each in known if each.score is not None]
    if not scores:
        told = f"{of.metric} is defined in none of {counted(last + 1, 'span')}."
    else:
        worst_first = sorted(known, key=lambda one: one[1].score or 0.0, reverse=not of.maximize)
        worst, best = worst_first[0][1], worst_first[-1][1]
        told = (
            f"Over {counted(last + 1, 'span')} of time {of.metric} is best, {_number(best.score)},"
            f" {_from(best.begins)}, and worst, {_number(worst.score)}, {_from(worst.begins)}."
        )
    return _drawn(figure, "over_time", f"{of.metric} over time", told)


def _from(begins: str) -> str:
    # A date, the hour and the minute: nobody asks for seconds.
    return f"in span {begins}" if begins.isdecimal() else f"from {begins[:16]}"


def _days(begins: Sequence[str]) -> list[str]:
    """Leave out the time of the day where the days differ."""
    days = [each.split(" ")[0] for each in begins]
    return days if len(set(days)) == len(days) else list(begins)


# Pieces of pictures


def _panel(
    x: str, y: str, height: float = 3.4, left: float = 0.8, top: float = 0.4
) -> "tuple[Figure, Axes]":
    """Make a narrow figure with named axes."""
    figure, axes = drawing.axes(height, left, 0.25, 0.55, width=drawing.NARROW)
    figure.subplots_adjust(top=1 - top / height)
    axes.tick_params(labelsize=_SMALL)
    axes.set_xlabel(x, fontsize=9)
    axes.set_ylabel(y, fontsize=9)
    axes.locator_params(nbins=6)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: f"{value:,.10g}")
    return figure, axes


def _unit_square(x: str, y: str, under: int = 0) -> "tuple[Figure, Axes]":
    """Make a narrow figure of two shares, with room below for a legend of so many names."""
    lines = -(-under // 2)
    height = 3.6 + 0.2 * lines
    figure, axes = _panel(x, y, height)
    figure.subplots_adjust(bottom=(0.55 + 0.2 * lines) / height)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.01)
    _percents(axes.xaxis)
    _percents(axes.yaxis)
    return figure, axes


def _percents(axis: object) -> None:
    def told(share: float, _: int) -> str:
        # An axis goes on where words need the room.
        return f"{100 * share:.3g} %" if share < 1.001 else ""

    axis.set_major_formatter(told)  # type: ignore[attr-defined]


def _legend(figure: "Figure", of: Sequence[tuple[str, float]]) -> None:
    """Write names with their numbers in two columns below the axes."""
    (axes,) = figure.axes
    lines = axes.lines[-len(of) :]
    figure.legend(
        lines,
        [f"{short(label, 16)}: {_number(value)}" for label, value in of],
        loc="lower center",
        ncols=2,
        frameon=False,
        fontsize=_SMALL,
        handlelength=1.8,
        columnspacing=1.5,
        labelspacing=0.3,
        borderpad=0.1,
    )


def _key(figure: "Figure", of: Sequence[tuple[str, str, str]]) -> None:
    """Write names beside their colours and strokes in a line under the title."""
    from matplotlib.lines import Line2D

    wide, tall = figure.get_size_inches()
    left, up = 0.8, 1 - 0.5 / tall
    for name, color, stroke in of:
        ends = [left / wide, (left + 0.25) / wide]
        look: Any = {"color": color, "linestyle": stroke, "linewidth": 1.8}
        figure.add_artist(Line2D(ends, [up, up], **look))
        figure.text((left + 0.32) / wide, up, name, fontsize=_SMALL, va="center")
        left += 0.5 + 0.075 * len(name)


def _say(axes: "Axes", text: str, *, right: bool, top: bool = False) -> None:
    """Write the number that a picture is about into a corner that its curve leaves free."""
    axes.text(
        0.97 if right else 0.03,
        0.92 if top else 0.06,
        text,
        transform=axes.transAxes,
        ha="right" if right else "left",
        weight="bold",
        fontsize=11,
        zorder=5,
    )


def _whiskers(axes: "Axes", of: Sequence[Bin]) -> None:
    """Draw what came of each bin, with its interval."""
    for each in of:
        if each.score_low is not None and each.score_high is not None:
            ends = [each.score_low, each.score_high]
            axes.plot([each.value] * 2, ends, color=COLORS[0], linewidth=1.4, zorder=3)
    axes.plot(
        [each.value for each in of],
        [_or_nan(each.score) for each in of],
        "o-",
        color=COLORS[0],
        linewidth=0.8,
        markersize=4.5,
        zorder=3,
    )


def _beside_a_level(axes: "Axes", level: float, text: str, *, right: bool = False) -> None:
    """Name a horizontal line, above it or below where there is more room."""
    low, high = axes.get_ylim()
    above = level < low + 0.85 * (high - low)
    axes.annotate(
        text,
        (axes.get_xlim()[int(right)], level),
        (-3 if right else 3, 3 if above else -3),
        textcoords="offset points",
        ha="right" if right else "left",
        va="bottom" if above else "top",
        fontsize=_SMALL,
        color=FAINT,
    )


def _drawn(figure: "Figure", name: str, title: str, told: str) -> Drawing:
    drawing.titled(figure, title)
    _fit(figure)
    return Drawing(name, title, told, drawing.finished(figure))


def _fit(figure: "Figure") -> None:
    """Give numbers the room that they take: beside each other below, and left of the axes."""
    from matplotlib.ticker import MaxNLocator

    (axes,) = figure.axes
    below, beside = (
        _DIGIT * max((len(label.get_text()) for label in axis.get_majorticklabels()), default=0)
        for axis in (axes.xaxis, axes.yaxis)
    )
    inches, sides = figure.get_figwidth(), figure.subplotpars
    locator = axes.xaxis.get_major_locator()
    if isinstance(locator, MaxNLocator):
        room = inches * (sides.right - sides.left)
        locator.set_params(nbins=max(1, min(6, int(room / (below + 2 * _DIGIT)))))
    if beside + _NAME > inches * sides.left:
        figure.subplots_adjust(left=(beside + _NAME) / inches)


def _at(of: Curve, x: float) -> float:
    """Read a curve at a place, between its points if need be."""
    from numpy import interp

    return float(interp(x, of.x, of.y))


def _intervals(part: Performance) -> str:
    return f"{_percent(part.confidence)} intervals"


def _number(value: float | None) -> str:
    return number(value, 0 if value is None else decimals([value]))


def _or_nan(value: float | None) -> float:
    return nan if value is None else value


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _share(part: int, whole: int) -> str:
    return _percent(part / whole) if whole else NOTHING
