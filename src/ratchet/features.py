"""From the columns of a schema to the numbers that each kind of model gets."""

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ratchet import derived
from ratchet.problem import ProblemType
from ratchet.schema import Kind, Schema

if TYPE_CHECKING:
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import Pipeline

# A label seen less often than this is put with the other rare ones.
MIN_FREQUENCY = 5
# Most labels of one column that get a column of their own in a one-hot encoding.
MAX_ONE_HOT = 300
# Histogram boosting keeps a category in one byte and needs one value for "missing".
MAX_CODES = 254
# Trees count every label of a column in every node: the codes of so many labels cost more than
# they tell, and the rarest share one.
MAX_NATIVE = 10_000
# Codes of a category that training rows did not hold, and of none.
UNSEEN = -1
MISSING = -2
# Dimensions that a free text column becomes.
TEXT_DIMENSIONS = 30

TRUSTED_TYPES = (
    "numpy.dtype",
    "skrub._apply_to_cols.ApplyToCols",
    "skrub._apply_to_each_col.ApplyToEachCol",
    "skrub._datetime_encoder.DatetimeEncoder",
    "skrub._datetime_encoder._CircularEncoder",
    "skrub._squashing_scaler.SquashingScaler",
    "skrub._squashing_scaler._MinMaxScaler",
    "skrub._string_encoder.StringEncoder",
    "skrub._to_str.ToStr",
    "skrub.selectors._base.All",
)
"""Classes that a saved preparation holds and skops does not know by itself."""


class Preparation(StrEnum):
    """What a kind of model is good with."""

    NATIVE = "native"
    """Categories as codes that the model splits by itself; missing values stay missing."""
    CODES = "codes"
    """As native, with at most ``MAX_CODES`` categories in a column."""
    SCALED = "scaled"
    """Numbers imputed and scaled, categories one-hot or as mean targets, times of day and year as
    circles."""
    FRAME = "frame"
    """As native, in a data frame whose categories are whole numbers: missing and unseen are
    labels of their own."""
    RAW = "raw"
    """The feature columns as they are, in a data frame; nothing is computed from them."""


@dataclass(frozen=True)
class Matrix:
    """A table as a model takes it."""

    values: Any
    """Array, sparse matrix or data frame of shape (n_rows, n_outputs)."""
    categorical: np.ndarray
    """Boolean mask of shape (n_outputs,): which outputs are categories, as codes or as they are."""


def preparation(
    schema: Schema,
    kind: Preparation,
    *,
    time_ordered: bool = False,
    pca: float | None = None,
) -> "ColumnTransformer | Pipeline":
    """Build the unfitted transformer from raw columns to a model's input.

    Outputs of category columns come first, so that a model can be told which
    are codes. Every part is a class of scikit-learn or skrub: a logged model
    needs nothing of ours to be loaded.

    Parameters
    ----------
    schema : Schema
        Columns and their kinds.
    kind : Preparation
        What the model is good with.
    time_ordered : bool
        Whether rows are split by time. Then the age of a row is left out: in
        test it lies beyond anything that was trained on.
    pca : float, optional
        Most principal components that scaled columns are reduced to, as an
        int; below 1 the share of their variance that the components keep. The
        other kinds keep their columns: trees gain nothing from it.
    """
    from sklearn.compose import ColumnTransformer

    if kind is Preparation.RAW:
        return ColumnTransformer(
            [("raw", "passthrough", schema.seen())], verbose_feature_names_out=False
        ).set_output(transform="pandas")
    scaled = kind is Preparation.SCALED
    # A text column without a value in training has no vocabulary to learn.
    texts = [c.name for c in schema.columns if c.kind is Kind.TEXT and c.distinct and c.seen]
    many = _with_many_labels(schema) if scaled else []
    parts = [
        ("category", _categories(kind), [n for n in schema.seen(Kind.CATEGORY) if n not in many]),
        ("many_categories", _mean_targets(schema.problem), many),
        ("number", _numbers(scaled), schema.seen(Kind.NUMBER, Kind.BOOLEAN)),
        ("datetime", _datetimes(scaled, time_ordered), schema.seen(Kind.DATETIME)),
        ("text", _texts(scaled), texts),
    ]
    if schema.derived:
        inputs = list(dict.fromkeys(name for each in schema.derived for name in each.inputs))
        parts.append(("derived", _derived(schema, scaled), inputs))
    columns = ColumnTransformer(
        [part for part in parts if part[2]], verbose_feature_names_out=False, sparse_threshold=0.3
    )
    if kind is Preparation.FRAME and schema.derived:
        return _framed(columns, len(schema.seen(Kind.CATEGORY)))
    if kind is Preparation.FRAME:
        # What a time becomes may have the name of another column.
        columns.verbose_feature_names_out = True
        columns.set_output(transform="pandas")
    return _reduced(columns, pca) if scaled and pca is not None else columns


def matrix(transformer: "ColumnTransformer | Pipeline", schema: Schema, values: Any) -> Matrix:
    """Wrap what ``transformer`` gave with the mask of its category codes."""
    mask = np.zeros(values.shape[1], dtype=bool)
    if "raw" in getattr(transformer, "named_transformers_", {}):
        return Matrix(values, np.isin(schema.seen(), schema.seen(Kind.CATEGORY)))
    steps = getattr(transformer, "named_steps", {})
    if "frame" in steps:
        transformer = steps["columns"]
    # Principal components are no codes.
    encoder = getattr(transformer, "named_transformers_", {}).get("category")
    if hasattr(encoder, "categories_") and not hasattr(encoder, "drop"):
        mask[: len(schema.seen(Kind.CATEGORY))] = True
    return Matrix(values, mask)


def as_features(frame: pd.DataFrame, schema: Schema) -> pd.DataFrame:
    """Select the feature columns in the schema's order and types.

    Times with a zone become UTC without one, as they are when a table is read.
    """
    chosen = frame[schema.names]
    zoned = {
        str(name): column.dt.tz_convert("UTC").dt.tz_localize(None)
        for name, column in chosen.items()
        if isinstance(column.dtype, pd.DatetimeTZDtype)
    }
    if zoned:
        chosen = chosen.assign(**zoned)
    return chosen.astype({column.name: column.dtype for column in schema.columns})


def _categories(kind: Preparation) -> Any:
    from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder

    if kind is Preparation.SCALED:
        return OneHotEncoder(
            handle_unknown="infrequent_if_exist",
            min_frequency=MIN_FREQUENCY,
            max_categories=MAX_ONE_HOT,
            dtype=np.float64,
        )
    if kind is Preparation.FRAME:
        return OrdinalEncoder(
            handle_unknown="use_encoded_value",
            unknown_value=UNSEEN,
            encoded_missing_value=MISSING,
            dtype=np.int64,
        )
    return OrdinalEncoder(
        handle_unknown="use_encoded_value",
        unknown_value=np.nan,
        encoded_missing_value=np.nan,
        max_categories=MAX_CODES if kind is Preparation.CODES else MAX_NATIVE,
    )


def _with_many_labels(schema: Schema) -> list[str]:
    """Name the categories of which one-hot columns would put most labels with the rare ones."""
    if not schema.problem.has_target:
        return []
    return [
        column.name
        for column in schema.columns
        if column.seen and column.kind is Kind.CATEGORY and column.distinct > MAX_ONE_HOT
    ]


def _mean_targets(problem: ProblemType) -> Any:
    """Put for a label what the target is like in the rows that have it, told by other rows."""
    from sklearn.model_selection import KFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler, TargetEncoder

    kinds = {ProblemType.BINARY: "binary", ProblemType.MULTICLASS: "multiclass"}
    encoder = TargetEncoder(
        target_type=kinds.get(problem, "continuous"),
        cv=KFold(5, shuffle=True, random_state=0),
    )
    return make_pipeline(encoder, StandardScaler())


def _numbers(scaled: bool) -> Any:
    if not scaled:
        return "passthrough"
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from skrub import SquashingScaler

    # One absurd value, a taxi trip of 92,064 miles, would decide a linear model by itself: the
    # scale comes from the quartiles, and what lies far outside them is squashed.
    return make_pipeline(SimpleImputer(strategy="median", add_indicator=True), SquashingScaler())


def _derived(schema: Schema, scaled: bool) -> Any:
    from sklearn.pipeline import make_pipeline

    computed = derived.transformer(schema.derived, schema.of_kind(Kind.DATETIME))
    return make_pipeline(computed, _numbers(scaled)) if scaled else computed


def _framed(columns: "ColumnTransformer", n_categories: int) -> "Pipeline":
    """Follow columns by what makes a data frame of them, with the first as whole numbers.

    The features that are computed know no row labels, so that the frame is made of all columns
    when they have none any more.
    """
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import FunctionTransformer

    codes = FunctionTransformer(
        np.asarray, kw_args={"dtype": "int64"}, feature_names_out="one-to-one"
    )
    frame = ColumnTransformer(
        [
            ("category", codes, slice(0, n_categories)),
            ("rest", "passthrough", slice(n_categories, None)),
        ]
    ).set_output(transform="pandas")
    return Pipeline([("columns", columns), ("frame", frame)])


def _datetimes(scaled: bool, time_ordered: bool) -> Any:
    from skrub import ApplyToCols, DatetimeEncoder

    encoder = ApplyToCols(
        DatetimeEncoder(
            resolution="minute",
            add_weekday=True,
            add_total_seconds=not time_ordered,
            periodic_encoding="circular" if scaled else None,
        )
    )
    if not scaled:
        return encoder
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    # A column without a value in training becomes zeros; dropping it could leave no column.
    imputer = SimpleImputer(strategy="median", keep_empty_features=True)
    return make_pipeline(encoder, imputer, StandardScaler())


def _texts(scaled: bool) -> Any:
    from skrub import ApplyToCols, StringEncoder

    encoder = ApplyToCols(StringEncoder(n_components=TEXT_DIMENSIONS, random_state=0))
    if not scaled:
        return encoder
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(encoder, StandardScaler())


def _reduced(columns: "ColumnTransformer", pca: float) -> "Pipeline":
    """Follow scaled columns by their principal components."""
    from sklearn.compose import ColumnTransformer
    from sklearn.decomposition import PCA
    from sklearn.pipeline import Pipeline

    # This solver takes sparse columns too, and draws no random numbers.
    if pca < 1:
        return Pipeline([("columns", columns), ("pca", PCA(pca, svd_solver="covariance_eigh"))])
    # How many columns there are is known once they are fitted, and PCA refuses to give more
    # components than that; a slice takes what there is.
    first = ColumnTransformer([("first", "passthrough", slice(0, int(pca)))])
    whole = PCA(svd_solver="covariance_eigh")
    return Pipeline([("columns", columns), ("pca", whole), ("first", first)])
