"""What a run has on record to make its model again is found, and what it lacks is None."""

from ratchet import recorded
from ratchet.recipe import Recipe


def test_what_a_run_does_not_say_is_none(tagged, tmp_path):
    found = Recipe.read(recorded.read(tagged("train")), tmp_path)
    assert (found.params, found.patch, found.search, found.rows, found.commit) == (None,) * 5
    assert (found.pins, dict(found.judged), found.setting("data.source")) == ((), {}, None)


def test_every_evaluation_of_a_model_is_found(tagged, store, tmp_path):
    trained = tagged("train")
    for digest, score in {"aa": 1.0, "bb": 2.0}.items():
        store.log_metric(
            tagged("evaluate", leader_run=trained, test_rows=digest), "test/rmse", score
        )
    tagged("evaluate", leader_run=tagged("train"), test_rows="cc")
    found = Recipe.read(recorded.read(trained), tmp_path)
    assert {name: scores["test/rmse"] for name, scores in found.judged.items()} == {
        "aa": 1.0,
        "bb": 2.0,
    }
