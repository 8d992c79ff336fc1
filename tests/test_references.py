"""A run or a version is found by what a person calls it."""

import pytest

from ratchet.errors import StoreError
from ratchet.registry import references


@pytest.fixture
def run_id(store):
    """Give a run whose model is version 1 of `taxi`, the champion."""
    run = store.create_run(store.create_experiment("taxi"))
    store.create_registered_model("taxi")
    store.create_model_version("taxi", "file:///nowhere", run_id=run.info.run_id)
    store.set_registered_model_alias("taxi", "champion", "1")
    return run.info.run_id


@pytest.mark.parametrize(
    "text", ["taxi/1", "models:/taxi/1", "taxi@champion", "models:/taxi@champion"]
)
def test_a_version_is_found_by_number_and_by_alias(run_id, text):
    found = references.resolve(f" {text} ")
    assert (found.run_id, found.model, found.version) == (run_id, "taxi", 1)
    assert (found.text, found.label) == (text, "taxi/1")


def test_a_run_is_found_by_its_id(run_id):
    found = references.resolve(run_id)
    assert (found.run_id, found.model, found.version) == (run_id, None, None)
    assert found.label == f"run {run_id[:8]}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "taxi",
            "'taxi' names no run and no version. Allowed: RUN_ID (32 hexadecimal digits),"
            " NAME/VERSION or NAME@ALIAS, such as taxi/3 or taxi@champion.",
        ),
        (
            "models:/taxi/latest",
            "'models:/taxi/latest' names no run and no version. Allowed: RUN_ID (32 hexadecimal"
            " digits), NAME/VERSION or NAME@ALIAS, such as taxi/3 or taxi@champion.",
        ),
        ("taxi/7", "The registry has no taxi/7. Versions of taxi: 1; aliases: champion."),
        ("taxi@former", "The registry has no taxi@former. Versions of taxi: 1; aliases: champion."),
        ("tips@champion", "The registry has no tips@champion. Registered models: taxi."),
    ],
)
def test_what_is_not_there_is_told_with_what_is(run_id, text, message):
    with pytest.raises(StoreError) as raised:
        references.resolve(text)
    assert str(raised.value) == message


def test_a_run_that_is_not_there_is_told(run_id):
    with pytest.raises(StoreError, match=f"^The store sqlite:.* has no run {'0' * 32}\\.$"):
        references.resolve("0" * 32)


def test_a_version_without_a_run_is_told(store):
    store.create_registered_model("bought")
    store.create_model_version("bought", "file:///nowhere")
    with pytest.raises(StoreError) as raised:
        references.resolve("bought/1")
    assert str(raised.value) == "bought/1 does not say which run trained it."
