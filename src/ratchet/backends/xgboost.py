"""Boosted trees of XGBoost, stopped early."""

from typing import Any, ClassVar

from ratchet.backends.base import (
    Backend,
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

# Early stopping decides the number of rounds; this is only a ceiling.
MAX_ROUNDS = 2000
# Rounds without a better score on the validation rows after which boosting stops.
PATIENCE = 50

# What XGBoost stops on, by the name of the score; other scores stop on the objective's own.
_EVAL_METRICS = {
    "mae": "mae",
    "roc_auc": "auc",
    "average_precision": "aucpr",
}


@register
class XGBoostBackend(Backend):
    """Gradient boosted trees of XGBoost, with native categories."""

    name: ClassVar[str] = "xgboost"
    trusted_types: ClassVar[tuple[str, ...]] = (
        "collections.OrderedDict",
        "xgboost.core.Booster",
        "xgboost.sklearn.XGBClassifier",
        "xgboost.sklearn.XGBRegressor",
    )
    packages: ClassVar[tuple[str, ...]] = ("xgboost",)

    def families(self, task: Task) -> tuple[Family, ...]:
        """Describe the one family of this backend."""
        return (
            Family(
                "xgboost",
                Preparation.NATIVE,
                starts=(
                    {
                        "learning_rate": 0.1,
                        "max_depth": 6,
                        "min_child_weight": 1.0,
                        "subsample": 0.9,
                        "colsample_bytree": 0.9,
                        "reg_lambda": 1.0,
                        "reg_alpha": 1e-3,
                    },
                ),
                space={
                    "learning_rate": Real(0.02, 0.3, log=True),
                    "max_depth": Integer(3, 10),
                    "min_child_weight": Real(0.5, 64.0, log=True),
                    "subsample": Real(0.5, 1.0),
                    "colsample_bytree": Real(0.4, 1.0),
                    "reg_lambda": Real(1e-2, 1e2, log=True),
                    "reg_alpha": Real(1e-3, 1e1, log=True),
                },
            ),
        )

    def fit(self, request: Request) -> Fitted:
        """Boost until the validation score stops rising, or for the given rounds."""
        from xgboost import XGBClassifier, XGBRegressor

        regression = request.task.problem is ProblemType.REGRESSION
        stops = request.valid is not None
        model = (XGBRegressor if regression else XGBClassifier)(
            tree_method="hist",
            enable_categorical=True,
            feature_types=["c" if code else "q" for code in request.categorical],
            n_jobs=request.threads,
            random_state=request.seed,
            eval_metric=_EVAL_METRICS.get(request.metric) if stops else None,
            early_stopping_rounds=PATIENCE if stops else None,
            callbacks=[_deadline(request)],
            **{"n_estimators": MAX_ROUNDS, **request.params},
        )
        model.fit(
            request.train.X,
            request.train.y,
            eval_set=[(request.valid.X, request.valid.y)] if request.valid else None,
            verbose=False,
        )
        params = dict(request.params)
        if stops:
            best = model.get_booster().attr("best_iteration")
            # A deadline that passes in the first round comes before the first comparison.
            params["n_estimators"] = int(best) + 1 if best else 1
        # What only training needs must not travel with the model.
        model.set_params(callbacks=None, early_stopping_rounds=None, n_jobs=1)
        return Fitted(model, params)


def _deadline(request: Request) -> Any:
    """Make the callback that stops boosting when the time is up."""
    from xgboost.callback import TrainingCallback

    class Deadline(TrainingCallback):
        def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
            return request.out_of_time

    return Deadline()
