"""Questions that wait for a model are put to it in one call."""

from collections import deque
from collections.abc import Callable
from threading import Event, Lock
from typing import Any

import numpy as np
import pandas as pd

# Rows of a question that goes with others, and of all that go together. A call takes about as long
# for hundreds of rows as for one; thousands are a call of their own, that nobody waits for.
_FEW = 200
_MOST = 2_000


class Together:
    """Asks a model one question at a time, and all that have come meanwhile with the next.

    Most of a call is spent on the way of a table through the model's steps,
    whatever the number of its rows. So a server that is asked faster than it
    answers gets faster: nobody waits for others to come, and whoever has to
    wait goes along.
    """

    def __init__(self, ask: Callable[[pd.DataFrame], Any]) -> None:
        self._ask = ask
        self._waiting: deque[_Question] = deque()
        self._busy = False
        self._door = Lock()

    def __call__(self, frame: pd.DataFrame) -> Any:
        """Ask about rows of the model's own columns and types.

        Parameters
        ----------
        frame : pd.DataFrame, shape (n_rows, n_columns)
            The same columns and types at every call.

        Returns
        -------
        Any
            What the model says of these rows.
        """
        if len(frame) > _FEW:
            return self._ask(frame)
        mine = _Question(frame)
        with self._door:
            self._waiting.append(mine)
            waits, self._busy = self._busy, True
        if waits:
            mine.turn.wait()
        if not mine.answered:  # nobody took it along: now it is this one's turn to ask
            try:
                self._answer(self._next())
            finally:
                self._hand_over()
        if mine.error is not None:
            raise mine.error
        return mine.answer

    def _next(self) -> "list[_Question]":
        with self._door:
            taken = [self._waiting.popleft()]
            rows = len(taken[0].frame)
            while self._waiting and (rows := rows + len(self._waiting[0].frame)) <= _MOST:
                taken.append(self._waiting.popleft())
        return taken

    def _hand_over(self) -> None:
        with self._door:
            if self._waiting:
                self._waiting[0].turn.set()
            else:
                self._busy = False

    def _answer(self, questions: "list[_Question]") -> None:
        if len(questions) > 1:
            try:
                frame = pd.concat([each.frame for each in questions], ignore_index=True)
                said = self._ask(frame)
            except Exception:  # whose rows it was, each finds out by itself
                said = None
            if isinstance(said, np.ndarray) and len(said) == len(frame):
                start = 0
                for each in questions:
                    each.settle(said[start : (start := start + len(each.frame))])
                return
        for each in questions:
            try:
                each.settle(self._ask(each.frame))
            except Exception as error:  # a model may fail in any way, and who asked is told
                each.settle(None, error)


class _Question:
    """Rows that somebody waits for."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self.frame = frame
        self.answer: Any = None
        self.error: Exception | None = None
        self.answered = False
        self.turn = Event()
        """Set when it has been answered, and when it is the first of those that wait."""

    def settle(self, answer: Any, error: Exception | None = None) -> None:
        self.answer, self.error, self.answered = answer, error, True
        self.turn.set()
