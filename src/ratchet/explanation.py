"""Why a model says what it says of a row: each column's share in the answer, by SHAP.

An answer is split among the columns: what each adds to the mean answer, averaged over all
orders in which the columns could be made known. SHAP's permutation explainer asks nothing of
a model but answers, so that it takes the leader whatever it is made of.

References
----------
Lundberg, S. M. and Lee, S.-I. (2017). A Unified Approach to Interpreting
Model Predictions. NeurIPS 30.
Štrumbelj, E. and Kononenko, I. (2014). Explaining Prediction Models and
Individual Predictions with Feature Contributions. Knowledge and Information
Systems 41 (the sampling).
Mitchell, R., Cooper, J., Frank, E. and Holmes, G. (2022). Sampling
Permutations for Shapley Value Estimation. Journal of Machine Learning
Research 23 (a permutation and its reverse).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
import pandas as pd

from ratchet import wording
from ratchet.model import answers
from ratchet.problem import ProblemType
from ratchet.schema import Kind, Schema

MAX_COLUMNS = 8
"""Columns that have a share of their own; all others have one together."""

SAID = "probability of the class that is said"
"""What is explained where there are more than two classes."""

SUMMARY_ROWS = 40
"""Rows whose shares are summed up."""

_BACKGROUND_ROWS = 25
# Permutations for a row, each with its reverse: exact where no more than two columns interact.
_PERMUTATIONS = 1
_DIGITS = 6


@dataclass(frozen=True)
class Share:
    """What a column adds to the answer about a row."""

    name: str
    """The column, or a name for all that have no share of their own."""
    value: str
    """What the row has there; empty for several columns."""
    by: float
    """What it adds to the mean answer."""


@dataclass(frozen=True)
class Reasons:
    """Why a model says what it says of one row."""

    number: int
    """Which of the test rows, from 1."""
    actual: str
    """The truth."""
    answer: float
    """What the model says: a quantity or a probability."""
    of: str
    """Class whose probability that is; empty for a quantity."""
    base: float
    """Mean answer about the background: with all shares it makes the answer."""
    shares: tuple[Share, ...]
    """The largest first."""


@dataclass(frozen=True)
class Dot:
    """A column's share in the answer about one row of the summary."""

    by: float
    """What it adds."""
    level: int | None
    """Third of the column's values that the row's lies in, 0 to 2; None for labels and gaps."""


@dataclass(frozen=True)
class Player:
    """A column, or several together, and their shares over many rows."""

    name: str
    """The column, or how many there are."""
    alone: bool
    """Whether it is one column."""
    size: float
    """Mean size of its shares."""
    dots: tuple[Dot, ...]
    """Its share in each answer."""


@dataclass(frozen=True)
class Explanation:
    """Shares of the columns in answers about single rows."""

    of: str
    """What is explained, such as ``"price"`` or ``"probability of yes"``."""
    n_background: int
    """Rows whose values stand for a column that is not known."""
    players: tuple[Player, ...]
    """The largest first."""
    rows: tuple[Reasons, ...]
    """Rows that were asked for, in that order."""


def installed() -> bool:
    """Tell whether the extra ``explain`` is there."""
    return find_spec("shap") is not None


def measure(
    model: Any,
    schema: Schema,
    background: pd.DataFrame,
    rows: pd.DataFrame,
    y: np.ndarray,
    picked: Sequence[int],
    important: Sequence[str],
    seed: int,
) -> Explanation:
    """Split answers about test rows among the columns.

    Parameters
    ----------
    model : estimator
        Takes raw columns, as ``model.assemble`` makes it.
    schema : Schema
        Its columns and problem, which has a target.
    background : pd.DataFrame
        Rows whose values stand for a column that is not known; a sample is drawn.
    rows : pd.DataFrame
        Test rows; a sample of them is summed up.
    y : np.ndarray of shape (n,)
        Their truth: class codes or quantities.
    picked : sequence of int
        Places among ``rows`` of those that are explained one by one.
    important : sequence of str
        All columns, those that matter most first.
    seed : int
        Seed of the draws; the same seed gives the same shares.
    """
    rng = np.random.default_rng(seed)
    some = rng.permutation(len(rows))[:SUMMARY_ROWS]
    behind = background.iloc[rng.permutation(len(background))[:_BACKGROUND_ROWS]]
    parts = _parts(important)
    board = _Board(model, schema, parts, pd.concat([behind, rows.iloc[[*some, *picked]]]))
    values, base = board.shares(len(behind), seed)
    said = base + values.sum(axis=1)
    codes = said.argmax(axis=1) if schema.problem is ProblemType.MULTICLASS else None
    if codes is None:
        values, base, said = values[:, :, -1], np.full(len(values), base[-1]), said[:, -1]
    else:
        each = np.arange(len(values))
        values, base, said = values[each, :, codes], base[codes], said[each, codes]
    names = [_called(part) for part in parts]
    sizes = np.abs(values[: len(some)]).mean(axis=0)
    order = np.argsort(-sizes, kind="stable")
    players = tuple(
        Player(
            names[at],
            len(parts[at]) == 1,
            float(sizes[at]),
            tuple(
                Dot(_rounded(by), level)
                for by, level in zip(
                    values[: len(some), at],
                    _levels(rows.iloc[some], parts[at], schema),
                    strict=True,
                )
            ),
        )
        for at in order
    )
    kinds = {column.name: column.kind for column in schema.columns}
    reasons = []
    for row, at in enumerate(picked, start=len(some)):
        shares = [
            Share(
                name,
                wording.value(rows[name].iloc[at], kinds[name]) if len(part) == 1 else "",
                float(by),
            )
            for name, part, by in zip(names, parts, values[row], strict=True)
        ]
        of = "" if schema.problem is ProblemType.REGRESSION else _class(schema, codes, row)
        reasons.append(
            Reasons(
                number=int(at) + 1,
                actual=wording.answer(y[at], schema),
                answer=float(said[row]),
                of=of,
                base=float(base[row]),
                shares=tuple(sorted(shares, key=lambda share: -abs(share.by))),
            )
        )
    return Explanation(_what(schema), len(behind), players, tuple(reasons))


def typical(said: np.ndarray, wrong: np.ndarray) -> tuple[int, ...]:
    """Pick rows with a low, a middle and a high answer that is about right.

    Parameters
    ----------
    said : np.ndarray of shape (n,)
        What the model says: quantities or probabilities.
    wrong : np.ndarray of shape (n,)
        How wrong that is.

    Examples
    --------
    >>> typical(np.arange(11.0), np.zeros(11))
    (1, 5, 9)
    """
    right = np.flatnonzero(wrong <= np.median(wrong))
    ordered = right[np.argsort(said[right], kind="stable")]
    places = np.round(np.array([0.1, 0.5, 0.9]) * (len(ordered) - 1)).astype(int)
    return tuple(dict.fromkeys(ordered[places].tolist()))


class _Board:
    """Columns and rows, as numbers that SHAP can mix."""

    def __init__(
        self, model: Any, schema: Schema, parts: Sequence[tuple[str, ...]], rows: pd.DataFrame
    ) -> None:
        self.model, self.schema, self.parts = model, schema, parts
        self.rows = rows.reset_index(drop=True)
        # The code of a value is where it is found first: whatever a column holds, SHAP gets numbers
        # and sees which values are the same.
        self.codes = np.column_stack([self._first(list(part)) for part in parts])

    def shares(self, n_background: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Split the answers about all rows after the background.

        Returns
        -------
        np.ndarray of shape (rows, parts, answers)
            What each part adds.
        np.ndarray of shape (answers,)
            Mean answers about the background.
        """
        shap = _uncompiled()
        behind, rows = self.codes[:n_background], self.codes[n_background:]
        with _own_random_numbers():
            explainer = shap.explainers.Permutation(
                self._ask, shap.maskers.Independent(behind, max_samples=len(behind)), seed=seed
            )
            evaluations = _PERMUTATIONS * (2 * len(self.parts) + 1)
            found = explainer(rows, max_evals=evaluations, silent=True)
        # Of one answer SHAP leaves the last axis out.
        values = np.asarray(found.values, dtype=np.float64).reshape(len(rows), len(self.parts), -1)
        base = np.asarray(found.base_values, dtype=np.float64)
        return values, base.reshape(len(rows), -1)[0]

    def _first(self, names: list[str]) -> np.ndarray:
        group = self.rows.groupby(names, sort=False, dropna=False).ngroup()
        return group.groupby(group).transform(lambda same: same.index[0]).to_numpy(np.float64)

    def _ask(self, codes: np.ndarray) -> np.ndarray:
        places = np.asarray(codes).astype(np.int64)
        frame = pd.DataFrame(
            {
                name: self.rows[name].array.take(places[:, at])
                for at, part in enumerate(self.parts)
                for name in part
            }
        )
        said = answers(self.model, frame, self.schema, probabilities=True)
        if self.schema.problem is ProblemType.REGRESSION:
            return said.values[:, None]
        if said.probabilities is None:  # a model of another library, which says classes only
            return np.eye(len(self.schema.classes))[said.values]
        return said.probabilities


def _uncompiled() -> Any:
    """Import SHAP without having numba compile it: of so few rows that would take the longest."""
    import numba

    # Its settings are made at run time, which a checker of types can't see.
    config: Any = numba.config
    before = config.DISABLE_JIT
    config.DISABLE_JIT = True
    try:
        import shap
    finally:
        config.DISABLE_JIT = before
    return shap


@contextmanager
def _own_random_numbers() -> Iterator[None]:
    """Keep SHAP, which seeds numpy's common generator, from others' random numbers."""
    state = np.random.get_state()
    try:
        yield
    finally:
        np.random.set_state(state)


def _parts(important: Sequence[str]) -> list[tuple[str, ...]]:
    if len(important) <= MAX_COLUMNS + 1:
        return [(name,) for name in important]
    return [*((name,) for name in important[:MAX_COLUMNS]), tuple(important[MAX_COLUMNS:])]


def _called(part: tuple[str, ...]) -> str:
    return part[0] if len(part) == 1 else f"the {len(part)} other columns"


def _levels(rows: pd.DataFrame, part: tuple[str, ...], schema: Schema) -> list[int | None]:
    kinds = {column.name: column.kind for column in schema.columns}
    if len(part) > 1 or kinds[part[0]] not in (Kind.NUMBER, Kind.BOOLEAN, Kind.DATETIME):
        return [None] * len(rows)
    share = rows[part[0]].rank(pct=True).to_numpy()
    return [None if np.isnan(each) else min(2, int(3 * each)) for each in share]


def _class(schema: Schema, codes: np.ndarray | None, row: int) -> str:
    return str(schema.classes[1 if codes is None else int(codes[row])])


def _what(schema: Schema) -> str:
    if schema.problem is ProblemType.REGRESSION:
        return schema.target or ""
    if schema.problem is ProblemType.BINARY:
        return f"probability of {schema.classes[1]}"
    return SAID


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
