"""How the rows had better be dealt to train, valid and test: by time, by group, or by chance."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ratchet.settings import SplitMethod
from ratchet.splits import MIN_PER_CLASS
from ratchet.survey.base import Choice, plain, share, shown, words
from ratchet.survey.target import Target

# Words by which the name of a column says when something happened,
_EVENTS = {
    *("date", "time", "timestamp", "datetime", "created", "pickup", "start", "started", "sold"),
    *("order", "ordered", "transaction", "event", "recorded", "measured", "visit", "admission"),
    *("departure", "arrival", "published", "day", "when", "booked", "paid", "observed", "logged"),
}
# and words of times that are about a thing and not about the row.
_OF_THINGS = {
    *("birth", "born", "birthday", "dob", "hire", "hired", "joined", "expiry", "expires", "due"),
    *("valid", "maturity", "built", "founded", "registered", "registration", "since"),
}
# Rows follow a time if their places and their times rank alike.
_FOLLOWS = 0.8
_MIN_MOMENTS = 20
# Rows that are ranked; more say nothing new.
_SAMPLE = 50_000

# A last month with a share between these is a test set of a usual size.
_MONTH = (0.05, 0.4)
# A month counts as full with this share of a usual month's rows.
_FULL = 0.5
_MIN_MONTHS = 3

# Those that rows may belong to: what is measured several times of one is alike.
_ENTITIES = {
    *("patient", "customer", "client", "user", "person", "subject", "household", "member"),
    *("account", "session", "device", "machine", "engine", "student", "employee", "player"),
    *("driver", "visitor", "donor", "family", "participant", "animal", "plant", "house"),
}
_NAMING = {"id", "no", "nr", "number", "code", "key", "uuid", "name"}
_GROUP_ROWS = (1.5, 100)
_MIN_GROUPS = 20


@dataclass(frozen=True)
class Dealing:
    """One way to deal the rows, and why."""

    method: SplitMethod
    """The method."""
    column: str | None
    """Column of the time or of the groups; None for chance."""
    test: float | str
    """Share or span of the test rows."""
    because: str
    """Sentences."""

    def choices(self) -> tuple[Choice, ...]:
        """Give it as settings."""
        return (
            Choice("split.method", self.method.value, self.because),
            Choice("split.column", self.column, ""),
            Choice("split.test", self.test, ""),
        )


def ways(frame: pd.DataFrame, target: Target, dropped: Collection[str]) -> list[Dealing]:
    """List the ways to deal the rows, the best first; the last one always works.

    Parameters
    ----------
    frame : pd.DataFrame
        All columns of the table.
    target : Target
        What is predicted, and from which rows.
    dropped : collection of str
        Columns that the model won't see.
    """
    rows = frame.loc[target.rows]
    found = []
    moment, why = _moment(rows, dropped)
    groups = _groups(rows, set(target.sources) | set(dropped))
    if moment is not None:
        test, told = _test_size(rows[moment])
        also = ""
        if groups:
            also = (
                f" {plain(groups[0])} repeats: to be judged on others than those in training,"
                " split by group."
            )
        found.append(
            Dealing(
                SplitMethod.TIME,
                moment,
                test,
                f"{plain(moment)} says when a row came to be ({why}): the model is judged on rows"
                f" later than those that it has learned from, as it will be used.{told}{also}",
            )
        )
    for name in groups:
        found.append(Dealing(SplitMethod.GROUP, name, 0.2, _of_group(rows[name])))
    found += _by_chance(target)
    return found


def by_group(name: str, because: str) -> Dealing:
    """Deal by a column whose groups were found on both sides."""
    return Dealing(SplitMethod.GROUP, name, 0.2, because)


def _by_chance(target: Target) -> list[Dealing]:
    chance = Dealing(SplitMethod.RANDOM, None, 0.2, "By chance: no column says otherwise.")
    if not target.classes or target.rarest < 2 * MIN_PER_CLASS:
        return [chance]
    alike = "By chance, with the same share of each class in every part: no column says otherwise."
    return [Dealing(SplitMethod.STRATIFIED, None, 0.2, alike), chance]


def _moment(rows: pd.DataFrame, dropped: Collection[str]) -> tuple[str | None, str]:
    """Find the column that says when each row came to be, and why it does."""
    fitting = [
        str(name)
        for name in rows.columns
        if pd.api.types.is_datetime64_any_dtype(rows[name])
        and name not in dropped
        and not set(words(str(name))) & _OF_THINGS
        and not rows[name].isna().any()
        and rows[name].nunique() >= _MIN_MOMENTS
    ]
    following = [name for name in fitting if _rank_alike(rows[name]) >= _FOLLOWS]
    if following:
        return _earliest(rows, following), "the rows follow it"
    called = [name for name in fitting if set(words(name)) & _EVENTS]
    return (_earliest(rows, called), "by its name") if called else (None, "")


def _rank_alike(times: pd.Series) -> float:
    step = max(1, len(times) // _SAMPLE)
    ranks = times.iloc[::step].rank(method="average").to_numpy("float64")
    places = np.arange(len(ranks), dtype="float64")
    return float(abs(np.corrcoef(places, ranks)[0, 1])) if np.ptp(ranks) else 0.0


def _earliest(rows: pd.DataFrame, names: Sequence[str]) -> str:
    """Of several times of one event, take the one at which it begins."""
    return min(names, key=lambda name: rows[name].mean())


def _test_size(times: pd.Series) -> tuple[float | str, str]:
    months = times.dt.to_period("M").value_counts().sort_index()
    usual = float(np.median(np.repeat(months.to_numpy(), months.to_numpy())))
    full = months[months >= _FULL * usual]
    low, high = shown(times.quantile(0.001)), shown(times.quantile(0.999))
    spans = f" They span {low} to {high}."
    if len(full) >= _MIN_MONTHS:
        last = months[full.index.max()] / full.sum()
        if full.index.max() == months[months >= 0.01 * usual].index.max() and (
            _MONTH[0] <= last <= _MONTH[1]
        ):
            return "1 month", f"{spans} The last whole month holds {share(last, 1)} of the rows."
    return 0.2, spans


def _groups(rows: pd.DataFrame, hidden: Collection[str]) -> list[str]:
    """Name the columns of those that rows belong to, the finest first."""
    found = []
    for name in map(str, rows.columns):
        told = words(name)
        whose = (told[-1:] and told[-1] in _NAMING and set(told) & _ENTITIES) or (
            len(told) == 1 and told[0] in (_ENTITIES | {"id"})
        )
        column = rows[name]
        if name in hidden or not whose or column.isna().any():
            continue
        if pd.api.types.is_float_dtype(column) or pd.api.types.is_datetime64_any_dtype(column):
            continue
        distinct = column.nunique()
        if distinct >= _MIN_GROUPS and _GROUP_ROWS[0] <= len(column) / distinct <= _GROUP_ROWS[1]:
            found.append((-distinct, name))
    return [name for _, name in sorted(found)]


def _of_group(column: pd.Series) -> str:
    distinct = column.nunique()
    return (
        f"{plain(str(column.name))} has {distinct:,} different values in {len(column):,} rows, so"
        " that several rows are of one. None is on two sides: the model is judged on others than"
        " those that it has learned from."
    )
