"""The parts that frontends share: a graph that grows layer by layer, tensors as linear maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np

from seenn_deploy import ir
from seenn_deploy._typing import Shape
from seenn_deploy.errors import ModelError
from seenn_deploy.fidelity import UNSAID, FidelityReport, Proof
from seenn_deploy.io.images.normalization import Normalization
from seenn_deploy.io.images.spec import PIXELS
from seenn_deploy.io.state_dict import Tensors
from seenn_deploy.ir.own import Applied, OwnLayer
from seenn_deploy.ir.text import layer_text

Input: TypeAlias = tuple[str, tuple[ir.LinearMap, ...]]


class Net:
    """A graph that grows: a frontend adds nodes and projections one after the other.

    Parameters
    ----------
    source : Source
    neuron : Population
        The template of every population; each gets its own name and shape.
    """

    def __init__(self, source: ir.Source, neuron: ir.Population) -> None:
        self.source, self.neuron = source, neuron
        self.nodes: list[ir.Node] = [source]
        self.projections: list[ir.Projection] = []

    def shape(self, name: str, maps: tuple[ir.LinearMap, ...] = ()) -> Shape:
        """Return the shape of a node, or of what linear maps make of it."""
        shape = next(n.shape for n in self.nodes if n.name == name)
        for step in maps:
            shape = step.out_shape(shape)
        return shape

    def spike(self, name: str, *inputs: Input, **neuron: Any) -> str:
        """Add a population fed by (source name, linear maps) pairs; `neuron` changes its kind."""
        shape = self.shape(*inputs[0])
        self.nodes.append(replace(self.neuron, name=name, shape=shape, **neuron))
        self.projections += [ir.Projection(pre, name, maps) for pre, maps in inputs]
        return name

    def add(self, name: str, *sources: str) -> str:
        """Add a sum of the spikes of populations or other sums, all of one shape."""
        self.nodes.append(ir.Sum(name, self.shape(sources[0])))
        self.projections += [ir.Projection(pre, name, (ir.Identity(),)) for pre in sources]
        return name

    def read_out(self, name: str, *inputs: Input) -> None:
        """Add the readout, fed by (source name, linear maps) pairs."""
        self.nodes.append(ir.Readout(name, self.shape(*inputs[0])))
        self.projections += [ir.Projection(pre, name, maps) for pre, maps in inputs]


def linear(tensors: Tensors, name: str, features: int | None) -> ir.Dense:
    """Take the tensors of an ``nn.Linear``; None allows any number of features."""
    weight = tensors.take(f"{name}.weight", (None, features))
    return ir.Dense(weight, tensors.take(f"{name}.bias", (len(weight),)))


def take_batch_norm(tensors: Tensors, prefix: str, channels: int) -> ir.Affine:
    """Take the batch norm under `prefix`, with its running statistics."""
    gamma, beta, mean, var = (
        tensors.take(f"{prefix}.{part}", (channels,))
        for part in ("weight", "bias", "running_mean", "running_var")
    )
    tensors.ignore(f"{prefix}.num_batches_tracked")
    if np.any(var < 0):
        raise ModelError(f"{tensors.path}: '{prefix}.running_var' is negative ({var.min():g})")
    return ir.batch_norm(gamma, beta, mean, var)


def count(tensors: Tensors, pattern: str, start: int = 0) -> int:
    """Count the tensors whose names are `pattern` with numbers from `start` on, without a gap."""
    n = 0
    while pattern.format(start + n) in tensors:
        n += 1
    return n


def bin_recordings(net: Net, step_us: float, counts_events: bool) -> dict[str, Any]:
    """Set how event recordings become frames (:mod:`seenn_deploy.io.images.events`).

    Returns
    -------
    dict
        The options, for the provenance; it is empty for direct coding, which has no events.

    Raises
    ------
    ModelError
        When the network takes images, or `step_us` is negative or not finite.
    """
    if net.source.coding == "direct":
        if step_us or counts_events:
            raise ModelError(
                "step_us and counts_events are for event recordings, this network takes images; "
                "leave them out, or say coding='events'"
            )
        return {}
    if not (np.isfinite(step_us) and step_us >= 0):
        raise ModelError(
            f"step_us = {step_us}: give microseconds per timestep, or 0 for T equal parts"
        )
    net.source = replace(net.source, step_us=float(step_us), counts_events=counts_events)
    net.nodes[0] = net.source
    return {"step_us": net.source.step_us, "counts_events": counts_events}


def normalize_input(
    net: Net,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    normalize: bool,
    default: Normalization | None = None,
) -> dict[str, Any]:
    """Put ``(x - mean) / std`` in front of every layer that the source feeds.

    Without `mean` and `std`, `default` is used for direct-coded images of three channels.

    Returns
    -------
    dict
        The mean and std that were used, or None, for the provenance.
    """
    channels = net.source.shape[0]
    if (mean is None) != (std is None):
        raise ModelError("mean and std belong together; give both or neither")
    if mean is None and normalize and default and channels == 3 and net.source.coding == "direct":
        mean, std = default
    if mean is None or std is None or not normalize:
        return {"mean": None, "std": None}
    shift, scale = (np.asarray(value, np.float64) for value in (mean, std))
    for name, values in (("mean", shift), ("std", scale)):
        if values.shape != (channels,):
            raise ModelError(
                f"{name} = {values.tolist()}: the input has {channels} channels; give one number "
                "for each"
            )
        if not np.all(np.isfinite(values)):
            raise ModelError(f"{name} = {values.tolist()}: must be finite")
    if scale.min() <= 0:
        raise ModelError(f"std = {scale.tolist()}: must be positive")
    affine = ir.Affine(1 / scale, -shift / scale)
    used = tuple(shift.tolist()), tuple(scale.tolist())
    net.source = replace(net.source, input_range=PIXELS, normalization=used)
    net.nodes[0] = net.source
    net.projections = [
        replace(
            e,
            maps=(affine, *e.maps) if e.pre == net.source.name else e.maps,
            own=e.own and tuple(_behind(affine, net.source.name, a) for a in e.own),
        )
        for e in net.projections
    ]
    return {"mean": shift.tolist(), "std": scale.tolist()}


def _behind(affine: ir.Affine, source: str, own: Applied | OwnLayer) -> Applied | OwnLayer:
    """A layer whose image is normalised first."""
    inputs = tuple(replace(i, maps=(affine, *i.maps)) if i.pre == source else i for i in own.inputs)
    return replace(own, inputs=inputs)


def reported(
    graph: ir.SpikingGraph,
    proof: Proof | None = None,
    changed: Mapping[str, tuple[str, str]] | None = None,
) -> ir.SpikingGraph:
    """Add the fidelity report to a graph's provenance: one line per layer and per assumption.

    Parameters
    ----------
    graph : SpikingGraph
        The graph of a frontend; its provenance has ``source`` and ``assumed``.
    proof : Proof, optional
        How the graph was compared with its source; a frontend that has nothing to run beside it
        leaves it out, and the graph counts as not proven.
    changed : mapping of layer to (what, by), optional
        Layers that are approximated: what replaces what, and how large the error is.
    """
    proof = proof or Proof(why="its frontend has nothing to compare it with")
    report = FidelityReport(graph.provenance.source)
    for name, value in graph.provenance.assumed.items():
        text = f"no {name}" if value is None else f"{name} = {value}"
        report.faithful("assumed", text + UNSAID)
    for node in graph.layers:
        if changed and node.name in changed:
            report.approximated(node.name, *changed[node.name])
        else:
            report.faithful(node.name, layer_text(graph, node))
    report.proven(proof)
    noted = replace(graph.provenance, report=report.to_dict(), proof=proof.to_dict())
    return graph.noted(noted)


def conversion_error(T: int) -> str:
    """Say how far an integrate-and-fire neuron is off the activation that it replaces."""
    return (
        f"at most 1/{2 * T} of the threshold where currents are steady, more where spikes come "
        "unevenly; less with a larger T"
    )
