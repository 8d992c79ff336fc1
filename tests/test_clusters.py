"""Rows without a target go through the same steps to the same registry."""

import json
import shutil
import time
from dataclasses import dataclass, replace

import mlflow
import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import ROOT, described, tiny_settings
from sklearn.metrics import adjusted_rand_score

from ratchet import clusters, cost, metrics, model, settings, tracking
from ratchet.clusters import Sizes
from ratchet.errors import DataError, RatchetError, SettingsError
from ratchet.metrics import Predictions
from ratchet.problem import ProblemType
from ratchet.project import Project
from ratchet.report.facts import Facts
from ratchet.schema import Schema
from ratchet.settings import Data
from ratchet.steps import evaluate, prepare, promote, reports, restore, train
from ratchet.steps.promote import Decision
from ratchet.steps.train import Leader
from ratchet.table import Table, prepare_table, read_table, with_statistics

# One worker runs them all: the four steps, three times over, take a while.
pytestmark = pytest.mark.xdist_group("clusters")

SILHOUETTE = metrics.named("silhouette", ProblemType.CLUSTERING)


def blobs(n=240, seed=0, apart=6.0):
    """Three groups of rows, told apart by two numbers and, as a rule, by a label."""
    random = np.random.default_rng(seed)
    group = np.arange(n) % 3
    places = np.array([[0, 0], [apart, 0], [0, apart]])[group] + random.normal(size=(n, 2))
    kind = np.array(["bus", "car", "van"])[np.where(random.random(n) < 0.9, group, 0)]
    return pd.DataFrame({"x": places[:, 0], "y": places[:, 1], "kind": kind, "truth": group})


def cluster_settings(**changes):
    return tiny_settings(
        **{
            "data__target": None,
            "data__drop": ["truth"],
            "train__problem": "clustering",
            "train__families": None,
            "train__search__max_trials": 12,
            **changes,
        }
    )


def checked(**changes):
    return settings.from_mapping(cluster_settings(**changes), origin="params.yaml")


def prepared(frame=None, data=None):
    """Give train and valid rows, and their schema."""
    found = prepare_table(
        Table(blobs() if frame is None else frame, (), ()),
        data or Data(source="", target=None, drop=("truth",)),
        ProblemType.CLUSTERING,
    )
    cut = len(found.frame) * 3 // 4
    rows, valid = found.frame.iloc[:cut], found.frame.iloc[cut:].reset_index(drop=True)
    return rows, valid, with_statistics(found.schema, rows)


# The whole way, once for all tests


@dataclass(frozen=True)
class Journey:
    """What came out of four steps, and of doing them again in other ways."""

    project: Project
    client: mlflow.MlflowClient
    decisions: dict[str, Decision]
    facts: Facts

    def numbers(self):
        return json.loads((self.project.evaluated / "metrics.json").read_text())


@pytest.fixture(scope="module")
def journey(empty_store, tmp_path_factory):
    """A clustering that is promoted, asked for again, met by an equal and by a worse one."""
    folder = tmp_path_factory.mktemp("clusters")
    shutil.copy(empty_store, folder / "mlflow.db")
    (folder / "project" / "data").mkdir(parents=True)
    blobs().to_parquet(folder / "project" / "data" / "rows.parquet")
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    ways = {"first": None, "equal": ["gaussian_mixture"], "worse": ["baseline"]}
    decisions = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        patch.setenv("MLFLOW_REGISTRY_URI", "")
        patch.setattr(cost, "_SECONDS", 0.01)
        for name, families in ways.items():
            path = folder / "project" / ("params.yaml" if families is None else f"{name}.yaml")
            changes = {"train__families": families, "evaluate__report": name == "first"}
            path.write_text(yaml.safe_dump(cluster_settings(**changes)))
            project = Project.open(path)
            for step in (prepare, train, evaluate):
                step.run(project)
            decisions[name] = promote.run(project)
            if name == "first":
                facts = Facts.load(project.evaluated / reports.FOLDER)
                decisions["again"] = promote.run(project)
        tracking.connect(Project.open(folder / "project" / "params.yaml"))
        yield Journey(
            Project.open(folder / "project" / "params.yaml"),
            mlflow.MlflowClient(uri, registry_uri=uri),
            decisions,
            facts,
        )
    mlflow.set_tracking_uri(None)
    mlflow.set_registry_uri(None)


@pytest.fixture(autouse=True)
def connected(request, monkeypatch):
    """Point MLflow at the journey's store: it writes where it was pointed to into the environment,
    and a test in between may have pointed it elsewhere."""
    if "journey" in request.fixturenames:
        project = request.getfixturevalue("journey").project
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{project.root.parent / 'mlflow.db'}")
        tracking.connect(project)


@pytest.mark.slow
def test_the_three_clusters_that_there_are_are_found(journey):
    leader = Leader.load(journey.project)
    assert leader.metric == "silhouette"
    assert leader.score > 0.7 > 0.1 > leader.baseline_score
    test = prepare.read_part(journey.project, "test")
    truth = test.merge(blobs(), on=["x", "y", "kind"])["truth"]
    schema = Schema.load(journey.project.prepared / "schema.json")
    saved = tracking.load_model(str(journey.project.trained / "model"))
    found = model.predict(saved, test, schema)
    assert adjusted_rand_score(truth, found.values) == 1


@pytest.mark.slow
def test_what_drives_the_clusters_is_told_and_slices_there_are_none(journey):
    found = journey.facts.importance
    assert found.of_clusters
    assert {column.name for column in found.columns} == {"x", "y", "kind"}
    assert all(column.valid.value > 0.1 for column in found.columns)
    assert (journey.facts.dependence, journey.facts.weaknesses) == (None, None)


@pytest.mark.slow
def test_no_column_of_the_prepared_rows_is_a_target(journey):
    schema = Schema.load(journey.project.prepared / "schema.json")
    assert (schema.target, schema.problem, schema.classes) == (None, ProblemType.CLUSTERING, ())
    assert schema.names == ["x", "y", "kind"]
    rows = prepare.read_part(journey.project, "train")
    assert list(rows.columns) == ["x", "y", "kind", prepare.ROW]


@pytest.mark.slow
def test_scores_stand_beside_the_baselines_with_intervals_and_the_sizes_of_clusters(journey):
    found = journey.numbers()
    for name in ("silhouette", "davies_bouldin", "calinski_harabasz"):
        for whose in ("", "baseline/"):
            key = f"{whose}test/{name}"
            assert found[f"{key}_low"] <= found[key] <= found[f"{key}_high"]
    assert found["test/clusters"] == 3
    assert found["test/noise"] == 0
    shares = [found[f"test/{name}_cluster"] for name in ("smallest", "largest")]
    counts = prepare.read_part(journey.project, "test").merge(blobs(), on=["x", "y", "kind"])
    expected = counts["truth"].value_counts(normalize=True)
    assert shares == pytest.approx([expected.min(), expected.max()])


@pytest.mark.slow
def test_the_run_knows_how_stable_the_clusters_are(journey):
    run = journey.client.get_run(Leader.load(journey.project).run_id)
    assert run.data.metrics["valid/stability"] == pytest.approx(1, abs=0.05)
    assert run.data.metrics["valid/clusters"] == 3
    assert run.data.metrics["test/silhouette"] == journey.numbers()["test/silhouette"]


@pytest.mark.slow
def test_a_clustering_is_logged_again_in_another_store(journey, empty_store, tmp_path):
    shutil.copy(empty_store, tmp_path / "team.db")
    uri = f"sqlite:///{tmp_path / 'team.db'}"
    elsewhere = Project.open(journey.project.params_file, [f"tracking.uri={uri}"])
    trained = Leader.load(journey.project)
    tracking.connect(elsewhere)
    leader = restore.leader(elsewhere)
    restore.evaluation(elsewhere, leader)
    assert leader.run_id != trained.run_id
    found = described(mlflow.MlflowClient(uri), leader.run_id)
    assert found == described(journey.client, trained.run_id)
    assert len(found["trials"]) > 3


@pytest.mark.slow
def test_the_rows_of_the_plot_can_be_known_again(journey):
    drawn = pd.read_csv(journey.project.evaluated / "predictions.csv", dtype={"row": "uint64"})
    rows = prepare.read_part(journey.project, "test")
    assert list(drawn.columns) == ["row", "cluster", "x", "y"]
    assert set(drawn["row"]) == set(rows[prepare.ROW])
    assert drawn["cluster"].nunique() == 3
    # What is in one cluster is in one place of the picture.
    within = drawn.groupby("cluster")[["x", "y"]].std().max(axis=None)
    assert within < 0.5 * drawn[["x", "y"]].std().max()


@pytest.mark.slow
def test_the_report_has_the_clusters_with_their_sizes(journey):
    found = Facts.load(journey.project.evaluated / "report").performance
    numbers = journey.numbers()
    assert len(found.answers.sizes) == numbers["test/clusters"]
    assert found.answers.sizes[0].share == numbers["test/largest_cluster"]
    whole = sum(each.rows * each.silhouette for each in found.answers.sizes) / found.rows
    assert whole == pytest.approx(numbers["test/silhouette"])
    drawn = pd.read_csv(journey.project.evaluated / "report" / "plots" / "clusters.csv")
    assert len(drawn) == found.rows


@pytest.mark.slow
def test_it_becomes_the_champion_and_doing_it_again_changes_nothing(journey):
    first, again = journey.decisions["first"], journey.decisions["again"]
    assert first.promoted and first.is_new and first.version == 1
    assert [(gate.name, gate.passed) for gate in first.gates] == [
        ("better_than_baseline", True),
        ("better_than_champion", True),
        ("recorded_data", True),
        ("recorded_tree", True),
        ("no_leakage", True),
        ("test_uses", True),
    ]
    assert again == replace(first, is_new=False)
    assert len(journey.client.search_model_versions("name = 'tiny'")) == 1


@pytest.mark.slow
def test_the_same_clusters_found_in_another_way_are_a_tie_and_keep_the_champion(journey):
    equal = journey.decisions["equal"]
    assert not equal.promoted
    [lost] = [gate for gate in equal.gates if not gate.passed]
    assert lost.name == "better_than_champion"
    assert "gain 0.0000 [0.0000, 0.0000] at 95 %" in lost.reason


@pytest.mark.slow
def test_a_worse_clustering_is_refused(journey):
    worse = journey.decisions["worse"]
    assert not worse.promoted and worse.champion == 1
    assert {gate.name for gate in worse.gates if not gate.passed} == {
        "better_than_baseline",
        "better_than_champion",
    }


@pytest.mark.slow
def test_the_registered_model_puts_raw_rows_into_clusters(journey):
    champion = mlflow.pyfunc.load_model("models:/tiny@champion")
    rows = pd.DataFrame(
        {"x": [0.0, 6.0, 0.0, 6.5], "y": [0.0, 0.0, 6.0, 0.5], "kind": ["bus", "car", "van", None]}
    )
    answers = champion.predict(rows.astype({"kind": "str"}).fillna({"kind": "tram"}))
    assert answers.dtype.kind == "i"
    assert answers[1] == answers[3]
    assert len(set(answers[:3])) == 3
    [column] = champion.metadata.get_output_schema().to_dict()
    assert column["tensor-spec"]["dtype"] in ("int32", "int64")


@pytest.mark.slow
def test_the_shipped_example_finds_kinds_of_trips():
    chosen = settings.load(ROOT / "examples" / "clusters.yaml", ["train.search.max_trials=4"])
    raw = read_table(ROOT / "examples" / chosen.data.source)
    found = prepare_table(raw, chosen.data, chosen.train.problem, keep=(chosen.split.column,))
    rows, valid = (found.frame.iloc[start:][:2000].reset_index(drop=True) for start in (0, 9000))
    training = clusters.train(rows, valid, with_statistics(found.schema, rows), chosen)
    assert found.schema.names == list(chosen.data.features)
    assert training.leader.score > chosen.promote.required


# Choosing


def trained(**changes):
    rows, valid, schema = prepared(changes.pop("frame", None))
    return clusters.train(rows, valid, schema, checked(**changes)), rows, valid, schema


def test_the_same_seed_finds_the_same_clusters():
    one, *_, valid, schema = trained(train__search__max_trials=6)
    other = trained(train__search__max_trials=6)[0]
    assert [t.score for t in one.trials] == [t.score for t in other.trials]
    assert one.more == other.more
    np.testing.assert_array_equal(
        model.predict(one.model, valid, schema).values,
        model.predict(other.model, valid, schema).values,
    )


@pytest.mark.parametrize("name", ["davies_bouldin", "calinski_harabasz"])
def test_another_score_may_be_optimised(name):
    found = trained(train__metric=name, train__search__max_trials=8)[0]
    done = [trial.score for trial in found.trials]
    assert found.metric.name == name
    assert found.leader.score == (max(done) if found.metric.maximize else min(done))
    assert found.more["valid/clusters"] == 3


def test_every_family_takes_part():
    found = trained(train__search__max_trials=20)[0]
    families = [trial.candidate.family for trial in found.trials]
    assert families[0] == "baseline"
    assert set(families) == {
        "baseline",
        "minibatch_kmeans",
        "kmeans",
        "gaussian_mixture",
        "hdbscan",
    }
    assert not [trial.error for trial in found.trials if trial.error]


def test_clusters_of_noise_are_less_stable_than_those_that_there_are():
    stable = trained(train__families=["kmeans"], train__search__max_trials=6)[0]
    noise = pd.DataFrame(np.random.default_rng(0).normal(size=(240, 6))).rename(columns=str)
    noise = noise.assign(truth=0)
    shaky = trained(frame=noise, train__families=["kmeans"], train__search__max_trials=6)[0]
    assert stable.more["valid/stability"] > 0.95
    assert shaky.more["valid/stability"] < 0.8


def test_a_limit_in_seconds_is_kept():
    begun = time.monotonic()
    found = trained(train__search__budget_seconds=2.0, train__search__max_trials=10_000)[0]
    # Other tests may share the cores.
    assert time.monotonic() - begun < 2 * 2.0
    assert found.leader.error is None
    assert len(found.trials) < 10_000


def test_clusters_that_are_dense_only_in_the_training_rows_are_still_a_model(monkeypatch):
    fit = clusters._Bench._fit

    def fails_on_all(self, candidate, X, *rest):
        if X.values.shape[0] > len(self.train_rows):
            raise ValueError("0 dense clusters were found, and at least 2 are needed")
        return fit(self, candidate, X, *rest)

    rows, valid, schema = prepared()
    bench = clusters._Bench(rows, valid, schema, checked(), SILHOUETTE)
    candidate = clusters.Candidate("clustering", "kmeans", {"n_clusters": 3})
    monkeypatch.setattr(clusters._Bench, "_fit", fails_on_all)
    found, n = bench.leader(candidate, pd.concat([rows, valid]))
    assert n == len(rows)
    assert len(np.unique(model.predict(found, valid, schema).values)) == 3


def test_validation_rows_in_one_cluster_are_a_failed_trial_with_its_reason():
    rows, valid, schema = prepared()
    valid = valid[valid["x"] > 5]
    bench = clusters._Bench(rows, valid, schema, checked(), SILHOUETTE)
    with pytest.raises(ValueError, match="the validation rows are all in one cluster, or in none"):
        bench.evaluate(clusters.Candidate("clustering", "kmeans", {"n_clusters": 3}), None)


def test_an_interrupted_search_goes_on_where_it_stopped():
    class Kept:
        def __init__(self):
            self.lines = []

        def trials(self):
            return [(replace(trial, resumed=True), labels) for trial, labels in self.lines]

        def keep(self, trial, labels):
            self.lines.append((trial, labels))

    rows, valid, schema = prepared()
    journal = Kept()
    clusters.train(rows, valid, schema, checked(train__search__max_trials=4), journal=journal)
    assert len(journal.lines) == 4
    more = clusters.train(
        rows, valid, schema, checked(train__search__max_trials=7), journal=journal
    )
    assert [trial.resumed for trial in more.trials] == [True] * 4 + [False] * 3
    whole = clusters.train(rows, valid, schema, checked(train__search__max_trials=7))
    assert [trial.score for trial in more.trials] == [trial.score for trial in whole.trials]


# The space


def test_the_space_does_not_depend_on_units():
    rows, _, schema = prepared()
    places = clusters.space(rows, schema, time_ordered=False)
    other = clusters.space(rows.assign(x=rows["x"] * 1000), schema, time_ordered=False)
    np.testing.assert_allclose(places, other, atol=1e-9)


def test_different_labels_are_as_far_apart_as_the_quartiles_of_a_number():
    labels = np.array(["a", "b", "c"])[np.arange(300) % 3]
    frame = pd.DataFrame({"label": labels, "number": np.arange(300.0), "truth": 0})
    rows, _, schema = prepared(frame)
    places = clusters.space(rows, schema, time_ordered=False)
    by_label = places[:, :3]
    assert np.linalg.norm(by_label[0] - by_label[1]) == pytest.approx(1)
    quartiles = np.quantile(places[:, 3], [0.25, 0.75])
    assert np.diff(quartiles)[0] == pytest.approx(1, rel=0.1)


def test_principal_components_do_not_change_the_space_that_judges():
    """A model on one component sees less, and its score must tell so."""
    whole = trained(train__families=["kmeans"], train__search__max_trials=8)[0]
    frame = blobs().assign(z=np.random.default_rng(1).normal(size=240) * 0.1)
    one, _, valid, schema = trained(
        frame=frame, train__pca=1, train__families=["kmeans"], train__search__max_trials=8
    )
    labels = model.predict(one.model, valid, schema)
    places = clusters.space(valid, schema, time_ordered=False)
    assert places.shape[1] > 3
    again = metrics.score(SILHOUETTE, places, labels)
    assert one.score == pytest.approx(again, abs=0.1)
    assert whole.score > one.score
    steps = one.model.named_steps["prepare"].named_steps
    assert steps["first"].transform(np.zeros((1, 6))).shape == (1, 1)


def test_many_rows_are_judged_by_a_sample_that_the_seed_decides(monkeypatch):
    monkeypatch.setattr(clusters, "JUDGED_ROWS", 50)
    frame = blobs()
    first, same, other = (clusters.judged(frame, seed) for seed in (1, 1, 2))
    assert len(first) == 50
    assert list(first.index) == sorted(first.index) == list(same.index)
    assert list(first.index) != list(other.index)
    found = trained(train__families=["kmeans"], train__search__max_trials=2)[0]
    assert found.score > 0.7


@pytest.mark.parametrize("columns", [1, 5])
def test_a_picture_has_two_axes(columns):
    places = np.random.default_rng(0).normal(size=(30, columns))
    drawn = clusters.axes(places)
    assert drawn.shape == (30, 2)
    assert drawn[:, 0].var() >= drawn[:, 1].var()


# Agreement and sizes


def test_agreement_is_1_for_the_same_clusters_and_about_0_by_chance():
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 3000)
    assert clusters.agreement([labels, (labels + 1) % 3, labels]) == 1
    chance = clusters.agreement([random.integers(0, 3, 3000) for _ in range(4)])
    assert chance == pytest.approx(0, abs=0.01)
    assert np.isnan(clusters.agreement([labels]))


def test_sizes_count_rows_that_are_noise_apart():
    assert Sizes.of(np.array([-1, -1])) == Sizes(0, 0.0, 0.0, 1.0)
    assert Sizes.of(np.array([4, 4, 4, -1])).flat("test") == {
        "test/clusters": 1.0,
        "test/smallest_cluster": 0.75,
        "test/largest_cluster": 0.75,
        "test/noise": 0.25,
    }


# What a clustering is not asked


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"data__target": "x"},
            "data.target must be null with train.problem clustering, as rows are put together"
            " without one, got 'x'",
        ),
        (
            {"train__problem": None},
            "data.target must name a column or an expression, got null; only a clustering has"
            " none, with train.problem clustering",
        ),
        (
            {"data__positive": "yes"},
            "data.positive must be null with train.problem clustering, as there are no classes,"
            " got 'yes'",
        ),
        (
            {"split__method": "stratified"},
            "split.method must be random, group or time with train.problem clustering, as there"
            " are no classes, got 'stratified'",
        ),
        (
            {"train__validation": "folds"},
            "train.validation must be auto or holdout with train.problem clustering, as"
            " clusterings are compared on the same valid rows, got 'folds'",
        ),
        (
            {"promote__max_calibration_error": 0.1},
            "promote.max_calibration_error must be null with train.problem clustering, as it has"
            " no probabilities, got 0.1",
        ),
        (
            {"promote__slices": {"columns": ["kind"]}},
            "promote.slices.columns must be null with train.problem clustering, as how well"
            " clusters are apart is told by all rows together, got ['kind']",
        ),
    ],
)
def test_a_setting_that_a_clustering_can_not_have_is_told_in_a_sentence(changes, told):
    with pytest.raises(SettingsError) as error:
        checked(**changes)
    assert str(error.value) == f"params.yaml has 1 problem:\n  - {told}"


def test_all_such_settings_are_told_at_once():
    with pytest.raises(SettingsError, match=r"^params.yaml has 2 problems:"):
        checked(data__target="x", split__method="stratified")


def test_a_score_of_another_problem_does_not_fit():
    with pytest.raises(SettingsError) as error:
        trained(train__metric="rmse")
    assert str(error.value) == (
        "No metric for a clustering problem is called 'rmse'. Allowed: silhouette,"
        " davies_bouldin, calinski_harabasz; a function of yours, as my_project.scores:cost."
    )
    with pytest.raises(SettingsError, match="No metric for a clustering problem is called"):
        trained(train__metric="neg_mean_poisson_deviance")


def test_families_of_another_problem_do_not_fit():
    with pytest.raises(SettingsError) as error:
        trained(train__families=["kmeans", "xgboost"])
    assert str(error.value) == (
        "train.families names xgboost, which does not fit a clustering problem."
        " Allowed: baseline, minibatch_kmeans, kmeans, gaussian_mixture, hdbscan."
    )


def test_a_search_without_a_clustering_says_why():
    with pytest.raises(RatchetError) as error:
        trained(
            frame=blobs(30).assign(kind="bus"),
            train__families=["hdbscan"],
            train__search__max_trials=1,
        )
    assert str(error.value) == (
        "All 1 trials failed: clustering/hdbscan: ValueError: 0 dense clusters were found, and"
        " at least 2 are needed"
    )


def test_a_model_that_answers_with_anything_but_clusters_is_told():
    class Regression:
        def predict(self, frame):
            return np.full(len(frame), 5.3)

    rows, _, schema = prepared()
    with pytest.raises(DataError) as error:
        model.predict(Regression(), rows, schema)
    assert "which is no number of a cluster." in str(error.value)


# The table


def test_without_a_target_every_column_is_a_feature_but_the_dropped_ones():
    frame = blobs()
    found = prepare_table(Table(frame, (), ()), Data(source="", target=None), None)
    assert found.schema.names == list(frame.columns)
    assert list(found.frame.columns) == list(frame.columns)
    assert found.schema.problem is ProblemType.CLUSTERING


def test_a_filter_may_name_columns_but_no_target():
    table = Table(blobs(), (), ())
    kept = prepare_table(table, Data(source="", target=None, filter="x > 3"), None)
    assert len(kept.frame) == (blobs()["x"] > 3).sum()
    with pytest.raises(DataError, match=r"data\.filter: .*target"):
        prepare_table(table, Data(source="", target=None, filter="target > 3"), None)


def test_a_schema_without_a_target_is_read_back(tmp_path):
    _, _, schema = prepared()
    schema.save(tmp_path / "schema.json")
    assert Schema.load(tmp_path / "schema.json") == schema


def test_rows_that_are_written_twice_are_still_a_leak(tmp_path, store):
    path = tmp_path / "project"
    (path / "data").mkdir(parents=True)
    doubled = pd.concat([blobs()] * 2, ignore_index=True)
    doubled.to_parquet(path / "data" / "rows.parquet")
    (path / "params.yaml").write_text(yaml.safe_dump(cluster_settings()))
    with pytest.raises(DataError) as error:
        prepare.run(Project.open(path / "params.yaml"))
    assert "repeated rows: " in str(error.value)
    assert "equal a training row in every column. To go on, write each row once" in str(error.value)


# Scores as the bootstrap sees them


def test_a_clustering_gains_nothing_over_itself_under_other_names():
    from ratchet.evaluation import paired_difference

    _, valid, schema = prepared()
    places = clusters.space(valid, schema, time_ordered=False)
    labels = np.arange(len(valid)) % 3
    found = paired_difference(
        SILHOUETTE,
        places,
        Predictions(np.array([7, 0, 2])[labels]),
        Predictions(labels),
        resamples=200,
        seed=1,
    )
    assert (found.gain, found.low, found.high) == (0, 0, 0)


@pytest.mark.parametrize("name", ["silhouette", "davies_bouldin", "calinski_harabasz"])
def test_rows_that_stand_or_fall_together_widen_the_interval(name):
    from ratchet.evaluation import evaluate as scored

    random = np.random.default_rng(0)
    together = np.repeat(np.arange(20), 15)
    labels = np.arange(300) % 3
    off = random.normal(size=(20, 2))[together] * 1.5
    places = 6.0 * np.eye(3, 2)[labels] + off + random.normal(size=(300, 2)) * 0.1
    metric = metrics.named(name, ProblemType.CLUSTERING)
    alone, clustered = (
        scored(places, Predictions(labels), [metric], resamples=200, seed=1, clusters=codes).score(
            name
        )
        for codes in (None, together)
    )
    assert alone.value == clustered.value
    assert clustered.high - clustered.low > 1.5 * (alone.high - alone.low)
