"""What the columns of a prepared table are: the record that every later step trusts."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from ratchet import files
from ratchet.expressions import Definition
from ratchet.problem import ProblemType

Label = str | int | float | bool


class Kind(StrEnum):
    """What a column holds, which decides how it is prepared."""

    NUMBER = "number"
    """A quantity; whole numbers are kept as floats, so that one may be missing."""
    CATEGORY = "category"
    """One of a few labels: text, or whole numbers that ``data.categorical`` names."""
    BOOLEAN = "boolean"
    """True or false."""
    DATETIME = "datetime"
    """A point in time, without a zone."""
    TEXT = "text"
    """Free text: too many different values to be labels."""


@dataclass(frozen=True)
class Column:
    """One feature column as the model's user hands it over."""

    name: str
    """Its name in the source."""
    kind: Kind
    """What it holds."""
    dtype: str
    """The pandas dtype in the prepared table, e.g. ``"float64"``."""
    optional: bool
    """Whether values were missing in training, so that a client may leave them out."""
    distinct: int
    """Different values in the training rows."""
    seen: bool = True
    """Whether it is a feature itself; else only features are computed from it."""


@dataclass(frozen=True)
class Schema:
    """The feature columns in their order, and the target if there is one."""

    columns: tuple[Column, ...]
    """Feature columns, in the order of the prepared table."""
    target: str | None
    """Name of the target column in the prepared table; None for clustering, which has none."""
    problem: ProblemType
    """What the target poses, or clustering."""
    classes: tuple[Label, ...] = ()
    """Class labels in the order of their codes; the positive class is the last of two."""
    derived: tuple[Definition, ...] = ()
    """Features that the model computes from the columns."""

    @property
    def names(self) -> list[str]:
        """Names of the feature columns, in order."""
        return [column.name for column in self.columns]

    def of_kind(self, *kinds: Kind) -> list[str]:
        """Names of the feature columns of the given kinds, in order."""
        return [column.name for column in self.columns if column.kind in kinds]

    def seen(self, *kinds: Kind) -> list[str]:
        """Names of the columns that are features themselves; of all kinds if none is given."""
        wanted = kinds or tuple(Kind)
        return [c.name for c in self.columns if c.seen and c.kind in wanted]

    def save(self, path: Path) -> None:
        """Write the schema as JSON, whole or not at all."""
        files.write_json(path, asdict(self))

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a schema that ``save`` wrote.

        Raises
        ------
        RatchetError
            If the file isn't there or isn't JSON.
        """
        return cls.from_dict(files.read_json(path, made_by="prepare"))

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Self:
        """Build a schema from what ``dataclasses.asdict`` gave."""
        columns = tuple(
            Column(**{**column, "kind": Kind(column["kind"])}) for column in value["columns"]
        )
        # What was recorded before features could be computed has none.
        derived = tuple(
            Definition(**{**each, "inputs": tuple(each["inputs"])})
            for each in value.get("derived", ())
        )
        problem = ProblemType(value["problem"])
        return cls(columns, value["target"], problem, tuple(value["classes"]), derived)
