"""The steps as they go: a live view on a terminal, a line for each step forward elsewhere."""

import math
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from ratchet.settings import Settings

if TYPE_CHECKING:
    from ratchet.search import Candidate, TrialResult

# Pictures a second: enough for a clock, and no burden where two cores are busy with fits.
_PICTURES = 4
# Below so many columns there is no room for a bar.
_ROOM_FOR_BAR = 64
_BAR_WIDTH = 24
# So many last trials say how long one takes, and so few say nothing yet.
_RECENT = 20
_ENOUGH = 3
# Seconds without a line after which a log is told that the search goes on.
_SILENCE = 60.0


class SearchProgress:
    """Shows what a step does: of a search its trials, and what comes before and after it.

    On a terminal there is the time that is left, the best so far and what is
    being tried. Elsewhere, as in the log of CI, only a new best, a failure and a
    phase of the training get a line, and every minute one that it goes on.
    """

    def __init__(
        self,
        settings: Settings,
        console: Console,
        *,
        trials: int | None = None,
        quiet: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Show a search of these settings, or a replay of so many trials, which has no budget.

        A quiet one shows nothing.
        """
        budget = settings.train.search
        self._seconds = budget.budget_seconds if trials is None else None
        self._max_trials = budget.max_trials if trials is None else max(1, trials)
        self._console = console
        self._clock = clock
        self._lines = not quiet and not console.is_interactive
        self._step = "train"
        self._phase = ""
        self._started = self._told = clock()
        self._ended: deque[float] = deque(maxlen=_RECENT + 1)
        self._running: dict[str, str] = {}
        self._n_done = self._n_failed = self._n_resumed = 0
        self._spent = 0.0
        self._best = ""
        self._reasons: set[str] = set()
        self._resumed = 0
        self._resumed_best = ""
        self._spinner = Spinner("dots" if console.encoding.startswith("utf") else "line")
        self._live = Live(
            console=console,
            transient=True,
            refresh_per_second=_PICTURES,
            get_renderable=self._picture,
            # Output that goes to a file must not end up on the terminal.
            redirect_stdout=sys.stdout.isatty(),
        )
        self._alive = not quiet and console.is_interactive

    def __enter__(self) -> Self:
        if self._alive:
            self._live.start(refresh=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._tell_resumed()
        self._live.stop()

    def on_step(self, name: str) -> None:
        """Show the step that begins."""
        self._step, self._phase = name, ""
        self._started = self._clock()
        self._show()

    def on_phase(self, text: str) -> None:
        """Show what the step does now, such as ``refit``."""
        self._tell_resumed()
        self._phase = text
        self._running.clear()
        # The other steps are short, and a log is told how long they took.
        if self._step == "train":
            self._line(text)
        self._show()

    def on_start(self, candidate: "Candidate") -> None:
        """Show a candidate that is being tried now."""
        if not self._ended:
            self._ended.append(self._clock())
        self._running[candidate.key] = candidate.label

    def on_trial(self, trial: "TrialResult") -> None:
        """Show a trial that has just ended, or that an interrupted search has left."""
        outcome = f"failed: {trial.error}" if trial.error else _number(trial.score)
        text = f"{trial.candidate.label} {outcome}"
        self._n_done = trial.number + 1
        self._n_failed += trial.error is not None
        if trial.leads:
            self._best = text
        if trial.resumed:
            self._resumed += 1
            self._n_resumed += 1
            self._resumed_best = self._best
            self._spent = max(self._spent, trial.elapsed)
            return
        self._running.pop(trial.candidate.key, None)
        self._ended.append(self._clock())
        self._tell_resumed()
        # The same failure a hundred times over says no more than once.
        again = trial.error is not None and text in self._reasons
        if trial.error is not None:
            self._reasons.add(text)
        if trial.leads or (trial.error and not again):
            self._line(f"trial {trial.number + 1}: {text} in {trial.seconds:.1f} s")
        elif self._clock() - self._told >= _SILENCE:
            self._line(", ".join([*self._counts(), *self._best_so_far(), *self._left()]))

    # What is on the screen

    def _show(self) -> None:
        """Draw at once what may be over before the next picture is due."""
        if self._live.is_started:
            self._live.refresh()

    def _picture(self) -> RenderableType:
        width = self._console.width
        head = Table.grid(padding=(0, 1, 0, 0))
        head.add_column(no_wrap=True)
        head.add_column(no_wrap=True)
        searches = self._step == "train"
        name = self._phase or ("search" if searches and self._ended else "start")
        cells: list[RenderableType] = [self._spinner, Text(f"{self._step} · {name}")]
        if searches and width >= _ROOM_FOR_BAR:
            head.add_column(width=_BAR_WIDTH)
            cells.append(ProgressBar(1.0, self.share, width=_BAR_WIDTH, complete_style="cyan"))
        head.add_column(no_wrap=True, overflow="ellipsis")
        facts = list(self._left()) or [_clock(self._clock() - self._started)]
        if searches:
            facts += self._counts()
        head.add_row(*cells, Text(" · ".join(facts)))
        below = Table.grid(padding=(0, 2, 0, 0))
        below.add_column(style="dim", no_wrap=True)
        below.add_column(no_wrap=True, overflow="ellipsis")
        if searches and self._best:
            below.add_row("  best", Text(self._best))
        if searches and self._running and not self._phase:
            below.add_row("  trying", Text(", ".join(_grouped([*self._running.values()]))))
        return Group(head, below)

    @property
    def share(self) -> float:
        """The part of the budget that is spent, of time or of trials, whichever is further."""
        of_trials = self._n_done / self._max_trials
        if self._seconds is None:
            return min(1.0, of_trials)
        return min(1.0, max(of_trials, self._elapsed() / self._seconds))

    def _elapsed(self) -> float:
        """Seconds that count towards the budget, those of an interrupted search too."""
        return self._spent + self._clock() - self._started

    def _left(self) -> Iterator[str]:
        """Tell the time that is left, as far as it can be known."""
        if self._step != "train":
            return
        budget = math.inf if self._seconds is None else self._seconds - self._elapsed()
        guess = self._left_by_trials()
        if not math.isinf(budget) and (guess is None or budget <= guess or 2 * self.share < 1):
            yield f"{_clock(budget)} left" if budget >= 0 else f"{_clock(-budget)} over"
        elif guess is not None and self._phase == "":
            yield f"about {_clock(guess)} left"

    def _left_by_trials(self) -> float | None:
        """Guess how long the trials that are left will take, from how long the last ones took."""
        ended = tuple(self._ended)
        if len(ended) <= _ENOUGH:
            return None
        each = (ended[-1] - ended[0]) / (len(ended) - 1)
        due = each * (self._max_trials - self._n_done)
        return max(0.0, due - (self._clock() - ended[-1]))

    def _counts(self) -> list[str]:
        """Tell how many trials there were, as far as there were any."""
        counts = []
        if self._n_done:
            limited = self._seconds is None
            most = f" of {self._max_trials}" if limited else ""
            counts.append(f"{self._n_done}{most} trials" if most else _counted(self._n_done))
        if self._n_failed:
            counts.append(f"{self._n_failed} failed")
        if self._n_resumed:
            counts.append(f"{self._n_resumed} resumed")
        return counts

    # What a log gets

    def _best_so_far(self) -> list[str]:
        return [f"best {self._best}"] if self._best else []

    def _tell_resumed(self) -> None:
        """Give the trials of an interrupted search one line, once all of them are known."""
        if self._resumed:
            best = f", best {self._resumed_best}" if self._resumed_best else ""
            self._line(f"resumed {_counted(self._resumed)}{best}")
        self._resumed = 0

    def _line(self, text: str) -> None:
        self._told = self._clock()
        if self._lines:
            self._console.print(f"  {text}", markup=False, soft_wrap=True)


class RowsProgress:
    """Shows how far rows are done, how fast, and how long the rest will take; on a terminal only.

    A log has the line that ends the work, and a machine that reads it wants no more.
    """

    def __init__(
        self,
        console: Console,
        name: str,
        *,
        quiet: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console, self._name, self._clock = console, name, clock
        self._lately: deque[tuple[float, int, float]] = deque([(clock(), 0, 0.0)], _RECENT + 1)
        self._live = Live(
            console=console,
            get_renderable=self._picture,
            refresh_per_second=_PICTURES,
            transient=True,
            redirect_stdout=False,
        )
        self._shown = console.is_interactive and not quiet

    def __enter__(self) -> Self:
        if self._shown:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._live.stop()

    def on_rows(self, rows: int, share: float) -> None:
        """Show that so many rows, and this share of the work, are done."""
        self._lately.append((self._clock(), rows, share))

    def _picture(self) -> RenderableType:
        # What an interrupted call had done comes at once, and is soon out of sight.
        (begun, rows_before, share_before), (_, rows, share) = self._lately[0], self._lately[-1]
        seconds = self._clock() - begun
        facts = [f"{rows:,} rows"]
        if seconds > 0 and rows > rows_before and share > share_before:
            left = seconds * (1 - share) / (share - share_before)
            facts.append(f"{(rows - rows_before) / seconds:,.0f} a second")
            facts.append(f"about {_clock(left)} left")
        table = Table.grid(padding=(0, 1, 0, 0))
        cells: list[RenderableType] = [Text(self._name)]
        if self._console.width >= _ROOM_FOR_BAR:
            cells.append(ProgressBar(1.0, share, width=_BAR_WIDTH, complete_style="cyan"))
        table.add_row(*cells, Text(" · ".join(facts)))
        return table


def _grouped(labels: list[str]) -> list[str]:
    """Name each once, with how many there are of it."""
    return [
        label if (n := labels.count(label)) == 1 else f"{label} ({n} at once)"
        for label in dict.fromkeys(labels)
    ]


def _counted(n: int) -> str:
    return f"{n} trial" if n == 1 else f"{n} trials"


def _clock(seconds: float) -> str:
    """Write seconds as a clock does."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def _number(score: float) -> str:
    # It is there by then; a view that loads it itself would come up after the seconds it takes.
    from ratchet.gates import decimals, shown

    return shown(score, decimals([score]))
