"""Boosted trees of LightGBM, stopped early."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from scipy.special import expit, softmax

from ratchet.backends import spread, team
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
    Stream,
    Task,
    register,
)
from ratchet.backends.growth import (
    ABSOLUTE,
    DOUBT_OF_GPU,
    Watch,
    as_probabilities,
    cuda_devices,
    largest_leaf,
    threads_for,
    usual_leaf,
    with_every_class,
)
from ratchet.backends.options import fixed
from ratchet.features import Preparation
from ratchet.problem import ProblemType

if TYPE_CHECKING:
    from distributed import Client


@register
class LightGBMBackend(Backend):
    """Gradient boosted trees of LightGBM, with native categories."""

    name: ClassVar[str] = "lightgbm"
    trusted_types: ClassVar[tuple[str, ...]] = (
        "collections.OrderedDict",
        "lightgbm.basic.Booster",
        "lightgbm.sklearn.LGBMClassifier",
        "lightgbm.sklearn.LGBMRegressor",
    )
    packages: ClassVar[tuple[str, ...]] = ("lightgbm",)
    needs: ClassVar[tuple[str, ...]] = ("lightgbm",)
    deterministic: ClassVar[bool] = True
    spreads: ClassVar[bool] = True

    def doubt(self, family: str, *, threads: int, gpu: bool) -> str:
        """Doubt a graphics processor, whose threads add in any order."""
        return DOUBT_OF_GPU if gpu and _sees_a_device() else ""

    def families(self, task: Task) -> tuple[Family, ...]:
        """Describe the one family of this backend."""
        family = Family(
            "lightgbm",
            Preparation.NATIVE,
            starts=_starts(task),
            space={
                "learning_rate": Real(0.01, 0.3, log=True),
                "num_leaves": Integer(4, 255, log=True),
                "min_child_samples": Integer(1, largest_leaf(task), log=True),
                "subsample": Real(0.5, 1.0),
                "colsample_bytree": Real(0.3, 1.0),
                "reg_lambda": Real(1e-3, 1e2, log=True),
                "cat_smooth": Real(1.0, 100.0, log=True),
                "extra_trees": Choice((False, True)),
            },
            cost=5.0 * task.boosting_cost,
            rounds="n_estimators",
            interpretability=Interpretability.INSPECT,
        )
        return () if self.missing else fixed(self, (family,))

    def fit(self, request: Request) -> Fitted:
        """Boost until the loss on the valid rows stops falling, or for the given rounds."""
        from lightgbm import LGBMClassifier, LGBMRegressor

        regression = request.task.problem is ProblemType.REGRESSION
        absolute = regression and request.metric in ABSOLUTE
        watch = Watch(request, "n_estimators")
        model = (LGBMRegressor if regression else LGBMClassifier)(
            **{
                "subsample_freq": 1,
                "n_jobs": threads_for(request),
                "random_state": request.seed,
                # Sums of gradients must not depend on how many threads add them.
                "deterministic": True,
                "force_col_wise": True,
                "verbosity": -1,
                **({"objective": "regression_l1"} if absolute else {}),
                **({"device_type": "cuda"} if request.gpu and _sees_a_device() else {}),
                **request.params,
                # What workers grow takes the place of the rounds of this fit.
                "n_estimators": 1 if request.stream else watch.cap,
                "metric": "None",
            }
        )
        valid = request.valid if watch.stops and request.stream is None else None
        train = with_every_class(request.train, request.task.n_classes)
        model.fit(
            train.X,
            train.y,
            sample_weight=train.weights,
            eval_X=(valid.X,) if valid else None,
            eval_y=(valid.y,) if valid else None,
            eval_metric=_eval_metric(watch, regression) if valid else None,
            categorical_feature=[int(place) for place in np.flatnonzero(request.categorical)],
            callbacks=[_callback(watch)] if request.stream is None else None,
        )
        if request.stream is not None:
            model._Booster = _over_workers(model, request, watch, regression=regression)
        # What only training needs must not travel with the model.
        model._evals_result = {}
        model.set_params(n_estimators=watch.best, n_jobs=1)
        return watch.fitted(model)


def _starts(task: Task) -> tuple[Params, ...]:
    """Give settings that are far from each other and good on many tables."""
    leaf = usual_leaf(task)
    rate = 0.05 if task.n_rows < 100_000 else 0.1
    usual = {
        "learning_rate": rate,
        "num_leaves": 31,
        "min_child_samples": leaf,
        "subsample": 0.9,
        "colsample_bytree": 0.8,
        "reg_lambda": 1.0,
        "cat_smooth": 10.0,
        "extra_trees": False,
    }
    return (
        usual,
        {**usual, "extra_trees": True, "num_leaves": 64, "colsample_bytree": 1.0},
        {
            **usual,
            "learning_rate": rate * 0.6,
            "num_leaves": 128,
            "min_child_samples": 3,
            "colsample_bytree": 0.6,
        },
        {**usual, "num_leaves": 10, "min_child_samples": 2 * leaf},
        {
            **usual,
            "num_leaves": 96,
            "min_child_samples": 3 * leaf,
            "colsample_bytree": 0.5,
            "subsample": 0.7,
            "reg_lambda": 10.0,
            "cat_smooth": 50.0,
        },
        {**usual, "num_leaves": 200, "extra_trees": True, "min_child_samples": 5},
    )


def _over_workers(model: Any, request: Request, watch: Watch, *, regression: bool) -> Any:
    """Boost over the workers of a cluster, with what a model has been told."""
    from lightgbm import Booster

    stream = request.stream
    assert stream is not None
    assert stream.execution is not None
    unset = ("num_iterations", "num_threads", "n_jobs", "n_estimators")
    params = {name: value for name, value in model.booster_.params.items() if name not in unset}
    categorical = [int(place) for place in np.flatnonzero(request.categorical)]
    growing = _Growing(stream, params, categorical, request.valid, regression=regression)
    grown = spread.from_checkpoints(stream.execution, growing, watch)
    return Booster(model_str=grown.model_to_string(num_iteration=watch.best))


@dataclass
class _Growing:
    """LightGBM's own way to boost over workers."""

    stream: Stream
    params: dict[str, Any]
    categorical: list[int]
    valid: Rows | None
    _: KW_ONLY
    regression: bool
    raw: Any = field(default=0.0, init=False)
    """Sums of the leaves, of the valid rows."""

    @contextmanager
    def gathered(
        self, client: "Client", workers: Sequence[str], grown: Any
    ) -> Iterator[Callable[[Any, int], Any]]:
        from lightgbm import Booster

        begun = "" if grown is None else grown.model_to_string(num_iteration=-1)
        sent = spread.sent_of(self.stream)
        with team.gathered(client, workers, sent, self.params, self.categorical, begun) as grow:
            yield lambda _, rounds: Booster(model_str=grow(rounds))

    def n_rounds(self, grown: Any) -> int:
        return int(grown.current_iteration())

    def answers(self, grown: Any, begun: int) -> Iterator[np.ndarray]:
        assert self.valid is not None
        for number in range(begun, self.n_rounds(grown)):
            # A round's leaves hold what it adds, and those of the first the average as well.
            self.raw = self.raw + grown.predict(
                self.valid.X, raw_score=True, start_iteration=number, num_iteration=1
            )
            if self.regression:
                yield self.raw
            else:
                yield as_probabilities(
                    softmax(self.raw, axis=1) if self.raw.ndim == 2 else expit(self.raw)
                )


@cache
def _sees_a_device() -> bool:
    """Try whether this build can train on the graphics processor: it tells in no other way."""
    import lightgbm

    if not cuda_devices():
        return False
    X = np.arange(40.0)[:, None]
    quiet = {"device_type": "cuda", "verbosity": -1, "min_data_in_leaf": 1}
    try:
        lightgbm.train(quiet, lightgbm.Dataset(X, X[:, 0], params=quiet), num_boost_round=1)
    except lightgbm.basic.LightGBMError:
        return False
    return True


def _eval_metric(watch: Watch, regression: bool) -> Any:
    def loss(y: np.ndarray, raw: np.ndarray) -> tuple[str, float, bool]:
        return "loss", watch.tell(raw if regression else as_probabilities(raw)), False

    return loss


def _callback(watch: Watch) -> Any:
    """Make the callback that asks whether to go on."""
    from lightgbm.callback import CallbackEnv, EarlyStopException

    def ask(env: CallbackEnv) -> None:
        # Raised in the last round too, the exception is how LightGBM learns the best one.
        if watch.is_over() or (watch.stops and env.iteration + 1 == env.end_iteration):
            raise EarlyStopException(watch.best - 1, env.evaluation_result_list or [])

    return ask
