"""Weights for the best few models, from what they say about rows they were not fitted on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

# Models that are added one after the other, the same ones again: a weight is a multiple of 1/60.
ROUNDS = 60
# Parts of the rows in turn, on which an ensemble that was chosen on the others is judged.
PARTS = 5
# A model of less weight than this is left out if nobody would miss it: if the loss rises by no more
# than this share without it. Each costs a fit on all rows, room, and time in every answer.
CRUMB = 0.04
CRUMB_WORTH = 3e-4

Loss = Callable[[np.ndarray], float]
"""Maps raw answers, quantities (n,) or probabilities (n, K), to the number to minimise."""


@dataclass(frozen=True)
class Choice:
    """Which models answer together, and what that is worth."""

    weights: np.ndarray
    """Share of each model in the answer, of shape (n_models,), adding up to 1."""
    honest_loss: float
    """Loss on rows that the choice was not made with."""
    honest_losses: tuple[float, ...]
    """The same on each part of them."""

    def is_beaten_by(self, other: "Choice") -> bool:
        """Tell whether another choice is better by more than chance would have it.

        The parts are paired, and one standard error of the mean of their
        differences is allowed for (Breiman et al. 1984).

        References
        ----------
        Breiman, L., Friedman, J., Olshen, R. and Stone, C. (1984).
        Classification and Regression Trees, section 3.4.3. Wadsworth.
        """
        losses = np.array([self.honest_losses, other.honest_losses])
        if losses.shape[1] < 2 or not np.isfinite(losses).all():
            return not self.honest_loss < other.honest_loss
        worse = losses[0] - losses[1]
        return bool(np.mean(worse) > np.std(worse, ddof=1) / np.sqrt(len(worse)))


def greedy(
    answers: Sequence[np.ndarray], loss: Loss, max_members: int, rounds: int = ROUNDS
) -> np.ndarray:
    """Choose weights by adding the model that helps most, again and again.

    Starts with the best model. A model may be added many times, which is how
    weights come about; the best ensemble on the way wins, the smaller one of
    two that are equal. Models of next to no weight that bring next to nothing
    are left out at the end.

    Parameters
    ----------
    answers : sequence of np.ndarray
        What each model says, all of shape (n,) or all of shape (n, K).
    loss : callable
        Judges answers.
    max_members : int
        Most different models.
    rounds : int
        Models that are added: a weight is a multiple of one in so many.

    Returns
    -------
    np.ndarray of shape (n_models,)
        Weights that add up to 1.

    References
    ----------
    Caruana, R., Niculescu-Mizil, A., Crew, G. and Ksikes, A. (2004). Ensemble
    Selection from Libraries of Models. ICML 21.

    Examples
    --------
    >>> truth = np.array([1.0, 2.0, 3.0])
    >>> high, low = truth + 1, truth - 1
    >>> greedy([high, low], lambda said: float(np.abs(said - truth).mean()), 2)
    array([0.5, 0.5])
    """
    counts = np.zeros(len(answers), dtype=np.int64)
    total = np.zeros_like(answers[0], dtype=np.float64)
    best, best_counts = np.inf, counts
    for turn in range(1, rounds + 1):
        full = np.count_nonzero(counts) >= max_members
        open_ = np.flatnonzero(counts) if full else np.arange(len(answers))
        losses = [loss((total + answers[int(place)]) / turn) for place in open_]
        chosen = int(open_[int(np.argmin(losses))])
        counts[chosen] += 1
        total += answers[chosen]
        if min(losses) < best - 1e-12:
            best, best_counts = min(losses), counts.copy()
    if not best_counts.any():  # no loss is a number
        best_counts[0] = 1
    return _without_crumbs(best_counts / best_counts.sum(), answers, loss)


def _without_crumbs(weights: np.ndarray, answers: Sequence[np.ndarray], loss: Loss) -> np.ndarray:
    """Leave out models of little weight, the smallest first, that nobody would miss."""
    small = [place for place in np.argsort(weights, kind="stable") if 0 < weights[place] < CRUMB]
    if not small:
        return weights
    least = loss(mixed(answers, weights))
    allowed = least + CRUMB_WORTH * abs(least)
    for place in small:
        fewer = weights.copy()
        fewer[place] = 0.0
        fewer /= fewer.sum()
        if loss(mixed(answers, fewer)) <= allowed:
            weights = fewer
    return weights


def best_alone(answers: Sequence[np.ndarray], loss: Loss, _: int = 1) -> np.ndarray:
    """Give all weight to the best model."""
    weights = np.zeros(len(answers))
    weights[int(np.argmin([loss(answer) for answer in answers]))] = 1.0
    return weights


def voting(answers: Sequence[np.ndarray], loss: Loss, max_members: int) -> np.ndarray:
    """Give the best ``max_members`` models equal weights."""
    order = np.argsort([loss(answer) for answer in answers], kind="stable")[:max_members]
    weights = np.zeros(len(answers))
    weights[order] = 1 / len(order)
    return weights


def choose(
    rule: Callable[[Sequence[np.ndarray], Loss, int], np.ndarray],
    answers: Sequence[np.ndarray],
    loss_on: Callable[[np.ndarray], Loss],
    max_members: int,
    seed: int,
) -> Choice:
    """Choose weights, and judge the rule on rows that it has not seen.

    Parameters
    ----------
    rule : callable
        ``greedy``, ``voting`` or ``best_alone``.
    answers : sequence of np.ndarray
        What each model says about n rows.
    loss_on : callable
        Gives the loss on rows, by their positions.
    max_members : int
        Most different models.
    seed : int
        Of the parts.
    """
    n_rows = len(answers[0])
    everything = np.arange(n_rows)
    weights = rule(answers, loss_on(everything), max_members)
    part = np.random.default_rng(seed).permutation(n_rows) % PARTS
    losses, sizes = [], []
    for turn in range(PARTS):
        seen, unseen = np.flatnonzero(part != turn), np.flatnonzero(part == turn)
        if not len(seen) or not len(unseen):
            continue
        chosen = rule([answer[seen] for answer in answers], loss_on(seen), max_members)
        losses.append(loss_on(unseen)(mixed([answer[unseen] for answer in answers], chosen)))
        sizes.append(len(unseen))
    honest = float(np.average(losses, weights=sizes)) if losses else np.inf
    return Choice(weights, honest, tuple(losses))


def mixed(answers: Sequence[np.ndarray], weights: np.ndarray) -> np.ndarray:
    """Average answers by their weights."""
    total = np.zeros_like(answers[0], dtype=np.float64)
    for answer, weight in zip(answers, weights, strict=True):
        if weight:
            total += weight * answer
    return total
