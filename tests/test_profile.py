"""The profile is one page that stands alone."""

import re

import numpy as np
import pandas as pd
import pytest

from ratchet import profile
from ratchet.errors import RatchetError
from ratchet.schema import Kind


def table(rows=40):
    random = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "size": random.uniform(0, 1, rows),
            "größe 駅": random.choice(["Aachen", "Berlin"], rows),
            "sold": pd.date_range("2024-01-01", periods=rows),
            "gap": np.where(np.arange(rows) % 2, np.nan, 1.0),
            "<script>alert(1)</script>": random.integers(0, 3, rows),
        }
    )


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    path = tmp_path_factory.mktemp("profile") / "deep" / "profile.html"
    profile.write(path, table(), "tiny")
    return path.read_text(encoding="utf-8")


def test_the_page_names_the_task_and_every_column(page):
    assert "tiny: 40 training rows" in page
    for name in ("size", "größe 駅", "sold", "gap", "Aachen"):
        assert name in page


def test_the_page_stands_alone(page):
    assert page.lstrip().lower().startswith("<!doctype html>")
    assert not re.findall(r"""(?:src|href)\s*=\s*["']https?://[^"']+\.(?:js|css)""", page)
    assert "<script>alert(1)</script>" not in page


def test_a_profile_of_many_rows_says_how_many_there_were(tmp_path, monkeypatch):
    monkeypatch.setattr(profile, "MAX_ROWS", 10)
    profile.write(tmp_path / "a.html", table(30)[["size"]], "tiny")
    profile.write(tmp_path / "b.html", table(30)[["size"]], "tiny")
    text = (tmp_path / "a.html").read_text()
    assert "tiny: 30 training rows" in text
    assert re.search(r"\b10\b\s*rows", re.sub(r"<[^>]+>", " ", text))


def test_the_table_is_not_changed_by_its_profile(tmp_path):
    frame = table(12)
    profile.write(tmp_path / "a.html", frame, "tiny")
    pd.testing.assert_frame_equal(frame, table(12))


def test_a_page_that_can_not_be_written_is_told_in_a_sentence(tmp_path):
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "deep" / "profile.html"
    with pytest.raises(RatchetError) as error:
        profile.write(path, table(5)[["size"]], "tiny")
    assert str(error.value) == f"Can't write {path}: Not a directory."


@pytest.mark.parametrize(
    ("name", "kind", "told"),
    [
        ("size", Kind.NUMBER, "0.0027385 to 0.99721, median 0.61101"),
        ("größe 駅", Kind.CATEGORY, "Berlin 50 %, Aachen 50 %"),
        ("sold", Kind.DATETIME, "2024-01-01 to 2024-02-09"),
        ("gap", Kind.BOOLEAN, "1.0 100 %"),
        ("<script>alert(1)</script>", Kind.CATEGORY, "1 42 %, 2 35 %, 0 22 %"),
    ],
)
def test_a_column_is_told_in_a_line(name, kind, told):
    found = profile.column(table()[name], kind)
    assert (found.name, found.values) == (name, told)
    assert found.missing == (0.5 if name == "gap" else 0.0)


def test_a_column_of_texts_shows_no_text():
    found = profile.column(pd.Series(["a secret", "another secret", None], name="note"), Kind.TEXT)
    assert found.values == "8 to 14 characters"


def test_long_and_many_labels_are_cut():
    labels = pd.Series([f"{'x' * 40} {number}" for number in range(9)], name="town")
    found = profile.column(labels, Kind.CATEGORY)
    assert found.values == ", ".join([f"{'x' * 23}… 11 %"] * 3) + ", 6 more"


def test_an_empty_column_has_no_values():
    found = profile.column(pd.Series([np.nan, np.nan], name="gone"), Kind.NUMBER)
    assert (found.missing, found.distinct, found.values) == (1.0, 0, "")
