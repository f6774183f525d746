"""An import proves itself: the module's own forward is the judge of the graph made from it.

A tracer sees operators, and not the state that a module keeps elsewhere (attributes, buffers,
counters, hooks), so what it builds may be another network. Therefore a copy of the module runs all
its timesteps, on the example and on random inputs, and every spiking layer's spikes are compared
with what the graph says of them (``frontends.proof``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from seenn_deploy import ir
from seenn_deploy._typing import Array
from seenn_deploy.fidelity import FidelityReport, Proof, RefusedError
from seenn_deploy.frontends.proof import LOUDER, Comparison
from seenn_deploy.frontends.torch.layers import Layer
from seenn_deploy.frontends.torch.states import (
    Starts,
    begin,
    changed,
    copied,
    handed_on,
    kept_by,
    own_copy,
    part_of,
    starts_of,
)
from seenn_deploy.frontends.torch.tracing import place_of_error
from seenn_deploy.frontends.torch.values import Potential, Signal, Value, in_graph_order
from seenn_deploy.frontends.torch.walk import Walk


@dataclass(frozen=True)
class Subject:
    """What is to be proven.

    Parameters
    ----------
    module : torch module
        The user's own.
    example : Tensor
    walk : Walk
        What was traced of it.
    graph : SpikingGraph
        What was made of it, its input as the module takes it: without normalisation.
    output : int
        Which of the leaves of the module's result is read out.
    axes : tuple of str
        Role of each axis of the module's input: 'batch', 'time' or 'feature'.
    """

    module: nn.Module
    example: Tensor
    walk: Walk
    graph: ir.SpikingGraph
    output: int
    axes: tuple[str, ...]

    @property
    def layers(self) -> list[Layer]:
        """The spiking layers."""
        return self.walk.layers

    @property
    def read(self) -> Value:
        """What the walk found that leaf to be, in one call."""
        return self.walk.last_call[self.output]

    @property
    def one_step(self) -> bool:
        """Whether the module does one timestep per call."""
        return self.walk.one_step

    @property
    def keeps(self) -> bool:
        """Whether what each call returns is the sum over timesteps already."""
        returned = self.walk.returned[self.output]
        state = returned.state if isinstance(returned, Signal) else None
        return state is not None and state.tau == 1

    def place(self, name: str) -> str:
        """Name a layer, and the user's line where it is known."""
        return self.walk.places.get(name, name)


@dataclass(frozen=True, eq=False)
class _Run:
    """One run of the module: what is read of each call, and what each spiking layer gave."""

    outputs: list[Tensor]
    layers: dict[str, list[Tensor]]


def prove(subject: Subject, report: FidelityReport) -> Proof:
    """Compare a graph with its module, and say in the report how it was proven.

    Raises
    ------
    RefusedError
        Where they differ: with the layer, timestep, neuron and values, and the likely cause.
    """
    found = Comparison(subject.graph, report, places=subject.walk.places)
    runner = own_copy(subject.module)
    starts = starts_of(runner, subject.layers)
    # Of a large network one run takes seconds: the loudest noise has to do, and being the second
    # sample in a row it shows as well whether anything was left of the first.
    large = found.least == 1
    for probe in _probes(subject, LOUDER[-1:] if large else LOUDER):
        first = not found.samples
        other = None if first or large else _of_other_size(subject, probe)
        run = _compared(runner, subject, probe, found, starts, other)
        if first and not (large and subject.example.is_floating_point()):
            _check_again(runner, subject, probe, run, starts, report)
        del run  # all spikes of a large network: none of the next run's peak
        if found.samples > found.least and found.complete:
            break
    proof = found.proof("the module itself")
    report.proven(proof)
    return proof


def _compared(
    runner: nn.Module, subject: Subject, probe: list[Tensor], found: Comparison, starts: Starts,
    other: list[Tensor] | None,
) -> _Run:  # fmt: skip
    """Run a probe as a new sample and compare it; in a batch of other size if that is given."""
    begin(runner, starts)
    before = kept_by(runner, subject.layers)
    report = found.report if other is None else FidelityReport("")
    try:
        run = _run(runner, subject, probe if other is None else other, report)
    except RefusedError:
        if other is None:
            raise
        # The module is written for batches of one size.
        return _compared(runner, subject, probe, found, starts, None)
    causes = _causes(runner, subject.layers, before)
    if other is not None:
        causes = f"with {len(_images(subject, other))} samples in a batch: {causes}"
    _compare(subject, probe if other is None else other, run, found, causes)
    return run


# --- what the module is given --------------------------------------------------------------------


def _probes(subject: Subject, factors: Iterable[float]) -> Iterator[list[Tensor]]:
    """Inputs by call: the example, then noise over its range, times each factor."""
    example, calls = _as_long(subject), subject.graph.T if subject.one_step else 1
    frames = subject.graph.source.coding == "events"
    yield [example] * calls
    if not example.is_floating_point():
        return
    low, high = float(example.min()), float(example.max())
    low, high = (low, high) if high > low else (min(low, 0.0), max(high, 1.0))
    generator = torch.Generator().manual_seed(0)
    for factor in factors:
        noise = [
            factor * (low + (high - low) * torch.rand(example.shape, generator=generator))
            for _ in range(calls if frames else 1)
        ]
        yield noise * (1 if frames else calls)


def _of_other_size(subject: Subject, probe: list[Tensor]) -> list[Tensor] | None:
    """The probe with one sample more or fewer: what a module does may depend on their number."""
    if "batch" not in subject.axes:
        return None
    axis = subject.axes.index("batch")
    n = probe[0].shape[axis]
    samples = torch.arange(n - 1 if n > 2 else n + 1) % n
    return [x.index_select(axis, samples) for x in probe]


def _as_long(subject: Subject) -> Tensor:
    """The example with as many frames as the graph has timesteps, the same over and over."""
    if "time" not in subject.axes:
        return subject.example
    axis = subject.axes.index("time")
    frames = torch.arange(subject.graph.T) % subject.example.shape[axis]
    return subject.example.index_select(axis, frames)


def _images(subject: Subject, probe: list[Tensor]) -> Array:
    """The probe as the graph takes it: (N, *shape), or (N, T, *shape) of frames."""
    source, lead = subject.graph.source, [a for a in ("batch", "time") if a in subject.axes]
    moved = [
        x.movedim([subject.axes.index(a) for a in lead], list(range(len(lead)))) for x in probe
    ]
    whole = torch.stack(moved, 1) if subject.one_step and source.coding == "events" else moved[0]
    whole = whole if "batch" in subject.axes else whole[None]
    count = 2 if source.coding == "events" else 1
    return whole.reshape(*whole.shape[:count], *source.shape).double().numpy()


# --- running the module --------------------------------------------------------------------------


def _run(module: nn.Module, subject: Subject, probe: list[Tensor], report: FidelityReport) -> _Run:
    """The module itself, one call per input, with what its spiking layers give."""
    seen = dict[str, list[Tensor]]()
    handles = []
    for layer in subject.layers:
        seen[layer.name] = []
        hook = _keep(seen[layer.name])
        handles.append(part_of(module, layer).register_forward_hook(hook, prepend=True))
    outputs = []
    states: list[Any] = []
    changed_in_place = False
    try:
        with torch.no_grad():
            for x in probe:
                given = x.clone()
                result = module(given, *states)
                if subject.one_step and not (given.shape == x.shape and torch.equal(given, x)):
                    changed_in_place = True
                    break
                outputs.append(copied(subject.walk.returned_by(result, subject.output)))
                states = handed_on(module, result)
    except Exception as error:  # whatever the user's code raises
        first = str(error).partition("\n")[0]
        report.refuse(
            place_of_error(error, module),
            f"the module itself fails ({type(error).__name__}: {first})",
            "it must run on the example, timestep after timestep",
        )
    finally:
        for handle in handles:
            handle.remove()
    if changed_in_place:
        report.refuse(
            "forward", "the module changes its input in place, so each call sees another",
            "let it change a copy: x = x.clone()",
        )  # fmt: skip
    return _Run(outputs, seen)


def _keep(calls: list[Tensor]) -> Any:
    def hook(_: nn.Module, __: Any, result: Any) -> None:
        calls.append(_small(tree_leaves(result)[0]))

    return hook


def _small(given: Any) -> Any:
    """A copy of what a layer gave, in bytes where that is exact: spikes take much memory."""
    if isinstance(given, Tensor) and given.is_floating_point():
        bytes_ = given.detach().to(torch.int8)
        if torch.equal(bytes_.to(given.dtype), given):
            return bytes_
    return copied(given)


# --- comparing -----------------------------------------------------------------------------------


def _compare(
    subject: Subject, probe: list[Tensor], run: _Run, found: Comparison, causes: str
) -> None:
    images = _images(subject, probe)
    spikes = _spikes(subject, found.graph, run, len(images), causes, found.report)
    logits = _logits(subject, run, found.graph, len(images))
    approximated = [x.name for x in subject.layers if x.neuron and x.neuron.approximations]
    for n in range(min(1 if found.samples else found.least, len(images))):
        own = {name: values[n] for name, values in spikes.items()}
        found.add(images[n], own, logits[n], causes, approximated)


def _spikes(
    subject: Subject, graph: ir.SpikingGraph, run: _Run, n: int, causes: str, report: FidelityReport
) -> dict[str, Array]:
    """Each population's spikes in the module, bool (N, T, *shape)."""
    found = {}
    names = {node.name: node for node in graph.populations}
    walked = zip(subject.layers, subject.walk.charges, subject.walk.calls, strict=True)
    for layer, charges, inputs in walked:
        if layer.name not in names or layer.neuron is None:
            continue
        calls, shape = run.layers[layer.name][charges:], names[layer.name].shape
        axis, batch = layer.neuron.time_axis, layer.neuron.batch_axis
        steps = len(calls) if axis is None else sum(c.shape[axis] for c in calls)
        if steps != graph.T:
            report.refuse(
                subject.place(layer.name),
                f"the module runs it {steps} times, the graph has {graph.T} timesteps", causes,
            )  # fmt: skip
        stacked = torch.stack(calls, 1) if axis is None else calls[0].movedim((batch, axis), (0, 1))
        flat = in_graph_order(inputs[-1], stacked.numpy().reshape(n, graph.T, -1))
        values = flat.reshape(n, graph.T, *shape)
        sends = layer.neuron.sends
        if values.dtype == np.int8 and sends == 1 and values.min() >= 0 and values.max() <= 1:
            found[layer.name] = values.view(np.bool_)  # the same bytes: no second copy of them
            continue
        fired = values == sends
        other = values[~(fired | (values == 0))]
        if other.size:
            gives = other[0] / sends
            report.refuse(
                subject.place(layer.name), f"the module's layer gives {gives:.6g}, no spike",
                causes,
            )  # fmt: skip
        found[layer.name] = fired
    return found


def _logits(subject: Subject, run: _Run, graph: ir.SpikingGraph, n: int) -> Array:
    """Return the module's readout at each timestep, float64 (N, T, M), or at the last alone."""
    read, classes = subject.read, graph.readout.shape[0]
    layout = read.layout if isinstance(read, Potential) else read
    assert isinstance(layout, Signal)
    by_call = [_by_timestep(subject, layout, given, n) for given in run.outputs]
    steps = torch.cat([x.reshape(n, x.shape[1], classes) for x in by_call], 1)
    if isinstance(read, Potential):
        return np.asarray(steps)
    if not subject.one_step and not layout.times:
        factor = read.summed.factor if read.summed is not None else 1.0
        return np.asarray(steps / factor)
    return np.asarray(steps if subject.keeps else steps.cumsum(1))


def _by_timestep(subject: Subject, layout: Signal, given: Any, n: int) -> Tensor:
    """What one call returned, in float64 with samples and timesteps first: (N, steps, ..)."""
    atoms = [a for axis in layout.axes for a in axis]
    batch = [i for i, a in enumerate(atoms) if a.role == "batch"][:1] or [
        i for i, a in enumerate(atoms) if a.role is None
    ][:1]
    times = [i for i, a in enumerate(atoms) if a.role == "time"][:1]
    sizes = [a.size for a in atoms]
    for i in batch:
        sizes[i] = n
    for i in times if not subject.one_step else ():
        sizes[i] = subject.graph.T
    if not isinstance(given, Tensor) or given.numel() != prod(sizes):
        found = tuple(given.shape) if isinstance(given, Tensor) else type(given).__name__
        subject.walk.report.refuse(
            subject.walk.place_of_output(subject.output),
            f"the module returns {found} there, its trace has {tuple(layout.sizes)}",
            "return one tensor with an axis for each of batch, time and classes",
        )
    lead = batch + times
    moved = given.reshape(sizes).movedim(lead, list(range(len(lead)))).double()
    moved = moved if batch else moved[None]
    return moved if times else moved.unsqueeze(1)


# --- what may be the cause -----------------------------------------------------------------------


def _check_again(
    runner: nn.Module, subject: Subject, probe: list[Tensor], run: _Run, starts: Starts,
    report: FidelityReport,
) -> None:  # fmt: skip
    """The same input once more, as a second sample: nothing may be left of the first."""
    before = kept_by(runner, subject.layers)
    begin(runner, starts)
    again = _run(runner, subject, probe, report)
    for layer in subject.layers:
        pairs = zip(run.layers[layer.name], again.layers[layer.name], strict=True)
        if not all(a.dtype == b.dtype and torch.equal(a, b) for a, b in pairs):
            report.refuse(
                subject.place(layer.name),
                "a second sample in a row gets other spikes from the module, the graph begins anew",
                _causes(runner, subject.layers, before),
            )


def _causes(module: nn.Module, layers: list[Layer], before: dict[str, Any]) -> str:
    """A guess at why module and graph differ."""
    hooked = [
        path or type(module).__name__
        for path, part in module.named_modules()
        if part._forward_hooks or part._forward_pre_hooks or "forward" in vars(part)
    ]
    if hooked:
        return f"{hooked[0]} has a hook or a forward of its own: put it into the module's class"
    other = changed(kept_by(module, layers), before)
    if other:
        return (
            f"{other[0]} changes from call to call: a state that the graph does not have; keep "
            "states in spiking layers"
        )
    return (
        "the module does what its trace does not show; write that part with supported layers, or "
        "take the graph as it is with check=False"
    )


__all__ = ["Subject", "prove"]
