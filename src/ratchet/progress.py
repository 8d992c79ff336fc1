"""The search as it goes: a live bar on a terminal, a line for each step forward elsewhere."""

from collections.abc import Iterable
from types import TracebackType
from typing import Self

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from ratchet.search import TrialResult
from ratchet.settings import Settings


class SearchProgress:
    """Shows trials as they end.

    On a terminal a bar is filled by whichever part of the budget is further
    spent, time or trials. Elsewhere, as in the log of CI, only a new best and
    a failure get a line.
    """

    def __init__(self, settings: Settings, console: Console) -> None:
        budget = settings.train.search
        self._max_trials = budget.max_trials
        self._console = console
        self._best = ""
        self._bar = _Bar(budget.budget_seconds, console)
        self._task = self._bar.add_task("first trial", total=1.0)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def on_trial(self, trial: TrialResult) -> None:
        """Show a trial that has just ended."""
        outcome = f"failed: {trial.error}" if trial.error else f"{trial.score:.4g}"
        text = f"{trial.candidate.label} {outcome}"
        if trial.leads:
            self._best = f"best {text} · "
        if self._console.is_terminal:
            described = f"{self._best}trial {trial.number + 1}: {text}"
            spent = (trial.number + 1) / self._max_trials
            self._bar.update(self._task, completed=spent, description=described)
        elif trial.leads or trial.error:
            self._console.print(
                f"  trial {trial.number + 1}: {text} in {trial.seconds:.1f} s",
                markup=False,
                soft_wrap=True,
            )


class _Bar(Progress):
    """A bar that also moves with the clock, between two trials."""

    def __init__(self, budget_seconds: float | None, console: Console) -> None:
        self._budget_seconds = budget_seconds
        super().__init__(
            SpinnerColumn(),
            TextColumn("search"),
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
