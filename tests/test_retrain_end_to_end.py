"""A drifted month arrives, and one command of cron's makes a new champion of it."""

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import yaml
from conftest import PATIENCE, Clone, asking
from test_workflows import RETRAIN, steps

from ratchet import taxi

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("clones")]

SERVE = ("python", "src", "serve", "--refresh", "1")
TRIP = {
    "PULocationID": 74,
    "DOLocationID": 75,
    "trip_distance": 2.5,
    "lpep_pickup_datetime": "2023-03-03T18:30:00",
}

# Holds every training while a file is there, so that a test can end it at a place that it knows.
PLUGIN = """
import sys
import time
from pathlib import Path

HOLD = Path(__file__).parents[1] / "build" / "hold"
while "train" in sys.argv and HOLD.exists():
    HOLD.with_name("waiting").touch()
    time.sleep(0.05)
"""


def settle_on_small_steps(params: Path) -> None:
    """Have the champion of a drifted month learn from a part of it, in seconds."""
    values = yaml.safe_load(params.read_text(encoding="utf-8"))
    values["split"] |= {"test": "10 days"}
    values["data"]["checks"] = None
    values["train"] |= {"families": ["baseline", "xgboost"], "plugins": ["hold"]}
    values["train"]["search"]["warm_start"] = "champion"
    values["evaluate"]["report"] = False
    values["hooks"] = {
        "promoted": ["sh", "-c", "cat >> build/told.jsonl"],
        "drift": ["sh", "-c", "cat >> build/told.jsonl"],
    }
    params.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")


@pytest.fixture(scope="module")
def january(fresh_clone: Callable[[str], Clone]) -> Clone:
    """A clone that has a champion of January."""
    clone = fresh_clone("january")
    taxi.write_months(clone.root / "data", ["2023-01"], rows=3000, seed=1)
    settle_on_small_steps(clone.root / "params.yaml")
    (clone.root / "src" / "hold.py").write_text(PLUGIN, encoding="utf-8")
    told = retrained(clone)
    assert told.startswith("retrained: there is no champion; green-taxi-duration/1 promoted: ")
    clone.run("git", "add", "--all")
    clone.run("git", "commit", "--quiet", "--message", "January")
    return clone


def retrained(clone: Clone, *arguments: str) -> str:
    """Run it to its end; give the line that it ends with."""
    return clone.run("python", "src", "retrain", "--quiet", *arguments).splitlines()[-1]


def killed_in_its_training(clone: Clone, *arguments: str) -> None:
    """Start it, and kill all of it with -9 as soon as its training begins."""
    hold = clone.root / "build" / "hold"
    hold.touch()
    process = subprocess.Popen(
        ["python", "src", "retrain", *arguments], cwd=clone.root, env=clone.environment
    )
    try:
        until = time.monotonic() + PATIENCE
        while not hold.with_name("waiting").exists():
            assert process.poll() is None and time.monotonic() < until
            time.sleep(0.05)
        second = retrained(clone)
        assert second.startswith("nothing was done: another retraining is under way (process ")
    finally:
        family = [*psutil.Process(process.pid).children(recursive=True), process]
        for each in family:
            each.kill()
        process.wait()
        hold.unlink()
        hold.with_name("waiting").unlink(missing_ok=True)


def test_a_drifted_month_makes_a_new_champion_that_the_server_answers_with(
    january: Clone, tmp_path: Path
):
    [month] = taxi.write_months(tmp_path, ["2023-02"], rows=3000, seed=1, drift=1.0)
    said = january.run("python", "src", "monitor", "--data", str(month), "--quiet", fails=True)
    assert said.splitlines()[-1].startswith("drift")
    with (
        january.serve(*SERVE, ready="/ping") as address,
        asking(address, TRIP) as client,
    ):
        client.until_it_is("green-taxi-duration/1")
        comes_of_a_month(january, month)
        client.until_it_is("green-taxi-duration/2")
        january.run("python", "src", "rollback", "--reason", "February was no usual month")
        client.until_it_is("green-taxi-duration/1")
    assert client.failed == []
    assert client.n_answers > 100
    assert client.versions == [f"green-taxi-duration/{number}" for number in (1, 2, 1)]


def comes_of_a_month(january: Clone, month: Path) -> None:
    """Retrain with a month, also after kill -9, and look at what that has left."""
    killed_in_its_training(january, "--data", str(month), "--commit")
    note = january.root / "build" / "retrain" / "retrain.json"
    assert json.loads(note.read_text())["ended"] is None
    assert (january.root / "data" / month.name).read_bytes() == month.read_bytes()

    told = retrained(january, "--commit")
    assert told.startswith(f"retrained: new data ({month.name})")
    assert "; green-taxi-duration/2 promoted: rmse " in told
    client = january.client()
    champion = client.get_model_version_by_alias("green-taxi-duration", "champion")
    assert int(champion.version) == 2
    assert ", drift: " in told
    events = [
        json.loads(line)["event"]
        for line in (january.root / "build" / "told.jsonl").read_text().splitlines()
    ]
    assert [each for each in events if each != "drift"] == ["promoted", "promoted"]

    # It comes from the data that DVC and git have recorded, and began with the champion's trials.
    train = january.last("train")
    pointer = yaml.safe_load(january.run("git", "show", "HEAD:data.dvc"))["outs"][0]
    assert train.data.tags["ratchet.data_version"] == pointer["md5"]
    assert train.data.tags["ratchet.data_dirty"] == "false"
    assert train.data.tags["ratchet.warm_start"]
    assert train.data.tags["mlflow.source.git.commit"] == json.loads(note.read_text())["commit"]
    subjects = january.run("git", "log", "--format=%s", "-2").splitlines()
    assert subjects == ["Retrained", f"Data: {month.name}"]
    assert january.run("git", "status", "--porcelain") == ""

    # What the workflow does every night.
    [step] = (each for each in steps(RETRAIN) if "python src retrain" in each.get("run", ""))
    summary = month.with_name("summary.md")
    january.run("bash", "-e", "-c", step["run"], GITHUB_STEP_SUMMARY=str(summary))
    assert summary.read_text().startswith("not due: these data were judged already, and ")
    assert "Data and pipelines are up to date." in january.run("dvc", "status", "train")
