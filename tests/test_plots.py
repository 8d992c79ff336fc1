"""``dvc plots`` has a file for every plot of dvc.yaml, and its numbers are the report's."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from ratchet import curves, metrics
from ratchet.curves import Judge, Performance
from ratchet.metrics import Predictions
from ratchet.problem import ProblemType
from ratchet.report import plots

ROOT = Path(__file__).parents[1]
BINARY, MULTICLASS = ProblemType.BINARY, ProblemType.MULTICLASS
PAIRS = pd.DataFrame({"actual": [1.5, 2.0], "predicted": [1.0, 2.25]})
NAMES = pd.DataFrame({"actual": ["a"], "predicted": ["b"]})


def judge(problem):
    return Judge(problem, metrics.default(problem), 0.95, seed=1)


def of_classes(n, k, problem):
    random = np.random.default_rng(0)
    y = random.integers(k, size=n)
    table = np.exp(random.normal(size=(n, k)) + np.eye(k)[y])
    table /= table.sum(axis=1, keepdims=True)
    predicted = Predictions(table.argmax(axis=1), table)
    answers = curves.of_classes(y, predicted, list("abcd")[:k], judge(problem))
    spans = curves.over_time(y, predicted, np.arange(n) % 5, None, "sold", judge(problem))
    return Performance(problem, n, 0.95, answers, spans)


def read(folder):
    return {path.stem: pd.read_csv(path) for path in folder.iterdir()}


def test_every_plot_of_dvc_yaml_names_a_file_and_its_columns(tmp_path):
    plots.write(tmp_path, BINARY, NAMES, None)
    written = read(tmp_path)
    declared = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["plots"]
    named = set()
    for plot in declared:
        [(name, choices)] = plot.items()
        [(path, columns)] = choices["y"].items()
        if path == "build/train/search.csv":
            continue
        assert Path(path).parent == Path("build/evaluate/report") / plots.FOLDER, name
        asked = {choices["x"], *([columns] if isinstance(columns, str) else columns)}
        assert asked <= set(written[Path(path).stem].columns), name
        named.add(Path(path).stem)
    assert named == set(written)


@pytest.mark.parametrize(
    ("problem", "sample", "filled"),
    [
        (BINARY, NAMES, set()),
        (ProblemType.REGRESSION, PAIRS, {"residuals"}),
        (
            ProblemType.CLUSTERING,
            pd.DataFrame({"row": [7], "cluster": [1], "x": [0.5], "y": [2.0]}),
            {"clusters"},
        ),
    ],
)
def test_without_a_report_the_files_are_there_and_the_sample_is_drawn(
    tmp_path, problem, sample, filled
):
    plots.write(tmp_path, problem, sample, None)
    assert {name for name, table in read(tmp_path).items() if len(table)} == filled


def test_two_classes_fill_what_concerns_them(tmp_path):
    part = of_classes(500, 2, BINARY)
    plots.write(tmp_path, BINARY, NAMES, part)
    found = read(tmp_path)
    assert {name for name, table in found.items() if len(table)} == {
        "roc",
        "precision_recall",
        "gain",
        "calibration",
        "thresholds",
        "confusion",
        "over_time",
    }
    roc = found["roc"]
    area = np.trapezoid(roc["true_positive_rate"], roc["false_positive_rate"])
    assert area == pytest.approx(part.answers.ranking.auc, abs=2e-3)
    pairs = found["confusion"].value_counts()
    counts = part.answers.confusion.counts
    assert pairs["a", "b"] == counts[0][1]
    assert pairs.sum() == 500
    assert list(found["over_time"]["span"]) == [1, 2, 3, 4, 5]
    assert found["over_time"]["score"].tolist() == pytest.approx(
        [each.score for each in part.over_time.spans]
    )
    assert found["calibration"]["rows"].sum() == 500


def test_several_classes_have_their_mean_roc_curve(tmp_path):
    part = of_classes(500, 4, MULTICLASS)
    plots.write(tmp_path, MULTICLASS, NAMES, part)
    found = read(tmp_path)
    filled = {name for name, table in found.items() if len(table)}
    assert filled == {"roc", "calibration", "confusion", "over_time"}
    roc = found["roc"]
    areas = [each.auc for each in part.answers.classes]
    assert np.trapezoid(roc["true_positive_rate"], roc["false_positive_rate"]) == pytest.approx(
        np.mean(areas), abs=3e-3
    )


def test_a_large_confusion_matrix_keeps_its_proportions(tmp_path):
    part = of_classes(30_000, 2, BINARY)
    plots.write(tmp_path, BINARY, NAMES, part)
    pairs = pd.read_csv(tmp_path / "confusion.csv").value_counts()
    counts = np.array(part.answers.confusion.counts)
    assert pairs.sum() == pytest.approx(10_000, abs=2)
    assert pairs["a", "b"] == pytest.approx(counts[0, 1] / 3, abs=1)


def test_quantities_have_their_errors(tmp_path):
    random = np.random.default_rng(0)
    y = random.gamma(3, 10, 500)
    answers = curves.of_quantities(y, y + 1, "price", judge(ProblemType.REGRESSION))
    plots.write(
        tmp_path,
        ProblemType.REGRESSION,
        PAIRS,
        Performance(ProblemType.REGRESSION, 500, 0.95, answers, None),
    )
    found = read(tmp_path)
    assert found["residuals"]["residual"].tolist() == [0.5, -0.25]
    assert found["errors_by_size"]["mean_absolute_error"].tolist() == pytest.approx([1] * 10)
    assert found["roc"].empty
