"""Run in a child process: what a network takes, forecast and real, as ``forecast real`` in bytes.

python -m tests.memory_case compile|simulate float32|int8 CHANNELS SIZE THREADS
"""

from __future__ import annotations

import ctypes
import gc
import sys
from pathlib import Path

import numpy as np

import seenn_deploy as sd
from seenn_deploy import ir
from seenn_deploy.compiler import memory as of_compiler
from seenn_deploy.simulator import memory as of_simulator


def network(channels: int, size: int, pool: int = 3) -> ir.SpikingGraph:
    """Three convolutions; a pool that leaves a partial window stands before the last."""
    rng = np.random.default_rng(0)
    taken = rng.normal(0, 0.1, (channels, 3, 3, 3)).astype(np.float32)
    inner = rng.normal(0, 2 / channels**0.5 / 3, (channels, channels, 3, 3)).astype(np.float32)
    behind = rng.normal(0, 0.1, (10, channels * (size // pool) ** 2)).astype(np.float32)
    norm = ir.Affine(np.full(channels, 1.1), np.full(channels, 0.1))
    shape = (channels, size, size)
    return ir.SpikingGraph(
        [
            ir.Source("input", (3, size, size), input_range=(0.0, 1.0)),
            *(ir.Population(name, shape) for name in "abc"),
            ir.Readout("out", (10,)),
        ],
        [
            ir.Projection("input", "a", (ir.Conv2d(taken, padding=(1, 1)),)),
            ir.Projection("a", "b", (ir.Conv2d(inner, padding=(1, 1)), norm)),
            ir.Projection("b", "c", (ir.Conv2d(inner, padding=(1, 1)), norm)),
            ir.Projection("c", "out", (ir.AvgPool2d((pool, pool)), ir.Dense(behind))),
        ],
        T=2,
    )


def status(name: str) -> int:
    """A line of /proc/self/status, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def main(work: str, precision: str, channels: str, size: str, threads: str) -> None:
    """Warm up on a small network, forget its peak, and work on the large one."""
    small, graph = network(16, 8), network(int(channels), int(size))
    images = np.random.default_rng(1).random((24, 3, int(size), int(size))).astype(np.float32)
    sd.simulate(sd.compile(small, precision=precision), images[:2, :, :8, :8], threads=1)
    program = sd.compile(graph, precision=precision) if work == "simulate" else None
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)  # else the peak would fit into what was freed before
    Path("/proc/self/clear_refs").write_text("5")
    before = status("VmRSS")
    if program is None:
        forecast = of_compiler.forecast(graph, integer=precision == "int8")
        sd.compile(graph, precision=precision)
    else:
        extent = of_simulator.Extent(len(images), int(threads))
        forecast = of_simulator.forecast(program, extent).total
        # Several times: of two workers, one may find that the other has done everything.
        for _ in range(1 if threads == "1" else 4):
            sd.simulate(program, images, threads=int(threads))
    print(forecast, status("VmHWM") - before)


if __name__ == "__main__":
    main(*sys.argv[1:])
