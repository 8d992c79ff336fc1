"""Boosts trees of XGBoost over the workers of a cluster, and goes on when one is lost."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ratchet.backends.base import Rows, Stream
from ratchet.backends.growth import Watch, as_probabilities
from ratchet.executor import dealing
from ratchet.executor.cluster import connected

# Rounds between two checkpoints: a lost worker costs as many, and each beginning some seconds.
ROUNDS = 50
# Seconds that workers wait for one that doesn't answer.
_SILENT = 60


def boosted(
    stream: Stream,
    params: dict[str, Any],
    types: Sequence[str],
    watch: Watch,
    valid: Rows | None,
    *,
    regression: bool,
) -> Any:
    """Boost on rows that the workers hold between them, in rounds from checkpoint to checkpoint.

    XGBoost's workers add up their sums in each round, and all of them fail when
    one is lost. So what was grown comes back after each ``ROUNDS`` rounds, and
    when that fails, the rows are dealt to the workers that are left, who go on
    from there.

    Parameters
    ----------
    stream : Stream
        The rows, and the cluster.
    params : dict of str to Any
        XGBoost's own parameters.
    types : sequence of str
        What each column is: ``"c"`` or ``"q"``.
    watch : Watch
        Says after each round whether it was the last one.
    valid : Rows, optional
        Rows that it watches; None where the number of rounds is known.
    regression : bool
        Whether answers are quantities, rather than probabilities.

    Returns
    -------
    xgboost.Booster

    Raises
    ------
    ClusterError
        If no worker is left.
    """
    assert stream.execution is not None
    from xgboost import DMatrix, collective
    from xgboost import dask as over_workers

    seen = None
    if valid is not None:
        seen = DMatrix(valid.X, feature_types=list(types), enable_categorical=True)
    grown: Any = None
    with connected(stream.execution) as client, client.as_current():
        while True:
            workers = dealing.workers_of(client)
            try:
                matrix = _matrix(client, workers, stream, types)
                while True:
                    begun = 0 if grown is None else grown.num_boosted_rounds()
                    grown = over_workers.train(
                        client,
                        params,
                        matrix,
                        num_boost_round=min(ROUNDS, watch.cap - begun),
                        xgb_model=grown,
                        verbose_eval=False,
                        coll_cfg=collective.Config(timeout=_SILENT),
                    )["booster"]
                    if _is_over(grown, begun, watch, seen, regression=regression):
                        return grown
            except Exception:  # those that are left may fail in any way
                if not dealing.is_lost(client, workers):
                    raise


def _matrix(client: Any, workers: Sequence[str], stream: Stream, types: Sequence[str]) -> Any:
    """Deal the rows to the workers, and have them cut into bins there."""
    from xgboost.dask import DaskQuantileDMatrix

    X, y, *weights = dealing.dealt(client, workers, map(_plain, stream.batches()))
    return DaskQuantileDMatrix(
        client,
        X,
        y,
        weight=weights[0] if weights else None,
        feature_types=list(types),
        enable_categorical=True,
    )


def _plain(rows: Rows) -> list[np.ndarray]:
    """Give what is sent of a batch: columns, target, and weights if there are any."""
    X = rows.X.toarray() if hasattr(rows.X, "toarray") else np.asarray(rows.X)
    arrays = [X, rows.y, *([] if rows.weights is None else [rows.weights])]
    return [each.astype("float32") for each in arrays]


def _is_over(grown: Any, begun: int, watch: Watch, seen: Any, *, regression: bool) -> bool:
    """Tell the watch of each new round, and whether any of them was the last."""
    rounds = grown.num_boosted_rounds()
    over = False
    for number in range(begun + 1, rounds + 1):
        if seen is not None and watch.stops:
            said = grown.predict(seen, iteration_range=(0, number))
            watch.tell(said if regression else as_probabilities(said))
        over = watch.is_over()
        if over:
            break
    return over or rounds >= watch.cap
