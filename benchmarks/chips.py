"""Networks on Loihi 1: cores, chips, search time, and what a run takes of them.

SEENN's ResNet-19 of 16-32-64 channels and of 2, 4 and 8 times as many (random weights, batch-norm
statistics of the images, so that every layer spikes), and the trained ResNet-20 of ``examples``.
Exit rules are ``confidence`` at 0.9, on a speculative and a gated schedule, and ``fixed``, which a
pipeline knows before. Times are SANA-FE's, energies its prices (docs/chips.md).

    python benchmarks/chips.py [--images 4] [--widths 1 2 4 8]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import seenn_deploy as sd  # noqa: E402
from benchmarks.network import random_network  # noqa: E402
from seenn_deploy.ir.inputs import for_program  # noqa: E402

RULES = (
    ("speculative", sd.exits.Confidence(0.9)),
    ("gated", sd.exits.Confidence(0.9)),
    ("pipelined", sd.exits.Fixed()),
)


def main() -> None:
    """Print a line per network, and one per schedule below it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--widths", type=int, nargs="*", default=[1, 2, 4, 8])
    given = parser.parse_args()
    example = sd.example()
    shipped = sd.import_model(example.network, T=4)
    images = for_program(sd.compile(shipped), example.images).take(0, given.images)
    measure("ResNet-20, trained", shipped, images)
    with tempfile.TemporaryDirectory() as folder:
        for width in given.widths:
            path = Path(folder) / f"width{width}.pth"
            random_network(width, images, path)
            measure(f"ResNet-19, width {width}", sd.import_model(path, T=4), images)


def measure(name: str, graph: sd.SpikingGraph, images: np.ndarray) -> None:
    """Place a network, run it, and print what was found."""
    program = sd.compile(graph, sd.exits.Fixed(), precision="int8")
    start = time.process_time()  # whatever else the machine does
    placement = sd.map_to_chip(program, "loihi1")
    searched = time.process_time() - start
    busiest = placement.loads[placement.busiest]["synapses"]
    print(
        f"{name}: {placement.cores:,} cores, {placement.chips} chips, busiest core {busiest:,} "
        f"synapses, searched {searched:.1f} s of one processor",
        flush=True,
    )
    for schedule, rule in RULES:
        start = time.perf_counter()
        run = sd.run_placed(program.with_exit(rule), placement, images, progress=False)
        took = time.perf_counter() - start
        told = run.schedule(schedule)
        assert told is not None
        terms = told["energy_uJ_per_sample"]
        print(
            f"  {schedule}: exit {run.exit_step.mean():.2f}, longest step "
            f"{1e6 * run.steps.time.max():,.0f} us, latency {told['latency_us'] / 1000:,.2f} ms, "
            f"{told['samples_per_s']:,.0f} samples/s, {told['total_energy_uJ_per_sample']:,.0f} uJ "
            f"({', '.join(f'{term} {value:,.1f}' for term, value in terms.items())}), "
            f"wasted {told['wasted_energy_uJ_per_sample']:,.0f}, counted in {took:.1f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
