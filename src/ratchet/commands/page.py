"""A comparison as a page: the same words and numbers as Markdown and as HTML."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isnan, nan

from ratchet.commands.changes import Change
from ratchet.commands.comparison import (
    Comparison,
    ScoreLine,
    SearchRecord,
    Side,
    SliceLine,
)
from ratchet.gates import decimals, shown
from ratchet.lineage import FileChange
from ratchet.report import pieces
from ratchet.report.pieces import (
    MOST_LINES,
    NOTHING,
    Block,
    Cell,
    Row,
    Section,
    Table,
    counted,
    cut,
    headings,
    interval,
    strip,
    table,
)
from ratchet.searched import Failed, Tried


@dataclass(frozen=True)
class Page:
    """All that is shown of a comparison."""

    title: str
    """What is compared."""
    answer: str
    """The verdict in a few words."""
    told: str
    """The verdict's reason."""
    notes: tuple[str, ...]
    """What a reader ought to know."""
    sides: Table
    """What A and B are."""
    sections: tuple[Section, ...]
    """What changed and what happened."""
    experiment: tuple[str, str, str] | None
    """What to try next, why, and the command."""

    @property
    def fence(self) -> str:
        """More backticks than the command has in a row."""
        return pieces.fence(self.experiment[2] if self.experiment else "")


def markdown(comparison: Comparison) -> str:
    """Write a comparison as Markdown."""
    return pieces.rendered("comparison.md", page=page(comparison))


def as_html(comparison: Comparison) -> str:
    """Write a comparison as one HTML page that needs no other file and runs no script."""
    return pieces.rendered("comparison.html", page=page(comparison))


def page(comparison: Comparison) -> Page:
    """Choose what is shown of a comparison, and write its numbers for a reader."""
    a, b, verdict = comparison.a, comparison.b, comparison.verdict
    if verdict.better is None:
        answer = "No difference can be told"
    elif verdict.sure:
        answer = f"{verdict.better} is better"
    else:
        answer = f"{verdict.better} looks better, not surely"
    found = comparison.experiment
    return Page(
        title=f"{a.label} → {b.label}",
        answer=answer,
        told=verdict.told,
        notes=comparison.notes,
        sides=_sides(a, b),
        sections=(
            Section("What changed", tuple(_changed(comparison))),
            Section("What happened", tuple(_happened(comparison))),
        ),
        experiment=None
        if found is None
        else (
            found.advice.what,
            f"{found.advice.because} (From the search of {found.of}.)",
            found.command,
        ),
    )


def _sides(a: Side, b: Side) -> Table:
    facts = (
        ("named", a.asked, b.asked),
        ("training run", _run(a), _run(b)),
        ("trained", a.started.replace("+00:00", " UTC"), b.started.replace("+00:00", " UTC")),
        ("leader", a.leader, b.leader),
        ("optimised", a.metric, b.metric),
        ("test rows", a.test_rows or "not evaluated", b.test_rows or "not evaluated"),
    )
    return table(("", "A", "B"), facts)


def _run(side: Side) -> str:
    through = {"main": "pipeline"}.get(side.through, side.through)
    return f"{side.run_id}, by way of its {through} run" if through else side.run_id


# What changed


def _changed(comparison: Comparison) -> Iterator[Block]:
    yield _changes_block("Parameters", "parameter", comparison.params)
    yield from _data(comparison)
    yield from _code(comparison)
    yield from _environment(comparison)


def _changes_block(title: str, name: str, changes: Sequence[Change]) -> Block:
    if not changes:
        return Block(title, ("The same.",))
    rows = [(each.name, _value(each.old), _value(each.new)) for each in changes]
    return Block(title, (), table((name, "A", "B"), rows))


def _value(value: str | None) -> str:
    return "not set" if value is None else value


def _data(comparison: Comparison) -> Iterator[Block]:
    data = comparison.data
    facts = [(each.name, _value(each.old), _value(each.new)) for each in data.facts]
    told = list(data.notes)
    if data.same:
        told.insert(0, "The same version, rows and columns.")
    elif not any(each.name == "version" for each in data.facts):
        told.insert(0, "The same version, read otherwise.")
    counts = [
        (f"rows/{part}", _count(old), _count(new))
        for part, old, new in data.rows
        if old != new or part in ("train", "valid", "test")
    ]
    yield Block("Data", tuple(told), table(("", "A", "B"), [*facts, *counts], numbers=True))
    if data.columns:
        rows = [(each.column, each.what, each.old, each.new) for each in data.columns]
        yield Block("Columns", (), table(("column", "difference", "A", "B"), rows))


def _count(value: int | None) -> str:
    return NOTHING if value is None else f"{value:,}"


def _code(comparison: Comparison) -> Iterator[Block]:
    code = comparison.code
    told = list(code.notes)
    files: Sequence[FileChange] = ()
    if code.old is None or code.new is None:
        told.append(f"Commit {code.old or 'unknown'} and {code.new or 'unknown'}.")
    elif code.old == code.new:
        told.append(f"The same commit, {code.old[:12]}.")
    else:
        line = f"Commit {code.old[:12]} and {code.new[:12]}"
        between = code.between
        if between is not None and between.reason:
            told.append(f"{line}; what lies between them is not known here: {between.reason}.")
        elif between is not None:
            files = between.files
            told.append(f"{line}: {_distance(between.ahead, between.behind)}.")
    for patch in code.patches[:1] if code.same_patch else code.patches:
        who = "Both ran with the same" if code.same_patch else f"{patch.letter} ran with"
        names = ", ".join(f"{each.path} ({_lines(each)})" for each in patch.files[:MOST_LINES])
        held = names or ("the patch is with the run" if patch.kept else "the run holds no patch")
        told.append(f"{who} uncommitted changes: {held}.")
    rows = [(each.path, _lines(each)) for each in files]
    yield Block("Code", tuple(told), table(("changed file", "lines"), rows) if rows else None)


def _distance(ahead: int, behind: int) -> str:
    if behind == 0:
        return f"B is {counted(ahead, 'commit')} later"
    if ahead == 0:
        return f"B is {counted(behind, 'commit')} earlier"
    return f"B has {counted(ahead, 'commit')} that A has not, A has {behind} that B has not"


def _lines(change: FileChange) -> str:
    if change.added is None or change.removed is None:
        return "not text"
    return f"+{change.added} −{change.removed}"  # noqa: RUF001


def _environment(comparison: Comparison) -> Iterator[Block]:
    found = comparison.environment
    changes = [*([found.lock] if found.lock else []), *found.machine, *found.libraries]
    if not changes:
        told = f"The same lock, machine and {found.n_libraries} libraries."
        yield Block("Environment", (told,))
        return
    told = f"{len(found.libraries)} of {found.n_libraries} libraries differ."
    rows = [
        (each.name, each.old or "not installed", each.new or "not installed")
        if each in found.libraries
        else (each.name, each.old or "unknown", each.new or "unknown")
        for each in changes
    ]
    yield Block("Environment", (told,), table(("", "A", "B"), rows))


# What happened


def _happened(comparison: Comparison) -> Iterator[Block]:
    yield _scores(comparison)
    yield _slices(comparison)
    if comparison.searches:
        yield _search(comparison.searches)
        yield _failed(comparison.searches)
        yield _members(comparison.searches)


def _scores(comparison: Comparison) -> Block:
    told = [_intervals(comparison)] if any(s.overlap is not None for s in comparison.scores) else []
    paired = comparison.paired
    if paired is None:
        told.append(f"Not compared row by row: {comparison.not_paired}.")
    else:
        places = decimals([paired.a, paired.b], [paired.gain, paired.low, paired.high])
        gain, low, high = (shown(x, places) for x in (paired.gain, paired.low, paired.high))
        left = f"; {paired.n_left_out:,} were left out" if paired.n_left_out else ""
        told.append(
            f"Compared row by row, on {paired.n_rows:,} test rows that neither was trained"
            f" on{left}: {paired.metric} of B is better by {gain} [{low}, {high}] at"
            f" {100 * paired.confidence:g} %, from {paired.resamples:,} paired resamples."
        )
    if not comparison.scores:
        return Block("Scores", tuple(told))
    head = headings(("score", "A", "B", "B better by", "intervals"), (1, 2, 3))
    return Block(
        "Scores", tuple(told), Table(head, tuple(_score(line) for line in comparison.scores))
    )


def _intervals(comparison: Comparison) -> str:
    shares = dict.fromkeys(each.confidence for each in (comparison.a, comparison.b))
    if len(shares) == 1 and (share := next(iter(shares))):
        return f"Intervals are at {100 * float(share):g} %."
    return (
        "Intervals are at "
        + " and ".join(
            f"{100 * float(each.confidence):g} % for {each.letter}"
            for each in (comparison.a, comparison.b)
            if each.confidence
        )
        + "."
    )


def _score(line: ScoreLine) -> Row:
    places = decimals([line.a, line.b], [line.better_by])
    overlap = {None: "", True: "overlap", False: "apart"}[line.overlap]
    return Row(
        (
            Cell(line.name),
            Cell(interval(line.a, line.a_low, line.a_high, places), "number"),
            Cell(interval(line.b, line.b_low, line.b_high, places), "number"),
            _gain(line.better_by, places, sure=line.overlap is False),
            Cell(overlap),
        ),
        strip((line.a_low, line.a, line.a_high), (line.b_low, line.b, line.b_high)),
    )


def _gain(
    gain: float, places: int, low: float = nan, high: float = nan, *, sure: bool = False
) -> Cell:
    """Write what B gains; a gain that may be chance has no colour."""
    if isnan(gain):
        return Cell(NOTHING, "number")
    told = f"{'+' if gain > 0 else ''}{interval(gain, low, high, places)}"
    kind = "number"
    if sure or low > 0 or high < 0:
        kind = "better" if gain > 0 else "worse"
    return Cell(told, kind)


def _slices(comparison: Comparison) -> Block:
    found = comparison.slices
    if found is None:
        return Block("Slices", (f"None: {comparison.not_sliced}.",))
    told = [
        f"{counted(found.n_slices, 'slice')} by {', '.join(found.columns)},"
        f" {'as promote.slices says' if found.declared else 'the columns of labels'};"
        f" {found.n_small} more have fewer than {found.min_rows} rows."
        f" Scores have intervals at {100 * found.confidence:g} %; those of the gains hold together"
        f" at {100 * found.confidence_all:g} %."
    ]
    if len(found.lines) < found.n_slices:
        told.append("Shown are those on which B gains least, and on which either is worst.")
    head = headings(("slice", "rows", "A", "B", "B better by", "worst of"), (1, 2, 3, 4))
    return Block("Slices", tuple(told), Table(head, tuple(map(_slice, found.lines))))


def _slice(line: SliceLine) -> Row:
    places = decimals([line.a, line.b], [line.gain])
    return Row(
        (
            Cell(f"{line.column} = {cut(line.label)}"),
            Cell(f"{line.n_rows:,}", "number"),
            Cell(interval(line.a, line.a_low, line.a_high, places), "number"),
            Cell(interval(line.b, line.b_low, line.b_high, places), "number"),
            _gain(line.gain, places, line.low, line.high),
            Cell(line.worst_of),
        ),
        strip((line.a_low, line.a, line.a_high), (line.b_low, line.b, line.b_high)),
    )


def _search(searches: Sequence[SearchRecord]) -> Block:
    told = [
        f"{each.letter}: {counted(each.trials, 'trial')}, {each.failed} failed"
        + ("" if isnan(each.seconds) else f", {each.seconds:.1f} s")
        + "."
        for each in searches
    ]
    heads = ["family"]
    for each in searches:
        heads += [f"{name} {each.letter}" for name in ("trials", "failed", "best valid", "seconds")]
    by_family = [{tried.family: tried for tried in each.families} for each in searches]
    places = decimals(tried.best for each in by_family for tried in each.values())
    rows = [
        Row(
            (
                Cell(family),
                *(cell for each in by_family for cell in _tried(each.get(family), places)),
            )
        )
        for family in dict.fromkeys(name for each in by_family for name in each)
    ]
    head = headings(tuple(heads), range(1, len(heads)))
    return Block("Search", tuple(told), Table(head, tuple(rows)))


def _tried(tried: Tried | None, places: int) -> tuple[Cell, ...]:
    if tried is None:
        return (Cell(NOTHING, "number"),) * 4
    told = (
        str(tried.trials),
        str(tried.failed),
        NOTHING if isnan(tried.best) else shown(tried.best, places),
        f"{tried.seconds:.1f}",
    )
    return tuple(Cell(each, "number") for each in told)


def _failed(searches: Sequence[SearchRecord]) -> Block:
    rows = [
        (each.letter, _by_family(failed), cut(failed.reason))
        for each in searches
        for failed in each.failures
    ]
    if not rows:
        return Block("Failed trials", ("None.",))
    return Block("Failed trials", (), table(("in", "trials", "reason"), rows))


def _by_family(failed: Failed) -> str:
    return ", ".join(f"{count} {family}" for family, count in failed.families)


def _members(searches: Sequence[SearchRecord]) -> Block:
    rows = [
        Row(
            (
                Cell(each.letter),
                Cell(member.name),
                Cell(f"{member.weight:.3g}", "number"),
                Cell(str(member.trial), "number"),
                Cell(cut(_hyperparameters(member.params))),
            )
        )
        for each in searches
        for member in each.members
    ]
    if not rows:
        return Block("Members", ("Unknown.",))
    head = headings(("of", "member", "weight", "trial", "params"), (2, 3))
    return Block("Members", (), Table(head, tuple(rows)))


def _hyperparameters(params: str) -> str:
    return ", ".join(
        f"{name}: {value:.6g}" if isinstance(value, float) else f"{name}: {value}"
        for name, value in json.loads(params).items()
    )
