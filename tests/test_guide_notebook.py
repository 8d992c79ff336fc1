"""The guide to notebooks is tried from start to end, and what it shows is what comes out."""

import doctest
import re
import shutil
import sys

import pytest
from conftest import ROOT

from ratchet import tracking
from ratchet.commands import pipeline
from ratchet.project import Project

DOCS = ROOT / "docs"


NUMBER = re.compile(r"-?\d+\.\d*|-?\d+")


class Nearly(doctest.OutputChecker):
    """Takes numbers for equal that another version of a library may give."""

    def check_output(self, want: str, got: str, optionflags: int) -> bool:
        shown, said = ([float(each) for each in NUMBER.findall(text)] for text in (want, got))
        alike = ["".join(NUMBER.sub("#", text).split()) for text in (want, got)]
        return alike[0] == alike[1] and shown == pytest.approx(said, rel=0.2)


@pytest.mark.slow
def test_the_guide_to_notebooks(tiny, empty_store, monkeypatch):
    params = tiny(name="flats", train__metric="rmse")
    shutil.copy(empty_store, params.parent / "mlflow.db")
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    monkeypatch.chdir(params.parent)
    pipeline.run(Project.open(params))
    text = (DOCS / "notebook.md").read_text(encoding="utf-8")
    guide = doctest.DocTestParser().get_doctest(text, {}, "notebook", "docs/notebook.md", 0)
    assert len(guide.examples) > 15
    runner = doctest.DocTestRunner(checker=Nearly())
    runner.run(guide, out=sys.stderr.write)
    assert runner.summarize(verbose=False).failed == 0
    tracking.mlflow.set_tracking_uri(None)


@pytest.mark.parametrize("page", ["own-table.md", "notebook.md"])
def test_every_page_that_a_guide_links_is_there(page):
    text = (DOCS / page).read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#:]+)[^)]*\)", text)
    assert links
    for link in links:
        assert (DOCS / link).exists(), link
