"""Who the champion is, and how another takes its place."""

import mlflow
import pytest
from mlflow.exceptions import MlflowException

from ratchet import registry, tracking
from ratchet.errors import StoreError
from ratchet.project import Project
from ratchet.registry import Version
from ratchet.steps.train import Leader

WRITES = (
    "create_registered_model",
    "create_model_version",
    "set_model_version_tag",
    "transition_model_version_stage",
    "set_registered_model_alias",
)


@pytest.fixture
def project(evaluated):
    """A project with a trained leader and an empty registry."""
    opened = Project.open(evaluated)
    tracking.connect(opened)
    return opened


def promote(project, **changes):
    leader = Leader.load(project)
    return registry.promote(
        replaced(project, **changes),
        run_id=leader.run_id,
        model_uri=leader.model_uri,
        tags={"ratchet.dirty": "false", "test/rmse": "2.5"},
        description="better than nothing",
    )


def replaced(project, **changes):
    chosen = project.settings.registry.model_copy(update=changes)
    return project.settings.model_copy(update={"registry": chosen})


def other(project):
    return Project.open(project.root / "better.yaml")


def versions(store, name="tiny"):
    found = store.search_model_versions(f"name = '{name}'")
    return {int(each.version): each for each in found}


def test_there_is_no_champion_before_anything_was_registered(project):
    assert registry.champion(project.settings) is None


def test_there_is_no_champion_while_no_version_holds_the_alias(project, store):
    promote(project)
    store.delete_registered_model_alias("tiny", "champion")
    assert registry.champion(project.settings) is None


def test_a_promotion_sets_version_stage_alias_and_tags(project, store):
    leader = Leader.load(project)
    version = promote(project)
    assert version == Version("tiny", 1, leader.run_id)
    assert version.uri == "models:/tiny/1"
    assert registry.champion(project.settings) == version
    [found] = versions(store).values()
    assert found.current_stage == "Production"
    assert found.tags == {
        "ratchet.run": leader.run_id,
        "ratchet.dirty": "false",
        "test/rmse": "2.5",
    }
    assert found.description == "better than nothing"
    assert found.run_id == leader.run_id
    logged = store.get_logged_model(leader.model_uri.removeprefix("models:/"))
    assert found.source == logged.artifact_location
    assert mlflow.pyfunc.load_model("models:/tiny@champion").metadata.run_id == leader.run_id


def test_the_champion_before_is_archived(project, store):
    promote(project)
    second = promote(other(project))
    assert second.number == 2
    stages = {number: each.current_stage for number, each in versions(store).items()}
    assert stages == {1: "Archived", 2: "Production"}
    assert registry.champion(project.settings) == second


def test_one_run_makes_one_version(project, store):
    assert promote(project) == promote(project)
    assert list(versions(store)) == [1]


def test_a_version_is_found_by_the_run_that_trained_it(project):
    run_id = Leader.load(project).run_id
    assert registry.version_of(project.settings, run_id) is None
    version = promote(project)
    assert registry.version_of(project.settings, run_id) == version
    assert registry.version_of(project.settings, "another") is None


def test_a_version_that_was_registered_by_hand_is_left_alone(project, store):
    leader = Leader.load(project)
    store.create_registered_model("tiny")
    source = store.get_logged_model(leader.model_uri.removeprefix("models:/")).artifact_location
    store.create_model_version("tiny", source)
    assert promote(project).number == 2
    assert versions(store)[1].current_stage == "None"


def test_names_come_from_the_settings(project, store):
    chosen = {"model": "house-price", "stage": "Staging", "alias": "live"}
    assert promote(project, **chosen).model == "house-price"
    [found] = versions(store, "house-price").values()
    assert found.current_stage == "Staging"
    assert store.get_model_version_by_alias("house-price", "live").version == found.version


def test_without_a_stage_the_alias_alone_is_set(project, store):
    promote(project, stage=None)
    [found] = versions(store).values()
    assert found.current_stage == "None"
    assert store.get_model_version_by_alias("tiny", "champion").version == found.version


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("write", WRITES)
def test_a_promotion_that_was_interrupted_is_finished_by_the_next(
    project, store, monkeypatch, write, after
):
    """Ctrl-C just before or just after any of the writes."""
    before = promote(other(project)) if write != "create_registered_model" else None
    original = getattr(mlflow.MlflowClient, write)

    def interrupted(client, *rest, **more):
        if after:
            original(client, *rest, **more)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(mlflow.MlflowClient, write, interrupted)
        with pytest.raises(KeyboardInterrupt):
            promote(project)
    moved = after and write == "set_registered_model_alias"
    if not moved:
        assert registry.champion(project.settings) == before
    version = promote(project)
    assert registry.champion(project.settings) == version
    assert sorted(versions(store)) == ([1, 2] if before else [1])
    found = versions(store)[version.number]
    assert found.current_stage == "Production"
    assert found.tags["test/rmse"] == "2.5"
    assert not before or versions(store)[before.number].current_stage == "Archived"


@pytest.mark.parametrize("write", WRITES)
def test_a_registry_that_fails_is_told(project, monkeypatch, write):
    def dead(*_, **__):
        raise MlflowException("gone")

    monkeypatch.setattr(mlflow.MlflowClient, write, dead)
    with pytest.raises(StoreError) as raised:
        promote(project)
    assert str(raised.value) == f"MLflow's store {mlflow.get_tracking_uri()} failed: gone"


def test_a_registry_that_fails_is_not_taken_for_an_empty_one(project, monkeypatch):
    def dead(*_, **__):
        raise MlflowException("gone")

    monkeypatch.setattr(mlflow.MlflowClient, "get_model_version_by_alias", dead)
    with pytest.raises(StoreError) as raised:
        registry.champion(project.settings)
    assert str(raised.value) == f"MLflow's store {mlflow.get_tracking_uri()} failed: gone"


def test_a_version_without_a_run_has_an_empty_one(project, store):
    leader = Leader.load(project)
    store.create_registered_model("tiny")
    source = store.get_logged_model(leader.model_uri.removeprefix("models:/")).artifact_location
    store.create_model_version("tiny", source)
    store.set_registered_model_alias("tiny", "champion", "1")
    assert registry.champion(project.settings) == Version("tiny", 1, "")
