"""Arguments in, one step or command run, exit code out."""

import logging
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ratchet.errors import InterruptionError, RatchetError
from ratchet.masking import harmless

if TYPE_CHECKING:
    from rich.console import Console

    from ratchet.commands.checks import Checked
    from ratchet.commands.doctor import Diagnosis
    from ratchet.commands.export import Exported
    from ratchet.commands.history import History
    from ratchet.commands.init import Made, Plan
    from ratchet.commands.outcome import Outcome
    from ratchet.commands.predict import Scored
    from ratchet.commands.reproduce import Reproduction
    from ratchet.commands.signing import NewKey, Signed, Verdict
    from ratchet.commands.status import Status, Tried
    from ratchet.drift import DriftReport, LiveScore
    from ratchet.progress import SearchProgress
    from ratchet.project import Project
    from ratchet.registry.webhooks import Webhook
    from ratchet.steps.promote import Decision


class Exit(IntEnum):
    """What the exit code says."""

    DONE = 0
    NO = 1
    MISTAKE = 2
    INTERRUPTED = 130


app = typer.Typer(
    help="Take a versioned table to a registered champion that only moves forward, on evidence.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

webhooks_app = typer.Typer(
    help="Have the MLflow server tell an address of decisions.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(webhooks_app, name="webhooks")

ParamsOption = Annotated[
    Path, typer.Option("--params", help="Parameter file.", metavar="FILE", show_default=True)
]
SetOption = Annotated[
    list[str],
    typer.Option(
        "--set",
        help="Override settings, such as 'train.search.max_trials=10 seed=3'; repeatable.",
        metavar="NAME=VALUE",
    ),
]
_VERSION_HELP = "NUMBER, NAME/NUMBER or NAME@ALIAS; the champion if left out."
VersionOption = Annotated[
    str | None,
    typer.Option(
        help=_VERSION_HELP,
        metavar="REFERENCE",
        show_default=False,
    ),
]
ModelArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="MODEL",
        help=_VERSION_HELP,
        show_default=False,
    ),
]
QuietOption = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print warnings, errors and one line at the end.")
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON object on stdout; the rest goes to stderr.")
]
WebhookArgument = Annotated[
    str, typer.Argument(help="Id of the webhook, or how it begins.", metavar="ID")
]
DEFAULT_PARAMS = Path("params.yaml")
SAMPLE_MONTHS = ["2023-01", "2023-02"]
MOST_COLUMNS = 20
"""Columns that monitor prints; drift.json has all of them."""


@app.command()
def prepare(
    params: ParamsOption = DEFAULT_PARAMS,
    set_: SetOption = [],
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> None:
    """Read, check, filter and split the table."""
    project = _project(params, set_)
    with _watched(project, "prepare", quiet=quiet, json=json) as progress:
        from ratchet.steps import prepare as step

        step.run(project, progress.on_phase)
    _tell(project, "prepare", quiet=quiet, json=json)


@app.command()
def train(
    params: ParamsOption = DEFAULT_PARAMS,
    set_: SetOption = [],
    replay: Annotated[
        Path | None,
        typer.Option(
            help="Make the search of this search.json again, whatever the clock says.",
            metavar="FILE",
        ),
    ] = None,
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> None:
    """Search for the best model on the prepared rows."""
    project = _project(params, set_)
    trials = None
    if replay is not None:
        from ratchet.course import Record

        trials = len(Record.load(replay).course.trials)
    with _watched(project, "train", quiet=quiet, json=json, trials=trials) as progress:
        from ratchet.steps import train as step

        progress.on_step("train")  # its budget begins after the seconds that the import took
        step.run(
            project,
            progress.on_trial,
            progress.on_phase,
            on_start=progress.on_start,
            replay=replay,
        )
    _tell(project, "train", quiet=quiet, json=json)


@app.command()
def evaluate(
    params: ParamsOption = DEFAULT_PARAMS,
    set_: SetOption = [],
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> None:
    """Judge the leader on the test rows."""
    project = _project(params, set_)
    with _watched(project, "evaluate", quiet=quiet, json=json) as progress:
        from ratchet.steps import evaluate as step

        step.run(project, progress.on_phase)
    _tell(project, "evaluate", quiet=quiet, json=json)


@app.command()
def promote(
    params: ParamsOption = DEFAULT_PARAMS,
    set_: SetOption = [],
    run: Annotated[
        str | None,
        typer.Option("--run", help="Run whose model is put forward, not the leader.", metavar="ID"),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Judge and say so; change and record nothing.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Promote against the gates; needs --reason.")
    ] = False,
    reason: Annotated[str, typer.Option(help="Why, for the ledger.", metavar="TEXT")] = "",
    strict: Annotated[bool, typer.Option(help="Exit with 1 when nothing was promoted.")] = False,
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> None:
    """Make the leader the champion if every gate passes."""
    project = _project(params, set_)
    if force and not reason.strip():
        raise RatchetError("--force needs a reason for the ledger: --reason 'why it must be'.")
    with _watched(project, "promote", quiet=quiet, json=json) as progress:
        from ratchet.steps import promote as step

        decision = step.run(
            project,
            run_id=run,
            dry_run=dry_run,
            force=force,
            reason=reason,
            on_phase=progress.on_phase,
        )
    _tell(project, "promote", decision, quiet=quiet, json=json, table=dry_run)
    if strict and not decision.promoted:
        raise typer.Exit(Exit.NO)


@app.command()
def monitor(
    data: Annotated[
        Path, typer.Option("--data", help="New rows: a parquet or CSV file, or a folder of them.")
    ],
    params: ParamsOption = DEFAULT_PARAMS,
    set_: SetOption = [],
    labels: Annotated[
        bool | None,
        typer.Option(
            "--labels/--no-labels",
            help="Whether the rows have labels to score the model by; found out if left out.",
            show_default=False,
        ),
    ] = None,
    version: VersionOption = None,
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> None:
    """Hold new rows against those that the champion learned from; exit with 1 at drift."""
    project = _project(params, set_)
    with _watched(project, "monitor", quiet=quiet, json=json) as progress:
        from ratchet.steps import monitor as step

        found = step.run(
            project,
            data,
            labels=labels,
            # `mlflow run` hands an empty one over when there is none.
            reference=version or None,
            on_phase=progress.on_phase,
        )
    if json:
        typer.echo(_json(found.plain()))
    elif quiet:
        typer.echo(harmless(_drift_in_a_line(found)))
    else:
        _show_drift(project, found)
    if found.verdict == "drift":
        raise typer.Exit(Exit.NO)


@app.command()
def history(
    params: ParamsOption = DEFAULT_PARAMS,
    at: Annotated[
        str | None,
        typer.Option(help="Say what served then: a day (its end) or a moment.", metavar="ISO-8601"),
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Check every line; exit with 1 at a fault.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """Show every decision on the champion: who, when, from, to and why."""
    project = _project(params, [])
    from ratchet.commands import history as command

    found = command.read(project, at=at, verify=verify)
    if json:
        typer.echo(_json(found.plain()))
    else:
        _show_history(found)
    if found.faults:
        raise typer.Exit(Exit.NO)


@app.command()
def rollback(
    reason: Annotated[str, typer.Option(help="What went wrong, for the ledger.", metavar="TEXT")],
    params: ParamsOption = DEFAULT_PARAMS,
    to: Annotated[
        int | None, typer.Option(help="Version to go to; the champion before this one if left out.")
    ] = None,
) -> None:
    """Bring an earlier champion back."""
    project = _project(params, [])
    from ratchet.commands import rollback as command

    command.run(project, reason=reason, to=to)


@app.command()
def run(
    params: ParamsOption = DEFAULT_PARAMS,
    set_: SetOption = [],
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> None:
    """Run prepare, train, evaluate and promote, and show what came out."""
    project = _project(params, set_)
    with _watched(project, "run", quiet=quiet, json=json) as progress:
        from ratchet.commands import pipeline

        decision = pipeline.run(
            project,
            progress.on_trial,
            progress.on_phase,
            on_step=progress.on_step,
            on_start=progress.on_start,
        )
    _tell(project, "run", decision, quiet=quiet, json=json)


@app.command()
def retrain(
    params: ParamsOption = DEFAULT_PARAMS,
    set_: SetOption = [],
    data: Annotated[
        Path | None,
        typer.Option(
            help="New data, a file or a folder of files, to copy into data.source.", metavar="PATH"
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say whether it is due; change and record nothing.")
    ] = False,
    force_due: Annotated[
        str, typer.Option(help="Train whatever the rules say, and say why.", metavar="REASON")
    ] = "",
    commit: Annotated[
        bool, typer.Option("--commit", help="Commit the pointer of the data, and dvc.lock, to git.")
    ] = False,
    strict: Annotated[
        bool, typer.Option(help="Exit with 1 when it is due and nothing was promoted.")
    ] = False,
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> None:
    """Take in new data, train if that is due, and put the result forward."""
    project = _project(params, set_)
    with _watched(project, "retrain", quiet=quiet, json=json) as progress:
        from ratchet.commands import retrain as command

        found = command.run(
            project,
            given=data,
            force_due=force_due,
            dry_run=dry_run,
            commit=commit,
            on_trial=progress.on_trial,
            on_phase=progress.on_phase,
            on_step=progress.on_step,
            on_start=progress.on_start,
        )
    typer.echo(_json(found.plain()) if json else harmless(found.told))
    if strict and found.is_no:
        raise typer.Exit(Exit.NO)


@app.command()
def predict(
    data: Annotated[
        Path | None,
        typer.Option(help="The rows: a parquet or CSV file, or a folder of them.", metavar="PATH"),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="File to write, ending in .parquet, .csv or .csv.gz; or a folder, of a file for"
            " each of the input.",
            metavar="PATH",
        ),
    ] = None,
    version: VersionOption = None,
    id_: Annotated[
        str | None,
        typer.Option("--id", help="Column that tells rows apart; else their number in the file."),
    ] = None,
    only_answers: Annotated[
        bool, typer.Option("--only-answers", help="Leave the input's columns out, but for --id.")
    ] = False,
    prefix: Annotated[
        str, typer.Option(help="What the names of the new columns begin with.", metavar="TEXT")
    ] = "",
    confidence: Annotated[
        float | None,
        typer.Option(help="Of the intervals of a regression; evaluate.confidence if left out."),
    ] = None,
    rows_at_once: Annotated[
        int | None, typer.Option(help="Rows in memory; by the number of columns.", min=1)
    ] = None,
    no_checks: Annotated[
        bool, typer.Option("--no-checks", help="Don't ask the rules of data.checks.")
    ] = False,
    strict_data: Annotated[
        bool,
        typer.Option("--strict-data", help="Write nothing if rows break a rule that must hold."),
    ] = False,
    no_record: Annotated[
        bool, typer.Option("--no-record", help="Make no run of it in MLflow.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the output, and go on with no earlier call.")
    ] = False,
    params: ParamsOption = DEFAULT_PARAMS,
    set_: SetOption = [],
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> None:
    """Answer every row of a table of any size; interrupted, the same command goes on."""
    if data is None or out is None:
        raise RatchetError("Say what is read and written: --data IN --out OUT.")
    if confidence is not None and not 0 < confidence < 1:
        raise RatchetError(
            f"--confidence must lie between 0 and 1, such as 0.95; got {confidence:g}."
        )
    if strict_data and no_checks:
        raise RatchetError("--strict-data asks the rules that --no-checks leaves out. Choose one.")
    project = _project(params, set_)
    from ratchet import terminal
    from ratchet.progress import RowsProgress

    _hush(quiet)
    with ExitStack() as stack:
        stack.enter_context(terminal.nothing_on_stdout())
        progress = stack.enter_context(
            RowsProgress(terminal.console(stderr=True), "predict", quiet=quiet)
        )
        from ratchet.commands import predict as command

        found = command.run(
            project,
            command.Request(
                data=data,
                out=out,
                version=version,
                id=id_,
                only_answers=only_answers,
                prefix=prefix,
                confidence=confidence,
                rows_at_once=rows_at_once,
                checks=not no_checks,
                strict=strict_data,
                force=force,
                record=not no_record,
            ),
            progress.on_rows,
        )
    _print(found, quiet=quiet, json=json)


@app.command()
def export(
    reference: ModelArgument = None,
    to: Annotated[
        Path, typer.Option(help="File to write, ending in .onnx.", metavar="FILE")
    ] = Path("model.onnx"),
    params: ParamsOption = DEFAULT_PARAMS,
    set_: SetOption = [],
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> None:
    """Write a model as an ONNX file, after both have answered the same rows alike."""
    project = _project(params, set_)
    from ratchet import terminal

    _hush(quiet)
    with terminal.nothing_on_stdout():
        from ratchet.commands import export as command

        found = command.run(project, reference, to)
    _print(found, quiet=quiet, json=json)


@app.command()
def keygen(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="Where the private key goes; FILE.pub gets the public one."
        ),
    ],
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> None:
    """Make a key to sign versions with; RATCHET_SIGNING_PASSPHRASE encrypts it."""
    _hush(quiet)
    from ratchet.commands import signing

    _print(signing.make_key(file), quiet=quiet, json=json)


@app.command()
def sign(
    reference: ModelArgument = None,
    key: Annotated[
        Path | None,
        typer.Option(
            help="Private key; RATCHET_SIGNING_KEY or registry.signing_key if left out.",
            metavar="FILE",
            show_default=False,
        ),
    ] = None,
    params: ParamsOption = DEFAULT_PARAMS,
    set_: SetOption = [],
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> None:
    """Sign a version: its files, its name and its number."""
    project = _project(params, set_)
    _hush(quiet)
    from ratchet.commands import signing

    _print(signing.sign(project, reference, key), quiet=quiet, json=json)


@app.command()
def verify(
    reference: ModelArgument = None,
    params: ParamsOption = DEFAULT_PARAMS,
    set_: SetOption = [],
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> None:
    """Say whether a version's files are those that were promoted and signed; exit with 1 if not."""
    project = _project(params, set_)
    _hush(quiet)
    from ratchet.commands import signing

    found = signing.verify(project, reference)
    _print(found, quiet=not json, json=json)
    if not found.is_good:
        raise typer.Exit(Exit.NO)


@app.command(name="status")
def status_(
    params: ParamsOption = DEFAULT_PARAMS,
    json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """Show what the last run tried, what won, and whether it was promoted."""
    project = _project(params, [])
    from ratchet.commands import status

    found = status.read(project)
    if json:
        typer.echo(status.as_json(found))
    else:
        _show(found)


@app.command()
def doctor(
    params: ParamsOption = DEFAULT_PARAMS,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 at a warning too.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """Look for what this machine can spring on the project, and say what mends it."""
    from ratchet.commands import doctor as command

    found = command.run(params)
    if json:
        typer.echo(_json(found.plain()))
    else:
        _show_diagnosis(found)
    if not found.healthy(strict=strict):
        raise typer.Exit(Exit.NO)


@app.command()
def reproduce(
    reference: Annotated[
        str, typer.Argument(help="RUN_ID, NAME/VERSION or NAME@ALIAS.", metavar="MODEL")
    ],
    params: ParamsOption = DEFAULT_PARAMS,
    tolerance: Annotated[
        float, typer.Option(help="Relative difference that is still the same.", metavar="SHARE")
    ] = 1e-4,
    keep: Annotated[
        Path | None,
        typer.Option(help="Work in this new folder, and leave it.", metavar="DIR"),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """Make a model again from its record, and say whether it is the same."""
    project = _project(params, [])
    from ratchet.commands import reproduce as command

    found = command.run(project, reference, tolerance=tolerance, keep=keep)
    if json:
        typer.echo(_json(found.plain()))
    else:
        _show_reproduction(found)
    if found.answer is command.Answer.DIFFERENT:
        raise typer.Exit(Exit.NO)


@app.command()
def compare(
    a: Annotated[
        str, typer.Argument(metavar="A", help="RUN_ID, NAME/VERSION or NAME@ALIAS: the old one.")
    ],
    b: Annotated[str, typer.Argument(metavar="B", help="The same for the new one.")],
    params: ParamsOption = DEFAULT_PARAMS,
    set_: SetOption = [],
    html: Annotated[
        Path | None, typer.Option(help="Write a page to this file, too.", metavar="FILE")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """Show what changed between two runs or versions, what happened, and what to try next."""
    project = _project(params, set_)
    from ratchet import files
    from ratchet.commands import compare as command
    from ratchet.commands import page

    found = command.read(project, a, b)
    if html is not None:
        files.write_text(html, page.as_html(found))
    typer.echo(found.as_json() if json else page.markdown(found), nl=json)


@app.command()
def report(
    reference: Annotated[
        str | None,
        typer.Argument(
            metavar="RUN",
            help="RUN_ID, NAME/VERSION or NAME@ALIAS; the last leader if left out.",
            show_default=False,
        ),
    ] = None,
    params: ParamsOption = DEFAULT_PARAMS,
    out: Annotated[
        Path | None, typer.Option(help="Write the page to this file.", metavar="FILE")
    ] = None,
    md: Annotated[
        bool, typer.Option("--md", help="Print it as Markdown, for a pull request.")
    ] = False,
    no_open: Annotated[bool, typer.Option("--no-open", help="Open no browser.")] = False,
) -> None:
    """Show why a model won, how good it is and how it was made: a page to read offline."""
    project = _project(params, [])
    from ratchet.commands import report as command

    found = command.read(project, reference, out=out)
    if md:
        typer.echo(found.markdown, nl=False)
        return
    typer.echo(found.html)
    if not no_open and command.can_open():
        import webbrowser

        webbrowser.open(found.html.absolute().as_uri())


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="Folder of the new project.", metavar="DIR")] = (
        Path()
    ),
    data: Annotated[
        Path | None,
        typer.Option(help="The table: a parquet or CSV file, or a folder of them.", metavar="PATH"),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(help="Column to predict, or an expression over columns.", metavar="COLUMN"),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the task; the folder's if left out.")
    ] = None,
    problem: Annotated[
        str | None,
        typer.Option(help="binary, multiclass, regression or clustering; seen from the target."),
    ] = None,
    budget: Annotated[
        float | None, typer.Option(help="Seconds that a training may take.", metavar="SECONDS")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask before anything is made.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace what is there, and keep it in a backup.")
    ] = False,
    git: Annotated[bool, typer.Option("--git/--no-git", help="Keep the code in git.")] = True,
) -> None:
    """Make a project of a table: look at it, choose settings, record the data."""
    if data is None:
        raise RatchetError("Say where the table is: --data FILE, or a folder of files.")
    from ratchet.commands import init as command

    plan = command.plan(
        folder,
        data,
        target,
        name=name,
        problem=problem,
        budget=budget,
        git=git,
        force=force,
    )
    _show_plan(plan)
    if not yes and sys.stdin.isatty() and not typer.confirm("Make it?", default=True):
        raise typer.Exit(Exit.NO)
    _show_made(plan, command.make(plan))


@app.command()
def serve(
    params: ParamsOption = DEFAULT_PARAMS,
    set_: SetOption = [],
    version: Annotated[
        str | None,
        typer.Option(
            "--version",
            "-m",
            help=_VERSION_HELP,
            metavar="MODEL",
        ),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen at; others than this machine's own reach it.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.", min=0, max=65535)] = 5001,
    refresh: Annotated[
        float,
        typer.Option(help="Seconds between two looks at the alias.", min=0.1, max=60),
    ] = 10.0,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for a champion, and for the store.")
    ] = False,
    max_mb: Annotated[float, typer.Option(help="Longest request, in MiB.", min=0.001)] = 64.0,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print warnings and errors only.")
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object on stdout when it is ready.")
    ] = False,
) -> None:
    """Answer requests with the champion over HTTP, and with the next one when there is one."""
    project = _project(params, set_)
    _hush(quiet)
    from dataclasses import asdict

    from ratchet.commands import serve as command

    command.run(
        project,
        version,
        host=host,
        port=port,
        refresh=refresh,
        wait=wait,
        most_bytes=int(max_mb * 2**20),
        on_ready=lambda ready: typer.echo(_json(asdict(ready))) if json else None,
    )


@app.command()
def lock(params: ParamsOption = DEFAULT_PARAMS) -> None:
    """Bring conda.yaml up to date with the packages that are installed now."""
    project = _project(params, [])
    from ratchet.commands import scaffold

    listed = scaffold.lock(project.root, project.settings.name)
    typer.echo(f"conda.yaml lists {listed} packages as they are installed here.")


@app.command()
def schema() -> None:
    """Print the JSON schema of params.yaml, for editors."""
    from ratchet import settings

    typer.echo(settings.json_schema(), nl=False)


@app.command()
def checks(
    params: ParamsOption = DEFAULT_PARAMS,
    set_: SetOption = [],
    write: Annotated[
        bool, typer.Option("--write", help="Write rules that the table keeps, to be edited.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace rules that are there; keeps a backup.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """Check the table against its schema.json, or write one; exit with 1 if a rule is broken."""
    project = _project(params, set_)
    if force and not write:
        raise RatchetError("--force replaces rules, so it needs --write.")
    from ratchet.commands import checks as command

    if write:
        written = command.write(project, force=force)
        typer.echo(f"{written.path} has rules for {written.n_columns} columns.")
        for sentence in written.next:
            typer.echo(sentence)
        return
    found = command.run(project)
    if json:
        from dataclasses import asdict

        typer.echo(_json(asdict(found)))
    else:
        _show_checks(found)
    if found.report.failed:
        raise typer.Exit(Exit.NO)


@webhooks_app.command(name="add")
def webhooks_add(
    url: Annotated[str, typer.Argument(help="Address that the server posts to.", metavar="URL")],
    on: Annotated[
        list[str],
        typer.Option(
            "--on",
            help="promoted, refused, rolled_back or drift; repeatable, all if left out.",
            metavar="EVENT",
        ),
    ] = [],
    secret: Annotated[
        str | None,
        typer.Option(
            help="Variable of the environment with the key that messages are signed with.",
            metavar="NAME",
        ),
    ] = None,
    params: ParamsOption = DEFAULT_PARAMS,
    json: JsonOption = False,
) -> None:
    """Have the MLflow server tell an address of decisions on this model."""
    if secret is not None and not os.environ.get(secret):
        raise RatchetError(
            f"--secret names the variable {secret!r}, which is not set. Set it to the key first;"
            " it is a name, so that the key is in no list of processes."
        )
    from ratchet.settings import Event

    unknown = [name for name in on if name not in list(Event)]
    if unknown:
        raise RatchetError(f"--on must be one of {', '.join(Event)}, got {', '.join(unknown)}.")
    project = _connected(params)
    from ratchet.registry import webhooks

    made = webhooks.add(
        project.settings,
        url,
        [Event(name) for name in on] or list(Event),
        os.environ[secret] if secret else None,
    )
    _tell_webhooks([made], json=json)


@webhooks_app.command(name="list")
def webhooks_list(params: ParamsOption = DEFAULT_PARAMS, json: JsonOption = False) -> None:
    """List the webhooks of the MLflow server."""
    _connected(params)
    from ratchet.registry import webhooks

    _tell_webhooks(webhooks.listed(), json=json)


@webhooks_app.command(name="test")
def webhooks_test(
    webhook: WebhookArgument, params: ParamsOption = DEFAULT_PARAMS, json: JsonOption = False
) -> None:
    """Have the server send a webhook an example of each of its events; exit with 1 at a failure."""
    _connected(params)
    from dataclasses import asdict

    from ratchet.registry import webhooks

    answers = webhooks.test(webhook)
    if json:
        typer.echo(_json([asdict(each) for each in answers]))
    else:
        for each in answers:
            status = f" {each.status}" if each.status else ""
            took = "delivered" if each.delivered else "failed"
            typer.echo(f"{each.event}: {took}{status}{f': {each.told}' if each.told else ''}")
    if not all(each.delivered for each in answers):
        raise typer.Exit(Exit.NO)


@webhooks_app.command(name="remove")
def webhooks_remove(
    webhook: WebhookArgument, params: ParamsOption = DEFAULT_PARAMS, json: JsonOption = False
) -> None:
    """Have the server tell an address nothing any more."""
    _connected(params)
    from ratchet.registry import webhooks

    removed = webhooks.remove(webhook)
    if json:
        _tell_webhooks([removed], json=True)
    else:
        typer.echo(f"removed {removed.id}, which told {removed.url}")


@app.command()
def sample(
    out: Annotated[Path, typer.Option(help="Folder to write to.", metavar="DIR")] = Path("data"),
    month: Annotated[
        list[str], typer.Option(help="Month to simulate, as YYYY-MM; repeatable.")
    ] = SAMPLE_MONTHS,
    rows: Annotated[int, typer.Option(help="Trips a month.", min=1)] = 15_000,
    seed: Annotated[int, typer.Option(help="Seed of the simulation.", min=0)] = 0,
    drift: Annotated[
        float, typer.Option(help="How far demand, speeds and prices have moved; 0 is not at all.")
    ] = 0.0,
) -> None:
    """Simulate months of green-taxi trips in the schema of the NYC TLC."""
    from ratchet import taxi

    for path in taxi.write_months(out, month, rows=rows, seed=seed, drift=drift):
        typer.echo(path)


def main() -> None:
    """Run the command line; the only place that turns an error into a sentence."""
    if any(not _writes_utf(stream) for stream in (sys.stdout, sys.stderr)):
        from ratchet import terminal

        terminal.make_readable()
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[_Stderr()])
    logging.getLogger("ratchet").setLevel(logging.INFO)
    # Threads that wait for each other by spinning slow a fit down thirty times as soon as another
    # program wants a core. OpenMP reads this once, when the first library that uses it is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if not sys.warnoptions:
        # Libraries warn their developers; a user can do nothing about it.
        warnings.simplefilter("ignore")
        os.environ.setdefault("PYTHONWARNINGS", "ignore")
    from ratchet.interrupts import terminated_as_interrupt

    try:
        # From here on: the first process of a container ignores what it has no handler for.
        with terminated_as_interrupt():
            app(prog_name="ratchet")
    except InterruptionError as error:
        _say(str(error))
        raise SystemExit(Exit.INTERRUPTED) from None
    except SystemExit as end:
        # Typer turns Ctrl-C outside of a step's run into a silent exit.
        if end.code == Exit.INTERRUPTED:
            _say("Interrupted.")
        raise
    except RatchetError as error:
        _say(f"{type(error).__name__}: {error}")
        raise SystemExit(Exit.MISTAKE) from None
    except OSError as error:
        from ratchet import files

        if not files.is_full(error):
            raise
        _say(f"RatchetError: {files.no_room(error, Path.cwd())}")
        raise SystemExit(Exit.MISTAKE) from None


class _Stderr(logging.Handler):
    """Writes to what stderr is by then: a live view puts itself there, and draws below the line."""

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(OSError):  # nobody reads it any more
            sys.stderr.write(f"{harmless(self.format(record))}\n")


def _writes_utf(stream: object) -> bool:
    return str(getattr(stream, "encoding", "") or "utf-8").lower().startswith("utf")


def _say(text: str) -> None:
    print(harmless(text), file=sys.stderr)  # noqa: T201


def _project(params: Path, overrides: list[str]) -> "Project":
    from ratchet.project import Project

    project = Project.open(params, overrides)
    own = project.root / "src"
    # `python src` finds a project's own modules by itself; the installed program is told where
    # they are. A checkout that has this package in its src starts with `python src`.
    if (own / "__main__.py").is_file() and not (own / "ratchet").exists():
        sys.path[:] = [str(own), *(each for each in sys.path if each != str(own))]
    return project


def _connected(params: Path) -> "Project":
    """Open a project and its store."""
    project = _project(params, [])
    from ratchet import tracking

    tracking.connect(project)
    return project


def _hush(quiet: bool) -> None:
    """Leave out of the log what is no warning, if that was asked for."""
    if quiet:
        logging.getLogger("ratchet").setLevel(logging.WARNING)


@contextmanager
def _watched(
    project: "Project", step: str, *, quiet: bool, json: bool, trials: int | None = None
) -> Iterator["SearchProgress"]:
    """Show what a step does: live on a terminal, elsewhere by a line for each step forward."""
    from ratchet import terminal
    from ratchet.progress import SearchProgress

    _hush(quiet)
    with ExitStack() as stack:
        if quiet or json:
            stack.enter_context(terminal.nothing_on_stdout(told=json))
        shown = SearchProgress(
            project.settings, terminal.console(stderr=True), trials=trials, quiet=quiet
        )
        progress = stack.enter_context(shown)
        progress.on_step(step)
        yield progress


def _print(
    found: "Scored | Exported | NewKey | Signed | Verdict", *, quiet: bool, json: bool
) -> None:
    """Say what a command has made, to whoever doesn't read its log."""
    if json:
        from dataclasses import asdict

        typer.echo(_json(asdict(found)))
    elif quiet:
        typer.echo(harmless(found.line()))


def _tell(
    project: "Project",
    step: str,
    decision: "Decision | None" = None,
    *,
    quiet: bool,
    json: bool,
    table: bool = False,
) -> None:
    """Say how a step has ended; a table of its own is for who looks at a terminal."""
    from ratchet.commands import outcome, status

    if json:
        typer.echo(_json(outcome.of(project, step, decision).plain()))
    elif quiet:
        typer.echo(harmless(outcome.of(project, step, decision).line()))
    elif step == "run":
        _show(status.read(project))
    elif not (table or sys.stdout.isatty()):
        return
    elif decision is not None:
        _show_gates(decision)
    elif step != "prepare":
        _show_scores(outcome.of(project, step))


def _console(*, stderr: bool = False) -> "Console":
    from ratchet import terminal

    return terminal.console(stderr=stderr)


def _show(status: "Status") -> None:
    """Print the table that a run ends with."""
    from ratchet import terminal

    console = _console()
    console.print()
    _show_tried(status.tried, status.leader.metric)
    console.print()
    terminal.show_facts(console, list(_facts(status)), 10, commands=("look",))


def _show_tried(families: Sequence["Tried"], metric: str) -> None:
    """Print what was tried, the best family first."""
    from ratchet import terminal
    from ratchet.gates import decimals, shown

    console = _console()
    places = decimals(tried.best for tried in families)
    rows = [
        (
            tried.family,
            str(tried.trials),
            str(tried.failed),
            shown(tried.best, places),
            f"{tried.seconds:.1f}",
        )
        for tried in families
    ]
    console.print("What was tried", style="italic")
    headings = ("family", "trials", "failed", f"best valid/{metric}", "seconds")
    terminal.show_table(console, headings, rows, right=4)


def _show_scores(found: "Outcome") -> None:
    """Print what the step train or evaluate has found."""
    from ratchet import terminal
    from ratchet.gates import decimals, shown

    console = _console()
    console.print()
    if found.step == "train" and found.leader is not None:
        _show_tried(found.tried, found.leader.metric)
        console.print()
    rows = []
    for name, number in found.scores.items():
        if found.step == "evaluate" and not name.startswith("test"):
            continue
        told = (number.score, number.low, number.high, number.baseline)
        places = decimals(each for each in told if each is not None)
        score, low, high, baseline = ("" if each is None else shown(each, places) for each in told)
        rows.append((name, score, f"{low} to {high}" if low else "", baseline))
    terminal.show_table(console, ("score", "leader", "interval", "baseline"), rows, right=3)


def _json(value: object) -> str:
    import json

    from ratchet import terminal

    return json.dumps(value, indent=2, ensure_ascii=not terminal.takes_all_letters())


def _show_plan(plan: "Plan") -> None:
    """Print what was found in the table, and what follows from it."""
    from ratchet.survey.base import named

    survey = plan.survey
    meant = plan.draft.settings
    console = _console()
    console.print(f"[bold]{plan.title}[/bold]")
    split = f"{meant.split.method}{f' by {meant.split.column}' if meant.split.column else ''}"
    lines = [
        ("target", f"{meant.data.target}: {survey.because('data.target')}"),
        ("rows", survey.because("data.filter")),
        ("split", f"{split}, test {meant.split.test}: {survey.because('split.method')}"),
        ("metric", f"{meant.train.metric}: {survey.because('train.metric')}"),
        *(("left out", f"{remark.column}: {remark.because}") for remark in survey.drop),
        ("labels", named([remark.column for remark in survey.labels])),
        *(("found", fact) for fact in survey.facts),
        *(("stops", f"prepare won't go on: {told}") for told in survey.refused),
    ]
    for title, text in lines:
        if text:
            console.print(f"[bold]{title:<10}[/bold] ", end="")
            console.print(harmless(text), markup=False, soft_wrap=True)


def _show_made(plan: "Plan", made: "Made") -> None:
    """Print what was made, and what to do now."""
    there = os.path.relpath(made.folder)
    lines = [
        ("made", f"{made.folder}, in {made.seconds:.0f} s; params.yaml says why each choice is so"),
        ("backup", str(made.backup) if made.backup else ""),
        ("commit", made.commit[:12] if made.commit else ""),
        ("staged", f"in {plan.repository}: git commit" if plan.git and plan.repository else ""),
        ("next", f"{'' if there == '.' else f'cd {there} && '}make run"),
    ]
    for title, text in lines:
        if text:
            _console().print(f"[bold]{title:<10}[/bold] ", end="")
            _console().print(text, markup=False, soft_wrap=True)


def _show_gates(decision: "Decision") -> None:
    """Print what every gate said."""
    from ratchet import terminal

    rows = [(gate.name, "yes" if gate.passed else "no", gate.reason) for gate in decision.gates]
    terminal.show_table(_console(), ("gate", "passed", "because"), rows)


def _drift_in_a_line(found: "DriftReport") -> str:
    """Say the verdict, and its first reason if it has any."""
    more = len(found.reasons) - 1
    because = f": {found.reasons[0]}" if found.reasons else ""
    return (
        f"{found.verdict} of {found.model}/{found.version} on {found.n_rows:,} rows{because}"
        f"{f' And {more} more.' if more > 0 else ''}"
    )


def _show_drift(project: "Project", found: "DriftReport") -> None:
    """Print the columns that moved most, and the verdict with its reasons."""
    from ratchet import terminal
    from ratchet.drift.movement import share

    def number(value: float | None) -> str:
        return "" if value is None else f"{value:.3f}"

    console = _console()
    console.print()
    rows = [
        (
            each.name,
            str(each.verdict),
            number(each.psi),
            number(each.distance),
            number(each.p),
            share(each.missing),
            share(each.missing_before),
            "" if each.new_labels is None else share(each.new_labels),
        )
        for each in found.columns[:MOST_COLUMNS]
    ]
    headings = ("column", "verdict", "PSI", "distance", "p", "missing", "before", "unseen")
    terminal.show_table(console, headings, rows, right=6)
    if len(found.columns) > MOST_COLUMNS:
        console.print(f"and {len(found.columns) - MOST_COLUMNS} more, which moved less")
    console.print()
    facts = [("verdict", f"{found.verdict}, {found.n_rows:,} rows against {found.n_reference:,}")]
    facts += [("because" if not place else "", each) for place, each in enumerate(found.reasons)]
    if found.live is not None and not found.live.worse:
        facts.append(("score", _live_in_a_line(found.live)))
    facts += [("note" if not place else "", each) for place, each in enumerate(found.notes)]
    facts.append(("page", os.path.relpath(project.monitored / "drift.html")))
    terminal.show_facts(console, facts, 8)


def _live_in_a_line(live: "LiveScore") -> str:
    from ratchet.gates import decimals, shown

    places = decimals([live.score, live.test_score])
    return (
        f"{live.metric} {shown(live.score, places)} on {live.n_rows:,} new rows,"
        f" {shown(live.test_score, places)} on the test rows: not surely worse"
    )


def _show_history(found: "History") -> None:
    """Print the ledger, or the one line of it that was asked for."""
    from ratchet import terminal

    console = _console()
    if found.at is not None:
        moment = found.at.isoformat(timespec="seconds")
        if found.served is None:
            console.print(f"No version of {found.model} was the champion at {moment}.")
        else:
            line = found.served
            console.print(
                f"Version {line.champion} of {found.model} served at {moment}: line {line.number},"
                f" {line.kind} on {line.at} by {line.who}: {harmless(line.reason)}",
                markup=False,
                soft_wrap=True,
            )
    else:
        rows = [
            (
                str(line.number),
                line.at[:19],
                line.who,
                line.kind,
                str(line.before or ""),
                str(line.champion or "") if line.kind.moves else "",
                line.reason,
            )
            for line in found.lines
        ]
        terminal.show_table(console, ("line", "when", "who", "what", "from", "to", "why"), rows)
    if found.faults is not None:
        for fault in found.faults:
            console.print(harmless(f"FAULT {fault}"), markup=False, soft_wrap=True)
        count, signed = len(found.lines), found.n_signatures
        if not found.faults:
            lines = "line" if count == 1 else "lines"
            console.print(f"{count} {lines} checked: none was altered or removed.")
        if signed:
            console.print(f"{signed} signature{'s' if signed > 1 else ''} checked.")


def _show_diagnosis(found: "Diagnosis") -> None:
    """Print a line for each finding, and below it the command that mends it."""
    from ratchet.checks import State

    console = _console()
    colours = {State.OK: "green", State.WARNING: "yellow", State.ERROR: "bold red"}
    width = max(len(finding.check) for _, finding in found.findings)
    console.print(f"The commands are for the folder {found.folder}", markup=False, soft_wrap=True)
    last = ""
    for group, finding in found.findings:
        if group != last:
            console.print(f"\n[bold]{group}[/bold]")
            last = group
        style = colours.get(finding.state, "dim")
        console.print(f"  [{style}]{finding.state:<8}[/{style}]", end="")
        told = f" {finding.check:<{width}}  {finding.told}"
        console.print(harmless(told), markup=False, soft_wrap=True)
        if finding.mend:
            console.print(f"{'':>{width + 13}}$ {finding.mend}", markup=False, soft_wrap=True)
    counts = [
        f"{n} {state}{'s' if n > 1 and state in (State.WARNING, State.ERROR) else ''}"
        for state in State
        if (n := found.count(state))
    ]
    console.print(f"\n{', '.join(counts)}")


def _tell_webhooks(found: "Sequence[Webhook]", *, json: bool) -> None:
    """Print webhooks, each with what it is told of."""
    from dataclasses import asdict

    from ratchet import terminal

    if json:
        typer.echo(_json([asdict(each) for each in found]))
        return
    rows = [
        (each.id, each.about or ", ".join(each.events), each.since[:19], each.url) for each in found
    ]
    headings = ("id", "told of", "since", "address")
    terminal.show_table(_console(), headings, rows)


def _show_checks(found: "Checked") -> None:
    """Print a line for each rule that is broken, and how many hold."""
    from rich.table import Table

    console, report = _console(), found.report
    if report.failures:
        table = Table(box=None, padding=(0, 2, 0, 0))
        for heading in ("column", "rule", "result", "rows", "what is asked and what was found"):
            table.add_column(heading, justify="right" if heading == "rows" else "left")
        for each in report.failures:
            count = f"{each.count:,}" if each.count else ""
            cells = (each.column or "", each.rule, each.on_failure, count, each.told)
            table.add_row(*map(harmless, cells))
        console.print(table, markup=False)
        console.print()
    kept = report.n_checks - len(report.failures)
    console.print(
        f"{kept} of {report.n_checks} checks in {found.file} hold for {report.n_rows:,} rows;"
        f" {len(report.failed)} fail, {len(report.warnings)} warn.",
        markup=False,
        soft_wrap=True,
    )


def _show_reproduction(found: "Reproduction") -> None:
    """Print whether a model was made again, and what differs."""
    from ratchet import terminal

    terminal.show_facts(_console(), list(_reproduced(found)), 16)


def _reproduced(found: "Reproduction") -> Iterator[tuple[str, str]]:
    from ratchet.commands.reproduce import Answer
    from ratchet.gates import decimals, shown

    apart, score = found.predictions, found.score
    if found.answer is Answer.DIFFERENT:
        done = "was made again and is another" if apart else "can't be made again"
    else:
        done = "was made again"
    by = "" if found.label.startswith("run ") else f", trained by run {found.run_id[:8]},"
    yield found.answer.replace("_", " "), f"{found.label}{by} {done}"
    if apart and apart.identical:
        yield "predictions", f"the same, bit for bit, on {apart.n_rows:,} test rows"
    elif apart:
        yield (
            "predictions",
            f"{apart.n_differing:,} of {apart.n_rows:,} differ, by {apart.max_absolute:.3g} at"
            f" most, relatively by {apart.max_relative:.3g} ({found.tolerance:g} is allowed)",
        )
    if score:
        places = decimals([score.again, score.recorded])
        again, recorded = shown(score.again, places), shown(score.recorded, places)
        yield score.name, f"{again}, {recorded} on record"
    if found.environment == "built":
        yield "environment", "built by uv from the recorded lock"
    word = "although" if found.answer is Answer.IDENTICAL else "because"
    for difference in found.differences:
        yield word, f"{difference.kind.replace('_', ' ')}: {difference.text}"
        word = ""
    if found.kept:
        yield "kept", str(found.kept)


def _facts(status: "Status") -> Iterator[tuple[str, str]]:
    from ratchet.gates import decimals, shown

    leader, key = status.leader, f"test/{status.leader.metric}"
    score, low, high, baseline = (
        status.test[name] for name in (key, f"{key}_low", f"{key}_high", f"baseline/{key}")
    )
    places = decimals([score, baseline])
    yield "won", f"{leader.name}, trial {leader.trial + 1} of {leader.n_trials}"
    yield (
        key,
        f"{shown(score, places)} [{shown(low, places)}, {shown(high, places)}],"
        f" baseline {shown(baseline, places)}",
    )
    if not status.recorded:
        yield "run", "not in this store yet; promote logs it again"
    decision = status.decision
    if decision is None:
        yield "promoted", "not judged yet: run promote"
    elif decision.promoted:
        yield "promoted", f"yes, as version {decision.version} of {decision.model}"
        yield "because", decision.reason
    else:
        yield "promoted", "no"
        yield "because", decision.reason
    reign = status.champion
    if reign is not None:
        since = f" since {reign.since[:19]} UTC" if reign.since else ""
        yield "champion", f"version {reign.version}{since}"
        if reign.changes:
            yield "changed", "; ".join(reign.changes)
    uri = status.store_uri
    served = uri.startswith(("http://", "https://"))
    yield "look", uri if served else f"mlflow ui --backend-store-uri {uri}"
