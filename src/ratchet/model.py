"""The one scikit-learn object that is logged: put together from its parts, asked, and saved."""

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

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
    "sklearn.frozen._frozen.FrozenEstimator",
    "sklearn.model_selection._classification_threshold.FixedThresholdClassifier",
    "sklearn.utils._bunch.Bunch",
)
"""Classes in every saved model that skops does not know by itself."""


def assemble(
    transformer: "ColumnTransformer", estimator: Any, schema: Schema, threshold: float | None
) -> "BaseEstimator":
    """Put a fitted preparation and a fitted estimator together.

    The result takes raw columns and answers with quantities or with the
    target's own labels. It holds classes of scikit-learn only, so that it can
    be loaded where this project is not installed.

    Parameters
    ----------
    transformer : ColumnTransformer
        Fitted preparation.
    estimator : estimator
        Fitted on what the preparation gives, with class codes 0 to K-1.
    schema : Schema
        The feature columns and the class labels.
    threshold : float or None
        Probability above which the positive class is said; None means one half.
        Labels that are fractions can't have one.
    """
    from sklearn.pipeline import Pipeline

    pipeline = Pipeline([("prepare", transformer), ("model", estimator)])
    if schema.problem is ProblemType.REGRESSION:
        return pipeline
    labelled = _labelled(pipeline, np.array(schema.classes))
    if threshold is None:
        return labelled
    return _with_threshold(labelled, schema, threshold)


def predict(model: Any, frame: pd.DataFrame, schema: Schema) -> Predictions:
    """Ask a model about the rows of ``frame``.

    Returns
    -------
    Predictions
        With class codes in the order of ``schema.classes``, or quantities.
    """
    features = as_features(frame, schema)
    answers = model.predict(features)
    if schema.problem is ProblemType.REGRESSION:
        return Predictions(np.asarray(answers, dtype=np.float64), None)
    codes = pd.Index(schema.classes).get_indexer(pd.Index(answers))
    if not hasattr(model, "predict_proba"):  # a model of another library, in MLflow's wrapper
        return Predictions(codes, None)
    order = pd.Index(model.classes_).get_indexer(pd.Index(schema.classes))
    return Predictions(codes, np.asarray(model.predict_proba(features))[:, order])


def predict_codes(
    estimator: Any, X: Any, problem: ProblemType, threshold: float | None = None
) -> Predictions:
    """Ask an estimator that works on prepared rows and class codes."""
    if problem is ProblemType.REGRESSION:
        return Predictions(np.asarray(estimator.predict(X), dtype=np.float64), None)
    return decide(np.asarray(estimator.predict_proba(X), dtype=np.float64), threshold)


def decide(probabilities: np.ndarray, threshold: float | None) -> Predictions:
    """Turn probabilities of shape (n, K) into class codes."""
    if threshold is None:
        return Predictions(probabilities.argmax(axis=1), probabilities)
    return Predictions((probabilities[:, 1] >= threshold).astype(np.int64), probabilities)


def _labelled(pipeline: Any, labels: np.ndarray) -> Any:
    """Make a model of codes answer with labels; a vote of one does that."""
    from sklearn.ensemble import VotingClassifier
    from sklearn.preprocessing import LabelEncoder

    vote = VotingClassifier([("leader", pipeline)], voting="soft")
    vote.estimators_ = [pipeline]
    vote.le_ = LabelEncoder()
    vote.le_.classes_ = labels
    vote.classes_ = labels
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
