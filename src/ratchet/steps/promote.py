"""promote: the leader becomes the champion if, and only if, every gate passes."""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from math import isnan
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

from ratchet import files, hooks, lineage, settings, tracking
from ratchet.errors import AlteredError, RatchetError
from ratchet.gates import GateResult
from ratchet.lineage import Lineage
from ratchet.manifest import Manifest, same_model
from ratchet.project import Project, undisturbed
from ratchet.registry import champion, integrity, versions
from ratchet.registry.champion import Standing
from ratchet.registry.ledger import Kind, Line
from ratchet.registry.versions import Version
from ratchet.report.facts import Facts
from ratchet.report.verdict import Decided
from ratchet.serving import models
from ratchet.signatures import PrivateKey
from ratchet.steps import notes, origin, reports
from ratchet.steps.judgement import Challenger, Judgement, challenger_of, judge
from ratchet.tracking import File, Item, Score, Tag

logger = logging.getLogger(__name__)


class Outcome(StrEnum):
    """What was decided."""

    PROMOTED = "promoted"
    """The challenger is the champion now."""
    KEPT = "kept"
    """The champion stays, or nobody becomes one."""


@dataclass(frozen=True)
class Decision:
    """One judgement on a challenger, as ``build/promote/decision.json`` keeps it."""

    outcome: Outcome
    """What was decided."""
    kind: Kind
    """How: by the gates, or by a person against them."""
    reason: str
    """Why, in a sentence."""
    model: str
    """Name of the registered model."""
    version: int | None
    """Version of the challenger; None when it was not registered."""
    champion: int | None
    """Version that held the alias before; None when nobody did."""
    run_id: str
    """Run that trained the challenger."""
    decision_run: str | None
    """Run in the ledger's experiment that holds the evidence; None in a dry run."""
    line: int | None
    """Line of the ledger; None in a dry run."""
    metric: str
    """Score that the gates compare."""
    score: float
    """That score of the challenger, on the test rows."""
    gates: tuple[GateResult, ...]
    """What each gate said, also after the first that did not pass."""
    decided_at: str | None
    """When, in UTC; None in a dry run."""
    is_new: bool = True
    """False when the same challenger had been judged before, and nothing was changed."""

    @property
    def promoted(self) -> bool:
        """Whether the challenger is the champion."""
        return self.outcome is Outcome.PROMOTED

    def written_as(self, line: Line) -> Self:
        """Return the decision with what its line of the ledger says."""
        return replace(
            self,
            version=line.champion,
            decision_run=line.decision_run,
            line=line.number,
            decided_at=line.at,
        )

    @classmethod
    def from_plain(cls, value: dict[str, Any]) -> Self:
        """Build a decision from the plain values that ``plain`` gave."""
        return cls(
            **{
                **value,
                "outcome": Outcome(value["outcome"]),
                "kind": Kind(value["kind"]),
                "gates": tuple(GateResult(**result) for result in value["gates"]),
            }
        )

    def plain(self) -> dict[str, Any]:
        """Give the decision as plain values, for JSON."""
        value = asdict(self)
        del value["is_new"]
        return files.finite(value)

    @classmethod
    def load(cls, project: Project) -> Self | None:
        """Read the last decision, None when there is none."""
        path = project.promoted / "decision.json"
        return cls.from_plain(files.read_json(path, made_by="promote")) if path.exists() else None

    def save(self, project: Project) -> None:
        """Write the decision, whole or not at all."""
        files.write_json(project.promoted / "decision.json", self.plain())


@undisturbed
def run(
    project: Project,
    *,
    run_id: str | None = None,
    dry_run: bool = False,
    force: bool = False,
    reason: str = "",
    on_phase: Callable[[str], None] = lambda _: None,
) -> Decision:
    """Judge a challenger and, if every gate passes, make it the champion.

    Doing it twice changes nothing: a challenger that was judged by the same
    rules, on the same rows, against the champion of today is no new
    candidate. Neither is one that was rolled back.

    Parameters
    ----------
    project : Project
        Whose settings hold the gates.
    run_id : str or None
        Run whose model is put forward; None takes the leader of ``build/train``.
    dry_run : bool
        Judge and say so, but change and record nothing.
    force : bool
        Make it the champion whatever the gates say; needs ``reason``.
    reason : str
        Why it is forced, for the ledger.
    on_phase : callable
        Is told what begins: ``"registry"``, then each part of ``judge``, ``"log"``.

    Raises
    ------
    RatchetError
        If a step has not run, or ``force`` comes without a reason.
    AlteredError
        If the store keeps another model than was judged, or the champion's files were changed
        and it is not forced.
    StoreError
        If MLflow's store fails.
    """
    started = time.monotonic()
    if force and not reason.strip():
        raise RatchetError("--force needs a reason for the ledger: --reason 'why it must be'.")
    origin.require_clean(project)
    # A key that can't be read is told before anything is decided.
    key = None if dry_run else integrity.signing_key(project)
    on_phase("registry")
    tracking.connect(project)
    challenger = challenger_of(project, run_id, dry_run=dry_run)
    facts = None if dry_run else _facts(project, challenger)
    source = origin.of(project, origin.read_data(project))
    if dry_run:
        reigning = champion.current(project.settings)
        decision = _told(
            project,
            challenger,
            judge(project, challenger, reigning, source, on_phase, forced=force),
            force,
            reason,
        )
        logger.info("promote: dry run, would be %s: %s", decision.outcome, decision.reason)
        return decision
    standing = champion.settle(project.settings, tracking.experiment(project))
    before = None if force else _before(project, challenger, standing)
    if before is not None:
        before.save(project)
        _sign_again(before, key)
        _report_again(project, challenger, facts, standing, before)
        tracking.finish_given_run(project, "promote", [Tag("ratchet.decision", "no new candidate")])
        logger.info("promote: no new candidate; %s", before.reason)
        return before
    with tracking.run(project, "promote", parent=challenger.run_id) as step_run:
        origin.record(step_run, project, source)
        decision, judgement = _decide(
            project, challenger, standing, source, on_phase, key, force=force, reason=reason
        )
        on_phase("log")
        decision.save(project)
        tracking.write(step_run, _items(project, decision, judgement))
        _report(project, challenger, facts, decision, judgement.plain())
        tracking.rename(step_run, f"promote · {decision.outcome} · {challenger.name}")
    logger.info(
        "promote: %s, in %.1f s: %s", decision.outcome, time.monotonic() - started, decision.reason
    )
    event = hooks.Event.PROMOTED if decision.promoted else hooks.Event.REFUSED
    hooks.fire(project, event, {**decision.plain(), "leader": challenger.name})
    return decision


def _decide(
    project: Project,
    challenger: Challenger,
    standing: Standing,
    source: Lineage,
    on_phase: Callable[[str], None],
    key: PrivateKey | None,
    *,
    force: bool,
    reason: str,
) -> tuple[Decision, Judgement]:
    """Judge, claim a line of the ledger, and make the registry show what it says.

    Whoever finds that another decision came first judges again, against the
    champion that it made.
    """
    while True:
        judgement = judge(project, challenger, standing.champion, source, on_phase, forced=force)
        on_phase("registry")
        decision = _told(project, challenger, judgement, force, reason)
        manifest = _registered(project, challenger) if decision.kind.moves else None
        line = standing.ledger.begin(
            kind=decision.kind,
            after=standing.lines,
            run_id=challenger.run_id,
            before=decision.champion,
            version=None,
            reason=decision.reason,
            basis=_basis(project, challenger),
            evidence=_evidence(project, challenger, decision, judgement, source, manifest),
            tags=_tags(challenger, decision, source),
            files=manifest.digest if manifest else "",
        )
        if line is not None:
            break
        logger.info("promote: another decision came first; judging again")
        standing = champion.settle(project.settings, tracking.experiment(project))
    if manifest is not None:

        def sign(version: Version) -> None:
            if key is not None:
                integrity.sign(integrity.promoted(version, manifest), key)

        line = champion.carry_out(project.settings, standing.ledger, line, sign)
        if key is None and project.settings.registry.require_signature:
            logger.warning(
                "promote: version %s is not signed, and registry.require_signature is on: nobody"
                " loads it before whoever holds a key has run `ratchet sign`",
                line.champion,
            )
    return decision.written_as(line), judgement


def _registered(project: Project, challenger: Challenger) -> Manifest:
    """Digest the files that are to be registered, which must be those that were judged.

    Raises
    ------
    AlteredError
        If the store keeps another model than the one that was judged, or than the one that was
        promoted before.
    """
    with TemporaryDirectory(prefix="ratchet-") as folder:
        kept = tracking.fetch(challenger.model_uri, Path(folder))
        changes = same_model(kept, challenger.folder)
        if changes:
            raise AlteredError(
                f"The store keeps another model of run {challenger.run_id} than the one that was"
                f" judged, in {challenger.folder}: {', '.join(changes)}. It is not promoted. Train"
                " again: dvc repro --force train, or python src train."
            )
        before = versions.of_run(project.settings, challenger.run_id)
        if before is not None:
            integrity.check(before, kept)
        return Manifest.read(kept)


def _sign_again(before: Decision, key: PrivateKey | None) -> None:
    """Sign a champion that nobody has signed with this key: a kill may have come in between."""
    if key is None or not before.promoted or before.version is None:
        return
    version = Version(before.model, before.version, before.run_id)
    if not integrity.is_signed_by(version, key):
        integrity.sign(models.fetch(version), key)


def _facts(project: Project, challenger: Challenger) -> Facts | None:
    """Read what evaluate has found out about a challenger, if a report is wanted."""
    if not project.settings.evaluate.report:
        return None
    return reports.facts_of(project, challenger.run_id, is_leader=challenger.rows is not None)


def _report(
    project: Project,
    challenger: Challenger,
    facts: Facts | None,
    decision: Decision,
    judgement: Mapping[str, Any],
    undone: str = "",
) -> None:
    """Write the report with a decision, and put it on the challenger's run."""
    if not project.settings.evaluate.report:
        reports.remove(project)
        return
    told = Decided(
        kind=decision.kind.value,
        reason=decision.reason,
        model=decision.model,
        version=decision.version if decision.kind.moves else None,
        champion=decision.champion,
        metric=decision.metric,
        # The evidence has null for NaN.
        score=None if decision.score is None or isnan(decision.score) else decision.score,
        gates=decision.gates,
        at=decision.decided_at or "",
        line=decision.line or 0,
        run=decision.decision_run or "",
        test=challenger.test_digest,
        rival=reports.rival_of(judgement),
        undone=undone,
    )
    reports.decided(
        project,
        challenger.run_id,
        challenger.name,
        facts,
        told,
        is_leader=challenger.rows is not None,
    )


def _report_again(
    project: Project,
    challenger: Challenger,
    facts: Facts | None,
    standing: Standing,
    before: Decision,
) -> None:
    """Write the report of a decision that stands where it is missing: here, or on the run.

    It is, where another checkout decided, where evaluate has run again since,
    and where promote was killed after its decision.
    """
    line = standing.lines[(before.line or 0) - 1]
    undone = before.reason if line.kind.moves and not before.promoted else ""
    key = f"{line.decision_run} undone" if undone else line.decision_run
    told = reports.is_told(project, key) and reports.is_on_run(challenger.run_id, key)
    if not project.settings.evaluate.report or told:
        return
    evidence = standing.ledger.evidence_of(line)
    decision = Decision.from_plain(evidence["decision"]).written_as(line)
    _report(project, challenger, facts, decision, evidence["judgement"], undone)


def _told(
    project: Project, challenger: Challenger, judgement: Judgement, force: bool, reason: str
) -> Decision:
    """Turn a judgement into a decision that has not been written down yet."""
    failed = [result for result in judgement.gates if not result.passed]
    if force:
        kind, told = Kind.FORCE, reason
    elif failed:
        kind, told = Kind.REFUSE, "; ".join(result.reason for result in failed)
    else:
        kind, told = Kind.PROMOTE, judgement.against_champion.reason
    return Decision(
        outcome=Outcome.PROMOTED if kind.moves else Outcome.KEPT,
        kind=kind,
        reason=told,
        model=project.settings.model_name,
        version=None,
        champion=judgement.reigning.number if judgement.reigning else None,
        run_id=challenger.run_id,
        decision_run=None,
        line=None,
        metric=judgement.metric,
        score=judgement.score,
        gates=judgement.gates,
        decided_at=None,
    )


def _before(project: Project, challenger: Challenger, standing: Standing) -> Decision | None:
    """Return the decision on this challenger if it still stands."""
    lines = standing.lines
    about = [line for line in lines if line.run_id == challenger.run_id and line.basis]
    if not about:
        return None
    line = about[-1]
    holds = standing.champion.number if standing.champion else None
    if line.kind.moves:
        undone = _rolled_back(lines, line) if holds != line.champion else None
        if undone is None and holds != line.champion:
            return None  # another won its place by the gates: it may try again
    elif line.before != holds or line.basis != _basis(project, challenger):
        return None
    value = standing.ledger.evidence_of(line)["decision"]
    decision = replace(Decision.from_plain(value).written_as(line), is_new=False)
    if line.kind.moves and undone is not None:
        told = f"version {line.champion} was rolled back on {undone.at[:10]}: {undone.reason}"
        return replace(decision, outcome=Outcome.KEPT, champion=holds, reason=told)
    return decision


def _rolled_back(lines: tuple[Line, ...], made: Line) -> Line | None:
    """Return the rollback that undid a line, None while the line stands."""
    return next(
        (
            line
            for line in lines[made.number :]
            if line.kind is Kind.ROLLBACK and line.before == made.champion
        ),
        None,
    )


def _basis(project: Project, challenger: Challenger) -> str:
    """Digest what a judgement depends on, beside the two models."""
    rules = {
        "promote": project.settings.promote.model_dump(mode="json"),
        "metric": challenger.metric,
        "seed": project.settings.seed,
        "test": challenger.test_digest,
    }
    return lineage.params_digest(rules)


def _evidence(
    project: Project,
    challenger: Challenger,
    decision: Decision,
    judgement: Judgement,
    source: Lineage,
    manifest: Manifest | None,
) -> dict[str, Any]:
    """Collect all that the decision rests on, as plain values."""
    rules = settings.flat(project.settings)
    return files.finite(
        {
            "decision": decision.plain(),
            "judgement": judgement.plain(),
            "name": challenger.name,
            "model_uri": challenger.model_uri,
            "test_digest": challenger.test_digest,
            integrity.EVIDENCE_KEY: dict(manifest.files) if manifest else None,
            "tags": _tags(challenger, decision, source),
            "summary": reports.summary(project, challenger.run_id, decision.metric, decision.gates),
            "rules": {name: rules[name] for name in rules if name.startswith("promote.")},
        }
    )


def _tags(challenger: Challenger, decision: Decision, source: Lineage) -> dict[str, str]:
    return {
        **dict(source.tags()),
        "ratchet.model": decision.model,
        "ratchet.leader_run": challenger.run_id,
        "ratchet.metric": decision.metric,
        f"test/{decision.metric}": f"{decision.score:.6g}",
        **_gate_tags(decision),
    }


def _gate_tags(decision: Decision) -> dict[str, str]:
    return {
        f"ratchet.gate.{gate.name}": f"{'passed' if gate.passed else 'failed'}: {gate.reason}"
        for gate in decision.gates
    }


def _items(project: Project, decision: Decision, judgement: Judgement) -> list[Item]:
    rival = judgement.rival.flat() if judgement.rival else {}
    return [
        *(Score(name, value) for name, value in rival.items()),
        Tag("ratchet.decision", decision.kind),
        Tag("ratchet.reason", decision.reason),
        Tag("ratchet.decision_run", decision.decision_run or ""),
        notes.of_promote(project, decision),
        *(Tag(name, told) for name, told in _gate_tags(decision).items()),
        Score(f"test/{decision.metric}", decision.score),
        Score("promoted", float(decision.promoted)),
        File(project.promoted / "decision.json"),
    ]
