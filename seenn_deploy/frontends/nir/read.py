"""Files of the Neuromorphic Intermediate Representation (NIR), and the sidecars of our exports.

=====================  ============================================================================
IF, LIF, CubaLIF       populations (`seenn_deploy.frontends.nir.neurons`)
Threshold              a population without memory
I, LI, CubaLI          before the Output alone: the readout, the logits are the potentials; before
                       Thresholds alone: populations that never reset
Output                 otherwise: the logits are the sum of what arrives over time
Affine, Linear         synapses, as Conv1d and Conv2d
Scale                  goes into the weights before or after it
SumPool2d, AvgPool2d   folded; overlapping or padded windows are convolutions
Flatten                nothing, or another shape
Delay                  a lag in whole timesteps, one for all neurons or one per neuron
NIRGraph               inlined, its nodes under dotted names
=====================  ============================================================================

Edges that meet are added. An edge that closes a loop takes one timestep, unless the loop has a
Delay.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from math import prod
from pathlib import Path
from typing import Any, Literal

import networkx as nx
import numpy as np

from seenn_deploy._typing import Array, Shape
from seenn_deploy.errors import ModelError
from seenn_deploy.fidelity import FidelityReport, RefusedError
from seenn_deploy.frontends.base import Net, bin_recordings, normalize_input
from seenn_deploy.frontends.nir import neurons
from seenn_deploy.frontends.nir.linear import LINEAR, LINEAR_TEXT, finite, fitting
from seenn_deploy.frontends.nir.sidecar import restore
from seenn_deploy.frontends.nir.values import Contribution, Current, finished, grid_of, total
from seenn_deploy.io.nir.file import (
    STRANGE,
    NirModel,
    NirNode,
    as_shape,
    feedback,
    read_nir,
    read_sidecar,
)
from seenn_deploy.ir.graph import Population, Projection, Readout, Source, SpikingGraph
from seenn_deploy.ir.nodes.base import Parameter, common, shown
from seenn_deploy.ir.provenance import Provenance

SUFFIXES = (".nir",)
DEFAULT_T = 16
LARGEST = 1 << 28  # neurons per layer; a file that says more is damaged
LONGEST = 1 << 20  # timesteps of a delay; a longer one is in another unit of time


def read(
    path: Path,
    T: int | None = None,
    dt: float | None = None,
    integration: neurons.Integration | None = None,
    reset: neurons.Reset | None = None,
    coding: Literal["direct", "events"] | None = None,
    step_us: float | None = None,
    counts_events: bool | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> SpikingGraph:
    """Read the graph of a NIR file.

    Parameters
    ----------
    path : Path
        The file. ``NAME.nir.json`` beside it is the sidecar of an export of ours, which then
        decides every option below.
    T : int, optional
        Number of timesteps; 16 without a sidecar.
    dt : float, optional
        Length of a timestep in the file's unit of time. By default it is the one for which
        R dt / tau is 1 in every neuron, if there is one.
    integration : 'euler' or 'exact', optional
        Method by which neurons are discretised; ``euler`` by default, as in the tools that write
        NIR files.
    reset : 'hard' or 'soft', optional
        Reset of the neurons; ``hard`` by default, which is what NIR's equations say. Files do not
        show whether a network was trained with a reset by subtraction.
    coding : 'direct' or 'events', optional
        Coding of the input; 'events' by default, because a NIR network takes a signal in time.
    step_us, counts_events
        Binning of event recordings, see :func:`seenn_deploy.frontends.base.bin_recordings`.
    mean, std : sequence of one number per channel, optional
        Normalisation of images in 0..1 that becomes part of the program.

    Raises
    ------
    ModelError
        When the file is damaged.
    RefusedError
        When the file holds something that the graph cannot express.
    """
    report = FidelityReport(str(path))
    stored = read_sidecar(path)
    model = read_nir(path, report)
    if stored is not None:
        _check_untold(
            path, dt=dt, integration=integration, reset=reset, coding=coding, mean=mean, std=std
        )
        return restore(path, model, stored, report, T, step_us, counts_events)
    _check_options(path, dt, integration, reset, coding)
    neurons.check_numbers(model.nodes.values(), report)
    dt = neurons.infer_dt(model.nodes.values(), report) if dt is None else float(dt)
    rules = neurons.Discretisation(dt, integration or "euler", reset or "hard", report)
    T = DEFAULT_T if T is None else T
    with _errors_of(path):
        net = _Lowering(neurons.with_detectors(model), rules, coding or "events", T).net
        used = normalize_input(net, mean, std, normalize=True)
        used |= bin_recordings(net, step_us or 0.0, bool(counts_events))
        return SpikingGraph(net.nodes, net.projections, T, _provenance(path, net, rules, T, used))


def _provenance(
    path: Path, net: Net, rules: neurons.Discretisation, T: int, used: dict[str, Any]
) -> Provenance:
    assumed = {
        "T": T,
        "dt": rules.dt,
        "integration": rules.integration,
        "reset": rules.reset,
        "coding": net.source.coding,
        "input_shape": list(net.source.shape),
        **used,
    }
    return Provenance(path.name, "nir", "NIR", assumed, rules.report.to_dict())


@contextmanager
def _errors_of(path: Path) -> Iterator[None]:
    """Put the file's name into every error, also into those that numpy raises for its values."""
    try:
        yield
    except RefusedError:
        raise
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None
    except (*STRANGE, MemoryError) as error:
        raise ModelError(
            f"{path}: holds what no NIR file does ({_said(error)}); export it again"
        ) from None


def _said(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


def _check_untold(path: Path, **told: Any) -> None:
    for name, value in told.items():
        if value is not None:
            raise ModelError(
                f"{path}: {name} = {value!r}, but its sidecar {path.name}.json says what it is; "
                "leave the option out, or move the sidecar away"
            )


def _check_options(
    path: Path, dt: float | None, integration: str | None, reset: str | None, coding: str | None
) -> None:
    if dt is not None and not (np.isfinite(dt) and dt > 0):
        raise ModelError(f"{path}: dt = {dt}: must be a positive number")
    for name, value, allowed in (
        ("integration", integration, ("euler", "exact")),
        ("reset", reset, ("hard", "soft")),
        ("coding", coding, ("direct", "events")),
    ):
        if value is not None and value not in allowed:
            raise ModelError(f"{path}: {name} {value!r}: there is {' and '.join(allowed)}")


# --- the graph -----------------------------------------------------------------------------------


class _Lowering:
    """The lowering of NIR nodes, one after the other; `net` is the result."""

    def __init__(self, model: NirModel, rules: neurons.Discretisation, coding: Any, T: int) -> None:
        self.model, self.rules, self.report, self.T = model, rules, rules.report, T
        self._check_integrators()
        self.steps = dict[str, Array]()
        for node in (n for n in model.nodes.values() if n.kind == "Delay"):
            with self.report.gathering():
                self.steps[node.name] = self._steps(node)
        self.report.stop()
        self.late = self._implicit_lags()
        shape = self._input_shape()
        # A vector is channels of one pixel, as in every graph.
        source = (*shape, 1, 1) if len(shape) == 1 else grid_of(shape)
        self.net = Net(Source(model.input, source, coding), Population("", ()))
        self.shapes = {model.input: shape}
        self._find_shapes()
        self.values = {model.input: Current((Contribution(model.input, source),), shape)}
        for node in model.nodes.values():
            if node.kind in neurons.SPIKING:
                shape = self.shapes[node.name]
                self.values[node.name] = Current((Contribution(node.name, grid_of(shape)),), shape)
        for name in self._linear_order():
            self._take(model.nodes[name])
        self._populate()
        self._read_out()

    def _check_integrators(self) -> None:
        for node in (n for n in self.model.nodes.values() if n.kind in neurons.INTEGRATORS):
            with self.report.gathering():
                after = [b for a, b in self.model.edges if a == node.name]
                if after != [self.model.output] or len(self.model.before(after[0])) != 1:
                    self.report.refuse(
                        node.where,
                        "has no threshold and is not the readout",
                        "one right before the Output, or before Thresholds, can be taken",
                    )

    def _input_shape(self) -> Shape:
        node = self.model.nodes[self.model.input]
        shape = as_shape(node.values["shape"]) if node.values["shape"] is not None else ()
        if not 1 <= len(shape) <= 3 or min(shape) < 1:
            batch = ", the batch left out" if len(shape) > 3 and shape[0] >= 1 else ""
            self.report.refuse(
                node.where, f"has shape {shape}", f"(N,), (C, L) or (C, H, W) is needed{batch}"
            )
        return shape

    # --- time ---

    def _steps(self, node: NirNode) -> Array:
        """Return a delay in timesteps: one number, or one per neuron."""
        try:
            exact = finite(node, "delay") / self.rules.dt
        except ModelError as error:
            self._refuse(node, error)
        if not exact.size or exact.min() < 0:
            self.report.refuse(node.where, "is negative or empty", "export it again")
        if exact.max() > LONGEST:
            self.report.refuse(
                node.where, f"is {exact.max():.6g} timesteps", "give dt in the file's unit of time"
            )
        whole = np.round(exact)
        late, off = float(whole.max()), float(np.abs(exact - whole).max())
        # Files hold float32, whose rounding grows with the delay.
        if off > max(1e-4, neurons.CLOSE * late):
            self.report.approximated(
                node.where,
                f"became {_from_to(whole)} timesteps",
                f"{off:.3g} of a timestep",
            )
        elif late <= self.T:
            self.report.faithful(node.where, f"{_from_to(whole)} timesteps")
        if late > self.T:
            self.report.approximated(
                node.where,
                f"{late:g} timesteps became {self.T}",
                f"nothing: what is so late does not arrive by T = {self.T}",
            )
        steps = np.minimum(whole, self.T).astype(np.int64)
        return steps if np.any(steps != steps.flat[0]) else np.asarray(steps.flat[0])

    def _implicit_lags(self) -> set[tuple[str, str]]:
        """Find the edges that close a loop without a Delay; they deliver one timestep later."""
        edges, nodes = self.model.edges, self.model.nodes
        waiting = {name for name, steps in self.steps.items() if np.all(steps)}
        self._check_delays_in_loops()
        at_once = [e for e in edges if e[1] not in waiting]
        # These three remember, so their answer may come back a timestep later; a Threshold's does
        # not.
        instant = [e for e in at_once if nodes[e[0]].kind not in ("IF", "LIF", "CubaLIF")]
        linear = [e for e in edges if nodes[e[0]].kind not in neurons.SPIKING]
        for part, lacks in ((instant, "cycle without delay"), (linear, "cycle without neurons")):
            if not nx.is_directed_acyclic_graph(graph := nx.DiGraph(part)):
                loop = [a for a, _ in nx.find_cycle(graph)]
                self.report.refuse(
                    nodes[loop[0]].where,
                    f"{lacks}: {' -> '.join([*loop, loop[0]])}",
                    "a loop needs neurons, and a neuron with memory or a Delay",
                )
        start = self.model.input
        found = set(feedback([*at_once, *((start, name) for name in waiting)], start))
        for a, b in sorted(found):
            self.report.faithful(f"edge {a!r} -> {b!r}", "closes a loop: one timestep later")
        return found

    def _check_delays_in_loops(self) -> None:
        mixed = {n for n, steps in self.steps.items() if np.any(steps) and not np.all(steps)}
        for part in nx.strongly_connected_components(nx.DiGraph(self.model.edges)):
            for name in sorted(mixed & part) if len(part) > 1 else ():
                self.report.refuse(
                    self.model.nodes[name].where,
                    "is 0 for some neurons only, in a loop",
                    "split it, so that what closes the loop is delayed or is not",
                )

    # --- shapes ---

    def _find_shapes(self) -> None:
        """Find the shape of every node, along the edges from the input."""
        closing = set(feedback(self.model.edges, self.model.input))
        forward = nx.DiGraph(e for e in self.model.edges if e not in closing)
        reached = {self.model.input, *nx.descendants(forward, self.model.input)}
        for name, node in self.model.nodes.items():
            if name not in reached:
                self.report.refuse(
                    node.where, "is not reached from the Input", "add the missing edge"
                )
        order = list(nx.lexicographical_topological_sort(forward))
        for name in order:
            if name != self.model.input:
                before = next(a for a in self.model.before(name) if (a, name) not in closing)
                self.shapes[name] = self._shape(self.model.nodes[name], self.shapes[before])
                self._check_inputs(self.model.nodes[name])
        for name in order:
            self._check_inputs(self.model.nodes[name])

    def _shape(self, node: NirNode, taken: Shape) -> Shape:
        """Return the shape of a node's output for the shape of its input."""
        if node.kind in neurons.SPIKING + neurons.INTEGRATORS:
            own = self.rules.shape(node)
            shape = taken if own is None else own
        elif node.kind in ("Output", "Relay"):
            shape = taken
        else:
            try:
                shape = LINEAR[node.kind](self.steps, node, Current((), taken)).shape
            except (*STRANGE, ModelError) as error:
                self._refuse(node, error)
        if not 1 <= prod(shape) <= LARGEST:
            self.report.refuse(node.where, f"gives shape {shape}", "1 to 2^28 neurons can be taken")
        return shape

    def _check_inputs(self, node: NirNode) -> None:
        """Check that all inputs of a node have one shape, its own where it has one."""
        before = [(a, self.shapes[a]) for a in self.model.before(node.name) if a in self.shapes]
        own = node.kind in neurons.SPIKING + neurons.INTEGRATORS
        wanted = self.shapes[node.name] if own else before[0][1] if before else ()
        declared = node.values.get("shape") if node.kind in ("Output", "Relay") else None
        if declared is not None:
            wanted = as_shape(declared)
        for name, shape in before:
            if shape != wanted and not (node.kind == "Output" and _same(shape, wanted)):
                self.report.refuse(
                    node.where,
                    f"takes shape {wanted}, {name!r} gives {shape}",
                    "make the shapes agree",
                )

    def _refuse(self, node: NirNode, error: Exception) -> Any:
        if isinstance(error, RefusedError):
            raise error
        if isinstance(error, ModelError):
            self.report.refuse(node.where, str(error), "make the layers agree")
        self.report.refuse(node.where, f"holds what it cannot ({_said(error)})", "export it again")

    # --- values ---

    def _linear_order(self) -> list[str]:
        skipped = (*neurons.SPIKING, "Input")
        part = nx.DiGraph(e for e in self.model.edges if self.model.nodes[e[0]].kind not in skipped)
        part.add_nodes_from(n.name for n in self.model.nodes.values())
        return [
            name
            for name in nx.lexicographical_topological_sort(part)
            if self.model.nodes[name].kind in LINEAR
        ]

    def into(self, node: NirNode) -> Current:
        """Add up the values that arrive at a node."""
        parts = []
        for name in self.model.before(node.name):
            value = self.values[name]
            parts.append(value.delayed(1) if (name, node.name) in self.late else value)
        return total(parts)

    def _take(self, node: NirNode) -> None:
        try:
            self.values[node.name] = LINEAR[node.kind](self.steps, node, self.into(node))
        except ModelError as error:
            self._refuse(node, error)
        if node.kind not in ("Relay", "Delay"):
            self.report.faithful(node.where, LINEAR_TEXT.get(node.kind, "synapses"))

    def _populate(self) -> None:
        """Add the populations and their projections to the graph."""
        for name in self.shapes:
            node = self.model.nodes[name]
            if node.kind in neurons.SPIKING:
                neuron, grid = self.rules.neuron(node), grid_of(self.shapes[name])
                own = partial(_own, shape=self.shapes[name], grid=grid)
                value = self._charged(node, neuron)
                self.net.nodes.append(
                    Population(
                        name,
                        grid,
                        own(neuron.tau),
                        own(neuron.v_threshold),
                        own(neuron.v_init),
                        self.rules.reset if neuron.reset_by is None else "soft",
                        bias=_small(value.bias, grid),
                        tau_syn=own(neuron.tau_syn),
                        reset_by=neuron.reset_by,
                    )
                )
                self._connect(name, grid, value)
                self.report.faithful(node.where, _described(neuron))

    def _charged(self, node: NirNode, neuron: neurons.NirNeuron) -> Current:
        """Return the input of a neuron in units of its potential."""
        shape = self.shapes[node.name]
        gain, rest = (fitting(a, shape) for a in (neuron.gain, neuron.bias))
        value = self.into(node)
        if np.any(gain != 1):
            value = value.scaled(gain)
        return value.biased(np.array(np.broadcast_to(rest, shape)))

    def _connect(self, name: str, grid: Shape, value: Current) -> None:
        for term in value.terms:
            try:
                maps = finished(term, grid)
            except ModelError as error:
                self._refuse(self.model.nodes[name], error)
            self.net.projections.append(Projection(term.pre, name, maps, lag=term.lag))

    def _read_out(self) -> None:
        output = self.model.nodes[self.model.output]
        last = self.model.nodes[self.model.before(output.name)[0]]
        tau: Parameter = 1.0
        tau_syn: Parameter = 0.0
        node, what = output, "the logits are the sum over the timesteps"
        if last.kind in neurons.INTEGRATORS:
            node, neuron = last, self.rules.neuron(last)
            shape = self.shapes[last.name]
            tau, tau_syn = (_own(x, shape, (prod(shape),)) for x in (neuron.tau, neuron.tau_syn))
            value = self._charged(last, neuron)
            current = f", current leak {shown(tau_syn)}" if np.any(tau_syn) else ""
            what = f"the readout: the logits are its potentials, leak {shown(tau)}{current}"
        else:
            value = self.into(output)
        shape = (prod(self.shapes[node.name]),)
        bias = _small(value.bias, shape)
        self.net.nodes.append(Readout(output.name, shape, bias, tau, tau_syn))
        self._connect(output.name, shape, value)
        self.report.faithful(node.where, what)


def _same(shape: Shape, other: Shape) -> bool:
    """Compare shapes without sizes of 1, which some tools add to the output."""
    return [n for n in shape if n != 1] == [n for n in other if n != 1]


def _from_to(values: Array) -> str:
    low, high = values.min(), values.max()
    return f"{low:.6g}" if low == high else f"{low:.6g} to {high:.6g}"


def _described(neuron: neurons.NirNeuron) -> str:
    syn = f", current leak {shown(neuron.tau_syn)}" if np.any(neuron.tau_syn) else ""
    leak, threshold, times = shown(neuron.tau), shown(neuron.v_threshold), _from_to(neuron.gain)
    return f"leak {leak}{syn}, threshold {threshold}, inputs times {times}"


def _own(value: Parameter, shape: Shape, grid: Shape) -> Parameter:
    """A parameter as a node of shape `grid` has it, in the smallest shape that holds it."""
    if not isinstance(value, np.ndarray):
        return value
    wide = np.array(np.broadcast_to(fitting(value, shape), shape))
    found = common(wide)
    return _small(wide, grid) if isinstance(found, np.ndarray) else found


def _small(bias: Array | None, grid: Shape) -> Array:
    """Return a bias in its smallest shape: (), (C, 1, 1) or one number per neuron."""
    if bias is None or not np.any(bias):
        return np.zeros((), np.float32)
    full = bias.reshape(grid)
    rows = full.reshape(grid[0], -1)
    if len(grid) == 1 or np.any(rows != rows[:, :1]):
        return full
    return np.array(rows[:, 0]).reshape(-1, *[1] * (len(grid) - 1))
