"""One layer: the event-driven kernel against PyTorch's dense convolution.

For each shape of ResNet-19 (width 8 and width 1) and each density of spikes: time of our layer in
float32 and in int8 (synapses counted) and of ``torch.nn.functional.conv2d`` on the same input, all
on the same number of threads. Rounds are paired, each of as many calls as take a hundredth of a
second, and the medians of their ratios are printed. Currents are added to those of the call before:
it is the neurons that clear them, while they fire.

The machine's own limit is measured in the same run: full vectors, loaded from the first-level cache
and added to sums that stay in registers, four bytes a weight in float32 and one in int8, as bytes
that wrap. No kernel that reads every weight of every spike can exceed it.

    python benchmarks/layers.py [--threads 1] [--rounds 9]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import Any

import numba as nb
import numpy as np
import torch
from llvmlite import ir
from numba import types
from rich.console import Console
from rich.table import Table

from seenn_deploy.ir.maps import Conv2d
from seenn_deploy.simulator import synapses
from seenn_deploy.simulator.kernels import kernels
from seenn_deploy.simulator.kernels.vectors import (
    Lanes,
    alloca,
    array_data,
    counting,
    integer,
    intrinsic,
)
from seenn_deploy.simulator.layout import FanOut
from seenn_deploy.simulator.spikes import Events, Plane, Scratch, aligned
from seenn_deploy.simulator.turns import at_a_time

SHAPES = [(128, 32), (256, 16), (512, 8), (16, 32), (32, 16), (64, 8)]  # channels, height = width
DENSITIES = (0.02, 0.05, 0.10, 0.15, 0.25, 0.35, 0.50)
BATCH = 8  # images per call, for both
ROWS = 64  # rows of the bare loop: 32 KiB of float32
ROUND = 0.01  # seconds
KINDS = (np.float32, np.int8)


def _bare(element: Any, lanes_per_row: int) -> Any:
    """Make ``bare(rows, times)``: it loads and adds 64 rows of eight registers over and over."""

    @intrinsic
    def add(typingctx: Any, rows: Any, times: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            data = array_data(context, builder, signature, args, 0)
            lanes = Lanes(builder, element, lanes_per_row)
            total = alloca(builder, lanes.kind)
            builder.store(lanes.zero(), total)
            with (
                counting(builder, integer(0), args[1]),
                counting(builder, integer(0), integer(ROWS)) as (row, _),
            ):
                at = lanes.at(data, builder.mul(row, integer(lanes_per_row)))
                builder.store(lanes.add(builder.load(total), lanes.load(at)), total)
            lanes.store(builder.load(total), lanes.at(data, integer(0)))
            return context.get_dummy_value()

        return types.void(rows, types.intp), codegen

    @nb.njit(nogil=True)
    def bare(rows: Any, times: Any) -> None:
        add(rows, times)

    return bare


def seconds(function: Callable[[], object], calls: int = 1) -> float:
    """Time of one call, as a mean of several."""
    start = time.perf_counter()
    for _ in range(calls):
        function()
    return (time.perf_counter() - start) / calls


def machine_limit(kind: Any, rounds: int) -> float:
    """Accumulates per second of one core that adds rows in its first-level cache, the best round.

    A row fills eight 512-bit registers, enough to hide the time that one addition takes.
    """
    width = 128 if kind is np.float32 else 512
    element = ir.FloatType() if kind is np.float32 else ir.IntType(8)
    rows = aligned((ROWS, width), kind)
    bare, times = _bare(element, width), 50_000
    bare(rows, 1)
    return times * ROWS * width / min(seconds(lambda: bare(rows, times)) for _ in range(rounds))


class Layer:
    """One 3x3 convolution in both implementations, on spikes of a given density."""

    def __init__(self, channels: int, size: int, density: float, threads: int, kind: Any) -> None:
        rng = np.random.default_rng(channels)
        weight = rng.integers(-127, 128, (channels, channels, 3, 3)).astype(np.int8)
        conv = Conv2d(weight.astype(kind), padding=(1, 1))
        pre = Plane((channels, size, size), (1, 1))
        spikes = (rng.random((BATCH, *pre.shape)) < density).astype(np.float32)
        self.x, self.weight = torch.from_numpy(spikes), torch.from_numpy(weight.astype(np.float32))
        sums = np.float32 if kind is np.float32 else np.int32
        self.events = Events.empty(BATCH, pre, False, sums)
        self.events.put(np.arange(BATCH), spikes)
        self.accumulate = synapses.accumulator(conv, pre, pre)
        self.fan_out = FanOut.of(conv.fan_out(pre.shape), pre).by_pixel
        self.parts = np.array_split(np.arange(BATCH), threads)
        # As the engine groups them, so that currents stay in the second-level cache.
        self.together = at_a_time(pre)
        self.scratch = [Scratch.empty(BATCH * pre.pixels, 144, sums) for _ in self.parts]
        self.current = aligned((BATCH, pre.pixels, pre.padded), sums)
        self.ac = np.zeros(BATCH, np.int64)
        self.pool = ThreadPoolExecutor(threads)

    def ours(self) -> None:
        if len(self.parts) == 1:
            self._part(self.parts[0], self.scratch[0])
        else:
            list(self.pool.map(self._part, self.parts, self.scratch))

    def _part(self, slots: np.ndarray, scratch: Scratch) -> None:
        for first in range(0, len(slots), self.together):
            some = slots[first : first + self.together]
            self.accumulate(some, self.events, self.current, scratch)
        self.ac[slots] = kernels.count_synapses(
            slots, self.events.number, self.events.number[:0], self.fan_out
        )

    def torch(self) -> None:
        with torch.inference_mode():
            torch.nn.functional.conv2d(self.x, self.weight, padding=1)

    def accumulates(self) -> int:
        """Synapses met in one call."""
        self.ours()
        return int(self.ac.sum())


def measure(layer: Layer, rounds: int) -> tuple[float, float, float]:
    """Median seconds of ours and torch's, and the median of torch / ours by round."""
    both = layer.ours, layer.torch
    for function in both:  # the first call compiles
        function()
    calls = [1 + int(ROUND / seconds(function)) for function in both]
    pairs = [tuple(map(seconds, both, calls)) for _ in range(rounds)]
    ours, theirs = (float(np.median(column)) for column in zip(*pairs, strict=True))
    return ours, theirs, float(np.median([b / a for a, b in pairs]))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    limits = {kind: machine_limit(kind, args.rounds) * args.threads for kind in KINDS}
    table = Table(title=f"one 3x3 layer, {BATCH} images, {args.threads} thread(s)", box=None)
    columns = ("layer", "density", "weights", "ours ms", "torch ms", "torch / ours")
    for name in (*columns, "G accumulates/s", "of limit"):
        table.add_column(name, justify="right")
    for (channels, size), density, kind in product(SHAPES, DENSITIES, KINDS):
        layer = Layer(channels, size, density, args.threads, kind)
        ours, theirs, ratio = measure(layer, args.rounds)
        rate = layer.accumulates() / ours
        table.add_row(
            f"{channels}x{size}x{size}", f"{density:.0%}", np.dtype(kind).name,
            f"{ours * 1e3:.2f}", f"{theirs * 1e3:.2f}", f"{ratio:.2f}", f"{rate / 1e9:.1f}",
            f"{rate / limits[kind]:.0%}",
        )  # fmt: skip
    console = Console(width=100)
    console.print(table)
    for kind, limit in limits.items():
        name = np.dtype(kind).name
        console.print(f"machine's limit, {name} in the first-level cache: {limit / 1e9:.1f} G/s")


if __name__ == "__main__":
    main()
