"""How far new rows have moved from those that a model learned from."""

from ratchet.drift.base import (
    FILE,
    ColumnDrift,
    DriftReport,
    Finding,
    Histogram,
    LiveScore,
    Together,
    Verdict,
)
from ratchet.drift.comparison import compare, with_finding
from ratchet.drift.live import score as live_score
from ratchet.drift.reference import FILE as REFERENCE_FILE
from ratchet.drift.reference import (
    SAMPLE_FILE,
    ColumnReference,
    Expected,
    Reference,
    answers,
    growing,
)

__all__ = [
    "FILE",
    "REFERENCE_FILE",
    "SAMPLE_FILE",
    "ColumnDrift",
    "ColumnReference",
    "DriftReport",
    "Expected",
    "Finding",
    "Histogram",
    "LiveScore",
    "Reference",
    "Together",
    "Verdict",
    "answers",
    "compare",
    "growing",
    "live_score",
    "with_finding",
]
