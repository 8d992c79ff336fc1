"""The connection to a cluster of Dask's: one that is started here, or one that is there already."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING

from ratchet import container
from ratchet.errors import ClusterError
from ratchet.settings import Execution

if TYPE_CHECKING:
    from distributed import Client, LocalCluster

# Seconds until a scheduler must have answered, and until it must have a worker.
PATIENCE = 30.0
# Only this machine may talk to a cluster that is started here: whoever can, can run code in it.
LOOPBACK = "127.0.0.1"


@contextmanager
def connected(execution: Execution, cores: int | None = None) -> "Iterator[Client]":
    """Connect to the cluster that the settings name, and start one if they name none.

    A cluster that was started here ends with the context, however that ends,
    and with this process, if that is killed. One that was there before is left
    as it was.

    Parameters
    ----------
    execution : Execution
        ``address`` and ``workers`` are used.
    cores : int, optional
        Threads that all workers of a cluster that is started here have together;
        None takes those that this process may use.

    Yields
    ------
    distributed.Client
        Connected, to a cluster that has at least one worker.

    Raises
    ------
    ClusterError
        If the extra ``dask`` is not installed, nothing answers at the address, or
        the scheduler there has no worker.
    """
    if find_spec("distributed") is None:
        raise ClusterError(
            "execution.engine is dask, and Dask is not installed. Install it with"
            " `pip install 'ratchet[dask]'`, or set execution.engine to local."
        )
    from distributed import Client

    from ratchet.executor.scheduled import Deaf

    # What it says of workers that come and go is told by whoever lost something by it.
    for name in ("distributed", "distributed.client", "distributed.gc"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    if execution.address is None:
        with (
            _cluster(execution.workers, cores or container.cores()) as cluster,
            Client(cluster, timeout=PATIENCE, set_as_default=False) as client,
        ):
            _wait_for_a_worker(client, "The cluster that was started here")
            client.register_plugin(Deaf())
            yield client
        return
    try:
        client = Client(execution.address, timeout=PATIENCE, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ClusterError(
            f"No Dask scheduler answers at execution.address {execution.address}:"
            f" {' '.join(str(error).split())}. Start one with `dask scheduler`, or set"
            " execution.address to null for a cluster on this machine."
        ) from None
    try:
        _wait_for_a_worker(client, f"The Dask scheduler at {execution.address}")
        yield client
    finally:
        # A scheduler that is gone can't be told goodbye.
        with suppress(OSError, TimeoutError):
            client.close(timeout=2)


@contextmanager
def _cluster(workers: int | None, cores: int) -> "Iterator[LocalCluster]":
    """Start a cluster of processes on this machine, which nobody else can reach."""
    from dask import config
    from distributed import LocalCluster

    n_workers = workers or cores
    quiet = {
        "logging": {"distributed": "critical"},
        # A trial that its worker does not survive is tried on two others.
        "distributed.scheduler.allowed-failures": 2,
    }
    with config.set(quiet):
        cluster = LocalCluster(
            n_workers=n_workers,
            threads_per_worker=max(1, cores // n_workers),
            processes=True,
            host=LOOPBACK,
            dashboard_address=None,
            silence_logs=logging.CRITICAL,
            env={"DASK_LOGGING__DISTRIBUTED": "critical", "OMP_WAIT_POLICY": "PASSIVE"},
        )
        try:
            yield cluster
        finally:
            cluster.close(timeout=PATIENCE)


def _wait_for_a_worker(client: "Client", whose: str) -> None:
    try:
        client.wait_for_workers(1, timeout=PATIENCE)
    except TimeoutError:
        raise ClusterError(
            f"{whose} has no worker after {PATIENCE:.0f} s. Start some with `dask worker ADDRESS`."
        ) from None
