"""The pipeline as its users run it, through both of its front doors, from a fresh clone."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml
from conftest import Clone

from ratchet.gates import decimals, shown

# One worker runs all that needs the clones: making them takes a minute.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("clones")]

STEPS = ("prepare", "train", "evaluate", "promote")
LINEAGE = (
    "mlflow.source.git.commit",
    "ratchet.data_version",
    "ratchet.data_dirty",
    "ratchet.dirty",
    "ratchet.params_digest",
    "ratchet.lock_digest",
    "ratchet.pipeline",
)
# Whatever of it reached a shell, the file `pwned` would be there.
HOSTILE = """a; touch pwned; $(touch pwned) `touch pwned` | touch pwned 'q' "r" & < *"""


def lineage(clone: Clone, step: str) -> dict[str, str | None]:
    tags = clone.last(step).data.tags
    return {name: tags.get(name) for name in LINEAGE}


def numbers(clone: Clone, build: str = "build") -> dict[str, float]:
    (file,) = clone.root.glob(f"{build}/evaluate/metrics.json")
    return json.loads(file.read_text())


def versions(clone: Clone) -> list[tuple[int, str, list[str]]]:
    found = clone.client().search_model_versions("name = 'green-taxi-duration'")
    return [
        (
            int(each.version),
            each.current_stage,
            clone.client().get_model_version(each.name, each.version).aliases,
        )
        for each in found
    ]


# One truth, whichever way in


def test_both_front_doors_give_the_same_numbers_to_the_last_digit(doors):
    for file in ("evaluate/metrics.json", "evaluate/predictions.csv", "train/search.csv"):
        texts = {(clone.root / "build" / file).read_text() for clone in doors.values()}
        assert len(texts) == 1, file
    assert numbers(doors["dvc"])["test/rmse"] < numbers(doors["dvc"])["baseline/test/rmse"] / 1.5


@pytest.mark.parametrize("step", STEPS)
def test_both_front_doors_leave_the_same_lineage(doors, step):
    dvc, mlflow, python = (lineage(clone, step) for clone in doors.values())
    assert dvc == mlflow == python
    assert None not in dvc.values()


def test_the_lineage_is_true(doors):
    clone = doors["mlflow"]
    pointer = yaml.safe_load((clone.root / "data.dvc").read_text())["outs"][0]["md5"]
    found = lineage(clone, "train")
    assert found["mlflow.source.git.commit"] == clone.run("git", "rev-parse", "HEAD").strip()
    assert found["ratchet.data_version"] == pointer
    assert (found["ratchet.dirty"], found["ratchet.data_dirty"]) == ("false", "false")


@pytest.mark.parametrize("door", ["dvc", "mlflow", "python"])
def test_a_first_run_makes_a_champion_and_leaves_no_run_open(doors, door):
    clone = doors[door]
    assert versions(clone) == [(1, "Production", ["champion"])]
    assert {run.info.status for run in clone.runs()} == {"FINISHED"}
    steps = [run.data.tags["ratchet.step"] for run in clone.runs()]
    assert {step: steps.count(step) for step in STEPS} == dict.fromkeys(STEPS, 1)
    assert steps.count("trial") == 4
    train = clone.last("train")
    parents = {
        run.data.tags["mlflow.parentRunId"]
        for run in clone.runs()
        if run.data.tags["ratchet.step"] == "trial"
    }
    assert parents == {train.info.run_id}
    score = train.data.metrics["valid/rmse"]
    assert train.info.run_name == f"train · xgboost · rmse {shown(score, decimals([score]))}"


# DVC


def test_a_second_repro_runs_nothing_but_promote_and_changes_nothing(doors):
    clone = doors["dvc"]
    clone.run("git", "add", "--all")
    clone.run("git", "commit", "--quiet", "--message", "lock")
    before = versions(clone), [run.info.run_id for run in clone.runs()]
    printed = clone.run("dvc", "repro")
    assert [line for line in printed.splitlines() if line.startswith("> ")] == [
        "> python src promote"
    ]
    assert "promote: no new candidate" in printed
    assert (versions(clone), [run.info.run_id for run in clone.runs()]) == before
    assert clone.run("git", "status", "--porcelain") == ""


def test_dvc_shows_the_metrics_and_plots_them(doors):
    clone = doors["dvc"]
    shown = json.loads(clone.run("dvc", "metrics", "show", "--json").replace("NaN", "null"))
    found = shown[""]["data"]["build/evaluate/metrics.json"]["data"]
    assert found == numbers(clone)
    for step in ("evaluate", "train"):
        recorded = clone.last(step).data.metrics
        assert {name: recorded[name] for name in found if found[name] is not None} == {
            name: value for name, value in found.items() if value is not None
        }
    page = clone.run("dvc", "plots", "show", "--out", "build/plots").strip()
    assert page.endswith("build/plots/index.html")
    html = (clone.root / "build" / "plots" / "index.html").read_text()
    assert "Search, best score so far" in html
    assert "Predicted against actual" in html
    assert "Error by size of the actual value" in html
    # Plots of other problems have no rows, and nothing is said about them.
    assert "Confusion matrix" not in html
    assert "failed to load" not in clone.run("dvc", "plots", "diff", "--out", "build/plots")


def test_an_experiment_records_its_runs_and_its_metrics_differ(doors):
    clone = doors["dvc"]
    before = {run.info.run_id for run in clone.runs()}
    old = clone.last("evaluate").data.metrics
    printed = clone.run("dvc", "exp", "run", "-S", "evaluate.resamples=120")
    assert "> python src evaluate" in printed
    assert "> python src train" not in printed
    new = [run for run in clone.runs() if run.info.run_id not in before]
    assert [run.data.tags["ratchet.step"] for run in new] == ["evaluate"]
    assert new[0].data.params["evaluate.resamples"] == "120"
    told = json.loads(clone.run("dvc", "metrics", "diff", "--json"))
    differences = told["build/evaluate/metrics.json"]
    assert any(name.startswith("test/") for name in differences)
    for name, each in differences.items():
        assert each["old"] == old[name], name
        assert each["new"] == new[0].data.metrics[name], name
    told = json.loads(clone.run("dvc", "params", "diff", "--json"))
    assert told["params.yaml"] == {"evaluate.resamples": {"old": 100, "new": 120, "diff": 20}}
    changed = clone.run("dvc", "metrics", "diff", "--md")
    assert "test/rmse_low" in changed
    assert "test/rmse " not in changed, "the score itself is the same model's on the same rows"
    clone.run("git", "checkout", "--quiet", ".")
    clone.run("dvc", "checkout", "--quiet")


def test_a_temporary_experiment_loses_no_run_and_a_worse_model_stays_below(doors):
    clone = doors["dvc"]
    before, champions = {run.info.run_id for run in clone.runs()}, versions(clone)
    clone.run("dvc", "exp", "run", "--temp", "-S", "train.search.max_trials=2")
    new = [run for run in clone.runs() if run.info.run_id not in before]
    assert {run.data.tags["ratchet.step"] for run in new} >= {"train", "evaluate", "promote"}
    assert all(run.info.artifact_uri.startswith(f"file://{clone.root}/mlruns/") for run in new)
    train = clone.last("train")
    assert train.data.params["train.search.max_trials"] == "2"
    assert train.data.params["leader"] == "sklearn/ridge"
    model = clone.client().get_logged_model(train.outputs.model_outputs[0].model_id)
    kept = Path(model.artifact_location.removeprefix("file://"))
    assert kept.is_relative_to(clone.root / "mlruns")
    assert (kept / "MLmodel").exists()
    # Its leader is worse than the champion.
    assert clone.last("promote").data.metrics["promoted"] == 0
    assert versions(clone) == champions
    assert clone.run("git", "status", "--porcelain") == ""


# MLflow


def test_the_steps_run_alone_in_order_with_settings_that_no_shell_reads(doors):
    clone = doors["mlflow"]
    name = f"tracking.experiment={json.dumps(HOSTILE)}"
    settings = f"seed=7 train.search.max_trials=3 split.valid=0.3 {name}"
    for step in STEPS:
        before = {run.info.run_id for run in clone.runs()}
        command = ("mlflow", "run", ".", "--env-manager", "local", "-e", step)
        clone.run(*command, "-P", f"set={settings}")
        assert not list(clone.root.rglob("pwned"))
        run = clone.last(step)
        assert run.info.run_id not in before
        assert run.info.status == "FINISHED"
        found = run.data.params
        assert (found["seed"], found["split.valid"]) == ("7", "0.3")
        assert found["train.search.max_trials"] == "3"
        assert found["tracking.experiment"] == HOSTILE
        assert run.data.tags["ratchet.overrides"] == settings
    assert clone.last("train").data.tags["ratchet.prepare_run"] == clone.last("prepare").info.run_id
    assert clone.run("git", "status", "--porcelain") == ""


def test_a_project_is_run_from_another_folder_with_the_store_there(doors, tmp_path):
    folder = doors["python"].root
    printed = doors["python"].run(
        *("mlflow", "run", str(folder), "--env-manager", "local", "-e", "prepare"), cwd=tmp_path
    )
    assert "rows read" in printed
    run = Clone(tmp_path).last("prepare")
    assert run.info.status == "FINISHED"
    assert run.info.artifact_uri.startswith(str(tmp_path))


def test_another_parameter_file_is_another_task_in_the_same_store(doors):
    file = "examples/tips.yaml"
    by_mlflow = ("mlflow", "run", ".", "--env-manager", "local", "-P", f"params={file}")
    # As `make run` does it, in the environment of the tests.
    by_make = ("make", "--old-file=install", "run", f"PARAMS={file}")
    with ThreadPoolExecutor(2) as together:
        first = together.submit(doors["mlflow"].run, *by_mlflow)
        printed = together.submit(doors["python"].run, *by_make).result()
        first.result()
    found = numbers(doors["python"], "examples/build/*")
    assert numbers(doors["mlflow"], "examples/build/*") == found
    assert found["test/f0.5"] > found["baseline/test/f0.5"]
    assert 0.5 < found["test/roc_auc"] <= 1
    assert "promoted   yes, as version 1 of green-taxi-tips" in printed
    train = doors["python"].last("train")
    assert train.data.params["name"] == "green-taxi-tips"
    assert train.data.metrics["valid/f0.5"] > 0
    # The first task's numbers and champion are as they were.
    assert numbers(doors["python"]) == numbers(doors["dvc"])
    assert [version for version, *_ in versions(doors["python"])] == [1]
    assert doors["python"].run("git", "status", "--porcelain") == ""


# A minute or more where uv has none of the packages in its cache, seconds where it has.
def test_mlflow_builds_the_environment_with_uv(doors, tmp_path):
    if shutil.which("uv") is None:
        pytest.skip("uv is not installed: `pip install uv` lets MLflow build the environment")
    environments = tmp_path / "environments"
    try:
        printed = doors["mlflow"].run(
            *("mlflow", "run", ".", "--env-manager", "uv", "-e", "prepare"),
            MLFLOW_ENV_ROOT=str(environments),
        )
        assert f"source {environments}" in printed
    finally:
        shutil.rmtree(environments, ignore_errors=True)  # as large as everything else together
    assert doors["mlflow"].last("prepare").info.status == "FINISHED"
