"""The search as it goes: a live bar on a terminal, a line for each step forward elsewhere."""

from collections.abc import Iterable
from types import TracebackType
from typing import Self

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from ratchet.gates import decimals, shown
from ratchet.search import TrialResult
from ratchet.settings import Settings


class SearchProgress:
    """Shows trials as they end, and what comes after the search.

    On a terminal a bar is filled by whichever part of the budget is further
    spent, time or trials. Elsewhere, as in the log of CI, only a new best, a
    failure and a phase get a line.
    """

    def __init__(self, settings: Settings, console: Console, *, trials: int | None = None) -> None:
        """Show a search of these settings, or a replay of so many trials, which has no budget."""
        budget = settings.train.search
        seconds = budget.budget_seconds if trials is None else None
        self._max_trials = budget.max_trials if trials is None else max(1, trials)
        self._console = console
        self._best = ""
        self._resumed = 0
        self._resumed_best = ""
        self._bar = _Bar(seconds, console)
        self._task = self._bar.add_task("first trial", total=1.0, phase="search")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._tell_resumed()
        self._bar.stop()

    def on_trial(self, trial: TrialResult) -> None:
        """Show a trial that has just ended, or that an interrupted search has left."""
        outcome = f"failed: {trial.error}" if trial.error else _number(trial.score)
        text = f"{trial.candidate.label} {outcome}"
        if trial.leads:
            self._best = text
        if trial.resumed:
            self._resumed += 1
            self._resumed_best = self._best
            self._show(trial, f"resumed {_counted(self._resumed)}")
            return
        self._tell_resumed()
        self._show(trial, f"trial {trial.number + 1}: {text}")
        if trial.leads or trial.error:
            self._line(f"trial {trial.number + 1}: {text} in {trial.seconds:.1f} s")

    def on_phase(self, text: str) -> None:
        """Show what the step does after the search, such as ``refit``."""
        self._tell_resumed()
        best = f"best {self._best}" if self._best else ""
        self._bar.update(self._task, phase=text, description=best)
        self._line(text)

    def _show(self, trial: TrialResult, text: str) -> None:
        best = f"best {self._best} · " if self._best else ""
        spent = (trial.number + 1) / self._max_trials
        self._bar.update(self._task, completed=spent, description=f"{best}{text}")

    def _tell_resumed(self) -> None:
        """Give the trials of an interrupted search one line, once all of them are known."""
        if self._resumed:
            best = f", best {self._resumed_best}" if self._resumed_best else ""
            self._line(f"resumed {_counted(self._resumed)}{best}")
        self._resumed = 0

    def _line(self, text: str) -> None:
        if not self._console.is_terminal:
            self._console.print(f"  {text}", markup=False, soft_wrap=True)


class _Bar(Progress):
    """A bar that also moves with the clock, between two trials."""

    def __init__(self, budget_seconds: float | None, console: Console) -> None:
        self._budget_seconds = budget_seconds
        super().__init__(
            SpinnerColumn(),
            TextColumn("{task.fields[phase]}", markup=False),
            BarColumn(bar_width=24),
            TimeElapsedColumn(),
            TextColumn("{task.description}", markup=False),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )

    def get_renderables(self) -> Iterable[RenderableType]:
        for task in self.tasks:
            if self._budget_seconds is not None and task.elapsed is not None:
                task.completed = max(task.completed, min(1.0, task.elapsed / self._budget_seconds))
        return super().get_renderables()


def _counted(n: int) -> str:
    return f"{n} trial" if n == 1 else f"{n} trials"


def _number(score: float) -> str:
    return shown(score, decimals([score]))
