"""Questions that wait for a model are put to it in one call."""

from collections import deque
from collections.abc import Callable
from threading import Lock
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
        self._asking = Lock()

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
        self._waiting.append(mine)
        with self._asking:
            while not mine.answered:  # whoever asked before may have taken it along
                self._answer(self._next())
        if mine.error is not None:
            raise mine.error
        return mine.answer

    def _next(self) -> "list[_Question]":
        taken, rows = [self._waiting.popleft()], 0
        while self._waiting and rows < _MOST:
            taken.append(self._waiting.popleft())
            rows += len(taken[-1].frame)
        return taken

    def _answer(self, questions: "list[_Question]") -> None:
        if len(questions) > 1:
            frame = pd.concat([each.frame for each in questions], ignore_index=True)
            try:
                said = self._ask(frame)
            except Exception:  # which one it was, each finds out by itself
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

    def settle(self, answer: Any, error: Exception | None = None) -> None:
        self.answer, self.error = answer, error
        self.answered = True
