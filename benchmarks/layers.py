"""One layer: event-driven and dense kernels against PyTorch's dense convolution.

For each shape of ResNet-19 (width 8 and width 1) and each density of spikes: time of our layer
(kernel chosen by density, synapses counted) and of ``torch.nn.functional.conv2d`` on the same
input, both on the same number of threads. Rounds are paired and the median of their ratios is
printed. The machine's own limit is measured in the same run: a bare loop that adds rows of a small
matrix to a small vector, all in the first-level cache.

    python benchmarks/layers.py [--threads 1] [--rounds 9]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numba as nb
import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from seenn_deploy.ir.maps import Conv2d
from seenn_deploy.simulator import layout
from seenn_deploy.simulator.kernels import kernels

SHAPES = [(128, 32), (256, 16), (512, 8), (16, 32), (32, 16), (64, 8)]  # channels, height = width
DENSITIES = (0.02, 0.05, 0.10, 0.15, 0.25, 0.35, 0.50)
BATCH = 8  # images a call, for both


@nb.njit(nogil=True)
def bare_accumulate(rows: np.ndarray, total: np.ndarray, times: int) -> None:
    """``total += rows[i]`` over and over: loads, adds, stores, all in cache."""
    for i in range(times):
        row = rows[i % len(rows)]
        for c in range(len(total)):
            total[c] += row[c]


def seconds(function: Callable[[], object]) -> float:
    """Time of one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def machine_limit(rounds: int) -> float:
    """Accumulates per second of one core in a bare loop, the best of some rounds."""
    rows = np.random.default_rng(0).normal(size=(16, 256)).astype(np.float32)
    total = np.zeros(256, np.float32)
    bare_accumulate(rows, total, 1)
    times = 500_000
    return (
        times
        * 256
        / min(seconds(lambda: bare_accumulate(rows, total, times)) for _ in range(rounds))
    )


class Layer:
    """One 3x3 convolution in both implementations, on spikes of a given density."""

    def __init__(self, channels: int, size: int, density: float, threads: int) -> None:
        rng = np.random.default_rng(channels)
        conv = Conv2d(
            rng.normal(size=(channels, channels, 3, 3)).astype(np.float32), padding=(1, 1)
        )
        shape = (channels, size, size)
        spikes = (rng.random((BATCH, *shape)) < density).astype(np.float32)
        self.x, self.weight = torch.from_numpy(spikes), torch.from_numpy(conv.weight)
        self.accumulate = layout._conv(conv, shape, shape)
        self.fan_out = layout._by_pixel(conv.fan_out(shape), shape)
        self.parts = np.array_split(np.arange(BATCH), threads)
        pixels = size * size
        self.ptr = np.zeros((BATCH, pixels + 1), np.int32)
        self.idx = np.zeros((BATCH, pixels * channels), np.int32)
        self.val = np.zeros((BATCH, pixels * channels), np.float32)
        kernels.load_frame(
            np.arange(BATCH), spikes.reshape(BATCH, channels, pixels), channels,
            self.ptr, self.idx, self.val,
        )  # fmt: skip
        self.val = self.val[:, :0]
        self.current = np.zeros((BATCH, pixels, layout.padded(channels)), np.float32)
        self.ac, self.mac = np.zeros(BATCH, np.int64), np.zeros(BATCH, np.int64)
        self.pool = ThreadPoolExecutor(threads)

    def ours(self) -> None:
        self.current[:] = 0
        if len(self.parts) == 1:
            self._part(self.parts[0])
        else:
            list(self.pool.map(self._part, self.parts))

    def _part(self, slots: np.ndarray) -> None:
        events = self.ptr, self.idx, self.val
        self.accumulate(slots, *events, self.current)
        kernels.count_synapses(slots, *events, False, self.fan_out, self.ac, self.mac)

    def torch(self) -> None:
        with torch.inference_mode():
            torch.nn.functional.conv2d(self.x, self.weight, padding=1)

    def accumulates(self) -> int:
        """Synapses met in one call."""
        self.ac[:] = 0
        self.ours()
        return int(self.ac.sum())


def measure(layer: Layer, rounds: int) -> tuple[float, float, float]:
    """Median seconds of ours and torch's, and the median of torch / ours by round."""
    layer.ours(), layer.torch()
    pairs = [(seconds(layer.ours), seconds(layer.torch)) for _ in range(rounds)]
    ours, theirs = (float(np.median(column)) for column in zip(*pairs, strict=True))
    return ours, theirs, float(np.median([b / a for a, b in pairs]))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    limit = machine_limit(args.rounds) * args.threads
    table = Table(title=f"one 3x3 layer, {BATCH} images, {args.threads} thread(s)", box=None)
    for name in (
        "layer",
        "density",
        "ours ms",
        "torch ms",
        "torch / ours",
        "G accumulates/s",
        "of limit",
    ):
        table.add_column(name, justify="right")
    for channels, size in SHAPES:
        for density in DENSITIES:
            layer = Layer(channels, size, density, args.threads)
            ours, theirs, ratio = measure(layer, args.rounds)
            rate = layer.accumulates() / ours
            table.add_row(
                f"{channels}x{size}x{size}", f"{density:.0%}", f"{ours * 1e3:.2f}",
                f"{theirs * 1e3:.2f}", f"{ratio:.2f}", f"{rate / 1e9:.1f}", f"{rate / limit:.0%}",
            )  # fmt: skip
    console = Console(width=100)
    console.print(table)
    console.print(f"machine's limit, a bare accumulate loop in cache: {limit / 1e9:.1f} G/s")


if __name__ == "__main__":
    main()
