"""The one scikit-learn object that is logged: put together from its parts, asked, and saved."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ratchet.errors import DataError
from ratchet.features import TRUSTED_TYPES, as_features
from ratchet.metrics import Predictions
from ratchet.problem import ProblemType
from ratchet.schema import Schema

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator
    from sklearn.compose import ColumnTransformer

PACKAGES = ("scikit-learn", "skops", "skrub", "pandas", "numpy")
"""Distributions that every saved model needs."""

ASSEMBLY_TYPES = (
    *TRUSTED_TYPES,
    "sklearn.calibration.CalibratedClassifierCV",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._TemperatureScaling",
    "sklearn.ensemble._voting.VotingClassifier",
    "sklearn.ensemble._voting.VotingRegressor",
    "sklearn.frozen._frozen.FrozenEstimator",
    "sklearn.model_selection._classification_threshold.FixedThresholdClassifier",
    "sklearn.utils._bunch.Bunch",
)
"""Classes in every saved model that skops does not know by itself."""


ROWS_AT_ONCE = 20_000
"""Rows that ``answers`` hands over in one call."""


@dataclass(frozen=True)
class Part:
    """One fitted model of several that answer together."""

    transformer: "ColumnTransformer"
    """Fitted preparation."""
    estimator: Any
    """Fitted on what the preparation gives, with class codes 0 to K-1."""
    weight: float
    """Its share in the answer, before they are made to add up to 1."""


def assemble(
    transformer: "ColumnTransformer", estimator: Any, schema: Schema, threshold: float | None
) -> "BaseEstimator":
    """Put a fitted preparation and a fitted estimator together; see ``combine``."""
    return combine([Part(transformer, estimator, 1.0)], schema, threshold)


def combine(
    parts: Sequence[Part],
    schema: Schema,
    threshold: float | None,
    calibration: "Calibration | None" = None,
) -> "BaseEstimator":
    """Put fitted models together to one that answers with their weighted mean.

    The result takes raw columns and answers with quantities or with the
    target's own labels. It holds classes of scikit-learn only, so that it can
    be loaded where this project is not installed. Models that share a
    preparation are put behind one, so that rows are prepared once for them.

    Parameters
    ----------
    parts : sequence of Part
        At least one.
    schema : Schema
        The feature columns and the class labels.
    threshold : float or None
        Probability above which the positive class is said; None means one half.
        Labels that are fractions can't have one.
    calibration : Calibration, optional
        Maps the mean of the probabilities to frequencies.
    """
    from sklearn.pipeline import Pipeline

    shared = [[parts[place] for place in places] for places in _by_preparation(parts)]
    classes = len(schema.classes)
    pipelines = [
        Pipeline(
            [
                ("prepare", group[0].transformer),
                (
                    "model",
                    _vote([(p.estimator, p.weight) for p in group], np.arange(classes))
                    if len(group) > 1
                    else group[0].estimator,
                ),
            ]
        )
        for group in shared
    ]
    weights = [sum(part.weight for part in group) for group in shared]
    if not schema.problem.is_classification:
        if len(pipelines) == 1:
            return pipelines[0]
        return _vote(list(zip(pipelines, weights, strict=True)), np.arange(0))
    model = _vote(list(zip(pipelines, weights, strict=True)), np.array(schema.classes))
    if calibration is not None:
        model = calibration.around(model)
    if threshold is None:
        return model
    return _with_threshold(model, schema, threshold)


def _by_preparation(parts: Sequence[Part]) -> list[list[int]]:
    """Group the places of parts that share a preparation."""
    shared: dict[int, list[int]] = {}
    for place, part in enumerate(parts):
        shared.setdefault(id(part.transformer), []).append(place)
    return list(shared.values())


def places(parts: Sequence[Part]) -> tuple[int, ...]:
    """Tell for each part where ``taken_apart`` gives it, once they are put together."""
    order = [place for group in _by_preparation(parts) for place in group]
    return tuple(order.index(place) for place in range(len(parts)))


def taken_apart(model: Any) -> tuple[Part, ...]:
    """Give the models that ``combine`` has put together, as they are in it.

    A part says what it says inside: a mean of the parts' answers by their
    weights is the model's, before a calibration and a threshold.

    Parameters
    ----------
    model : estimator
        What ``combine`` made, also when it was saved since.
    """
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.frozen import FrozenEstimator
    from sklearn.model_selection import FixedThresholdClassifier

    while isinstance(model, FixedThresholdClassifier | CalibratedClassifierCV | FrozenEstimator):
        model = model.estimator
    return tuple(
        Part(pipeline["prepare"], estimator, outer * inner)
        for pipeline, outer in _voters(model)
        for estimator, inner in _voters(pipeline["model"])
    )


def threshold_of(model: Any) -> float | None:
    """Give the probability above which a model says the positive class; None for one half.

    Parameters
    ----------
    model : estimator
        What ``combine`` made, also when it was saved since.
    """
    from sklearn.model_selection import FixedThresholdClassifier

    return float(model.threshold) if isinstance(model, FixedThresholdClassifier) else None


def _voters(model: Any) -> list[tuple[Any, float]]:
    """Give the members of a vote of ours with their weights; anything else is alone."""
    from sklearn.ensemble import VotingClassifier, VotingRegressor

    if not isinstance(model, VotingClassifier | VotingRegressor):
        return [(model, 1.0)]
    # A backend may give votes of its own: what is in them is nobody's business.
    if [name for name, _ in model.estimators] != _named(len(model.estimators)):
        return [(model, 1.0)]
    weights = model.weights or [1.0] * len(model.estimators_)
    return list(zip(model.estimators_, weights, strict=True))


def _named(n: int) -> list[str]:
    """Name the members of a vote."""
    return [f"m{place}" for place in range(n)]


def saved_bytes(model: Any) -> int:
    """Count the bytes of the file in which skops keeps a model."""
    from skops import io

    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.skops"
        io.dump(model, path)
        return path.stat().st_size


def predict(model: Any, frame: pd.DataFrame, schema: Schema) -> Predictions:
    """Ask a model about the rows of ``frame``.

    Returns
    -------
    Predictions
        With class codes in the order of ``schema.classes``, quantities, or numbers of
        clusters.

    Raises
    ------
    DataError
        If clusters were asked for, and the model answers with something else.
    """
    features = as_features(frame, schema)
    answers = model.predict(features)
    if schema.problem is ProblemType.REGRESSION:
        return Predictions(np.asarray(answers, dtype=np.float64), None)
    if not schema.problem.has_target:
        numbers = np.asarray(answers)
        if numbers.dtype.kind not in "iu":
            raise DataError(f"The model answers {answers[0]!r}, which is no number of a cluster.")
        return Predictions(numbers.astype(np.int64), None)
    codes = pd.Index(schema.classes).get_indexer(pd.Index(answers))
    if not hasattr(model, "predict_proba"):  # a model of another library, in MLflow's wrapper
        return Predictions(codes, None)
    order = pd.Index(model.classes_).get_indexer(pd.Index(schema.classes))
    return Predictions(codes, np.asarray(model.predict_proba(features))[:, order])


def answers(
    model: Any,
    frame: pd.DataFrame,
    schema: Schema,
    *,
    probabilities: bool,
    at_once: int = ROWS_AT_ONCE,
) -> Predictions:
    """Ask a model about many rows, one question each, where ``predict`` asks two.

    Parameters
    ----------
    model : estimator
        As for ``predict``.
    frame : pd.DataFrame
        Rows; many are asked about in several calls, which keeps memory small.
    schema : Schema
        The columns and the class labels.
    probabilities : bool
        Whether a classifier's probabilities are wanted rather than its decisions. Then ``values``
        are the likeliest classes, whatever its threshold; one that has none gives decisions.
    at_once : int
        Most rows of a call.
    """
    ask = _probable if probabilities and hasattr(model, "predict_proba") else _decided
    parts = [
        ask(model, frame.iloc[start : start + at_once], schema)
        for start in range(0, len(frame), at_once)
    ]
    said = [each.probabilities for each in parts if each.probabilities is not None]
    values = np.concatenate([each.values for each in parts])
    return Predictions(values, np.concatenate(said) if said else None)


def _decided(model: Any, frame: pd.DataFrame, schema: Schema) -> Predictions:
    said = model.predict(as_features(frame, schema))
    if not schema.problem.is_classification:
        whole = not schema.problem.has_target
        return Predictions(np.asarray(said, dtype=np.int64 if whole else np.float64), None)
    return Predictions(pd.Index(schema.classes).get_indexer(pd.Index(said)), None)


def _probable(model: Any, frame: pd.DataFrame, schema: Schema) -> Predictions:
    order = pd.Index(model.classes_).get_indexer(pd.Index(schema.classes))
    said = np.asarray(model.predict_proba(as_features(frame, schema)))[:, order]
    return Predictions(said.argmax(axis=1), said)


def raw_answer(estimator: Any, X: Any, n_classes: int) -> np.ndarray:
    """Ask an estimator that works on prepared rows and class codes.

    Returns
    -------
    np.ndarray
        Quantities of shape (n,), or probabilities of shape (n, n_classes); a
        class that was not in the rows it was fitted on has probability 0.
    """
    if not n_classes:
        return np.asarray(estimator.predict(X), dtype=np.float64).reshape(-1)
    said = np.asarray(estimator.predict_proba(X), dtype=np.float64)
    if said.shape[1] == n_classes:
        return said
    full = np.zeros((len(said), n_classes))
    full[:, np.asarray(estimator.classes_, dtype=np.int64)] = said
    return full


def as_predictions(raw: np.ndarray, threshold: float | None = None) -> Predictions:
    """Turn quantities of shape (n,) or probabilities of shape (n, K) into predictions."""
    if raw.ndim == 1:
        return Predictions(raw, None)
    if threshold is None:
        return Predictions(raw.argmax(axis=1), raw)
    return Predictions((raw[:, 1] >= threshold).astype(np.int64), raw)


@dataclass(frozen=True)
class Calibration:
    """A map from probabilities to frequencies, learned on rows that no model was fitted on."""

    fitted: Any
    """scikit-learn's calibrated classifier around a stand-in that says what it is given."""

    @classmethod
    def learn(cls, raw: np.ndarray, y: np.ndarray) -> "Calibration":
        """Find the temperature at which the probabilities of shape (n, K) fit class codes best.

        References
        ----------
        Guo, C., Pleiss, G., Sun, Y. and Weinberger, K. Q. (2017). On Calibration
        of Modern Neural Networks. ICML 34.
        """
        from sklearn.calibration import CalibratedClassifierCV
        from sklearn.frozen import FrozenEstimator

        stand_in = FrozenEstimator(_stand_in(np.arange(raw.shape[1])))
        everything = np.arange(len(raw))
        # No model is fitted here, so that no rows need be held out from it.
        fitted = CalibratedClassifierCV(
            stand_in, method="temperature", cv=[(everything, everything)], ensemble=False
        )
        return cls(fitted.fit(raw, y))

    def apply(self, raw: np.ndarray) -> np.ndarray:
        """Map probabilities of shape (n, K)."""
        return np.asarray(self.fitted.predict_proba(raw))

    def around(self, model: Any) -> Any:
        """Give the model with the map behind it."""
        from copy import deepcopy

        from sklearn.frozen import FrozenEstimator

        calibrated = deepcopy(self.fitted)
        frozen = FrozenEstimator(model)
        calibrated.estimator = frozen
        calibrated.classes_ = model.classes_
        for each in calibrated.calibrated_classifiers_:
            each.estimator = frozen
            each.classes = model.classes_
        return calibrated


def _stand_in(classes: np.ndarray) -> Any:
    from sklearn.base import BaseEstimator, ClassifierMixin

    class Said(ClassifierMixin, BaseEstimator):
        """Says the probabilities that it is given as its features."""

        def __init__(self) -> None:
            self.classes_ = classes

        def fit(self, X: np.ndarray, y: np.ndarray) -> "Said":
            return self

        def predict(self, X: np.ndarray) -> np.ndarray:
            return self.classes_[X.argmax(axis=1)]

        def predict_proba(self, X: np.ndarray) -> np.ndarray:
            return X

    return Said()


def _vote(members: Sequence[tuple[Any, float]], classes: np.ndarray) -> Any:
    """Average fitted estimators; without classes they say quantities.

    A vote of one turns class codes into labels.
    """
    from sklearn.ensemble import VotingClassifier, VotingRegressor
    from sklearn.preprocessing import LabelEncoder

    named = list(zip(_named(len(members)), (each for each, _ in members), strict=True))
    total = sum(weight for _, weight in members)
    weights = None if len(members) == 1 else [weight / total for _, weight in members]
    if not len(classes):
        vote = VotingRegressor(named, weights=weights)
    else:
        vote = VotingClassifier(named, voting="soft", weights=weights)
        vote.le_ = LabelEncoder()
        vote.le_.classes_ = classes
        vote.classes_ = classes
    vote.estimators_ = [estimator for _, estimator in named]
    return vote


def _with_threshold(labelled: Any, schema: Schema, threshold: float) -> Any:
    from sklearn.frozen import FrozenEstimator
    from sklearn.model_selection import FixedThresholdClassifier

    model = FixedThresholdClassifier(
        FrozenEstimator(labelled),
        threshold=threshold,
        pos_label=schema.classes[-1],
        response_method="predict_proba",
    )
    # Everything inside is fitted and frozen: this only says so.
    model.estimator_ = model.estimator
    return model
