"""The page of a drift report: what it says, that it stands alone, that everybody can read it."""

import re
from dataclasses import replace

import pytest
from test_drift import KINDS, expected, reference_of, table, times
from test_report_page import NASTY, browser, look, nothing_serious

from ratchet import drift, metrics
from ratchet.drift import ColumnReference, DriftReport, Verdict, live
from ratchet.problem import ProblemType
from ratchet.report import drift as page
from ratchet.schema import Kind
from ratchet.settings import Monitor

__all__ = ["browser"]

RMSE = metrics.named("rmse", ProblemType.REGRESSION)


def report(**changes: object) -> DriftReport:
    """Compare a table with what it has become: a column moved, one has new labels."""
    before = table(2000).assign(sold=times("2024-01-01", 60, 2000)).rename(columns={"rooms": NASTY})
    kept = reference_of(before, growing=("sold",), sold=Kind.DATETIME, **KINDS)
    now = table(600, seed=1).assign(sold=times("2024-03-01", 30, 600))
    now = now.rename(columns={"rooms": NASTY})
    now["size"] *= 2
    now.loc[:50, "town"] = "<b>"
    answers = now["size"].fillna(1).rename("predictions")
    found = drift.compare(
        kept,
        now,
        Monitor(),
        seed=0,
        answers=(ColumnReference.of(answers / 2, Kind.NUMBER), answers),
        live=live.compare(RMSE, (6.0, 5.8, 6.2), expected(), least_loss=0.05, n_rows=600),
    )
    return replace(found, model="tiny", version=3, source="new.csv", n_read=700, **changes)


@pytest.fixture(scope="module")
def html() -> str:
    return page.as_html("tiny", report())


def test_the_page_has_the_verdict_the_reasons_and_a_picture_of_what_moved(html):
    found = report()
    shown = page.page("tiny", found)
    assert shown.answer == "Drift"
    assert shown.told[: len(found.reasons)] == found.reasons
    assert [each.title for each in shown.sections] == [
        "What moved",
        "Every column",
        "All columns together",
        "The model",
        "How it was compared",
    ]
    blocks = [block for section in shown.sections for block in section.blocks]
    drawn = {each.title: each.told for block in blocks for each in block.drawings}
    assert set(drawn) == {"Column size", "Column town", "Column predictions"}
    assert drawn["Column town"].startswith("Largest change of town: ")
    assert html.count("<figure") == 3


def test_a_page_without_drift_shows_that_it_looked(html):
    rows = table(2000)
    found = drift.compare(reference_of(rows, **KINDS), table(500, seed=1), Monitor(), seed=0)
    assert found.verdict is Verdict.NONE
    shown = page.page("tiny", found)
    assert shown.answer == "No drift"
    assert re.match(r"None of \d+ tests found a movement", shown.told[0])
    assert len(shown.sections[0].blocks[0].drawings) == 4


def test_the_page_stands_alone_and_runs_no_script(html):
    assert "<script" not in html
    assert NASTY not in html
    assert not re.search(r'(?:src|href)="(?!#)', html.replace('href="http://www.w3.org', ""))
    assert "<p>Written by Ratchet from <code>drift.json</code>" in html
    assert "<b>" not in html


@pytest.mark.slow
@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 375)])
def test_everybody_can_read_the_page(browser, html, tmp_path, scheme, width):
    path = tmp_path / "drift.html"
    path.write_text(html, encoding="utf-8")
    opened, faults = look(browser, path, width, scheme)
    assert faults == []
    assert opened.evaluate("document.documentElement.scrollWidth") <= width
    nothing_serious(opened)
    opened.close()
