"""How each kind of synapses adds what events cause, with its weights as the kernels take them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache, singledispatch
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np

from seenn_deploy import ir
from seenn_deploy._typing import Array, Pair, Shape
from seenn_deploy.simulator.kernels import kernels
from seenn_deploy.simulator.kernels.vector_add import WIDTHS
from seenn_deploy.simulator.kernels.vector_dense import GROUP, WIDE
from seenn_deploy.simulator.kernels.vector_masks import AT_ONCE, LANES
from seenn_deploy.simulator.spikes import Events, Plane, Scratch, aligned

# Words of a part: a 3x3 kernel over 16 channels. Its rows of 64 weights take 36 KiB, and sums of
# 8-bit weights stay below 2^15.
PART_WORDS = 9
PAIRED = 128  # bytes of the weights that one event meets in pixels that come in pairs, at most
PAIR_WORDS = 12  # words of a part of such pixels

# Eighths of a slot's values, those of its border included: where more are not 0, a list of events
# saves no time.
FULL = 5

View: TypeAlias = tuple[int, int, int, int, int]  # as in kernels.gather
Accumulate: TypeAlias = Callable[[Array, Events, Array, Scratch], None]


@singledispatch
def accumulator(synapses: ir.Synapses, pre: Plane, post: Plane) -> Accumulate:
    """Make the function that adds a source's events to a target's currents; by list by default."""
    return accumulator(ir.Sparse.listing(synapses, pre.shape), pre, post)


@accumulator.register
def _conv(conv: ir.Conv2d, pre: Plane, post: Plane) -> Accumulate:
    words = PART_WORDS
    if comes_in_pairs(conv, post):
        conv, post = _paired(conv, post)
        words = PAIR_WORDS
    down, across = conv.stride
    view = (*post.size, pre.step, down * pre.bordered[1], across)
    parts = _parts(_offsets(pre, conv.weight.shape[2:], conv.dilation, conv.padding), words)
    if conv.groups > 1:
        return _grouped(conv, pre, view, parts)
    return Gathering.of(_rows(conv, pre), post, view, parts)


def comes_in_pairs(conv: ir.Conv2d, post: Plane) -> bool:
    """Whether two neighbouring pixels of a convolution are better computed as one.

    Where pixels have few channels, listing a pixel's events takes longer than adding their rows.
    The window of a pair is as wide as one load, so that a pair's list takes as long as a pixel's.
    """
    narrow = post.padded * summed_as(conv.weight).itemsize <= PAIRED
    plain = conv.groups == conv.stride[1] == conv.dilation[1] == 1
    return narrow and plain and post.size[1] % 2 == 0 and conv.weight.shape[3] < AT_ONCE


def _paired(conv: ir.Conv2d, post: Plane) -> tuple[ir.Conv2d, Plane]:
    """Return the convolution that computes two pixels side by side as one with their channels.

    In memory nothing changes: a pixel's neighbour is what follows it.
    """
    wide = np.zeros((2, post.padded, *conv.weight.shape[1:3], conv.weight.shape[3] + 1))
    for right in range(2):
        wide[right, : post.channels, :, :, right : right + conv.weight.shape[3]] = conv.weight
    weight = wide.reshape(-1, *wide.shape[2:]).astype(conv.weight.dtype)
    height, width = post.size
    pairs = Plane((2 * post.padded, height, width // 2))
    return replace(conv, weight=weight, bias=None, stride=(conv.stride[0], 2)), pairs


@dataclass(frozen=True, eq=False)
class Gathering:
    """What a convolution or a dense layer adds, as ``kernels.gather`` takes it.

    Parameters
    ----------
    view : tuple of 5 int
    parts, loads : int64 arrays (parts, 4) and (loads, 3)
    width : int
        Channels of a block of weights.
    weight : array, flat
    padded : int
        Channels of a pixel of currents, padded.
    """

    view: View
    parts: Array
    loads: Array
    width: int
    weight: Array
    padded: int

    @classmethod
    def of(cls, rows: Array, post: Plane, view: View, parts: Parts) -> Gathering:
        """Cut the weight rows of all parts into blocks."""
        width, weight, place = _blocks(rows, post, parts)
        return cls(view, parts.table(place), parts.loads, width, weight, post.padded)

    def __call__(self, slots: Array, events: Events, current: Array, scratch: Scratch) -> None:
        """Add what `events` cause."""
        kernels.gather(
            slots, events.masks, events.flat_values, self.view, self.parts, self.loads, self.width,
            self.weight, current.reshape(-1), self.padded,
            scratch.rows, scratch.values, scratch.count,
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Multiplying:
    """What a layer adds to graded values, of which most are not 0: see ``kernels.gather_values``.

    Parameters
    ----------
    gathering : Gathering
        With rows of floats, in blocks of 64 channels. Slots that are not full are left to it.
    bytes : int8 array, flat, optional
        The same weights, in groups of rows; they serve every slot.
    """

    gathering: Gathering
    bytes: Array | None = None

    @classmethod
    def with_bytes(cls, gathering: Gathering) -> Multiplying:
        """Store the rows of a layer as bytes, and no longer as floats."""
        weight = aligned(gathering.weight.shape, np.int8)
        for _, _, rows, place in gathering.parts:
            size = rows * WIDE
            for at in range(place, place + rows * gathering.padded, size):
                used = gathering.weight[at : at + size - WIDE].reshape(-1, GROUP, WIDE)
                weight[at : at + size - WIDE] = used.swapaxes(1, 2).ravel()
        # An empty array of its own: a slice would keep the floats in memory.
        return cls(replace(gathering, weight=np.empty(0, np.float32)), weight)

    def __call__(self, slots: Array, events: Events, current: Array, scratch: Scratch) -> None:
        """Add what `events` cause."""
        how, weight = self.gathering, self.bytes
        if weight is None:
            # A slot's own matter, so its sums do not depend on which others are computed with it.
            full = 8 * events.number[slots].sum(1) > FULL * events.plane.step * LANES
            weight = how.weight
            if not full.all():
                how(slots[~full], events, current, scratch)
                slots = slots[full]
        if len(slots):  # else the kernel need not even be compiled
            kernels.gather_values(
                slots, events.flat_values, how.view, how.parts, how.loads, weight,
                current.reshape(-1), how.padded, scratch.values,
            )  # fmt: skip


@accumulator.register
def _dense(dense: ir.Dense, pre: Plane, post: Plane) -> Accumulate:
    """Run it as a convolution whose kernel is as large as its input."""
    weight = dense.weight.reshape(len(dense.weight), pre.channels, *pre.size)
    return _conv(ir.Conv2d(weight), pre, Plane((len(weight), 1, 1)))


@accumulator.register
def _pooled(dense: ir.PooledDense, pre: Plane, post: Plane) -> Accumulate:
    """Run it as a dense layer in which the pixels of a window share their rows."""
    (height, width), (k_h, k_w) = pre.size, dense.kernel
    weight = dense.weight.reshape(len(dense.weight), -1, height // k_h, width // k_w)
    offsets = np.array(_offsets(pre, pre.size, (1, 1), (0, 0)))
    windows = offsets.reshape(pre.words, height // k_h, k_h, width // k_w, k_w).swapaxes(2, 3)
    parts = _parts(tuple(windows.ravel().tolist()), PART_WORDS, sharing=k_h * k_w)
    return Gathering.of(_rows(ir.Conv2d(weight), pre), post, (1, 1, pre.step, 0, 0), parts)


@dataclass(frozen=True, eq=False)
class Parts:
    """What every output pixel sees of its input, cut into the parts that ``kernels`` explains.

    Parameters
    ----------
    loads : int64 array (loads, 3)
        As in ``kernels.gather``.
    first_load : int64 array (parts + 1,)
        The loads of part i are ``first_load[i]:first_load[i + 1]``.
    rows, first_row : int64 arrays (parts,)
        Weight rows of each part: how many, with one of zeros behind them for what fills a list up,
        and where they begin among all that are not.
    """

    loads: Array
    first_load: Array
    rows: Array
    first_row: Array

    def table(self, place: Array) -> Array:
        """Return the parts as ``kernels.gather`` takes them, whose weights begin at `place`."""
        return np.column_stack([self.first_load[:-1], self.first_load[1:], self.rows, place])


def _offsets(pre: Plane, kernel: Shape, dilation: Pair, padding: Pair) -> tuple[int, ...]:
    """Return the distance of each word that a pixel sees from its corner: by word, row, column."""
    height, width = pre.bordered
    word, ky, kx = np.ogrid[: pre.words, : kernel[0], : kernel[1]]
    row = pre.border[0] - padding[0] + ky * dilation[0]
    column = pre.border[1] - padding[1] + kx * dilation[1]
    return tuple(int(n) for n in ((word * height + row) * width + column).ravel())


@lru_cache(maxsize=64)  # layers of one network share few geometries
def _parts(offsets: tuple[int, ...], most: int, sharing: int = 1) -> Parts:
    """Cut words into parts of at most `most`, and words that are neighbours into loads.

    Every `sharing` words in a row meet the same sixteen weight rows.
    """
    cuts = [0]
    for word in range(len(offsets)):
        # Words that share rows stay together where they can, so that no rows are kept twice.
        together = min(sharing, most) if word % sharing == 0 else 1
        if word - cuts[-1] + together > most:
            cuts.append(word)
    cuts.append(len(offsets))
    load_ptr: list[int] = [0]
    loads: list[tuple[int, int, int]] = []
    for start, stop in pairwise(cuts):
        first = start
        for word in range(start + 1, stop + 1):
            near = word < stop and offsets[word] == offsets[first] + word - first
            if not near or sharing > 1 or word - first == AT_ONCE:
                row = (first // sharing - start // sharing) * LANES
                loads.append((offsets[first], (1 << (word - first) * LANES) - 1, row))
                first = word
        load_ptr.append(len(loads))
    table = np.array([(at, keep - (keep >> 63 << 64), row) for at, keep, row in loads])
    first_row = np.array(cuts[:-1]) // sharing * LANES
    last_word = (np.array(cuts[1:]) - 1) // sharing
    return Parts(table, np.array(load_ptr), (last_word + 1) * LANES - first_row + 1, first_row)


def _rows(conv: ir.Conv2d, pre: Plane) -> Array:
    """Return weight rows (rows, C_out / groups) in the order of words, taps and channels."""
    out_group = len(conv.weight) // conv.groups
    split = conv.weight.reshape(conv.groups, out_group, *conv.weight.shape[1:])
    by_channel = split.transpose(0, 2, 3, 4, 1).reshape(pre.channels, *conv.weight.shape[2:], -1)
    filled = np.pad(by_channel, ((0, pre.padded - pre.channels), (0, 0), (0, 0), (0, 0)))
    words = filled.reshape(pre.words, LANES, *filled.shape[1:])
    return words.transpose(0, 2, 3, 1, 4).reshape(-1, out_group)


def _blocks(rows: Array, post: Plane, parts: Parts) -> tuple[int, Array, Array]:
    """Cut each part's rows into blocks; return their width, the weights, and where parts begin."""
    kind = summed_as(rows)
    widths = WIDTHS if kind == np.int16 else WIDTHS[1:]
    lanes = next(width for width in widths if post.padded % width == 0)
    keys = list(zip(parts.first_row.tolist(), parts.rows.tolist(), strict=True))
    place, size = dict[tuple[int, int], int](), 0
    for first, n in dict.fromkeys(keys):
        place[first, n], size = size, size + n * post.padded
    weight = aligned((size,), kind)
    for (first, n), at in place.items():
        blocks = weight[at : at + n * post.padded].reshape(-1, n, lanes)
        part = np.zeros((n, post.padded), kind)
        part[:-1, : rows.shape[1]] = rows[first : first + n - 1]
        blocks[:] = part.reshape(n, -1, lanes).swapaxes(0, 1)
    return lanes, weight, np.array([place[key] for key in keys])


def _grouped(conv: ir.Conv2d, pre: Plane, view: View, parts: Parts) -> Accumulate:
    rows = _rows(conv, pre)
    taps = conv.weight.shape[2] * conv.weight.shape[3]
    channel = np.arange(pre.padded).reshape(pre.words, 1, LANES).repeat(taps, axis=1).ravel()
    # Rows of padding get the last group; no event ever meets them.
    group = np.minimum(channel // conv.weight.shape[1], conv.groups - 1)
    # A row of zeros behind each part, for what fills a list of events up.
    ends = parts.first_row + parts.rows - 1
    weight = np.insert(rows, ends, 0, axis=0)
    first_target = np.insert(group * rows.shape[1], ends, 0)
    place = np.cumsum(parts.rows) - parts.rows
    table = parts.table(place)

    def accumulate(slots: Array, events: Events, current: Array, scratch: Scratch) -> None:
        kernels.gather_grouped(
            slots, events.masks, events.flat_values, view, table, parts.loads, first_target,
             weight, current, scratch.rows, scratch.values, scratch.count,
        )  # fmt: skip

    return accumulate


@accumulator.register
def _sparse(sparse: ir.Sparse, pre: Plane, post: Plane) -> Accumulate:
    numbers = np.arange(len(sparse.indptr) - 1)
    # The lists of synapses are reordered from channels-first neurons to the kernels' grid order.
    order = pre.to_grid(numbers.reshape(pre.shape)).ravel()
    length = np.diff(sparse.indptr)[order]
    indptr = np.concatenate(([0], np.cumsum(length)))
    take = np.repeat(sparse.indptr[:-1][order] - indptr[:-1], length) + np.arange(indptr[-1])
    channel, pixel = np.divmod(sparse.targets[take].astype(np.int64), post.pixels)
    targets = pixel * post.padded + channel
    weight = np.ascontiguousarray(sparse.weight[take])
    placing = Placing.of(indptr, targets, weight, pre, post)
    if placing is not None:
        return placing

    def accumulate(slots: Array, events: Events, current: Array, scratch: Scratch) -> None:
        sent, values = events.sent, events.values
        kernels.scatter(slots, sent, values, pre.channels, indptr, targets, weight, current)

    return accumulate


@dataclass(frozen=True, eq=False)
class Placing:
    """What a selection or another order of neurons adds, as ``kernels.place`` takes it.

    Parameters
    ----------
    taken : uint16 array (words,)
    first, step : int64 arrays (C_pad,)
    in_row : bool array (words,)
    weight : number
    size : int
        Currents of a slot.
    """

    taken: Array
    first: Array
    step: Array
    in_row: Array
    weight: Any
    size: int

    @classmethod
    def of(
        cls, indptr: Array, targets: Array, weight: Array, pre: Plane, post: Plane
    ) -> Placing | None:
        """Describe synapses by channel; None where that cannot be done. They come in grid order."""
        number = np.diff(indptr).reshape(pre.pixels, pre.channels)
        if not len(weight) or np.any(weight != weight[0]) or np.any(number != number[:1]):
            return None
        if number.max() > 1:
            return None
        chosen = number[0] == 1
        at = targets.reshape(pre.pixels, -1)
        step = at[min(1, pre.pixels - 1)] - at[0]
        if np.any(at != at[0] + np.arange(pre.pixels)[:, None] * step):
            return None
        by_channel = np.zeros((3, pre.padded), np.int64)
        by_channel[:, : pre.channels][:, chosen] = np.ones_like(step), at[0], step
        taken, first, step = by_channel
        words = (taken.reshape(-1, LANES) << np.arange(LANES)).sum(1).astype(np.uint16)
        by_word = first.reshape(-1, LANES), step.reshape(-1, LANES)
        in_row = (words == 0xFFFF) & np.all(np.diff(by_word[0]) == 1, 1)
        in_row &= np.all(by_word[1] == by_word[1][:, :1], 1)
        return cls(words, first, step, in_row, weight[0], post.pixels * post.padded)

    def __call__(self, slots: Array, events: Events, current: Array, scratch: Scratch) -> None:
        """Add what `events` cause."""
        kernels.place(
            slots, events.masks, events.flat_values, events.plane.lies, self.taken, self.first,
            self.step, self.in_row, self.weight, current.reshape(-1), self.size,
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class OneToOne:
    """What an identity shortcut adds."""

    weight: Any

    def __call__(self, slots: Array, events: Events, current: Array, scratch: Scratch) -> None:
        """Add what `events` cause."""
        sent = events.masks, events.flat_values, events.plane.lies
        kernels.one_to_one(slots, *sent, self.weight, current.reshape(-1))


@accumulator.register
def _identity(identity: ir.Identity, pre: Plane, post: Plane) -> Accumulate:
    return OneToOne(identity.weight[()])


def narrow(weight: Array) -> Array:
    """Store integer weights in as few bytes as hold them; reading weights is what takes time."""
    if weight.dtype.kind == "f":
        return weight
    fits = (k for k in (np.int8, np.int16) if np.array_equal(weight.astype(k), weight))
    return weight.astype(next(fits, np.int32))


def summed_as(weight: Array) -> np.dtype[Any]:
    """Return the type of a part's rows: of 8-bit weights the one that their sums are formed in.

    Rows of bytes would be widened each time they are read, which takes longer than reading more.
    """
    if weight.dtype.kind == "f":
        return weight.dtype
    return np.dtype(np.int16 if weight.dtype.itemsize == 1 else np.int32)
