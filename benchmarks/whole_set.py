"""A whole test set: peak memory of the run, and the time of the sweep after it.

python benchmarks/whole_set.py [cifar10/test.npz]
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

import seenn_deploy as sd
from seenn_deploy.ir.inputs import for_program

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "seenn_resnet19_w1_T4_c10.pth"
RULES = ("confidence", "entropy", "margin", "conformal")


def peak_mib() -> float:
    """Largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", nargs="?", type=Path, default=EXAMPLE.with_name("cifar10_200.npz"))
    data = parser.parse_args().data
    program = sd.compile(sd.import_model(EXAMPLE, T=4), sd.exits.Fixed())
    before, start = peak_mib(), time.perf_counter()
    images = for_program(program, data)
    run = sd.simulate(program, images, full_trace=True)
    simulated, peak = time.perf_counter() - start, peak_mib()
    start = time.perf_counter()
    report = sd.sweep(run, program, RULES, candidates=1000)
    swept = time.perf_counter() - start
    points = sum(len(curve.threshold) for curve in report.curves.values())
    table = Table(title=f"{len(images):,} images, width-1 ResNet-19, full trace to T = 4", box=None)
    for name in ("", "value"):
        table.add_column(name)
    table.add_row("simulation", f"{simulated:.1f} s, {len(images) / simulated:.0f} images / s")
    table.add_row("peak memory before, after", f"{before:.0f}, {peak:.0f} MiB")
    table.add_row("sweep", f"{swept:.2f} s for {points:,} operating points of {len(RULES)} rules")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
