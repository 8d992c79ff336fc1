"""Models of scikit-learn: the baseline, linear models and random forests."""

from typing import Any, ClassVar

from ratchet.backends.base import (
    Backend,
    Choice,
    Family,
    Fitted,
    Integer,
    Real,
    Request,
    Task,
    register,
)
from ratchet.features import Preparation
from ratchet.problem import ProblemType

# A forest grows in steps of this many trees, so that a deadline can stop it between two.
FOREST_STEP = 25
FOREST_TREES = 150


@register
class SklearnBackend(Backend):
    """Estimators of scikit-learn."""

    name: ClassVar[str] = "sklearn"
    trusted_types: ClassVar[tuple[str, ...]] = ("sklearn.tree._tree.Tree",)

    def families(self, task: Task) -> tuple[Family, ...]:
        """Describe the baseline, a linear model and a random forest."""
        regression = task.problem is ProblemType.REGRESSION
        # Leaves so large that a tree has thousands of them, not hundreds of thousands: the
        # forest of a large table stays small enough to be served.
        leaf = max(1, task.n_rows // 5000)
        return (
            Family("baseline", Preparation.CODES, is_baseline=True),
            Family(
                "linear" if regression else "logistic",
                Preparation.SCALED,
                starts=({"alpha": 1.0},) if regression else ({"C": 1.0},),
                space=(
                    {"alpha": Real(1e-3, 1e3, log=True)}
                    if regression
                    else {"C": Real(1e-4, 1e2, log=True)}
                ),
            ),
            Family(
                "random_forest",
                Preparation.CODES,
                starts=({"max_features": 0.5, "min_samples_leaf": leaf, "max_depth": None},),
                space={
                    "max_features": Real(0.2, 1.0),
                    "min_samples_leaf": Integer(leaf, 20 * leaf, log=True),
                    "max_depth": Choice((None, 8, 12, 16, 24)),
                },
            ),
        )

    def fit(self, request: Request) -> Fitted:
        """Fit one model of scikit-learn."""
        match request.family:
            case "baseline":
                estimator = _baseline(request)
            case "linear" | "logistic":
                estimator = _linear(request)
            case _:
                estimator = _forest(request)
        return Fitted(estimator, dict(request.params))


def _baseline(request: Request) -> Any:
    from sklearn.dummy import DummyClassifier, DummyRegressor

    if request.task.problem is ProblemType.REGRESSION:
        return DummyRegressor(strategy="mean").fit(request.train.X, request.train.y)
    return DummyClassifier(strategy="prior").fit(request.train.X, request.train.y)


def _linear(request: Request) -> Any:
    from sklearn.linear_model import LogisticRegression, Ridge

    if request.task.problem is ProblemType.REGRESSION:
        # The solver must not draw random numbers, and must take a sparse one-hot matrix.
        estimator = Ridge(solver="sparse_cg", **request.params)
    else:
        estimator = LogisticRegression(max_iter=200, **request.params)
    return estimator.fit(request.train.X, request.train.y)


def _forest(request: Request) -> Any:
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    regression = request.task.problem is ProblemType.REGRESSION
    forest = (RandomForestRegressor if regression else RandomForestClassifier)(
        warm_start=True,
        n_jobs=request.threads,
        random_state=request.seed,
        **{"n_estimators": FOREST_TREES, **request.params},
    )
    wanted = forest.n_estimators
    for trees in range(min(FOREST_STEP, wanted), wanted + FOREST_STEP, FOREST_STEP):
        forest.set_params(n_estimators=min(trees, wanted))
        forest.fit(request.train.X, request.train.y)
        if request.out_of_time:
            break
    # Threads would add the trees' answers in any order: the last bits would differ.
    return forest.set_params(n_jobs=1, warm_start=False)
