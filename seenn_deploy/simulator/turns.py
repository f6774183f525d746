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
from seenn_deploy.simulator.layout import Edge, FanOut, Layer
from seenn_deploy.simulator.nodes import Adder, Neurons, Pooled, Runner
from seenn_deploy.simulator.spikes import Events, Plane, Scratch
from seenn_deploy.simulator.synapses import Accumulate, Gathering, OneToOne

# Currents that a layer works on at a time: 1 MiB stays in a second-level cache.
CURRENTS = 1 << 18

_LIES = ("height", "width", "words", "slot_step", "word_step", "row_step", "first")
_ARRAYS = (
    "masks", "values", "number", "units", "less", "current", "replay", "parts", "loads", "weight",
    "bias", "v", "fan_out", "rows", "row_of", "active", "fired", "graded", "saturated", "total",
    "effective", "own",
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

    @property
    def has_neurons(self) -> bool:
        """Whether it fires, and does not only send a sum."""
        return bool(self.calls[-1]["kind"] == kernels.FIRE)


def at_a_time(currents: Plane) -> int:
    """Return how many slots' currents stay in the cache until their layer has fired."""
    return max(1, CURRENTS // (currents.pixels * currents.padded))


def plain(
    layer: Layer,
    run: Runner,
    sent: list[list[Events]],
    current: Array,
    replay: Array | None,
    counts: dict[str, Array],
    number: int,
) -> Plain | None:
    """Write a layer down: neurons or a sum that spikes of this timestep reach. None of any other.

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
        counting = list(_counting(edge, events, counts))
        # What is kept for later moves from one array to the next, and has no place of its own.
        if earlier or edge.real or added is None or not all(counting):
            return None
        if "weight" in added and added["weight"].dtype != weights_of(current):
            return None
        source = _sent(events)
        calls += [source | added, *(source | call for call in counting if call)]
    events, *earlier = sent[layer.index]
    fires = None if earlier else firing(run, events, counts)
    if fires is None:
        return None
    calls = [call | {"current": current} for call in (*calls, fires)]
    return Plain(number, calls, at_a_time(layer.arriving))


@singledispatch
def arriving(accumulate: Accumulate) -> Call | None:
    """Write down how a projection adds currents, or return None where no call does."""
    return None


@arriving.register
def _(gathering: Gathering) -> Call | None:
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


def _counting(edge: Edge, events: Events, counts: dict[str, Array]) -> Iterator[Call | None]:
    """Write down the counting of an edge's synapses: all, those not 0, the network's own."""
    if edge.per_event == 0:
        return
    if not events.graded or edge.per_event:  # an addition, whatever the value
        counted = {"number": events.number}
        yield from _counts(edge, events, "ac", counted, counts)
    else:
        yield from _counts(edge, events, "ac", {"number": events.units}, counts)
        others = {"number": events.number, "less": events.units}
        yield from _counts(edge, events, "mac", others, counts)


def _counts(
    edge: Edge, events: Events, name: str, counted: Call, counts: dict[str, Array]
) -> Iterator[Call | None]:
    own = {"own": counts[f"own_{name}"]} if edge.own is None else {}
    all_of = counted | {"total": counts[name]} | own
    if edge.effective is edge.fan_out:
        yield _count(edge.fan_out, events, all_of | {"effective": counts[f"{name}_effective"]})
    else:
        yield _count(edge.fan_out, events, all_of)
        yield _count(edge.effective, events, counted | {"total": counts[f"{name}_effective"]})


def _count(fan_out: FanOut, events: Events, counted: Call) -> Call | None:
    if not len(fan_out.rows):
        return {"kind": kernels.COUNT, "fan_out": fan_out.by_pixel, **counted}
    if events.graded:  # values would have to be looked at one by one
        return None
    each = {"rows": fan_out.rows, "row_of": fan_out.row_of}
    return {"kind": kernels.COUNT_EACH, **each, **counted}


def weights_of(current: Array) -> np.dtype[Any]:
    """Return the type of the weight rows of plain layers with such currents."""
    return np.dtype(np.float32 if current.dtype == np.float32 else np.int16)


def _sent(events: Events) -> Call:
    """Write down where a node's spikes lie."""
    lies = dict(zip(_LIES, events.plane.lies, strict=True))
    graded = {"values": events.flat_values, "units": events.units} if events.graded else {}
    return {"masks": events.masks, "number": events.number, **graded, **lies}


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
def _(adder: Adder, events: Events, counts: dict[str, Array]) -> Call | None:
    return _sent(events) | {
        "kind": kernels.SEND,
        "channels": adder.channels,
        "fired": counts["spikes"],
        "graded": counts["graded"],
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
    numbers, neurons : int array
        The layers' numbers, and those of the layers that fire.
    calls, first_call, together : arrays
        As in ``kernels.take_turns``.
    """

    layers: Sequence[Plain]
    numbers: Array
    neurons: Array
    calls: Array
    first_call: Array
    together: Array

    @classmethod
    def of(cls, layers: Sequence[Plain]) -> Turns:
        """Put layers in a row."""
        table = np.array([_record(call) for layer in layers for call in layer.calls], CALL)
        first = np.cumsum([0, *(len(layer.calls) for layer in layers)])
        numbers, together = np.array([(layer.number, layer.together) for layer in layers]).T
        neurons = np.array([layer.number for layer in layers if layer.has_neurons], np.int64)
        return cls(layers, numbers, neurons, table, first, np.ascontiguousarray(together))

    def take(self, slots: Array, scratch: Scratch) -> None:
        """Run one timestep of the layers, and count all but biases, resets and idle neurons."""
        numbers = scratch.values[:0]
        weights = np.empty(0, weights_of(numbers))
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
