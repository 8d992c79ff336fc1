"""What a person finds who opens the MLflow UI on the runs, in a real browser.

RATCHET_SCREENSHOTS=docs/images takes the pictures of the docs, of the project that RATCHET_PROJECT
names: one that was trained with all families has more to show.
"""

import json
import os
import re
import shutil
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest
from conftest import Clone
from mlflow.entities import Run
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

# One worker runs all that needs the clones: making them takes a minute.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("clones")]

QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
# MLflow opens its assistant over the table at the first visit, and on the side of chat models.
SETTLED = """
localStorage.setItem("mlflow.assistant.fab.autoOpenedOnFirstLoad_v1", "true");
localStorage.setItem("mlflow.assistant.panelOpen_v1", "false");
localStorage.setItem("mlflow.workflowType_v1", '"machine_learning"');
"""
# In milliseconds; a busy machine takes its time to draw the first page.
PATIENCE = 90_000
NAME, STEP = "green-taxi-duration", "ratchet.step"

# Draws a picture as the browser shows it, and gives the colours that are on it.
COLOURS = """
image => {
    const canvas = document.createElement("canvas");
    canvas.width = image.naturalWidth;
    canvas.height = image.naturalHeight;
    const context = canvas.getContext("2d");
    context.drawImage(image, 0, 0);
    const pixels = context.getImageData(0, 0, canvas.width, canvas.height).data;
    const found = new Set();
    for (let at = 0; at < pixels.length; at += 4)
        found.add(`#${[0, 1, 2].map(n => pixels[at + n].toString(16).padStart(2, "0")).join("")}`);
    return [...found];
}
"""


@dataclass(frozen=True)
class Shown:
    """The UI of a project's store."""

    clone: Clone
    address: str

    @property
    def experiment(self) -> str:
        return self.clone.client().get_experiment_by_name(NAME).experiment_id

    def last(self, step: str) -> Run:
        """Give the newest run of a step in the project's own experiment."""
        return [
            run
            for run in self.clone.runs()
            if run.info.experiment_id == self.experiment and run.data.tags[STEP] == step
        ][-1]

    def trials(self) -> list[Run]:
        """Give the trials of the newest training."""
        train = self.last("train").info.run_id
        return [
            run
            for run in self.clone.runs()
            if run.data.tags[STEP] == "trial" and run.data.tags["mlflow.parentRunId"] == train
        ]

    def run(self, run: Run, tab: str = "") -> str:
        """Give the address of a run's page."""
        return f"{self.address}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}{tab}"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed: `apt-get install chromium`, as .ci/run does")
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page of a headless browser, which fails the test when a script of the page does."""
    page = browser.new_page(viewport={"width": 1400, "height": 760})
    page.set_default_timeout(PATIENCE)
    page.add_init_script(SETTLED)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    page.close()
    assert errors == []


@pytest.fixture(scope="module")
def ui(request: pytest.FixtureRequest) -> Iterator[Shown]:
    """A server on the store of a project that has been trained."""
    given = os.environ.get("RATCHET_PROJECT")
    clone = Clone(Path(given)) if given else request.getfixturevalue("doors")["python"]
    command = ("mlflow", "server", "--backend-store-uri", clone.store, "--workers", "1")
    with clone.serve(*command, ready="/health") as address:
        yield Shown(clone, address)


def columns(experiment: str, *metrics: str) -> str:
    """Choose columns as the menu of that name does, and a width: the browser keeps them."""
    name = "attributes.`Run Name`"
    state = json.dumps(
        {
            "selectedColumns": [*(f"metrics.{name}" for name in metrics), "params.`family`"],
            "columnOrder": [name],
            "columnWidths": {name: 420},
        }
    )
    key = json.dumps(f'MLflowLocalStorage-1.1-ExperimentPage-["{experiment}"]-ReactComponentState')
    return f"localStorage.getItem({key}) || localStorage.setItem({key}, {json.dumps(state)});"


def screenshot(page: Page, name: str) -> None:
    """Keep a picture where RATCHET_SCREENSHOTS says, if it says so."""
    folder = os.environ.get("RATCHET_SCREENSHOTS")
    if folder:
        page.wait_for_timeout(1500)  # until what moves has come to rest
        page.screenshot(path=Path(folder) / f"{name}.png")


def opened(table: Locator, run: Run) -> None:
    """Click on what shows the runs below a run."""
    row = table.get_by_role("row").filter(has_text=run.info.run_name)
    row.get_by_role("button").first.click()


def test_the_run_table_nests_trials_and_compares_by_metrics(ui: Shown, page: Page):
    pipeline, train, evaluate = (ui.last(step) for step in ("main", "train", "evaluate"))
    page.add_init_script(columns(ui.experiment, "`valid/rmse`", "`test/rmse`"))
    page.goto(f"{ui.address}/#/experiments/{ui.experiment}/runs")
    table = page.get_by_role("grid")
    trials = table.get_by_text(re.compile(r"^((sklearn|neural_network)/)?\w+ · rmse [\d.,]+$"))
    # Steps and trials are below their parents, and seen when these are opened.
    expect(table.get_by_text(pipeline.info.run_name)).to_be_visible()
    expect(table.get_by_text(train.info.run_name)).to_have_count(0)
    opened(table, pipeline)
    expect(table.get_by_text(evaluate.info.run_name)).to_be_visible()
    expect(trials).to_have_count(0)
    opened(table, train)
    expect(trials.first).to_be_visible()
    if len(ui.trials()) <= 4:  # the table makes lines that are out of sight when they are needed
        expect(trials).to_have_count(len(ui.trials()))
    # Scores and parameters stand beside the names.
    for name in ("valid/rmse", "test/rmse"):
        score = table.get_by_role("gridcell", name=str(train.data.metrics[name]), exact=True)
        expect(score.first).to_be_visible()
    family = ui.trials()[-1].data.params["family"]
    expect(table.get_by_role("gridcell", name=family, exact=True).first).to_be_visible()
    # What the experiment holds is told above the table.
    expect(page.get_by_text("Models that predict")).to_be_visible()
    screenshot(page, "mlflow-runs")


def test_trials_of_a_family_are_compared_by_their_hyperparameters(ui: Shown, page: Page):
    searches = defaultdict(list)
    for run in ui.clone.runs():
        if run.info.experiment_id == ui.experiment and run.data.tags[STEP] == "trial":
            searches[run.data.tags["mlflow.parentRunId"], run.data.params["family"]].append(run)
    runs = max(searches.values(), key=len)
    named = quote(json.dumps([run.info.run_id for run in runs]))
    page.goto(
        f"{ui.address}/#/compare-runs?runs={named}&experiments={quote(json.dumps([ui.experiment]))}"
    )
    expect(page.get_by_text(f"Comparing {len(runs)} Runs from 1 Experiment")).to_be_visible(
        timeout=PATIENCE
    )
    axes = page.locator(".parcoords .axis-title")
    # All trials of a family have the same hyperparameters: each is an axis, beside the score.
    varied = {
        name
        for name in runs[0].data.params
        if len({run.data.params[name] for run in runs}) > 1 and name != "trial"
    }
    assert varied
    assert all(varied <= set(run.data.params) for run in runs)
    expect(axes.last).to_have_text("valid/rmse")
    told = {text.strip() for text in axes.all_text_contents()}
    assert told & varied, "an axis is a hyperparameter that differs"
    screenshot(page, "mlflow-compare")
    page.get_by_role("tab", name="Scatter Plot").click()
    chosen = "learning_rate" if "learning_rate" in varied else sorted(varied)[0]
    for place, name in enumerate((chosen, "valid/rmse")):
        page.get_by_role("combobox").nth(place).click()
        page.get_by_role("option", name=name, exact=True).click()
    expect(page.locator(".xtitle")).to_have_text(chosen)
    expect(page.locator(".ytitle")).to_have_text("valid/rmse")
    drawn = page.locator(".js-plotly-plot:visible").evaluate(
        "plot => plot.data.flatMap(trace => [...trace.y]).map(Number)"
    )
    assert sorted(drawn) == pytest.approx(sorted(run.data.metrics["valid/rmse"] for run in runs))
    screenshot(page, "mlflow-scatter")


def test_the_page_of_a_leaders_run_says_how_good_it_is(ui: Shown, page: Page):
    train = ui.last("train")
    page.goto(ui.run(train))
    score = f"{train.data.metrics['test/rmse']:.4f}"
    low, high = (f"{train.data.metrics[f'test/rmse_{end}']:.4f}" for end in ("low", "high"))
    expect(page.get_by_text(f"On the test rows: rmse {score} [{low}, {high}]")).to_be_visible(
        timeout=PATIENCE
    )
    screenshot(page, "mlflow-leader")


def test_figures_and_the_table_of_trials_are_shown(ui: Shown, page: Page):
    train = ui.last("train")
    page.goto(ui.run(train, "/artifacts"))
    page.get_by_text("figures", exact=True).click()
    page.get_by_text("search.svg", exact=True).click()
    picture = page.get_by_role("img", name="figures/search.svg")
    expect(picture).to_be_visible()
    page.wait_for_function("image => image.naturalWidth > 0", arg=picture.element_handle())
    # Its colours are properties that a page may set; without one they are those of the project.
    assert {"#0072b2", "#1c2024", "#ffffff"} <= set(picture.evaluate(COLOURS))
    page.get_by_text("trials.csv", exact=True).click()
    best = min(ui.trials(), key=lambda run: run.data.metrics["valid/rmse"])
    for name in ("trial", "family", "valid/rmse", f"{best.data.metrics['valid/rmse']:.7g}"):
        expect(page.get_by_text(name, exact=True).first).to_be_visible()


def test_the_registry_says_what_a_model_is_and_which_version_serves(ui: Shown, page: Page):
    page.goto(f"{ui.address}/#/models/{NAME}")
    newest = ui.clone.client().get_registered_model(NAME).latest_versions[-1].version
    expect(page.get_by_role("link", name=f"Version {newest}")).to_be_visible()
    expect(page.get_by_text("@ champion")).to_be_visible()
    expect(page.get_by_text("The version that serves has the alias champion")).to_be_visible()
    page.get_by_text("Tags", exact=True).first.click()
    page.get_by_role("heading", name=NAME).scroll_into_view_if_needed()
    screenshot(page, "mlflow-registry")


def test_the_data_of_a_run_are_shown_by_their_dvc_address(ui: Shown, page: Page):
    run = ui.last("prepare")
    data = run.inputs.dataset_inputs[0].dataset
    uri = json.loads(data.source)["url"]
    version = run.data.tags["ratchet.data_version"]
    commit = ui.clone.run("git", "rev-parse", "HEAD").strip()
    origin = ui.clone.run("git", "config", "--get", "remote.origin.url").strip()
    assert uri == f"dvc://{origin}@{commit}/data?md5={version}"
    page.goto(ui.run(run))
    page.get_by_text(data.name).first.click()
    expect(page.get_by_text(uri)).to_be_visible()
