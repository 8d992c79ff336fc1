"""What a table must be like, kept in one file that a user edits, and checked all at once."""

import difflib
import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import numpy as np
import pandas as pd
from pydantic import BeforeValidator, Field, ValidationError, model_validator

from ratchet import files
from ratchet.errors import DataError, SettingsError
from ratchet.expressions import listed
from ratchet.settings import Section

if TYPE_CHECKING:
    from pandera.errors import SchemaError

FILE = "schema.json"
"""Name of the file where nobody has given another."""

# Rows that a failure names; the rest are counted.
EXAMPLES = 3
# A column of text, or of whole numbers that repeat, has so many different values at most to be
# labels, each of which stands in so many rows on average.
MAX_LABELS = 20
MIN_ROWS_PER_LABEL = 5
# From so many rows on, a column without a value twice is held to that.
MIN_UNIQUE = 100
# A range is that of all but this share of the rows at either end, and wider than that by this
# share of itself: one wrong trip of 100,000 miles must not make room for miles told in yards.
TAIL = 0.005
SLACK = 0.5
# So many rows may lie outside of it.
OUTLIERS = 0.01
# A share of missing values may grow by these before it is told.
MISSING_FACTOR, MISSING_MORE = 1.5, 0.02
# As rows are added every month, only a table that has lost half of its own is told.
MIN_ROWS_SHARE = 0.5


class Holds(StrEnum):
    """What the values of a column mean; how they are stored does not count."""

    NUMBER = "number"
    """Numbers of any width."""
    WHOLE = "whole"
    """Numbers without a fraction, also where they are stored as floats."""
    TEXT = "text"
    """Text, labels among it."""
    BOOLEAN = "boolean"
    """True or false."""
    DATETIME = "datetime"
    """Points in time."""


OnFailure = Literal["fail", "warn"]
Rule = Literal["holds", "min", "max", "values", "missing", "unique", "required"]
_PLURAL = {
    Holds.NUMBER: "numbers",
    Holds.WHOLE: "whole numbers",
    Holds.TEXT: "text",
    Holds.BOOLEAN: "true or false",
    Holds.DATETIME: "points in time",
}


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


Label = str | int | float | bool
Share = Annotated[float, Field(ge=0, le=1)]


class ColumnRules(Section):
    """What one column must be like; what is left out is not checked."""

    holds: Annotated[Holds, Field(strict=False)] | None = None
    """number, whole, text, boolean or datetime."""
    min: int | float | str | None = None
    """Smallest value: a number, or a point in time such as `2024-01-31`."""
    max: int | float | str | None = None
    """Largest value."""
    outliers: Share = 0.0
    """Largest share of rows that may lie below `min`, and above `max`, 0 to 1."""
    values: Annotated[tuple[Label, ...], BeforeValidator(_tuple)] | None = None
    """The only values there may be."""
    missing: Share | None = None
    """Largest share of rows without a value, 0 to 1."""
    unique: bool = False
    """Whether no value may stand in two rows."""
    required: bool = True
    """Whether the column must be there."""
    on_failure: OnFailure | dict[Rule, OnFailure] | None = None
    """fail or warn, or one of them for single rules: `{"max": "warn"}`; else as the file says."""

    @model_validator(mode="after")
    def _bounds_that_fit(self) -> Self:
        for name in ("min", "max"):
            bound = getattr(self, name)
            if bound is None:
                continue
            if self.holds is Holds.DATETIME:
                try:
                    _moment(bound)
                except (TypeError, ValueError):
                    raise ValueError(
                        f"{name} must be a point in time such as 2024-01-31, got {bound!r}"
                    ) from None
            elif self.holds in (Holds.TEXT, Holds.BOOLEAN) or isinstance(bound, str):
                raise ValueError(f"{name} suits numbers and points in time, got {bound!r}")
        return self


class RowRules(Section):
    """How many rows there must be."""

    min: Annotated[int, Field(ge=0)] | None = None
    """Fewest rows."""
    max: Annotated[int, Field(ge=0)] | None = None
    """Most rows."""


class Rules(Section):
    """What a table must be like: the content of ``schema.json``."""

    on_failure: OnFailure = "fail"
    """What happens where a column says nothing else: fail stops prepare, warn tells of it."""
    rows: RowRules = RowRules()
    """How many rows there must be."""
    others: Literal["allow", "warn", "fail"] = "warn"
    """What happens with columns of the table that are not named here."""
    columns: dict[str, ColumnRules] = Field(default_factory=dict)
    """Rules by the name of their column."""

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a file of rules.

        Raises
        ------
        SettingsError
            If it isn't there, isn't JSON, or says what is not allowed, with every problem.
        """
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise SettingsError(
                f"{path} is not there, and data.checks names it. Write it with"
                " `ratchet checks --write`, or set data.checks to null."
            ) from None
        except OSError as error:
            raise SettingsError(f"Can't read {path}: {error.strerror}.") from None
        except ValueError as error:
            raise SettingsError(f"{path} is not valid JSON: {error}.") from None
        try:
            return cls.model_validate(value)
        except ValidationError as error:
            problems = list(dict.fromkeys(_problem(detail) for detail in error.errors()))
            if len(problems) == 1:
                raise SettingsError(f"{path}: {problems[0]}.") from None
            lines = [f"{path} has {len(problems)} problems:", *problems]
            raise SettingsError("\n  - ".join(lines)) from None

    def save(self, path: Path) -> None:
        """Write the rules as JSON, a column on a line, so that a change is a changed line."""
        value = self.model_dump(mode="json", exclude_defaults=True)
        columns = [
            f"    {json.dumps(name, ensure_ascii=False)}: {json.dumps(rules, ensure_ascii=False)}"
            for name, rules in value.pop("columns", {}).items()
        ]
        parts = [
            f"  {json.dumps(name)}: {json.dumps(each)}"
            for name, each in ({"on_failure": self.on_failure} | value).items()
        ]
        parts.append('  "columns": {\n' + ",\n".join(columns) + "\n  }")
        files.write_text(path, "{\n" + ",\n".join(parts) + "\n}\n")


@dataclass(frozen=True)
class Example:
    """A row that breaks a rule."""

    place: str
    """Where it stands, such as ``row 5 of b.csv``."""
    value: str | float | bool | None
    """What the column holds there; None for a missing value."""


@dataclass(frozen=True)
class Failure:
    """A rule that a table breaks."""

    column: str | None
    """The column; None for the number of rows."""
    rule: str
    """Which of its rules."""
    told: str
    """What is asked and what was found, as a sentence without a full stop."""
    count: int
    """Rows that break it; 0 where it is not about single rows."""
    examples: tuple[Example, ...]
    """The first of them."""
    on_failure: OnFailure
    """Whether it stops prepare or is only told."""


@dataclass(frozen=True)
class Report:
    """What came out of checking a table."""

    n_rows: int
    """Rows that were looked at."""
    n_checks: int
    """Rules that were checked."""
    failures: tuple[Failure, ...]
    """Those that are broken, in the order of the file."""

    @property
    def failed(self) -> tuple[Failure, ...]:
        """Broken rules that must hold."""
        return tuple(each for each in self.failures if each.on_failure == "fail")

    @property
    def warnings(self) -> tuple[Failure, ...]:
        """Broken rules that are only told."""
        return tuple(each for each in self.failures if each.on_failure == "warn")

    def save(self, path: Path, rules: Rules) -> None:
        """Write what was found and the rules that were asked as JSON."""
        asked = rules.model_dump(mode="json", exclude_defaults=True)
        files.write_json(path, {**asdict(self), "rules": asked})


@dataclass(frozen=True)
class Broken:
    """Rows that break a rule, or would if none were allowed to."""

    column: str
    """The column."""
    rule: str
    """Which of its rules."""
    count: int
    """How many rows; 0 where it is not about single rows."""
    examples: tuple[Example, ...]
    """The first of them."""


@dataclass(frozen=True)
class Tally:
    """What pieces of a table have that the whole is to be judged by.

    What may be so in a share of the rows may be so in a larger share of a piece. That no value
    stands in two rows, and how many rows there are, no piece can tell: these rules are left out.
    """

    n_rows: int = 0
    """Rows that were looked at."""
    broken: tuple[Broken, ...] = ()
    """What was found in them."""

    @classmethod
    def of(
        cls,
        frame: pd.DataFrame,
        rules: Rules,
        *,
        only: Collection[str],
        place: Callable[[int], str],
    ) -> Self:
        """Look at a piece, with the arguments of ``check``."""
        plain = frame.reset_index(drop=True)
        asked = [
            _Column.of(name, _without_exceptions(each), plain)
            for name, each in rules.columns.items()
            if name in only
        ]
        found = [
            _failure(column, error, len(plain), rules, place)
            for column, error in _broken(plain, asked)
        ]
        return cls(
            len(plain), tuple(Broken(str(f.column), f.rule, f.count, f.examples) for f in found)
        )

    def __add__(self, other: "Tally") -> "Tally":
        """Put the next piece behind this one."""
        known = {(each.column, each.rule): each for each in self.broken}
        for each in other.broken:
            before = known.get((each.column, each.rule), Broken(each.column, each.rule, 0, ()))
            known[each.column, each.rule] = replace(
                before,
                count=before.count + each.count,
                examples=(*before.examples, *each.examples)[:EXAMPLES],
            )
        return Tally(self.n_rows + other.n_rows, tuple(known.values()))

    @classmethod
    def from_plain(cls, value: Mapping[str, Any]) -> Self:
        """Build it from what ``dataclasses.asdict`` gave."""
        broken = (
            Broken(**{**each, "examples": tuple(Example(**e) for e in each["examples"])})
            for each in value["broken"]
        )
        return cls(value["n_rows"], tuple(broken))

    def report(
        self, rules: Rules, *, only: Collection[str], table: Collection[str] | None = None
    ) -> Report:
        """Judge the whole, as ``check`` judges a table.

        Parameters
        ----------
        rules : Rules
            What it must be like.
        only : collection of str
            Columns that are looked at.
        table : collection of str, optional
            All columns, where the pieces make a whole table: then the number of rows and
            other columns count, too.
        """
        named = {name: each for name, each in rules.columns.items() if name in only}
        columns = {
            name: _Column(name, each, None, pd.Series(dtype=float), True)
            for name, each in named.items()
        }
        failures = []
        for name, asked in named.items():
            shares = {"min": asked.outliers, "max": asked.outliers, "missing": asked.missing or 0}
            for each in self.broken:
                if each.column != name or 0 < each.count <= shares.get(each.rule, 0) * self.n_rows:
                    continue
                told = "must be there, and is not"
                if each.rule != "required":
                    told = _sentence(
                        each.rule, columns[name], each.count, self.n_rows, each.examples
                    )
                failures.append(
                    Failure(
                        name,
                        each.rule,
                        f"{name!r} {told}",
                        each.count,
                        each.examples,
                        _what_happens(asked, each.rule, rules),
                    )
                )
        n_checks = sum(len(column.rules) - column.asked.unique for column in columns.values())
        if table is not None:
            failures = [*_row_failures(rules, self.n_rows), *failures]
            failures += _other_failures(rules, table)
            counted = [bound for bound in (rules.rows.min, rules.rows.max) if bound is not None]
            n_checks += len(counted) + (rules.others != "allow")
        return Report(self.n_rows, n_checks, tuple(failures))


def check(
    frame: pd.DataFrame,
    rules: Rules,
    *,
    only: Collection[str] | None = None,
    place: Callable[[int], str] | None = None,
    parts: Mapping[str, np.ndarray] = MappingProxyType({}),
) -> Report:
    """Check every rule, and report all that are broken at once.

    It is the meaning that counts: numbers may be stored in any width and as
    whole numbers or floats, and a column without any value has no type to be
    wrong.

    Parameters
    ----------
    frame : pd.DataFrame of shape (n_rows, n_columns)
        The table, such as ``read_table`` gives it, or rows to predict.
    rules : Rules
        What it must be like.
    only : collection of str, optional
        Columns that are looked at, such as the features where rows have no
        target; then the number of rows and other columns don't count either.
    place : callable
        Says where the row at a position stands; None counts rows from 1.
    parts : mapping of str to np.ndarray of shape (n_rows_of_part,)
        Positions of the rows of parts, such as files: what may be so in a share of the rows may
        be so in that share of each, since one bad month is a small share of ten years.
    """
    plain = frame.reset_index(drop=True)
    place = place or _numbered
    named = {n: r for n, r in rules.columns.items() if only is None or n in only}
    asked = [_Column.of(name, each, plain) for name, each in named.items()]
    failures = [
        _failure(column, error, len(plain), rules, place) for column, error in _broken(plain, asked)
    ]
    told = {(each.column, each.rule) for each in failures}
    for name, positions in parts.items() if len(parts) > 1 else ():
        for each in _of_part(plain, named, rules, positions, place):
            if (each.column, each.rule) not in told:
                failures.append(replace(each, told=f"In {name}, {each.told}"))
    n_checks = sum(len(column.rules) for column in asked)
    if only is None:
        counted = [bound for bound in (rules.rows.min, rules.rows.max) if bound is not None]
        failures = [*_row_failures(rules, len(plain)), *failures]
        failures += _other_failures(rules, plain.columns)
        n_checks += len(counted) + (rules.others != "allow")
    return Report(len(plain), n_checks, tuple(failures))


def refuse(report: Report, source: str) -> None:
    """Stop at broken rules that must hold.

    Parameters
    ----------
    report : Report
        What ``check`` found.
    source : str
        Name of the file with the rules.

    Raises
    ------
    DataError
        With each of them.
    """
    if report.failed:
        raise DataError(
            "\n  - ".join(
                [
                    f"The table fails {len(report.failed)} of the {report.n_checks} checks in"
                    f" {source}:",
                    *(each.told for each in report.failed),
                ]
            )
            + f"\nMend the table, or edit {source} if the table is right."
        )


def infer(frame: pd.DataFrame, *, categorical: Collection[str] = ()) -> Rules:
    """Write down what a table is like, with room for what the next rows may bring.

    Parameters
    ----------
    frame : pd.DataFrame
        The table, as ``read_table`` gives it.
    categorical : collection of str
        Columns of numbers that are labels: few of them are listed one by one.

    Examples
    --------
    >>> rules = infer(pd.DataFrame({"size": [20.5, 80.0, None], "town": ["a", "b", "a"]}))
    >>> rules.columns["size"].model_dump(exclude_defaults=True)
    {'holds': <Holds.NUMBER: 'number'>, 'min': 0, 'max': 109, 'outliers': 0.01, 'missing': 0.52}
    """
    columns = {
        str(name): _inferred(frame[name], categorical=name in categorical) for name in frame.columns
    }
    fewest = max(1, int(len(frame) * MIN_ROWS_SHARE))
    return Rules(rows=RowRules(min=fewest), columns=columns)


def _of_part(
    plain: pd.DataFrame,
    named: Mapping[str, ColumnRules],
    rules: Rules,
    positions: np.ndarray,
    place: Callable[[int], str],
) -> Iterator[Failure]:
    """Check what may be so in a share of the rows in some of them."""
    part = plain.iloc[positions].reset_index(drop=True)
    asked = [
        _Column.of(name, each, part)
        for name, each in named.items()
        if name in part.columns and (each.outliers or each.missing)
    ]
    if not len(part):
        return
    for column, error in _broken(part, asked):
        yield _failure(column, error, len(part), rules, lambda row: place(int(positions[row])))


def _numbered(position: int) -> str:
    return f"row {position + 1:,}"


@dataclass(frozen=True)
class _Column:
    """A column as it is, and the rules that can be asked of it."""

    name: str
    asked: ColumnRules
    sort: Holds | None
    """What it holds; None where every value is missing."""
    values: pd.Series
    there: bool

    @classmethod
    def of(cls, name: str, rules: ColumnRules, frame: pd.DataFrame) -> "_Column":
        if name not in frame.columns:
            return cls(name, rules, None, pd.Series(dtype=float), False)
        sort, values = _plain(frame[name])
        return cls(name, rules, sort, values, True)

    @property
    def fits(self) -> bool:
        """Whether its values are of the sort that the rules are about."""
        wanted = Holds.NUMBER if self.asked.holds is Holds.WHOLE else self.asked.holds
        return self.sort is None or wanted in (None, self.sort)

    @property
    def rules(self) -> Mapping[str, str]:
        """Each rule that was given, as what the column must do."""
        asked, told = self.asked, {}
        most = f" but for {asked.outliers:.1%} of the rows" if asked.outliers else ""
        if asked.required:
            told["required"] = "be there"
        if asked.holds is not None:
            told["holds"] = f"hold {_PLURAL[asked.holds]}"
        if asked.min is not None:
            told["min"] = f"be at least {_bound(asked.min)}{most}"
        if asked.max is not None:
            told["max"] = f"be at most {_bound(asked.max)}{most}"
        if asked.values is not None:
            told["values"] = f"be one of {listed([str(each) for each in asked.values])}"
        if asked.missing is not None:
            told["missing"] = f"be missing in at most {asked.missing:.1%} of the rows"
        if asked.unique:
            told["unique"] = "hold no value twice"
        return told


def _broken(
    frame: pd.DataFrame, asked: Sequence[_Column]
) -> Iterator[tuple[_Column, "SchemaError"]]:
    """Ask pandera for every rule that is broken."""
    # pandera takes a fifth of a second to load, and who has no rules need not wait.
    import pandera.pandas as pandera
    from pandera.errors import SchemaErrorReason, SchemaErrors

    by_name = {column.name: column for column in asked}
    schema = pandera.DataFrameSchema(
        {
            column.name: pandera.Column(
                checks=_checks(column), nullable=True, required=column.asked.required
            )
            for column in asked
        }
    )
    values = pd.DataFrame(
        {column.name: column.values for column in asked if column.there}, index=frame.index
    )
    try:
        schema.validate(values, lazy=True)
    except SchemaErrors as errors:
        for error in errors.schema_errors:
            if error.reason_code is SchemaErrorReason.CHECK_ERROR:
                raise
            absent = error.reason_code is SchemaErrorReason.COLUMN_NOT_IN_DATAFRAME
            yield by_name[error.failure_cases if absent else error.schema.name], error


def _checks(column: _Column) -> list[Any]:
    import pandera.pandas as pandera

    asked, n = column.asked, len(column.values)
    checks = []

    def own(rule: str, holds: Callable[[pd.Series], pd.Series], **options: Any) -> Any:
        return pandera.Check(holds, name=rule, n_failure_cases=EXAMPLES, **options)

    if not column.fits:
        checks.append(own("holds", lambda values: _are(values, column)))
    elif asked.holds is Holds.WHOLE and column.sort is Holds.NUMBER:
        checks.append(own("holds", lambda values: values % 1 == 0))
    if column.fits and column.sort is not None:
        at = _moment if column.sort is Holds.DATETIME else float
        most = asked.outliers * n
        if asked.min is not None and (column.values < at(asked.min)).sum() > most:
            low = at(asked.min)
            checks.append(pandera.Check.ge(low, name="min", n_failure_cases=EXAMPLES))
        if asked.max is not None and (column.values > at(asked.max)).sum() > most:
            high = at(asked.max)
            checks.append(pandera.Check.le(high, name="max", n_failure_cases=EXAMPLES))
        if asked.values is not None:
            allowed = [_comparable(value, column.sort) for value in asked.values]
            checks.append(
                pandera.Check.isin(
                    [value for value in allowed if value is not None],
                    name="values",
                    n_failure_cases=EXAMPLES,
                )
            )
    if asked.missing is not None and column.values.isna().sum() > asked.missing * n:
        checks.append(own("missing", lambda values: values.notna(), ignore_na=False))
    if asked.unique:
        checks.append(own("unique", lambda values: ~values.duplicated()))
    return checks


def _are(values: pd.Series, column: _Column) -> pd.Series:
    """Mark the values that are what a column of another sort should hold."""
    if column.sort is Holds.TEXT and column.asked.holds in (Holds.NUMBER, Holds.WHOLE):
        numbers = pd.to_numeric(values, errors="coerce").notna()
        # Where all are numbers, somebody has written them as text: none is what it should be.
        return numbers if not numbers.all() else ~numbers
    return pd.Series(False, index=values.index)


def _failure(
    column: _Column, error: "SchemaError", n: int, rules: Rules, place: Callable[[int], str]
) -> Failure:
    if not column.there:
        rule, told, count = "required", "must be there, and is not", 0
        examples: tuple[Example, ...] = ()
    else:
        rule = str(getattr(error.check, "name", error.check))
        # What is missing breaks no rule but that about missing values, and pandera leaves it out.
        broken = ~error.check_output.astype(bool)
        count = int(broken.sum())
        examples = tuple(
            Example(place(int(row)), _shown(column.values.iloc[int(row)]))
            for row in broken.index[broken][:EXAMPLES]
        )
        told = _sentence(rule, column, count, n, examples)
    return Failure(
        column.name,
        rule,
        f"{column.name!r} {told}",
        count,
        examples,
        _what_happens(column.asked, rule, rules),
    )


def _what_happens(asked: ColumnRules, rule: str, rules: Rules) -> OnFailure:
    chosen = asked.on_failure
    if isinstance(chosen, dict):
        chosen = chosen.get(rule)  # type: ignore[call-overload]
    return chosen or rules.on_failure


def _without_exceptions(asked: ColumnRules) -> ColumnRules:
    """Ask that no row at all be one that a share may be, so that all of them are found."""
    missing = None if asked.missing is None else 0.0
    return asked.model_copy(update={"outliers": 0.0, "missing": missing, "unique": False})


def _sentence(rule: str, column: _Column, count: int, n: int, examples: Sequence[Example]) -> str:
    share = f"{count:,} of {n:,} rows ({count / n:.1%})"
    if rule == "missing":
        where = listed([example.place for example in examples])
        asked = column.rules[rule].replace("be missing", "may be missing")
        return f"{asked}, and is in {share}: {where}" + (", …" if count > len(examples) else "")
    shown = ", ".join(f"{_short(each.value)} in {each.place}" for each in examples)
    more = ", …" if count > len(examples) else ""
    verb = {"holds": "do not", "unique": "repeat one"}.get(rule, "are not")
    return f"must {column.rules[rule]}, and {share} {verb}: {shown}{more}"


def _row_failures(rules: Rules, n: int) -> list[Failure]:
    failures = []
    bounds = {"min": ("at least", rules.rows.min), "max": ("at most", rules.rows.max)}
    for rule, (told, bound) in bounds.items():
        if bound is not None and (n < bound if rule == "min" else n > bound):
            sentence = f"There must be {told} {bound:,} rows, and there are {n:,}"
            failures.append(Failure(None, f"rows.{rule}", sentence, 0, (), rules.on_failure))
    return failures


def _other_failures(rules: Rules, columns: Collection[Any]) -> list[Failure]:
    others = [str(name) for name in columns if name not in rules.columns]
    if rules.others == "allow" or not others:
        return []
    told = f"No rule names the columns {listed(others)}"
    if len(others) == 1:
        told = f"No rule names the column {others[0]}"
    return [Failure(None, "others", told, 0, (), rules.others)]


def _plain(column: pd.Series) -> tuple[Holds | None, pd.Series]:
    """Tell what a column holds, and bring it to the one dtype of its sort."""
    types = pd.api.types
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(column.cat.categories.dtype)
    if column.isna().all():
        return None, pd.Series(np.nan, index=column.index)
    if types.is_object_dtype(column):
        column = column.infer_objects()
        if types.infer_dtype(column, skipna=True) in ("decimal", "mixed-integer-float"):
            column = column.astype(float)
        elif types.infer_dtype(column, skipna=True) == "boolean":
            column = column.astype("boolean")
    if types.is_bool_dtype(column):
        return Holds.BOOLEAN, column.astype("boolean")
    if types.is_numeric_dtype(column):
        return Holds.NUMBER, pd.Series(column.to_numpy("float64", na_value=np.nan), column.index)
    if types.is_datetime64_any_dtype(column):
        zoned = isinstance(column.dtype, pd.DatetimeTZDtype)
        return Holds.DATETIME, column.dt.tz_convert(None) if zoned else column
    if types.is_timedelta64_dtype(column):
        return Holds.NUMBER, column.dt.total_seconds()
    return Holds.TEXT, column.astype("str")


def _comparable(value: Label, sort: Holds) -> Any:
    """Give an allowed value as a column of that sort holds it; None if it can't hold it."""
    if sort is Holds.BOOLEAN:
        return value if isinstance(value, bool) else None
    if sort is Holds.NUMBER:
        return float(value) if isinstance(value, int | float) else None
    if sort is Holds.DATETIME:
        return _moment(value) if isinstance(value, str) else None
    return str(value) if isinstance(value, str) else None


def _moment(value: Any) -> pd.Timestamp:
    if not isinstance(value, str):
        raise TypeError(value)
    moment = pd.Timestamp(value)
    return moment if moment.tzinfo is None else moment.tz_convert(None)


def _shown(value: Any) -> str | float | bool | None:
    """Give a value as JSON can hold it."""
    if pd.isna(value):
        return None
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, str):
        return value
    return float(value) if isinstance(value, int | float | np.number) else str(value)


def _bound(value: float | str) -> str:
    return value if isinstance(value, str) else _short(value)


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.10g}".replace(",", "")
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _inferred(column: pd.Series, *, categorical: bool) -> ColumnRules:
    sort, values = _plain(column)
    known = values.dropna()
    share = float(values.isna().mean())
    missing = min(1.0, float(np.ceil((share * MISSING_FACTOR + MISSING_MORE) * 100)) / 100)
    if sort is None:
        return ColumnRules()
    distinct = known.nunique()
    # Constants and gaps are no reason to refuse more of the same.
    labels = 1 < distinct <= MAX_LABELS and distinct * MIN_ROWS_PER_LABEL <= len(known)
    whole = sort is Holds.NUMBER and bool((known % 1 == 0).all())
    unique = (whole or sort is Holds.TEXT) and distinct == len(values) >= MIN_UNIQUE
    rules: dict[str, Any] = {"holds": Holds.WHOLE if whole else sort, "missing": missing}
    if unique:
        rules["unique"] = True
    if labels and (sort is Holds.TEXT or (categorical and whole)):
        distinct_values = sorted(known.unique())
        rules["values"] = (
            tuple(int(each) for each in distinct_values) if whole else tuple(distinct_values)
        )
    elif sort is Holds.NUMBER and not unique:
        rules |= _range(known, whole)
    elif sort is Holds.DATETIME:
        # No bound above: the next rows are newer.
        rules |= {"min": _earliest(known), "outliers": OUTLIERS}
    return ColumnRules(**rules)


def _range(values: pd.Series, whole: bool) -> dict[str, int | float]:
    low, high = (float(each) for each in values.quantile([TAIL, 1 - TAIL]))
    if not np.isfinite(high - low):
        return {}
    room = (high - low) * SLACK or abs(high) or 1.0
    # What is never negative is seldom meant to be.
    bounds = (max(0.0, low - room) if low >= 0 else low - room, high + room)
    rounded = [float(f"{bound:.3g}") for bound in bounds]
    if whole:
        rounded = [np.floor(rounded[0]), np.ceil(rounded[1])]
    low, high = (int(bound) if bound % 1 == 0 else bound for bound in rounded)
    return {"min": low, "max": high, "outliers": OUTLIERS}


def _earliest(times: pd.Series) -> str:
    ends: Any = times.quantile([TAIL, 1 - TAIL])
    first, last = ends
    earliest = first - (last - first) * SLACK
    beginning = pd.Timestamp("0001-01-01")
    return str(beginning if earliest < beginning else earliest)[:10]


def _problem(detail: Any) -> str:
    """Say one of pydantic's findings in our words."""
    path = [str(part) for part in detail["loc"]]
    name = ".".join(path)
    given = _short(detail["input"]) if not isinstance(detail["input"], Mapping) else "a section"
    match detail["type"]:
        case "extra_forbidden":
            section = ColumnRules if path[0] == "columns" else Rules
            section = RowRules if path[0] == "rows" else section  # type: ignore[assignment]
            close = difflib.get_close_matches(path[-1], section.model_fields, n=1)
            guess = f"; did you mean {close[0]}?" if close else ""
            allowed = listed(list(section.model_fields))
            return f"{name} is no rule{guess} Rules: {allowed}".replace("rule Rules", "rule. Rules")
        case "value_error":
            return f"{name}.{detail['ctx']['error']}"
        case "enum" | "literal_error":
            return f"{name} must be {detail['ctx']['expected']}, got {given}"
        case _:
            return f"{name}: {detail['msg'].removeprefix('Input ')}, got {given}"
