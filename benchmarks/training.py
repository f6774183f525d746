"""Training: epochs of CIFAR-10 per hour of one processor, by what `seenn train snn` is asked for.

python benchmarks/training.py [--width 0.25] [--steps 6] [--timesteps 1,4]

ResNet-19 learns batches of 128 random images. Per setting the median processor time of the steps
after the first two counts, in which torch compiles; an epoch is 391 steps, and half of those of
`24:0.5,32:0.5` are on images of 24x24. Processor time leaves out what else the machine does.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from seenn_deploy.training.loop import Recipe
from seenn_deploy.training.tasks import Architecture, train_snn

BATCH, STEPS = 128, -(-50_000 // 128)
SETTINGS: dict[str, dict[str, Any]] = {
    "float32": {},
    "--bf16": {"bf16": True},
    "--compile": {"compile": True},
    "--compile --bf16": {"compile": True, "bf16": True},
}


def main() -> None:
    """Print a line per number of timesteps and setting."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--width", type=float, default=0.25)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--timesteps", default="1,4")
    args = parser.parse_args()
    torch.set_num_threads(1)
    print("| T | setting | s per step, 32x32 | 24x24 | epochs per hour | --sizes 24:0.5,32:0.5 |")
    print("|--:|---|--:|--:|--:|--:|")
    for T in map(int, args.timesteps.split(",")):
        for name, options in SETTINGS.items():
            large, small = (seconds(args.width, T, args.steps, size, options) for size in (32, 24))
            whole, mixed = (3600 / (STEPS * each) for each in (large, (large + small) / 2))
            print(f"| {T} | {name} | {large:.2f} | {small:.2f} | {whole:.2f} | {mixed:.2f} |",
                  flush=True)  # fmt: skip


def seconds(width: float, T: int, steps: int, size: int, options: dict[str, Any]) -> float:
    """Return the median processor time of a step, forward, backward and optimizer."""
    marks: list[float] = []
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (steps * BATCH, size, size, 3), np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder, "data.npz")
        np.savez(data, x=images, y=rng.integers(0, 10, len(images)))
        recipe = Recipe(epochs=1, batch_size=BATCH, lr=0.01, **options)
        train_snn(
            data, Path(folder, "run"), Architecture("resnet19", width, T), recipe, classes=10,
            progress=lambda _: marks.append(time.process_time()),
        )  # fmt: skip
    return median(after - before for before, after in list(pairwise(marks))[1:])


if __name__ == "__main__":
    main()
