"""The workflows of GitHub Actions are sound, and what they run is what docs/ci.md says."""

import json
import os
import re
import subprocess
import sys
from importlib import util
from pathlib import Path

import pytest
import yaml
from conftest import ROOT, Clone

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
GUIDE = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
# What a step may ask of a workflow: anything else is a typing error, which GitHub refuses.
STEP_KEYS = {"name", "id", "if", "uses", "with", "run", "env", "shell", "working-directory"}
JOB_KEYS = {
    *("name", "needs", "if", "runs-on", "permissions", "timeout-minutes", "env", "steps"),
    *("concurrency", "defaults", "outputs", "strategy", "services", "container"),
}


def read(path: Path) -> dict:
    # In YAML 1.1 the key `on` is the truth value.
    loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {"on" if key is True else key: value for key, value in loaded.items()}


def steps(workflow: dict) -> list[dict]:
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


RETRAIN = read(ROOT / ".github" / "workflows" / "retrain.yml")


def step_named(text: str) -> dict:
    (found,) = (step for step in steps(RETRAIN) if text in step.get("name", ""))
    return found


def script() -> object:
    spec = util.spec_from_file_location("comment", ROOT / ".ci" / "comment.py")
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# Every workflow


def test_there_is_one_that_audits_one_that_retrains_and_one_that_tests():
    assert [path.stem for path in WORKFLOWS] == ["audit", "retrain", "test"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_has_only_keys_that_github_knows(path):
    workflow = read(path)
    assert set(workflow) == {"name", "on", "permissions", "concurrency", "jobs"}
    assert set(workflow["on"]) <= {"push", "pull_request", "schedule", "workflow_dispatch"}
    for name, job in workflow["jobs"].items():
        assert set(job) <= JOB_KEYS, name
        assert job["runs-on"] == "ubuntu-latest"
        for step in job["steps"]:
            assert set(step) <= STEP_KEYS
            assert ("run" in step) != ("uses" in step)
        assert set(job.get("needs", "").split()) <= set(workflow["jobs"])


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_actions_are_pinned_by_a_commit_and_say_which_version_that_is(path):
    used = re.findall(r"uses: (.*)", path.read_text(encoding="utf-8"))
    assert used
    for each in used:
        assert re.fullmatch(r"actions/[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", each), each


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_no_word_of_a_pull_request_gets_into_a_shell(path):
    for step in steps(read(path)):
        assert "${{" not in step.get("run", "")


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_no_token_is_left_in_a_checkout(path):
    for step in steps(read(path)):
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_shell_reads_every_script(path):
    for step in steps(read(path)):
        if "run" in step:
            subprocess.run(["bash", "-n", "-c", step["run"]], check=True)


def test_the_tests_run_as_everywhere():
    workflow = read(ROOT / ".github" / "workflows" / "test.yml")
    assert workflow["permissions"] == {"contents": "read"}
    assert [step["run"] for step in steps(workflow) if "run" in step] == [".ci/run"]
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111
    assert {"push", "pull_request"} <= set(workflow["on"])


# What retrains


def test_what_stages_depend_on_and_what_reads_it_start_a_training():
    watched = RETRAIN["on"]["pull_request"]["paths"]
    assert watched == RETRAIN["on"]["push"]["paths"]
    assert RETRAIN["on"]["push"]["branches"] == ["main"]
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"].values()
    first = {dep.split("/")[0] for stage in stages for dep in stage["deps"]} - {"build"}
    pattern = {"data": "data.dvc", "src": "src/**", "schema.json": "schema.json"}
    assert {pattern[name] for name in first} | {"params.yaml", "dvc.yaml", "uv.lock"} <= {*watched}
    for name in watched:
        assert list(ROOT.glob(name)), name


def test_only_the_job_that_runs_nothing_of_the_pull_request_may_write():
    assert RETRAIN["permissions"] == {}
    granted = {name: job["permissions"] for name, job in RETRAIN["jobs"].items()}
    assert granted == {"retrain": {"contents": "read"}, "comment": {"pull-requests": "write"}}
    writing = RETRAIN["jobs"]["comment"]
    assert not any("checkout" in step.get("uses", "") for step in writing["steps"])
    assert "secrets." not in json.dumps(writing)
    # A fork's token may not write at all.
    assert "head.repo.full_name == github.repository" in writing["if"]


def test_only_main_decides_and_keeps_what_it_decided():
    for name, job in RETRAIN["jobs"].items():
        for step in job["steps"]:
            lines = step.get("run", "").splitlines()
            commands = {line.partition(" > ")[0] for line in lines}
            decides = {"dvc repro --pull", "python src promote", "python src retrain"} & commands
            if decides or "cache/save" in step.get("uses", ""):
                assert "github.ref == 'refs/heads/main'" in step["if"], (name, step)


def test_every_night_it_looks_whether_a_training_is_due():
    [clock] = RETRAIN["on"]["schedule"]
    minute, hour, *every_day = clock["cron"].split()
    assert every_day == ["*", "*", "*"]
    assert 0 < int(minute) < 60
    assert 0 <= int(hour) < 24
    by_clock = [
        step for step in steps(RETRAIN) if "github.event_name == 'schedule'" in step.get("if", "")
    ]
    [step] = by_clock
    assert "python src retrain > build/retrained.txt" in step["run"].splitlines()
    # Where nothing was due there is nothing to report; on a push the whole pipeline runs as ever.
    for name in ("Write the report", "Say what was found"):
        assert step_named(name)["if"] == "hashFiles('build/evaluate/metrics.json') != ''"
    decides = [step for step in steps(RETRAIN) if "dvc repro --pull\n" in step.get("run", "")]
    assert [each["if"].partition(" && ")[2] for each in decides] == [
        "github.event_name != 'schedule'"
    ]


def test_what_it_runs_is_what_the_guide_says():
    told = [line.split("  #")[0].strip() for line in GUIDE.splitlines()]
    for step in steps(RETRAIN):
        for line in step.get("run", "").splitlines():
            if re.match(r"(make|dvc|python) ", line):
                assert line in told, f"docs/ci.md does not have: {line}"


def test_the_example_for_gitlab_has_the_same_commands():
    [block] = re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)
    lines = yaml.safe_load(block)["retrain"]["script"]
    asked = step_named("what each gate")["run"] + step_named("Write the report")["run"]
    assert [line for line in lines if re.match(r"(dvc|python) ", line)] == asked.splitlines()
    assert lines[-1].endswith("|| python src promote")


# The comment


def test_the_first_report_is_a_new_comment_and_the_next_one_replaces_it(tmp_path):
    asked = tmp_path / "asked"
    (tmp_path / "gh").write_text(
        "#!/bin/bash\n"
        f'printf "%s\\n" "$*" >> {asked}\n'
        f'case "$*" in *--jq*) cat {tmp_path / "ids"} ;; esac\n'
    )
    (tmp_path / "gh").chmod(0o755)
    run = step_named("comment, or write it anew")["run"]
    environment = {
        "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
        "GITHUB_REPOSITORY": "ada/taxi",
        "PULL_REQUEST": "7",
    }
    told = []
    for ids in ("", "31\n32\n"):
        (tmp_path / "ids").write_text(ids)
        asked.unlink(missing_ok=True)
        subprocess.run(["bash", "-e", "-c", run], env=environment, check=True, cwd=tmp_path)
        told.append(asked.read_text().splitlines())
    looked = "api --paginate repos/ada/taxi/issues/7/comments --jq .[] | select("
    assert all(lines[0].startswith(looked) and script().MARK in lines[0] for lines in told)
    assert [lines[1] for lines in told] == [
        "api --silent --method POST repos/ada/taxi/issues/7/comments --field body=@comment.md",
        "api --silent --method PATCH repos/ada/taxi/issues/comments/31 --field body=@comment.md",
    ]


def test_a_comment_has_its_mark_the_report_the_gates_and_where_it_comes_from():
    told = script().comment(
        "# A report\n\nIt won.\n", "gate  passed  \na     yes     \n", "c0ffee1234", "https://ci/7"
    )
    assert told == (
        "<!-- ratchet report -->\n# A report\n\nIt won.\n\n"
        "<details>\n<summary>What each gate would say, were it to be promoted now</summary>\n\n"
        "```text\ngate  passed\na     yes\n```\n\n</details>\n"
        "\n<sub>commit c0ffee1 · [the run with its files](https://ci/7)</sub>\n"
    )


def test_a_comment_without_gates_and_origin_is_the_report():
    assert script().comment("# A report\n") == "<!-- ratchet report -->\n# A report\n"


def test_gates_can_not_leave_their_block():
    told = script().comment("x", "```\n@everyone")
    assert told.count("```") == 2


@pytest.mark.parametrize(
    ("line", "closed"),
    [("| a | b |", ""), ("```text\nx", "```"), ("<details>\n\nx", "</details>")],
)
def test_a_report_that_is_too_long_is_cut_at_a_line_and_what_is_open_is_closed(line, closed):
    report = f"# A report\n{line}\n" + "words and more words\n" * 8000 + closed
    told = script().comment(report, "gate\n" * 5000, "c0ffee1234", "https://ci/7")
    assert 60_000 < len(told) <= 65_000
    assert "\n…\n```" in told
    cut, _, rest = told.partition(" more lines are in report.md, among the files of the run.*")
    kept = cut.count("words and more words\n")
    assert int(cut.rpartition("*")[2].replace(",", "")) == 8000 - kept + bool(closed)
    assert rest.endswith("<sub>commit c0ffee1 · [the run with its files](https://ci/7)</sub>\n")
    assert told.count("<details>") == told.count("</details>")
    assert sum(each.startswith("```") for each in told.splitlines()) % 2 == 0


def test_the_script_reads_what_the_ci_system_says_of_itself(tmp_path):
    (tmp_path / "report.md").write_text("# A report\n")
    github = {
        "GITHUB_RUN_ID": "99",
        "GITHUB_SERVER_URL": "https://github.com",
        "GITHUB_REPOSITORY": "ada/taxi",
        "GITHUB_SHA": "merge00",
        "COMMIT": "c0ffee1234",
    }
    gitlab = {"CI_COMMIT_SHA": "c0ffee1234", "CI_JOB_URL": "https://gitlab/jobs/5"}
    for given, address in (
        (github, "https://github.com/ada/taxi/actions/runs/99"),
        (gitlab, "https://gitlab/jobs/5"),
    ):
        told = subprocess.run(
            [sys.executable, str(ROOT / ".ci" / "comment.py"), str(tmp_path / "report.md")],
            env={"PATH": os.environ["PATH"], **given},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        assert told.endswith(f"<sub>commit c0ffee1 · [the run with its files]({address})</sub>\n")


# As it runs


def versions(clone: Clone) -> list[tuple[str, str]]:
    found = clone.client().search_model_versions()
    return [(each.version, each.current_stage) for each in found]


@pytest.mark.slow
@pytest.mark.xdist_group("clones")
def test_a_pull_request_gets_its_report_and_changes_no_champion(
    doors: dict[str, Clone], tmp_path: Path
):
    clone = doors["dvc"]
    before = versions(clone), len(clone.runs())
    summary = tmp_path / "summary.md"
    environment = {
        "GITHUB_STEP_SUMMARY": str(summary),
        "GITHUB_REPOSITORY": "ada/taxi",
        "HEAD_REPOSITORY": "eve/taxi",
        "COMMIT": "c0ffee1234",
        **{
            name: str(value)
            for name, value in RETRAIN["jobs"]["retrain"]["env"].items()
            if "${{" not in str(value)
        },
    }
    for step in RETRAIN["jobs"]["retrain"]["steps"]:
        on_main = "github.ref == 'refs/heads/main'" in step.get("if", "")
        if "run" in step and step["name"] != "Install" and not on_main:
            clone.run("bash", "-e", "-c", step["run"], **environment)
    comment = (clone.root / "build" / "comment.md").read_text(encoding="utf-8")
    assert comment.startswith("<!-- ratchet report -->\n# ")
    # Other tests try other models in this clone, so that the last evaluation may be of another.
    told = json.loads((clone.root / "build" / "evaluate" / "metrics.json").read_text())
    assert f"{told['test/rmse']:.4f}" in comment
    assert "better_than_baseline" in comment.partition("What each gate would say")[2]
    told = summary.read_text(encoding="utf-8")
    assert told.startswith("The pull request comes from a fork")
    assert "The secret MLFLOW_TRACKING_URI names a store that stays." in told
    assert told.endswith(comment)
    assert (versions(clone), len(clone.runs())) == before
