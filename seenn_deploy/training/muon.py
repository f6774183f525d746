"""Muon for the weights between first and last layer, AdamW for everything else."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn


class Muon:
    """Steps of equal size along every direction of a layer's weights (Jordan et al. 2024).

    A layer's momentum is replaced by the nearest matrix whose singular values are about 1, so
    directions that few samples ask for are learned as fast as the others
    (kellerjordan.github.io/posts/muon). ``torch.optim.Muon`` computes it, on the weights (outputs,
    inputs x kernel); its steps have the size of AdamW's (Liu et al. 2025, arXiv 2502.16982), so one
    learning rate serves both.

    Parameters
    ----------
    parameters : iterable of nn.Parameter
        All of a network's, in order. The first and the last one with two axes or more are the
        first layer's and the classifier's, for which Muon is not meant.
    lr, weight_decay : float
        AdamW's.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, weight_decay: float) -> None:
        every = list(parameters)
        self._inner = [p for p in every if p.ndim > 1][1:-1]
        self._matrices = [as_matrix(p) for p in self._inner]
        taken = {id(p) for p in self._inner}
        others = [p for p in every if id(p) not in taken]
        self._parts: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(others, lr, weight_decay=weight_decay)
        ]
        if self._inner:
            size = "match_rms_adamw"
            self._parts.append(
                torch.optim.Muon(self._matrices, lr, weight_decay, adjust_lr_fn=size)
            )

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The groups of both optimisers, whose rates can be set."""
        return [group for part in self._parts for group in part.param_groups]

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for part in self._parts:
            part.zero_grad()
        for p in self._inner:
            p.grad = None

    def step(self) -> None:
        """Take one step along the gradients."""
        for p, matrix in zip(self._inner, self._matrices, strict=True):
            # Gradients need not lie in memory as the weights do.
            ordered = None if p.grad is None else _rows(p.grad, p.stride())
            matrix.grad = None if ordered is None else ordered.reshape(matrix.shape)
        for part in self._parts:
            part.step()

    def state_dict(self) -> dict[str, Any]:
        """Return what `load_state_dict` takes."""
        return {str(i): part.state_dict() for i, part in enumerate(self._parts)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        for i, part in enumerate(self._parts):
            part.load_state_dict(state[str(i)])


def as_matrix(p: nn.Parameter) -> nn.Parameter:
    """Return weights (outputs, ..) as a matrix (outputs, K) that shares their memory."""
    return nn.Parameter(_rows(p.detach(), p.stride()).view(len(p), -1))


def _rows(x: Tensor, stride: tuple[int, ...]) -> Tensor:
    """Order the axes of a row as they lie in memory, where channels may be last."""
    return x.permute(0, *sorted(range(1, x.ndim), key=lambda axis: -stride[axis]))
