"""What a score is called, how it is computed, and which way is better."""

from ratchet.metrics.base import Metric, Predictions, Scorer, Sums, score
from ratchet.metrics.catalogue import default, for_problem, named, on_record
from ratchet.metrics.probabilities import calibration_bins
from ratchet.metrics.stopping import best_threshold, stopping_loss

__all__ = [
    "Metric",
    "Predictions",
    "Scorer",
    "Sums",
    "best_threshold",
    "calibration_bins",
    "default",
    "for_problem",
    "named",
    "on_record",
    "score",
    "stopping_loss",
]
