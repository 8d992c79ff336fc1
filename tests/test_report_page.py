"""A report as a page: what it says, that it stands alone, and that everybody can read it."""

import itertools
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from markupsafe import escape

from ratchet import drawing
from ratchet.gates import GateResult
from ratchet.profile import ColumnProfile
from ratchet.report import data, page, pieces, verdict
from ratchet.report.data import Data
from ratchet.report.facts import Facts
from ratchet.report.made import Made
from ratchet.report.pieces import Block, Section, Table
from ratchet.report.verdict import Decided, Rival, RivalScore, Won

NASTY = "<script>alert('$x$')</script> a|b `c` *d* [e](http://f.g) \"h\""

BASELINE = GateResult("better_than_baseline", True, "rmse 4.5, baseline 9.6: gain 5.1 [5.0, 5.2]")
CHAMPION = GateResult("better_than_champion", False, "rmse 4.5, champion 4.4: gain -0.1 [-0.2, 0]")

WON = Won("rmse", 4.5, 4.4, 4.6, 9.6, 5.1, 5.0, 5.2, 0.95, 14556, "rows1")

RIVAL = Rival(
    version=1,
    n_rows=14000,
    n_left_out=556,
    confidence=0.95,
    scores=(
        RivalScore("rmse", 4.5, 4.4, 4.6, 4.7, 4.6, 4.8),
        RivalScore("rmsle", 0.25, 0.2, 0.3, None, None, None),
    ),
)

MADE = Made(
    run_id="a" * 32,
    name="train · xgboost · rmse 4.5",
    started="2026-11-25T22:03:22+00:00",
    user="me",
    experiment="taxi",
    page="",
    store="mlflow ui --backend-store-uri sqlite:///mlflow.db",
    commit="f" * 40,
    branch="main",
    dirty=True,
    code_reason="",
    data_version="6faf.dir",
    data_dirty=False,
    params_digest="0123",
    lock_digest="4567",
    overrides="seed=3",
    pipeline="89ab",
    restored_from="",
    runs=(("prepare", "b" * 32),),
    hardware=(("cores", "2"),),
    versions=(("mlflow", "3.17.2"), ("numpy", "2.4.6")),
)

REFUSED = Decided(
    kind="refuse",
    reason=CHAMPION.reason,
    model="taxi",
    version=None,
    champion=1,
    metric="rmse",
    score=4.5,
    gates=(BASELINE, CHAMPION),
    at="2026-11-25T22:03:22.123+00:00",
    line=2,
    run="d" * 32,
    test="rows1",
    rival=RIVAL,
)


def picture(name: str) -> drawing.Drawing:
    """Draw what has clipped lines, marks and a legend, which matplotlib gives ids to."""
    with drawing.style():
        figure, axes = drawing.axes()
        for place, color in enumerate(drawing.COLORS):
            axes.plot([0, 1], [0, place], marker="o", color=color, label=f"<script> {place}")
        axes.legend()
        axes.set_xlabel("an axis")
        drawing.titled(figure, name)
        svg = drawing.finished(figure)
    return drawing.Drawing(name, f"What {name} shows", f"The {name} is 0.9 <here>.", svg)


def facts(name: str = "distance") -> Facts:
    columns = (
        ColumnProfile("minutes", "number", 0.0, 900, "1 to 60, median 12"),
        ColumnProfile(name, "number", 0.0004, 55, "0.1 to 24, median 3"),
        ColumnProfile("zone", "category", 0.25, 3, "a 50 %, b 30 %, c 20 %"),
    )
    counts = (("train", 9000), ("valid", 1000), ("test", 14556))
    return Facts("xgboost", won=WON, data=Data.of(counts, columns[1:], columns[0]))


def made_of(decided: Decided | None = REFUSED, name: str = "distance") -> page.Page:
    """Give a page with every kind of block."""
    found = page.of("taxi", "xgboost", facts(name), decided, MADE)
    wide = pieces.table(
        ("row", *(f"column {number}" for number in range(12))),
        [(name, *(f"a long value {number}" for number in range(12)))] * 30,
    )
    more = Section(
        "How good it is",
        (
            Block("Curves", (f"Of {name}.",), None, (picture("roc"), picture("gain"))),
            Block("", (), Table(wide.head, wide.rows, more=7)),
        ),
    )
    return replace(found, sections=(*found.sections[:2], more, *found.sections[2:]))


@pytest.fixture(scope="module")
def shown() -> page.Page:
    return made_of(name=NASTY)


@pytest.fixture(scope="module")
def html(shown: page.Page) -> str:
    return page.as_html(shown)


class Tags(HTMLParser):
    """Collects the tags of a page, and complains about one that is left open."""

    VOID = ("meta", "line", "circle", "path", "use", "rect", "img", "br")

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag, attributes):
        self.seen.append((tag, dict(attributes)))
        if tag not in ("meta", "br", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.seen.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def tags(html: str) -> list[tuple[str, dict]]:
    parser = Tags()
    parser.feed(html)
    assert parser.open == []
    return parser.seen


# What it says


def sentences(decided: Decided | None, won: Won | None = WON) -> str:
    return " ".join(verdict.told(won, decided))


def test_before_promote_it_says_what_won_and_by_how_much():
    assert verdict.answer("xgboost", None) == "xgboost won the search"
    assert sentences(None) == (
        "On 14,556 test rows its rmse is 4.5000 [4.4000, 4.6000] at 95 %. The baseline, which looks"
        " at no column, has 9.6000: a gain of 5.1000 [5.0000, 5.2000]. When this was written, it"
        " had not been put forward yet: `python src promote` asks the gates."
    )


def test_a_refusal_says_why_and_who_stays():
    assert verdict.answer("xgboost", REFUSED) == (
        "xgboost was not promoted: version 1 stays the champion"
    )
    assert sentences(REFUSED) == (
        "On 14,556 test rows its rmse is 4.5000 [4.4000, 4.6000] at 95 %. Against the baseline,"
        " which looks at no column: rmse 4.5, baseline 9.6: gain 5.1 [5.0, 5.2]. It was not"
        " promoted because of this: rmse 4.5, champion 4.4: gain -0.1 [-0.2, 0]. Decided"
        " 2026-11-25 22:03:22 UTC, line 2 of the ledger."
    )
    nobody = verdict.answer("xgboost", replace(REFUSED, champion=None))
    assert nobody == "xgboost was not promoted: nobody is the champion"


def test_a_refusal_for_the_baseline_says_so_once():
    failed = replace(BASELINE, passed=False)
    told = sentences(replace(REFUSED, gates=(failed,), reason=failed.reason))
    assert told.count(failed.reason) == 1


def test_a_promotion_says_by_whom_it_was_won():
    promoted = replace(
        REFUSED,
        kind="promote",
        version=2,
        gates=(BASELINE, replace(CHAMPION, passed=True)),
        undone="version 2 was rolled back on 2026-12-01: too slow",
    )
    assert verdict.answer("xgboost", promoted) == (
        "xgboost was promoted by the gates, as version 2 of taxi"
    )
    told = sentences(promoted)
    assert f"It was promoted because every gate passed: {CHAMPION.reason}." in told
    assert "Since then, version 2 was rolled back on 2026-12-01: too slow." in told


def test_a_forced_promotion_names_the_person_s_reason_and_what_failed():
    forced = replace(REFUSED, kind="force", reason="the law has changed.", version=2)
    assert "against the gates, as version 2 of taxi" in verdict.answer("xgboost", forced)
    assert (
        "A person promoted it and said: the law has changed. Gates that did not pass:"
        " better_than_champion." in sentences(forced)
    )
    passed = replace(forced, gates=(BASELINE,))
    assert "the law has changed. Every gate had passed." in sentences(passed)


def test_other_test_rows_than_the_gates_saw_are_told():
    assert "The gates saw other test rows" in sentences(replace(REFUSED, test="rows2"))
    assert "other test rows" not in sentences(REFUSED)


def test_a_model_that_nobody_evaluated_has_its_verdict_all_the_same():
    found = page.of("taxi", "theirs", None, replace(REFUSED, rival=None), MADE)
    assert found.told[0] == "On the test rows its rmse is 4.5000."
    assert [each.title for each in found.sections] == ["Gates", "How it was made"]


def test_the_sections_are_in_their_order_and_what_is_not_there_is_not_shown(shown):
    titles = [each.title for each in shown.sections]
    assert titles == ["Gates", "Scores", "How good it is", "The data", "How it was made"]
    undecided = page.of("taxi", "xgboost", Facts("xgboost"), None, MADE)
    assert [each.title for each in undecided.sections] == ["Gates", "How it was made"]
    [block] = undecided.sections[0].blocks
    assert block.code == "python src promote --dry-run"


def test_the_gates_stand_with_their_numbers():
    [block] = verdict.gates(REFUSED)
    assert block.lines == ("1 of 2 did not pass.",)
    assert [[cell.text for cell in row.cells] for row in block.table.rows] == [
        ["better_than_baseline", "yes", BASELINE.reason],
        ["better_than_champion", "no", CHAMPION.reason],
    ]
    [block] = verdict.gates(replace(REFUSED, gates=(BASELINE,)))
    assert block.lines == ("All passed.",)


def test_the_champion_stands_beside_the_leader():
    [block] = verdict.against(RIVAL)
    assert (
        "on the same 14,000 test rows; 556 rows that one of them was trained on" in block.lines[0]
    )
    assert [[cell.text for cell in row.cells] for row in block.table.rows] == [
        ["rmse", "4.5000 [4.4000, 4.6000]", "4.7000 [4.6000, 4.8000]"],
        ["rmsle", "0.2500 [0.2000, 0.3000]", "—"],
    ]
    assert block.table.rows[0].strip.a == (4.0, 27.0, 50.0)
    assert block.table.rows[1].strip is None
    assert "left out" not in verdict.against(replace(RIVAL, n_left_out=0))[0].lines[0]


def test_the_champion_s_scores_are_logged_under_names_of_their_own():
    found = RIVAL.flat()
    assert found["champion/test/rmse_low"] == 4.6
    assert found["test_fair/rmse"] == 4.5
    assert found["champion/test/rmsle"] != found["champion/test/rmsle"]
    assert not [name for name in replace(RIVAL, n_left_out=0).flat() if "fair" in name]


def test_the_columns_stand_with_their_gaps_and_ranges():
    [block] = data.blocks(facts().data)
    assert block.lines[0].startswith("Rows: train 9,000, valid 1,000, test 14,556.")
    assert [[cell.text for cell in row.cells] for row in block.table.rows] == [
        ["minutes", "number, the target", "0 %", "900", "1 to 60, median 12"],
        ["distance", "number", "< 0.1 %", "55", "0.1 to 24, median 3"],
        ["zone", "category", "25.0 %", "3", "a 50 %, b 30 %, c 20 %"],
    ]
    many = tuple(ColumnProfile(f"x{n}", "number", 0.0, 2, "") for n in range(100))
    found = Data.of((("train", 9),), many, None)
    assert (len(found.columns), data.blocks(found)[0].table.more) == (40, 60)


def test_lineage_and_the_command_that_makes_it_again_are_there(html):
    assert f"python src reproduce {'a' * 32}" in html
    for told in ("ffffffffffff, with uncommitted changes", "6faf.dir, recorded", "seed=3"):
        assert told in html
    assert "mlflow ui --backend-store-uri sqlite:///mlflow.db" in html
    assert "mlflow 3.17.2, numpy 2.4.6" in html


def test_a_run_on_a_server_is_linked():
    there = replace(MADE, page="https://runs.example.com/#/experiments/1/runs/2", store="")
    found = page.as_html(page.of("taxi", "xgboost", None, None, there))
    assert '<a href="https://runs.example.com/#/experiments/1/runs/2">' in found


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"dirty": False}, "ffffffffffff, clean"),
        ({"dirty": None}, "ffffffffffff, whether it was clean is not known"),
        ({"dirty": None, "code_reason": "git is not there"}, "ffffffffffff, git is not there"),
        ({"commit": None, "code_reason": "no git"}, "in no commit (no git)"),
    ],
)
def test_what_is_not_known_of_the_code_is_told(changes, told):
    assert replace(MADE, **changes).code == told


def test_markdown_and_html_say_the_same_words(shown, html):
    markdown = page.as_markdown(shown)
    blocks = [block for section in shown.sections for block in section.blocks]
    words = [
        shown.answer,
        *shown.told,
        *(line for block in blocks for line in block.lines),
        *(each.told for each in shown.drawings),
        *(
            cell.text
            for block in blocks
            if block.table
            for row in block.table.rows
            for cell in row.cells
        ),
    ]
    for text in words:
        assert pieces.escaped(text) in markdown
        assert str(escape(text)) in html


def test_markdown_folds_what_is_long_and_fits_into_a_comment(shown):
    markdown = page.as_markdown(shown)
    assert len(markdown) < 65_536
    assert markdown.count("<details>") == markdown.count("</details>") == 2
    assert "22 more; `report.html` has them all." in markdown  # 30 rows of 15, and 7 left out
    assert "![" not in markdown


def test_every_table_of_the_markdown_is_whole(shown):
    width = 0
    for line in page.as_markdown(shown).splitlines():
        if line.startswith("|"):
            cells = line.count("|")
            assert width in (0, cells), line
            width = cells
        else:
            width = 0


def test_names_with_markup_in_them_are_shown_as_they_are(shown, html, tags):
    assert "script" not in {name for name, _ in tags}
    assert "alert(" in html
    markdown = page.as_markdown(shown)
    assert "<script" not in markdown and "[e](" not in markdown
    assert "\\$x\\$" in markdown


# That it stands alone


def test_the_page_is_one_small_file_that_runs_nothing(html, tags):
    assert len(html.encode()) < 5_000_000
    names = {name for name, _ in tags}
    assert not names & {"script", "link", "img", "iframe", "object", "style "}
    attributes = {name for _, given in tags for name in given}
    assert not [name for name in attributes if name.startswith("on")]
    assert "src" not in attributes and "@import" not in html
    outside = [
        given[name]
        for _, given in tags
        for name in ("href", "xlink:href")
        if not given.get(name, "#").startswith("#")
    ]
    assert outside == []
    assert all(found.startswith("#") for found in re.findall(r"url\(([^)]*)\)", html))
    assert "prefers-color-scheme: dark" in html and "@media print" in html


def test_every_id_is_there_once_and_every_reference_finds_its_own(html, tags):
    ids = Counter(given["id"] for _, given in tags if "id" in given)
    assert max(ids.values()) == 1
    named = {
        *re.findall(r"url\(#([^)]*)\)", html),
        *(
            given[name].removeprefix("#")
            for _, given in tags
            for name in ("href", "xlink:href", "aria-labelledby")
            if name in given
        ),
    }
    assert len(named) > 20
    assert named <= set(ids)


def test_headings_descend_one_by_one(tags):
    levels = [int(name[1]) for name, _ in tags if re.fullmatch("h[1-6]", name)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_every_picture_has_words_and_follows_the_colours_of_the_page(html, tags):
    pictures = [given for name, given in tags if name == "svg" and given.get("role") == "img"]
    assert len(pictures) == 2
    for given in pictures:
        assert re.search(
            rf'<figcaption id="{given["aria-labelledby"]}">The (roc|gain) is 0.9 &lt;here&gt;.',
            html,
        )
    inside = html[html.index("<figure") : html.index("</figure>")]
    assert "var(--figure-1, #0072B2)" in inside
    assert "<style" not in inside and "<metadata" not in inside  # they would hold for the page


def test_a_picture_that_is_none_is_a_bug():
    broken = drawing.Drawing("roc", "", "", "no picture")
    found = replace(made_of(), sections=(Section("x", (Block("", drawings=(broken,)),)),))
    with pytest.raises(ValueError, match="'roc' is no SVG file"):
        page.as_html(found)


# That everybody can read it, in a real browser

QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]


@pytest.fixture(scope="module")
def browser() -> Iterator:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed: `apt-get install chromium`, as .ci/run does")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def file(html: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(html, encoding="utf-8")
    return path


def look(browser, file: Path, width: int, scheme: str = "light"):
    """Open a page; give it and what went wrong or beyond the file."""
    opened = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    faults: list[str] = []
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.on("console", lambda message: faults.append(message.text))
    opened.on("request", lambda request: faults.append(request.url))
    opened.goto(file.as_uri())
    faults.remove(file.as_uri())
    return opened, faults


def nothing_serious(opened) -> None:
    """Have axe-core look at a page."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(opened).response["violations"]
    bad = [
        (each["id"], [node["html"] for node in each["nodes"]])
        for each in found
        if each["impact"] in ("serious", "critical")
    ]
    assert bad == []


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 375])
def test_a_browser_asks_for_nothing_else_and_axe_finds_nothing_serious(
    browser, file, scheme, width
):
    opened, faults = look(browser, file, width, scheme)
    assert faults == []
    assert opened.evaluate("document.documentElement.scrollWidth") <= width
    nothing_serious(opened)
    dark = (
        opened.evaluate("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
    )
    assert dark == (scheme == "dark")
    opened.close()


@pytest.mark.slow
def test_the_keyboard_reaches_the_report_and_what_can_be_moved(browser, file):
    opened, _ = look(browser, file, 1280)
    opened.keyboard.press("Tab")
    assert opened.evaluate("document.activeElement.textContent") == "Skip to the report"
    assert opened.evaluate("document.activeElement.getBoundingClientRect().top") >= 0
    opened.keyboard.press("Enter")
    assert opened.evaluate("document.activeElement.id") == "content"
    opened.keyboard.press("Tab")
    assert opened.evaluate("document.activeElement.className") == "scroll"
    moved = opened.evaluate(
        "[...document.querySelectorAll('*')].filter(each => each.scrollWidth > each.clientWidth + 1"
        " && getComputedStyle(each).overflowX == 'auto' && each.tabIndex != 0).length"
    )
    assert moved == 0
    opened.close()


@pytest.mark.slow
def test_paper_has_no_menu_and_dark_ink(browser, file):
    opened, _ = look(browser, file, 1280, "dark")
    opened.emulate_media(media="print", color_scheme="dark")
    assert not opened.locator("nav").is_visible()
    assert opened.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    line = opened.locator("figure path[style*='figure-1']").first
    assert line.evaluate("each => getComputedStyle(each).stroke") == "rgb(0, 114, 178)"
    opened.close()
