"""Every choice a user can make: ``params.yaml`` as frozen, checked settings."""

import difflib
import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from enum import StrEnum
from itertools import groupby
from math import isfinite
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PositiveFloat,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import ErrorDetails

from ratchet import expressions, masking
from ratchet.errors import SettingsError
from ratchet.problem import ProblemType

# An override begins where a dotted name is followed by one "=", not by "==".
_ASSIGNMENT = re.compile(r"(?:^|\s)(?=[A-Za-z_][\w.]*=(?!=))")

# What pydantic calls a wrong type, and what was asked for.
_WANTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_type": "text",
    "tuple_type": "a list",
    "model_type": "a section with settings of its own",
}

_TYPE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")
# A parameter file has a few hundred values in four levels; what has more is a mistake or an attack.
MOST_CHARACTERS = 2**20
MOST_VALUES = 100_000
MOST_DEEP = 50
# What is larger is no finite number of a computer's.
MOST_BITS = 1_000

_SPAN = re.compile(r"^([1-9]\d*) (day|week|month|year)s?$")


class Section(BaseModel):
    """A part of ``params.yaml``."""

    model_config = ConfigDict(
        strict=True,
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )


def _checked_expression(text: str) -> str:
    expressions.parse(text)
    return text


def _checked_type(text: str) -> str:
    # A star or a module would trust what nobody has looked at, and what is yet to be written.
    if not _TYPE.fullmatch(text):
        raise ValueError(
            f"must be the full name of one class or function, such as a.b.C, got {_shown(text)}"
        )
    return text


def _checked_key_file(text: str) -> str:
    # Parameter files are committed and copied to every run; what was given isn't told either.
    if "PRIVATE KEY" in text or "\n" in text:
        raise ValueError("must be the path of a file; a key itself is not to be written here")
    if not text.strip():
        raise ValueError("must be the path of a file, got ''")
    return text


def _checked_size(value: float | str) -> float | str:
    if isinstance(value, str):
        if not _SPAN.match(value):
            raise ValueError(
                f"must be a share between 0 and 1 such as 0.2, or a span of time such as"
                f" '1 month' (day, week, month or year), got {value!r}"
            )
    elif not 0 < value < 1:
        raise ValueError(f"must be a share between 0 and 1, got {value}")
    return value


def _tuple(value: Any) -> Any:
    """YAML has lists; settings are frozen, so they hold tuples."""
    return tuple(value) if isinstance(value, list) else value


def _device(value: Any) -> Any:
    """Take the name that it had before there was a word for each maker's."""
    return "cuda" if value == "gpu" else value


def _checked_reasons(value: Any) -> Any:
    """YAML has mappings; settings are frozen, so they hold pairs."""
    pairs = tuple(value.items()) if isinstance(value, Mapping) else value
    if not isinstance(pairs, list | tuple) or not all(
        isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs
    ):
        raise ValueError(
            "must give a reason for each column or kind of leak, such as {column: known in time},"
            f" got {_shown(value)}"
        )
    for name, reason in pairs:
        if not isinstance(name, str):
            raise ValueError(f"{_shown(name)} must be the name of a column or of a kind of leak")
        if not isinstance(reason, str) or not reason.strip():
            raise ValueError(f"{name} must have a reason, got {_shown(reason)}")
    return tuple((name, reason.strip()) for name, reason in pairs)


def _checked_features(value: Any) -> Any:
    """YAML has mappings; settings are frozen, so they hold pairs."""
    pairs = tuple(value.items()) if isinstance(value, Mapping) else value
    if not isinstance(pairs, list | tuple) or not all(
        isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs
    ):
        raise ValueError(
            "must give an expression or a function by the name of the feature, such as"
            f" {{kmh: km / hours(b - a)}}, got {_shown(value)}"
        )
    return tuple((_checked_feature(name), _checked_formula(name, each)) for name, each in pairs)


def _checked_feature(name: Any) -> str:
    if not isinstance(name, str) or not name.strip() or "__" in name:
        raise ValueError(f"{_shown(name)} must be the name of a feature, without '__'")
    return name


def _checked_formula(name: str, value: Any) -> Any:
    if isinstance(value, str):
        try:
            return _checked_expression(value)
        except ValueError as error:
            raise ValueError(f"{name} {error}") from None
    if isinstance(value, FunctionOf):
        return value
    is_function = (
        isinstance(value, Mapping)
        and set(value) == {"function", "columns"}
        and isinstance(value["function"], str)
        and re.fullmatch(r"[\w.]+:[\w.]+", value["function"])
        and isinstance(value["columns"], list | tuple)
        and value["columns"]
        and all(isinstance(each, str) for each in value["columns"])
    )
    if not is_function:
        raise ValueError(
            f"{name} must be an expression such as b / a, or a function such as {{function:"
            f" 'my_project.features:density', columns: [a, b]}}, got {_shown(value)}"
        )
    return FunctionOf(function=value["function"], columns=tuple(value["columns"]))


def _plain_features(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    return {
        name: each if isinstance(each, str) else each.model_dump(mode="json")
        for name, each in pairs
    }


def _checked_title(text: str) -> str:
    # Runs carry it in the name of a tag, which MLflow allows no other characters.
    if not re.fullmatch(r"[\w .-]{1,100}", text, re.ASCII) or text != text.strip():
        raise ValueError(
            "must be 1 to 100 letters, digits, spaces, '.', '_' and '-', got " + _shown(text)
        )
    return text


def _checked_rows(value: Any) -> Any:
    if isinstance(value, list | tuple) and value:
        return tuple(_checked_row(row, f"row {n}: ") for n, row in enumerate(value, start=1))
    if type(value) is int and value >= 1:
        return value
    raise ValueError(
        "must be a number of test rows such as 200, or rows such as"
        f" [{{column: value}}], got {_shown(value)}"
    )


def _checked_row(value: Any, where: str = "") -> Any:
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise ValueError(
            f"{where}must be values by column such as {{column: value}}, got {_shown(value)}"
        )
    for name, each in value.items():
        is_plain = isinstance(each, str | int | float | date | None)
        if not is_plain or (isinstance(each, float) and not isfinite(each)):
            raise ValueError(
                f"{where}{name} must be text, a finite number, a date, true, false or null,"
                f" got {_shown(each)}"
            )
    return {
        name: each.isoformat() if isinstance(each, date) else each for name, each in value.items()
    }


def _checked_options(value: Any) -> Any:
    if not isinstance(value, Mapping) or not all(
        isinstance(name, str) and isinstance(options, Mapping) for name, options in value.items()
    ):
        raise ValueError(
            "must give options by the name of a backend, such as"
            f" {{neural_network: {{max_iter: 200}}}}, got {_shown(value)}"
        )
    return {name: dict(options) for name, options in value.items()}


def _checked_change(value: Any) -> Any:
    return _checked_row(value)


def _checked_command(value: Any) -> Any:
    """Split a command as a shell would, without ever giving it to one."""
    words = value
    if isinstance(value, str):
        try:
            words = shlex.split(value)
        except ValueError as error:
            raise ValueError(f"can't be split into words ({error}), got {_shown(value)}") from None
    if (
        not isinstance(words, list | tuple)
        or not words
        or not all(isinstance(word, str) for word in words)
    ):
        raise ValueError(
            "must be a command such as 'python notify.py', or its words such as"
            f" [python, notify.py], got {_shown(value)}"
        )
    return tuple(words)


Expression = Annotated[str, AfterValidator(_checked_expression)]
Size = Annotated[
    float | str,
    AfterValidator(_checked_size),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
                {"type": "string", "pattern": _SPAN.pattern},
            ]
        }
    ),
]
Names = Annotated[tuple[str, ...], BeforeValidator(_tuple)]
Reasons = Annotated[
    tuple[tuple[str, str], ...],
    BeforeValidator(_checked_reasons),
    PlainSerializer(dict),
    WithJsonSchema({"type": "object", "additionalProperties": {"type": "string", "minLength": 1}}),
]


class FunctionOf(Section):
    """A function of the user's own that computes a feature."""

    function: str
    """Its import path, such as ``my_project.features:density``."""
    columns: Names
    """Columns that it gets, as a data frame."""


Features = Annotated[
    tuple[tuple[str, str | FunctionOf], ...],
    BeforeValidator(_checked_features),
    PlainSerializer(_plain_features),
    WithJsonSchema(
        {
            "type": "object",
            "additionalProperties": {
                "anyOf": [
                    {"type": "string", "minLength": 1},
                    {
                        "type": "object",
                        "properties": {
                            "function": {"type": "string"},
                            "columns": {"type": "array", "items": {"type": "string"}},
                        },
                        "required": ["function", "columns"],
                        "additionalProperties": False,
                    },
                ]
            },
        }
    ),
]
Command = Annotated[
    tuple[str, ...],
    BeforeValidator(_checked_command),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "minLength": 1},
                {"type": "array", "items": {"type": "string"}, "minItems": 1},
            ]
        }
    ),
]
Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(gt=0, lt=1)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=100)]


class Data(Section):
    """Where the table is, what is to be predicted, and from which columns."""

    source: str
    """File or folder of parquet or CSV files, relative to the folder of params.yaml."""
    target: Expression | None
    """Column to predict, or an expression such as `minutes(b - a)`; null only for clustering."""
    filter: Expression | None = None
    """Rows to keep, as an expression over columns and `target`; null keeps every row."""
    features: Names | None = None
    """Columns the model may see; null: all but the target's, the dropped ones and split's group."""
    drop: Names = ()
    """Columns the model may not see, such as what is known only after the fact."""
    categorical: Names = ()
    """Columns of numbers that are labels, such as zone ids or postal codes."""
    derive: Features = ()
    """Features that the model computes from columns: `{kmh: trip_distance / hours(b - a)}`."""
    allow: Reasons = ()
    """Columns or kinds of leak that prepare lets pass, and why: `{trip_distance: metered}`."""
    checks: str | None = None
    """File of data checks beside params.yaml, such as `schema.json`; null has none."""
    positive: str | int | float | bool | None = None
    """Class whose probability counts in a binary problem; null takes the last when sorted."""
    memory_limit_mb: Count | None = None
    """Memory for rows in MB; what needs more is worked on in pieces; null: what is free."""


class SplitMethod(StrEnum):
    """How rows are dealt to train, valid and test."""

    RANDOM = "random"
    STRATIFIED = "stratified"
    GROUP = "group"
    TIME = "time"


class Split(Section):
    """How rows are dealt to training, validation and test."""

    method: Annotated[SplitMethod, Field(strict=False)] = SplitMethod.RANDOM
    """random, stratified (equal class shares), group (no group on two sides) or time."""
    column: str | None = None
    """Column of the groups or of the time; needed by group and time."""
    valid: Size = 0.2
    """Share of the rows that are not test rows, or for time a last span such as `7 days`."""
    test: Size = 0.2
    """Share of all rows, or for time the last calendar span such as `1 month`."""

    @model_validator(mode="after")
    def _column_where_needed(self) -> "Split":
        needs = self.method in (SplitMethod.GROUP, SplitMethod.TIME)
        if needs and self.column is None:
            raise ValueError(f"column must name the {self.method} column, got null")
        if not needs and self.column is not None:
            raise ValueError(f"column must be null with method {self.method}, got {self.column!r}")
        for name, size in (("valid", self.valid), ("test", self.test)):
            if isinstance(size, str) and self.method is not SplitMethod.TIME:
                raise ValueError(f"{name} may be a span only with method time, got {size!r}")
        return self


class Search(Section):
    """How long to look for good hyperparameters."""

    budget_seconds: PositiveFloat | None = 60.0
    """Wall-clock limit of the whole training in seconds; null: only max_trials ends the search."""
    max_trials: Count = 1000
    """Most candidates to try over all families; with no time limit, exactly reproducible."""
    resume: bool = True
    """Whether a search that was interrupted goes on where it stopped."""
    warm_start: Annotated[str, Field(min_length=1)] | None = None
    """Whose best trials come first: champion, or a run or version; null begins afresh."""


class Validation(StrEnum):
    """Which rows score a candidate."""

    AUTO = "auto"
    HOLDOUT = "holdout"
    FOLDS = "folds"


class Ensemble(StrEnum):
    """How the best models answer together."""

    NONE = "none"
    VOTING = "voting"
    GREEDY = "greedy"


class Device(StrEnum):
    """Which processor fits the models."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class Train(Section):
    """What to train, and what to optimise."""

    problem: Annotated[ProblemType | None, Field(strict=False)] = None
    """binary, multiclass, regression or clustering; null decides from the target column."""
    metric: str | None = None
    """Score to optimise, e.g. rmse, log_loss, f0.5; null takes the problem's usual one."""
    families: Names | None = None
    """Model families to try, e.g. [linear, xgboost]; null tries every one that fits."""
    plugins: Names = ()
    """Modules to import first, which register backends of your own; src/x.py is called x."""
    backends: Annotated[dict[str, dict[str, Any]], BeforeValidator(_checked_options)] = {}
    """Options of backends by name, e.g. `{callable: {build_model: my_project.models:build}}`."""
    validation: Annotated[Validation, Field(strict=False)] = Validation.AUTO
    """holdout (the valid rows), folds (train and valid rows in turn) or auto."""
    folds: Annotated[int, Field(ge=2, le=20)] | None = None
    """Folds of the cross-validation; null decides from the number of rows."""
    ensemble: Annotated[Ensemble, Field(strict=False)] = Ensemble.GREEDY
    """none (the best candidate), voting (the best few alike) or greedy (weights chosen)."""
    max_members: Count = 8
    """Most candidates in an ensemble."""
    class_weight: Literal["auto", "none", "balanced"] = "auto"
    """Whether rare classes count more in fitting; auto where the metric counts classes alike."""
    calibrate: Literal["auto", "never"] = "auto"
    """Whether probabilities are mapped to frequencies; auto when that helps out of fold."""
    pca: Annotated[int, Field(ge=1)] | Share | None = None
    """Components, or share of variance, that scaled columns are reduced to; null keeps all."""
    threads: Count | None = None
    """Most threads to use; null takes every core of the machine."""
    device: Annotated[Device, Field(strict=False), BeforeValidator(_device)] = Device.AUTO
    """auto (a graphics processor where a library sees one), cpu, or cuda (refused without one)."""
    search: Search = Search()
    """How long to look for good hyperparameters."""


class Evaluate(Section):
    """How the leader is judged on the test rows."""

    resamples: Annotated[int, Field(ge=100)] = 1000
    """Bootstrap resamples behind every interval."""
    confidence: Share = 0.95
    """Probability that an interval promises."""
    report: bool = True
    """Whether to write the report: what drives the leader, where it fails, figures."""


class Slices(Section):
    """Parts of the test rows on which the leader may not be surely worse."""

    columns: Names | None = None
    """Columns to slice by: labels one by one, numbers and times by quantiles; null slices none."""
    quantiles: Annotated[int, Field(ge=2, le=100)] = 4
    """Slices that the test rows of a column of numbers or times are cut into."""
    min_rows: Count = 100
    """Test rows that a slice needs to be judged; smaller ones are counted and left out."""
    max_loss: Annotated[float, Field(ge=0)] = 0.0
    """Loss on a slice, in the metric's unit, that the whole interval must exceed to fail."""


class MaxLatency(Section):
    """How long the leader may take to answer."""

    one_row: PositiveFloat | None = None
    """Milliseconds for one row, the median of repeated calls; null asks nothing."""
    batch: PositiveFloat | None = None
    """Milliseconds for 1,000 rows, or for all test rows when fewer; null asks nothing."""


class CheckKind(StrEnum):
    """What a declared check says of the model."""

    INVARIANCE = "invariance"
    DIRECTION = "direction"


class Expect(StrEnum):
    """What a change of the columns may do to the answer."""

    SAME = "same"
    NOT_LOWER = "not_lower"
    NOT_HIGHER = "not_higher"


class Check(Section):
    """What the leader's answers may do when columns change, such as: longer is not shorter."""

    name: Annotated[str, AfterValidator(_checked_title)]
    """What the check says, in a few words."""
    kind: Annotated[CheckKind, Field(strict=False)]
    """invariance (the answer stays) or direction (it moves one way only)."""
    rows: Annotated[int | tuple[dict[str, Any], ...], BeforeValidator(_checked_rows)]
    """How many test rows to draw, or rows that are written out as {column: value}."""
    change: Annotated[dict[str, Any], BeforeValidator(_checked_change)]
    """New values by column; for numbers also '+1.5' or '*2', for times '+1 day', in quotes."""
    expect: Annotated[Expect | None, Field(strict=False)] = None
    """same, not_lower or not_higher; null is same, which only an invariance may be."""
    tolerance: Annotated[float, Field(ge=0)] = 0.0
    """How far the answer may stray, in the target's unit or as a probability."""
    max_violations: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the changed rows that may break the rule."""
    label: str | int | float | bool | None = None
    """Class whose probability counts; null takes the positive one, or all for an invariance."""

    @model_validator(mode="after")
    def _fits_its_kind(self) -> "Check":
        if not self.change:
            raise ValueError("change must name at least one column, got {}")
        is_invariance = self.kind is CheckKind.INVARIANCE
        if is_invariance is not (self.expected is Expect.SAME):
            fitting = [each.value for each in Expect if (each is Expect.SAME) is is_invariance]
            raise ValueError(
                f"expect must be {' or '.join(fitting)} with kind {self.kind.value},"
                f" got {_shown(self.expect and self.expect.value)}"
            )
        return self

    @property
    def expected(self) -> Expect:
        """What may happen to the answer, spelt out."""
        return self.expect or Expect.SAME


class Promote(Section):
    """What a leader must show to become the champion."""

    required: float | None = None
    """Score on test that the leader must reach, in the metric's own direction; null asks none."""
    min_gain: Annotated[float, Field(ge=0)] = 0.0
    """Smallest gain over the champion that is worth a change, in the metric's own unit."""
    confidence: Share = 0.95
    """Probability that the interval of the gain promises; all of it must lie above 0."""
    resamples: Annotated[int, Field(ge=100)] = 2000
    """Paired bootstrap resamples behind the interval of the gain."""
    min_rows: Count = 100
    """Test rows that the champion was not trained on, and that a comparison needs."""
    allow_schema_change: bool = False
    """Whether a champion that can't score today's columns loses its claim."""
    max_test_uses: Count | None = None
    """How many models one test set may judge; null counts them and asks nothing."""
    slices: Slices = Slices()
    """Parts of the test rows on which the leader may not be surely worse."""
    max_calibration_error: Annotated[float, Field(ge=0, le=1)] | None = None
    """Mean gap between a classifier's probability and the frequency; null asks nothing."""
    max_latency_ms: MaxLatency = MaxLatency()
    """How long the leader may take to answer."""
    max_size_mb: PositiveFloat | None = None
    """Size of the saved model folder, in megabytes of 1,000,000 bytes; null asks nothing."""
    max_overfit: Annotated[float, Field(ge=0)] | None = None
    """Share of the gain over the baseline that validation may lose; null asks nothing."""
    dirty_data: Literal["refuse", "allow"] = "refuse"
    """Whether data that neither DVC nor git has recorded may make a champion."""
    dirty_tree: Literal["clean", "recorded", "allow"] = "recorded"
    """Code that may make a champion: committed, or recorded whole with the run, or any."""
    checks: Annotated[tuple[Check, ...], BeforeValidator(_tuple)] = ()
    """Rules that the leader's answers must keep when columns change; [] has none."""

    @model_validator(mode="after")
    def _checks_differ(self) -> "Promote":
        names = [check.name for check in self.checks]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"checks must have names of their own, got {name!r} twice")
        return self


class Watch(Section):
    """What is worth a look: sizes of a movement from which the verdict is `watch`."""

    psi: PositiveFloat = 0.1
    """Population stability index of a column, or of the predictions."""
    distance: Share = 0.1
    """Share of the rows that lie elsewhere: the Kolmogorov-Smirnov distance, or that of labels."""
    missing: Share = 0.02
    """Difference of the shares of missing values."""
    new_labels: Share = 0.01
    """Share of rows with a label that training did not have, beyond what was expected."""
    auc: Annotated[float, Field(gt=0.5, lt=1)] = 0.6
    """How well a classifier tells new rows from those of training by all columns; chance is 0.5."""
    loss: Annotated[float, Field(ge=0)] = 0.05
    """Share of the gain over the baseline that the live score has surely lost."""


class Drift(Section):
    """What is drift: sizes from which the verdict is `drift`, and the exit code 1."""

    psi: PositiveFloat = 0.2
    """As in `monitor.watch`, and so are the others."""
    distance: Share = 0.2
    """As in `monitor.watch`."""
    missing: Share = 0.05
    """As in `monitor.watch`."""
    new_labels: Share = 0.03
    """As in `monitor.watch`."""
    auc: Annotated[float, Field(gt=0.5, lt=1)] = 0.7
    """As in `monitor.watch`."""
    loss: Annotated[float, Field(ge=0)] = 0.1
    """As in `monitor.watch`."""


class Monitor(Section):
    """When new rows count as other than those that the champion learned from."""

    sample_rows: Annotated[int, Field(ge=0, le=20_000)] = 5000
    """Rows of training that prepare keeps for the classifier of `auc`; 0 keeps none."""
    significance: Annotated[float, Field(gt=0, lt=0.5)] = 0.01
    """Chance that rows without drift count as moved, over the tests of all columns together."""
    watch: Watch = Watch()
    """What is worth a look."""
    drift: Drift = Drift()
    """What is drift."""

    @model_validator(mode="after")
    def _drift_is_more(self) -> "Monitor":
        for name in Watch.model_fields:
            least, most = getattr(self.watch, name), getattr(self.drift, name)
            if most < least:
                raise ValueError(
                    f"drift.{name} must be at least that of watch, {least:g}, got {most:g}"
                )
        return self


class Registry(Section):
    """Where the champion stands."""

    model: Name | None = None
    """Registered model; null takes `name`."""
    stage: Literal["Staging", "Production"] | None = "Production"
    """Stage that the champion holds; null sets the alias only."""
    alias: Name = "champion"
    """Alias that points at the champion."""
    trusted_types: list[Annotated[str, AfterValidator(_checked_type)]] = []
    """Classes in models of others that may be loaded beside the backends' own, such as `a.b.C`."""
    signing_key: Annotated[str, AfterValidator(_checked_key_file)] | None = None
    """File of the private key by which promote signs; null takes RATCHET_SIGNING_KEY, if set."""
    require_signature: bool = False
    """Whether serve, predict, export and monitor load only versions that public_keys vouch for."""
    public_keys: list[Annotated[str, AfterValidator(_checked_key_file)]] = []
    """Files of the public keys whose signatures count, such as `keys/release.pub`."""

    @model_validator(mode="after")
    def _has_keys(self) -> "Registry":
        if self.require_signature and not self.public_keys:
            raise ValueError(
                "public_keys must name a file with require_signature, or no version could ever be"
                " loaded, got []"
            )
        return self


class Tracking(Section):
    """Where MLflow keeps the runs."""

    uri: str | None = None
    """Tracking server or database; null takes MLFLOW_TRACKING_URI, else mlflow.db here."""
    experiment: str | None = None
    """Experiment of the runs; null takes `name`."""
    trials: Annotated[int, Field(ge=0)] = 20
    """How many of the best trials become child runs; the table of all is an artifact."""
    system_metrics: bool = True
    """Whether runs record processor, memory and disk use while they last."""


class Lineage(Section):
    """What a run records of the code that made it."""

    dirty: Literal["allow", "record", "refuse"] = "record"
    """Code that is in no commit: allow (told), record (with its patch) or refuse (no run)."""


class Retrain(Section):
    """What makes a retraining due when ``ratchet retrain`` asks."""

    on_new_data: bool = True
    """Whether data that no leader was judged on are a reason."""
    min_new_rows: Count = 1
    """Rows in new or changed files from which new data are a reason."""
    on_drift: bool = True
    """Whether drift that monitor finds in the new rows is a reason."""
    on_live_score: bool = True
    """Whether a champion that is surely worse on the new rows than on its test rows is a reason."""
    max_age_days: PositiveFloat | None = None
    """Days since the last training that was judged from which age is a reason; null: never."""


class Event(StrEnum):
    """What people may want to be told of."""

    PROMOTED = "promoted"
    """A leader is the champion now: every gate passed, or a person has forced it."""
    REFUSED = "refused"
    """A leader did not pass a gate, and the champion stays."""
    ROLLED_BACK = "rolled_back"
    """A person has brought an earlier champion back."""
    DRIFT = "drift"
    """New rows are not like those that the champion was trained on."""


class Hooks(Section):
    """Commands of the user's own that are told what was decided, as JSON on stdin."""

    promoted: Command | None = None
    """Command that is told of a new champion, such as `python notify.py`; null tells nobody."""
    refused: Command | None = None
    """Command that is told of a leader that a gate has kept back."""
    rolled_back: Command | None = None
    """Command that is told when an earlier champion was brought back."""
    drift: Command | None = None
    """Command that is told when monitor has found drift."""
    timeout_seconds: PositiveFloat = 60.0
    """Seconds after which a command is ended; that fails nothing."""

    def command(self, event: Event) -> tuple[str, ...] | None:
        """Give the command that is told of an event; None where there is none."""
        commands = {
            Event.PROMOTED: self.promoted,
            Event.REFUSED: self.refused,
            Event.ROLLED_BACK: self.rolled_back,
            Event.DRIFT: self.drift,
        }
        return commands[event]


class Engine(StrEnum):
    """What runs the trials of a search."""

    LOCAL = "local"
    """This machine, in threads or in processes."""
    DASK = "dask"
    """A cluster of Dask's, here or elsewhere."""


class Execution(Section):
    """Where the trials of a search run, and how many of them at the same time."""

    engine: Annotated[Engine, Field(strict=False)] = Engine.LOCAL
    """local (this machine) or dask (a cluster, which needs the extra `dask`)."""
    address: Annotated[str, Field(pattern=r"^(tcp|tls|ws|wss)://\S+$")] | None = None
    """Where a Dask scheduler listens, such as `tcp://10.0.0.5:8786`; null starts a cluster here."""
    workers: Count | None = None
    """Trials at the same time, in processes of their own; null: as many as help or as there are."""
    ordered: bool = False
    """Whether workers' speed may not change what is tried; never does without a time limit."""

    @model_validator(mode="after")
    def _address_of_a_cluster(self) -> "Execution":
        if self.address is not None and self.engine is not Engine.DASK:
            raise ValueError(
                f"address must be null with engine {self.engine}, got {self.address!r}; engine"
                " dask uses it"
            )
        return self


class Settings(Section):
    """All of ``params.yaml``."""

    name: Name
    """Name of the task: of the experiment and of the registered model unless these say else."""
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 42
    """Seed of every random choice."""
    data: Data
    """Where the table is, what is to be predicted, and from which columns."""
    split: Split = Split()
    """How rows are dealt to training, validation and test."""
    train: Train = Train()
    """What to train, and what to optimise."""
    execution: Execution = Execution()
    """Where the trials of a search run, and how many of them at the same time."""
    evaluate: Evaluate = Evaluate()
    """How the leader is judged on the test rows."""
    promote: Promote = Promote()
    """What a leader must show to become the champion."""
    monitor: Monitor = Monitor()
    """When new rows count as other than those that the champion learned from."""
    registry: Registry = Registry()
    """Where the champion stands."""
    tracking: Tracking = Tracking()
    """Where MLflow keeps the runs."""
    lineage: Lineage = Lineage()
    """What a run records of the code that made it."""
    retrain: Retrain = Retrain()
    """What makes a retraining due when ``ratchet retrain`` asks."""
    hooks: Hooks = Hooks()
    """Commands of the user's own that are told what was decided, as JSON on stdin."""

    @property
    def model_name(self) -> str:
        """Name of the registered model."""
        return self.registry.model or self.name

    @property
    def experiment_name(self) -> str:
        """Name of the experiment."""
        return self.tracking.experiment or self.name

    @property
    def ledger_name(self) -> str:
        """Name of the experiment with the decisions on the registered model."""
        return ledger_of(self.model_name)


def ledger_of(model: str) -> str:
    """Name the experiment with the decisions on a registered model."""
    return f"{model} decisions"


def load(path: Path, overrides: Sequence[str] = ()) -> Settings:
    """Read a parameter file and apply overrides.

    Parameters
    ----------
    path : Path
        The YAML file.
    overrides : sequence of str
        Assignments such as ``"train.search.max_trials=10 seed=3"``; each may
        hold several, separated by white space. Values are read as YAML.

    Raises
    ------
    SettingsError
        With every problem at once: unknown keys, wrong types, values out of range.
    """
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(MOST_CHARACTERS + 1)
    except FileNotFoundError:
        raise SettingsError(
            f"{path} is not there. Name a parameter file with --params, or run in its folder."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} can't be read: {error}.") from None
    if len(text) > MOST_CHARACTERS:
        raise SettingsError(
            f"{path} has more than {MOST_CHARACTERS:,} characters, and a parameter file a few"
            " thousand. Name another one with --params."
        )
    try:
        values = _from_yaml(text)
    except (yaml.YAMLError, ValueError) as error:
        raise SettingsError(f"{path.name} is not valid YAML: {_one_line(error)}.") from None
    if not isinstance(values, dict):
        raise SettingsError(
            f"{path.name} must hold settings such as `name: my-task`, got {_shown(values)}."
        )
    for name, value in parse_overrides(overrides).items():
        _put(values, name, value)
    return from_mapping(values, origin=path.name)


def from_mapping(values: Mapping[str, Any], *, origin: str) -> Settings:
    """Check a nested mapping and freeze it.

    Parameters
    ----------
    values : mapping
        As YAML gives it.
    origin : str
        Where the values come from, for the message.

    Raises
    ------
    SettingsError
        With every problem at once.
    """
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        problems = list(_problems(error.errors()))
    else:
        problems = list(_contradictions(settings))
        if not problems:
            return settings
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    raise SettingsError(masking.masked("\n  - ".join([f"{origin} has {count}:", *problems])))


def _contradictions(settings: Settings) -> Iterator[str]:
    """Say what sections ask for that the problem in another one can't have."""
    problem, target = settings.train.problem, settings.data.target
    if problem is not ProblemType.CLUSTERING:
        if target is None:
            yield (
                "data.target must name a column or an expression, got null; only a clustering has"
                " none, with train.problem clustering"
            )
        return
    rules = settings.promote
    refused = [
        ("data.target", target, "rows are put together without one"),
        ("data.positive", settings.data.positive, "there are no classes"),
        ("promote.max_calibration_error", rules.max_calibration_error, "it has no probabilities"),
        (
            "promote.slices.columns",
            None if rules.slices.columns is None else list(rules.slices.columns),
            "how well clusters are apart is told by all rows together",
        ),
    ]
    for name, value, reason in refused:
        if value is not None:
            yield f"{name} must be null with train.problem clustering, as {reason}, got {value!r}"
    if settings.split.method is SplitMethod.STRATIFIED:
        yield (
            "split.method must be random, group or time with train.problem clustering, as there"
            " are no classes, got 'stratified'"
        )
    if settings.train.validation is Validation.FOLDS:
        yield (
            "train.validation must be auto or holdout with train.problem clustering, as clusterings"
            " are compared on the same valid rows, got 'folds'"
        )


def parse_overrides(overrides: Sequence[str]) -> dict[str, Any]:
    """Split assignments into dotted names and values.

    Raises
    ------
    SettingsError
        If one is not of the form ``name=value``.

    Examples
    --------
    >>> parse_overrides(["train.search.max_trials=10 seed=3", "data.filter=a > 1"])
    {'train.search.max_trials': 10, 'seed': 3, 'data.filter': 'a > 1'}
    """
    parsed: dict[str, Any] = {}
    for text in overrides:
        for part in filter(None, (piece.strip() for piece in _ASSIGNMENT.split(text))):
            name, equals, value = part.partition("=")
            if not equals or not re.fullmatch(r"[A-Za-z_][\w.]*", name):
                raise SettingsError(
                    f"An override must look like name=value, got {masking.masked(part)!r}."
                    " Example: --set train.search.max_trials=10"
                )
            try:
                parsed[name] = _from_yaml(value)
            except (yaml.YAMLError, ValueError) as error:
                raise SettingsError(
                    f"The value of the override {name} is not valid YAML: {_one_line(error)}."
                ) from None
    return parsed


def _from_yaml(text: str) -> Any:
    """Read YAML that is no larger than it looks.

    Raises
    ------
    YAMLError, ValueError
        If it can't be read, as a date such as 2024-02-31, if it is nested too deeply, or
        if it holds too many values: ten lines of aliases are enough for billions.
    """
    try:
        value = yaml.safe_load(text)
    except RecursionError:
        raise ValueError(f"it is nested more than {MOST_DEEP} deep") from None
    except (AttributeError, KeyError, TypeError) as error:  # what !!int and its like may not hold
        raise ValueError(f"a value is not of the kind that its tag says ({error})") from None
    waiting, seen = [(value, 1)], 0
    while waiting:
        each, depth = waiting.pop()
        seen += 1
        if depth > MOST_DEEP:
            raise ValueError(f"it is nested more than {MOST_DEEP} deep")
        if isinstance(each, str):
            each.encode()  # half of a letter can't be written down, and this says so
        if isinstance(each, int) and each.bit_length() > MOST_BITS:
            raise ValueError(f"it holds a whole number of more than {MOST_BITS} bits")
        if seen > MOST_VALUES:
            raise ValueError(f"it holds more than {MOST_VALUES:,} values, aliases included")
        if isinstance(each, dict):
            waiting += [(inner, depth + 1) for pair in each.items() for inner in pair]
        elif isinstance(each, list | tuple | set):
            waiting += [(inner, depth + 1) for inner in each]
    return value


def flat(settings: Section, prefix: str = "") -> dict[str, Any]:
    """Turn settings into dotted names and plain values, as runs record them.

    Examples
    --------
    >>> flat(Search(max_trials=5))
    {'budget_seconds': 60.0, 'max_trials': 5, 'resume': True, 'warm_start': None}
    """
    values: dict[str, Any] = {}
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, Section):
            values |= flat(value, f"{prefix}{name}.")
        else:
            values[prefix + name] = _plain(value)
    return values


def as_yaml(settings: Settings) -> str:
    """Write settings as a parameter file that means the same."""
    return yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def json_schema() -> str:
    """Write the JSON schema of parameter files, by which editors complete, check and explain.

    It knows names, types and ranges. Which settings contradict each other only
    ``load`` can tell.
    """
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "description": Settings.__doc__,
        **_for_editors(Settings.model_json_schema()),
    }
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _for_editors(schema: Any) -> Any:
    """Leave out titles that repeat a name, and defaults of sections, which their settings have."""
    if isinstance(schema, list):
        return [_for_editors(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    is_section = "$ref" in schema and isinstance(schema.get("default"), dict)
    kept = {
        name: _for_editors(value)
        for name, value in schema.items()
        if not (name == "default" and is_section)
        and not (name == "title" and isinstance(value, str))
    }
    # Settings hold pairs where YAML has a mapping.
    is_mapping = kept.get("type") == "object" and kept.get("default") == []
    return kept | {"default": {}} if is_mapping else kept


def field_docs(
    section: type[Section] = Settings, prefix: str = ""
) -> Iterator[tuple[str, str, str]]:
    """Yield ``(dotted name, default, description)`` of every setting, for the docs."""
    for name, field in section.model_fields.items():
        inner = _section_of(field.annotation)
        if inner is not None:
            yield from field_docs(inner, f"{prefix}{name}.")
        else:
            default = "required" if field.is_required() else _as_yaml(field.default)
            yield prefix + name, default, field.description or ""


def _section_of(annotation: Any) -> type[Section] | None:
    # A list of sections is one setting.
    inner = () if get_origin(annotation) is tuple else get_args(annotation)
    for candidate in (annotation, *inner):
        if isinstance(candidate, type) and issubclass(candidate, Section):
            return candidate
    return None


def _as_yaml(value: Any) -> str:
    return yaml.safe_dump(_plain(value), default_flow_style=True).split("\n")[0]


def _plain(value: Any) -> Any:
    """Give what YAML and JSON know: a list for a tuple, text for one of a few names."""
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, Section):
        return value.model_dump(mode="json")
    return [_plain(each) for each in value] if isinstance(value, tuple) else value


def _put(values: dict[str, Any], name: str, value: Any) -> None:
    """Set ``values["a"]["b"] = value`` for the dotted name ``a.b``."""
    *sections, last = name.split(".")
    for section in sections:
        inner = values.setdefault(section, {})
        if not isinstance(inner, dict):
            raise SettingsError(
                f"The override {name} goes inside {section}, which is not a section."
            )
        values = inner
    values[last] = value


def _problems(details: Sequence[ErrorDetails]) -> Iterator[str]:
    """Say pydantic's findings in our words, a value that no branch of a union takes once."""
    for name, same in groupby(details, key=_name):
        findings = list(same)
        wanted = [_WANTED[detail["type"]] for detail in findings if detail["type"] in _WANTED]
        if wanted:
            given = _shown(findings[0]["input"])
            yield f"{name} must be {' or '.join(dict.fromkeys(wanted))}, got {given}"
        others = [detail for detail in findings if detail["type"] not in _WANTED]
        yield from dict.fromkeys(_told(name, detail) for detail in others)


def _name(detail: ErrorDetails) -> str:
    """Give the dotted name of what a finding is about."""
    if not detail["loc"]:
        return "the name of a setting"
    path = [part for part in detail["loc"][:-1] if not _is_branch(part)]
    last = detail["loc"][-1]
    # The name of an unknown setting is the user's own, whatever it looks like.
    if detail["type"] == "extra_forbidden" or not _is_branch(last):
        path.append(last)
    return ".".join(str(part) for part in path)


def _told(name: str, detail: ErrorDetails) -> str:
    """Say one of pydantic's findings in our words."""
    given = _shown(detail["input"])
    context = detail.get("ctx", {})
    match detail["type"]:
        case "extra_forbidden":
            return f"{name} is not a setting{_suggestion(name)}"
        case "missing":
            return f"{name} is required and not given"
        case "value_error":
            # What a section says of itself begins with the name of a setting in it.
            joint = "." if isinstance(detail["input"], Mapping) else " "
            return f"{name}{joint}{context['error']}"
        case "enum" | "literal_error":
            return f"{name} must be {context['expected']}, got {given}"
        case "greater_than":
            return f"{name} must be a number greater than {context['gt']:g}, got {given}"
        case "greater_than_equal":
            return f"{name} must be at least {context['ge']:g}, got {given}"
        case "less_than":
            return f"{name} must be a number less than {context['lt']:g}, got {given}"
        case "less_than_equal":
            return f"{name} must be at most {context['le']}, got {given}"
        case "string_pattern_mismatch" if name == "execution.address":
            return f"{name} must look like tcp://10.0.0.5:8786, got {given}"
        case "string_pattern_mismatch":
            return (
                f"{name} must begin with a letter or digit and hold only letters, digits,"
                f" '.', '_' and '-', got {given}"
            )
        case "string_too_long":
            return f"{name} must have at most {context['max_length']} characters, got {given}"
        case _:
            return f"{name}: {detail['msg']}, got {given}"


def _is_branch(part: int | str) -> bool:
    """Tell pydantic's names for the branches of a union from our own names."""
    return isinstance(part, str) and (
        part in ("float", "str", "int", "bool", "constrained-str") or "[" in part
    )


def _suggestion(name: str) -> str:
    known = [known for known, _, _ in field_docs()]
    known += sorted({dotted.rpartition(".")[0] for dotted in known} - {""})
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if not close:
        last = name.rpartition(".")[2]
        close = [dotted for dotted in known if dotted.rpartition(".")[2] == last][:1]
    return f"; did you mean {close[0]}?" if close else ""


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
