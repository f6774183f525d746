"""Temporal efficient training: the logits of every timestep learn the label (arXiv 2202.11946)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def tet_loss(
    logits: Tensor, labels: Tensor, weight: float = 1e-3, mean: float = 1.0, smoothing: float = 0.0
) -> Tensor:
    """Return ``(1 - weight) mean_t CE(logits[t], y) + weight mean((logits - mean)^2)``.

    Parameters
    ----------
    logits : Tensor (N, T, M)
        Logits of each timestep, not accumulated.
    labels : int64 Tensor (N,)
    weight : float in [0, 1]
        Weight of the term that keeps logits near `mean`; it is ``lambda`` in SEENN's code, 1e-3
        there. 0 leaves the term out.
    mean : float
        Value that logits are drawn to, ``means`` in SEENN's code.
    smoothing : float in [0, 1)
        Share of the target that is spread over all classes (Szegedy et al. 2016, arXiv 1512.00567).

    Returns
    -------
    Tensor ()
    """
    every_step = logits.flatten(0, 1)  # each timestep is a sample of its own
    targets = labels.repeat_interleave(logits.shape[1])
    entropy = functional.cross_entropy(every_step, targets, label_smoothing=smoothing)
    return (1 - weight) * entropy + weight * (logits - mean).square().mean()
