"""The next experiment: what the rules of advice say of a search that a run has recorded."""

import json
import shlex
from collections.abc import Iterator, Mapping
from math import nan
from typing import Any

import numpy as np
import pandas as pd
import yaml

from ratchet import advice, backends, recorded, settings, trainer
from ratchet.advice import Advice, Failure, Growth
from ratchet.backends import Family
from ratchet.commands.comparison import Experiment
from ratchet.commands.training import Training
from ratchet.errors import RatchetError, SettingsError
from ratchet.metrics import Metric
from ratchet.searched import failures
from ratchet.settings import Settings, SplitMethod
from ratchet.steps.train import curve_names


def next_experiment(training: Training) -> Experiment | None:
    """Take the most valuable advice that the settings of the run allow."""
    if training.settings is None or training.params_file is None:
        return None
    search = _search(training)
    if search is None:
        return None
    for found in advice.applicable(search):
        if _is_allowed(training, found):
            return Experiment(found, training.letter, _command(training, found))
    return None


def _is_allowed(training: Training, found: Advice) -> bool:
    """Tell whether the settings and the backends take what is advised."""
    assert training.params_file is not None  # `next_experiment` has looked
    try:
        chosen = settings.load(training.params_file, found.overrides)
        trainer.shelf_for(_task(training), chosen)
    except RatchetError:
        return False
    return True


def _command(training: Training, found: Advice) -> str:
    """Write the command that repeats the run with what is advised."""
    words = ["python", "src", "run"]
    if training.params_place != "params.yaml":
        words += ["--params", training.params_place]
    for text in (*_overrides(training, found), *found.overrides):
        words += ["--set", text]
    return shlex.join(words)


def _overrides(training: Training, found: Advice) -> list[str]:
    """Give the run's own overrides, but for those that the advice replaces."""
    text = training.record.tags.get("ratchet.overrides", "")
    try:
        given, new = (settings.parse_overrides(each) for each in ([text], found.overrides))
    except SettingsError:  # whoever wrote the tag, it was not this project
        return [text]
    return [
        f"{name}={yaml.safe_dump(value, default_flow_style=True, width=1000).splitlines()[0]}"
        for name, value in given.items()
        if name not in new
    ]


def _task(training: Training) -> backends.Task:
    assert training.schema is not None  # who asks has looked
    return trainer.task_of(training.schema, training.rows.get("train", 0))


def _search(training: Training) -> advice.Search | None:
    """Put what a run has recorded into the numbers that the rules look at."""
    trials, metric, schema = training.trials, training.metric, training.schema
    chosen, leader = training.settings, training.leader
    if trials is None or metric is None or schema is None or chosen is None:
        return None
    shelf = _shelf(training, chosen)
    done = trials[trials["error"].isna()]
    if done.empty:
        return None
    best = _row_of(done, leader, metric)
    baselines = tuple(dict.fromkeys(name for name in trials["family"] if _is_baseline(name, shelf)))
    # Scores on a sample of the rows are not those on all of them.
    full = done[done["share"] == done["share"].max()]
    scores = full["score"].cummax() if metric.maximize else full["score"].cummin()
    test = f"test/{metric.name}"
    return advice.Search(
        metric=metric,
        families=tuple(_tried(trials, metric, shelf)),
        baselines=baselines,
        failures=tuple(
            Failure(each.reason.rstrip("."), family, count)
            for each in failures(trials)
            for family, count in each.families
        ),
        best=tuple(scores),
        train=training.score(f"train/{metric.name}"),
        valid=training.score(f"valid/{metric.name}"),
        honest=training.score(f"valid/{metric.name}_cross_fitted"),
        baseline=training.score(f"baseline/valid/{metric.name}"),
        test_baseline=training.score(f"baseline/{test}"),
        test=training.score(test),
        test_low=training.score(f"{test}_low"),
        test_high=training.score(f"{test}_high"),
        n_folds=int(leader.get("n_folds", 1)),
        by_time=chosen.split.method is SplitMethod.TIME,
        valid_size=chosen.split.valid,
        alone=chosen.train.ensemble is settings.Ensemble.NONE,
        all_families=chosen.train.families is None,
        all_features=chosen.data.features is None,
        seed=chosen.seed,
        budget=advice.Budget(
            chosen.train.search.budget_seconds, chosen.train.search.max_trials, len(trials)
        ),
        best_params=json.loads(best["params"]),
        best_backend=str(best["backend"]),
        growth=_growth(training, metric, trials, shelf),
        values=tuple(_values(full, best, shelf)),
    )


def _shelf(training: Training, chosen: Settings) -> dict[str, Family]:
    """Describe the families as their backends do today; none where a plugin is missing."""
    try:
        backends.load(chosen.train.plugins)
        return {family.name: family for _, family in trainer.shelf_for(_task(training), chosen)}
    except (RatchetError, ImportError):
        return {}


def _is_baseline(name: str, shelf: Mapping[str, Family]) -> bool:
    return shelf[name].is_baseline if name in shelf else name == "baseline"


def _row_of(done: pd.DataFrame, leader: Mapping[str, Any], metric: Metric) -> pd.Series:
    """Give the best trial: the one that the run names, else that of the best score."""
    named = done[done["number"] == leader.get("trial")]
    if len(named):
        return named.iloc[0]
    return _best_of(done, metric)


def _best_of(done: pd.DataFrame, metric: Metric) -> pd.Series:
    return done.iloc[int(np.argmin(done["score"].map(metric.loss)))]


def _tried(
    trials: pd.DataFrame, metric: Metric, shelf: Mapping[str, Family]
) -> Iterator[advice.Tried]:
    for name, rows in trials.groupby("family", sort=False):
        done = rows[rows["error"].isna()]
        best = None if done.empty else _best_of(done, metric)
        family = shelf.get(str(name))
        yield advice.Tried(
            family=str(name),
            trials=len(done),
            best=nan if best is None else float(best["score"]),
            seconds=float(rows["seconds"].sum()),
            cut_short=best is not None and bool(best["cut_short"]),
            tunable=family is None or bool(family.space) or len(family.starts) > len(rows),
        )


def _growth(
    training: Training, metric: Metric, trials: pd.DataFrame, shelf: Mapping[str, Family]
) -> Growth | None:
    """Read the learning curve of the member that weighs most."""
    members = training.leader.get("members") or ()
    first = max(members, key=lambda each: each["weight"], default=None)
    if first is None:
        return None
    [name] = curve_names(metric.name, [str(first["name"])])
    rows = trials[trials["number"] == first["trial"]]
    family = shelf.get(str(rows["family"].iloc[0])) if len(rows) else None
    if family is None or family.rounds is None or name not in training.record.metrics:
        return None
    points = recorded.series(training.record.run_id, name)
    return Growth(
        backend=str(rows["backend"].iloc[0]),
        family=family.name,
        rounds=family.rounds,
        steps=tuple(step for step, _ in points),
        scores=tuple(score for _, score in points),
        cut_short=bool(rows["cut_short"].iloc[0]),
    )


def _values(
    done: pd.DataFrame, best: pd.Series, shelf: Mapping[str, Family]
) -> Iterator[advice.Values]:
    """Collect what the best trial's family has tried of each hyperparameter."""
    family = shelf.get(str(best["family"]))
    if family is None:
        return
    rows = done[done["family"] == best["family"]]
    params = [json.loads(text) for text in rows["params"]]
    for name, dimension in family.space.items():
        pairs = [
            (float(each[name]), float(score))
            for each, score in zip(params, rows["score"], strict=True)
            if isinstance(each.get(name), int | float)
        ]
        if pairs:
            tried, scores = zip(*pairs, strict=True)
            yield advice.Values(str(best["backend"]), family.name, name, dimension, tried, scores)
