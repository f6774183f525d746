"""Float programs to integer programs: 8-bit weights, integer thresholds and biases, 24-bit states.

Every layer has one scale S: its currents are integers that count 1/S. The rules are:

1. S is the largest that every range of the target allows (``RANGES``): weights, threshold, bias,
   and, if the input has limits, a current and a potential that can be proven never to leave 24
   bits. Weights may be clipped where that makes the mean squared error of all weights smaller
   or, with calibration samples, that of the layer's currents on them.
2. ``S V`` is made a whole number, so that the threshold is exact.
3. Weights are ``round(S w)``; those of dense and sparse synapses even, which is all that Lava keeps
   of weights with mixed signs. A shortcut of weight 1.0 becomes S, rounded.
4. Potentials and biases count 1/(64 S); biases are a mantissa of 13 bits times a power of 2.
5. Leaks are rounded to multiples of 1/4096.
6. A layer that sees the image alone has the same current at every step. Its potential stays near
   the threshold or runs away, and one that ran away spikes at every step, or at none, whether it
   saturates or not: room for two steps is enough.
7. Where no proof is possible, the layer says so, and the simulator counts what wraps or saturates.

Ranges: Lava 0.10.0 ``fixed_pt`` models (design, section 6); Davies et al., IEEE Micro 2018.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import singledispatch
from math import floor, inf
from typing import Any

import numpy as np

from seenn_deploy import ir
from seenn_deploy._typing import Array
from seenn_deploy.errors import ModelError
from seenn_deploy.fidelity import FidelityReport
from seenn_deploy.ir.bounds import Interval, extremes, layer_current, sent, source_values
from seenn_deploy.ir.fixed_point import (
    CONV,
    EXPONENT,
    LISTED,
    MANTISSA,
    PIXEL_SCALE,
    SHIFT,
    SHORTCUT,
    STATE,
    THRESHOLD,
    UNITY,
)

PARTS = (1, 2, 4, 8, 16)  # the input's steps are made so much coarser, where weights gain by it
WASTED = 4  # a layer that uses fewer than 1/4 of its levels wastes two bits
_REMEDIES = {
    "bias": "its bias is large beside its weights; normalised input has smaller ones",
    "input": "sums over the whole input range have to fit 24 bits; a narrower range helps",
    "threshold": "its threshold is large beside its weights; train with a smaller one",
}
MOST_TRIES = 8  # of a scale that is a little smaller, until the proof of no overflow holds
CLIPPING = (1.0, 1.1, 1.2, 1.35, 1.5, 1.75, 2.0)  # weights beyond 1/f of the largest are clipped


@dataclass(frozen=True)
class LayerScale:
    """The scale of a layer, and the errors that rounding caused in it.

    Parameters
    ----------
    name : str
    scale : float
        S; one unit of current is 1/S.
    threshold : int
        Integer threshold; 0 for the readout.
    largest_weight : int
        Largest magnitude used, of 127 (convolution), 254 (dense, sparse) or 255 (shortcut).
    clipped_weights : int
        Number of weights that were beyond the range.
    worst_rounding : float
        Largest error of a weight that was not clipped, as a share of the threshold.
    bias_exponent : int
    headroom_bits : float
        Bits left between the largest current or potential there can be and 24; negative where a
        wrap or saturation cannot be excluded, NaN where the input has no limits.
    leak_rounding : float
        Largest change of a leak.
    calibrated : bool
        Whether calibration samples chose another scale than the weights alone.
    levels : int
        Largest magnitude that a weight of the layer may have.
    limited_by : 'weights', 'bias', 'input' or 'threshold'
        What keeps the scale from being larger.
    """

    name: str
    scale: float
    threshold: int
    largest_weight: int
    clipped_weights: int
    worst_rounding: float
    bias_exponent: int
    headroom_bits: float
    leak_rounding: float = 0.0
    calibrated: bool = False
    levels: int = 0
    limited_by: str = "weights"

    @property
    def proven(self) -> bool:
        """Whether no input can make a current wrap, or a potential saturate with any effect."""
        return self.headroom_bits >= 0

    @property
    def advice(self) -> str:
        """What would use the 8 bits better, in a sentence; '' where they are used well."""
        if self.largest_weight * WASTED >= self.levels or self.limited_by not in _REMEDIES:
            return ""
        remedy = _REMEDIES[self.limited_by]
        return f"{self.name} uses {self.largest_weight} of {self.levels} levels: {remedy}"


def quantize(
    graph: ir.SpikingGraph,
    input_range: tuple[float, float],
    sent: Mapping[str, Array] | None = None,
) -> tuple[ir.SpikingGraph, float, tuple[LayerScale, ...]]:
    """Lower a folded float graph to integers.

    Parameters
    ----------
    graph : SpikingGraph
        Compiled graph, with one synapse map per edge.
    input_range : (float, float)
        Smallest and largest input value.
    sent : mapping of float arrays (N, T, *shape), optional
        What each node sends on calibration samples. Scales then have the smallest mean squared
        error of currents on them, instead of the smallest one of weights.

    Returns
    -------
    SpikingGraph
        The same network with integer arrays.
    float
        Value of one unit of its logits.
    tuple of LayerScale
        One per layer.

    Raises
    ------
    RefusedError
        When there is no scale at which a layer fits; its report has every layer for which there is
        none.
    """
    report = FidelityReport("int8")
    with report.gathering(graph.source.name):
        scale = _source_scale(graph, input_range)
    for layer in (n for n in graph.layers if n.stages):
        with report.gathering(layer.name):
            _with_integer_form(layer)
    report.stop()
    graph = _centered(graph, input_range)
    source = replace(graph.source, scale=scale)
    nodes, edges, scales, unit = list[ir.Node]([source]), [], [], 1.0
    values = source_values(source, input_range)
    input_range = (input_range[0] - source.offset, input_range[1] - source.offset)
    for layer in graph.layers:
        into = graph.into(layer.name)
        if not layer.stages:  # adds whole numbers already
            nodes.append(layer)
            edges += into
            continue
        with report.gathering(layer.name):
            node = _with_integer_form(layer)
            arrived = None if sent is None else [_arriving(e, source, sent) for e in into]
            scale, calibrated = _scale(graph, node, into, source, input_range, arrived)
            lowered, after, bits = _lowered(graph, node, into, scale, source, values)
            for _try in range(MOST_TRIES if any(e.pre == source.name for e in into) else 0):
                if not bits < 0:
                    break
                # Rounded up, weights exceed what their exact values were proven for.
                scale = _with_whole_threshold(node, scale * 2**bits * 0.995)
                lowered, after, bits = _lowered(graph, node, into, scale, source, values)
            nodes.append(after)
            edges += lowered
            if layer.name == graph.readout.name:
                unit = 1 / scale
            described = _describe(node, after, into, lowered, scale, source, bits)
            limited_by = _limited_by(graph, node, input_range, scale)
            scales.append(replace(described, calibrated=calibrated, limited_by=limited_by))
    report.stop()
    return graph.replace(nodes, edges), unit, tuple(scales)


def _lowered(
    graph: ir.SpikingGraph,
    node: ir.Population | ir.Readout,
    into: list[ir.Projection],
    scale: float,
    source: ir.Source,
    values: Interval | None,
) -> tuple[list[ir.Projection], ir.Population | ir.Readout, float]:
    """The projections and the node at a scale, and the bits of headroom that they leave."""
    edges = [_edge(e, scale / source.scale if e.pre == source.name else scale) for e in into]
    after = _node(node, scale)
    return edges, after, _headroom(graph, after, layer_current(graph, edges, values))


@singledispatch
def _with_integer_form(node: ir.Node) -> ir.Population | ir.Readout:
    raise ModelError(
        f"{node.name}: int8 has no form for a {node.kind} node ({node.text}); compile with "
        "precision float32, for targets that compute in it (c does not)"
    )


@_with_integer_form.register(ir.Population)
@_with_integer_form.register(ir.Readout)
def _(node: ir.Population | ir.Readout) -> ir.Population | ir.Readout:
    return node


def _centered(graph: ir.SpikingGraph, input_range: tuple[float, float]) -> ir.SpikingGraph:
    """Send the image as its distance from the middle of its range.

    The response to the middle itself becomes a bias, with one number per neuron at a border. The
    biases of networks that were trained on normalised images nearly vanish with it, and a large
    bias would have limited the scale.
    """
    source = graph.source
    kinds = [type(e.synapses) for e in graph.projections if e.pre == source.name]
    if source.coding == "events" or not {ir.Sparse, ir.Identity}.isdisjoint(kinds):
        return graph
    low, high = input_range
    offset = low + np.ceil((high - low) * PIXEL_SCALE / 2) / PIXEL_SCALE  # a pixel value itself
    middle = np.full(source.shape, offset)
    extra: dict[str, Array] = {}
    for edge in graph.projections:
        if edge.pre == source.name:
            extra[edge.post] = extra.get(edge.post, 0.0) + edge.synapses.response(middle)
    return graph.replace(
        [replace(source, offset=float(offset)), *(_shifted(n, extra) for n in graph.layers)]
    )


def _shifted(node: ir.Target, extra: dict[str, Array]) -> ir.Target:
    if node.name not in extra:
        return node
    return node.with_bias((0 if node.bias is None else node.bias) + extra[node.name])


def _source_scale(graph: ir.SpikingGraph, input_range: tuple[float, float]) -> float:
    """Return the source's scale; that of spikes and pixels is known (``passes.input_scale``).

    Real values in fewer steps leave larger integers to the weights that they meet, which matters
    where the layer's scale is bounded by something else, such as the weights of a loop. Of halves,
    quarters, .. the scale is taken at which both errors together are smallest, if values are
    spread evenly over their range.
    """
    source = graph.source
    finest = _finest_scale(source, input_range)
    if source.coding != "events" or finest == 1 or not np.all(np.isfinite(input_range)):
        return finest
    low, high = input_range
    power = (high**3 - low**3) / (3 * (high - low))  # the mean square of a value

    def error(scale: float) -> float:
        tried, total = replace(source, scale=scale), 0.0
        for edge in (e for e in graph.projections if e.pre == source.name):
            node, into = _with_integer_form(graph.node(edge.post)), graph.into(edge.post)
            unit, _ = _scale(graph, node, into, tried, input_range, None)
            weight = edge.synapses.weight
            kept = _rounded(weight / scale, _limit(edge.synapses), unit) / unit * scale
            rounded_inputs = np.sum(weight**2) / scale**2 / 12
            total += float(np.sum((kept - weight) ** 2) * power + rounded_inputs)
        return total

    return min((finest / part for part in PARTS), key=error)


def _finest_scale(source: ir.Source, input_range: tuple[float, float]) -> float:
    if source.coding == "events":
        return source.scale
    return PIXEL_SCALE / (input_range[1] - input_range[0])


# --- choosing a scale ----------------------------------------------------------------------------


def _scale(
    graph: ir.SpikingGraph,
    node: ir.Population | ir.Readout,
    into: list[ir.Projection],
    source: ir.Source,
    input_range: tuple[float, float],
    arrived: list[Array] | None,
) -> tuple[float, bool]:
    """Choose the scale of a layer by rules 1 and 2, and tell whether samples changed it."""
    weights = [
        (_limit(e.synapses), e.synapses.weight / (source.scale if e.pre == source.name else 1.0))
        for e in into
    ]
    limit = min(_bias_limit(node), _headroom_limit(graph, node, input_range))
    own = _with_whole_threshold(node, min(_best_clipping(weights), limit))
    if arrived is None:
        return own, False

    def error(scale: float) -> float:
        off = sum(
            e.synapses.with_weight(_rounded(w, most, scale) / scale - w).currents(x)
            for e, (most, w), x in zip(into, weights, arrived, strict=True)
        )
        return float(np.mean(np.square(off)))

    tried = [_with_whole_threshold(node, min(s, limit)) for s in _clippings(weights)]
    best = min([own, *tried], key=error)  # of equals the weights' own
    return best, best != own


@singledispatch
def _with_whole_threshold(node: ir.Node, limit: float) -> float:
    """Return the largest scale up to `limit` at which the threshold is whole (rule 2)."""
    return limit


@_with_whole_threshold.register
def _(node: ir.Population, limit: float) -> float:
    # Where thresholds differ the largest one is exact, and the others are rounded.
    largest, least = float(np.max(node.v_threshold)), float(np.min(node.v_threshold))
    if least <= 0:
        raise ModelError(
            f"{node.name}: its threshold {least:g} is not above 0, which integers need; compile it "
            "to float32"
        )
    limit = min(limit, _threshold_limit(node))
    threshold = floor(limit * largest)
    lowest = threshold if least == largest else round(threshold / largest * least)
    if lowest < 1:
        raise ModelError(
            f"{node.name}: its threshold {least:g} would be {lowest} at the scale "
            f"{limit:.3g} that its weights and currents allow; at least 1 is needed"
        )
    return threshold / largest


@singledispatch
def _limit(synapses: ir.Synapses) -> int:
    """Return the largest weight of a kind of synapses; unknown kinds are held as lists."""
    return LISTED


@_limit.register
def _(synapses: ir.Conv2d) -> int:
    return CONV


@_limit.register
def _(synapses: ir.Identity) -> int:
    return SHORTCUT


def _limited_by(
    graph: ir.SpikingGraph,
    node: ir.Population | ir.Readout,
    input_range: tuple[float, float],
    scale: float,
) -> str:
    """Name the limit that a scale comes near; the weights' where there is none."""
    limits = {
        "bias": _bias_limit(node),
        "input": _headroom_limit(graph, node, input_range),
        "threshold": _threshold_limit(node),
    }
    name, limit = min(limits.items(), key=lambda item: item[1])
    return name if scale >= 0.5 * limit else "weights"  # a whole threshold takes a part of it


@singledispatch
def _threshold_limit(node: ir.Population | ir.Readout) -> float:
    """Return the scale at which the threshold is the largest there is; logits have none."""
    return inf


@_threshold_limit.register
def _(node: ir.Population) -> float:
    return THRESHOLD / float(max(np.max(node.v_threshold), np.max(node.subtracted)))


def _arriving(edge: ir.Projection, source: ir.Source, sent: Mapping[str, Array]) -> Array:
    """What a projection's source sends on calibration samples, in its units, (N T, *shape)."""
    x = np.concatenate(list(sent[edge.pre]))
    if edge.pre != source.name:
        return x
    return np.asarray(np.rint((x.astype(np.float64) - source.offset) * source.scale))


def _best_clipping(weights: list[tuple[int, Array]]) -> float:
    """Return the scale with the smallest mean squared error over all weights of the layer."""

    def error(scale: float) -> float:
        off = (_rounded(w, limit, scale) / scale - w for limit, w in weights)
        return sum(float(np.sum(x**2)) for x in off)

    return min(_clippings(weights), key=error)


def _clippings(weights: list[tuple[int, Array]]) -> list[float]:
    """Return the scales to try: the largest that clips no weight, and larger ones."""
    largest = [(limit, float(np.abs(w).max(initial=0))) for limit, w in weights]
    base = min((limit / size for limit, size in largest if size > 0), default=1.0)
    # The one weight of a shortcut is never clipped: it stands for every neuron of the layer.
    whole = min((SHORTCUT / float(abs(w)) for _, w in weights if w.ndim == 0), default=inf)
    return [min(base * f, whole) for f in CLIPPING]


def _rounded(weight: Array, limit: int, scale: float) -> Array:
    """Weights in units of 1/scale, as they are kept."""
    step = 2 if limit == LISTED else 1  # rule 3: lists keep even weights only
    return np.asarray(np.clip(step * np.rint(weight * scale / step), -limit, limit))


def _bias_limit(node: ir.Population | ir.Readout) -> float:
    largest = float(np.abs(node.bias).max(initial=0))
    return _room(node)[0] / largest if largest else inf


@singledispatch
def _room(node: ir.Population | ir.Readout) -> tuple[float, float]:
    """Return the largest bias and the largest state, in units of currents.

    A readout adds currents as they are.
    """
    return STATE, STATE


@_room.register
def _(node: ir.Population) -> tuple[float, float]:
    return (MANTISSA << EXPONENT) / (1 << SHIFT), STATE / (1 << SHIFT)  # rule 4


def _headroom_limit(
    graph: ir.SpikingGraph, node: ir.Population | ir.Readout, input_range: tuple[float, float]
) -> float:
    """Return the scale at which the largest possible current or potential still fits.

    Only the image can force a smaller scale: spikes are too weak to overflow in sane networks, and
    where they do, a proof is not worth the precision.
    """
    sees_input = any(e.pre == graph.source.name for e in graph.into(node.name))
    if not (sees_input and np.all(np.isfinite(input_range))):
        return inf
    low = high = 0.0
    for edge in graph.into(node.name):
        values = sent(graph, edge.pre, None)
        low_sent, high_sent = input_range if values is None else (values.low, values.high)
        shape = graph.node(edge.pre).shape
        least, most = extremes(edge.synapses, low_sent, high_sent, shape)
        low, high = low + least, high + most
    reach = _potentials(node, (low, high), _growing_steps(graph, node))
    return _room(node)[1] / max(reach, -low, high, 1e-30)  # all weights may be 0


# --- what no input can exceed ---------------------------------------------------------------------


@singledispatch
def _potentials(node: ir.Population | ir.Readout, current: tuple[float, float], T: int) -> float:
    """Return the largest potential before a reset in T timesteps, at the threshold's scale.

    Logits are no potentials, and 0 here: the host sums them in 64 bits, so that only what one
    timestep adds to them has a limit.
    """
    return 0.0


@_potentials.register
def _(node: ir.Population, current: tuple[float, float], T: int) -> float:
    bias = np.asarray(node.bias, np.float64)
    lowest, highest = current[0] + float(bias.min()), current[1] + float(bias.max())
    low = high = np.asarray(node.v_init, np.float64)
    falling = rising = np.zeros(())  # synaptic currents
    reach = 0.0
    taken = node.subtracted if node.reset == "soft" else node.v_threshold
    # Two neurons are followed: one that always receives the least, one that always the most.
    for _step in range(T):
        falling, rising = node.tau_syn * falling + lowest, node.tau_syn * rising + highest
        low, before = node.tau * low + falling, node.tau * high + rising
        reach = max(reach, *(float(np.max(x)) for x in (-low, before, -falling, rising)))
        # After a timestep a potential is at most the threshold, or what a reset leaves of it.
        high = np.maximum(node.v_threshold, before - taken if node.reset == "soft" else 0.0)
        low = np.minimum(low, np.asarray(node.v_threshold) - taken)
    return reach


def _growing_steps(graph: ir.SpikingGraph, node: ir.Population | ir.Readout) -> int:
    """Return the timesteps in which a potential must not saturate (rule 6)."""
    sources = [graph.node(edge.pre) for edge in graph.into(node.name)]
    constant = all(pre.analog for pre in sources)
    return min(graph.T, 2) if constant and not np.any(node.tau_syn) else graph.T


def _headroom(
    graph: ir.SpikingGraph, node: ir.Population | ir.Readout, found: Interval | None
) -> float:
    """Return the bits between the largest integer that a state can reach and its limit."""
    if found is None:
        return float("nan")
    return float(np.log2(STATE / max(_reach(node, found, _growing_steps(graph, node)), 1.0)))


@singledispatch
def _reach(node: ir.Population | ir.Readout, found: Interval, T: int) -> float:
    """Return the largest integer that a current or a potential can be."""
    return found.size


@_reach.register
def _(node: ir.Population, found: Interval, T: int) -> float:
    by = None if node.reset_by is None else node.reset_by * (1 << SHIFT)
    at_v = replace(node, v_threshold=node.v_threshold * (1 << SHIFT), reset_by=by)
    ends = (float(found.low << SHIFT), float(found.high << SHIFT))
    return max(_potentials(at_v, ends, T), float(found.size << SHIFT))


# --- lowering ------------------------------------------------------------------------------------


def _edge(edge: ir.Projection, scale: float) -> ir.Projection:
    synapses = edge.synapses
    limit = _limit(synapses)
    rounded = _rounded(synapses.weight, limit, scale)
    kind = np.int8 if limit == CONV else np.int16
    return replace(edge, maps=(synapses.with_weight(rounded.astype(kind)),))


@singledispatch
def _node(node: ir.Population | ir.Readout, scale: float) -> ir.Population | ir.Readout:
    whole = np.rint(np.asarray(node.bias, np.float64) * scale).astype(np.int32)
    return replace(node, bias=whole, tau=_fraction(node.tau), tau_syn=_fraction(node.tau_syn))


@_node.register
def _(node: ir.Population, scale: float) -> ir.Population | ir.Readout:
    bias = np.asarray(node.bias, np.float64)
    fine = bias * scale * (1 << SHIFT)
    exponent = _exponent(fine)
    if isinstance(node, ir.Maximum) and bias.ndim > 1 and bias[0].size > 1:
        exponent = max(exponent, SHIFT)  # added before the maximum, in units of currents
    mantissa = np.clip(np.rint(fine / (1 << exponent)), -MANTISSA, MANTISSA)
    return replace(
        node,
        tau=_fraction(node.tau),
        tau_syn=_fraction(node.tau_syn),
        reset_by=None if node.reset_by is None else _whole(node.reset_by * scale),
        v_threshold=_whole(node.v_threshold * scale),
        v_init=_whole(node.v_init * scale * (1 << SHIFT)),
        bias=(mantissa.astype(np.int64) << exponent).astype(np.int32),
    )


@singledispatch
def _firing(node: ir.Population | ir.Readout, scale: float) -> tuple[int, float, int]:
    """Return integer threshold, smallest float threshold, and exponent of the bias.

    Logits have no threshold, and a bias that needs no exponent.
    """
    return 0, 1.0, 0


@_firing.register
def _(node: ir.Population, scale: float) -> tuple[int, float, int]:
    threshold = int(np.max(_whole(node.v_threshold * scale)))
    exponent = _exponent(np.asarray(node.bias) * scale * (1 << SHIFT))
    return threshold, float(np.min(node.v_threshold)), exponent


def _fraction(decay: ir.Parameter) -> ir.Parameter:
    """Round a leak to the multiples of 1/4096 that Lava's neurons have."""
    shares: ir.Parameter = _whole(decay * UNITY) / UNITY
    return shares


def _whole(value: ir.Parameter) -> Any:
    """Round to a whole number, or an array of them."""
    rounded = np.rint(value)
    return rounded.astype(np.int64) if isinstance(value, np.ndarray) else int(rounded)


def _exponent(bias: Array) -> int:
    """Return the smallest exponent at which 13-bit mantissas hold all biases."""
    largest = float(np.abs(bias).max(initial=0))
    return next((e for e in range(EXPONENT) if np.rint(largest / (1 << e)) <= MANTISSA), EXPONENT)


def _describe(
    node: ir.Population | ir.Readout,
    after: ir.Population | ir.Readout,
    into: list[ir.Projection],
    lowered: list[ir.Projection],
    scale: float,
    source: ir.Source,
    headroom: float,
) -> LayerScale:
    clipped, worst, largest = 0, 0.0, 0
    for before, now in zip(into, lowered, strict=True):
        limit, s = _limit(now.synapses), scale / (source.scale if before.pre == source.name else 1)
        exact = before.synapses.weight * s
        inside = np.abs(exact) <= limit + 0.5  # these round to the limit at most
        clipped += int(np.count_nonzero(~inside))
        error = np.abs(now.synapses.weight - exact)[inside] / s
        worst = max(worst, float(error.max(initial=0)))
        largest = max(largest, int(np.abs(now.synapses.weight.astype(np.int64)).max(initial=0)))
    threshold, of, exponent = _firing(node, scale)
    return LayerScale(
        node.name,
        scale,
        threshold,
        largest,
        clipped,
        worst / of,
        exponent,
        headroom,
        max(
            float(np.max(np.abs(np.subtract(before, now))))
            for before, now in ((node.tau, after.tau), (node.tau_syn, after.tau_syn))
        ),
        levels=max(_limit(edge.synapses) for edge in lowered),
    )
