"""Numba kernels over plain arrays. Every kernel works on a list of slots, each with one sample.

In memory a node is a grid of P = H W pixels with C channels; a vector of N neurons is one pixel.
Currents and states have channels last, padded to whole words of 16, (slots, P, C_pad).

Spikes are bit masks: word ``sent[b, k, y, x]`` holds channels ``16 k : 16 k + 16`` of a pixel, with
the first in the lowest bit. Its plane has a border of zeros as wide as any convolution behind it
asks for, so no kernel knows a border case: `masks` is the flat array with all borders, `sent` the
view without them. Kernels that take `masks` take `lies` with it, which says where the words of
`sent` are: its height and width, words of channels, distances of slots, of words and of rows, and
the place of the first. `values` lies likewise and has the values of graded spikes, 16 for every
word; where all spikes are 1 it is empty. `number` (slots, P) are the spikes by pixel.

A layer with weights reads its input in parts. A part is a few words that every output pixel sees at
the same distances from its own corner: its spikes become one list per pixel, which serves all
output channels, and its weights are few enough to stay in the first-level cache. Sums are formed in
the order of parts, words and channels, within a part in turns as ``add_rows`` says (one by one, as
``add_all`` says, for a slot full of graded values), whatever the batch, the number of threads or
the processor.

No kernel looks at two slots at once, so results do not depend on how samples are batched.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

import numba as nb
import numpy as np

from seenn_deploy._typing import Array
from seenn_deploy.simulator.kernels.vector_add import EVENTS, add_rows
from seenn_deploy.simulator.kernels.vector_dense import (
    GROUP,
    PIXELS,
    WIDE,
    add_all,
    as_values,
)
from seenn_deploy.simulator.kernels.vector_fire import (
    STATE_LIMIT,
    fire,
    keep_larger,
    kinds_of,
    move,
)
from seenn_deploy.simulator.kernels.vector_masks import (
    AT_ONCE,
    LANES,
    add_chosen,
    add_scaled,
    count_bits,
    list_bits,
    list_rows,
    lowest_bit,
)
from seenn_deploy.simulator.kernels.vectors import fetch, pointed

# A digest of the vector files, which are inlined here. numba caches compiled kernels by the content
# of this file alone, so a changed vector file has to change this one, or the old code still runs.
INLINED = "c2d056cd7b14"

BITS = 32  # spikes of a word of `multiply_bits`
AT_MOST = 192  # rows of a factor that `multiply` works with at a time, in whole words

F = TypeVar("F", bound=Callable[..., Any])
View: TypeAlias = tuple[int, int, int, int, int]
Lies: TypeAlias = tuple[int, int, int, int, int, int, int]


def _jit(kernel: F) -> F:
    """Compile a kernel once for all processes; it runs without the interpreter's lock."""
    compiled: Any = nb.njit(cache=True, nogil=True, error_model="numpy")(kernel)
    return compiled  # type: ignore[no-any-return]


@_jit
def gather(
    slots: Array,
    masks: Array,
    values: Array,
    view: View,
    parts: Array,
    loads: Array,
    width: int,
    weight: Array,
    current: Array,
    padded: int,
    rows: Array,
    row_values: Array,
    count: Array,
) -> None:
    """Run a convolution or dense layer: add the weight rows of the events that each pixel sees.

    Output pixel (y, x) of slot b has its corner at ``b view[2] + y view[3] + x view[4]``, for an
    output of height ``view[0]`` and width ``view[1]``.

    Each row of `loads` is (offset, keep, base): four words, from `offset` behind the corner on, of
    whose bits those in `keep` count; bit j meets weight row ``base + j`` of the part.

    Each row of `parts` is (first load, load behind the last, weight rows, place): the last weight
    row is all zeros, and block j of the weights, which gives channels ``j width : (j + 1) width``
    of the `padded` ones of each pixel of the flat `current`, begins at ``place + j rows width``.

    `rows`, `row_values` and `count` are scratch: the row and value of each event, and the events of
    each output pixel of each slot.
    """
    pixels, blocks, line = view[0] * view[1], padded // width, 64 // weight.itemsize
    listed = row_values if len(values) else row_values[:0]
    for part in range(len(parts)):
        height = parts[part, 2]
        events = list_part(slots, masks, values, view, parts[part], loads, rows, row_values, count)
        if not events:
            continue
        # Blocks outside pixels: the rows of one block stay in the cache for all pixels.
        for block in range(blocks):
            first_row = parts[part, 3] + block * height * width
            # Meanwhile the next rows are fetched line by line: events ask for them in no order.
            ahead, lines = first_row + height * width, height * width // line
            start, place = 0, 0
            for b in slots:
                at = (b * pixels * blocks + block) * width
                for _ in range(pixels):
                    stop = start + count[place]
                    if place < lines:
                        fetch(weight, ahead + place * line)
                    if stop > start:
                        add_rows(width, current, at, weight, first_row, rows, listed, start, stop)
                    start, place, at = stop, place + 1, at + blocks * width


@_jit
def gather_values(
    slots: Array,
    values: Array,
    view: View,
    parts: Array,
    loads: Array,
    weight: Array,
    current: Array,
    padded: int,
    row_values: Array,
) -> None:
    """Do what `gather` does from all values, zeros among them, without a list of events.

    Rows are floats, or bytes as ``add_all`` takes them, in blocks of `WIDE` channels; the last one
    of each part is not used.
    """
    pixels, blocks = view[0] * view[1], padded // WIDE
    seen = as_values(row_values, weight)
    for part in range(len(parts)):
        height = parts[part, 2] - 1
        for b in slots:
            _copy_part(b, values, view, parts[part], loads, seen)
            for block in range(blocks):
                first_row = parts[part, 3] + block * (height + 1) * WIDE
                for p in range(0, pixels, PIXELS):
                    at = ((b * pixels + p) * blocks + block) * WIDE
                    add_all(
                        current, at, blocks * WIDE, weight, first_row, seen, p * height, height,
                        min(PIXELS, pixels - p),
                    )  # fmt: skip


@_jit
def _copy_part(b: int, values: Array, view: View, part: Array, loads: Array, seen: Array) -> None:
    """Write down the values of one part that each output pixel of a slot sees, one per row."""
    height, width, slot_step, row_step, column_step = view
    rows, place = part[2] - 1, 0
    for y in range(height):
        for x in range(width):
            corner = b * slot_step + y * row_step + x * column_step
            # Of slices, whose indices cannot be negative, LLVM copies many values at a time.
            pixel = seen[place : place + rows]
            for i in range(len(pixel)):
                pixel[i] = 0
            for k in range(part[0], part[1]):
                number = count_bits(loads[k, 1]) if loads[k, 1] > 0 else AT_ONCE * LANES
                at = (corner + loads[k, 0]) * LANES
                source, target = values[at : at + number], pixel[loads[k, 2] :]
                for i in range(number):
                    target[i] += source[i]
            place += rows


@_jit
def list_part(
    slots: Array,
    masks: Array,
    values: Array,
    view: View,
    part: Array,
    loads: Array,
    rows: Array,
    row_values: Array,
    count: Array,
) -> int:
    """List the events of one part for every output pixel, as `gather` explains; return how many.

    Each list is filled up to a multiple of `EVENTS` with events of value 0 that meet the last row.
    """
    height, width, slot_step, row_step, column_step = view
    begin, end, filler = part[0], part[1], np.uint8(part[2] - 1)
    n, place = 0, 0
    for b in slots:
        for y in range(height):
            corner = b * slot_step + y * row_step
            for _ in range(width):
                start = n
                for k in range(begin, end):
                    at, base = corner + loads[k, 0], loads[k, 2]
                    first, n = n, list_rows(rows, n, masks, at, loads[k, 1], base)
                    for e in range(first, n if len(values) else first):
                        row_values[e] = values[at * LANES + int(rows[e]) - base]
                stop = start + (n - start + EVENTS - 1) // EVENTS * EVENTS
                for e in range(n, n + EVENTS):  # behind the last list there is room
                    rows[e] = filler
                    if len(values):
                        row_values[e] = 0
                n = stop
                count[place] = stop - start
                place += 1
                corner += column_step
    return n


@_jit
def gather_grouped(
    slots: Array,
    masks: Array,
    values: Array,
    view: View,
    parts: Array,
    loads: Array,
    first_target: Array,
    weight: Array,
    current: Array,
    rows: Array,
    row_values: Array,
    count: Array,
) -> None:
    """Do what `gather` does for a grouped convolution.

    `weight` is (rows, C_out / groups), and the place of a part is its first row; row r gives the
    channels from ``first_target[r]`` on. `current` is (slots, P, C_pad).
    """
    for part in range(len(parts)):
        list_part(slots, masks, values, view, parts[part], loads, rows, row_values, count)
        start, place = 0, 0
        for b in slots:
            for p in range(current.shape[1]):
                stop = start + count[place]
                for e in range(start, stop):
                    row = parts[part, 3] + rows[e]
                    value = row_values[e] if len(values) else row_values.dtype.type(1)
                    for o in range(weight.shape[1]):
                        current[b, p, first_target[row] + o] += weight[row, o] * value
                start, place = stop, place + 1


@_jit
def scatter(
    slots: Array,
    sent: Array,
    values: Array,
    channels: int,
    indptr: Array,
    targets: Array,
    weight: Array,
    current: Array,
) -> None:
    """Add each event's own list of synapses; `targets` index a slot's padded currents.

    The lists are those of neurons in the order of the grid, pixel by pixel.
    """
    for b in slots:
        flat = current[b].reshape(-1)
        for y in range(sent.shape[2]):
            for x in range(sent.shape[3]):
                neuron = (y * sent.shape[3] + x) * channels
                for k in range(sent.shape[1]):
                    bits = int(sent[b, k, y, x])
                    while bits:
                        c = lowest_bit(bits)
                        value = values[b, k, y, x, c] if values.shape[4] else current.dtype.type(1)
                        i = neuron + k * LANES + c
                        for s in range(indptr[i], indptr[i + 1]):
                            flat[targets[s]] += weight[s] * value
                        bits &= bits - 1


@_jit
def place(
    slots: Array,
    masks: Array,
    values: Array,
    lies: Lies,
    taken: Array,
    first: Array,
    step: Array,
    in_row: Array,
    weight: Any,
    current: Array,
    size: int,
) -> None:
    """Add events to currents in other places: channel c of pixel p to ``first[c] + p step[c]``.

    ``taken[k]`` has the channels of word k that go anywhere. A slot has `size` of the flat
    `current`. Where ``in_row[k]``, all 16 go side by side.
    """
    height, width, words, slot_step, word_step, row_step, origin = lies
    added = np.full(LANES, weight).astype(current.dtype)
    for b in slots:
        for k in range(words):
            some = np.int64(taken[k])
            for p in range(height * width if some else 0):
                y, x = p // width, p % width
                at = origin + b * slot_step + k * word_step + y * row_step + x
                bits = np.int64(masks[at]) & some
                if in_row[k] and bits:
                    for c in range(LANES if len(values) else 0):
                        added[c] = weight * values[at * LANES + c]
                    to = b * size + first[k * LANES] + p * step[k * LANES]
                    add_chosen(current, to, int(bits), added, 0)
                    continue
                while bits:
                    c = lowest_bit(int(bits))
                    value = values[at * LANES + c] if len(values) else current.dtype.type(1)
                    to = first[k * LANES + c] + p * step[k * LANES + c]
                    current[b * size + to] += weight * value
                    bits &= bits - 1  # clears the lowest bit


@_jit
def one_to_one(
    slots: Array, masks: Array, values: Array, lies: Lies, weight: Any, current: Array
) -> None:
    """Add the events of an identity shortcut, one synapse per neuron; `current` is flat."""
    height, width, words, slot_step, word_step, row_step, first = lies
    weights = np.empty(LANES, current.dtype)
    for c in range(LANES):
        weights[c] = weight
    for b in slots:
        for k in range(words):
            for y in range(height):
                place = first + b * slot_step + k * word_step + y * row_step
                at = ((b * height + y) * width * words + k) * LANES
                for _ in range(width):
                    if len(values):  # zeros among them
                        add_scaled(current, at, values, place * LANES, weight)
                    else:
                        add_chosen(current, at, int(masks[place]), weights, 0)
                    place, at = place + 1, at + words * LANES


@_jit
def integrate_and_fire(
    slots: Array,
    current: Array,
    bias: Array,
    v: Array,
    channels: int,
    leak: Any,
    threshold: Any,
    subtracted: Any,
    at_threshold: bool,
    soft: bool,
    lies: Lies,
    masks: Array,
    number: Array,
    active: Array,
    fired: Array,
    saturated: Array,
) -> None:
    """Run one timestep of a population and clear `current` for the next.

    ``v' = tau v + (current + bias)``, spike where v' > threshold (or >= with `at_threshold`), then
    0 (hard reset) or v' - subtracted (soft reset); `vector_fire` has it in float32 and in integers.
    `current` and `v` are those of all slots, flat; `bias` is (P C_pad,) or (C_pad,).

    `masks` at `lies` and `number` receive the spikes, `fired[b]` how many there are, `active[b]`
    the neurons with a potential or a current other than 0, and `saturated[b]` those of integers
    whose current wrapped or potential saturated.
    """
    height, width, words, slot_step, word_step, row_step, first = lies
    padded = words * LANES
    by_pixel = padded if len(bias) > padded else 0
    for b in slots:
        busy, total, cut, p = 0, 0, 0, 0
        for y in range(height):
            for x in range(width):
                at, row, spikes = (b * height * width + p) * padded, p * by_pixel, 0
                place = first + b * slot_step + y * row_step + x
                for k in range(words):
                    bits = fire(
                        v, current, at + k * LANES, bias, row + k * LANES,
                        leak, threshold, subtracted, at_threshold, soft,
                    )  # fmt: skip
                    real = (1 << min(channels - k * LANES, LANES)) - 1  # the rest is padding
                    busy += count_bits((bits >> LANES) & real)
                    cut += count_bits((bits >> (2 * LANES)) & real)
                    spikes += count_bits(bits & real)
                    masks[place + k * word_step] = bits & real
                number[b, p] = spikes
                total, p = total + spikes, p + 1
        active[b], fired[b], saturated[b] = busy, total, cut


@_jit
def largest(
    slots: Array, current: Array, bias: Array, window: Any, width: int, pooled: Array
) -> None:
    """Put the largest current of each window into `pooled`, and set `current` to 0.

    Parameters
    ----------
    current : array (slots, h w, C_pad)
    bias : array (h w, C_pad) or (1, C_pad)
        Added to the current first.
    window : tuple of 8 int
        Height and width of the currents, then rows and columns of window, stride and padding.
    width : int
        Windows in a row.
    pooled : array (slots, P, C_pad)
    """
    rows, columns, k_h, k_w, s_h, s_w, p_h, p_w = window
    padded, flat = pooled.shape[2], current.reshape(-1)
    added, kept = bias.reshape(-1), pooled.reshape(-1)
    by_pixel = padded if len(bias) > 1 else 0
    for b in slots:
        for p in range(pooled.shape[1]):
            top, left = p // width * s_h - p_h, p % width * s_w - p_w
            to, begins = (b * pooled.shape[1] + p) * padded, True
            for y in range(max(0, top), min(top + k_h, rows)):
                for x in range(max(0, left), min(left + k_w, columns)):
                    at = y * columns + x
                    for c in range(0, padded, LANES):
                        place = (b * rows * columns + at) * padded + c
                        keep_larger(kept, to + c, flat, place, added, at * by_pixel + c, begins)
                    begins = False
        current[b] = 0


@_jit
def multiply(
    slots: Array,
    current: Array,
    bias: Array,
    sizes: Any,
    width: int,
    made: Array,
    in_rows: bool,
    sums: Array,
    products: Array,
    met: Array,
) -> None:
    """Add the products of two factors to `products`, and set `current` to 0.

    Row by row of the left factor: each element that is not 0 adds a row of the right one.

    Parameters
    ----------
    current : array (slots, currents of both factors)
        They lie as ``factors.Factors`` says, which explains `sizes`, `width`, `made` and `in_rows`,
        too.
    bias : array (currents of both factors,)
        Added to them first; empty where it is 0.
    sums : array (blocks width,)
        Scratch, zeros.
    products : array (slots, P C_pad)
    met : int64 array (slots, 3)
        Receives the pairs that are not 0: two spikes, a spike and a payload, two payloads.
    """
    matrices, left_rows, inner, columns = sizes
    long, blocks = (inner + LANES - 1) // LANES * LANES, len(sums) // width
    flat, out = current.reshape(-1), products.reshape(-1)
    summed = out if in_rows else sums  # sums of a row that do not lie side by side are moved there
    spikes, payloads = np.empty(inner, np.int64), np.empty(inner, np.int64)
    room = AT_MOST + AT_ONCE * LANES  # as `list_bits` asks for
    rows, values = np.empty(room, np.uint8), np.empty(room, current.dtype)
    for b in slots:
        begin, end = b * current.shape[1], (b + 1) * current.shape[1]
        for i in range(len(bias)):
            flat[begin + i] += bias[i]
        met[b] = 0
        for g in range(matrices):
            right = begin + matrices * left_rows * long + g * inner * blocks * width
            _count_rows(flat, right, inner, blocks, width, spikes, payloads)
            for n in range(left_rows):
                left = begin + (g * left_rows + n) * long
                target = b * products.shape[1] + made[g, n, 0] if in_rows else 0
                for first in range(0, inner, AT_MOST):
                    length = min(long - first, AT_MOST)
                    listed = list_values(rows, values, flat, left + first, length)
                    _count_pairs(rows, values, listed, spikes[first:], payloads[first:], met[b])
                    stop = (listed + EVENTS - 1) // EVENTS * EVENTS
                    for block in range(blocks if stop else 0):
                        at = right + (block * inner + first) * width
                        to = target + block * width
                        add_rows(width, summed, to, flat, at, rows, values, 0, stop)
                for m in range(0 if in_rows else columns):
                    out[b * products.shape[1] + made[g, n, m]] += sums[m]
                    sums[m] = 0
        for i in range(begin, end):
            flat[i] = 0


@_jit
def multiply_each(slots: Array, current: Array, bias: Array, products: Array, met: Array) -> None:
    """Add to `products` what two factors give element by element, and set `current` to 0.

    Parameters
    ----------
    current : array (slots, 2 P C_pad)
        They lie as ``factors.EachFactors`` says.
    bias : array (2 P C_pad,)
        Added to them first; empty where it is 0.
    products : array (slots, P C_pad)
    met : int64 array (slots, 3)
        As of `multiply`: two spikes meet where both words of bits have one.
    """
    size, flat, out = products.shape[1], current.reshape(-1), products.reshape(-1)
    for b in slots:
        begin = 2 * b * size
        for i in range(len(bias)):
            flat[begin + i] += bias[i]
        ones, some, more = 0, 0, 0
        for at in range(begin, begin + size, LANES):
            left, right = kinds_of(flat, at), kinds_of(flat, at + size)
            meet, to = left & right & 0xFFFF, b * size + at - begin
            if meet:
                some += count_bits(meet)
                ones += count_bits(meet & (left & right) >> LANES)
                more += count_bits(meet & ~((left | right) >> LANES))
                for i in range(LANES):
                    out[to + i] += flat[at + i] * flat[at + size + i]
        met[b, 0], met[b, 1], met[b, 2] = ones, some - ones - more, more
        for i in range(begin, begin + 2 * size):
            flat[i] = 0


@_jit
def list_values(rows: Array, values: Array, flat: Array, at: int, length: int) -> int:
    """List what is not 0 in ``flat[at : at + length]``: where, and the values; return how many.

    `length` is whole words of 16. Behind the list are `EVENTS` more of value 0, to fill it up.
    """
    n = 0
    for begin in range(0, length, AT_ONCE * LANES):
        bits = 0
        for i in range(0, min(length - begin, AT_ONCE * LANES), LANES):
            bits |= (kinds_of(flat, at + begin + i) & 0xFFFF) << i
        n = list_bits(rows, n, bits, begin)
    for e in range(n):
        values[e] = flat[at + int(rows[e])]
    for e in range(n, n + EVENTS):
        rows[e], values[e] = 0, 0
    return n


@_jit
def _count_rows(
    flat: Array, at: int, inner: int, blocks: int, width: int, spikes: Array, payloads: Array
) -> None:
    """Count the values of 1 or -1, and all others but 0, of each row of a right factor."""
    for k in range(inner):
        ones, some = 0, 0
        for block in range(blocks):
            row = at + (block * inner + k) * width
            for word in range(row, row + width, LANES):
                kinds = kinds_of(flat, word)
                some += count_bits(kinds & 0xFFFF)
                ones += count_bits(kinds >> LANES)
        spikes[k], payloads[k] = ones, some - ones


@_jit
def _count_pairs(
    rows: Array, values: Array, listed: int, spikes: Array, payloads: Array, met: Array
) -> None:
    """Count what the events of a left factor's row meet, as `multiply` says."""
    for e in range(listed):
        k, one = int(rows[e]), int(abs(values[e]) == 1)
        met[0] += one * spikes[k]
        met[1] += one * payloads[k] + (1 - one) * spikes[k]
        met[2] += (1 - one) * payloads[k]


@_jit
def multiply_bytes(
    slots: Array,
    current: Array,
    sizes: Any,
    by_inner: tuple[bool, bool],
    made: Array,
    step: int,
    left: Array,
    right: Array,
    products: Array,
    size: int,
    met: Array,
) -> None:
    """Do what `multiply` does for factors of 0 to 127, in bytes, without a list of events.

    Parameters
    ----------
    current : uint8 array (slots, bytes of both factors)
        They lie as ``factors.SmallFactors`` says, which explains `sizes`, `by_inner`, `made` and
        `step`, too.
    left, right : uint8 and int8 arrays
        Scratch for a left matrix, and for a block of a right one, as ``add_all`` takes them.
    products : int32 array, flat
        `size` of each slot; behind the last of them there is room for a block.
    met : int64 array (slots, 3)
    """
    matrices, rows, inner, columns = sizes
    tall, long, wide = _whole(rows), _whole(inner), _whole(columns)
    flat, kinds = current.reshape(-1), np.zeros((4, long), np.int32)
    for b in slots:
        begin = b * current.shape[1]
        met[b] = 0
        for g in range(matrices):
            at = begin + g * long * (tall + wide)
            right_at = at + tall * long
            _count_inner(flat, at, by_inner[0], rows, kinds[0], kinds[1])
            _count_inner(flat, right_at, by_inner[1], columns, kinds[2], kinds[3])
            _add_met(kinds, met[b])
            lefts = flat[at:right_at]
            if by_inner[0]:
                lefts = left
                _group_rows(flat, at, rows, long, left.view(np.int32))
            for block in range(0, columns, WIDE):
                _group_block(flat, right_at, by_inner[1], block, columns, right.view(np.int32))
                for n in range(0, rows, PIXELS):
                    to, some = b * size + made[g] + n * step + block, min(PIXELS, rows - n)
                    add_all(products, to, step, right, 0, lefts, n * long, long, some)
        current[b] = 0


@_jit
def multiply_bits(
    slots: Array,
    current: Array,
    sizes: Any,
    by_inner: tuple[bool, bool],
    made: Array,
    step: int,
    left: Array,
    right: Array,
    products: Array,
    size: int,
    met: Array,
) -> None:
    """Do what `multiply_bytes` does for spikes: a product is the number of bits that both have set.

    `left` and `right` are int64 scratch: `BITS` inner elements of each row, then the next ones; and
    of each column likewise.
    """
    matrices, rows, inner, columns = sizes
    tall, long, wide = _whole(rows), _whole(inner), _whole(columns)
    flat = current.reshape(-1)
    for b in slots:
        both = 0
        for g in range(matrices):
            at = b * current.shape[1] + g * long * (tall + wide)
            _pack_bits(flat, at, by_inner[0], rows, inner, left)
            _pack_bits(flat, at + tall * long, by_inner[1], columns, inner, right)
            for n in range(rows):
                to = b * size + made[g] + n * step
                made_here = products[to : to + columns]
                for word in range(len(left) // tall):
                    row, some = left[word * tall + n], right[word * wide : word * wide + columns]
                    for m in range(len(made_here)):
                        met_here = count_bits(row & some[m])
                        made_here[m] += met_here
                        both += met_here
        met[b, 0], met[b, 1], met[b, 2] = both, 0, 0
        current[b] = 0


@_jit
def _pack_bits(flat: Array, at: int, by_inner: bool, outer: int, inner: int, packed: Array) -> None:
    """Write down which inner elements of each outer one of a factor are not 0, `BITS` at a time."""
    across, long = _whole(outer), _whole(inner)
    bit = np.empty(LANES, np.int64)
    for i in range(len(packed)):
        packed[i] = 0
    for k in range(inner if by_inner else 0):
        for i in range(LANES):
            bit[i] = 1 << k % BITS
        for o in range(0, across, LANES):
            spikes = kinds_of(flat, at + k * across + o) & 0xFFFF
            add_chosen(packed, k // BITS * across + o, spikes, bit, 0)
    for o in range(0 if by_inner else outer):
        for k in range(0, long, LANES):
            spikes = kinds_of(flat, at + o * long + k) & 0xFFFF
            packed[k // BITS * across + o] |= spikes << k % BITS


@_jit
def _whole(number: int) -> int:
    return (number + LANES - 1) // LANES * LANES


@_jit
def _count_inner(
    flat: Array, at: int, by_inner: bool, outer: int, ones: Array, more: Array
) -> None:
    """Count a factor's values of 1, and those above, by inner element."""
    long, across = len(ones), _whole(outer)
    for k in range(long):
        ones[k] = more[k] = 0
    for k in range(long if by_inner else 0):
        for word in range(at + k * across, at + (k + 1) * across, LANES):
            kinds = kinds_of(flat, word)
            ones[k] += count_bits(kinds >> LANES)
            more[k] += count_bits((kinds ^ kinds >> LANES) & 0xFFFF)
    for o in range(0 if by_inner else outer):
        row = flat[at + o * long : at + (o + 1) * long]
        for k in range(long):
            ones[k] += row[k] == 1
            more[k] += row[k] > 1


@_jit
def _add_met(kinds: Array, met: Array) -> None:
    """Add the pairs of two ones, of a one and a value above, and of two of those."""
    ones, more, right_ones, right_more = kinds
    for k in range(len(ones)):
        met[0] += ones[k] * right_ones[k]
        met[1] += ones[k] * right_more[k] + more[k] * right_ones[k]
        met[2] += more[k] * right_more[k]


@_jit
def _group_rows(flat: Array, at: int, rows: int, long: int, grouped: Array) -> None:
    """Put a left factor that lies by inner element row by row, four elements as one int32."""
    groups, four = long // GROUP, np.empty(_whole(rows), np.int32)
    for group in range(groups):
        _side_by_side(flat, at + group * GROUP * len(four), len(four), four)
        for n in range(rows):
            grouped[n * groups + group] = four[n]


@_jit
def _group_block(
    flat: Array, at: int, by_inner: bool, first: int, columns: int, grouped: Array
) -> None:
    """Put four inner elements of each column of a block as one int32; fill the block with 0."""
    groups, across = len(grouped) // WIDE, _whole(columns)
    some = min(columns - first, WIDE)
    by_column = flat.view(np.int32)[at // GROUP + first * groups :]
    for group in range(groups):
        block, of_group = grouped[group * WIDE : (group + 1) * WIDE], by_column[group:]
        block[some:] = 0
        if by_inner:
            begin = at + group * GROUP * across + first
            _side_by_side(flat, begin, across, block[:some])
        else:
            for m in range(some):
                block[m] = of_group[m * groups]


@_jit
def _side_by_side(flat: Array, at: int, across: int, four: Array) -> None:
    """Join the bytes of four rows, `across` from one another."""
    a, b, c, d = flat[at:], flat[at + across :], flat[at + 2 * across :], flat[at + 3 * across :]
    for i in range(len(four)):
        low, high = np.int32(a[i]) | np.int32(b[i]) << 8, np.int32(c[i]) | np.int32(d[i]) << 8
        four[i] = low | high << 16


@_jit
def filter_current(slots: Array, current: Array, bias: Array, u: Array, tau: Array) -> None:
    """Update synaptic currents, ``u = tau u + (current + bias)``, and copy them to `current`.

    `bias` and `tau` are (P, C_pad), or (1, C_pad) where all pixels have the same.
    """
    for b in slots:
        for p in range(u.shape[1]):
            row, of = p if len(bias) > 1 else 0, p if len(tau) > 1 else 0
            for c in range(u.shape[2]):
                u[b, p, c] = tau[of, c] * u[b, p, c] + (current[b, p, c] + bias[row, c])
                current[b, p, c] = u[b, p, c]


@_jit
def integrate_and_fire_each(
    slots: Array,
    current: Array,
    bias: Array,
    v: Array,
    channels: int,
    constants: Array,
    at_threshold: bool,
    soft: bool,
    sent: Array,
    number: Array,
    active: Array,
) -> None:
    """Do what `integrate_and_fire` does where neurons of a layer have constants of their own.

    `constants` (4, P, C_pad), or (4, 1, C_pad) where all pixels have the same, are tau_syn, which
    `filter_current` has taken, tau, threshold and what a soft reset subtracts.
    """
    _, tau, threshold, subtracted = constants
    for b in slots:
        busy = 0
        for p in range(v.shape[1]):
            y, x = p // sent.shape[3], p % sent.shape[3]
            row, of = p if len(bias) > 1 else 0, p if len(tau) > 1 else 0
            number[b, p] = 0
            for k in range(sent.shape[1]):
                sent[b, k, y, x] = 0
            for c in range(channels):
                a, old = current[b, p, c] + bias[row, c], v[b, p, c]
                current[b, p, c] = 0
                new = tau[of, c] * old + a
                busy += a != 0 or old != 0
                if new > threshold[of, c] or (at_threshold and new == threshold[of, c]):
                    sent[b, c // LANES, y, x] |= 1 << c % LANES
                    number[b, p] += 1
                    new = new - subtracted[of, c] if soft else np.float32(0)
                v[b, p, c] = new
        active[b] = busy


@_jit
def integrate_and_fire_each_integer(
    slots: Array,
    current: Array,
    bias: Array,
    u: Array,
    v: Array,
    channels: int,
    constants: Array,
    at_threshold: bool,
    soft: bool,
    sent: Array,
    number: Array,
    active: Array,
    saturated: Array,
) -> None:
    """Run integer neurons with a synaptic current, or with constants of their own.

    With t0 rounding toward zero and both states saturating at 24 bits:
    ``u = t0(u keep_current / 4096) + wrapped(current << 6) + bias``,
    ``v' = t0(v keep / 4096) + u``; then as `integrate_and_fire_integer`. Without slots in `u` there
    is no synaptic current, and v alone saturates. `constants` are those of
    `integrate_and_fire_each`, leaks in 4096ths and the others at the scale of v.
    """
    keep_current, keep, threshold, subtracted = constants
    for b in slots:
        busy, cut = 0, 0
        for p in range(v.shape[1]):
            y, x = p // sent.shape[3], p % sent.shape[3]
            row, of = p if len(bias) > 1 else 0, p if len(keep) > 1 else 0
            number[b, p] = 0
            for k in range(sent.shape[1]):
                sent[b, k, y, x] = 0
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
                flowing, old = arrived + bias[row, c], np.int64(v[b, p, c])
                kept = flowing
                if len(u):
                    flowing += _toward_zero(np.int64(u[b, p, c]) * keep_current[of, c])
                    kept = min(max(flowing, 1 - STATE_LIMIT), STATE_LIMIT - 1)
                    u[b, p, c] = kept
                free = _toward_zero(old * keep[of, c]) + kept
                new = min(max(free, 1 - STATE_LIMIT), STATE_LIMIT - 1)
                busy += kept != 0 or old != 0
                cut += arrived != a << 6 or flowing != kept or free != new
                if new > threshold[of, c] or (at_threshold and new == threshold[of, c]):
                    sent[b, c // LANES, y, x] |= 1 << c % LANES
                    number[b, p] += 1
                    new = new - subtracted[of, c] if soft else np.int64(0)
                v[b, p, c] = new
        active[b] = busy
        saturated[b] = cut


@_jit
def _toward_zero(x: Any) -> Any:
    """Return ``x / 4096``, rounded toward zero; a shift alone would round down."""
    return x >> 12 if x >= 0 else -(-x >> 12)


@_jit
def send_values(
    slots: Array,
    current: Array,
    channels: int,
    lies: Lies,
    masks: Array,
    values: Array,
    number: Array,
    units: Array,
    sent: Array,
    graded: Array,
) -> None:
    """Send sums or an image as graded spikes, and clear the flat `current` for the next timestep.

    `units` (slots, P) receives how many values of each pixel are 1 or -1, `number` how many are
    not 0; `sent[b]` how many are not 0 in all, and `graded[b]` how many of those not 1 or -1.
    """
    height, width, words, slot_step, word_step, row_step, first = lies
    for b in slots:
        at, p = b * height * width * words * LANES, 0
        sent[b], graded[b] = 0, 0
        for y in range(height):
            for x in range(width):
                place = first + b * slot_step + y * row_step + x
                number[b, p], units[b, p] = 0, 0
                for k in range(words):
                    real = (1 << min(channels - k * LANES, LANES)) - 1  # the rest is padding
                    bits = move(current, at, values, (place + k * word_step) * LANES)
                    masks[place + k * word_step] = bits & real
                    number[b, p] += count_bits(bits & real)
                    units[b, p] += count_bits((bits >> LANES) & real)
                    at += LANES
                sent[b] += number[b, p]
                graded[b] += number[b, p] - units[b, p]
                p += 1


@_jit
def integrate_logits(
    slots: Array, current: Array, bias: Array, tau_syn: Array, tau: Array, u: Array, z: Array
) -> None:
    """Run one timestep of the readout and clear `current`.

    ``u = tau_syn u + (current + bias)``; ``z = tau z + u``.
    """
    for b in slots:
        for m in range(z.shape[1]):
            u[b, m] = tau_syn[m] * u[b, m] + (current[b, 0, m] + bias[0, m])
            z[b, m] = tau[m] * z[b, m] + u[b, m]
            current[b, 0, m] = 0


@_jit
def integrate_logits_integer(
    slots: Array, current: Array, bias: Array, keep_current: Array, keep: Array, u: Array, z: Array
) -> None:
    """Do what `integrate_logits` does; decays are ``keep / 4096``, rounded toward zero."""
    for b in slots:
        for m in range(z.shape[1]):
            u[b, m] = _toward_zero(u[b, m] * keep_current[m]) + (current[b, 0, m] + bias[0, m])
            z[b, m] = _toward_zero(z[b, m] * keep[m]) + u[b, m]
            current[b, 0, m] = 0


@_jit
def count_synapses(slots: Array, number: Array, less: Array, fan_out: Array) -> Array:
    """Return the synapses that spikes meet where all channels of a pixel have as many.

    `number` (slots, P) are spikes and `fan_out` (P,) synapses, so that nothing needs the spikes.
    `less` (slots, P) or (0, P) are those that are not asked for. The result is int64 (len(slots),).
    """
    met = np.zeros(len(slots), np.int64)
    for i in range(len(slots)):
        b, total = slots[i], 0
        for p in range(len(fan_out)):
            total += number[b, p] * fan_out[p]
        for p in range(len(fan_out) if len(less) else 0):
            total -= less[b, p] * fan_out[p]
        met[i] = total
    return met


@_jit
def count_each(slots: Array, masks: Array, lies: Lies, fan_out: Array, row_of: Array) -> Array:
    """Return the synapses that spikes meet where channels differ.

    `fan_out` is int32, (rows C_pad,), and ``row_of[p]`` pixel p's row in it. The result is int64
    (len(slots),).
    """
    height, width, words, slot_step, word_step, row_step, first = lies
    met, lanes = np.zeros(len(slots), np.int64), np.zeros(LANES, np.int32)
    for i in range(len(slots)):
        for y in range(height):
            lanes[:] = 0
            for x in range(width):
                place = first + slots[i] * slot_step + y * row_step + x
                row = row_of[y * width + x] * words
                for k in range(words):
                    at = (row + k) * LANES
                    add_chosen(lanes, 0, int(masks[place + k * word_step]), fan_out, at)
            for lane in lanes:  # row by row, so that no lane overflows
                met[i] += lane
    return met


@_jit
def count_each_value(
    slots: Array, masks: Array, lies: Lies, values: Array, fan_out: Array, row_of: Array
) -> Array:
    """Do what `count_each` does for graded spikes: those of value 1 or -1, and all others.

    The result is int64 (2, len(slots)).
    """
    height, width, words, slot_step, word_step, row_step, first = lies
    met = np.zeros((2, len(slots)), np.int64)
    ones, others = np.zeros(LANES, np.int32), np.zeros(LANES, np.int32)
    for i in range(len(slots)):
        for y in range(height):
            ones[:], others[:] = 0, 0
            for x in range(width):
                place = first + slots[i] * slot_step + y * row_step + x
                row = row_of[y * width + x] * words
                for k in range(words):
                    if masks[place + k * word_step]:
                        kinds = kinds_of(values, (place + k * word_step) * LANES)
                        units, at = kinds >> LANES, (row + k) * LANES
                        add_chosen(ones, 0, units, fan_out, at)
                        add_chosen(others, 0, kinds & 0xFFFF & ~units, fan_out, at)
            for lane in range(LANES):  # row by row, so that no lane overflows
                met[0, i] += ones[lane]
                met[1, i] += others[lane]
    return met


@_jit
def count_windows(slots: Array, masks: Array, lies: Lies, kernel: Any, fan_out: Array) -> Array:
    """Return the synapses that an average of windows meets, where all its values are 0 or 1.

    Parameters
    ----------
    kernel : (int, int)
        Height and width of the windows, which lie side by side.
    fan_out : int64 array (h, w)
        Synapses of each average.

    Returns
    -------
    int64 array (2, len(slots))
        Synapses of averages of 1, and of other averages but 0.
    """
    _, _, words, slot_step, word_step, row_step, first = lies
    met = np.zeros((2, len(slots)), np.int64)
    for i in range(len(slots)):
        for y in range(fan_out.shape[0]):
            for x in range(fan_out.shape[1]):
                corner = first + slots[i] * slot_step + y * kernel[0] * row_step + x * kernel[1]
                for k in range(words):
                    some, every = 0, 0xFFFF
                    for row in range(kernel[0]):
                        at = corner + k * word_step + row * row_step
                        for column in range(kernel[1]):
                            some |= int(masks[at + column])
                            every &= int(masks[at + column])
                    whole = count_bits(every)
                    met[0, i] += whole * fan_out[y, x]
                    met[1, i] += (count_bits(some) - whole) * fan_out[y, x]
    return met


@_jit
def count_averages(slots: Array, values: Array, lies: Lies, kernel: Any, fan_out: Array) -> Array:
    """Do what `count_windows` does for graded spikes: averages of 1 or -1, and others but 0."""
    _, _, words, slot_step, word_step, row_step, first = lies
    met, total = np.zeros((2, len(slots)), np.int64), np.zeros(LANES)
    for i in range(len(slots)):
        for y in range(fan_out.shape[0]):
            for x in range(fan_out.shape[1]):
                corner = first + slots[i] * slot_step + y * kernel[0] * row_step + x * kernel[1]
                for k in range(words):
                    for c in range(LANES):
                        total[c] = 0
                    for row in range(kernel[0]):
                        at = (corner + k * word_step + row * row_step) * LANES
                        for column in range(kernel[1]):
                            for c in range(LANES):
                                total[c] += values[at + column * LANES + c]
                    for c in range(LANES):
                        average = total[c] / (kernel[0] * kernel[1])
                        if average != 0:
                            met[int(abs(average) != 1), i] += fan_out[y, x]
    return met


# The kinds of calls that `take_turns` makes.
REPLAY, GATHER, ONE_TO_ONE, COUNT, COUNT_EACH, FIRE, SEND = range(7)
# Those that few networks take.
PLACE, MULTIPLY, MULTIPLY_BITS, LARGEST, COUNT_EACH_VALUE, GATHER_VALUES = range(7, 13)


@_jit
def take_turns(
    slots: Array,
    calls: Array,
    first_call: Array,
    together: Array,
    numbers: Array,
    weights: Array,
    rows: Array,
    row_values: Array,
    count: Array,
    factors: Array | None,
    bytes_: Array | None,
) -> None:
    """Run some layers, one after the other, without the interpreter: their calls are written down.

    Layer i is ``calls[first_call[i]:first_call[i + 1]]``, records of ``turns.CALL``, for
    ``together[i]`` slots at a time, whose currents stay in the cache until the layer has fired.
    `numbers` and `weights` are empty and say which types values and weight rows have; `rows`,
    `row_values` and `count` are scratch. Without `factors`, or `bytes_`, the kernel is compiled
    without the calls that few networks take: it takes seconds longer with them.
    """
    for layer in range(len(together)):
        for start in range(0, len(slots), together[layer]):
            some = slots[start : start + together[layer]]
            for i in range(first_call[layer], first_call[layer + 1]):
                call = calls[i]
                kind, padded, number = call["kind"], call["padded"], numbers.dtype.type
                masks = pointed(np.uint16, call["masks"], (call["masks_size"],))
                values = pointed(numbers.dtype, call["values"], (call["values_size"],))
                current = pointed(numbers.dtype, call["current"], (call["current_size"],))
                lies = (
                    call["height"], call["width"], call["words"],
                    call["slot_step"], call["word_step"], call["row_step"], call["first"],
                )  # fmt: skip
                pixels = lies[0] * lies[1]
                if kind == GATHER:
                    gather(
                        some, masks, values, _view(call),
                        pointed(np.int64, call["parts"], (call["parts_size"] // 4, 4)),
                        pointed(np.int64, call["loads"], (call["loads_size"] // 3, 3)),
                        call["block"],
                        pointed(weights.dtype, call["weight"], (call["weight_size"],)),
                        current, padded, rows, row_values, count,
                    )  # fmt: skip
                elif kind == ONE_TO_ONE:
                    one_to_one(some, masks, values, lies, number(call["factor"]), current)
                elif kind == FIRE:
                    integrate_and_fire(
                        some, current, pointed(numbers.dtype, call["bias"], (call["bias_size"],)),
                        pointed(numbers.dtype, call["v"], (call["v_size"],)), call["channels"],
                        number(call["leak"]), number(call["threshold"]), number(call["subtracted"]),
                        call["at_threshold"] != 0, call["soft"] != 0, lies, masks,
                        pointed(np.int32, call["number"], (call["number_size"] // pixels, pixels)),
                        pointed(np.int64, call["active"], (call["active_size"],)),
                        pointed(np.int64, call["fired"], (call["fired_size"],)),
                        pointed(np.int64, call["saturated"], (call["saturated_size"],)),
                    )  # fmt: skip
                elif kind == COUNT:
                    fan_out = pointed(np.int64, call["fan_out"], (call["fan_out_size"],))
                    counted = (call["number_size"] // pixels, pixels)
                    spikes = pointed(np.int32, call["number"], counted)
                    less = pointed(np.int32, call["less"], (call["less_size"] // pixels, pixels))
                    _add(some, call, count_synapses(some, spikes, less, fan_out))
                elif kind == COUNT_EACH:
                    table = pointed(np.int32, call["rows"], (call["rows_size"],))
                    row_of = pointed(np.int32, call["row_of"], (call["row_of_size"],))
                    _add(some, call, count_each(some, masks, lies, table, row_of))
                elif kind == SEND:
                    _send_sums(some, call, current, masks, values, lies)
                elif kind == REPLAY:
                    replay = pointed(numbers.dtype, call["replay"], (call["replay_size"],))
                    _copy(some, replay, current, padded)
                else:
                    sent = masks, values, lies
                    _take_rarely(kind, some, call, sent, current, row_values, factors, bytes_)


@_jit
def _send_sums(
    slots: Array, call: Any, sums: Array, masks: Array, values: Array, lies: Lies
) -> None:
    pixels = lies[0] * lies[1]
    counted = (call["number_size"] // pixels, pixels)
    send_values(
        slots, sums, call["channels"], lies, masks, values,
        pointed(np.int32, call["number"], counted), pointed(np.int32, call["units"], counted),
        pointed(np.int64, call["fired"], (call["fired_size"],)),
        pointed(np.int64, call["graded"], (call["graded_size"],)),
    )  # fmt: skip


@_jit
def _view(call: Any) -> View:
    return (
        call["height_after"], call["width_after"],
        call["slot_step"], call["row_step_after"], call["column_step_after"],
    )  # fmt: skip


@_jit
def _copy(slots: Array, replay: Array, current: Array, size: int) -> None:
    for b in slots:  # numba takes seconds to compile an assignment of slices
        for place in range(b * size, (b + 1) * size):
            current[place] = replay[place]


@_jit
def _take_rarely(
    kind: int,
    slots: Array,
    call: Any,
    sent: tuple[Array, Array, Lies],
    current: Array,
    row_values: Array,
    factors: Array | None,
    bytes_: Array | None,
) -> None:
    """Make a call of those that few networks take."""
    masks, values, lies = sent
    if factors is not None and kind != GATHER_VALUES:
        if kind == LARGEST:
            _take_largest(slots, call, current)
        elif kind == PLACE:
            _take_place(slots, call, masks, values, lies, factors)
        elif kind in (MULTIPLY, MULTIPLY_BITS):
            _take_product(slots, call, masks, values, lies, factors)
        else:
            _take_count(slots, call, masks, values, lies)
    elif bytes_ is not None:
        _take_values(slots, call, values, current, bytes_, row_values)


@_jit
def _take_largest(slots: Array, call: Any, current: Array) -> None:
    rows, columns, k_h, k_w, s_h, s_w, p_h, p_w, width = pointed(np.int64, call["sizes"], (9,))
    padded, size = call["padded"], rows * columns * call["padded"]
    pooled = pointed(current.dtype, call["pooled"], (call["pooled_size"],))
    largest(
        slots, current.reshape(len(current) // size, rows * columns, padded),
        pointed(current.dtype, call["bias"], (call["bias_size"] // padded, padded)),
        (rows, columns, k_h, k_w, s_h, s_w, p_h, p_w), width,
        pooled.reshape(len(current) // size, len(pooled) * size // len(current) // padded, padded),
    )  # fmt: skip


@_jit
def _take_place(
    slots: Array, call: Any, masks: Array, values: Array, lies: Lies, factors: Array
) -> None:
    channels = (call["first_place_size"],)
    place(
        slots, masks, values, lies, pointed(np.uint16, call["taken"], (call["taken_size"],)),
        pointed(np.int64, call["first_place"], channels),
        pointed(np.int64, call["step_place"], channels),
        pointed(np.bool_, call["in_row"], (call["in_row_size"],)),
        factors.dtype.type(call["factor"]),
        pointed(factors.dtype, call["current"], (call["current_size"],)), call["padded"],
    )  # fmt: skip


@_jit
def _take_product(
    slots: Array, call: Any, masks: Array, values: Array, lies: Lies, factors: Array
) -> None:
    matrices, rows, inner, columns, of_left, of_right, step, size, arriving = pointed(
        np.int64, call["sizes"], (9,)
    )
    shape, by_inner = (matrices, rows, inner, columns), (of_left != 0, of_right != 0)
    arrived = (call["current_size"] // arriving, arriving)
    current = pointed(factors.dtype, call["current"], arrived)
    made = pointed(np.int64, call["made"], (matrices,))
    products = pointed(np.int32, call["products"], (call["products_size"],))
    met = pointed(np.int64, call["met"], (call["met_size"] // 3, 3))
    if call["kind"] == MULTIPLY_BITS:
        multiply_bits(
            slots, current, shape, by_inner, made, step,
            pointed(np.int64, call["left"], (call["left_size"],)),
            pointed(np.int64, call["right"], (call["right_size"],)), products, size, met,
        )  # fmt: skip
    else:
        multiply_bytes(
            slots, current, shape, by_inner, made, step,
            pointed(np.uint8, call["left"], (call["left_size"],)),
            pointed(np.int8, call["right"], (call["right_size"],)), products, size, met,
        )  # fmt: skip
    _send_sums(slots, call, products, masks, values, lies)


@_jit
def _take_count(slots: Array, call: Any, masks: Array, values: Array, lies: Lies) -> None:
    table = pointed(np.int32, call["rows"], (call["rows_size"],))
    row_of = pointed(np.int32, call["row_of"], (call["row_of_size"],))
    ones, others = count_each_value(slots, masks, lies, values, table, row_of)
    _add(slots, call, ones)
    total = pointed(np.int64, call["others"], (call["others_size"],))
    for i in range(len(slots)):
        total[slots[i]] += others[i]


@_jit
def _take_values(
    slots: Array, call: Any, values: Array, current: Array, bytes_: Array, row_values: Array
) -> None:
    gather_values(
        slots, values, _view(call),
        pointed(np.int64, call["parts"], (call["parts_size"] // 4, 4)),
        pointed(np.int64, call["loads"], (call["loads_size"] // 3, 3)),
        pointed(bytes_.dtype, call["weight"], (call["weight_size"],)),
        current, call["padded"], row_values,
    )  # fmt: skip


@_jit
def _add(slots: Array, call: Any, met: Array) -> None:
    """Add what was counted to the totals of a call; those that it does not want are empty."""
    total = pointed(np.int64, call["total"], (call["total_size"],))
    effective = pointed(np.int64, call["effective"], (call["effective_size"],))
    own = pointed(np.int64, call["own"], (call["own_size"],))
    for i in range(len(slots)):
        if len(total):
            total[slots[i]] += met[i]
        if len(effective):
            effective[slots[i]] += met[i]
        if len(own):
            own[slots[i]] += met[i]
