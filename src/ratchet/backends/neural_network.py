"""Multi-layer perceptrons of scikit-learn, stopped early."""

import copy
from typing import Any, ClassVar

import numpy as np
from scipy.sparse import issparse

from ratchet.backends import blas
from ratchet.backends.base import (
    Backend,
    Choice,
    Family,
    Fitted,
    Interpretability,
    Real,
    Request,
    Rows,
    Task,
    register,
)
from ratchet.backends.growth import Watch, with_every_class
from ratchet.backends.options import fixed
from ratchet.features import Preparation
from ratchet.problem import ProblemType

MAX_EPOCHS = 200
# Epochs without a better loss after which training stops.
PATIENCE = 15
# A round is a pass over this many rows: on a large table the clock must be asked within an epoch.
ROUND_ROWS = 50_000
# A sparse matrix of fewer cells is trained on faster when it is written out; 200 MB.
MAX_DENSE_CELLS = 50_000_000

# Where a network ends depends on where it began, and nothing stops the last one early. On six small
# tables the mean of three had 1 to 2 % less loss than one, and five no less than three.
REFITS = 3
ROWS_FOR_REFITS = 20_000

# What params.yaml may fix beside the hyperparameters that are searched.
OPTIONS = (
    "batch_size",
    "beta_1",
    "beta_2",
    "early_stopping",
    "epsilon",
    "learning_rate",
    "momentum",
    "nesterovs_momentum",
    "power_t",
    "solver",
    "tol",
)


@register
class NeuralNetworkBackend(Backend):
    """Small neural networks, for tables that are smooth rather than full of steps."""

    name: ClassVar[str] = "neural_network"
    trusted_types: ClassVar[tuple[str, ...]] = (
        "sklearn.neural_network._multilayer_perceptron.MLPClassifier",
        "sklearn.neural_network._multilayer_perceptron.MLPRegressor",
    )
    deterministic: ClassVar[bool] = True

    def families(self, task: Task) -> tuple[Family, ...]:
        """Describe the one family of this backend."""
        usual = {
            "hidden_layer_sizes": (50, 50),
            "activation": "relu",
            "alpha": 1e-3,
            "learning_rate_init": 1e-3,
        }
        family = Family(
            "mlp",
            Preparation.SCALED,
            starts=(
                usual,
                {**usual, "hidden_layer_sizes": (128, 64), "alpha": 0.1},
                {
                    **usual,
                    "hidden_layer_sizes": (100,),
                    "activation": "tanh",
                    "learning_rate_init": 5e-3,
                },
            ),
            space={
                "hidden_layer_sizes": Choice(
                    ((32,), (100,), (50, 50), (128, 64), (128, 128), (256, 128))
                ),
                "activation": Choice(("relu", "tanh")),
                "alpha": Real(1e-6, 10.0, log=True),
                "learning_rate_init": Real(2e-4, 2e-2, log=True),
            },
            cost=15.0,
            rounds="max_iter",
            refits=REFITS if task.n_rows <= ROWS_FOR_REFITS else 1,
            interpretability=Interpretability.ASK,
        )
        options = dict(self.options)
        if "hidden_layer_sizes" in options:
            # YAML has lists where scikit-learn has tuples.
            options["hidden_layer_sizes"] = tuple(np.atleast_1d(options["hidden_layer_sizes"]))
        return fixed(type(self)(options), (family,), OPTIONS)

    def fit(self, request: Request) -> Fitted:
        """Train until the loss on the valid rows stops falling, or for the given epochs."""
        from sklearn.neural_network import MLPClassifier, MLPRegressor

        regression = request.task.problem is ProblemType.REGRESSION
        train = _fast(with_every_class(request.train, request.task.n_classes))
        y, centre, spread = train.y, 0.0, 1.0
        if regression:
            # Weights start small: a target in thousands would take hundreds of epochs to reach.
            centre, spread = float(np.mean(y)), float(np.std(y)) or 1.0
            y = (y - centre) / spread
        params = dict(request.params)
        stops_early = params.pop("early_stopping", True)
        watch = Watch(request, "max_iter", most=MAX_EPOCHS, patience=PATIENCE)
        if not stops_early:
            watch.stops = False
            watch.cap = int(params.get("max_iter", MAX_EPOCHS))
        model = (MLPRegressor if regression else MLPClassifier)(
            **{
                "batch_size": int(np.clip(len(y) // 50, 16, 512)),
                **params,
                "max_iter": watch.cap,
                "random_state": request.seed,
            }
        )
        if params.get("solver") == "lbfgs":
            # It has no epochs: each of its steps sees all rows.
            with blas.ONE_THREAD:
                model.fit(train.X, y, sample_weight=train.weights)
            return Fitted(_scaled_back(model, centre, spread), dict(request.params))
        with blas.ONE_THREAD:
            _train(model, request, Rows(train.X, y, train.weights), watch, centre, spread)
        # What only training needs must not travel with the model.
        model.set_params(max_iter=watch.best)
        return watch.fitted(_scaled_back(model, centre, spread))


def _fast(rows: Rows) -> Rows:
    """Give the rows in the form in which matrix products take least time."""
    X = rows.X
    if issparse(X) and X.shape[0] * X.shape[1] <= MAX_DENSE_CELLS:
        X = X.toarray()
    return Rows(X.astype(np.float32), rows.y, rows.weights)


def _train(
    model: Any, request: Request, rows: Rows, watch: Watch, centre: float, spread: float
) -> None:
    """Train round by round, and leave the weights of the best round in the model."""
    regression = request.task.problem is ProblemType.REGRESSION
    valid = _fast(request.valid) if request.valid is not None else None
    known = {} if regression else {"classes": np.arange(request.task.n_classes)}
    parts = _parts(rows, request.seed)
    best: Any = None
    for turn in range(watch.cap):
        part = parts[turn % len(parts)]
        model.partial_fit(part.X, part.y, sample_weight=part.weights, **known)
        if watch.stops and valid is not None:
            if regression:
                watch.tell(model.predict(valid.X) * spread + centre)
            else:
                watch.tell(model.predict_proba(valid.X))
            if watch.best == len(watch.curve):
                best = copy.deepcopy((model.coefs_, model.intercepts_))
        if watch.is_over():
            break
    if best is not None:
        model.coefs_, model.intercepts_ = best


def _parts(rows: Rows, seed: int) -> list[Rows]:
    """Split rows into as few parts of ``ROUND_ROWS`` as hold them, drawn by chance."""
    n = len(rows.y)
    if n <= ROUND_ROWS:
        return [rows]
    places = np.random.default_rng(seed).permutation(n)
    return [
        Rows(rows.X[part], rows.y[part], None if rows.weights is None else rows.weights[part])
        for part in np.array_split(places, -(-n // ROUND_ROWS))
    ]


def _scaled_back(model: Any, centre: float, spread: float) -> Any:
    """Let the last layer answer in the target's own unit."""
    for name in ("_optimizer", "_random_state", "_no_improvement_count"):
        vars(model).pop(name, None)
    # Single precision is for training; answers are to have every digit that they can.
    model.coefs_ = [each.astype(np.float64) for each in model.coefs_]
    model.intercepts_ = [each.astype(np.float64) for each in model.intercepts_]
    model.coefs_[-1] *= spread
    model.intercepts_[-1] = model.intercepts_[-1] * spread + centre
    return model
