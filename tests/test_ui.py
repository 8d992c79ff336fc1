"""What a person finds who opens the MLflow UI on the runs, in a real browser."""

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Clone
from mlflow.entities import Run
from playwright.sync_api import Locator, Page, expect, sync_playwright

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
# MLflow opens its assistant over the table at the first visit.
NO_ASSISTANT = """
localStorage.setItem("mlflow.assistant.fab.autoOpenedOnFirstLoad_v1", "true");
localStorage.setItem("mlflow.assistant.panelOpen_v1", "false");
"""
# In milliseconds; a busy machine takes its time to draw the first page.
PATIENCE = 90_000


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    """A page of a headless browser, which fails the test when a script of the page does."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed: `apt-get install chromium`, as .ci/run does")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=QUIET)
        page = browser.new_page(viewport={"width": 1400, "height": 760})
        page.set_default_timeout(PATIENCE)
        page.add_init_script(NO_ASSISTANT)
        yield page
        browser.close()


def columns(experiment: str, *metrics: str) -> str:
    """Choose columns as the menu of that name does: the browser keeps them."""
    chosen = [*(f"metrics.{name}" for name in metrics), "params.`family`"]
    state = json.dumps({"selectedColumns": chosen, "columnWidths": {}})
    key = json.dumps(f'MLflowLocalStorage-1.1-ExperimentPage-["{experiment}"]-ReactComponentState')
    return f"localStorage.getItem({key}) || localStorage.setItem({key}, {json.dumps(state)});"


def screenshot(page: Page, name: str) -> None:
    """Keep a picture where RATCHET_SCREENSHOTS says, if it says so."""
    folder = os.environ.get("RATCHET_SCREENSHOTS")
    if folder:
        page.screenshot(path=Path(folder) / f"{name}.png")


def opened(table: Locator, run: Run) -> None:
    """Click on what shows the runs below a run."""
    row = table.get_by_role("row").filter(has_text=run.info.run_name)
    row.get_by_role("button").first.click()


def test_the_run_table_nests_trials_and_compares_by_metrics(doors: dict[str, Clone], page: Page):
    clone = doors["python"]
    experiment = clone.client().get_experiment_by_name("green-taxi-duration").experiment_id
    pipeline, train, evaluate = (
        [
            run
            for run in clone.runs()
            if run.info.experiment_id == experiment and run.data.tags["ratchet.step"] == step
        ][-1]
        for step in ("main", "train", "evaluate")
    )
    page.add_init_script(columns(experiment, "`valid/rmse`", "`test/rmse`"))
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    command = ("mlflow", "server", "--backend-store-uri", clone.store, "--workers", "1")
    with clone.serve(*command, ready="/health") as address:
        page.goto(f"{address}/#/experiments/{experiment}/runs")
        table = page.get_by_role("grid")
        trials = table.get_by_text(re.compile(r"^(sklearn/\w+|xgboost) · rmse [\d.]+$"))
        # Steps and trials are below their parents, and seen when these are opened.
        expect(table.get_by_text(pipeline.info.run_name)).to_be_visible(timeout=PATIENCE)
        expect(table.get_by_text(train.info.run_name)).to_have_count(0)
        opened(table, pipeline)
        expect(table.get_by_text(evaluate.info.run_name)).to_be_visible()
        expect(trials).to_have_count(0)
        opened(table, train)
        expect(trials).to_have_count(4)
        # Scores and parameters stand beside the names.
        for name in ("valid/rmse", "test/rmse"):
            score = table.get_by_role("gridcell", name=str(train.data.metrics[name]), exact=True)
            expect(score.first).to_be_visible()
        # Of the four trials two are of this family: its portfolio has two settings.
        expect(table.get_by_role("gridcell", name="ridge", exact=True)).to_have_count(2)
        screenshot(page, "mlflow-runs")
    assert errors == []


def test_the_data_of_a_run_are_shown_by_their_dvc_address(doors: dict[str, Clone], page: Page):
    clone = doors["python"]
    run = clone.last("prepare")
    data = run.inputs.dataset_inputs[0].dataset
    uri = json.loads(data.source)["url"]
    version = run.data.tags["ratchet.data_version"]
    commit = clone.run("git", "rev-parse", "HEAD").strip()
    origin = clone.run("git", "config", "--get", "remote.origin.url").strip()
    assert uri == f"dvc://{origin}@{commit}/data?md5={version}"
    command = ("mlflow", "server", "--backend-store-uri", clone.store, "--workers", "1")
    with clone.serve(*command, ready="/health") as address:
        page.goto(f"{address}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}")
        page.get_by_text(data.name).first.click()
        expect(page.get_by_text(uri)).to_be_visible(timeout=PATIENCE)
