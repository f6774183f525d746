"""Layers whose turn is one compiled call: the calls of their kernels are written down once.

From Python a layer takes a handful of calls per timestep, each with arrays to unpack, and between
them a thread has to get the interpreter's lock back from the others. In a small network that takes
longer than the kernels. What every timestep of a plain layer calls is the same, and always with the
same arrays: so it is kept as a table of records, which `kernels.take_turns` goes through by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import singledispatch
from typing import Any, TypeAlias

import numpy as np

from seenn_deploy._typing import Array
from seenn_deploy.simulator.kernels import kernels
from seenn_deploy.simulator.layout import Edge, FanOut, Layer
from seenn_deploy.simulator.nodes import Adder, Multiplier, MultipliesSmall, Neurons, Pooled, Runner
from seenn_deploy.simulator.spikes import Events, Plane, Scratch
from seenn_deploy.simulator.synapses import (
    Accumulate,
    Gathering,
    Multiplying,
    OneToOne,
    Placing,
)

# Currents that a layer works on at a time: 1 MiB stays in a second-level cache.
CURRENTS = 1 << 18

_LIES = ("height", "width", "words", "slot_step", "word_step", "row_step", "first")
_ARRAYS = (
    "masks", "values", "number", "units", "less", "current", "replay", "parts", "loads", "weight",
    "bias", "v", "fan_out", "rows", "row_of", "active", "fired", "graded", "saturated", "total",
    "effective", "own", "others", "taken", "first_place", "step_place", "in_row", "sizes", "made",
    "left", "right", "products", "met", "pooled",
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
    """A layer that is written down, or its counting alone.

    Parameters
    ----------
    calls : list of dict
        The kernel calls of a timestep: arrays and numbers by the names of `CALL`.
    together : int
        Slots that it works on at a time.
    """

    calls: list[Call]
    together: int


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
        kind = added["kind"]
        if kind == kernels.GATHER and added["weight"].dtype != weights_of(current):
            return None
        if (kind == kernels.PLACE) != (current.dtype == np.uint8):  # as the factors of a product
            return None
        source = _sent(events)
        calls += [source | added, *(source | call for call in counting if call)]
    events, *earlier = sent[layer.index]
    fires = None if earlier else firing(run, events, counts)
    if fires is None:
        return None
    return Plain(
        [{"current": current} | call for call in (*calls, *fires)], at_a_time(layer.arriving)
    )


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
def _(multiplying: Multiplying) -> Call | None:
    if multiplying.bytes is None:
        return None
    gathered = arriving(multiplying.gathering)
    assert gathered is not None
    return gathered | {"kind": kernels.GATHER_VALUES, "weight": multiplying.bytes}


@arriving.register
def _(placing: Placing) -> Call | None:
    return {
        "kind": kernels.PLACE,
        "taken": placing.taken,
        "first_place": placing.first,
        "step_place": placing.step,
        "in_row": placing.in_row,
        "factor": placing.weight,
        "padded": placing.size,
    }


@arriving.register
def _(shortcut: OneToOne) -> Call | None:
    return {"kind": kernels.ONE_TO_ONE, "factor": shortcut.weight}


def counted(
    layer: Layer, sent: list[list[Events]], counts: dict[str, Array], slots: int
) -> Plain | None:
    """Write down the counting of a layer's synapses alone; None where no calls do it."""
    calls: list[Call] = []
    for edge in layer.edges:
        if edge.analog:
            continue
        events, *earlier = sent[edge.pre]
        counting = list(_counting(edge, events, counts))
        if earlier or edge.real or not all(counting):
            return None
        source = _sent(events)
        calls += [source | call for call in counting if call]
    return Plain([call | {"current": events.values[:0]} for call in calls], slots)


def _counting(edge: Edge, events: Events, counts: dict[str, Array]) -> Iterator[Call | None]:
    """Write down the counting of an edge's synapses: all, those not 0, the network's own."""
    if edge.per_event == 0:
        return
    both = edge.effective is edge.fan_out
    if not events.graded or edge.per_event:  # an addition, whatever the value
        kinds = {"ac": {"number": events.number}}
    else:
        others = {"number": events.number, "less": events.units}
        kinds = {"ac": {"number": events.units}, "mac": others}
    for name, spikes in kinds.items():
        own = {"own": counts[f"own_{name}"]} if edge.own is None else {}
        same = {"effective": counts[f"{name}_effective"]} if both else {}
        yield _count(edge.fan_out, events, spikes | {"total": counts[name]} | own | same)
    if both:
        return
    if "mac" in kinds and len(edge.effective.rows):
        totals = {"total": counts["ac_effective"], "others": counts["mac_effective"]}
        yield {"kind": kernels.COUNT_EACH_VALUE, **_rows(edge.effective), **totals}
        return
    for name, spikes in kinds.items():
        yield _count(edge.effective, events, spikes | {"total": counts[f"{name}_effective"]})


def _count(fan_out: FanOut, events: Events, counted: Call) -> Call | None:
    if not len(fan_out.rows):
        return {"kind": kernels.COUNT, "fan_out": fan_out.by_pixel, **counted}
    if events.graded:  # values would have to be looked at for each of the totals
        return None
    return {"kind": kernels.COUNT_EACH, **_rows(fan_out), **counted}


def _rows(fan_out: FanOut) -> Call:
    return {"rows": fan_out.rows, "row_of": fan_out.row_of}


def weights_of(current: Array) -> np.dtype[Any]:
    """Return the type of the weight rows of plain layers with such currents."""
    return np.dtype(np.float32 if current.dtype == np.float32 else np.int16)


def _sent(events: Events) -> Call:
    """Write down where a node's spikes lie."""
    lies = dict(zip(_LIES, events.plane.lies, strict=True))
    graded = {"values": events.flat_values, "units": events.units} if events.graded else {}
    return {"masks": events.masks, "number": events.number, **graded, **lies}


@singledispatch
def firing(run: Runner, events: Events, counts: dict[str, Array]) -> list[Call] | None:
    """Write down what becomes of a layer's currents, or return None where no calls do it."""
    return None


@firing.register
def _(neurons: Neurons, events: Events, counts: dict[str, Array]) -> list[Call] | None:
    node, state = neurons.node, neurons.state
    if node.each_its_own or len(state.u):
        return None
    leak, threshold, subtracted = state.constants[1:, 0, 0]
    fires = {
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
    return [_sent(events) | fires]


@firing.register
def _(pooled: Pooled, events: Events, counts: dict[str, Array]) -> list[Call] | None:
    found = firing.dispatch(Neurons)(pooled, events, counts)
    if found is None:
        return None
    (fires,), largest = found, pooled.largest
    pool = {
        "kind": kernels.LARGEST,
        "bias": largest.bias,
        "sizes": np.array([*largest.window, largest.width]),
        "pooled": largest.values,
        "padded": largest.values.shape[2],
    }
    return [pool, fires | {"current": largest.values}]


@firing.register
def _(adder: Adder, events: Events, counts: dict[str, Array]) -> list[Call] | None:
    return [_sending(adder.channels, events, counts)]


@firing.register
def _(multiplier: Multiplier, events: Events, counts: dict[str, Array]) -> list[Call] | None:
    multiply = multiplier.multiply
    if not isinstance(multiply, MultipliesSmall):
        return None
    how = multiply.factors
    multiplies = {
        "kind": kernels.MULTIPLY_BITS if how.of_spikes else kernels.MULTIPLY,
        "sizes": np.array([*how.sizes, *how.by_inner, how.step, multiply.size, how.size]),
        "made": how.made,
        "left": multiply.left,
        "right": multiply.right,
        "products": multiply.products,
        "met": multiply.met,
    }
    return [_sending(multiplier.channels, events, counts) | multiplies]


def _sending(channels: int, events: Events, counts: dict[str, Array]) -> Call:
    counted = {"fired": counts["spikes"], "graded": counts["graded"]}
    return _sent(events) | {"kind": kernels.SEND, "channels": channels, **counted}


@dataclass(frozen=True, eq=False)
class Turns:
    """Plain layers in a row, which take their turns in one compiled call.

    Parameters
    ----------
    layers : sequence of Plain
        They keep the arrays that the calls point to.
    calls, first_call, together : arrays
        As in ``kernels.take_turns``.
    """

    layers: Sequence[Plain]
    calls: Array
    first_call: Array
    together: Array

    @classmethod
    def of(cls, layers: Sequence[Plain]) -> Turns:
        """Put layers in a row."""
        table = np.array([_record(call) for layer in layers for call in layer.calls], CALL)
        first = np.cumsum([0, *(len(layer.calls) for layer in layers)])
        together = np.array([layer.together for layer in layers])
        return cls(layers, table, first, together)

    def take(self, slots: Array, scratch: Scratch, more: tuple[Array | None, Array | None]) -> None:
        """Run one timestep of the layers, and count all that does not follow from these counts."""
        numbers = scratch.values[:0]
        weights = np.empty(0, weights_of(numbers))
        kernels.take_turns(
            slots, self.calls, self.first_call, self.together, numbers, weights,
            scratch.rows, scratch.values, scratch.count, *more,
        )  # fmt: skip


def more_of(turns: Iterable[Turns]) -> tuple[Array | None, Array | None]:
    """Return the arguments by which ``kernels.take_turns`` has the calls that few networks take.

    They are one pair for all turns of a network, so that it needs one form of the kernel.
    """
    kinds = {call["kind"] for turn in turns for layer in turn.layers for call in layer.calls}
    rare = kinds & {
        kernels.PLACE, kernels.MULTIPLY, kernels.MULTIPLY_BITS, kernels.LARGEST,
        kernels.COUNT_EACH_VALUE,
    }  # fmt: skip
    bytes_ = kernels.GATHER_VALUES in kinds
    return (np.empty(0, np.uint8) if rare else None, np.empty(0, np.int8) if bytes_ else None)


def _record(call: Call) -> Any:
    record = np.zeros((), CALL)
    for name, value in call.items():
        if name in _ARRAYS:
            assert value.flags.c_contiguous
            record[name], record[f"{name}_size"] = value.ctypes.data, value.size
        else:
            record[name] = value
    return record
