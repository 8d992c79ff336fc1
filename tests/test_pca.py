"""Scaled columns may be reduced to their principal components, in every model that scales."""

import numpy as np
import pandas as pd
import pytest
import skops.io
from conftest import tiny_settings, tiny_table
from sklearn.decomposition import PCA
from sklearn.pipeline import Pipeline

from ratchet import trainer
from ratchet.features import TRUSTED_TYPES, Preparation, matrix, preparation
from ratchet.problem import ProblemType
from ratchet.schema import Column, Kind, Schema
from ratchet.settings import from_mapping
from ratchet.table import Table, prepare_table

KINDS = {"a": Kind.NUMBER, "b": Kind.NUMBER, "town": Kind.CATEGORY, "when": Kind.DATETIME}


def table(n=120, towns=3, seed=0):
    random = np.random.default_rng(seed)
    a = random.normal(size=n)
    return pd.DataFrame(
        {
            "a": a,
            "b": a + 0.1 * random.normal(size=n),
            "town": pd.Series(np.char.mod("t%d", random.integers(0, towns, n)), dtype="str"),
            "when": pd.Timestamp("2024-01-01")
            + pd.to_timedelta(random.integers(0, 10**5, n), unit="m"),
        }
    ).astype({"when": "datetime64[us]"})


def schema_of(frame):
    columns = tuple(
        Column(name, KINDS[name], str(frame[name].dtype), False, frame[name].nunique())
        for name in frame
    )
    return Schema(columns, "y", ProblemType.REGRESSION)


def fitted(frame, pca, kind=Preparation.SCALED):
    made = preparation(schema_of(frame), kind, pca=pca)
    return made, made.fit_transform(frame)


def test_columns_become_so_many_components():
    frame = table()
    whole = fitted(frame, None)[1]
    made, values = fitted(frame, 3)
    assert values.shape == (120, 3)
    expected = PCA(3, svd_solver="full").fit(whole)
    np.testing.assert_allclose(values.var(axis=0, ddof=1), expected.explained_variance_, rtol=1e-6)
    np.testing.assert_allclose(np.abs(values), np.abs(expected.transform(whole)), atol=1e-6)
    np.testing.assert_allclose(made.transform(frame), values, atol=1e-9)


@pytest.mark.parametrize("share", [0.3, 0.9, 0.999])
def test_a_share_keeps_that_much_of_the_variance_and_no_component_more(share):
    frame = table()
    whole = fitted(frame, None)[1]
    values = fitted(frame, share)[1]
    kept = values.var(axis=0, ddof=1).cumsum() / whole.var(axis=0, ddof=1).sum()
    assert kept[-1] >= share
    assert len(kept) == 1 or kept[-2] < share


def test_more_components_than_columns_keep_all():
    frame = table()[["a", "b"]]
    assert fitted(frame, 50)[1].shape == (120, 2)


def test_more_components_than_rows_keep_what_there_is():
    frame = table(5)
    whole = fitted(frame, None)[1]
    assert whole.shape[1] > 5
    assert fitted(frame, 50)[1].shape[0] == 5


def test_a_sparse_table_is_reduced_without_becoming_dense_first():
    frame = table(3000, towns=200)[["town"]]
    whole = fitted(frame, None)[1]
    assert hasattr(whole, "toarray")
    values = fitted(frame, 10)[1]
    assert values.shape == (3000, 10)
    expected = PCA(10, svd_solver="full").fit(whole.toarray())
    np.testing.assert_allclose(values.var(axis=0, ddof=1), expected.explained_variance_, rtol=1e-6)


@pytest.mark.parametrize("kind", [Preparation.NATIVE, Preparation.CODES])
def test_models_that_split_columns_keep_them(kind):
    frame = table()
    made, values = fitted(frame, 1, kind)
    assert np.shape(values)[1] > 1
    assert matrix(made, schema_of(frame), values).categorical.any()


def test_components_are_no_codes_of_categories():
    frame = table()
    made, values = fitted(frame, 2)
    found = matrix(made, schema_of(frame), values)
    assert found.categorical.tolist() == [False, False]


def test_nothing_is_learned_from_rows_that_are_only_transformed():
    frame, later = table(), table(seed=1)
    later["a"] = later["a"] * 1000
    made, values = fitted(frame, 2)
    made.transform(later)
    np.testing.assert_array_equal(made.transform(frame), made.transform(frame.copy()))
    np.testing.assert_allclose(made.transform(frame), values, atol=1e-9)


@pytest.mark.parametrize("pca", [2, 50, 0.9])
def test_it_is_saved_without_pickle_and_needs_no_more_trust(pca):
    frame = table()
    made, values = fitted(frame, pca)
    data = skops.io.dumps(made)
    assert set(skops.io.get_untrusted_types(data=data)) <= set(TRUSTED_TYPES)
    again = skops.io.loads(data, trusted=list(TRUSTED_TYPES))
    np.testing.assert_allclose(again.transform(frame), values, atol=1e-9)


def test_training_reduces_the_columns_of_models_that_scale_and_of_no_others():
    chosen = from_mapping(
        tiny_settings(
            train__pca=2,
            train__ensemble="none",
            train__validation="holdout",
            train__families=["linear"],
            train__search__max_trials=1,
        ),
        origin="test",
    )
    table = prepare_table(Table(tiny_table(), (), ()), chosen.data, None)
    rows, valid = table.frame.iloc[:160], table.frame.iloc[160:].reset_index(drop=True)
    for family, reduced in (("linear", True), ("random_forest", False)):
        train = chosen.train.model_copy(update={"families": (family,)})
        settings = chosen.model_copy(update={"train": train})
        found = trainer.train(rows, valid, table.schema, settings)
        prepare = found.model.named_steps["prepare"]
        assert isinstance(prepare, Pipeline) is reduced
        if reduced:
            assert prepare.transform(valid[table.schema.names]).shape == (80, 2)
            assert found.model.named_steps["model"].n_features_in_ == 2
