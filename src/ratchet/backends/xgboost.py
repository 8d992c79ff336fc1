"""Boosted trees of XGBoost, stopped early."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ratchet import files
from ratchet.backends import spread
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
    threads_for,
    with_every_class,
)
from ratchet.backends.options import fixed
from ratchet.executor import dealing
from ratchet.features import Preparation
from ratchet.problem import ProblemType

if TYPE_CHECKING:
    from distributed import Client

# Seconds that workers wait for one that doesn't answer.
_SILENT = 60


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
    needs: ClassVar[tuple[str, ...]] = ("xgboost",)
    deterministic: ClassVar[bool] = True
    streams: ClassVar[bool] = True
    spreads: ClassVar[bool] = True

    def doubt(self, family: str, *, threads: int, gpu: bool) -> str:
        """Doubt a graphics processor, whose threads add in any order."""
        return DOUBT_OF_GPU if gpu and _sees_a_device() else ""

    def families(self, task: Task) -> tuple[Family, ...]:
        """Describe the one family of this backend."""
        family = Family(
            "xgboost",
            Preparation.NATIVE,
            starts=_starts(task),
            space={
                "learning_rate": Real(0.01, 0.3, log=True),
                "max_depth": Integer(2, 12),
                "min_child_weight": Real(0.1, 128.0, log=True),
                "subsample": Real(0.5, 1.0),
                "colsample_bytree": Real(0.3, 1.0),
                "reg_lambda": Real(1e-2, 1e2, log=True),
                "reg_alpha": Real(1e-3, 1e1, log=True),
            },
            cost=6.0 * task.boosting_cost,
            rounds="n_estimators",
            interpretability=Interpretability.INSPECT,
        )
        return () if self.missing else fixed(self, (family,))

    def fit(self, request: Request) -> Fitted:
        """Boost until the loss on the valid rows stops falling, or for the given rounds."""
        from xgboost import XGBClassifier, XGBRegressor

        regression = request.task.problem is ProblemType.REGRESSION
        absolute = regression and request.metric in ABSOLUTE
        watch = Watch(request, "n_estimators")
        model = (XGBRegressor if regression else XGBClassifier)(
            **{
                "tree_method": "hist",
                "enable_categorical": True,
                "feature_types": ["c" if code else "q" for code in request.categorical],
                "n_jobs": threads_for(request),
                "random_state": request.seed,
                "verbosity": 0,
                **({"objective": "reg:absoluteerror"} if absolute else {}),
                **({"device": "cuda"} if _on_a_device(request) else {}),
                **request.params,
                "n_estimators": watch.cap,
                "callbacks": [_callback(watch)],
                "eval_metric": _eval_metric(watch, regression) if watch.stops else None,
            }
        )
        train = with_every_class(request.train, request.task.n_classes)
        over_workers = request.stream is not None and request.stream.execution is not None
        if over_workers:
            # The rounds come from the workers; what else a fit sets is set by a short one.
            model.set_params(callbacks=None, eval_metric=None, n_estimators=1)
        with _from_disk(model, request):
            model.fit(
                train.X,
                train.y,
                sample_weight=train.weights,
                eval_set=[(request.valid.X, request.valid.y)]
                if request.valid and watch.stops and not over_workers
                else None,
                verbose=False,
            )
        if over_workers:
            model._Booster = _over_workers(model, request, watch, regression=regression)
        booster = model.get_booster()
        if watch.best < booster.num_boosted_rounds():
            model._Booster = booster[: watch.best]
        # What only training needs must not travel with the model.
        model.evals_result_ = {}
        model.set_params(
            callbacks=None, eval_metric=None, n_estimators=watch.best, n_jobs=1, device="cpu"
        )
        model.get_booster().set_param({"device": "cpu", "nthread": 1})
        return watch.fitted(model)


def _starts(task: Task) -> tuple[Params, ...]:
    """Give settings that are far from each other and good on many tables."""
    rate = 0.05 if task.n_rows < 50_000 else 0.1
    usual = {
        "learning_rate": rate,
        "max_depth": 6,
        "min_child_weight": 1.0,
        "subsample": 0.8,
        "colsample_bytree": 0.8,
        "reg_lambda": 1.0,
        "reg_alpha": 1e-3,
    }
    return (
        usual,
        {**usual, "max_depth": 9, "min_child_weight": 4.0, "colsample_bytree": 0.6},
        {**usual, "max_depth": 4, "learning_rate": rate * 1.5},
        {
            **usual,
            "max_depth": 10,
            "min_child_weight": 0.5,
            "colsample_bytree": 0.5,
            "reg_lambda": 10.0,
            "learning_rate": rate * 0.7,
        },
        {**usual, "max_depth": 7, "min_child_weight": 32.0, "subsample": 1.0, "reg_alpha": 1.0},
    )


def _sees_a_device() -> bool:
    from xgboost import build_info

    return bool(build_info().get("USE_CUDA")) and cuda_devices() > 0


def _on_a_device(request: Request) -> bool:
    # The pages of rows that come in batches are made for the processor.
    return request.gpu and request.stream is None and _sees_a_device()


@contextmanager
def _from_disk(model: Any, request: Request) -> Iterator[None]:
    """Have a fit take its rows from pages on disk, where they come in batches.

    The scikit-learn interface has no place to hand them over, and does much
    beside: so it makes the matrix of the rows that it is given, and for those
    to learn from it is another.
    """
    if request.stream is None or request.stream.execution is not None:
        yield
        return
    from xgboost import DMatrix, ExtMemQuantileDMatrix
    from xgboost.core import XGBoostError

    stream = request.stream
    with files.passing_folder(stream.folder / "pages") as folder:
        stops: list[BaseException] = []
        batches = _batches(stream, str(folder), model.feature_types, stops)
        try:
            pages = ExtMemQuantileDMatrix(batches, nthread=model.n_jobs, enable_categorical=True)
        except XGBoostError:
            if not stops:
                raise
        if stops:
            raise stops[0]

        def matrix(ref: Any, **given: Any) -> Any:
            return pages if ref is None else DMatrix(**given, nthread=model.n_jobs)

        model._create_dmatrix = matrix
        try:
            yield
        finally:
            del model._create_dmatrix


def _over_workers(model: Any, request: Request, watch: Watch, *, regression: bool) -> Any:
    """Boost over the workers of a cluster, with what a model has been told."""
    assert request.stream is not None
    assert request.stream.execution is not None
    params = {name: value for name, value in model.get_xgb_params().items() if value is not None}
    if request.task.problem is ProblemType.MULTICLASS:
        params["num_class"] = request.task.n_classes
    del params["n_jobs"]  # a worker knows its own
    growing = _Growing(
        request.stream, params, model.feature_types, request.valid, regression=regression
    )
    return spread.from_checkpoints(request.stream.execution, growing, watch)


@dataclass(frozen=True)
class _Growing:
    """XGBoost's own way to boost over workers."""

    stream: Stream
    params: dict[str, Any]
    types: list[str]
    valid: Rows | None
    _: KW_ONLY
    regression: bool

    @contextmanager
    def gathered(
        self, client: "Client", workers: Sequence[str], grown: Any
    ) -> "Iterator[Callable[[Any, int], Any]]":
        from xgboost import collective
        from xgboost import dask as over_workers

        with client.as_current():
            X, y, *weights = dealing.dealt(client, workers, spread.sent_of(self.stream))
            matrix = over_workers.DaskQuantileDMatrix(
                client,
                X,
                y,
                weight=weights[0] if weights else None,
                feature_types=self.types,
                enable_categorical=True,
            )

            def grow(grown: Any, rounds: int) -> Any:
                return over_workers.train(
                    client,
                    self.params,
                    matrix,
                    num_boost_round=rounds,
                    xgb_model=grown,
                    verbose_eval=False,
                    coll_cfg=collective.Config(timeout=_SILENT),
                )["booster"]

            yield grow

    def n_rounds(self, grown: Any) -> int:
        return int(grown.num_boosted_rounds())

    def answers(self, grown: Any, begun: int) -> Iterator[np.ndarray]:
        assert self.valid is not None
        seen = self._seen
        for number in range(begun + 1, self.n_rounds(grown) + 1):
            said = grown.predict(seen, iteration_range=(0, number))
            yield said if self.regression else as_probabilities(said)

    @cached_property
    def _seen(self) -> Any:
        from xgboost import DMatrix

        assert self.valid is not None
        return DMatrix(self.valid.X, feature_types=self.types, enable_categorical=True)


def _batches(
    stream: Stream, folder: str, feature_types: list[str], stops: list[BaseException]
) -> Any:
    """Make what XGBoost asks for one batch after the other, as often as it likes.

    It is asked from C, through which no Ctrl-C comes: that is put into ``stops``, and the
    rows end there.
    """
    from xgboost import DataIter

    class Batches(DataIter):
        def __init__(self) -> None:
            self._rows = stream.batches()
            super().__init__(cache_prefix=str(Path(folder) / "page"))

        def next(self, input_data: Callable[..., None]) -> bool:
            try:
                rows = next(self._rows, None)
            except (KeyboardInterrupt, SystemExit) as stop:
                stops.append(stop)
                return False
            if rows is None or stops:
                return False
            input_data(data=rows.X, label=rows.y, weight=rows.weights, feature_types=feature_types)
            return True

        def reset(self) -> None:
            self._rows = stream.batches()

    return Batches()


def _eval_metric(watch: Watch, regression: bool) -> Any:
    def loss(y: np.ndarray, raw: np.ndarray) -> float:
        return watch.tell(raw if regression else as_probabilities(raw))

    return loss


def _callback(watch: Watch) -> Any:
    """Make the callback that asks whether to go on."""
    from xgboost.callback import TrainingCallback

    class Callback(TrainingCallback):
        def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
            return watch.is_over()

    return Callback()
