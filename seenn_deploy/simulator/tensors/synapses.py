"""The currents that synapses cause, as products of matrices in torch: :func:`currents` by kind."""

from __future__ import annotations

from collections.abc import Callable
from functools import singledispatch
from math import prod
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

from seenn_deploy._typing import Array, Shape
from seenn_deploy.ir.maps import Conv2d, Dense, Identity, PooledDense, Sparse, Synapses

Currents: TypeAlias = Callable[[Tensor], Tensor]
_HAS_ONEDNN = bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]
WINDOWS = 1 << 28  # bytes of unfolded windows at a time


@singledispatch
def currents(synapses: Synapses, shape: Shape, kind: torch.dtype, device: torch.device) -> Currents:
    """Return the function from what is sent, (n, *shape), to currents (n, *shape behind); by list.

    Parameters
    ----------
    synapses : Synapses
    shape : tuple of int
        Of what is sent.
    kind : torch.dtype
        In which is summed.
    device : torch.device
    """
    return currents(Sparse.listing(synapses, shape), shape, kind, device)


@currents.register
def _(conv: Conv2d, shape: Shape, kind: torch.dtype, device: torch.device) -> Currents:
    weight = _tensor(conv.weight, kind, device)
    how = conv.stride, conv.padding, conv.dilation
    if device.type == "cpu" and _HAS_ONEDNN:
        # What torch asks of oneDNN is the direct algorithm, which sums products.
        return lambda x: functional.conv2d(x, weight, None, *how, conv.groups)
    # cuDNN and NNPACK may take Winograd's or Fourier's algorithm, whose sums are neither exact in
    # whole numbers nor within the bounds of rounded ones. Those of a product of matrices are.
    rows = weight.reshape(conv.groups, len(weight) // conv.groups, -1)
    behind = conv.out_shape(shape)
    stride, padding, dilation = how
    most = max(1, WINDOWS // (shape[0] * prod((*weight.shape[2:], *behind[1:])) * kind.itemsize))

    def convolved(x: Tensor) -> Tensor:
        windows = functional.unfold(x, weight.shape[2:], dilation, padding, stride)
        sums = rows @ windows.reshape(len(x), conv.groups, rows.shape[2], -1)
        return sums.reshape(len(x), *behind)

    return lambda x: torch.cat([convolved(some) for some in torch.split(x, most)])


@currents.register
def _(dense: Dense, shape: Shape, kind: torch.dtype, device: torch.device) -> Currents:
    weight = _tensor(dense.weight, kind, device).T
    return lambda x: x.flatten(1) @ weight


@currents.register
def _(dense: PooledDense, shape: Shape, kind: torch.dtype, device: torch.device) -> Currents:
    weight = _tensor(dense.weight, kind, device).T
    (k_h, k_w), (channels, height, width) = dense.kernel, shape

    def pooled(x: Tensor) -> Tensor:
        windows = x.reshape(len(x), channels, height // k_h, k_h, width // k_w, k_w)
        return windows.sum((3, 5)).flatten(1) @ weight

    return pooled


@currents.register
def _(sparse: Sparse, shape: Shape, kind: torch.dtype, device: torch.device) -> Currents:
    places = torch.stack([torch.as_tensor(sparse.targets).long(), torch.as_tensor(sparse.sources)])
    size = prod(sparse.shape_out), prod(shape)
    weight = torch.as_tensor(sparse.weight).to(kind)
    matrix = torch.sparse_coo_tensor(places, weight, size, check_invariants=True)
    matrix = matrix.coalesce().to(device)
    return lambda x: (matrix @ x.flatten(1).T).T.reshape(len(x), *sparse.shape_out)


@currents.register
def _(identity: Identity, shape: Shape, kind: torch.dtype, device: torch.device) -> Currents:
    weight = _tensor(identity.weight, kind, device)
    return lambda x: x * weight


def _tensor(weight: Array, kind: torch.dtype, device: torch.device) -> Tensor:
    return torch.as_tensor(weight).to(device, kind)
