"""The pictures of a search show what happened in it, whatever happened in it."""

import json
import math
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from ratchet import figures, metrics
from ratchet.figures import Member
from ratchet.problem import ProblemType

LOG_LOSS = metrics.named("log_loss", ProblemType.BINARY)
AUC = metrics.named("roc_auc", ProblemType.BINARY)
RMSE = metrics.named("rmse", ProblemType.REGRESSION)

FALLING = tuple(0.3 + 0.4 * np.exp(-np.arange(500) / 60))


def row(number, family, score, backend=None, params=None, **more):
    return {
        "number": number,
        "backend": backend or family,
        "family": family,
        "params": json.dumps(params or {}),
        "score": score,
        "elapsed": 0.5 + number,
        "error": "None" if math.isfinite(score) else "ValueError: too deep",
        **more,
    }


def varied(n, family="lightgbm"):
    """Trials of one family whose hyperparameters differ in every way there is."""
    random = np.random.default_rng(1)
    return pd.DataFrame(
        row(
            number,
            family,
            0.3 + random.random() / 10,
            params={
                "learning_rate": float(10 ** random.uniform(-4, 0)),
                "max_depth": int(random.integers(2, 9)),
                "booster": str(random.choice(["gbtree", "dart"])),
                "monotone": bool(random.integers(2)),
                "layers": [[50], [50, 50]][random.integers(2)],
                "weight": [None, 2.0][random.integers(2)],
                "seed": 7,
            },
        )
        for number in range(n)
    )


def drawn(tmp_path, trials, metric=LOG_LOSS, members=()):
    """Draw; give the words in each figure by its name."""
    paths = figures.draw(tmp_path / "figures", pd.DataFrame(trials), metric, members)
    assert sorted(paths) == sorted((tmp_path / "figures").iterdir())
    return {path.stem: words(path) for path in paths}


def words(path: Path) -> list[str]:
    assert path.suffix == ".svg"
    texts = ElementTree.parse(path).iter("{http://www.w3.org/2000/svg}text")
    return ["".join(text.itertext()).strip() for text in texts]


def test_a_search_is_told_in_six_pictures_of_words_that_can_be_read(tmp_path):
    trials = [
        *varied(30).to_dict("records"),
        row(30, "dummy", 0.69, backend="sklearn"),
        row(31, "logistic", 0.41, backend="sklearn"),
        row(32, "logistic", math.nan, backend="sklearn"),
    ]
    best = min(each["score"] for each in trials)
    members = [Member("lightgbm", 0.75, FALLING), Member("logistic", 0.25)]
    found = drawn(tmp_path, trials, members=members)
    assert set(found) == {
        "search",
        "families",
        "hyperparameters",
        "parallel",
        "learning_curves",
        "ensemble",
    }
    assert {"33 trials; 1 far off, drawn at the edge", "log_loss (smaller is better)"} <= set(
        found["search"]
    )
    assert {"lightgbm", "logistic", "dummy", "failed (1)", f"best so far: {best:.4f}"} <= set(
        found["search"]
    )
    assert {f"lightgbm  {best:.4f}", "logistic (1 failed)  0.4100", "dummy  0.6900"} <= set(
        found["families"]
    )
    assert {"learning_rate", "max_depth", "booster", "monotone", "layers", "weight"} <= set(
        found["hyperparameters"]
    )
    assert {"gbtree", "dart", "True", "[50, 50]", "default"} <= set(found["hyperparameters"])
    assert "seed" not in found["hyperparameters"]
    assert {"lightgbm, 30 trials", "learning_rate", "[50, 50]", "log_loss"} <= set(
        found["parallel"]
    )
    assert f"{best:.4f}" in found["parallel"]
    assert "seed" not in found["parallel"]
    assert {"round", "lightgbm: 0.3001 at 500"} <= set(found["learning_curves"])
    assert {"ensemble of 2 models", "75 %", "25 %", "logistic"} <= set(found["ensemble"])


def test_a_score_that_should_be_large_is_drawn_in_its_own_direction(tmp_path):
    trials = [row(0, "linear", 0.8), row(1, "trees", 0.9), row(2, "linear", 0.7)]
    members = [Member("trees", 1.0, (-0.5, -0.8, -0.9, -0.85))]
    found = drawn(tmp_path, trials, AUC, members)
    assert {"roc_auc (larger is better)", "best so far: 0.9000"} <= set(found["search"])
    families = [word for word in found["families"] if word.startswith(("linear", "trees"))]
    assert families == ["trees  0.9000", "linear  0.8000"]
    assert "trees: 0.9000 at 3" in found["learning_curves"]


def test_the_families_that_lead_are_drawn_in_parallel(tmp_path):
    leading, second, third = (
        varied(8, name).assign(score=lambda rows, by=by: rows["score"] + by)
        for name, by in (("xgboost", 0.0), ("lightgbm", 1.0), ("catboost", 2.0))
    )
    trials = pd.concat([third, leading, second], ignore_index=True)
    found = drawn(tmp_path, trials)["parallel"]
    headed = [word for word in found if word.endswith(" trials")]
    assert headed == ["xgboost, 8 trials", "lightgbm, 8 trials"]
    assert f"{leading['score'].min():.4f}" in found


def test_four_trials_are_too_few_for_lines_that_show_a_pattern(tmp_path):
    assert "parallel" not in drawn(tmp_path, varied(4))


def test_what_would_be_empty_is_not_drawn(tmp_path):
    assert set(drawn(tmp_path, [row(0, "linear", 1.0)], RMSE, [Member("linear")])) == {
        "search",
        "families",
    }


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
def test_a_search_in_which_everything_failed_has_no_picture(tmp_path, score):
    assert drawn(tmp_path, [row(0, "linear", score), row(1, "trees", score)]) == {}


@pytest.mark.parametrize("score", [0.0, 1e-9, 23_487.12, 1e12])
def test_scores_that_are_all_the_same_are_drawn(tmp_path, score):
    found = drawn(tmp_path, [row(n, "linear", score) for n in range(3)], RMSE)
    assert set(found) == {"search", "families"}


def test_trials_on_fewer_rows_do_not_count_as_the_best(tmp_path):
    trials = [
        row(0, "linear", 0.1, share=0.1),
        row(1, "linear", 0.5, share=1.0),
        row(2, "linear", 0.4, share=1.0),
    ]
    found = drawn(tmp_path, trials)
    assert {"on fewer rows", "best so far: 0.4000"} <= set(found["search"])


def test_families_of_one_name_are_told_apart_by_their_backends(tmp_path):
    trials = [row(0, "mlp", 1.0, backend="sklearn"), row(1, "mlp", 2.0, backend="torch")]
    found = drawn(tmp_path, [*trials, row(2, "linear", 3.0, backend="sklearn")])
    assert {"sklearn/mlp", "torch/mlp", "linear"} <= set(found["search"])


def test_losses_that_a_library_could_not_tell_leave_gaps_only(tmp_path):
    members = [
        Member("gaps", 0.5, (math.nan, 0.5, math.inf, 0.4)),
        Member("nothing", 0.5, (math.nan, math.nan)),
    ]
    found = drawn(tmp_path, [row(0, "linear", 1.0)], members=members)
    assert "gaps: 0.4000 at 4" in found["learning_curves"]
    assert not [word for word in found["learning_curves"] if word.startswith("nothing")]


def test_many_trials_families_members_and_long_names_stay_small(tmp_path):
    name = "a_family_of_a_company_that_likes_to_be_exact_{}"
    trials = pd.concat([varied(20, name.format(n)) for n in range(12)])
    trials["elapsed"] = np.arange(len(trials))
    members = [Member(name.format(n), 1 / 20, FALLING * 10) for n in range(20)]
    found = drawn(tmp_path, trials, members=members)
    assert len(found) == 6
    assert max(path.stat().st_size for path in (tmp_path / "figures").iterdir()) < 200_000
    assert all(len(word) < 90 for texts in found.values() for word in texts)
    assert len({word for word in found["search"] if word.startswith("a_family_of_a_comp…")}) == 12
    assert "ensemble of 20 models, 8 smaller ones not shown" in found["ensemble"]


def test_the_same_search_gives_the_same_files(tmp_path):
    members = [Member("lightgbm", 0.5, FALLING), Member("linear", 0.5)]
    one, other = (
        figures.draw(tmp_path / name, varied(10), LOG_LOSS, members) for name in ("one", "other")
    )
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in other]


def test_matplotlib_is_imported_by_who_draws_only_and_opens_no_window():
    code = (
        "import sys; from ratchet import figures; assert 'matplotlib' not in sys.modules;"
        "import pandas, pathlib, tempfile; from ratchet.metrics import named;"
        "from ratchet.problem import ProblemType;"
        "trials = pandas.DataFrame([dict(backend='a', family='a', params='{}', score=1.0,"
        " elapsed=1.0, error='None')]);"
        "metric = named('rmse', ProblemType.REGRESSION);"
        "assert figures.draw(pathlib.Path(tempfile.mkdtemp()), trials, metric);"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    source = Path(figures.__file__).parents[1]
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": str(source)})


def test_a_family_whose_every_trial_failed_is_drawn_without_points(tmp_path):
    trials = pd.DataFrame(
        [
            {"backend": "a", "family": "fine", "params": "{}", "score": 1.0, "elapsed": 1.0},
            {"backend": "b", "family": "broken", "params": "{}", "score": np.nan, "elapsed": 2.0},
        ]
    ).assign(error=[None, "ValueError: no"])
    names = {path.name for path in figures.draw(tmp_path, trials, RMSE)}
    assert {"search.svg", "families.svg"} <= names
