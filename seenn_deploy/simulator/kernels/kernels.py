"""Numba kernels over plain arrays. Every kernel works on a list of slots, each with one sample.

In memory a node is a grid of P pixels with C channels, channels last; a vector of N neurons is one
pixel. Currents are padded to a whole number of vectors, (slots, P, C_pad). The events of slot b are
compressed by pixel: ``idx[b, ptr[b, q]:ptr[b, q + 1]]`` are the flat indices (q C + c), ascending,
of the neurons of pixel q that spiked. ``val`` has their values, or no columns where all are 1.

No kernel looks at two slots at once, so results do not depend on how samples are batched.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba as nb
import numpy as np

from seenn_deploy._typing import Array, Shape
from seenn_deploy.simulator.kernels.vector_add import add_runs
from seenn_deploy.simulator.kernels.vector_dense import PIXELS, multiply_rows
from seenn_deploy.simulator.kernels.vector_fire import (
    LANES,
    STATE_LIMIT,
    count_bits,
    fire,
    fire_integer,
    lowest_bit,
)

# A digest of the vector files, which are inlined here. numba caches compiled kernels by the content
# of this file alone, so a changed vector file has to change this one, or the old code still runs.
INLINED = "39313ec378af"

F = TypeVar("F", bound=Callable[..., Any])


def _jit(kernel: F) -> F:
    """Compile a kernel once for all processes; it runs without the interpreter's lock."""
    compiled: Any = nb.njit(cache=True, nogil=True, error_model="numpy")(kernel)
    return compiled  # type: ignore[no-any-return]


@_jit
def gather(
    slots: Array,
    ptr: Array,
    idx: Array,
    val: Array,
    run_ptr: Array,
    first: Array,
    last: Array,
    base: Array,
    weight: Array,
    current: Array,
) -> None:
    """Run a convolution or dense layer: add the weight rows of the events that each pixel sees.

    `weight` is (blocks, rows, width); block j gives channels ``j width:(j + 1) width`` of
    `current` (slots, P, blocks * width). Output pixel p sees the events of the runs
    ``run_ptr[p]:run_ptr[p + 1]``, which `add_runs` explains.
    """
    blocks, rows, width = weight.shape
    flat_weight, flat_current = weight.reshape(-1), current.reshape(-1)
    pixels = len(run_ptr) - 1
    for b in slots:
        events, values, pixel_events = idx[b], val[b], ptr[b]
        # Blocks outside pixels: the rows of one block stay in the cache for all pixels.
        for block in range(blocks):
            for p in range(pixels):
                add_runs(
                    width,
                    flat_current,
                    ((b * pixels + p) * blocks + block) * width,
                    flat_weight,
                    block * rows * width,
                    events,
                    values,
                    pixel_events,
                    first,
                    last,
                    base,
                    run_ptr[p],
                    run_ptr[p + 1],
                )


@_jit
def convolve_dense(
    slots: Array,
    ptr: Array,
    idx: Array,
    val: Array,
    shape_in: Shape,
    shape_out: Shape,
    kernel: Shape,
    stride: Shape,
    padding: Shape,
    dilation: Shape,
    weight: Array,
    current: Array,
) -> None:
    """Form the same sums as `gather`, for a convolution whose input is anything but sparse.

    The events are written into a padded image (H, W, C); then every weight row is used, in order.
    """
    channels, height, width_in = shape_in
    blocks, rows, lanes = weight.shape
    rows_in, row_length = height + 2 * padding[0], (width_in + 2 * padding[1]) * channels
    image = np.zeros(rows_in * row_length, current.dtype)
    flat_weight, flat_current = weight.reshape(-1), current.reshape(-1)
    padded = blocks * lanes
    runs = 1 if dilation[1] == 1 else kernel[1]  # without dilation a kernel row is one stretch
    run_rows = rows // (kernel[0] * runs)
    for b in slots:
        image[:] = 0
        for y in range(height):
            for x in range(width_in):
                pixel = y * width_in + x
                # An event's index begins with pixel * channels; `at` takes that off again.
                at = (y + padding[0]) * row_length + (x + padding[1] - pixel) * channels
                for e in range(ptr[b, pixel], ptr[b, pixel + 1]):
                    image[at + idx[b, e]] = val[b, e] if val.shape[1] else 1
        for block in range(blocks):
            for y in range(shape_out[0]):
                x = 0
                while x < shape_out[1]:  # four pixels at a time, the rest one by one
                    pixels = PIXELS if x + PIXELS <= shape_out[1] else 1
                    at = ((b * shape_out[0] + y) * shape_out[1] + x) * padded + block * lanes
                    for run in range(kernel[0] * runs):
                        row = y * stride[0] + run // runs * dilation[0]
                        column = x * stride[1] + run % runs * dilation[1]
                        multiply_rows(
                            lanes,
                            pixels,
                            flat_current,
                            at,
                            padded,
                            flat_weight,
                            (block * rows + run * run_rows) * lanes,
                            image,
                            row * row_length + column * channels,
                            stride[1] * channels,
                            run_rows,
                        )
                    x += pixels


@_jit
def gather_grouped(
    slots: Array,
    ptr: Array,
    idx: Array,
    val: Array,
    run_ptr: Array,
    first: Array,
    last: Array,
    base: Array,
    weight: Array,
    channels: int,
    groups: int,
    current: Array,
) -> None:
    """Do what `gather` does for a grouped convolution; `weight` is (rows, C_out / groups)."""
    out_group, in_group = weight.shape[1], channels // groups
    for b in slots:
        for p in range(len(run_ptr) - 1):
            for k in range(run_ptr[p], run_ptr[p + 1]):
                for e in range(ptr[b, first[k]], ptr[b, last[k]]):
                    row = idx[b, e] + base[k]
                    # Row % channels is the input channel, which belongs to one group of outputs.
                    offset = row % channels // in_group * out_group
                    value = val[b, e] if val.shape[1] else val.dtype.type(1)
                    for o in range(out_group):
                        current[b, p, offset + o] += weight[row, o] * value


@_jit
def scatter(
    slots: Array,
    ptr: Array,
    idx: Array,
    val: Array,
    indptr: Array,
    targets: Array,
    weight: Array,
    current: Array,
) -> None:
    """Add each event's own list of synapses; `targets` index a slot's padded currents."""
    for b in slots:
        flat = current[b].reshape(-1)
        for e in range(ptr[b, -1]):
            i = idx[b, e]
            value = val[b, e] if val.shape[1] else val.dtype.type(1)
            for s in range(indptr[i], indptr[i + 1]):
                flat[targets[s]] += weight[s] * value


@_jit
def one_to_one(
    slots: Array, ptr: Array, idx: Array, val: Array, channels: int, weight: Any, current: Array
) -> None:
    """Add the events of an identity shortcut, which has one synapse per neuron."""
    for b in slots:
        for e in range(ptr[b, -1]):
            i = idx[b, e]
            value = val[b, e] if val.shape[1] else val.dtype.type(1)
            current[b, i // channels, i % channels] += weight * value


@_jit
def integrate_and_fire(
    slots: Array,
    current: Array,
    bias: Array,
    v: Array,
    channels: int,
    tau: Any,
    threshold: Any,
    subtracted: Any,
    at_threshold: bool,
    soft: bool,
    ptr: Array,
    idx: Array,
    active: Array,
) -> None:
    """Run one timestep of a population and clear `current` for the next.

    ``v' = tau v + (current + bias)``, spike where v' > threshold (or >= with `at_threshold`), then
    0 (hard reset) or v' - subtracted (soft reset). `bias` is (P, C_pad) or (1, C_pad), `v`
    (slots, P, C_pad).
    `active[b]` receives the number of neurons with a potential or a current other than 0.
    """
    pixels, padded = v.shape[1], v.shape[2]
    flat_v, flat_current, flat_bias = v.reshape(-1), current.reshape(-1), bias.reshape(-1)
    for b in slots:
        events = idx[b]
        n, busy = 0, 0
        for p in range(pixels):
            ptr[b, p] = n
            row = p * padded if bias.shape[0] > 1 else 0
            for c in range(0, padded, LANES):
                at = (b * pixels + p) * padded + c
                bits = fire(
                    flat_v, flat_current, at, flat_bias, row + c,
                    tau, threshold, subtracted, at_threshold, soft,
                )  # fmt: skip
                real = (1 << min(channels - c, LANES)) - 1  # the rest is padding
                busy += count_bits((bits >> LANES) & real)
                spikes = bits & real
                while spikes:
                    events[n] = p * channels + c + lowest_bit(spikes)
                    n += 1
                    spikes &= spikes - 1  # clears the lowest bit
        ptr[b, pixels] = n
        active[b] = busy


@_jit
def integrate_and_fire_integer(
    slots: Array,
    current: Array,
    bias: Array,
    v: Array,
    channels: int,
    keep: Any,
    threshold: Any,
    subtracted: Any,
    at_threshold: bool,
    soft: bool,
    ptr: Array,
    idx: Array,
    active: Array,
    saturated: Array,
) -> None:
    """Do what `integrate_and_fire` does in integers; see ``vector_fire.fire_integer``.

    `saturated[b]` receives the number of neurons whose current wrapped or potential saturated.
    """
    pixels, padded = v.shape[1], v.shape[2]
    flat_v, flat_current, flat_bias = v.reshape(-1), current.reshape(-1), bias.reshape(-1)
    for b in slots:
        events = idx[b]
        n, busy, cut = 0, 0, 0
        for p in range(pixels):
            ptr[b, p] = n
            row = p * padded if bias.shape[0] > 1 else 0
            for c in range(0, padded, LANES):
                at = (b * pixels + p) * padded + c
                bits = fire_integer(
                    flat_v, flat_current, at, flat_bias, row + c,
                    keep, threshold, subtracted, at_threshold, soft,
                )  # fmt: skip
                real = (1 << min(channels - c, LANES)) - 1  # the rest is padding
                busy += count_bits((bits >> LANES) & real)
                cut += count_bits((bits >> (2 * LANES)) & real)
                spikes = bits & real
                while spikes:
                    events[n] = p * channels + c + lowest_bit(spikes)
                    n += 1
                    spikes &= spikes - 1
        ptr[b, pixels] = n
        active[b] = busy
        saturated[b] = cut


@_jit
def filter_current(slots: Array, current: Array, bias: Array, u: Array, tau: Any) -> None:
    """Update synaptic currents, ``u = tau u + (current + bias)``, and copy them to `current`."""
    for b in slots:
        for p in range(u.shape[1]):
            row = p if bias.shape[0] > 1 else 0
            for c in range(u.shape[2]):
                u[b, p, c] = tau * u[b, p, c] + (current[b, p, c] + bias[row, c])
                current[b, p, c] = u[b, p, c]


@_jit
def filter_and_fire_integer(
    slots: Array,
    current: Array,
    bias: Array,
    u: Array,
    v: Array,
    channels: int,
    keep_current: int,
    keep: int,
    threshold: int,
    subtracted: int,
    at_threshold: bool,
    soft: bool,
    ptr: Array,
    idx: Array,
    active: Array,
    saturated: Array,
) -> None:
    """Run one timestep of integer neurons with a synaptic current, and clear `current`.

    With t0 rounding toward zero and both states saturating at 24 bits:
    ``u = t0(u keep_current / 4096) + wrapped(current << 6) + bias``,
    ``v' = t0(v keep / 4096) + u``; then as `integrate_and_fire_integer`.
    """
    for b in slots:
        n, busy, cut = 0, 0, 0
        for p in range(v.shape[1]):
            ptr[b, p] = n
            row = p if bias.shape[0] > 1 else 0
            for c in range(channels):
                a = np.int64(current[b, p, c])
                current[b, p, c] = 0
                # First the wrap of a 32-bit register, then Lava's own single wrap at 24 bits.
                arrived = (a << 6) + (1 << 31)
                arrived = arrived - (arrived >> 32 << 32) - (1 << 31)
                if arrived > STATE_LIMIT:
                    arrived -= 2 * STATE_LIMIT
                elif arrived <= -STATE_LIMIT:
                    arrived += 2 * STATE_LIMIT
                before, old = np.int64(u[b, p, c]), np.int64(v[b, p, c])
                flowing = _toward_zero(before * keep_current) + arrived + bias[row, c]
                kept = min(max(flowing, 1 - STATE_LIMIT), STATE_LIMIT - 1)
                free = _toward_zero(old * keep) + kept
                new = min(max(free, 1 - STATE_LIMIT), STATE_LIMIT - 1)
                busy += kept != 0 or old != 0
                cut += arrived != a << 6 or flowing != kept or free != new
                if new > threshold or (at_threshold and new == threshold):
                    idx[b, n] = p * channels + c
                    n += 1
                    new = new - subtracted if soft else np.int64(0)
                u[b, p, c], v[b, p, c] = kept, new
        ptr[b, v.shape[1]] = n
        active[b] = busy
        saturated[b] = cut


@_jit
def _toward_zero(x: Any) -> Any:
    """Return ``x / 4096``, rounded toward zero; a shift alone would round down."""
    return x >> 12 if x >= 0 else -(-x >> 12)


@_jit
def send_sums(
    slots: Array, current: Array, channels: int, ptr: Array, idx: Array, val: Array, graded: Array
) -> None:
    """Send sums as events with values, and clear `current` for the next timestep.

    `graded[b]` receives the number of values other than 1 and -1.
    """
    for b in slots:
        n, large = 0, 0
        for p in range(current.shape[1]):
            ptr[b, p] = n
            for c in range(channels):
                value = current[b, p, c]
                if value != 0:
                    idx[b, n] = p * channels + c
                    val[b, n] = value
                    n += 1
                    large += value not in (1, -1)
                    current[b, p, c] = 0
        ptr[b, current.shape[1]] = n
        graded[b] = large


@_jit
def integrate_logits(
    slots: Array, current: Array, bias: Array, tau_syn: Any, tau: Any, u: Array, z: Array
) -> None:
    """Run one timestep of the readout and clear `current`.

    ``u = tau_syn u + (current + bias)``; ``z = tau z + u``.
    """
    for b in slots:
        for m in range(z.shape[1]):
            u[b, m] = tau_syn * u[b, m] + (current[b, 0, m] + bias[0, m])
            z[b, m] = tau * z[b, m] + u[b, m]
            current[b, 0, m] = 0


@_jit
def integrate_logits_integer(
    slots: Array, current: Array, bias: Array, keep_current: int, keep: int, u: Array, z: Array
) -> None:
    """Do what `integrate_logits` does; decays are ``keep / 4096``, rounded toward zero."""
    for b in slots:
        for m in range(z.shape[1]):
            u[b, m] = _toward_zero(u[b, m] * keep_current) + (current[b, 0, m] + bias[0, m])
            z[b, m] = _toward_zero(z[b, m] * keep) + u[b, m]
            current[b, 0, m] = 0


@_jit
def load_frame(
    slots: Array, frames: Array, channels: int, ptr: Array, idx: Array, val: Array
) -> None:
    """Turn the nonzero elements of one frame per slot, (slots, C, P), into events with values."""
    for k in range(len(slots)):
        b, n = slots[k], 0
        for p in range(frames.shape[2]):
            ptr[b, p] = n
            for c in range(channels):
                value = frames[k, c, p]
                if value != 0:
                    idx[b, n] = p * channels + c
                    val[b, n] = value
                    n += 1
        ptr[b, frames.shape[2]] = n


@_jit
def count_synapses(
    slots: Array,
    ptr: Array,
    idx: Array,
    val: Array,
    analog: bool,
    fan_out: Array,
    ac: Array,
    mac: Array,
) -> None:
    """Add the synapses that each slot's events meet, element by element (design, section 4).

    An event of value 1 or -1 costs accumulates, any other value or an `analog` source
    multiply-accumulates. `fan_out` is (P C,), or (P,) where all channels of a pixel have the same;
    `ac`, `mac` are (slots,).
    """
    pixels = ptr.shape[1] - 1
    for b in slots:
        n_ac, n_mac = 0, 0
        # Binary events need no look at their values, and none at all where a pixel has one fan-out.
        if len(fan_out) == pixels and not val.shape[1]:
            for p in range(pixels):
                n_ac += (ptr[b, p + 1] - ptr[b, p]) * fan_out[p]
        elif len(fan_out) != pixels and not val.shape[1]:
            for e in range(ptr[b, pixels]):
                n_ac += fan_out[idx[b, e]]
        else:
            per_channel = len(fan_out) != pixels
            for p in range(pixels):
                for e in range(ptr[b, p], ptr[b, p + 1]):
                    synapses = fan_out[idx[b, e] if per_channel else p]
                    if analog or (val.shape[1] and val[b, e] != 1 and val[b, e] != -1):
                        n_mac += synapses
                    else:
                        n_ac += synapses
        ac[b] += n_ac
        mac[b] += n_mac
