"""The connection to a cluster: started here or joined; where there is none, a sentence says so."""

import socket
from contextlib import closing

import pytest

from ratchet.errors import ClusterError, SettingsError
from ratchet.executor import cluster
from ratchet.settings import Execution, from_mapping


def execution(**values):
    given = {"name": "t", "data": {"source": "data", "target": "y"}, "execution": values}
    return from_mapping(given, origin="params.yaml").execution


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (
            {"address": "tcp://10.0.0.5:8786"},
            "execution.address must be null with engine local, got 'tcp://10.0.0.5:8786';"
            " engine dask uses it",
        ),
        (
            {"engine": "dask", "address": "10.0.0.5:8786"},
            "execution.address must look like tcp://10.0.0.5:8786, got '10.0.0.5:8786'",
        ),
        ({"engine": "spark"}, "execution.engine must be 'local' or 'dask', got 'spark'"),
        ({"workers": 0}, "execution.workers must be at least 1, got 0"),
    ],
)
def test_what_no_cluster_can_be_is_told(values, told):
    with pytest.raises(SettingsError) as raised:
        execution(**values)
    assert str(raised.value) == f"params.yaml has 1 problem:\n  - {told}"


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setattr(cluster, "find_spec", lambda name: None)
    with pytest.raises(ClusterError) as raised, cluster.connected(execution(engine="dask")):
        pass
    assert str(raised.value) == (
        "execution.engine is dask, and Dask is not installed. Install it with"
        " `pip install 'ratchet[dask]'`, or set execution.engine to local."
    )


def test_an_address_where_nothing_listens_is_told(monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr(cluster, "PATIENCE", 0.3)
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        chosen = Execution(engine="dask", address=address)
        told = f"^No Dask scheduler answers at execution.address {address}: "
        with pytest.raises(ClusterError, match=told), cluster.connected(chosen):
            pass


def test_a_cluster_that_is_started_here_listens_to_this_machine_only_and_ends():
    pytest.importorskip("distributed")
    with cluster.connected(execution(engine="dask", workers=2), cores=2) as client:
        info = client.scheduler_info(n_workers=-1)
        workers = info["workers"]
        assert len(workers) == 2
        assert {each["nthreads"] for each in workers.values()} == {1}
        addresses = [info["address"], *workers]
        assert all(each.startswith("tcp://127.0.0.1:") for each in addresses)
        assert client.submit(sum, [1, 2]).result() == 3
        port = int(info["address"].rpartition(":")[2])
    with closing(socket.socket()) as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0
