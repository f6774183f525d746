"""Exit rules whose numbers come from labelled samples that the program has not been trained on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from seenn_deploy import exits
from seenn_deploy._typing import Array
from seenn_deploy.errors import DataError
from seenn_deploy.evaluation.points import OperatingPoints, distinct_thresholds
from seenn_deploy.exits import ExitRule
from seenn_deploy.exits.base import log_softmax
from seenn_deploy.exits.confidence import Confidence
from seenn_deploy.exits.conformal import Conformal
from seenn_deploy.exits.entropy import Entropy
from seenn_deploy.exits.margin import Margin
from seenn_deploy.ir.program import Program
from seenn_deploy.metrics import correct_by_step

_ROUNDING = 1e-9  # of counts of samples: 0.55 * 100 is a little more than 55
_Calibrator = Callable[[Array, Array, float, str], ExitRule]


def calibrate(
    rule: str, logits: Array, labels: Array | None, level: float, program: Program | None = None
) -> ExitRule:
    """Fit an exit rule to a held-out split.

    ========== =====================================================================================
    confidence the smallest threshold at which, of the samples that then stop before T, the share of
    entropy    right ones is at least `level`; 1, which never stops early, where there is none
    margin     at every t by itself the smallest beta[t] for which, of the samples whose margin at t
               exceeds it, the share of wrong ones is at most 1 - level; infinity where there is
               none (the confidence cutoff of arXiv 2301.09522)
    conformal  at every t the quantile of ``-ln softmax`` of the true label, with the finite-sample
               correction and 1 - level split over the T - 1 early exits (arXiv 2305.11322); see
               :class:`seenn_deploy.exits.conformal.Conformal` for what it guarantees
    ========== =====================================================================================

    Parameters
    ----------
    rule : 'confidence', 'entropy', 'margin' or 'conformal'
    logits : array (N, T, M)
        Accumulated over steps 1..t, of a run with ``full_trace=True``.
    labels : int array (N,)
    level : float in (0, 1]
        Share of early exits that shall be right.
    program : Program, optional
        The program that gave the logits; the rule then refuses to work with any other.

    Raises
    ------
    DataError
        For an empty split, missing labels, labels or logits that do not fit, a trace that is not
        full, a level out of range, or a rule that cannot be calibrated.
    """
    check(rule, level)
    checked = checked_labels(logits, labels, program)
    return _CALIBRATORS[rule](logits, checked, level, program.fingerprint if program else "")


def check(rule: str, level: float) -> None:
    """Raise DataError for a rule that cannot be calibrated, or a level out of range."""
    if rule not in _CALIBRATORS:
        raise DataError(f"rule {rule!r} cannot be calibrated; there are {', '.join(_CALIBRATORS)}")
    if not 0 < level <= 1:
        raise DataError(f"level = {level} lies outside (0, 1]")


def checked_labels(logits: Array, labels: Array | None, program: Program | None = None) -> Array:
    """The labels, once they, the logits and the program fit each other; DataError otherwise."""
    if labels is None:
        raise DataError(
            "the images have no labels, which are needed here: `y` in the .npz, or class folders"
        )
    if logits.ndim != 3 or labels.shape != logits.shape[:1]:
        raise DataError(f"logits {logits.shape} and labels {labels.shape}: give (N, T, M) and (N,)")
    if not len(labels):
        raise DataError("the split holds no samples; give more images or another split")
    if program and logits.shape[1:] != (program.T, *program.graph.readout.shape):
        raise DataError(
            f"logits of {logits.shape[1]} timesteps and {logits.shape[2]} classes; the program has "
            f"{program.T} and {program.graph.readout.shape[0]}"
        )
    low, high = labels.min(), labels.max()
    if low < 0 or high >= logits.shape[2]:
        raise DataError(f"labels {low}..{high} for {logits.shape[2]} classes")
    if not np.isfinite(logits).all():
        raise DataError(
            "the logits end at each sample's exit; simulate with full_trace=True (--full-trace)"
        )
    return labels


def quantile_rank(samples: int, timesteps: int, level: float) -> int:
    """Which smallest nonconformity, from 1, is the quantile; ``samples + 1`` stands for infinity.

    ``ceil((n + 1)(1 - a))`` with a = (1 - level) / (T - 1), the Bonferroni share of one early exit.
    """
    share = (1 - level) / max(timesteps - 1, 1)
    return int(np.ceil((samples + 1) * (1 - share) - _ROUNDING))


def sorted_nonconformities(logits: Array, labels: Array) -> Array:
    """``-ln softmax`` of the true label, each timestep sorted, float64 (N + 1, T); last infinity.

    Row r - 1 holds the quantiles of rank r.
    """
    own = -np.take_along_axis(log_softmax(logits), labels[:, None, None], axis=-1)[..., 0]
    return np.vstack([np.sort(own, axis=0), np.full(own.shape[1], np.inf)])


def _conformal(logits: Array, labels: Array, level: float, program: str) -> ExitRule:
    rank = quantile_rank(len(logits), logits.shape[1], level)
    quantiles = sorted_nonconformities(logits, labels)[rank - 1]
    return Conformal(level, tuple(quantiles), program=program)


def _margin(logits: Array, labels: Array, level: float, program: str) -> ExitRule:
    margins, right = _scores("margin", logits), correct_by_step(logits, labels)
    beta = (
        _smallest(margins[:, t : t + 1], right[:, t : t + 1], level) for t in range(logits.shape[1])
    )
    return Margin(tuple(np.inf if b is None else b for b in beta), program=program)


def _confidence(logits: Array, labels: Array, level: float, program: str) -> ExitRule:
    alpha = _early(logits, labels, "confidence", level)
    return Confidence(1.0 if alpha is None else alpha, program=program)


def _entropy(logits: Array, labels: Array, level: float, program: str) -> ExitRule:
    theta = _early(logits, labels, "entropy", level)
    return Entropy(1.0 if theta is None else theta, program=program)


def _early(logits: Array, labels: Array, rule: str, level: float) -> float | None:
    return _smallest(_scores(rule, logits)[:, :-1], correct_by_step(logits, labels)[:, :-1], level)


def _scores(rule: str, logits: Array) -> Array:
    """A rule's score of every sample at t = 1..T, float64 (N, T)."""
    return exits.from_dict({"rule": rule}).score(logits, np.arange(logits.shape[1]) + 1)


def _smallest(scores: Array, right: Array, level: float) -> float | None:
    """The smallest threshold at which enough of the samples that exceed it are right.

    Both arrays are (N, steps) and leave out T, where every sample stops. None where there is no
    such threshold.
    """
    if not scores.size:
        return None
    thresholds = distinct_thresholds(scores)
    points = OperatingPoints.of_scores(scores, thresholds)
    at_the_end = np.zeros((len(scores), 1), np.bool_)
    early = points.sums(np.hstack([np.ones_like(right), at_the_end]))
    right_early = points.sums(np.hstack([right, at_the_end]))
    enough = (early > 0) & (right_early >= level * early - _ROUNDING)
    return float(thresholds[enough.argmax()]) if enough.any() else None


_CALIBRATORS: dict[str, _Calibrator] = {
    "confidence": _confidence,
    "entropy": _entropy,
    "margin": _margin,
    "conformal": _conformal,
}
