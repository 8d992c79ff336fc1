"""Boosted trees of CatBoost, stopped early."""

import math
from typing import Any, ClassVar

import numpy as np

from ratchet.backends.base import (
    Backend,
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
from ratchet.backends.growth import ABSOLUTE, Watch, as_probabilities, with_every_class
from ratchet.backends.options import fixed
from ratchet.features import Preparation
from ratchet.problem import ProblemType

_UNDEFINED = 1e300


@register
class CatBoostBackend(Backend):
    """Gradient boosted trees of CatBoost, which encodes categories by itself.

    It stays on the processor: on a graphics processor it takes neither a loss
    of ours nor a callback, so that it would stop on another score and keep no
    deadline.
    """

    name: ClassVar[str] = "catboost"
    trusted_types: ClassVar[tuple[str, ...]] = (
        "catboost.core.CatBoostClassifier",
        "catboost.core.CatBoostRegressor",
    )
    packages: ClassVar[tuple[str, ...]] = ("catboost",)
    needs: ClassVar[tuple[str, ...]] = ("catboost",)
    deterministic: ClassVar[bool] = True

    def families(self, task: Task) -> tuple[Family, ...]:
        """Describe the one family of this backend, where CatBoost is installed."""
        family = Family(
            "catboost",
            Preparation.FRAME,
            starts=_starts(task),
            space={
                "learning_rate": Real(0.01, 0.3, log=True),
                "depth": Integer(3, 9),
                "l2_leaf_reg": Real(0.5, 50.0, log=True),
                "rsm": Real(0.4, 1.0),
                "random_strength": Real(0.1, 10.0, log=True),
                "bagging_temperature": Real(0.0, 1.0),
                "max_ctr_complexity": Integer(1, 3),
            },
            # Many categories make it slower than that, and it earns its turn before the forests.
            cost=8.0 * task.boosting_cost,
            rounds="iterations",
            interpretability=Interpretability.INSPECT,
        )
        return () if self.missing else fixed(self, (family,))

    def fit(self, request: Request) -> Fitted:
        """Boost until the loss on the valid rows stops falling, or for the given rounds."""
        from catboost import CatBoostClassifier, CatBoostRegressor

        problem = request.task.problem
        watch = Watch(request, "iterations")
        settings = {
            "loss_function": _objective(request),
            "thread_count": request.threads,
            "random_state": request.seed,
            **request.params,
        }
        training = {
            "iterations": watch.cap,
            "allow_writing_files": False,
            "logging_level": "Silent",
            "eval_metric": _Loss(watch, request) if watch.stops else None,
        }
        model = (CatBoostRegressor if problem is ProblemType.REGRESSION else CatBoostClassifier)(
            **{**settings, **training}
        )
        train = with_every_class(request.train, request.task.n_classes)
        model.fit(
            _pool(train, request.categorical),
            eval_set=_pool(request.valid, request.categorical)
            if request.valid and watch.stops
            else None,
            use_best_model=False,
            callbacks=[_Callback(watch)],
        )
        if watch.best < model.tree_count_:
            model.shrink(watch.best)
        # What only training needs must not travel with the model.
        for name in training:
            model._init_params.pop(name, None)
        model._init_params |= {"iterations": watch.best, "thread_count": 1}
        return watch.fitted(model)


def _starts(task: Task) -> tuple[Params, ...]:
    """Give settings that are far from each other and good on many tables."""
    rate = 0.08 if task.n_rows < 20_000 else 0.1
    if task.n_classes > 2:
        # A round costs as much as there are classes.
        rate *= 1.5
    usual = {
        "learning_rate": rate,
        "depth": 6,
        "l2_leaf_reg": 3.0,
        "rsm": 1.0,
        "random_strength": 1.0,
        "bagging_temperature": 1.0,
        "max_ctr_complexity": 1,
    }
    return (
        usual,
        {**usual, "depth": 8, "l2_leaf_reg": 5.0, "max_ctr_complexity": 2},
        {**usual, "depth": 4, "learning_rate": rate * 1.6, "l2_leaf_reg": 1.0},
        {**usual, "depth": 5, "rsm": 0.5, "random_strength": 4.0},
        {**usual, "depth": 7, "l2_leaf_reg": 20.0, "bagging_temperature": 0.2},
    )


def _objective(request: Request) -> str:
    if request.task.problem is ProblemType.REGRESSION:
        return "MAE" if request.metric in ABSOLUTE else "RMSE"
    return "Logloss" if request.task.problem is ProblemType.BINARY else "MultiClass"


def _pool(rows: Rows, categorical: np.ndarray) -> Any:
    from catboost import Pool

    places = [int(place) for place in np.flatnonzero(categorical)]
    return Pool(rows.X, rows.y, weight=rows.weights, cat_features=places)


class _Loss:
    """The loss that was asked for, in the form in which CatBoost takes a metric."""

    # Without it, CatBoost warns that numba is not there to compile this class.
    no_jit = True

    def __init__(self, watch: Watch, request: Request) -> None:
        self._watch = watch
        self._problem = request.task.problem
        assert request.valid is not None
        self._n_valid = len(request.valid.y)
        self._told_apart = len(request.train.y) != self._n_valid
        self._calls = 0

    def evaluate(
        self, approxes: tuple[np.ndarray, ...], y: np.ndarray, weights: Any
    ) -> tuple[float, float]:
        """Score raw answers about the valid rows; those about training rows cost nothing."""
        self._calls += 1
        # CatBoost asks about both sets and names neither; the training rows come first.
        is_valid = len(y) == self._n_valid if self._told_apart else self._calls % 2 == 0
        if not is_valid:
            return 0.0, 1.0
        raw = np.column_stack(approxes)
        loss = self._watch.tell(_answers(raw, self._problem))
        # CatBoost can't write down a number that is none.
        return (loss if math.isfinite(loss) else _UNDEFINED), 1.0

    def __deepcopy__(self, memo: object) -> "_Loss":
        # CatBoost copies its settings, and a copy would tell nobody.
        return self

    def get_final_error(self, error: float, weight: float) -> float:
        """Give the loss back."""
        return error

    def is_max_optimal(self) -> bool:
        """Tell that less is better."""
        return False


def _answers(raw: np.ndarray, problem: ProblemType) -> np.ndarray:
    """Turn raw sums of trees, of shape (n, 1) or (n, K), into quantities or probabilities."""
    from scipy.special import expit, softmax

    if problem is ProblemType.REGRESSION:
        return raw[:, 0]
    return as_probabilities(expit(raw[:, 0])) if raw.shape[1] == 1 else softmax(raw, axis=1)


class _Callback:
    """Asks after each round whether to go on."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    def after_iteration(self, info: Any) -> bool:
        """Tell CatBoost whether to go on."""
        return not self._watch.is_over()
