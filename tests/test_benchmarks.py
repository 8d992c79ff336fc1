"""The comparisons of benchmarks/quality and benchmarks/overhead.py measure what they say."""

import importlib
import importlib.util
import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT, tiny_table
from sklearn.metrics import log_loss, root_mean_squared_error

QUALITY = ROOT / "benchmarks" / "quality"

# Answers every row with what the training rows have on average.
AVERAGE = """
import sys
import time
sys.path.insert(0, {systems!r})
import numpy as np
from job import Job

job = Job.given()
train, test = job.train(), job.test()
assert job.target in train and job.target not in test
with job.timed("fit"):
    codes = job.codes(train[job.target])
with job.timed("predict"):
    said = codes.mean() if job.is_regression else np.bincount(codes) / len(codes)
    answer = np.tile(said, (len(test), 1))
job.answer(answer, rows=len(train))
"""


@pytest.fixture(scope="module")
def quality():
    """The benchmark's modules, which stand beside each other and not in a package."""
    names = ("tables", "contest", "board")
    sys.path.insert(0, str(QUALITY))
    try:
        yield SimpleNamespace(**{name: importlib.import_module(name) for name in names})
    finally:
        sys.path.remove(str(QUALITY))
        for name in names:
            sys.modules.pop(name, None)


def script(path: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def described(tmp_path):
    """Write a table as `--tables-from` takes it; give its folder."""

    def write(**said):
        folder = tmp_path / "tables"
        folder.mkdir(exist_ok=True)
        tiny_table().to_parquet(folder / "tiny.parquet", index=False)
        (folder / "tiny.json").write_text(json.dumps(said), encoding="utf-8")
        return folder

    return write


@pytest.fixture
def houses(quality, described):
    """A regression with a fifth of its rows held out."""
    folder = described(target="price", problem="regression", metric="rmse")
    return dict(quality.tables.of_folder(folder))["tiny"]()


@pytest.fixture
def system(quality, tmp_path):
    """Make a system of a few lines that this interpreter runs."""

    def make(code=AVERAGE, name="ours"):
        path = tmp_path / f"{name}.py"
        path.write_text(code.format(systems=str(QUALITY / "systems")), encoding="utf-8")
        return quality.contest.System(name, name, path)

    return make


def run(quality, system, table, budget=5.0):
    return quality.contest.run(system, Path(sys.executable), table, budget, threads=1, seed=0)


def test_a_regression_is_judged_by_its_error_on_rows_that_no_system_learned_from(
    quality, system, houses
):
    result = run(quality, system(), houses)
    assert len(houses.train) == 192 and len(houses.test) == 48
    assert not houses.repeats.any()
    y = houses.test["price"]
    mean = np.full(len(y), houses.train["price"].mean())
    assert result.loss == pytest.approx(root_mean_squared_error(y, mean))
    assert result.more == {"rows": 192} and result.failed is None
    assert result.whole > result.fit


def test_classes_are_judged_by_log_loss_with_equal_shares_on_both_sides(quality, system, described):
    folder = described(target="town", problem="multiclass", metric="log_loss")
    table = dict(quality.tables.of_folder(folder))["tiny"]()
    shares = [rows["town"].value_counts(normalize=True) for rows in (table.train, table.test)]
    assert (shares[0] - shares[1]).abs().max() < 0.02
    result = run(quality, system(), table)
    guess = np.tile(shares[0].sort_index(), (len(table.test), 1))
    assert result.loss == pytest.approx(log_loss(table.test["town"], guess))


def test_what_is_surely_wrong_costs_much_but_not_everything(quality, described):
    folder = described(target="dear", problem="binary", metric="log_loss")
    table = dict(quality.tables.of_folder(folder))["tiny"]()
    wrong = (table.test["dear"].to_numpy()[:, None] != np.array(["no", "yes"])).astype(float)
    assert 30 < table.loss(wrong) < 40


def test_the_latest_rows_are_held_out_where_there_is_a_time(quality, described):
    folder = described(target="price", problem="regression", metric="rmse", time_column="sold")
    table = dict(quality.tables.of_folder(folder))["tiny"]()
    assert table.train["sold"].max() <= table.test["sold"].min()


def test_rows_whose_features_were_learned_from_are_left_out_of_the_second_score(
    quality, system, houses
):
    twice = houses.train.head(12).assign(price=0.0)
    table = replace(houses, test=pd.concat([houses.test, twice], ignore_index=True))
    result = run(quality, system(), table)
    assert result.repeats == pytest.approx(12 / 60)
    assert result.loss_unseen == pytest.approx(run(quality, system(), houses).loss)
    assert result.loss > result.loss_unseen


def test_a_system_that_hangs_is_ended_with_all_it_started(
    quality, system, houses, monkeypatch, tmp_path
):
    monkeypatch.setattr(quality.contest, "START_SECONDS", 0)
    started, survived = tmp_path / "started", tmp_path / "survived"
    child = ["sh", "-c", f"touch {started}; sleep 5; touch {survived}"]
    hangs = f"import subprocess, time; subprocess.Popen({child!r}); time.sleep(60)"
    result = run(quality, system(hangs), houses, budget=1.0)
    assert "ended" in result.failed and result.loss is None
    assert started.exists() and result.whole < 20
    time.sleep(5)
    assert not survived.exists()


def test_a_system_that_fails_says_why(quality, system, houses):
    result = run(quality, system("raise ValueError('no such luck')"), houses)
    assert result.failed == "ValueError: no such luck"


def test_an_answer_with_gaps_is_a_failure(quality, system, houses):
    result = run(quality, system(AVERAGE.replace("codes.mean()", "np.nan")), houses)
    assert result.failed == "its answer is not finite" and result.loss is None


def test_what_was_measured_is_not_measured_again(
    quality, system, described, monkeypatch, tmp_path, capsys
):
    main = script(QUALITY / "__main__.py", "quality_main")
    monkeypatch.setattr(main.contest, "SYSTEMS", (system(),))
    monkeypatch.setattr(main, "_use_cores", lambda threads: None)
    folder = described(target="price", problem="regression", metric="rmse")
    given = ["quality", "--tables-from", str(folder), "--results", str(tmp_path / "results")]

    def measured(*more):
        monkeypatch.setattr(sys, "argv", [*given, "--budget", "5", *more])
        main.main()
        return len(list(quality.contest.Results(tmp_path / "results")))

    assert measured() == 1
    first = capsys.readouterr().out
    assert measured() == 1
    assert capsys.readouterr().out.strip() in first
    assert measured("--repeat", "2") == 2
    assert measured("--budget", "6") == 3


def test_the_best_of_each_table_stands_out_and_ranks_are_over_tables(quality):
    def result(system, table, loss, **more):
        given = {"fit": 1.0, "predict": 0.1, "whole": 2.0, **more}
        return quality.contest.Result(system, table, "", 60, 2, 0, {}, loss=loss, **given)

    lines = list(
        quality.board.lines(
            [
                result("flaml", "a", 0.2),
                result("ours", "a", 0.1),
                result("flaml", "b", 3000.0),
                result("ours", "b", 6000.0),
                result("flaml", "c", None, fit=None, predict=None, failed="no memory"),
                result("ours", "c", 2.0, repeats=0.25, loss_unseen=2.5),
            ]
        )
    )
    assert "| a | 0.2000 | **0.1000** |" in lines
    assert "| b | **3,000** | 6,000 |" in lines
    assert "| c | failed | **2.000** |" in lines
    assert "| mean rank | 1.67 | 1.33 |" in lines
    # FLAML is twice and once as far as the best; ours once, twice, once.
    assert "| ratio to the best, geometric mean | 1.4142 | 1.2599 |" in lines
    assert "| c (25% repeat) | **2.500** |" in lines
    assert "| c | failed / 2 | 1.0 / 0.10 / 2 |" in lines
    assert lines[-1].endswith("FLAML failed on c: no memory")


@pytest.mark.parametrize("name", ["adult", "wine_quality", "ames", "taxi"])
def test_shared_tables_hold_out_rows_that_can_be_judged(quality, name):
    read = dict(quality.tables.shared())[name]
    if read is None:
        pytest.skip(f"{name} is not in ../shared/data")
    table = read()
    assert len(table.test) > 500
    if table.problem == "regression":
        assert table.train[table.target].notna().all() and table.test[table.target].notna().all()
    else:
        assert set(table.test[table.target]) == set(table.classes)
    if table.time_column:
        assert table.train[table.time_column].max() < table.test[table.time_column].min()


@pytest.mark.slow
@pytest.mark.parametrize(
    "said",
    [
        {"target": "town", "problem": "multiclass", "metric": "log_loss"},
        {"target": "price", "problem": "regression", "metric": "rmse", "time_column": "sold"},
    ],
    ids=["classes", "time"],
)
def test_ratchet_takes_part_with_nearly_all_rows_it_is_given(quality, described, said):
    table = dict(quality.tables.of_folder(described(**said)))["tiny"]()
    [ours] = [each for each in quality.contest.SYSTEMS if each.name == "ours"]
    result = run(quality, ours, table, budget=6.0)
    assert result.failed is None
    # Beside its own test part, a row of each class or the last day.
    assert result.more["fitted_rows"] >= len(table.train) - 5
    answer = np.full((len(table.test), 1), table.train["price"].mean())
    if table.classes:
        answer = np.full((len(table.test), len(table.classes)), 1 / len(table.classes))
    assert result.loss < table.loss(answer) / 2


@pytest.mark.slow
@pytest.mark.usefixtures("store")
def test_the_step_tries_each_of_the_trials_of_the_bare_loop(monkeypatch):
    overhead = script(ROOT / "benchmarks" / "overhead.py", "overhead_benchmark")
    from ratchet.backends import base

    monkeypatch.setattr(base, "_SHELF", {**base._SHELF, "timed": overhead.Timed})
    cost = overhead.measure(0.05, 6)
    fitted = [params["alpha"] for params in overhead.Timed.fitted]
    bare, step = fitted[:6], fitted[7:13]
    assert sorted(bare) == sorted(step) and len(set(bare)) == 6
    # The best is fitted again on all rows.
    assert fitted[6] in bare and set(fitted[13:]) <= set(step)
    assert 7 * 0.05 < cost.bare < cost.step


def test_the_comparison_of_servers_counts_what_was_answered_and_nothing_that_failed():
    serving = script(ROOT / "benchmarks" / "serving.py", "serving_benchmark")
    told = (
        "Running 4s test\n"
        '{"requests": %d, "microseconds": 4000000, "p50": 45e3, "p99": 1e5, "failed": %d}'
    )
    ours, bare = serving.counted(told % (160, 0)), serving.counted(told % (80, 0))
    assert ours == serving.Load(per_second=40.0, p50=45.0, p99=100.0)
    assert serving.line(1, 4, [ours, ours, bare], [bare]) == (
        "| 1 | 4 | 40.0 | 20.0 | 2.00 | 45 / 100 | 45 / 100 |"
    )
    with pytest.raises(SystemExit, match="2 requests failed"):
        serving.counted(told % (160, 2))


def test_the_memory_of_a_step_is_that_of_its_own_process(tmp_path):
    scale = script(ROOT / "benchmarks" / "scale.py", "scale_benchmark")
    small, large = (
        scale.ran(
            "step",
            [sys.executable, "-c", f"import time; a = b'1' * ({size} << 20); time.sleep(0.3)"],
            tmp_path,
            None,
        )
        for size in (1, 300)
    )
    assert large.peak_mb >= 300
    assert large.peak_mb - small.peak_mb >= 200
    failed = scale.ran("step", [sys.executable, "-c", "import nothing_there"], tmp_path, None)
    assert failed.failed == "ModuleNotFoundError: No module named 'nothing_there'"
    told = scale.told(scale.Run(1000, 900.0, "in pieces", (large,), 1.5))
    assert "1,000 rows (900 MB) in pieces: step " in told
