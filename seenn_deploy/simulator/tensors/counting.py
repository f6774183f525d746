"""Operations of synapses in torch: masks of what was sent times fan-outs, exact to the last one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import singledispatch
from math import prod

import numpy as np
import torch
from torch import Tensor

from seenn_deploy._typing import Array
from seenn_deploy.ir import own
from seenn_deploy.ir.graph import Projection, Source, SpikingGraph
from seenn_deploy.ir.maps import Affine, AvgPool2d, LinearMap
from seenn_deploy.ir.own import OwnLayer
from seenn_deploy.simulator.tensors.numbers import MOST

Past = Callable[[str, int], Tensor]
"""What a node, by its name, sent so many timesteps ago, (n, *shape)."""


class FanOut:
    """Synapses of every source neuron, ready to be met by events.

    Parameters
    ----------
    columns : int64 array (K, *shape)
        One or more numbers for every neuron.
    device : torch.device
    """

    def __init__(self, columns: Array, device: torch.device) -> None:
        (single, limit), (double, _) = MOST
        flat = columns.reshape(len(columns), -1)
        # Sums of a group are those of a float32 product, where that is exact; groups are then
        # added in float64.
        groups = 1 if flat.sum(axis=1).max() < limit else columns.shape[1]
        table = flat.reshape(len(columns), groups, -1).transpose(1, 2, 0)
        kind = single if table.sum(axis=1).max() < limit else double
        self.table = torch.as_tensor(np.ascontiguousarray(table)).to(device, kind)

    def met_by(self, events: Tensor) -> Tensor:
        """Add up the synapses that events meet: masks (n, *shape) of 0 and 1 to int64 (K, n)."""
        groups, neurons, _ = self.table.shape
        masks = events.to(self.table.dtype).reshape(len(events), groups, neurons)
        sums = masks.transpose(0, 1) @ self.table
        return sums.sum(0, dtype=torch.float64).to(torch.int64).T


@dataclass(frozen=True, eq=False)
class Toll:
    """What events on a projection cost: the rules of ``layout.Edge.count``.

    Parameters
    ----------
    pre, lag : str, int
    graded, real : bool
        Whether values other than 1 can come, and whether they are real ones.
    adds : bool
        Whether a value is added without a weight to multiply with.
    fan_out : FanOut, optional
        Of all synapses, and of those of nonzero weight; None into a product, which counts itself.
    own : tuple of OwnToll, optional
    """

    pre: str
    lag: int
    graded: bool
    real: bool
    adds: bool
    fan_out: FanOut | None
    own: tuple[OwnToll, ...] | None

    @classmethod
    def of(cls, graph: SpikingGraph, edge: Projection, lag: int, device: torch.device) -> Toll:
        """Make a projection of a compiled graph ready."""
        pre, post, synapses = graph.node(edge.pre), graph.node(edge.post), edge.synapses
        fan_outs = [synapses.fan_out(pre.shape, effective=zeros) for zeros in (False, True)]
        plain = pre.real and synapses.kind == "identity" and bool(np.all(synapses.weight == 1))
        own_layers = None
        if edge.own is not None:
            layers = (layer for layer in edge.own if isinstance(layer, OwnLayer))
            own_layers = tuple(OwnToll.of(layer, graph, device) for layer in layers)
        return cls(
            edge.pre,
            lag,
            pre.graded,
            pre.analog or pre.real,
            plain or not post.stages,
            FanOut(np.stack(fan_outs), device) if post.adds or plain else None,
            own_layers,
        )

    def count(self, past: Past, counts: dict[str, Tensor]) -> None:
        """Add the operations of what arrives now to `counts`, (n,) by name."""
        if self.fan_out is not None:
            self._count(past(self.pre, self.lag), self.fan_out, counts)
        for layer in self.own or ():
            layer.count(past, counts)

    def _count(self, events: Tensor, fan_out: FanOut, counts: dict[str, Tensor]) -> None:
        others = None
        if not self.graded:
            units = fan_out.met_by(events)
        elif self.adds or self.real:
            units = fan_out.met_by(events != 0)
        else:
            spikes = events.abs() == 1
            units, others = fan_out.met_by(spikes), fan_out.met_by((events != 0) & ~spikes)
        all_as = "mac" if self.real and not self.adds else "ac"
        for name, met in ((all_as, units), ("mac", others)):
            if met is not None:
                counts[name] += met[0]
                counts[f"{name}_effective"] += met[1]
                if self.own is None:
                    counts[f"own_{name}"] += met[0]


@dataclass(frozen=True, eq=False)
class OwnToll:
    """A trained layer, ready to be counted (``simulator.own``).

    Parameters
    ----------
    layer : OwnLayer
    source : Source
    steps : tuple of tuples of callables
        For every input, what stands between its node and the layer.
    real : bool
        Whether each element is a multiply-accumulate.
    fan_out : FanOut
    """

    layer: OwnLayer
    source: Source
    steps: tuple[tuple[Callable[[Tensor], Tensor], ...], ...]
    real: bool
    fan_out: FanOut

    @classmethod
    def of(cls, layer: OwnLayer, graph: SpikingGraph, device: torch.device) -> OwnToll:
        """Make a layer of a compiled graph ready."""
        nodes = [graph.node(given.pre) for given in layer.inputs]
        wide = np.broadcast_to(layer.fan_out, layer.in_shape)
        return cls(
            layer,
            graph.source,
            tuple(tuple(_passed(m, device) for m in given.maps) for given in layer.inputs),
            any(node.analog or node.real for node in nodes),
            FanOut(wide[None], device),
        )

    def count(self, past: Past, counts: dict[str, Tensor]) -> None:
        """Add the elements of the layer's input that meet synapses, by kind."""
        x = torch.zeros(())
        for given, steps in zip(self.layer.inputs, self.steps, strict=True):
            values = past(given.pre, given.lag).double()
            if given.pre == self.source.name:
                values = (
                    values / self.source.scale + self.source.offset
                )  # as the float network has it
            for step in steps:
                values = step(values)
            x = values + x.to(values)
        sent, units = x != 0, x.abs() == 1
        if self.real:
            counts["own_mac"] += self.fan_out.met_by(sent)[0]
            return
        counts["own_ac"] += self.fan_out.met_by(units)[0]
        counts["own_mac"] += self.fan_out.met_by(sent & ~units)[0]


@singledispatch
def _passed(step: LinearMap, device: torch.device) -> Callable[[Tensor], Tensor]:
    """Values (n, *shape) behind a linear map, float64; by numpy, because every digit counts."""
    return lambda x: torch.as_tensor(own.passed((step,), x.cpu().numpy())).to(device)


@_passed.register
def _(step: Affine, device: torch.device) -> Callable[[Tensor], Tensor]:
    scale, shift = (torch.as_tensor(a).to(device, torch.float64) for a in (step.scale, step.shift))

    def passed(x: Tensor) -> Tensor:
        across = (-1, *[1] * (x.ndim - 2))
        return x * scale.reshape(across) + shift.reshape(across)

    return passed


@_passed.register
def _(step: AvgPool2d, device: torch.device) -> Callable[[Tensor], Tensor]:
    k_h, k_w = step.kernel

    def passed(x: Tensor) -> Tensor:
        h, w = x.shape[2] // k_h, x.shape[3] // k_w
        whole = x[:, :, : h * k_h, : w * k_w].reshape(*x.shape[:2], h, k_h, w, k_w)
        return whole.sum((3, 5)) / prod(step.kernel)

    return passed
