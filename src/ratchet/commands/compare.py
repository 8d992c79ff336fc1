"""Compare two runs or versions: what changed, what happened, what to try next."""

import tempfile
from collections.abc import Iterator, Sequence
from math import isnan, nan
from pathlib import Path

from ratchet import clusters, gates, lineage, metrics, tracking
from ratchet.commands import changes
from ratchet.commands.comparison import (
    CodeChanges,
    ColumnChange,
    Comparison,
    DataChanges,
    EnvironmentChanges,
    Paired,
    Patch,
    ScoreLine,
    Verdict,
)
from ratchet.commands.duel import Duel
from ratchet.commands.experiment import next_experiment
from ratchet.commands.training import PREDICTED, ROWS, Training, type_of
from ratchet.metrics import Metric
from ratchet.project import Project
from ratchet.schema import Column
from ratchet.steps.origin import LIBRARIES

# What the machine is made of, by the tags of a run.
_MACHINE = {
    "ratchet.hardware.python": "Python",
    "ratchet.hardware.os": "operating system",
    "ratchet.hardware.cpu": "processor",
    "ratchet.hardware.cores_physical": "cores",
    "ratchet.hardware.cores_logical": "logical cores",
    "ratchet.hardware.memory_gib": "memory (GiB)",
    "ratchet.hardware.gpus": "GPUs",
}


def read(project: Project, a: str, b: str) -> Comparison:
    """Compare two runs or versions, from what their runs have recorded.

    Nothing is written to the store. The models are asked again only for the
    paired difference, where the test rows lie in ``build/prepared``.

    Parameters
    ----------
    project : Project
        Names the store; its settings say how sure a difference must be, and what the slices are.
    a, b : str
        ``RUN_ID``, ``NAME/VERSION`` or ``NAME@ALIAS``. Any run of a pipeline stands for the
        training in it.

    Raises
    ------
    StoreError
        If there is no such run or version, it belongs to no training, or the store fails.
    """
    tracking.connect(project)
    with tempfile.TemporaryDirectory(prefix="ratchet-") as folder:
        first, second = (
            Training.of(letter, text, Path(folder), project.settings.train.metric or "")
            for letter, text in (("A", a), ("B", b))
        )
        return _compared(project, first, second)


def _compared(project: Project, first: Training, second: Training) -> Comparison:
    scores = tuple(_scores(first, second))
    duel = Duel.of(project, first, second)
    verdict = _verdict(first, second, scores, duel)
    return Comparison(
        a=first.side,
        b=second.side,
        verdict=verdict,
        params=changes.of_params(first.record.params, second.record.params),
        data=_data(first, second),
        code=_code(project, first, second),
        environment=_environment(first, second),
        scores=scores,
        paired=duel.paired,
        not_paired=duel.not_paired,
        slices=duel.slices,
        not_sliced=duel.not_sliced,
        searches=tuple(each.search for each in (first, second) if each.search is not None),
        experiment=next_experiment(first if verdict.better == "A" else second),
        notes=tuple(_notes(first, second)),
    )


def _notes(first: Training, second: Training) -> Iterator[str]:
    if first.record.run_id == second.record.run_id:
        yield "A and B are the same run."
    for each in (first, second):
        if each.evaluation is None:
            yield f"{each.letter} has not been evaluated, so that it has no scores on test rows."
        if each.trials is None:
            yield f"The run of {each.letter} holds no trials."
    if first.test_rows and second.test_rows and first.test_rows != second.test_rows:
        yield (
            "A and B were judged on different test rows, so that part of what their scores differ"
            " by is owed to the rows."
        )
    elif _drawn(first) and first.record.params.get("seed") != second.record.params.get("seed"):
        yield (
            "Each clustering was judged on the test rows that its own seed has drawn, so that part"
            " of what their scores differ by is owed to the rows."
        )


def _drawn(training: Training) -> bool:
    """Tell whether it was judged on some of its test rows, as a clustering of many is."""
    if training.schema is None or training.schema.problem.has_target:
        return False
    return training.rows.get("test", 0) > clusters.JUDGED_ROWS


# What changed


def _data(first: Training, second: Training) -> DataChanges:
    names = {
        "ratchet.data_version": "version",
        "ratchet.data_dirty": "not recorded",
        "data.target": "target",
        "problem": "problem",
        "classes": "classes",
    }
    old, new = (each.facts for each in (first, second))
    facts = tuple(changes.between(names, old, new))
    counts = [each.rows for each in (first, second)]
    rows = tuple(
        (part, counts[0].get(part), counts[1].get(part))
        for part in ROWS
        if any(part in each for each in counts)
    )
    columns = tuple(_columns(first, second))
    differ = any(old != new for _, old, new in rows)
    return DataChanges(
        same=not (facts or columns or differ) and "ratchet.data_version" in old,
        facts=facts,
        rows=rows,
        columns=columns,
        notes=tuple(
            f"The run of {each.letter} names no preparation, so that the statistics of its columns"
            " are not known."
            for each in (first, second)
            if each.schema is None
        ),
    )


def _columns(first: Training, second: Training) -> Iterator[ColumnChange]:
    """Tell which columns differ; where a run names no schema, by its inputs."""
    if first.schema is not None and second.schema is not None:
        old, new = (
            {column.name: column for column in schema.columns}
            for schema in (first.schema, second.schema)
        )
        for name in dict.fromkeys([*old, *new]):
            yield from _column(old.get(name), new.get(name))
        return
    names = [_column_names(each) for each in (first, second)]
    if all(names):
        for name in dict.fromkeys([*names[0], *names[1]]):
            if name not in names[1]:
                yield ColumnChange(name, "removed", "there", "")
            elif name not in names[0]:
                yield ColumnChange(name, "added", "", "there")


def _column_names(training: Training) -> list[str]:
    if training.schema is not None:
        return training.schema.names
    target = training.record.params.get("data.target")
    named = (each.columns for each in training.record.tables if each.columns)
    return [name for name, _ in next(named, ()) if name != target]


def _column(old: Column | None, new: Column | None) -> Iterator[ColumnChange]:
    if old is None and new is not None:
        yield ColumnChange(new.name, "added", "", f"{type_of(new)}, {_statistics(new)}")
    elif new is None and old is not None:
        yield ColumnChange(old.name, "removed", f"{type_of(old)}, {_statistics(old)}", "")
    elif old is not None and new is not None:
        if type_of(old) != type_of(new):
            yield ColumnChange(old.name, "type", type_of(old), type_of(new))
        if _statistics(old) != _statistics(new):
            yield ColumnChange(old.name, "statistics", _statistics(old), _statistics(new))


def _statistics(column: Column) -> str:
    gaps = "some missing" if column.optional else "none missing"
    return f"{column.distinct:,} distinct, {gaps}"


def _code(project: Project, first: Training, second: Training) -> CodeChanges:
    old, new = (each.record.tags.get("mlflow.source.git.commit") for each in (first, second))
    between = None
    if old and new and old != new:
        between = lineage.between(project.root, old, new)
    patches, notes = [], []
    for each in (first, second):
        dirty = each.record.tags.get("ratchet.dirty", "unknown")
        if dirty == "true":
            patches.append(Patch(each.letter, bool(each.patch), lineage.patch_files(each.patch)))
        elif dirty != "false":
            reason = each.record.tags.get("ratchet.code_reason", "its run does not say")
            notes.append(f"What code {each.letter} ran is not known for sure: {reason}.")
    return CodeChanges(
        old=old,
        new=new,
        between=between,
        patches=tuple(patches),
        same_patch=bool(first.patch) and first.patch == second.patch,
        notes=tuple(notes),
    )


def _environment(first: Training, second: Training) -> EnvironmentChanges:
    old, new = first.libraries, second.libraries
    names = sorted(old.keys() | new.keys(), key=lambda name: (name not in LIBRARIES, name))
    tags = first.record.tags, second.record.tags
    lock = next(changes.between({"ratchet.lock_digest": "lock"}, *tags), None)
    return EnvironmentChanges(
        lock=lock,
        libraries=tuple(changes.between(dict(zip(names, names, strict=True)), old, new)),
        n_libraries=len(names),
        machine=tuple(changes.between(_MACHINE, *tags)),
    )


# What happened


def _scores(first: Training, second: Training) -> Iterator[ScoreLine]:
    """Put the scores of both beside each other, the optimised one and those on test first."""
    known = _known_metrics(first, second)
    optimised = list(dict.fromkeys(each.metric.name for each in (first, second) if each.metric))
    have = {name for each in (first, second) for name in each.record.metrics}
    others = sorted(
        name.removeprefix("test/")
        for name in have
        if name.startswith("test/") and not name.endswith(("_low", "_high"))
    )
    names = [
        *(f"test/{name}" for name in optimised),
        *(
            f"{prefix}/{name}{suffix}"
            for name in optimised
            for prefix, suffix in (
                ("test_unseen", ""),
                ("valid", ""),
                ("valid", "_cross_fitted"),
                ("train", ""),
                ("baseline/test", ""),
                ("baseline/valid", ""),
            )
        ),
        *(f"test/{name}" for name in known),
        *(f"test/{name}" for name in others),
    ]
    for name in dict.fromkeys(names):
        if name in have:
            short = name.rpartition("/")[2].removesuffix("_cross_fitted")
            yield _line(name, known.get(short), first, second)


def _known_metrics(first: Training, second: Training) -> dict[str, Metric]:
    """Find which way is better; a name that means another thing in each has no way."""
    known: dict[str, Metric] = {}
    for each in (first, second):
        if each.schema is not None:
            found = metrics.for_problem(each.schema.problem)
            known |= {metric.name: metric for metric in found}
        if each.metric is not None:
            known[each.metric.name] = each.metric
    return known


def _line(name: str, metric: Metric | None, first: Training, second: Training) -> ScoreLine:
    a, a_low, a_high = (first.score(name + end) for end in ("", "_low", "_high"))
    b, b_low, b_high = (second.score(name + end) for end in ("", "_low", "_high"))
    overlap = None
    if not any(map(isnan, (a_low, a_high, b_low, b_high))):
        overlap = a_low <= b_high and b_low <= a_high
    better = nan if metric is None else metric.loss(a) - metric.loss(b)
    return ScoreLine(name, a, a_low, a_high, b, b_low, b_high, better, overlap)


def _verdict(first: Training, second: Training, scores: Sequence[ScoreLine], duel: Duel) -> Verdict:
    """Say which one is better, by the surest thing that there is."""
    if duel.paired is not None:
        return _of_pair(duel.paired)
    if first.record.run_id == second.record.run_id:
        return Verdict(None, False, "A and B are the same run.")
    if first.metric is None or second.metric is None:
        return Verdict(None, False, "At least one of the runs does not say what it optimised.")
    if first.metric.name != second.metric.name:
        return Verdict(
            None,
            False,
            f"A optimised {first.metric.name}, B {second.metric.name}: see the scores.",
        )
    old, new = (each.facts for each in (first, second))
    if any(old.get(name) != new.get(name) for name in PREDICTED):
        return Verdict(None, False, "A and B don't predict the same thing.")
    by_name = {line.name: line for line in scores}
    for split in ("test", "valid"):
        line = by_name.get(f"{split}/{first.metric.name}")
        if line is not None and not isnan(line.better_by):
            return _of_line(line, doubt=_doubt(first, second))
    return Verdict(None, False, "They have no score in common.")


def _of_pair(paired: Paired) -> Verdict:
    better = "B" if paired.gain > 0 else "A" if paired.gain < 0 else None
    # Seen from A the interval is mirrored.
    gained = (paired.gain, paired.low, paired.high)
    if better == "A":
        gained = (-paired.gain, -paired.high, -paired.low)
    places = gates.decimals([paired.a, paired.b], gained)
    a, b, gain, low, high = (
        gates.shown(number, places) for number in (paired.a, paired.b, *gained)
    )
    told = (
        f"{paired.metric} {a} for A and {b} for B on the same {paired.n_rows:,} test rows, which"
        f" neither was trained on: {better or 'B'} gains {gain} [{low}, {high}]"
        f" at {100 * paired.confidence:g} %."
    )
    return Verdict(better, paired.low > 0 or paired.high < 0, told)


def _doubt(first: Training, second: Training) -> str:
    """Say why scores on test rows may differ although the models don't; empty if they may not."""
    if first.test_rows is None or second.test_rows is None:
        return "but their runs do not say on which test rows"
    return (
        "" if first.test_rows == second.test_rows else "but they were judged on different test rows"
    )


def _of_line(line: ScoreLine, *, doubt: str) -> Verdict:
    better = "B" if line.better_by > 0 else "A" if line.better_by < 0 else None
    places = gates.decimals([line.a, line.b], [line.better_by])
    a, b, by = (gates.shown(number, places) for number in (line.a, line.b, abs(line.better_by)))
    told = f"{line.name} {a} for A and {b} for B"
    if better:
        told += f": {better} is better by {by}"
    on_test = line.name.startswith("test/")
    if not on_test:
        told += ", on the validation rows, by which it was chosen"
    elif doubt:
        told += f", {doubt}"
    elif line.overlap is not None:
        told += f"; the intervals {'' if line.overlap else 'do not '}overlap"
    return Verdict(better, on_test and not doubt and line.overlap is False, f"{told}.")
