"""Layers whose turn is one compiled call: the calls of their kernels are written down once.

From Python a layer takes a handful of calls per timestep, each with arrays to unpack, and between
them a thread has to get the interpreter's lock back from the others. In a small network that takes
longer than the kernels. What every timestep of a plain layer calls is the same, and always with the
same arrays: so it is kept as a table of records, which `kernels.take_turns` goes through by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import singledispatch
from typing import Any, TypeAlias

import numpy as np

from seenn_deploy._typing import Array
from seenn_deploy.simulator.kernels import kernels
from seenn_deploy.simulator.layout import Edge, Layer
from seenn_deploy.simulator.nodes import Neurons, Pooled, Runner
from seenn_deploy.simulator.spikes import Events, Scratch
from seenn_deploy.simulator.synapses import Accumulate, Gathering, OneToOne

# Currents that a layer works on at a time: 1 MiB stays in a second-level cache.
CURRENTS = 1 << 18

_LIES = ("height", "width", "words", "slot_step", "word_step", "row_step", "first")
_ARRAYS = (
    "masks", "number", "current", "replay", "parts", "loads", "weight", "bias", "v", "fan_out",
    "active", "fired", "saturated", "total", "effective", "own",
)  # fmt: skip
_WHOLE = (
    "kind", "height_after", "width_after", "row_step_after", "column_step_after", "block", "padded",
    "channels", "at_threshold", "soft",
)  # fmt: skip
CALL = np.dtype(
    # An array is written down as its address and its size.
    [(name, np.int64) for array in _ARRAYS for name in (array, f"{array}_size")]
    + [(name, np.int64) for name in (*_LIES, *_WHOLE)]
    # Numbers of float32 and of int32 programs alike are whole in float64.
    + [(name, np.float64) for name in ("factor", "leak", "threshold", "subtracted")]
)
"""A call of a kernel, with those of its arguments that its kind needs; the others are 0."""


Call: TypeAlias = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Plain:
    """A layer that is written down.

    Parameters
    ----------
    number : int
        Its number among all.
    calls : list of dict
        The kernel calls of a timestep: arrays and numbers by the names of `CALL`.
    together : int
        Slots that it works on at a time.
    """

    number: int
    calls: list[Call]
    together: int


def at_a_time(layer: Layer) -> int:
    """Return how many slots' currents stay in the cache until the layer has fired."""
    return max(1, CURRENTS // (layer.arriving.pixels * layer.arriving.padded))


def plain(
    layer: Layer,
    run: Runner,
    sent: list[list[Events]],
    current: Array,
    replay: Array | None,
    counts: dict[str, Array],
    number: int,
) -> Plain | None:
    """Write a layer down: neurons that binary spikes of this timestep reach. None of any other.

    Parameters
    ----------
    layer, run
        The layer, and what a worker keeps of it.
    sent : list of list of Events
        By node, what it sent in this timestep and in earlier ones.
    current : array (slots, P, C_pad)
    replay : array like `current`, optional
        What the image adds at every timestep.
    counts : dict of str to int64 array (slots,)
    number : int
        The layer's number among all.
    """
    calls: list[Call] = []
    if replay is not None:
        calls.append({"kind": kernels.REPLAY, "replay": replay, "padded": current[0].size})
    for edge in layer.edges:
        if edge.analog:  # `replay` has it
            continue
        events, *earlier = sent[edge.pre]
        added = arriving(edge.accumulate)
        # What is kept for later moves from one array to the next, and has no place of its own.
        if earlier or events.graded or edge.real or edge.per_event is not None or added is None:
            return None
        source = _sent(events)
        calls += [source | added, *(source | call for call in _counting(edge, counts))]
    events, *earlier = sent[layer.index]
    fires = None if earlier else firing(run, events, counts)
    if fires is None:
        return None
    calls = [call | {"current": current} for call in (*calls, fires)]
    return Plain(number, calls, at_a_time(layer))


@singledispatch
def arriving(accumulate: Accumulate) -> Call | None:
    """Write down how a projection adds currents, or return None where no call does."""
    return None


@arriving.register
def _(gathering: Gathering) -> Call | None:
    if gathering.weight.dtype not in (np.float32, np.int16):
        return None
    height, width, _, down, across = gathering.view
    return {
        "kind": kernels.GATHER,
        "height_after": height,
        "width_after": width,
        "row_step_after": down,
        "column_step_after": across,
        "parts": gathering.parts,
        "loads": gathering.loads,
        "block": gathering.width,
        "weight": gathering.weight,
        "padded": gathering.padded,
    }


@arriving.register
def _(shortcut: OneToOne) -> Call | None:
    return {"kind": kernels.ONE_TO_ONE, "factor": shortcut.weight}


def _counting(edge: Edge, counts: dict[str, Array]) -> Iterator[Call]:
    """Write down the counting of an edge's synapses: all, those not 0, the network's own."""
    own = {"own": counts["own_ac"]} if edge.own is None else {}
    if edge.effective is edge.fan_out:
        effective = {"effective": counts["ac_effective"]}
        yield _count(edge.fan_out) | {"total": counts["ac"]} | effective | own
    else:
        yield _count(edge.fan_out) | {"total": counts["ac"]} | own
        yield _count(edge.effective) | {"total": counts["ac_effective"]}


def _count(fan_out: Array) -> Call:
    kind = kernels.COUNT if fan_out.ndim == 1 else kernels.COUNT_EACH
    return {"kind": kind, "fan_out": fan_out}


def _sent(events: Events) -> Call:
    """Write down where a node's spikes lie."""
    lies = dict(zip(_LIES, events.plane.lies, strict=True))
    return {"masks": events.masks, "number": events.number, **lies}


@singledispatch
def firing(run: Runner, events: Events, counts: dict[str, Array]) -> Call | None:
    """Write down what becomes of a layer's currents, or return None where no call does it."""
    return None


@firing.register
def _(neurons: Neurons, events: Events, counts: dict[str, Array]) -> Call | None:
    node, state = neurons.node, neurons.state
    if node.each_its_own or len(state.u):
        return None
    leak, threshold, subtracted = state.constants[1:, 0, 0]
    return _sent(events) | {
        "kind": kernels.FIRE,
        "bias": neurons.layer.bias,
        "v": state.v,
        "channels": node.shape[0],
        "leak": leak,
        "threshold": threshold,
        "subtracted": subtracted,
        "at_threshold": node.comparison == ">=",
        "soft": node.reset == "soft",
        "active": counts["updates_active"],
        "fired": counts["spikes"],
        "saturated": counts["saturated"],
    }


@firing.register
def _(pooled: Pooled, events: Events, counts: dict[str, Array]) -> Call | None:
    return None


@dataclass(frozen=True, eq=False)
class Turns:
    """Plain layers in a row, which take their turns in one compiled call.

    Parameters
    ----------
    layers : sequence of Plain
        They keep the arrays that the calls point to.
    numbers : int array
        The layers' numbers.
    calls, first_call, together : arrays
        As in ``kernels.take_turns``.
    """

    layers: Sequence[Plain]
    numbers: Array
    calls: Array
    first_call: Array
    together: Array

    @classmethod
    def of(cls, layers: Sequence[Plain]) -> Turns:
        """Put layers in a row."""
        table = np.array([_record(call) for layer in layers for call in layer.calls], CALL)
        first = np.cumsum([0, *(len(layer.calls) for layer in layers)])
        numbers, together = np.array([(layer.number, layer.together) for layer in layers]).T
        return cls(layers, numbers, table, first, np.ascontiguousarray(together))

    def take(self, slots: Array, scratch: Scratch) -> None:
        """Run one timestep of the layers, and count all but biases, resets and idle neurons."""
        numbers = scratch.values[:0]
        weights = np.empty(0, np.float32 if numbers.dtype == np.float32 else np.int16)
        kernels.take_turns(
            slots, self.calls, self.first_call, self.together, numbers, weights,
            scratch.rows, scratch.values, scratch.count,
        )  # fmt: skip


def _record(call: Call) -> Any:
    record = np.zeros((), CALL)
    for name, value in call.items():
        if name in _ARRAYS:
            assert value.flags.c_contiguous
            record[name], record[f"{name}_size"] = value.ctypes.data, value.size
        else:
            record[name] = value
    return record
