"""A classifier of one text column, made of scikit-learn's own parts, as functions.

It is an estimator of scikit-learn, so that it is saved without functions of its own.
"""

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.naive_bayes import ComplementNB
from sklearn.pipeline import make_pipeline


def build_model(config, problem_type):
    """Weigh words and pairs of words, then compare them with each class."""
    words = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, config.get("words", 2)))
    return make_pipeline(words, ComplementNB(alpha=config.get("alpha", 1.0)))


def train_fn(model, X, y, config):
    """Fit on the text column that params.yaml names."""
    model.fit(
        X[config["column"]].fillna(""), y, complementnb__sample_weight=config["sample_weight"]
    )
    model.column_ = config["column"]


def predict_fn(model, X):
    """Give probabilities of shape (n, K)."""
    return model.predict_proba(X[model.column_].fillna(""))
