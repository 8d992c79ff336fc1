"""What the run of each step says of itself where MLflow's UI has a description, in Markdown."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from ratchet import lineage, tracking
from ratchet.drift import DriftReport, Verdict
from ratchet.evaluation import Evaluation
from ratchet.gates import decimals, shown
from ratchet.project import Project
from ratchet.report.pieces import counted, escaped
from ratchet.schema import Schema
from ratchet.settings import SplitMethod
from ratchet.tracking import NOTE_TAG, Tag

if TYPE_CHECKING:
    from ratchet.steps.promote import Decision
    from ratchet.steps.train import Leader

_DEALT = {
    SplitMethod.RANDOM: "at random",
    SplitMethod.STRATIFIED: "at random, in equal shares of the classes",
    SplitMethod.GROUP: "by the groups of {}",
    SplitMethod.TIME: "by the time in {}",
}
# Begins the paragraph of a leader's run that evaluate writes anew.
_JUDGED = "**On the test rows**"


def of_prepare(
    project: Project, schema: Schema, rows: Mapping[str, int], read: int, notes: Sequence[str]
) -> Tag:
    """Say what was read, how it was dealt, and what a reader of the table ought to know.

    Parameters
    ----------
    project : Project
        Whose table it is.
    schema : Schema
        The columns and the problem.
    rows : mapping of str to int
        Rows of train, valid and test.
    read : int
        Rows of the source.
    notes : sequence of str
        What a reader ought to know, in sentences.
    """
    split = project.settings.split
    by = _DEALT[split.method].format(_code(split.column))
    columns = counted(len(schema.columns), "column")
    told = (
        f"{columns} to predict {_code(project.settings.data.target)} from:"
        f" a {schema.problem} problem."
        if schema.target
        else f"{columns} to find clusters in."
    )
    return _tag(
        f"{counted(read, 'row')} of {_code(project.settings.data.source)} were read, and"
        f" {sum(rows.values()):,} of them dealt {by}: {rows['train']:,} to train"
        f" on, {rows['valid']:,} to choose by, {rows['test']:,} to judge on. {told}",
        "\n".join(f"- {escaped(note)}" for note in notes),
        "Among the artifacts, `profile.html` shows the training rows."
        f" Next: {_command(project, 'train')}.",
    )


def of_train(project: Project, leader: "Leader") -> Tag:
    """Say what won, how good it is on the validation rows, and where the other trials are."""
    scores = [leader.score, leader.train_score, leader.baseline_score]
    places = decimals([each for each in scores if each is not None])
    folds = "a holdout" if leader.n_folds == 1 else f"{leader.n_folds} folds"
    ours, seen, base = (None if each is None else shown(each, places) for each in scores)
    than = f"; the baseline has {base} on the former" if base else ""
    kept = min(project.settings.tracking.trials, leader.n_trials - leader.n_failed)
    failed = f", {leader.n_failed:,} of which failed," if leader.n_failed else ""
    return _tag(
        f"**{escaped(leader.name)}** has {escaped(leader.metric)} {ours} on validation rows"
        f" ({folds}) and {seen} on training rows{than}.",
        f"{_JUDGED}: not judged yet. Next: {_command(project, 'evaluate')}.",
        f"It came out of {counted(leader.n_trials, 'trial')}{failed} in {leader.seconds:.0f} s,"
        f" and was fitted on {counted(leader.n_rows, 'row')}{_sampled(leader)}."
        " Every trial is a line of the artifact"
        f" `trials.csv`, the best {kept} are runs below this one, and `figures/` shows the search.",
        _members(leader),
    )


def _sampled(leader: "Leader") -> str:
    """Say what the search has seen of rows that do not fit in memory."""
    if leader.sampled is None:
        return ""
    return f", more than fit in memory: the search had a sample of {leader.sampled:,}"


def of_leader(project: Project, leader: "Leader", numbers: Mapping[str, float | None]) -> Tag:
    """Put the test scores into what the run of a leader says of itself.

    Parameters
    ----------
    project : Project
        Whose leader it is.
    leader : Leader
        The leader, with the ids that it has in the store.
    numbers : mapping of str to float or None
        Content of ``metrics.json``.

    Raises
    ------
    StoreError
        If the store fails.
    """
    ours = tracking.origin_of(leader.run_id)
    return with_test_scores(project, ours.tags.get(NOTE_TAG, "") if ours else "", leader, numbers)


def with_test_scores(
    project: Project, told: str, leader: "Leader", numbers: Mapping[str, float | None]
) -> Tag:
    """Put the test scores into the description of a leader's run.

    Parameters
    ----------
    project : Project
        Whose leader it is.
    told : str
        The description as it is; what a person has added to it stays.
    leader : Leader
        What train said of it.
    numbers : mapping of str to float or None
        Content of ``metrics.json``.
    """
    key = f"test/{leader.metric}"
    score, low, high, baseline = (
        _number(numbers, name) for name in (key, f"{key}_low", f"{key}_high", f"baseline/{key}")
    )
    places = decimals([score, baseline])
    found = (
        f"{_JUDGED}: {escaped(leader.metric)} {shown(score, places)}"
        f" [{shown(low, places)}, {shown(high, places)}], the baseline {shown(baseline, places)}."
    )
    if project.settings.evaluate.report:
        found += (
            " Why this model, and where it fails: `report/report.html` among the artifacts, or"
            f" {_command(project, 'report')} with the id of this run."
        )
    found += f" Whether it becomes the champion: {_command(project, 'promote')}."
    before = re.compile(rf"^{re.escape(_JUDGED)}.*$", re.MULTILINE)
    if before.search(told):
        return Tag(NOTE_TAG, before.sub(lambda _: found, told, count=1))
    return _tag(told, found)


def of_evaluate(
    project: Project, leader: "Leader", leads: Evaluation, base: Evaluation, uses: int
) -> Tag:
    """List every score with its interval, beside the baseline's.

    Parameters
    ----------
    project : Project
        Whose leader it is.
    leader : Leader
        What train said of it.
    leads, base : Evaluation
        Scores of the leader and of the baseline, by the same metrics.
    uses : int
        Other models that the test rows had judged before.
    """
    main = leads.score(leader.metric)
    places = decimals([main.value, base.score(leader.metric).value])
    low, high, trivial = (
        shown(each, places) for each in (main.low, main.high, base.score(leader.metric).value)
    )
    rows = []
    for ours, theirs in zip(leads.scores, base.scores, strict=True):
        places = decimals([ours.value, theirs.value])
        rows.append(
            (
                f"**{escaped(ours.metric)}**" if ours.metric == leader.metric else ours.metric,
                shown(ours.value, places),
                f"[{shown(ours.low, places)}, {shown(ours.high, places)}]",
                shown(theirs.value, places),
            )
        )
    before = f"{counted(uses, 'other model')} before" if uses else "no other model before"
    return _tag(
        f"**{escaped(leader.name)}** has {escaped(leader.metric)} {shown(main.value, places)}"
        f" [{low}, {high}] on {counted(leads.n_rows, 'test row')}, the baseline {trivial}.",
        _table(("score", "leader", f"{100 * leads.confidence:g} % interval", "baseline"), rows),
        f"These rows had judged {before}. What each gate would say:"
        f" {_command(project, 'promote --dry-run')}."
        f" Next: {_command(project, 'promote')}.",
    )


def of_promote(project: Project, decision: "Decision") -> Tag:
    """Say what was decided and why, and what each gate said."""
    history = f"Every decision: {_command(project, 'history')}."
    undo = f" Undo it: {_command(project, 'rollback --reason …')}." if decision.promoted else ""
    return _tag(
        _verdict(decision),
        _table(
            ("gate", "passed", "because"),
            [
                (gate.name, "yes" if gate.passed else "**no**", escaped(gate.reason))
                for gate in decision.gates
            ],
            numbers=False,
        ),
        history + undo,
    )


def of_monitor(project: Project, report: DriftReport) -> Tag:
    """Say whether new rows have moved, and what has."""
    found = {Verdict.NONE: "No drift", Verdict.WATCH: "Watch", Verdict.DRIFT: "Drift"}
    version = _code(f"{report.model}/{report.version}")
    return _tag(
        f"**{found[report.verdict]}**: {counted(report.n_rows, 'row')} of {_code(report.source)}"
        f" were held against the {report.n_reference:,} that {version} learned from, by"
        f" {counted(report.n_tests, 'test')}.",
        "\n".join(f"- {escaped(reason)}" for reason in report.reasons),
        "Among the artifacts, `drift.html` draws the columns that moved most, and `drift.json` has"
        " every number. Metrics such as `drift/psi/…` compare a column over runs."
        f" What a new training would give: {_command(project, 'run')}.",
    )


def of_pipeline(project: Project, leader: "Leader", leads: Evaluation, decision: "Decision") -> Tag:
    """Say what came of all steps, each of which has its own run below this one."""
    main = leads.score(leader.metric)
    places = decimals([main.value, leader.score])
    low, high = shown(main.low, places), shown(main.high, places)
    return _tag(
        f"**{escaped(leader.name)}**: {escaped(leader.metric)} {shown(leader.score, places)} on"
        f" validation rows, {shown(main.value, places)} [{low}, {high}] on test rows.",
        _verdict(decision),
        "The runs below this one are its steps; that of train holds the model."
        f" All of it in the terminal: {_command(project, 'status')}.",
    )


def _verdict(decision: "Decision") -> str:
    if decision.promoted:
        to = f" as version {decision.version}" if decision.version is not None else ""
        return f"**Promoted**{to} of {_code(decision.model)}: {escaped(decision.reason)}."
    return f"**Not promoted**: {escaped(decision.reason)}."


def _members(leader: "Leader") -> str:
    if len(leader.members) < 2:
        return ""
    told = ", ".join(
        f"{escaped(str(each['name']))} of trial {each['trial'] + 1} ({100 * each['weight']:.3g} %)"
        for each in sorted(leader.members, key=lambda each: -each["weight"])
    )
    return f"Its members and their weights: {told}."


def _command(project: Project, command: str) -> str:
    """Write a command as it is given in the folder of the project."""
    place = lineage.place(project.params_file)
    return _code(f"python src {command}{'' if place == 'params.yaml' else f' --params {place}'}")


def _code(text: object) -> str:
    return f"`{' '.join(str(text).split()).replace('`', chr(39))}`"


def _number(numbers: Mapping[str, float | None], name: str) -> float:
    """Give a number of ``metrics.json``, which says null for NaN."""
    found = numbers.get(name)
    return float("nan") if found is None else float(found)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: bool = True) -> str:
    """Write a table; with ``numbers``, all columns but the first stand on the right."""
    rules = ["---", *(["---:" if numbers else "---"] * (len(head) - 1))]
    return "\n".join(_lines([head, rules, *rows])) if rows else ""


def _lines(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _tag(*paragraphs: str) -> Tag:
    return Tag(NOTE_TAG, "\n\n".join(filter(None, paragraphs)))
