"""Functions of a user's own: a linear model of numpy alone, which knows nothing of the project."""

import numpy as np
import pandas as pd
from sklearn.linear_model import LinearRegression


class Linear:
    """Least squares on the columns of numbers; classes by the nearest code of each."""

    def __init__(self, n_classes, ridge):
        self.n_classes, self.ridge = n_classes, ridge

    def inputs(self, X):
        values = np.nan_to_num((X[self.columns].to_numpy("float64") - self.mean) / self.scale)
        return np.column_stack([values, np.ones(len(X))])


def build_model(config, problem_type):
    return Linear(config["n_classes"], config.get("ridge", 1.0))


def train_fn(model, X, y, config):
    numbers = X.select_dtypes("number")
    model.columns = list(numbers.columns)
    model.mean = numbers.mean().fillna(0).to_numpy()
    model.scale = numbers.std().fillna(0).replace(0, 1).to_numpy()
    inputs = model.inputs(X)
    target = np.eye(model.n_classes)[y] if model.n_classes else y.to_numpy()[:, None]
    weights = config.get("sample_weight")
    weighted = inputs if weights is None else inputs * weights[:, None]
    square = weighted.T @ inputs + model.ridge * np.eye(inputs.shape[1])
    model.weights = np.linalg.solve(square, weighted.T @ target)


def predict_fn(model, X):
    answers = model.inputs(X) @ model.weights
    if not model.n_classes:
        return answers[:, 0]
    strength = np.exp(answers - answers.max(axis=1, keepdims=True))
    return strength / strength.sum(axis=1, keepdims=True)


def save_fn(model, path, metadata, config):
    names = np.array(model.columns, dtype=str)
    numbers = np.array([model.n_classes, model.ridge])
    # numpy adds the ending .npz to the path.
    np.savez(
        path,
        names=names,
        numbers=numbers,
        **{name: getattr(model, name) for name in ("mean", "scale", "weights")},
    )


def load_fn(path, config):
    with np.load(f"{path}.npz", allow_pickle=False) as saved:
        model = Linear(int(saved["numbers"][0]), float(saved["numbers"][1]))
        model.columns = [str(name) for name in saved["names"]]
        model.mean, model.scale, model.weights = saved["mean"], saved["scale"], saved["weights"]
    return model, {}


def build_estimator(config, problem_type):
    return LinearRegression()


def train_estimator(model, X, y, config):
    model.fit(X[["size"]].fillna(0), y)


def predict_estimator(model, X):
    return model.predict(X[["size"]].fillna(0))


def labels(model, X: pd.DataFrame):
    return predict_fn(model, X).argmax(axis=1)


def nothing(*arguments):
    return None


NOT_A_FUNCTION = 3
