"""Calibration of exit rules on labelled samples that the program was not trained on."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from seenn_deploy import exits
from seenn_deploy._typing import Array, checked_types
from seenn_deploy.errors import DataError
from seenn_deploy.exits import ExitRule
from seenn_deploy.ir.program import Program


@checked_types
def calibrate(
    rule: str,
    logits: ArrayLike,
    labels: ArrayLike | None,
    level: float,
    program: Program | None = None,
) -> ExitRule:
    """Fit an exit rule to a held-out split; each rule says how in its own file.

    ========== =====================================================================================
    confidence the smallest threshold at which, of the samples that then stop before T, the share of
    entropy    right ones is at least `level`; 1, which never stops early, where there is none
    margin     at every t by itself the smallest beta[t] for which, of the samples whose margin at t
               exceeds it, the share of wrong ones is at most 1 - level; infinity where there is
               none (the confidence cutoff of arXiv 2301.09522)
    conformal  at every t the quantile of ``-ln softmax`` of the true label, with the finite-sample
               correction and 1 - level split over the T - 1 early exits (arXiv 2305.11322); see
               :class:`seenn_deploy.exits.conformal.Conformal` for what it guarantees
    simes      as conformal, with one quantile for each number of timesteps that speak against a
               label; see :class:`seenn_deploy.exits.simes.Simes`
    fusion     the strength of the first timestep's vote under which the true labels are likeliest,
               then the bound as confidence does; see :class:`seenn_deploy.exits.fusion.Fusion`
    lookahead  the smallest patience at which, of the samples that stop before T, the share of right
               ones is at least `level`; see :class:`seenn_deploy.exits.lookahead.Lookahead`
    ========== =====================================================================================

    Parameters
    ----------
    rule : 'confidence', 'entropy', 'margin', 'conformal', 'simes', 'fusion', or one of your own
    logits : array (N, T, M)
        Logits accumulated over timesteps 1..t, of a run with ``full_trace=True``.
    labels : int array (N,)
    level : float in (0, 1]
        Share of early exits that shall be right.
    program : Program, optional
        Program that computed the logits; the rule then refuses any other program.

    Raises
    ------
    DataError
        When the split is empty, labels are missing, labels or logits do not fit, the trace is not
        full, the level is out of range, or the rule cannot be calibrated.

    Examples
    --------
    >>> import seenn_deploy as sd
    >>> files = sd.example()
    >>> program = sd.compile(sd.import_model(files.network, T=4))
    >>> run = sd.simulate(program, files.images, full_trace=True)
    >>> rule = sd.calibrate("confidence", run.logits, run.labels, 0.95, program)
    >>> round(rule.alpha, 3)
    0.992
    >>> program = program.with_exit(rule)
    """
    check(rule, level)
    logits = np.asarray(logits)
    checked = checked_labels(logits, None if labels is None else np.asarray(labels), program)
    made_for = program.fingerprint if program else ""
    return exits.rule_class(rule).calibrate(logits, checked, level, made_for)


def check(rule: str, level: float) -> None:
    """Raise DataError for a rule that cannot be calibrated, or a level out of range."""
    if rule not in (known := exits.tunable()):
        raise DataError(f"rule {rule!r} cannot be calibrated; there are {', '.join(known)}")
    if not 0 < level <= 1:
        raise DataError(f"level = {level} lies outside (0, 1]")


def checked_labels(logits: Array, labels: Array | None, program: Program | None = None) -> Array:
    """Return the labels if they, the logits and the program fit each other; else DataError."""
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
