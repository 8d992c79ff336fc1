"""A place for trials that takes no time, and says where it is."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from ratchet.search import Candidate, Scored


@dataclass
class Field:
    """A place where candidates score what they are told to, and say in which process."""

    threads: int = 2
    beside: int = 1

    def evaluate(
        self, candidate: Candidate, deadline: float | None, cuts: Sequence[int | None] = ()
    ) -> Scored:
        return Scored(float(candidate.params["x"]), 0.0)

    def hand_over(self, candidate: Candidate) -> int:
        return os.getpid()

    def with_threads(self, threads: int) -> "Field":
        return Field(threads)
