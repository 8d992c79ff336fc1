"""Models of scikit-learn: the baseline, linear and kernel models, forests, boosting, neighbours."""

from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from scipy.sparse import issparse

from ratchet.backends.base import (
    Backend,
    Choice,
    Family,
    Fitted,
    Integer,
    Interpretability,
    Params,
    Real,
    Request,
    Rows,
    Task,
    register,
)
from ratchet.backends.growth import ABSOLUTE, Watch, largest_leaf, usual_leaf, with_every_class
from ratchet.backends.options import fixed
from ratchet.features import Preparation
from ratchet.problem import ProblemType

# A forest grows in steps of this many trees, so that a deadline can stop it between two.
FOREST_STEP = 25
FOREST_TREES = 300
# Saved, no forest is larger than this: an ensemble of four took 860 MB, and 15 s to save.
FOREST_BYTES = 200_000_000
# What skops writes of a node beside a number for each class: several times what is in memory.
_NODE_BYTES = 380
# A forest has grown enough when so many steps together brought less than this share of the loss.
FOREST_PATIENCE = 2
FOREST_GAIN = 0.001

# Histogram boosting bins the rows anew in each step: the steps grow with the model.
BOOSTING_STEP = 10
BOOSTING_GROWTH = 0.2
BOOSTING_ROUNDS = 2_000

# Every answer of neighbours compares a row with all that were trained on.
# Measured: 10,000 answers take 30 s beside 30,000 rows of 110 one-hot columns.
MAX_NEIGHBOUR_ROWS = 10_000
MAX_NEIGHBOUR_CELLS = 500_000

# A kernel model is linear in how near a row lies to so many training rows, drawn by chance. On
# more rows than these it takes seconds for each class, and trees are better.
KERNEL_ROWS = 500
MAX_KERNEL_ROWS = 20_000


@register
class SklearnBackend(Backend):
    """Estimators of scikit-learn."""

    name: ClassVar[str] = "sklearn"
    trusted_types: ClassVar[tuple[str, ...]] = (
        # What neighbours and kernels keep of one-hot rows.
        "scipy.sparse._csr.csr_matrix",
        # Histogram boosting checks its input by a partial call of check_array.
        "functools.partial",
        "sklearn._loss.link.IdentityLink",
        "sklearn._loss.link.Interval",
        "sklearn._loss.link.LogitLink",
        "sklearn._loss.link.MultinomialLogit",
        "sklearn._loss.loss.AbsoluteError",
        "sklearn._loss.loss.HalfBinomialLoss",
        "sklearn._loss.loss.HalfMultinomialLoss",
        "sklearn._loss.loss.HalfSquaredError",
        "sklearn.ensemble._hist_gradient_boosting.binning._BinMapper",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.tree._tree.Tree",
        "sklearn.utils.validation.check_array",
    )
    deterministic: ClassVar[bool] = True

    def families(self, task: Task) -> tuple[Family, ...]:
        """Describe the families that suit the problem and its size."""
        regression = task.problem is ProblemType.REGRESSION
        families = [
            Family(
                "baseline",
                Preparation.CODES,
                is_baseline=True,
                cost=0.1,
                interpretability=Interpretability.READ,
            ),
            *(_linear_regressions() if regression else _logistic_regressions()),
            _forest_family("random_forest", task),
            _forest_family("extra_trees", task),
            _boosting_family(task),
        ]
        if (
            task.n_rows <= MAX_NEIGHBOUR_ROWS
            and task.n_rows * task.n_columns <= MAX_NEIGHBOUR_CELLS
        ):
            families.append(_neighbour_family(task))
        if task.n_rows <= MAX_KERNEL_ROWS:
            families.append(_kernel_family(regression))
        return fixed(self, families)

    def fit(self, request: Request) -> Fitted:
        """Fit one model of scikit-learn."""
        request = replace(request, train=with_every_class(request.train, request.task.n_classes))
        match request.family:
            case "baseline":
                return Fitted(_baseline(request), dict(request.params))
            case "linear" | "ridge":
                return Fitted(_ridge(request), dict(request.params))
            case "elastic_net":
                return Fitted(_elastic_net(request), dict(request.params))
            case "logistic":
                return Fitted(_logistic(request), dict(request.params))
            case "hist_boosting":
                return _boosting(request)
            case "kernel":
                return Fitted(_kernel(request), dict(request.params))
            case "knn":
                return Fitted(_neighbours(request), dict(request.params))
            case _:
                return _forest(request)


def _linear_regressions() -> tuple[Family, ...]:
    return (
        # Least squares, but for a penalty that keeps columns which add up to each other apart.
        Family(
            "linear",
            Preparation.SCALED,
            starts=({"alpha": 1e-3},),
            cost=1.0,
            interpretability=Interpretability.READ,
        ),
        Family(
            "ridge",
            Preparation.SCALED,
            starts=({"alpha": 1.0}, {"alpha": 30.0}),
            space={"alpha": Real(1e-3, 1e4, log=True)},
            cost=1.0,
            interpretability=Interpretability.READ,
        ),
        Family(
            "elastic_net",
            Preparation.SCALED,
            starts=({"alpha": 0.003, "l1_ratio": 0.7}, {"alpha": 0.03, "l1_ratio": 0.5}),
            space={"alpha": Real(1e-4, 1.0, log=True), "l1_ratio": Real(0.05, 1.0)},
            cost=2.0,
            interpretability=Interpretability.READ,
        ),
    )


def _logistic_regressions() -> tuple[Family, ...]:
    return (
        Family(
            "logistic",
            Preparation.SCALED,
            starts=({"C": 1.0}, {"C": 0.05}),
            space={"C": Real(1e-4, 1e2, log=True)},
            cost=1.0,
            interpretability=Interpretability.READ,
        ),
    )


def _forest_family(name: str, task: Task) -> Family:
    # Leaves so large that a tree has thousands of them, not hundreds of thousands: the
    # forest of a large table stays small enough to be served.
    leaf = max(1, task.n_rows // 5000)
    usual: dict[str, Any] = {"max_features": 0.4, "min_samples_leaf": leaf}
    if name == "extra_trees":
        # Splits drawn by chance need more columns to choose from.
        usual["max_features"] = 0.7
    variants: tuple[Params, ...] = (
        {},
        {"max_features": 0.2},
        {"min_samples_leaf": 4 * leaf},
        {"max_features": 0.9, "min_samples_leaf": 2 * leaf},
    )
    space: dict[str, Any] = {
        "max_features": Real(0.1, 1.0),
        "min_samples_leaf": Integer(leaf, 20 * leaf, log=True),
    }
    if task.problem is not ProblemType.REGRESSION:
        usual["criterion"] = "gini"
        variants = (*variants, {"criterion": "entropy"})
        space["criterion"] = Choice(("gini", "entropy"))
    return Family(
        name,
        Preparation.CODES,
        starts=tuple({**usual, **variant} for variant in variants),
        space=space,
        cost=12.0 if name == "random_forest" else 10.0,
        rounds="n_estimators",
        interpretability=Interpretability.INSPECT,
    )


def _boosting_family(task: Task) -> Family:
    leaf = usual_leaf(task)
    usual = {
        "learning_rate": 0.05 if task.n_rows < 20_000 else 0.1,
        "max_leaf_nodes": 31,
        "min_samples_leaf": leaf,
        "l2_regularization": 1.0,
        "max_features": 0.8,
    }
    return Family(
        "hist_boosting",
        Preparation.CODES,
        starts=(
            usual,
            {**usual, "max_leaf_nodes": 12, "min_samples_leaf": 2 * leaf},
            {**usual, "max_leaf_nodes": 96, "min_samples_leaf": 5, "max_features": 0.5},
            {**usual, "max_leaf_nodes": 48, "l2_regularization": 30.0, "max_features": 0.4},
        ),
        space={
            "learning_rate": Real(0.01, 0.3, log=True),
            "max_leaf_nodes": Integer(4, 255, log=True),
            "min_samples_leaf": Integer(1, largest_leaf(task), log=True),
            "l2_regularization": Real(1e-3, 1e2, log=True),
            "max_features": Real(0.3, 1.0),
        },
        cost=100.0 * task.boosting_cost,
        rounds="max_iter",
        interpretability=Interpretability.INSPECT,
    )


def _neighbour_family(task: Task) -> Family:
    # More neighbours than this are most of a small table.
    most = int(min(100, max(4, task.n_rows // 10)))
    return Family(
        "knn",
        Preparation.SCALED,
        starts=tuple(
            {"n_neighbors": min(k, most), "weights": weights, "p": p}
            for k, weights, p in ((15, "distance", 2), (7, "distance", 1), (40, "uniform", 2))
        ),
        space={
            "n_neighbors": Integer(1, most, log=True),
            "weights": Choice(("uniform", "distance")),
            "p": Choice((1, 2)),
        },
        cost=20.0,
        interpretability=Interpretability.ASK,
    )


def _kernel_family(regression: bool) -> Family:
    settings = ((0.1, 1.0), (0.3, 100.0)) if regression else ((0.1, 10.0), (0.3, 100.0))
    return Family(
        "kernel",
        Preparation.SCALED,
        starts=tuple({"gamma": gamma, "C": C} for gamma, C in (*settings, (0.3, 1.0))),
        space={"gamma": Real(0.02, 3.0, log=True), "C": Real(0.1, 1e4, log=True)},
        cost=5.0,
        interpretability=Interpretability.ASK,
    )


def _baseline(request: Request) -> Any:
    from sklearn.dummy import DummyClassifier, DummyRegressor

    X, y, weights = request.train.X, request.train.y, request.train.weights
    if request.task.problem is ProblemType.REGRESSION:
        return DummyRegressor(strategy="mean").fit(X, y, weights)
    return DummyClassifier(strategy="prior").fit(X, y, weights)


def _ridge(request: Request) -> Any:
    from sklearn.linear_model import Ridge

    # It solves dense columns directly and sparse ones by conjugate gradients: no random numbers.
    model = Ridge(**request.params)
    return model.fit(request.train.X, request.train.y, sample_weight=request.train.weights)


def _elastic_net(request: Request) -> Any:
    from sklearn.linear_model import ElasticNet

    # Its penalty has the unit of the target: on a target of spread 1, a setting means the same
    # in minutes and in dollars.
    spread = float(np.std(request.train.y)) or 1.0
    model = ElasticNet(max_iter=2_000, tol=1e-3, **request.params)
    model.fit(request.train.X, request.train.y / spread, sample_weight=request.train.weights)
    model.coef_ = np.asarray(model.coef_) * spread
    model.intercept_ = model.intercept_ * spread
    return model


def _logistic(request: Request) -> Any:
    from sklearn.linear_model import LogisticRegression

    # lbfgs can't be stopped by a clock: on large tables fewer steps have to do.
    model = LogisticRegression(
        **{"max_iter": 300 if request.task.n_rows < 200_000 else 60, "tol": 1e-3, **request.params}
    )
    return model.fit(request.train.X, request.train.y, sample_weight=request.train.weights)


def _kernel(request: Request) -> Any:
    """Fit a linear model on the kernel's map of the rows (Williams and Seeger 2001).

    The kernel's width is in units of the spread of the rows, so that a setting means the same
    on any table.
    """
    from sklearn.kernel_approximation import Nystroem
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import make_pipeline

    X, y, weights = request.train.X, request.train.y, request.train.weights
    spread = _total_variance(X) or 1.0
    params = {"gamma": 0.3, "C": 10.0, **request.params}
    nearness = Nystroem(
        gamma=params["gamma"] / spread,
        n_components=min(KERNEL_ROWS, len(y)),
        random_state=request.seed,
    )
    if request.task.problem is ProblemType.REGRESSION:
        # The penalty is on how far the answer bends from the mean, whatever the target's unit.
        last, name = Ridge(alpha=1 / params["C"]), "ridge"
    else:
        last, name = LogisticRegression(C=params["C"], max_iter=300, tol=1e-3), "logisticregression"
    return make_pipeline(nearness, last).fit(X, y, **{f"{name}__sample_weight": weights})


def _total_variance(X: Any) -> float:
    """Add up the variances of the columns of an array or a sparse matrix."""
    squares = X.multiply(X) if issparse(X) else np.square(X)
    return float(np.sum(np.asarray(squares.mean(axis=0)) - np.square(np.asarray(X.mean(axis=0)))))


def _forest(request: Request) -> Fitted:
    from sklearn import ensemble

    regression = request.task.problem is ProblemType.REGRESSION
    kind = "RandomForest" if request.family == "random_forest" else "ExtraTrees"
    forest = getattr(ensemble, kind + ("Regressor" if regression else "Classifier"))(
        warm_start=True,
        n_jobs=request.threads,
        random_state=request.seed,
        **{"n_estimators": FOREST_TREES, **request.params},
    )
    wanted = forest.n_estimators
    valid = request.valid if request.loss else None
    curve: list[float] = []
    total: Any = 0.0
    grown = 0
    while grown < wanted:
        grown = min(grown + FOREST_STEP, wanted)
        forest.set_params(n_estimators=grown)
        forest.fit(request.train.X, request.train.y, sample_weight=request.train.weights)
        wanted = min(wanted, max(FOREST_STEP, _most_trees(forest, request.task.n_classes)))
        if valid is not None and request.loss is not None:
            X = np.asarray(valid.X, dtype=np.float32)
            for tree in forest.estimators_[len(curve) :]:
                total = total + (tree.predict(X) if regression else tree.predict_proba(X))
                curve.append(request.loss(total / (len(curve) + 1)))
            if _is_flat(curve):
                break
        if request.out_of_time:
            break
    # Threads would add the trees' answers in any order: the last bits would differ.
    forest.set_params(n_jobs=1, warm_start=False)
    params = {**request.params, "n_estimators": grown}
    flat = valid is not None and _is_flat(curve)
    return Fitted(
        forest,
        params,
        tuple(curve),
        cut_short=grown < wanted and not flat,
        n_bytes=_saved_bytes(forest, request.task.n_classes),
    )


def _most_trees(forest: Any, n_classes: int) -> int:
    """Count the trees that make a forest as large as it may be, given those that have grown."""
    return int(FOREST_BYTES / (_saved_bytes(forest, n_classes) / len(forest.estimators_)))


def _saved_bytes(forest: Any, n_classes: int) -> int:
    nodes = sum(tree.tree_.node_count for tree in forest.estimators_)
    return int(nodes * (_NODE_BYTES + 8 * max(1, n_classes)))


def _is_flat(curve: list[float]) -> bool:
    """Tell whether the last trees brought next to nothing."""
    before = len(curve) - FOREST_PATIENCE * FOREST_STEP
    if before <= 0:
        return False
    return curve[before - 1] - min(curve[before:]) < FOREST_GAIN * abs(curve[before - 1])


def _boosting(request: Request) -> Fitted:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    from threadpoolctl import threadpool_limits

    regression = request.task.problem is ProblemType.REGRESSION
    watch = Watch(request, "max_iter", most=BOOSTING_ROUNDS)
    absolute = regression and request.metric in ABSOLUTE
    model = (HistGradientBoostingRegressor if regression else HistGradientBoostingClassifier)(
        **{
            "categorical_features": request.categorical,
            "early_stopping": False,
            "warm_start": True,
            "random_state": request.seed,
            **({"loss": "absolute_error"} if absolute else {}),
            **request.params,
        }
    )
    # It can't find the bins of a column without a value; one of zeros is never split either.
    X = np.where(np.isnan(request.train.X).all(axis=0), 0.0, request.train.X)
    grown, over = 0, False
    # It has no setting for its threads, which OpenMP counts for each calling thread.
    with threadpool_limits(request.threads, user_api="openmp"):
        while not over:
            before = grown
            grown = min(watch.cap, before + max(BOOSTING_STEP, int(BOOSTING_GROWTH * before)))
            model.set_params(max_iter=grown)
            model.fit(X, request.train.y, sample_weight=request.train.weights)
            if watch.stops and request.valid is not None:
                staged = model.staged_predict if regression else model.staged_predict_proba
                for place, raw in enumerate(staged(request.valid.X)):
                    if place >= before:
                        watch.tell(raw)
            over = watch.is_over(grown - before) or grown == watch.cap
    # The trees of the rounds after the best one; nothing public takes them away.
    del model._predictors[watch.best :]
    model.set_params(max_iter=watch.best, warm_start=False)
    return watch.fitted(model)


def _neighbours(request: Request) -> Any:
    from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

    regression = request.task.problem is ProblemType.REGRESSION
    rows = _drawn(request.train, request.seed)
    model = (KNeighborsRegressor if regression else KNeighborsClassifier)(
        # A tree of the rows would be one more kind of object to trust in a saved model.
        algorithm="brute",
        **{**request.params, "n_neighbors": min(request.params["n_neighbors"], len(rows.y))},
    )
    return model.fit(rows.X, rows.y)


def _drawn(rows: Rows, seed: int) -> Rows:
    """Draw rows as often as they weigh, for a model that takes no weights."""
    if rows.weights is None or len(set(rows.weights[rows.weights > 0])) == 1:
        return rows
    share = rows.weights / rows.weights.sum()
    places = np.sort(np.random.default_rng(seed).choice(len(rows.y), len(rows.y), p=share))
    return Rows(rows.X[places], rows.y[places])
