"""What a cluster costs: the same run on this machine's threads, and by Dask on as many processes.

    python benchmarks/scale.py [--images 10000] [--workers 1,2,4] [--rounds 3]

Rounds are paired, and the table has medians. Every run has to give the same bits.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

import seenn_deploy as sd
from seenn_deploy.cli.cluster import connected

NETWORK = Path(__file__).parent.parent / "examples" / "resnet20_T4_cifar10.pth"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--workers", default="1,2,4")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    program = sd.compile(sd.import_model(NETWORK, T=4), sd.exits.Confidence(0.9), precision="int8")
    x = np.random.default_rng(0).random((options.images, 3, 32, 32)).astype(np.float32)
    sd.simulate(program, x[:64])  # kernels compile once
    table = Table("workers", "plain, s", "Dask, s", "first result, s", "overhead")
    for workers in map(int, options.workers.split(",")):
        table.add_row(str(workers), *compared(program, x, workers, options.rounds))
    Console().print(table)


class Clock:
    """When a run began, and when its first samples were done."""

    def __init__(self) -> None:
        self.start, self.first = time.perf_counter(), 0.0

    def __call__(self, samples: int) -> None:
        self.first = self.first or time.perf_counter()


def compared(program: sd.Program, x: np.ndarray, workers: int, rounds: int) -> list[str]:
    """Medians of paired runs on as many threads as there are worker processes."""
    plain, spread, first = [], [], []
    with connected(f"local:{workers}") as client:
        sd.simulate(program, x[: 64 * workers], client=client)  # each worker loads its kernels
        for _ in range(rounds):
            start = time.perf_counter()
            alone = sd.simulate(program, x, threads=workers, progress=False)
            plain.append(time.perf_counter() - start)
            clock = Clock()
            found = sd.simulate(program, x, client=client, progress=clock)
            spread.append(time.perf_counter() - clock.start)
            first.append(clock.first - clock.start)
            assert np.array_equal(found.logits, alone.logits, equal_nan=True)
            assert np.array_equal(found.counts.ac, alone.counts.ac)
    ratio = statistics.median(b / a for a, b in zip(plain, spread, strict=True))
    seconds = [f"{statistics.median(part):.2f}" for part in (plain, spread, first)]
    return [*seconds, f"{100 * (ratio - 1):+.1f} %"]


if __name__ == "__main__":
    main()
