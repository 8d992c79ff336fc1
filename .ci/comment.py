"""Turns a report into the comment of a pull request: `python .ci/comment.py REPORT [GATES]`.

REPORT is what `python src report --md` prints, GATES what `python src promote --dry-run` does. The
comment goes to the standard output. Nothing has to be installed.
"""

import os
import sys
from pathlib import Path

MARK = "<!-- ratchet report -->"
"""First line, by which the comment of an earlier push is found and written anew."""
# GitHub refuses comments of more than 65,536 characters.
MOST = 65_000
# Of what the gates said; a few lines a gate.
MOST_GATES = 10_000


def comment(report: str, gates: str = "", commit: str = "", run: str = "") -> str:
    """Put a comment together.

    Parameters
    ----------
    report : str
        The report, in Markdown; its end is cut off where the comment would get too long.
    gates : str
        What each gate would say, as a table of plain text; empty for none.
    commit : str
        The commit that was trained; empty where it isn't known.
    run : str
        Address of the page with the report as a file; empty for none.
    """
    tail = _gates(gates) + _origin(commit, run)
    return f"{MARK}\n{_cut(report.strip(), MOST - len(MARK) - len(tail) - 2)}\n{tail}"


def _gates(told: str) -> str:
    if not told.strip():
        return ""
    lines = "\n"
    told = "\n".join(line.rstrip() for line in told.rstrip().splitlines()).replace("```", "'''")
    if len(told) > MOST_GATES:
        told, lines = told[:MOST_GATES], "\n…\n"
    summary = "What each gate would say, were it to be promoted now"
    return f"\n<details>\n<summary>{summary}</summary>\n\n```text\n{told}{lines}```\n\n</details>\n"


def _origin(commit: str, run: str) -> str:
    parts = [f"commit {commit[:7]}" if commit else "", f"[the run with its files]({run})"]
    told = " · ".join(parts if run else parts[:1]).strip(" ·")
    return f"\n<sub>{told}</sub>\n" if told else ""


def _cut(report: str, most: int) -> str:
    """Leave out the end of a report that is too long, at the end of a line."""
    if len(report) <= most:
        return report
    # What closes a block, and the words below it.
    kept = report[: most - 400].rpartition("\n")[0]
    left_out = report.count("\n") - kept.count("\n")
    if sum(line.startswith("```") for line in kept.splitlines()) % 2:
        kept += "\n```"
    kept += "\n</details>" * (kept.count("<details>") - kept.count("</details>"))
    return f"{kept}\n\n*{left_out:,} more lines are in report.md, among the files of the run.*"


def main() -> None:
    """Read the files that are named, and what the CI system says of itself."""
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    texts = [Path(name).read_text(encoding="utf-8") for name in sys.argv[1:]]
    given = os.environ
    run = ""
    if "GITHUB_RUN_ID" in given:
        place = f"{given['GITHUB_SERVER_URL']}/{given['GITHUB_REPOSITORY']}"
        run = f"{place}/actions/runs/{given['GITHUB_RUN_ID']}"
    commit = given.get("COMMIT") or given.get("GITHUB_SHA") or given.get("CI_COMMIT_SHA") or ""
    sys.stdout.write(comment(*texts, commit=commit, run=run or given.get("CI_JOB_URL", "")))


if __name__ == "__main__":
    main()
