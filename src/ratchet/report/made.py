"""How a leader was made, and the command that makes it again."""

from collections.abc import Iterator
from dataclasses import dataclass

from ratchet.report.pieces import Block, Cell, Row, Table, cut, headings, table

# Digits of a commit that tell it from any other.
_DIGITS = 12


@dataclass(frozen=True)
class Made:
    """What the run that trained a model says of where it comes from."""

    run_id: str
    """That run."""
    name: str
    """Its name."""
    started: str
    """When it began, in UTC as ISO 8601."""
    user: str
    """Who started it; empty where it doesn't say."""
    experiment: str
    """Name of its experiment."""
    page: str
    """Address of its page in MLflow's UI; empty where no server is known to show it."""
    store: str
    """How to see it where there is no address: a command; empty otherwise."""
    commit: str | None
    """The commit that was checked out; None where it doesn't say."""
    branch: str
    """The branch; empty where it doesn't say."""
    dirty: bool | None
    """Whether code differed from the commit; None when git couldn't tell."""
    code_reason: str
    """Why something of the code is unknown, in a clause; empty otherwise."""
    data_version: str
    """The md5 that DVC gives the bytes that were read; empty where it doesn't say."""
    data_dirty: bool
    """Whether neither DVC nor git had recorded them."""
    params_digest: str
    """A digest of all settings."""
    lock_digest: str
    """A digest of the lock; empty without one."""
    overrides: str
    """Assignments on the command line; empty without any."""
    pipeline: str
    """Id over the steps of its pipeline."""
    restored_from: str
    """Run that did the work, where this one was logged again from its outputs; else empty."""
    runs: tuple[tuple[str, str], ...] = ()
    """Steps and ids of the other runs that belong to it."""
    hardware: tuple[tuple[str, str], ...] = ()
    """What the machine was, by name."""
    versions: tuple[tuple[str, str], ...] = ()
    """What was installed of the libraries that can change a result."""

    @property
    def code(self) -> str:
        """The commit in short, and whether more than it ran."""
        if self.commit is None:
            return f"in no commit{f' ({self.code_reason})' if self.code_reason else ''}"
        state = {
            True: "with uncommitted changes",
            False: "clean",
            None: self.code_reason or "whether it was clean is not known",
        }[self.dirty]
        return f"{self.commit[:_DIGITS]}, {state}"

    @property
    def data(self) -> str:
        """The data version, and whether it can be had again."""
        if not self.data_version:
            return "unknown"
        return f"{self.data_version}, {'not recorded' if self.data_dirty else 'recorded'}"


def blocks(made: Made) -> tuple[Block, ...]:
    """Lay out lineage, environment and the way to make the model again."""
    again = (
        "This makes the model again from what its run has on record, and says whether it is the"
        " same:",
    )
    found = [
        Block("Make it again", again, code=f"python src reproduce {made.run_id}"),
        Block("Lineage", (), Table(headings(("", "")), tuple(_lineage(made)))),
    ]
    if made.store:
        found.append(
            Block("In MLflow", ("This shows the run beside all others:",), code=made.store)
        )
    if made.hardware or made.versions:
        installed = ", ".join(f"{name} {version}" for name, version in made.versions)
        rows = [*made.hardware, *([("libraries", installed)] if installed else [])]
        found.append(Block("Environment", (), table(("", ""), rows)))
    return tuple(found)


def _lineage(made: Made) -> Iterator[Row]:
    yield _row("training run", f"{made.run_id} in {made.experiment}", made.page)
    yield _row("named", made.name)
    if made.restored_from:
        yield _row("logged again from", made.restored_from)
    when = f"{made.started.replace('T', ' ').replace('+00:00', '')} UTC"
    yield _row("trained", f"{when}{f' by {made.user}' if made.user else ''}")
    yield _row("code", made.code)
    if made.dirty:
        yield _row("uncommitted", "lineage/dirty.patch of the run")
    if made.branch:
        yield _row("branch", made.branch)
    yield _row("data version", made.data)
    yield _row("settings digest", made.params_digest)
    if made.overrides:
        yield _row("overrides", made.overrides)
    yield _row("lock digest", made.lock_digest or "none")
    yield _row("pipeline", made.pipeline)
    for step, run_id in made.runs:
        yield _row(f"run of {step}", run_id)


def _row(name: str, text: str, href: str = "") -> Row:
    return Row((Cell(name), Cell(cut(text or "unknown"), href=href)))
