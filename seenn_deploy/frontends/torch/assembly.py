"""Nodes and projections of a graph, made from what a walk found about every layer.

A module that calls its layers once per timestep must do the same at every timestep: the input at
timestep k is the input at the first one, k timesteps later. What a layer takes from j timesteps
before becomes a projection with lag j.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import numpy as np

from seenn_deploy import ir
from seenn_deploy._typing import Array, Shape
from seenn_deploy.frontends.torch.adapters.base import Neuron
from seenn_deploy.frontends.torch.layers import Layer
from seenn_deploy.frontends.torch.maps import Maps, constant_of, flat_over
from seenn_deploy.frontends.torch.operations.registry import Multiplied
from seenn_deploy.frontends.torch.recurrences import leak_of, leak_of_last, shares
from seenn_deploy.frontends.torch.values import (
    SOURCE,
    Call,
    Constant,
    Joined,
    Potential,
    Signal,
    State,
    Term,
    Unreadable,
    Value,
    Window,
    in_graph_order,
    in_order,
)
from seenn_deploy.frontends.torch.walk import Walk
from seenn_deploy.ir.maps.affine import composed
from seenn_deploy.ir.nodes.base import Parameter, shown
from seenn_deploy.ir.own import Applied, OwnInput

# A readout of flattened spikes needs an identity matrix with one row per class; this is the limit.
_MOST_CLASSES = 4096


@dataclass(frozen=True, eq=False)
class Placed:
    """A node, and the terms that end in it, each with its lag in timesteps."""

    node: ir.Node
    inputs: tuple[tuple[Term, int], ...]


class Assembly:
    """The nodes and projections that the output depends on.

    Parameters
    ----------
    walk : Walk
        A walk whose `outputs` have been read.
    source_shape : tuple of int
    output : int or str, optional
        Which of several outputs is read out, by number or by name.
    T : int, optional
        The timesteps that were asked for, which may be more than the walk has seen.
    """

    def __init__(
        self, walk: Walk, source_shape: Shape, output: int | str | None = None,
        T: int | None = None,
    ) -> None:  # fmt: skip
        self._asked, self._T = output, T
        self._leaks: dict[str, float] = {}
        self._late: dict[str, Array] = {}  # what the first timestep lacks of the constant current
        self.walk, self.report, self.maps = walk, walk.report, walk.graph.maps
        self._shapes: dict[str, Shape] = {SOURCE: source_shape}
        self._layers = {layer.name: i for i, layer in enumerate(walk.layers)}
        self._pools = {name: (term, shape) for name, term, shape in walk.graph.pools.values()}
        self._products = dict(walk.graph.products.values())
        self._relays = dict(walk.graph.relays.values())
        self._arranged = dict(walk.graph.arranged.values())
        self._sums = {name: summands for summands, name in walk.graph.sums.items()}
        self._placed: dict[str, Placed] = {}
        self.output = 0  # which of the outputs is read out

    def graph(self, outputs: list[Value]) -> tuple[list[ir.Node], list[ir.Projection]]:
        """Return the nodes, without the source, and the projections.

        Raises
        ------
        RefusedError
            When timesteps differ, or the output is nothing that a readout can sum up.
        """
        last = self._readout(outputs)
        for term, _ in last.inputs:
            self._place(term.origin)
        self._say_what_is_left_out()
        placed = [*_without_plain_sums(list(self._placed.values())), last]
        nodes = [p.node for p in placed]
        return nodes, [edge for p in placed for edge in self._edges(p)]

    # --- nodes -----------------------------------------------------------------------------------

    def _place(self, name: str) -> None:
        """Add a node after all nodes that feed it without lag."""
        # A stack of our own, because networks are deeper than Python recurses.
        pending = [name]
        while pending:
            name = pending[-1]
            if name == SOURCE or name in self._placed:
                pending.pop()
                continue
            inputs = self._inputs(name)
            placed = {SOURCE, *self._placed}
            missing = [t.origin for t, lag in inputs if not lag and t.origin not in placed]
            if missing:
                pending += missing
                continue
            pending.pop()
            self._placed[name] = Placed(self._node(name), inputs)
            # What arrives later may come from the node itself, or from one behind it.
            pending += [t.origin for t, lag in inputs if lag]

    def _inputs(self, name: str) -> tuple[tuple[Term, int], ...]:
        if name in self._pools:
            return ((self._pools[name][0], 0),)
        if name in self._products:
            return tuple((term, 0) for term in self._products[name].factors)
        if name in self._relays:
            return self._relays[name].inputs
        if name in self._arranged:
            return tuple((term, 0) for term in self._arranged[name].parts)
        if name in self._sums:
            return tuple((Term(origin), 0) for origin in self._sums[name])
        return self._inputs_of_layer(self._layers[name])

    def _node(self, name: str) -> ir.Node:
        if name in self._layers:
            return self._node_of_layer(self.walk.layers[self._layers[name]])
        shape = self._shape(name)
        if name in self._sums or name in self._arranged:
            return ir.Sum(name, shape)
        if name in self._products:
            self.report.faithful(name, "product of spikes, element by element")
            return _product(name, self._products[name])
        if name in self._relays:
            pool = self._relays[name].pool
            relay = ir.Relay(name, shape, **vars(pool))
            self.report.faithful(name, relay.text)
            return relay
        self.report.faithful(name, "maximum of spikes: a neuron that spikes when any does")
        # No memory, and half a spike as threshold: any spike in the window makes one.
        return ir.Population(name, shape, tau=0.0, v_threshold=0.5)

    def _node_of_layer(self, layer: Layer) -> ir.Node:
        name, shape = layer.name, self._shape(layer.name)
        assert layer.neuron is not None
        neuron = self._started(layer, layer.neuron)
        self._describe(layer, neuron)
        neuron = self._without_first_constant(name, self._fitted(name, neuron))
        pool = self._calls(self._layers[name])[-1].pool
        if neuron.filters:
            return self._filter(name, neuron, pool)
        population = ir.Population(
            name, shape, neuron.tau, neuron.v_threshold, neuron.v_init, neuron.reset,
            neuron.comparison, np.asarray(neuron.shift), neuron.tau_syn, neuron.reset_by,
        )  # fmt: skip
        if pool is None:
            return population
        self.report.faithful(name, f"takes the largest current of {pool.window} windows")
        return ir.Maximum(**vars(population), **vars(pool))

    def _filter(self, name: str, neuron: Neuron, pool: Window | None) -> ir.Filter:
        if pool is not None or np.any(neuron.tau_syn):
            self.report.refuse(
                self._place_of(name), "a synapse filter of largest currents, or of one that leaks",
                "let neurons lie between",
            )  # fmt: skip
        return ir.Filter(name, self._shape(name), neuron.tau)

    def _started(self, layer: Layer, neuron: Neuron) -> Neuron:
        """Give a layer what the module does to it: a first charge, a current that leaks."""
        start = self.walk.starts.get(self._layers[layer.name])
        if start is not None:
            neuron = replace(neuron, v_init=start)
            self.report.faithful(layer.name, f"charged to {start:g} before the first timestep")
        leak = self._leaks.get(layer.name)
        if leak is None:
            return neuron
        if np.any(neuron.tau_syn) or np.any(neuron.shift):
            self.report.refuse(
                self._place_of(layer.name), "its input leaks, and it has a current of its own",
                "leave one of the two out",
            )  # fmt: skip
        self._check_leak(self._place_of(layer.name), leak)
        self.report.faithful(layer.name, f"the module's own synaptic current, tau_syn {leak:g}")
        return replace(neuron, tau_syn=leak)

    def _check_leak(self, place: str, leak: float) -> None:
        """Refuse a state that grows of itself, or whose sign changes at every timestep."""
        if not 0 <= leak <= 1:
            self.report.refuse(
                place, f"a state of which {leak:g} is left after each timestep",
                "a graph's states leak: 0 to 1 may be left",
            )  # fmt: skip

    def _without_first_constant(self, name: str, neuron: Neuron) -> Neuron:
        """Take a constant that comes with the second timestep from where the potential begins."""
        late = self._late.get(name)
        if late is None:
            return neuron
        self.report.faithful(
            name, "its bias begins with the second timestep: the first begins as much lower"
        )
        shape = self._shape(name)
        lower = np.broadcast_to(neuron.gain * late / neuron.tau, shape)
        return replace(neuron, v_init=_by_channel(neuron.v_init - lower))

    def _place_of(self, name: str) -> str:
        return self.walk.places.get(name, name)

    def _shape(self, name: str) -> Shape:
        if name not in self._shapes:
            self._shapes[name] = self._shape_of(name)
        return self._shapes[name]

    def _shape_of(self, name: str) -> Shape:
        if name in self._pools:
            return self._pools[name][1]
        if name in self._sums:
            return self._shape(self._sums[name][0])
        if name in self._products:
            return self._products[name].shape
        if name in self._relays:
            return self._relays[name].shape
        if name in self._arranged:
            return self._arranged[name].shape
        shape = self.walk.calls[self._layers[name]][0].shape
        assert shape is not None
        return shape

    def _describe(self, layer: Layer, neuron: Neuron) -> None:
        rounding = "the same operations" if neuron.exact else "rounded in another order"
        self.report.faithful(layer.name, f"{layer.kind}: {neuron.formula}; {rounding}")
        for what, by in neuron.approximations:
            self.report.approximated(layer.name, what, by)

    def _say_what_is_left_out(self) -> None:
        for layer, calls in zip(self.walk.layers, self.walk.calls, strict=True):
            if layer.name not in self._placed and not (layer.neuron and layer.neuron.reads_out):
                why = "does not reach the output" if calls else "is not called"
                self.report.faithful(layer.name, f"left out: it {why}")

    # --- what ends in a layer --------------------------------------------------------------------

    def _inputs_of_layer(self, number: int) -> tuple[tuple[Term, int], ...]:
        """Return the terms of the last call, which has all lags; earlier calls must agree."""
        calls = self._calls(number)
        last = len(calls) - 1
        name = self.walk.layers[number].name
        pooled = calls[last].pool
        if any(call.pool != pooled for call in calls):
            self.report.refuse(
                self._place_of(name), "a max pool in front of it at some timesteps alone",
                "a graph does the same at every timestep",
            )  # fmt: skip
        # Two timesteps do not tell a leak from any two factors; and a current that leaks and is
        # pooled then is not one that is pooled and leaks.
        leak = leak_of(calls, self.maps) if last > 1 and pooled is None else None
        if leak is not None and self._grows_by(leak, calls):
            self._leaks[name] = leak
            return tuple((replace(t, step=None), t.lag) for t in calls[0].terms)
        inputs = tuple((t, 0 if t.step is None else last - t.step) for t in calls[last].terms)
        constant = self._constant([t for t, _ in inputs])
        for k, call in enumerate(calls[:-1]):
            # What is older than the first timestep has not arrived by then.
            expected = [self._key(t, lag) for t, lag in inputs if lag <= k]
            found = [self._key(t, 0 if t.step is None else k - t.step) for t in call.terms]
            if sorted(found) != sorted(expected):
                self.report.refuse(
                    self._place_of(name),
                    f"its input at timestep {k + 1} is made in another way than at {last + 1}",
                    "a graph does the same at every timestep",
                )
            lacks = constant - self._constant(list(call.terms))
            if not _close(lacks, np.zeros(())):
                self._begin_lower(number, lacks, k)
        oldest = max((lag for _, lag in inputs), default=0)
        if last and oldest == last and (self._T or 0) > len(calls):
            self.report.refuse(
                self._place_of(name),
                f"its input goes back to the first of the module's {len(calls)} timesteps",
                "more timesteps would be cut there; leave T out, or let a state leak or sum",
            )
        return tuple((t, lag + t.lag) for t, lag in inputs)

    def _begin_lower(self, number: int, lacks: Array, k: int) -> None:
        """Note what the first timestep lacks of a layer's constant current.

        Raises
        ------
        RefusedError
            When no potential to begin at makes up for it.
        """
        layer = self.walk.layers[number]
        neuron, pool = layer.neuron, self._calls(number)[-1].pool
        assert neuron is not None
        makes_up = np.all(neuron.tau) and not (np.any(neuron.tau_syn) or neuron.filters or pool)
        if k > 0 or not makes_up:
            self.report.refuse(
                self._place_of(layer.name),
                f"a constant in its input (a bias, a norm's shift) is another one at timestep "
                f"{k + 1} than at {len(self.walk.calls[number])}",
                "add the same constant at every timestep",
            )
        self._late[layer.name] = lacks

    def _calls(self, number: int) -> list[Signal]:
        """The inputs of a layer at its calls; largest currents from the node that sends them on."""
        return [self._as_sent(call) for call in self.walk.calls[number]]

    def _as_sent(self, call: Signal) -> Signal:
        sent = None if call.pool is None else self.walk.graph.relayed(call)
        return call if sent is None else replace(call, terms=(sent,), pool=None)

    def _grows_by(self, leak: float, steps: Sequence[Signal]) -> bool:
        """Tell whether what is added without any spike leaks like the rest."""
        found = [self._constant(list(signal.terms)) for signal in steps]
        grown = zip(found[1:], found[:-1], strict=True)
        return all(_close(now, leak * before + found[0]) for now, before in grown)

    def _key(self, term: Term, lag: int) -> tuple[str, tuple[int, ...], int]:
        # Both lags are compared as one: a delay of 1 is what a loop hands on.
        # Constants are compared as one sum, since the graph has one bias per node.
        bare = [self.maps.without_constants(m) for m in term.maps]
        return (term.origin, tuple(id(m) for m in bare if m.factor != 1), lag + term.lag)

    def _constant(self, terms: list[Term]) -> Array:
        """Return the value of a sum of terms when nothing spikes."""
        total = np.zeros(())
        for term in terms:
            total = total + constant_of(term.maps, self._shape(term.origin))
        return total

    # --- the readout -----------------------------------------------------------------------------

    def _readout(self, outputs: list[Value]) -> Placed:
        readable = [i for i, o in enumerate(outputs) if self._can_be_read(o)]
        if not readable:
            self._refuse_unreadable(outputs)
        self.output = self._chosen(outputs, readable)
        chosen = outputs[self.output]
        if isinstance(chosen, Signal) and chosen.pool is not None:
            self.report.refuse(
                self.walk.place_of_output(self.output), "the largest currents of a max pool",
                "let neurons follow the pool",
            )  # fmt: skip
        if isinstance(chosen, Unreadable):
            self.report.refuse(
                self.walk.place_of_output(self.output),
                chosen.why,
                "a graph does the same at every timestep; a state may leak or sum up from 0",
            )
        if sum(not isinstance(o, Constant) for o in outputs) > 1:
            names = self.walk.output_names
            which = "only the first" if self.output == 0 else f"only {names[self.output]!r}"
            self.report.faithful("output", f"{which} is read out, the others are recordings")
        if isinstance(chosen, Potential):
            return self._leaky_readout(chosen)
        return self._summing_readout(self.walk.readout_name(self.output), chosen)

    def _refuse_unreadable(self, outputs: list[Value]) -> NoReturn:
        what = "neither spikes nor currents"
        if any(isinstance(o, Potential) for o in outputs):
            what = "potentials of neurons that reset"
        joined = next((i for i, o in enumerate(outputs) if isinstance(o, Joined)), None)
        if joined is not None:
            what = f"{self.walk.place_of_output(joined)}, features side by side"
        self.report.refuse("output", what, "return the last layer's spikes or currents first")

    def _chosen(self, outputs: list[Value], readable: list[int]) -> int:
        """The output that was asked for, or the only one that can be read."""
        names = self.walk.output_names
        options = " or ".join(f"output={names[i]!r}" for i in readable)
        if self._asked is not None:
            found = [i for i in readable if self._asked in (i, names[i])]
            if not found:
                self.report.refuse(
                    "output", f"{self._asked!r} is not among those that can be read",
                    f"write {options}",
                )  # fmt: skip
            return found[0]
        # What the module takes back at its next call is a state, and no answer.
        answers = [i for i in readable if i not in self.walk.handed_on] or readable
        apart = {self._what_is_read(outputs[i]): i for i in reversed(answers)}
        if len(apart) > 1:
            calls = self.walk.last_call
            known = ", ".join(f"{names[i]!r} of {calls[i].sizes}" for i in answers)
            self.report.refuse(
                "output",
                f"the module returns several: {known}",
                f"say which one holds the logits: write {options}",
            )
        return answers[0]

    def _can_be_read(self, output: Value) -> bool:
        if isinstance(output, Potential):
            neuron = self.walk.layers[output.layer].neuron
            # What Norse's readouts return beside their potential holds more than that.
            own = neuron is not None and not (output.beside and neuron.sends_potential)
            return own and neuron is not None and neuron.reads_out
        return isinstance(output, Signal | Unreadable)

    def _what_is_read(self, output: Value) -> tuple[str, int, bool]:
        """Tell outputs apart by what a graph that reads them out would be."""
        if isinstance(output, Potential):
            return "potential", output.layer, self._is_read_to_the_end(output)
        return "currents", id(output), True

    def _is_read_to_the_end(self, potential: Potential) -> bool:
        """Whether it is that of the last timestep, or of all of them."""
        steps, times = self._steps_of(potential.layer), potential.layout.times
        if potential.step is not None:
            return potential.step == steps - 1
        return [atom.size for atom in times] == [steps]

    def _steps_of(self, number: int) -> int:
        """The timesteps that a layer does: its calls, or the length of its stream."""
        neuron, calls = self.walk.layers[number].neuron, self.walk.calls[number]
        if neuron is None or neuron.time_axis is None:
            return len(calls)
        return calls[0].sizes[neuron.time_axis]

    def _leaky_readout(self, potential: Potential) -> Placed:
        """Read out the potential of a layer that is never reset."""
        layer = self.walk.layers[potential.layer]
        neuron, calls = layer.neuron, self.walk.calls[potential.layer]
        assert neuron is not None
        # Of two states it is not clear which one is returned.
        pooled = any(call.pool for call in calls)
        if not self._is_read_to_the_end(potential):
            of = f"timestep {potential.step + 1} alone" if potential.step is not None else "some"
            self.report.refuse(
                self.walk.place_of_output(self.output),
                f"the potential of {of} of {self._steps_of(potential.layer)}",
                "return the last one, or the stack of all",
            )
        if pooled or (np.any(neuron.tau_syn) and not neuron.sends_potential):
            self.report.refuse(
                layer.name, "this potential as output", "read that of a layer without syn or pool"
            )
        terms = self._inputs_of_layer(potential.layer)
        neuron = self._fitted(layer.name, neuron)
        inputs = tuple((self._scaled(t, neuron.gain), lag) for t, lag in terms)
        self.report.faithful(layer.name, f"{layer.kind}: leaky readout, tau {shown(neuron.tau)}")
        shape = self._logits(potential.layout)
        leaks = (_flat(x, shape) for x in (neuron.tau, neuron.tau_syn))
        return Placed(
            ir.Readout(layer.name, shape, np.asarray(_flat(neuron.shift, shape)), *leaks), inputs
        )

    def _summing_readout(self, name: str, signal: Signal) -> Placed:
        leaks = (1.0, 0.0)
        if signal.state is not None:
            terms, constant, leaks = self._own_state(name, signal, signal.state)
        # The readout sums a stream by itself, and a mean is that sum up to a factor.
        elif signal.times or signal.summed is not None or self._steps() == 1:
            terms, constant = [replace(t, step=None) for t in signal.terms], np.zeros(())
            if signal.summed is not None and signal.summed.factor != 1:
                self.report.faithful(
                    name, "mean over time: logits are the sum, T times the module's output"
                )
        else:
            terms, constant, leaks = self._unrolled_sum(signal)
        shape = self._logits(signal)
        terms = [self._seen_flat(t, shape) for t in terms]
        if len({t.origin for t in terms} & {SOURCE}):
            self.report.refuse(
                self.walk.places[name],
                "the input reaches the output without a spike",
                "add neurons",
            )
        return Placed(ir.Readout(name, shape, constant, *leaks), tuple((t, t.lag) for t in terms))

    def _own_state(
        self, name: str, signal: Signal, state: State
    ) -> tuple[list[Term], Array, tuple[float, float]]:
        """Return what is added to a state at each timestep, and its leaks."""
        self._check_leak(self.walk.place_of_output(self.output), state.tau)
        if not self._grows_by(state.tau, state.steps):
            self.report.refuse(
                self.walk.place_of_output(self.output),
                "a constant is added to a leaking state, or it does not start from 0",
                "let it start from 0, and add constants in the layer before",
            )
        if signal.summed is None and state.tau == 1:  # it is the sum over timesteps already
            self.report.faithful(
                name, "the module's own sum over timesteps: logits are what it returns"
            )
            return list(signal.terms), np.zeros(()), (1.0, 0.0)
        self.report.faithful(
            name, f"logits are the sum over timesteps of the module's own state, tau {state.tau:g}"
        )
        return list(signal.terms), np.zeros(()), (1.0, state.tau)

    def _steps(self) -> int:
        """Count the module's own timesteps: calls of its layers, or the length of streams."""
        return max(self.walk.call_counts | self.walk.stream_lengths, default=1)

    def _unrolled_sum(self, signal: Signal) -> tuple[list[Term], Array, tuple[float, float]]:
        """Return the terms of one timestep, where the output sums up all of them, or leaks."""
        T, groups = self._steps(), shares(signal.terms, self.maps)
        leaks = {leak_of_last(by_step) for by_step in groups.values()}
        if any(set(by_step) != set(range(T)) for by_step in groups.values()):
            found = sorted({step + 1 for by_step in groups.values() for step in by_step})
            self.report.refuse(
                self.walk.place_of_output(self.output),
                f"it takes timesteps {found} of {T}",
                "logits are sums over all timesteps: return a sum, a mean or a stack",
            )
        (leak,) = leaks if len(leaks) == 1 else (None,)
        if leak is None:
            self.report.refuse(
                self.walk.place_of_output(self.output),
                f"it takes the {T} timesteps by other factors than a sum or a leak has",
                "return a sum, a mean or a stack, or let a state leak",
            )
        self._check_leak(self.walk.place_of_output(self.output), leak)
        # The written-out sum has the constant of each timestep, leaked until T.
        weight = sum(leak**k for k in range(T))
        constant = self._constant(list(signal.terms)) / weight
        # The terms of the last timestep have not leaked: their maps are those of any one timestep.
        bare = [
            replace(t, maps=tuple(self.maps.without_constants(m) for m in t.maps), step=None)
            for t in signal.terms
            if t.step == T - 1
        ]
        leaking = f", which leak by {leak:g}" if leak != 1 else ""
        self.report.faithful("output", f"a sum over the module's {T} timesteps{leaking}")
        return bare, np.ravel(constant) if constant.ndim else constant, (leak, 0.0)

    def _logits(self, signal: Signal) -> Shape:
        if not in_order(signal):
            self.report.refuse(
                self.walk.place_of_output(self.output),
                "its features lie in another order than they were made in",
                "leave out the permute, or apply it to the weights",
            )  # fmt: skip
        shape = signal.shape or ()
        features = int(np.prod(shape))
        if any({"time", "feature"} <= {a.role for a in axis if a.size > 1} for axis in signal.axes):
            self.report.refuse(
                self.walk.place_of_output(self.output),
                "timesteps and features lie on one axis of it",
                "return them on axes of their own, or a sum over timesteps",
            )
        roles = [a.role for axis in signal.axes for a in axis if a.size > 1 and a.role != "feature"]
        if len(roles) > len({"time", "batch"} & set(roles)) + (roles == [None]):
            self.report.refuse(
                self.walk.place_of_output(self.output),
                f"of its axes {list(signal.sizes)} one is neither batch, time nor features",
                "return one number per class, at the last timestep or at all of them",
            )
        behind_time = len(signal.axes) - len(signal.times) - 1
        if behind_time > 1 and len([n for n in shape if n > 1]) > 1:
            self.report.refuse(
                self.walk.place_of_output(self.output),
                f"it has features of shape {shape}",
                "one number per class is needed",
            )
        return (features,)

    def _seen_flat(self, term: Term, shape: Shape) -> Term:
        """Flatten a term to a vector, whatever axes it has."""
        before = found = self._shape(term.origin)
        for step in term.maps:
            before, found = found, step.out_shape(found)
        if found == shape:
            return term
        if (whole := flat_over(term.maps, before)) is not None:
            return replace(term, maps=whole)
        if (term.maps and isinstance(term.maps[-1], ir.Conv2d | ir.Sparse)) or shape[
            0
        ] > _MOST_CLASSES:
            self.report.refuse(
                self.walk.place_of_output(self.output),
                f"a map of shape {found}",
                "end with a linear layer",
            )
        flat = ir.Dense(np.eye(shape[0], dtype=np.float32))
        return replace(term, maps=(*term.maps, flat))

    # --- projections -----------------------------------------------------------------------------

    def _edges(self, placed: Placed) -> Iterator[ir.Projection]:
        name = placed.node.name
        gain = self._gain(name)
        for term, lag in placed.inputs:
            maps = _with_weights(self._scaled(term, gain).maps, self._shape(term.origin))
            macs = 0 if name in self._pools else term.macs
            own = tuple(_applied(call, term, lag - term.lag) for call in term.calls) or None
            yield ir.Projection(term.origin, name, maps, lag=lag, dense_macs=macs, own=own)

    def _fitted(self, name: str, neuron: Neuron) -> Neuron:
        """Give parameters that differ between neurons the shape that they have in the graph."""
        signal = self.walk.calls[self._layers[name]][0]
        # Behind the batch, and in a stream behind time as well.
        view = signal.sizes[1 if neuron.time_axis is None else 2 :]
        fitted: dict[str, Any] = {
            part: self._in_graph(name, part, values, view, signal)
            for part, values in vars(neuron).items()
            if isinstance(values, np.ndarray)
        }
        return replace(neuron, **fitted)

    def _in_graph(self, name: str, part: str, values: Array, view: Shape, signal: Signal) -> Array:
        """Broadcast a parameter as torch does, and keep one number per channel if that holds it."""
        lead = max(0, values.ndim - len(view))
        try:
            wide = np.broadcast_to(values.reshape(values.shape[lead:]), view)
        except ValueError:
            self.report.refuse(
                name, f"{part} of shape {values.shape} beside neurons of shape {view}",
                "give one number for the layer, by channel or by neuron",
            )  # fmt: skip
        return _by_channel(in_graph_order(signal, wide.reshape(-1)).reshape(self._shape(name)))

    def _gain(self, name: str) -> Parameter:
        if name not in self._layers or name not in self._placed:
            return 1.0
        neuron = self.walk.layers[self._layers[name]].neuron
        return self._fitted(name, neuron).gain if neuron else 1.0

    def _scaled(self, term: Term, gain: Parameter) -> Term:
        if not isinstance(gain, np.ndarray) and gain == 1:
            return term
        channels = self._channels(term)
        if np.size(gain) not in (1, channels):
            self.report.refuse(
                term.origin, "a factor on the input that differs within a channel",
                "a leak by neuron needs decay_input=False, or one number per channel",
            )  # fmt: skip
        factors = np.broadcast_to(np.ravel(gain), (channels,))
        scale = self.maps.affine(np.array(factors), np.zeros(channels))
        return replace(term, maps=self.maps.appended(term.maps, scale))

    def _channels(self, term: Term) -> int:
        shape = self._shape(term.origin)
        for step in term.maps:
            shape = step.out_shape(shape)
        return shape[0]


def _applied(call: Call, term: Term, lag: int) -> Applied:
    """A layer on the way of a term, which takes `lag` timesteps but for delays, as the graph's."""
    steps = [x.step for x in call.inputs if x.step is not None]
    now = term.step if term.step is not None else max(steps, default=0)
    inputs = (
        OwnInput(x.origin, lag + x.lag + (0 if x.step is None else now - x.step), x.maps)
        for x in call.inputs
    )
    return Applied(tuple(inputs), call.layer, call.shape)


def _without_plain_sums(placed: list[Placed]) -> list[Placed]:
    """Remove sums that only populations take, as a current: the summands go there directly."""
    for sum_ in [p for p in placed if not p.node.stages and p.node.adds]:
        name = sum_.node.name
        users = [p for p in placed if any(t.origin == name for t, _ in p.inputs)]
        if users and all(_takes_plainly(p, name) for p in users):
            placed = [_inlined(p, sum_) for p in placed if p is not sum_]
    return placed


def _takes_plainly(placed: Placed, name: str) -> bool:
    """Tell whether a node takes `name` only as a current of a population."""
    plain = all(not t.maps for t, _ in placed.inputs if t.origin == name)
    return plain and isinstance(placed.node, ir.Population)


def _inlined(placed: Placed, sum_: Placed) -> Placed:
    inputs: list[tuple[Term, int]] = []
    for term, lag in placed.inputs:
        whole = term.origin == sum_.node.name
        inputs += [(t, lag) for t, _ in sum_.inputs] if whole else [(term, lag)]
    return Placed(placed.node, tuple(inputs))


def _with_weights(maps: Maps, shape: Shape) -> Maps:
    """Turn a chain of scales alone into an identity of that weight, or into a diagonal matrix."""
    if not maps:
        return (ir.Identity(),)
    whole = composed(maps)
    if whole is None:
        return maps
    if whole.factor is not None:
        return (ir.Identity(np.asarray(whole.factor, np.float32)),)
    # An image's scales stay as they are: the compiler folds them into a convolution.
    return maps if len(shape) == 3 else (ir.Dense(np.diag(whole.scale), whole.shift),)


def _product(name: str, found: Multiplied) -> ir.Product:
    sizes = [int(np.prod(shape)) for shape in (found.left, found.right)]
    bias: Array = np.repeat(np.array(found.bias, np.float32), sizes)
    return ir.Product(
        name, found.shape, found.subscripts, found.left, found.right,
        bias if bias.any() else np.zeros((), np.float32),
    )  # fmt: skip


def _by_channel(wide: Array) -> Array:
    """Numbers of all neurons, or one for each channel if that holds them."""
    rows = wide.reshape(wide.shape[0], -1)
    within = bool((rows == rows[:, :1]).all())
    return rows[:, 0].reshape(-1, *[1] * (wide.ndim - 1)) if within else np.array(wide)


def _flat(value: Parameter, shape: Shape) -> Parameter:
    """A parameter of a readout, which is a vector whatever the layer was."""
    return value.reshape(shape) if isinstance(value, np.ndarray) else value


def _close(a: Array, b: Array) -> bool:
    return bool(np.allclose(a, b, rtol=1e-6, atol=1e-9))
