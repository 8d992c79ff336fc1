"""What a browser makes of names with markup in them: text, on every page that there is."""

import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pandas as pd
import pytest
import yaml
from conftest import tiny_settings, tiny_table
from test_report_page import browser

from ratchet import profile
from ratchet.commands import compare, page
from ratchet.project import Project
from ratchet.registry import champion
from ratchet.report.page import mark
from ratchet.steps import evaluate, monitor, prepare, promote, train
from ratchet.steps.train import Leader

__all__ = ["browser"]

# Each would set `hacked` if a browser ran it.
RUN = (
    "<script>hacked=1</script>",
    '"><img src=x onerror=hacked=1>',
    "'><svg onload=hacked=1>",
    "</script><script>hacked=1</script>",
    "</title></style><img src=x onerror=hacked=1>",
    "javascript:hacked=1//](javascript:hacked=1)",
    "{{7*7}}{% x %}<iframe srcdoc='<script>top.hacked=1</script>'>",
    "`<b onmouseover=hacked=1>` | $\\frac{1}$ $x",
    "=cmd|' /C calc'!A0",
    "<!-- --><base href=//x><meta http-equiv=refresh content=0>",
)
SIZE, TOWN, ROOMS, SOLD, PRICE = RUN[0], RUN[1], RUN[7], RUN[4], RUN[3]
LABELS = {"Aachen": RUN[2], "Berlin": RUN[6], "Cottbus": RUN[8]}
POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">')


def hostile(rows: int = 240, seed: int = 0) -> pd.DataFrame:
    """A table whose columns and labels are markup."""
    table = tiny_table(rows, seed).drop(columns="dear")
    table["town"] = table["town"].map(LABELS)
    names = {"size": SIZE, "town": TOWN, "rooms": ROOMS, "sold": SOLD, "price": PRICE}
    return table.rename(columns=names)


@pytest.fixture
def pages(store, tmp_path) -> dict[str, Path]:
    """Every page and every text that a pipeline on that table leaves, by its place."""
    root = tmp_path / "project"
    (root / "data").mkdir(parents=True)
    hostile().to_parquet(root / "data" / f"{RUN[5].replace('/', '')}{RUN[2]}.parquet")
    (tmp_path / "new").mkdir()
    moved = hostile(200, seed=3)
    moved[SIZE] *= 3
    moved.loc[:80, TOWN] = RUN[9]
    moved.to_parquet(tmp_path / "new" / f"{RUN[1]}.parquet")
    values = tiny_settings(
        data__target=f"col({PRICE!r})",
        data__drop=[],
        train__families=["baseline", "ridge", "xgboost"],
        evaluate__report=True,
        promote__slices={"columns": [TOWN], "min_rows": 5},
        tracking__experiment=RUN[1],
    )
    (root / "params.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    project = Project.open(root / "params.yaml", ["seed=7"])
    for step in (prepare, train, evaluate):
        step.run(project)
    promote.run(project, force=True, reason=RUN[0] + RUN[5])
    monitor.run(project, tmp_path / "new")
    run_id = Leader.load(project).run_id
    found = compare.read(project, run_id, run_id)
    (root / "build" / "compare.html").write_text(page.as_html(found), encoding="utf-8")
    (root / "build" / "compare.md").write_text(page.markdown(found), encoding="utf-8")
    notes = [
        run.data.tags.get("mlflow.note.content", "")
        for each in store.search_experiments()
        for run in store.search_runs([each.experiment_id])
    ]
    version = champion.current(project.settings)
    notes.append(store.get_model_version(version.model, str(version.number)).description)
    (root / "build" / "notes.md").write_text("\n\n".join(notes), encoding="utf-8")
    build = root / "build"
    return {
        path.relative_to(build).as_posix(): path
        for path in build.rglob("*")
        if path.suffix in (".html", ".md", ".svg")
    }


@dataclass
class Listening:
    """A server that keeps what it was asked for."""

    address: str
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def listening() -> Iterator[Listening]:
    """Somewhere to send what a page knows."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            kept.asked.append(self.path)
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    kept = Listening(f"http://127.0.0.1:{server.server_port}/told")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield kept
    server.shutdown()
    server.server_close()
    thread.join()


def plain(markdown: str) -> str:
    """Markdown without what it shows as it is: code, and what a backslash is before."""
    return re.sub(r"(`+)(?:(?!\1).)+\1", "", re.sub(r"\\.", "", markdown))


@pytest.mark.slow
def test_no_name_runs_on_any_page(browser, pages, listening):
    shown = {name for name in pages if name.endswith(".html")}
    assert shown >= {
        "prepared/profile.html",
        "evaluate/report/report.html",
        "promote/report.html",
        "monitor/drift.html",
        "compare.html",
    }
    for name in sorted(shown):
        opened = browser.new_page()
        asked: list[str] = []
        said: list[str] = []
        opened.on("request", lambda request, asked=asked: asked.append(request.url))
        opened.on("dialog", lambda dialog, said=said: said.append(dialog.message))
        opened.on("console", lambda message, said=said: said.append(message.text))
        opened.on("pageerror", lambda error, said=said: said.append(str(error)))
        address = pages[name].as_uri()
        opened.goto(address)
        opened.mouse.move(300, 300)
        assert opened.evaluate("typeof hacked") == "undefined", name
        assert (asked, said) == ([address], []), name
        names = [opened.evaluate("document.body.textContent")]
        # A profile keeps its text in a tree of its own.
        names += opened.evaluate(
            "[...document.querySelectorAll('*')].filter(each => each.shadowRoot)"
            ".map(each => each.shadowRoot.textContent)"
        )
        assert any(SIZE in each for each in names) or name == "compare.html", name
        assert opened.evaluate("document.querySelectorAll('iframe, base, object').length") == 0
        # And what does get into a page runs nothing, and asks nobody.
        opened.evaluate(
            "there => document.body.insertAdjacentHTML('beforeend',"
            " `<img src=${there} onload=hacked=1 onerror=hacked=1>`)",
            listening.address,
        )
        opened.wait_for_function("document.images[document.images.length - 1].complete")
        opened.evaluate(
            "there => fetch(there, {mode: 'no-cors'}).then(() => hacked = 1, () => 0)",
            listening.address,
        )
        assert opened.evaluate("typeof hacked") == "undefined", name
        assert listening.asked == [], name
        opened.close()
    for name in sorted(set(pages) - shown):
        text = pages[name].read_text(encoding="utf-8")
        if name.endswith(".md"):
            text = plain(text)
        assert not re.search(r"<(script|img|iframe|svg onload|b onmouse|base|meta )", text), name
        assert "](javascript:" not in text, name


def test_every_page_says_what_a_browser_may_do(tmp_path):
    profile.write(tmp_path / "profile.html", hostile(), "x")
    text = (tmp_path / "profile.html").read_text(encoding="utf-8")
    [policy] = POLICY.findall(text)
    assert "unsafe-inline'" not in policy.partition("script-src")[2].partition(";")[0]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    templates = Path(profile.__file__).parent / "templates"
    bases = [path for path in templates.glob("*.html") if "<head>" in path.read_text()]
    assert [path.name for path in bases] == ["base.html"]
    for path in bases:
        [policy] = POLICY.findall(path.read_text(encoding="utf-8"))
        assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; ")
        assert "script-src" not in policy


def test_the_mark_of_a_decision_is_no_markup():
    assert "<script" not in mark('"><script>')


def test_a_formula_in_a_csv_file_is_left_as_it_is(project, call, tmp_path):
    """What a spreadsheet would run is a label here; docs/security.md says how to open it."""
    promote.run(project)
    said = [RUN[8], "+1+1", "@SUM(A1)", "-2", '=HYPERLINK("x")'] * 2
    table = tiny_table(10).assign(town=said)
    table.to_csv(tmp_path / "new.csv", index=False)
    code, _, err = call(
        *("predict", "--params", project.params_file, "--no-checks"),
        *("--data", tmp_path / "new.csv", "--out", tmp_path / "answers.csv"),
    )
    assert code == 0, err
    assert pd.read_csv(tmp_path / "answers.csv")["town"].tolist() == said
