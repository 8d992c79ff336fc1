"""Finds columns and rows that know the answer before a model is asked."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import rankdata
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from ratchet import files, settings, table
from ratchet.errors import DataError
from ratchet.expressions import columns_used, listed
from ratchet.schema import Kind, Schema
from ratchet.settings import SplitMethod
from ratchet.splits import Splits
from ratchet.table import Prepared

# Rows that are looked at before all are; enough to tell a score of 0.99 from one of 0.98.
SAMPLE = 4000
# Rows on which every pair of columns is tried: chance doesn't fit so many.
SCREEN = 40
# Columns of numbers that are paired; the work grows with the square of their number.
MAX_PAIRED = 200
# Pairs that pass on a sample and are checked on all rows; more would say nothing new.
MAX_VERIFIED = 20

# A formula rebuilds the target where this share of the rows agrees: a table has some wrong rows.
REBUILT_SHARE = 0.98
# On the few rows of the screening one or two wrong ones are a larger share.
SCREENED_SHARE = 0.85
# Rounding moves a row by this share of the target's range (5 % to 95 %) at most; honest columns
# never leave so little open: it is 0.1 % of the variance.
ROUNDING = 0.02
# Rows that a formula must explain before it is believed: it has two numbers to choose.
MIN_ROWS = 12
# A value of the target in a larger share of the rows, such as 0, must not carry a formula alone.
MODE_SHARE = 0.1

# One column alone that ranks the classes or the target better. The best honest columns of the
# tables in benchmarks/README.md stay well below.
MAX_AUC = 0.995
MAX_R2 = 0.99
# Rows of a class that a score needs: with fewer, an honest column may be right by chance.
MIN_CLASS = 20

# A column is an id if so many of its rows have a value of their own,
ID_SHARE = 0.95
# in order if so many of its steps have one direction,
ORDERED_SHARE = 0.99
# and follows the target from a score that a mere number of a row never reaches.
ID_AUC = 0.7
ID_R2 = 0.2

# Groups: so many different values,
MIN_GROUPS = 20
# at most one for so many rows,
MAX_GROUPS = 0.8
# (in a small table fewer, but not below the second number),
MIN_GROUPS_SMALL = 5
# of which so many rows share theirs with another row,
MIN_SEEN = 0.1
# and which tell the target of these rows so well that it must be nearly constant within,
GROUP_AUC = 0.97
GROUP_R2 = 0.9
# while neighbouring values do less well, and make so many times the error: a quantity is no
# group.
AROUND_AUC = 0.95
AROUND_R2 = 0.8
GROUP_GAIN = 2.0

# Rows with (or without) a value are of one class but for this share,
GAP_ERROR = 0.01
# hold so much of that class, and so many times fewer of the others than chance would give them.
GAP_RECALL = 0.5
GAP_LIFT = 10
# Rows of other classes that chance would have given them.
GAP_EXPECTED = 10

# Held-out rows with an equal row in training. Honest tables hold up to 28 % (wine_quality), where
# one thing was measured twice; a table that was joined to itself or oversampled holds half.
MAX_REPEATED = 0.4
# Of the rows of one class it may be more, since a class has few: 44 % in wine_quality.
MAX_REPEATED_CLASS = 0.55
# With fewer rows that is chance.
MIN_REPEATED = 5
# From this share on, a note tells of them.
NOTED_REPEATED = 0.01

# Without a split by time, test is older if this share of it is older than this share of training.
OLDER_SHARE = 0.9
# With fewer test rows that is chance.
MIN_OLDER = 5


class Leak(StrEnum):
    """Ways in which a table gives the answer away; ``data.allow`` may name each."""

    REBUILT = "rebuilt_target"
    """A column, or two of them combined, is the target in another form."""
    GAP = "telling_gap"
    """A column is filled or empty depending on the target."""
    ORDERED_ID = "ordered_id"
    """The numbers of the rows follow an order that the targets follow too."""
    GROUPS = "groups_on_both_sides"
    """Rows of one group, whose targets are nearly the same, are dealt to both sides."""
    NEAR_PERFECT = "near_perfect_column"
    """One column alone predicts the target better than an honest one does."""
    REPEATED = "repeated_rows"
    """Rows of validation or test stand in training too."""
    OLDER_TEST = "older_test"
    """Test rows are older than training rows."""


WAYS_OUT = {
    Leak.REBUILT: "name one of them in data.drop",
    Leak.GAP: "name it in data.drop if it is filled after the fact",
    Leak.ORDERED_ID: "name it in data.drop, and if the rows follow time, split by time",
    Leak.GROUPS: "set split.method to group and split.column to it, or name it in data.drop if it"
    " is known only after the fact",
    Leak.NEAR_PERFECT: "name it in data.drop if it is known only after the fact",
    Leak.REPEATED: "write each row once, or keep copies together with split.method group",
    Leak.OLDER_TEST: "set split.method to time",
}
"""What a user can do about each, other than allow it."""


@dataclass(frozen=True)
class Finding:
    """One way in which the table gives the answer away."""

    kind: Leak
    """What was found."""
    columns: tuple[str, ...]
    """Columns that take part; none where whole rows do."""
    evidence: str
    """The numbers that show it, without a full stop."""
    allowed_because: str | None = None
    """The user's reason in ``data.allow``; None if it isn't allowed."""


@dataclass(frozen=True)
class Report:
    """What was found in a table and in how it is dealt."""

    findings: tuple[Finding, ...]
    """Leaks; of those that one column makes alone, each column has one."""
    notes: tuple[str, ...]
    """What is worth telling and stops nothing, one sentence each."""


def look(
    prepared: Prepared,
    parts: Splits,
    split: settings.Split,
    *,
    seed: int,
    allow: Sequence[tuple[str, str]] = (),
    copies: tuple[pd.DataFrame, Splits] | None = None,
) -> Report:
    """Look for every kind of leak.

    What ties a column to the target is looked for in training and validation
    rows. Test rows are only compared with training rows. Without a target
    that comparison is all there is.

    Parameters
    ----------
    prepared : Prepared
        Features, and target if there is one. What else is in ``extra`` is looked at for
        groups and times.
    parts : Splits
        Rows of each part.
    split : settings.Split
        How they were dealt.
    seed : int
        Of the rows that are sampled; equal seeds give equal findings.
    allow : sequence of (str, str)
        As in ``data.allow``: a column or a kind of leak, and the reason.
    copies : tuple of (pd.DataFrame, Splits), optional
        Rows among which equal ones are looked for, where ``prepared`` is a
        sample that may hold one of two; see ``compared``.
    """
    found = _answers_given(prepared, parts, split, seed) if prepared.schema.target else []
    frame, dealt = copies or (prepared.frame, parts)
    repeated, notes = repeated_rows(frame, prepared.schema, dealt)
    older, more_notes = older_test(prepared.frame, prepared.extra, prepared.schema, parts, split)
    judged, unused = judge([*found, *repeated, *older], allow)
    return Report(judged, (*notes, *more_notes, *unused))


def watched(columns: Sequence[str], data: settings.Data) -> tuple[str, ...]:
    """Name the columns that are no features and may yet show groups or times.

    Parameters
    ----------
    columns : sequence of str
        All columns of the table.
    data : settings.Data
        Target and features.
    """
    sources = frozenset() if data.target is None else columns_used(data.target, columns)
    if data.features is None:
        others: Sequence[str] = data.drop
    else:
        others = [name for name in columns if name not in data.features]
    return tuple(name for name in others if name in columns and name not in sources)


def judge(
    findings: Sequence[Finding], allow: Sequence[tuple[str, str]]
) -> tuple[tuple[Finding, ...], tuple[str, ...]]:
    """Write the user's reasons into the findings that they allow.

    A finding is allowed if its kind is, or if each of its columns is: of two
    columns that add up to the target, either one is a leak to the other.

    Parameters
    ----------
    findings : sequence of Finding
        What was found.
    allow : sequence of (str, str)
        A column or a kind of leak, and the reason.

    Returns
    -------
    findings : tuple of Finding
    notes : tuple of str
        One for each finding that is allowed and each reason that nothing needs.
    """
    reasons = dict(allow)
    judged, notes = [], []
    used: set[str] = set()
    for finding in findings:
        names = (finding.kind.value,) if finding.kind.value in reasons else finding.columns
        if names and all(name in reasons for name in names):
            because = "; ".join(dict.fromkeys(reasons[name] for name in names))
            finding = replace(finding, allowed_because=because)
            notes.append(f"{_told(finding)}. data.allow has it: {because}.")
            used.update(names)
        judged.append(finding)
    notes += [
        f"data.allow names {name!r}, and nothing was found that needs it."
        for name in reasons
        if name not in used
    ]
    return tuple(judged), tuple(notes)


def refuse(findings: Sequence[Finding]) -> None:
    """Stop at findings that aren't allowed.

    Raises
    ------
    DataError
        With each of them: columns, evidence, and what to do.
    """
    refused = [finding for finding in findings if finding.allowed_because is None]
    if not refused:
        return
    lines = []
    for finding in refused:
        names = ", ".join(f"{name}: why" for name in finding.columns or (finding.kind.value,))
        lines.append(
            f"{_told(finding)}. To go on, {WAYS_OUT[finding.kind]};"
            f" or give a reason: data.allow: {{{names}}}."
        )
    found = "1 leak" if len(lines) == 1 else f"{len(lines)} leaks"
    raise DataError("\n  - ".join([f"The table knows the answer, in {found}:", *lines]))


def save(findings: Sequence[Finding], path: Path) -> None:
    """Write findings as a JSON list, whole or not at all."""
    files.write_json(path, [asdict(finding) for finding in findings])


def load(path: Path) -> tuple[Finding, ...]:
    """Read the findings that ``save`` wrote.

    Raises
    ------
    RatchetError
        If the file isn't there or isn't JSON.
    """
    return tuple(
        Finding(**{**each, "kind": Leak(each["kind"]), "columns": tuple(each["columns"])})
        for each in files.read_json(path, made_by="prepare")
    )


def rebuilt_by_one(frame: pd.DataFrame, schema: Schema, seed: int) -> tuple[Finding, ...]:
    """Find columns that are the target in another unit, rounded, or under other labels.

    Parameters
    ----------
    frame : pd.DataFrame of shape (n_rows, n_columns)
        Features and target.
    schema : Schema
        Columns to look at, and the target.
    seed : int
        Of the rows that are sampled.

    Examples
    --------
    >>> from ratchet.settings import Data
    >>> from ratchet.table import Table, prepare_table
    >>> minutes = np.arange(30.0) ** 2
    >>> frame = pd.DataFrame({"minutes": minutes, "seconds": minutes * 60})
    >>> rows = prepare_table(Table(frame, (), ()), Data(source="", target="minutes"), None)
    >>> rebuilt_by_one(rows.frame, rows.schema, seed=0)[0].evidence
    "minutes is 0.0166667 * 'seconds' in 30 of 30 rows"
    """
    y = table.encode_target(frame[schema.target], schema)
    codes = _Codes(y, seed) if schema.problem.is_classification else None
    quantity = _quantity(y, schema, seed)
    findings = []
    for name in schema.names:
        evidence = None
        if codes is not None:
            evidence = codes.evidence(frame[name], repr(name), str(schema.target))
        if evidence is None and quantity is not None and _is_number(frame[name]):
            evidence = quantity.evidence(_numbers(frame[name]), repr(name), str(schema.target))
        if evidence is not None:
            findings.append(Finding(Leak.REBUILT, (name,), evidence))
    return tuple(findings)


def rebuilt_by_two(frame: pd.DataFrame, schema: Schema, seed: int) -> tuple[Finding, ...]:
    """Find pairs whose sum, difference, product or ratio is the target in another form.

    All pairs are tried on ``SCREEN`` rows, what passes on a larger sample, and
    what is left on all rows. Times count in seconds.

    Parameters
    ----------
    frame : pd.DataFrame of shape (n_rows, n_columns)
        Features and target.
    schema : Schema
        Columns to look at, of which at most ``MAX_PAIRED`` are paired; and the
        target.
    seed : int
        Of the rows that are sampled.
    """
    names = [name for name in schema.names if _is_number(frame[name])][:MAX_PAIRED]
    if len(names) < 2:
        return ()
    y = table.encode_target(frame[schema.target], schema)
    quantity = _quantity(y, schema, seed)
    tests: list[_Affine | _Separation] = [] if quantity is None else [quantity]
    if schema.problem.is_classification:
        tests.append(_Separation(y, seed))
    found: dict[frozenset[str], Finding] = {}
    for test in tests:
        if len(test.sample) < MIN_ROWS:
            continue
        sample = np.column_stack([_numbers(frame[name])[test.sample] for name in names])
        for first, second, sign in _passing(sample, test):
            pair = names[first], names[second]
            values = _combine(sign, _numbers(frame[pair[0]]), _numbers(frame[pair[1]]))
            told = f"({pair[0]!r} {sign} {pair[1]!r})"
            evidence = test.evidence(values, told, str(schema.target))
            if evidence is not None:
                found.setdefault(frozenset(pair), Finding(Leak.REBUILT, pair, evidence))
    return tuple(found.values())


def near_perfect(frame: pd.DataFrame, schema: Schema, seed: int) -> tuple[Finding, ...]:
    """Find columns that predict the target too well alone, by a small tree or by their order.

    The score is out of sample: a column that is different in each row can't
    memorise the target. For classes it is the mean of each one's ROC AUC against the rest;
    for a quantity R² on the ranks of its values.

    Parameters
    ----------
    frame : pd.DataFrame of shape (n_rows, n_columns)
        Features and target.
    schema : Schema
        Columns to look at, free text left out, and the target.
    seed : int
        Of the rows that are sampled, and of the two folds.
    """
    answer = _Answer.of(frame, schema)
    rows = answer.sample(SAMPLE, seed)
    if len(rows) < MIN_ROWS:
        return ()
    folds = _folds(answer.y[rows], seed)
    limit = answer.limit(MAX_AUC, MAX_R2)
    findings = []
    for column in schema.columns:
        if column.kind is Kind.TEXT:
            continue
        values = frame[column.name].iloc[rows].reset_index(drop=True)
        score = _score_alone(values, column.kind, answer.only(rows), folds)
        if score > limit:
            evidence = (
                f"{column.name!r} alone predicts {schema.target} with {answer.scored(score)} on"
                f" rows it wasn't fitted to ({len(rows):,} rows)"
            )
            findings.append(Finding(Leak.NEAR_PERFECT, (column.name,), evidence))
    return tuple(findings)


def telling_gaps(frame: pd.DataFrame, schema: Schema) -> tuple[Finding, ...]:
    """Find columns that are filled, or empty, only for one class or for high or low targets.

    Parameters
    ----------
    frame : pd.DataFrame of shape (n_rows, n_columns)
        Features and target.
    schema : Schema
        Columns to look at, and the target.
    """
    y = table.encode_target(frame[schema.target], schema)
    findings = []
    for name in schema.names:
        missing = frame[name].isna().to_numpy()
        if not missing.any():
            continue
        if schema.problem.is_classification:
            evidence = _gap_of_class(missing, y.astype(int), name, schema)
        else:
            evidence = _gap_of_quantity(missing, y, name, schema)
        if evidence is not None:
            findings.append(Finding(Leak.GAP, (name,), evidence))
    return tuple(findings)


def ordered_ids(
    frame: pd.DataFrame, schema: Schema, parts: Splits, seed: int
) -> tuple[Finding, ...]:
    """Find numbers of rows that run in the order of the rows or of time, as the target does.

    A number that counts rows in no particular order says nothing. One that
    counts them as they came tells which rows came together.

    Parameters
    ----------
    frame : pd.DataFrame of shape (n_rows, n_columns)
        Features and target of all rows, in the order of the files.
    schema : Schema
        Columns to look at, and the target.
    parts : Splits
        Validation is predicted from training; so under a split by time, a
        number that only continues is no finding.
    seed : int
        Of the rows that are sampled.
    """
    times = schema.of_kind(Kind.DATETIME)
    findings = []
    for name in schema.names:
        numbers = _id_numbers(frame[name])
        if numbers is None:
            continue
        order = _order(numbers, frame, times)
        if order is None:
            continue
        answer = _Answer.of(frame, schema)
        score, chance = _score_in_place(numbers, answer, parts, seed)
        if score >= max(answer.limit(ID_AUC, ID_R2), chance):
            evidence = (
                f"{name!r} numbers the rows in {order} and predicts {schema.target}"
                f" with {answer.scored(score)} on rows it wasn't fitted to"
            )
            findings.append(Finding(Leak.ORDERED_ID, (name,), evidence))
    return tuple(findings)


def groups_on_both_sides(
    frame: pd.DataFrame, extra: pd.DataFrame, schema: Schema, parts: Splits
) -> tuple[Finding, ...]:
    """Find columns of groups, such as patients, within which the target hardly changes.

    Only for a split that doesn't look at groups or times.

    Parameters
    ----------
    frame : pd.DataFrame of shape (n_rows, n_columns)
        Features and target of all rows.
    extra : pd.DataFrame of shape (n_rows, n_others)
        Columns that are no features: their groups are on both sides all the
        same.
    schema : Schema
        Columns to look at, and the target.
    parts : Splits
        Rows of each part.
    """
    known = np.sort(np.concatenate([parts.train, parts.valid]))
    answer = _Answer.of(frame.iloc[known], schema)
    held_out = np.concatenate([parts.valid, parts.test])
    columns = {name: frame[name] for name in schema.names}
    columns |= {str(name): extra[name] for name in extra.columns}
    findings = []
    for name, column in columns.items():
        codes = _group_codes(column)
        if codes is None:
            continue
        evidence = _group_evidence(codes[known], column.iloc[known], answer)
        if evidence is None:
            continue
        both = np.intersect1d(codes[parts.train], codes[held_out])
        both = both[both >= 0]
        n_rows = int(np.isin(codes[held_out], both).sum())
        told = (
            f"{len(both):,} of {codes.max() + 1:,} values of {name!r} are in training and in"
            f" validation or test ({n_rows:,} rows there), and the value's other rows predict"
            f" {schema.target} with {evidence}"
        )
        findings.append(Finding(Leak.GROUPS, (name,), told))
    return tuple(findings)


def repeated_rows(
    frame: pd.DataFrame, schema: Schema, parts: Splits
) -> tuple[tuple[Finding, ...], tuple[str, ...]]:
    """Count held-out rows that stand in training too, features and any target alike.

    Numbers of rows don't count as values. Some honest tables repeat rows, so
    fewer than ``MAX_REPEATED``, or those that few values make likely, are a note.

    Parameters
    ----------
    frame : pd.DataFrame of shape (n_rows, n_columns)
        Features, and target if there is one, of all rows.
    schema : Schema
        Its columns.
    parts : Splits
        Rows of each part.

    Returns
    -------
    findings : tuple of Finding
        At most one.
    notes : tuple of str
        At most one.
    """
    targets = [] if schema.target is None else [schema.target]
    rows = frame[compared(frame, schema)]
    hashes = table.row_hashes(rows)
    held_out = np.concatenate([parts.valid, parts.test])
    again = np.isin(hashes[held_out], hashes[parts.train])
    counts = []
    for title, part in (("valid", again[: len(parts.valid)]), ("test", again[len(parts.valid) :])):
        counts.append(f"{part.sum():,} of {len(part):,} {title} rows ({part.mean():.1%})")
    told = f"{' and '.join(counts)} equal a training row in every column"
    told += "".join(f" and in {name}" for name in targets)
    if again.mean() < NOTED_REPEATED:
        return (), ()
    if again.sum() < MIN_REPEATED:
        return (), (f"{told}.",)
    oversampled = 0.0, ""
    if schema.target is not None:
        oversampled = _oversampled(frame[schema.target].to_numpy()[held_out], again, schema)
    if again.mean() <= MAX_REPEATED and not oversampled[0]:
        return (), (f"{told}: scores may be too good.",)
    # Where as many of the different rows differ from another one in a single column, the table
    # has few values, and equal rows are chance and not copies.
    most = max(float(again.mean()), oversampled[0])
    if _crowded(rows, hashes) >= most:
        return (), (f"{told}, as the columns have few different values.",)
    return (Finding(Leak.REPEATED, (), told + oversampled[1]),), ()


def compared(frame: pd.DataFrame, schema: Schema) -> list[str]:
    """Name the columns in which rows must agree to be equal: numbers of rows are none of them."""
    names = [name for name in schema.names if _id_numbers(frame[name]) is None]
    return [*(names or schema.names), *([] if schema.target is None else [schema.target])]


def older_test(
    frame: pd.DataFrame,
    extra: pd.DataFrame,
    schema: Schema,
    parts: Splits,
    split: settings.Split,
) -> tuple[tuple[Finding, ...], tuple[str, ...]]:
    """Find test rows that are older than what training knows.

    Parameters
    ----------
    frame : pd.DataFrame of shape (n_rows, n_columns)
        Features and target of all rows.
    extra : pd.DataFrame of shape (n_rows, n_others)
        Other columns, such as the one that the split goes by.
    schema : Schema
        Columns of ``frame``.
    parts : Splits
        Rows of each part.
    split : settings.Split
        How they were dealt: a split by time must not be violated by a single
        row.

    Returns
    -------
    findings : tuple of Finding
        One for each column of times.
    notes : tuple of str
        At most one, if there are times and the split doesn't go by them.
    """
    by_time = split.method is SplitMethod.TIME
    columns = {str(name): extra[name] for name in extra.columns}
    if by_time:
        columns = {name: column for name, column in columns.items() if name == split.column}
    else:
        columns |= {name: frame[name] for name in schema.of_kind(Kind.DATETIME)}
        times = pd.api.types.is_datetime64_any_dtype
        columns = {name: column for name, column in columns.items() if times(column)}
    findings = []
    for name, column in columns.items():
        train = column.iloc[parts.train].dropna()
        test = column.iloc[parts.test].dropna()
        if train.empty or len(test) < (1 if by_time else MIN_OLDER):
            continue
        border = train.max() if by_time else train.quantile(1 - OLDER_SHARE)
        older = int((test < border).sum())
        if older > (0 if by_time else OLDER_SHARE * len(test)):
            evidence = (
                f"{older:,} of {len(test):,} test rows have a {name!r} before {border}, where"
                f" {'training ends' if by_time else f'{OLDER_SHARE:.0%} of training begins'}"
            )
            findings.append(Finding(Leak.OLDER_TEST, (name,), evidence))
    if by_time or findings or not columns or split.method is SplitMethod.GROUP:
        return tuple(findings), ()
    return (), (
        f"The table has times ({listed([repr(name) for name in columns])}) and split.method is"
        f" {split.method}: training knows rows that are newer than test rows. If the model is to"
        " predict what comes next, split by time.",
    )


def _answers_given(
    prepared: Prepared, parts: Splits, split: settings.Split, seed: int
) -> list[Finding]:
    """Look for all that ties columns to the target."""
    known = np.sort(np.concatenate([parts.train, parts.valid]))
    frame = prepared.frame.iloc[known].reset_index(drop=True)
    found: list[Finding] = []

    def others() -> Schema:
        # A column that gives the answer alone does so in every company.
        named = {name for finding in found for name in finding.columns}
        kept = tuple(column for column in prepared.schema.columns if column.name not in named)
        return replace(prepared.schema, columns=kept)

    found += rebuilt_by_one(frame, others(), seed)
    found += telling_gaps(frame, others())
    found += ordered_ids(prepared.frame, others(), parts, seed)
    if split.method in (SplitMethod.RANDOM, SplitMethod.STRATIFIED):
        found += groups_on_both_sides(prepared.frame, prepared.extra, others(), parts)
    found += near_perfect(frame, others(), seed)
    found += rebuilt_by_two(frame, others(), seed)
    return found


def _told(finding: Finding) -> str:
    return f"{finding.kind.replace('_', ' ')}: {finding.evidence}"


def _is_number(column: pd.Series) -> bool:
    types = pd.api.types
    return types.is_numeric_dtype(column) or types.is_datetime64_any_dtype(column)


def _numbers(column: pd.Series) -> np.ndarray:
    """Give a column as float64, a time in seconds since the first one."""
    if pd.api.types.is_datetime64_any_dtype(column):
        return (column - column.min()).dt.total_seconds().to_numpy("float64")
    return column.to_numpy("float64", na_value=np.nan)


@dataclass(frozen=True)
class _Affine:
    """Whether values are the target but for a factor and a shift."""

    y: np.ndarray
    """Target, shape (n_rows,)."""
    usual: np.ndarray
    """Mask of the rows with the most common value, if it is common enough to matter."""
    tolerance: float
    """How far a row may be off."""
    sample: np.ndarray
    """Rows to try first, in random order."""
    seed: int
    """Of the rows that are sampled."""

    def agreement(self, values: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Share of ``rows`` that agree, for each line of ``values``, shape (n, n_rows)."""
        y, usual = self.y[rows], self.usual[rows]
        off = self._off(values, y)[0]
        shares = []
        for part in (usual, ~usual):
            if part.any():
                filled = np.isfinite(values[:, part])
                agreeing = (off[:, part] <= self.tolerance).sum(axis=1)
                enough = filled.mean(axis=1) >= 0.5
                shares.append(np.where(enough, agreeing / np.maximum(filled.sum(axis=1), 1), 0))
        return np.min(shares, axis=0)

    def evidence(self, values: np.ndarray, told: str, target: str) -> str | None:
        """Tell the formula, if it holds on nearly all rows where there are values."""
        every = np.flatnonzero(np.isfinite(values))
        rows = every
        if len(every) > SAMPLE:
            rows = np.random.default_rng(self.seed).choice(every, SAMPLE, replace=False)
        if len(rows) < MIN_ROWS or (~self.usual[rows]).sum() < MIN_ROWS / 2:
            return None
        fitted = self._off(values[None, rows], self.y[rows])
        near = rows[fitted[0][0] <= 2 * self.tolerance]
        if len(near) < SCREENED_SHARE * len(rows):
            return None
        # Medians of rounded values are a little off; these rows are the right ones.
        x, y = values[near], self.y[near]
        largest = float(np.abs(x).max())
        from_mean = x / largest - (x / largest).mean() if largest else x
        spread = float(from_mean @ from_mean)
        if not spread:
            return None
        factor = float(from_mean @ y) / spread / largest
        shift = float(y.mean()) - factor * largest * float((x / largest).mean())
        agreeing = np.abs(self.y[every] - factor * values[every] - shift) <= self.tolerance
        usual = self.usual[every]
        shares = [agreeing[part].mean() for part in (usual, ~usual) if part.any()]
        if min(shares) < REBUILT_SHARE:
            return None
        exact = abs(shift) <= self.tolerance / 2
        tail = "" if exact else f" {'-' if shift < 0 else '+'} {abs(shift):.6g}"
        return (
            f"{target} is {factor:.6g} * {told}{tail} in {agreeing.sum():,} of {len(every):,} rows"
        )

    def _off(self, values: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, ...]:
        """Fit factor and shift by medians, which a few wrong rows don't move."""
        order = np.argsort(y, kind="stable")
        half = len(order) // 2
        low, high = order[:half], order[len(order) - half :]
        differ = y[high] != y[low]
        low, high = low[differ], high[differ]
        if not len(low):
            return np.full(values.shape, np.inf), np.zeros(len(values)), np.zeros(len(values))
        with np.errstate(all="ignore"):
            slopes = (y[high] - y[low]) / (values[:, high] - values[:, low])
            factor = _medians(slopes)
            rest = y - factor[:, None] * values
            shift = _medians(rest)
            off = np.abs(rest - shift[:, None])
        return np.where(np.isfinite(off), off, np.inf), factor, shift


def _quantity(y: np.ndarray, schema: Schema, seed: int) -> _Affine | None:
    """Prepare a target of numbers; None for classes that aren't, or only two."""
    if schema.problem.is_classification:
        labels = schema.classes
        if len(labels) < 3 or any(isinstance(label, str | bool) for label in labels):
            return None
        y = np.array([float(label) for label in labels])[y]
    distinct, counts = np.unique(y, return_counts=True)
    usual = y == distinct[counts.argmax()]
    if usual.mean() <= MODE_SHARE or usual.all():
        usual = np.zeros(len(y), dtype=bool)
    spread = np.ptp(np.quantile(y, [0.05, 0.95]))
    if not spread:
        spread = np.ptp(np.quantile(np.append(y[~usual], y[usual][:1]), [0.05, 0.95]))
    random = np.random.default_rng(seed)
    unusual = random.permutation(np.flatnonzero(~usual))[: SAMPLE // 4]
    common = random.permutation(np.flatnonzero(usual))[: len(unusual) // 2]
    sample = random.permutation(np.concatenate([unusual, common]))
    return _Affine(y, usual, ROUNDING * float(spread), sample, seed)


@dataclass(frozen=True)
class _Separation:
    """Whether each class has a range of the values to itself."""

    y: np.ndarray
    """Codes of the classes, shape (n_rows,)."""
    seed: int
    """Of the order of rows with equal values."""

    @property
    def sample(self) -> np.ndarray:
        """Rows to try first, in random order, as many of each class."""
        return _balanced(self.y, SAMPLE // 4, self.seed)

    def agreement(self, values: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Share of the rarest class that is in its place, for each line of ``values``."""
        y = self.y[rows]
        counts = np.bincount(y)
        counts = counts[counts > 0]
        if len(counts) < 2:
            return np.zeros(len(values))
        # Sorted by value, the class changes once between two classes and twice for each row
        # that is out of place.
        ordered = y[np.argsort(values, axis=1, kind="stable")]
        changes = (ordered[:, 1:] != ordered[:, :-1]).sum(axis=1)
        wrong = np.maximum(changes - (len(counts) - 1), 0) / 2
        return np.where(np.isfinite(values).all(axis=1), 1 - wrong / counts.min(), 0)

    def evidence(self, values: np.ndarray, told: str, target: str) -> str | None:
        """Tell that the classes are apart, if they are on nearly all rows."""
        large = np.bincount(self.y) >= MIN_CLASS
        rows = np.flatnonzero(np.isfinite(values) & large[self.y])
        rows = np.random.default_rng(self.seed).permutation(rows)
        if len(rows) < 2 * MIN_CLASS or len(rows) < len(values) / 2:
            return None
        share = self.agreement(values[None, rows], rows)[0]
        if share < REBUILT_SHARE:
            return None
        wrong = round((1 - share) * np.bincount(self.y[rows])[large].min())
        return (
            f"{told} has a range for each class of {target}, with {wrong:,} of {len(rows):,} rows"
            " out of place"
        )


@dataclass(frozen=True)
class _Codes:
    """Whether values are the classes under other names."""

    y: np.ndarray
    """Codes of the classes, shape (n_rows,)."""
    seed: int
    """Of the rows that are sampled."""

    def evidence(self, column: pd.Series, told: str, target: str) -> str | None:
        """Tell that each class has a value of its own, if it has on nearly all rows."""
        n_classes = int(self.y.max()) + 1
        rows = np.random.default_rng(self.seed).permutation(len(column))[:SAMPLE]
        if column.iloc[rows].nunique() > 2 * n_classes + 2:
            return None
        values, levels = pd.factorize(column, use_na_sentinel=False)
        counts = np.zeros((len(levels), n_classes), dtype=int)
        np.add.at(counts, (values, self.y), 1)
        own = counts.argmax(axis=0)
        mutual = counts[own].argmax(axis=1) == np.arange(n_classes)
        matching = np.where(mutual, counts[own, np.arange(n_classes)], 0)
        sizes = counts.sum(axis=0)
        large = sizes >= min(MIN_CLASS, sizes.max())
        if large.sum() < 2 or (matching < REBUILT_SHARE * sizes)[large].any():
            return None
        # The first row of each class agrees with any column.
        if matching.sum() < REBUILT_SHARE * len(column) or len(column) - large.sum() < MIN_ROWS:
            return None
        return (
            f"each class of {target} has one value of {told}, in {matching.sum():,} of"
            f" {len(column):,} rows"
        )


def _passing(sample: np.ndarray, test: _Affine | _Separation) -> Iterator[tuple[int, int, str]]:
    """Yield the pairs of columns, and how they are combined, that pass on a sample."""
    few = slice(0, SCREEN)
    rows = test.sample
    passing = []
    i, j = np.triu_indices(sample.shape[1], 1)
    for sign, first, second in (
        ("-", i, j),
        ("+", i, j),
        ("/", i, j),
        ("/", j, i),
        ("*", i, j),
    ):
        values = _combine(sign, sample[few][:, first], sample[few][:, second]).T
        for place in np.flatnonzero(test.agreement(values, rows[few]) >= SCREENED_SHARE):
            a, b = int(first[place]), int(second[place])
            whole = _combine(sign, sample[:, a], sample[:, b])[None]
            share = test.agreement(whole, rows)[0]
            if share >= REBUILT_SHARE - 0.01:
                passing.append((share, a, b, sign))
    passing.sort(key=lambda each: -each[0])
    yield from (each[1:] for each in passing[:MAX_VERIFIED])


def _combine(sign: str, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):
        match sign:
            case "+":
                return a + b
            case "-":
                return a - b
            case "*":
                return a * b
            case _:
                return a / b


def _medians(values: np.ndarray) -> np.ndarray:
    """Median of each line, where missing values don't count and NaN stands for none."""
    ordered = np.sort(values, axis=1)
    n_filled = (~np.isnan(ordered)).sum(axis=1)
    middle = np.maximum(n_filled - 1, 0)
    lines = np.arange(len(values))
    return (ordered[lines, middle // 2] + ordered[lines, (middle + 1) // 2]) / 2


def _balanced(y: np.ndarray, n: int, seed: int) -> np.ndarray:
    """Draw rows of each class that has enough of them, as many of each as there are, up to n."""
    random = np.random.default_rng(seed)
    labels, counts = np.unique(y, return_counts=True)
    labels = labels[counts >= MIN_CLASS]
    if len(labels) < 2:
        return np.arange(0)
    most = max(n // len(labels), MIN_CLASS)
    drawn = [random.permutation(np.flatnonzero(y == label))[:most] for label in labels]
    return random.permutation(np.concatenate(drawn))


@dataclass(frozen=True)
class _Answer:
    """A target that predictions are scored against."""

    y: np.ndarray
    """Codes of the classes, or ranks between 0 and 1, shape (n_rows,)."""
    n_classes: int
    """0 for a quantity."""

    @classmethod
    def of(cls, frame: pd.DataFrame, schema: Schema) -> "_Answer":
        y = table.encode_target(frame[schema.target], schema)
        if schema.problem.is_classification:
            return cls(y, len(schema.classes))
        # Ranks: a few very large values would decide a score by themselves.
        return cls(rankdata(y) / len(y), 0)

    def only(self, rows: np.ndarray) -> "_Answer":
        return replace(self, y=self.y[rows])

    def sample(self, n: int, seed: int) -> np.ndarray:
        if self.n_classes:
            return _balanced(self.y, n, seed)
        return np.random.default_rng(seed).permutation(len(self.y))[:n]

    def limit(self, auc: float, r2: float) -> float:
        return auc if self.n_classes else r2

    def scored(self, score: float) -> str:
        if not self.n_classes:
            return f"an R² of {score:.3f} on its ranks"
        return f"a ROC AUC of {score:.4f}"

    @property
    def one_hot(self) -> np.ndarray:
        """What a mean is taken of, shape (n_rows, n_classes or 1)."""
        if self.n_classes:
            return np.eye(self.n_classes)[self.y]
        return self.y[:, None]

    def score(self, predicted: np.ndarray) -> float:
        """Score predictions of shape (n_rows, n_classes or 1)."""
        if not self.n_classes:
            total = ((self.y - self.y.mean()) ** 2).sum()
            return 1 - float(((self.y - predicted[:, 0]) ** 2).sum() / total) if total else 0.0
        aucs = [
            _auc(predicted[:, code], self.y == code)
            for code in range(1 if self.n_classes == 2 else 0, self.n_classes)
            if min((self.y == code).sum(), (self.y != code).sum()) >= MIN_CLASS / 2
        ]
        return float(np.mean(aucs)) if aucs else 0.0

    def chance(self) -> float:
        """Score that a column of noise reaches once in a thousand times at most."""
        n = len(self.y)
        if not self.n_classes:
            # Rows with equal targets count as one.
            shares = np.unique(self.y, return_counts=True)[1] / n
            return 9 / max(n * (1 - (shares**2).sum()) - 1, 1)
        counts = np.bincount(self.y)
        rarest = int(counts[counts >= min(MIN_CLASS / 2, counts.max())].min())
        return 0.5 + 3 * float(np.sqrt((n + 1) / (12 * rarest * max(n - rarest, 1))))


def _auc(scores: np.ndarray, positive: np.ndarray) -> float:
    n = int(positive.sum())
    above = rankdata(scores)[positive].sum() - n * (n + 1) / 2
    return float(above / (n * (len(positive) - n)))


def _folds(y: np.ndarray, seed: int) -> np.ndarray:
    """Deal rows to two folds that hold the same targets."""
    noise = np.random.default_rng(seed).random(len(y))
    folds = np.empty(len(y), dtype=int)
    folds[np.lexsort((noise, y))] = np.arange(len(y)) % 2
    return folds


def _score_alone(values: pd.Series, kind: Kind, answer: _Answer, folds: np.ndarray) -> float:
    """Score one column out of sample."""
    if kind is Kind.CATEGORY or not _is_number(values):
        codes = pd.factorize(values, use_na_sentinel=False)[0]
        predict: Callable[..., np.ndarray] = _group_means
        x = codes
    else:
        predict, x = _tree, _scaled(_numbers(values))
    predicted = np.empty((len(x), max(answer.n_classes, 1)))
    for fold in (0, 1):
        fit, rest = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        predicted[rest] = predict(x[fit], answer.only(fit), x[rest])
    score = answer.score(predicted)
    if predict is _tree:
        score = max(score, _order_score(x, answer))
    return score


def _scaled(x: np.ndarray) -> np.ndarray:
    """Shift and scale values to -1..1: trees round to single precision."""
    filled = x[~np.isnan(x)]
    if not len(filled):
        return x
    middle = np.median(filled)
    largest = np.abs(filled / 2 - middle / 2).max()
    return (x / 2 - middle / 2) / largest if largest else x - middle


def _order_score(x: np.ndarray, answer: _Answer) -> float:
    """Score the order of the values, which needs no fit but its direction."""
    filled = ~np.isnan(x)
    if answer.n_classes > 2 or filled.mean() < 0.5 or filled.sum() < MIN_ROWS:
        return 0.0
    x, answer = rankdata(x[filled]), answer.only(filled)
    if np.ptp(x) == 0 or np.ptp(answer.y) == 0:
        return 0.0
    if answer.n_classes:
        return max(answer.score(np.column_stack([-x, x])), answer.score(np.column_stack([x, -x])))
    return float(np.corrcoef(x, rankdata(answer.y))[0, 1] ** 2)


def _tree(x: np.ndarray, answer: _Answer, at: np.ndarray) -> np.ndarray:
    size = max(2, min(5, len(x) // 50))
    if not answer.n_classes:
        tree = DecisionTreeRegressor(max_leaf_nodes=64, min_samples_leaf=size, random_state=0)
        return tree.fit(x[:, None], answer.y).predict(at[:, None])[:, None]
    tree = DecisionTreeClassifier(
        max_leaf_nodes=max(8, 2 * answer.n_classes), min_samples_leaf=size, random_state=0
    )
    tree.fit(x[:, None], answer.y)
    predicted = np.zeros((len(at), answer.n_classes))
    predicted[:, tree.classes_] = tree.predict_proba(at[:, None])
    return predicted


def _group_means(codes: np.ndarray, answer: _Answer, at: np.ndarray) -> np.ndarray:
    """Predict the mean of a value's rows; the mean of all for a value that wasn't seen."""
    known = answer.one_hot
    size = int(max(codes.max(initial=0), at.max(initial=0))) + 1
    sums = np.column_stack([np.bincount(codes, known[:, k], size) for k in range(known.shape[1])])
    counts = np.bincount(codes, minlength=size)[:, None]
    means = np.where(counts, sums / np.maximum(counts, 1), known.mean(axis=0))
    return means[at]


def _gap_of_class(missing: np.ndarray, y: np.ndarray, name: str, schema: Schema) -> str | None:
    sizes = np.bincount(y, minlength=len(schema.classes))
    for marked, word in ((~missing, "filled"), (missing, "empty")):
        inside = np.bincount(y[marked], minlength=len(schema.classes))
        n, code = int(marked.sum()), int(inside.argmax())
        others = n - int(inside[code])
        expected = n * (1 - sizes[code] / len(y))
        if (
            n
            and others <= GAP_ERROR * n
            and expected >= max(GAP_EXPECTED, GAP_LIFT * others)
            and inside[code] >= GAP_RECALL * sizes[code]
        ):
            return (
                f"{name!r} is {word} in {n:,} of {len(y):,} rows, and {inside[code]:,} of them"
                f" are {schema.target} = {schema.classes[code]!r}, which holds"
                f" {sizes[code]:,} rows"
            )
    return None


def _gap_of_quantity(missing: np.ndarray, y: np.ndarray, name: str, schema: Schema) -> str | None:
    n = int(min(missing.sum(), (~missing).sum()))
    if n < max(MIN_ROWS / 2, GAP_ERROR * len(y)):
        return None
    auc = _auc(y, ~missing)
    if max(auc, 1 - auc) <= 1 - GAP_ERROR:
        return None
    border = np.quantile(y, missing.mean() if auc > 0.5 else 1 - missing.mean())
    side = "above" if auc > 0.5 else "below"
    return (
        f"{name!r} is filled in {(~missing).sum():,} of {len(y):,} rows, where {schema.target} is"
        f" {side} about {border:.4g} (ROC AUC {max(auc, 1 - auc):.4f})"
    )


def _id_numbers(column: pd.Series) -> np.ndarray | None:
    """Give the numbers of a column that is different in nearly every row, else None."""
    text = not _is_number(column)
    if not text and not pd.api.types.is_float_dtype(column):
        return None
    head = column.iloc[:SAMPLE]
    if head.nunique() < ID_SHARE * len(head) or head.isna().any():
        return None
    if text:
        if not head.str.contains(r"\d").all():
            return None
        digits = column.str.extract(r"(\d+)\D*$", expand=False)
        numbers = pd.to_numeric(digits, errors="coerce").to_numpy("float64")
    else:
        numbers = column.to_numpy("float64")
        if (head % 1).any():
            return None
    if pd.unique(numbers).size < ID_SHARE * len(numbers):
        return None
    return numbers


def _order(numbers: np.ndarray, frame: pd.DataFrame, times: Sequence[str]) -> str | None:
    """Name what the numbers are in the order of, if anything."""
    if _monotone(numbers):
        return "the order of the files"
    for name in times:
        order = np.argsort(frame[name].to_numpy(), kind="stable")
        if _monotone(numbers[order]):
            return f"the order of {name!r}"
    return None


def _monotone(numbers: np.ndarray) -> bool:
    up = float((np.diff(numbers) > 0).mean()) if len(numbers) > 1 else 0.5
    return max(up, 1 - up) >= ORDERED_SHARE


def _score_in_place(
    numbers: np.ndarray, answer: _Answer, parts: Splits, seed: int
) -> tuple[float, float]:
    """Score validation rows by a tree on training rows, few rows by their order; and chance."""
    train, valid = parts.train, parts.valid
    numbers = _scaled(numbers)
    if len(valid) < 5 * MIN_CLASS:
        known = np.sort(np.concatenate([train, valid]))
        few = answer.only(known)
        predicted = np.empty((len(known), max(answer.n_classes, 1)))
        folds = _folds(few.y, seed)
        for fold in (0, 1):
            fit, rest = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
            predicted[rest] = _tree(numbers[known][fit], few.only(fit), numbers[known][rest])
        return max(few.score(predicted), _order_score(numbers[known], few)), few.chance()
    random = np.random.default_rng(seed)
    train, valid = random.permutation(train)[:SAMPLE], random.permutation(valid)[:SAMPLE]
    held = answer.only(valid)
    return held.score(_tree(numbers[train], answer.only(train), numbers[valid])), held.chance()


def _group_codes(column: pd.Series) -> np.ndarray | None:
    """Give codes, -1 for missing, of a column whose values may be names of groups."""
    types = pd.api.types
    if types.is_datetime64_any_dtype(column) or types.is_bool_dtype(column):
        return None
    head = column.iloc[:SAMPLE].dropna()
    fewest = min(MIN_GROUPS, max(MIN_GROUPS_SMALL, len(column) // 8))
    if head.nunique() < fewest:
        return None
    if types.is_numeric_dtype(column) and (head.to_numpy("float64") % 1).any():
        return None
    codes, levels = pd.factorize(column)
    return codes if fewest <= len(levels) <= MAX_GROUPS * len(column) else None


def _group_evidence(codes: np.ndarray, column: pd.Series, answer: _Answer) -> str | None:
    """Tell how well the other rows of a group predict, unless neighbouring values do as well."""
    counts = np.bincount(codes[codes >= 0])
    rows = np.flatnonzero((codes >= 0) & (counts[codes] > 1))
    if len(rows) < max(MIN_SEEN * len(codes), MIN_ROWS):
        return None
    held = answer.only(rows)
    sums = np.column_stack([np.bincount(codes[rows], each) for each in held.one_hot.T])
    others = (sums[codes[rows]] - held.one_hot) / (counts[codes[rows]] - 1)[:, None]
    score = held.score(others)
    if score < answer.limit(GROUP_AUC, GROUP_R2):
        return None
    numbers = _numbers(column) if _is_number(column) else _digits(column)
    if numbers is not None:
        # A class is nearly constant within one value of any good column; a quantity is so for
        # its neighbouring values too.
        around = held.score(_around(numbers[rows], held))
        if 1 - around < GROUP_GAIN * (1 - score) or around > answer.limit(AROUND_AUC, AROUND_R2):
            return None
    return answer.scored(score)


def _digits(column: pd.Series) -> np.ndarray | None:
    digits = column.astype("str").str.extract(r"(\d+(?:\.\d+)?)", expand=False)
    numbers = pd.to_numeric(digits, errors="coerce").to_numpy("float64")
    return None if np.isnan(numbers).mean() > 0.5 else numbers


def _around(x: np.ndarray, answer: _Answer) -> np.ndarray:
    """Predict each row by the rows of the next smaller and the next larger value."""
    levels, codes = np.unique(x, return_inverse=True)
    counts = np.bincount(codes)[:, None]
    means = np.column_stack([np.bincount(codes, each) for each in answer.one_hot.T]) / counts
    below = np.maximum(codes - 1, 0)
    above = np.minimum(codes + 1, len(levels) - 1)
    return (means[below] + means[above]) / 2


def _oversampled(labels: np.ndarray, again: np.ndarray, schema: Schema) -> tuple[float, str]:
    """Tell of a class whose rows were written several times, to make up for its rarity."""
    for label in schema.classes:
        own = labels == label
        if own.sum() >= MIN_CLASS and again[own].mean() > MAX_REPEATED_CLASS:
            told = f", {again[own].sum():,} of {own.sum():,} of those that are {label!r}"
            return float(again[own].mean()), told
    return 0.0, ""


def _crowded(rows: pd.DataFrame, hashes: np.ndarray) -> float:
    """Share of the different rows that differ from another one in one column only."""
    _, first = np.unique(hashes, return_index=True)
    few = rows.iloc[np.sort(first)[:SAMPLE]]
    each = np.column_stack([table.row_hashes(few.iloc[:, [k]]) for k in range(few.shape[1])])
    random = np.random.default_rng(0)
    # A sum of hashes, each times an odd number of its column: take one out, and rows that
    # differ there only are equal.
    each *= random.integers(1, 2**62, each.shape[1], dtype="uint64") * np.uint64(2) + np.uint64(1)
    whole = each.sum(axis=1, dtype="uint64")
    near = np.zeros(len(few), dtype=bool)
    for k in range(each.shape[1]):
        without = pd.Series(whole - each[:, k])
        near |= without.duplicated(keep=False).to_numpy()
    return float(near.mean())
