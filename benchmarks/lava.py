"""The integer simulator against Lava's CPU simulation: same program, same images, same spikes.

Lava's start-up (import, building, starting its processes) is left out; the simulator's time is that
of a second call, with compiled kernels. Every spike, potential and logit is compared as well.

    python benchmarks/lava.py [--images 4]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

import seenn_deploy as sd
from seenn_deploy.ir.inputs import for_program

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "seenn_resnet19_w1_T4_c10.pth"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, default=4)
    count = parser.parse_args().images
    program = sd.compile(sd.import_model(EXAMPLE, T=4), sd.exits.Fixed(), precision="int8")
    images = for_program(program, EXAMPLE.with_name("cifar10_200.npz")).take(0, count)
    many = np.repeat(images, max(1, 64 // count), axis=0)  # long enough to be timed
    with tempfile.TemporaryDirectory() as folder:
        program.save(Path(folder) / "build", targets=["lava"])
        start = time.perf_counter()
        one = sd.run(Path(folder) / "build", images[:1], full_trace=True)
        first = time.perf_counter() - start
        start = time.perf_counter()
        ran = sd.run(Path(folder) / "build", images, full_trace=True, record=True)
        whole = time.perf_counter() - start
    sd.simulate(program, images, record=True, full_trace=True)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        sd.simulate(program, many, full_trace=True)
        times.append((time.perf_counter() - start) / len(many))
    wanted = sd.simulate(program, images, record=True, full_trace=True)
    differ = sum(int(np.count_nonzero(wanted.spikes[k] != ran.spikes[k])) for k in wanted.spikes)
    lava = (whole - first) / (count - 1)  # what each further image costs
    table = Table(
        title=f"int8 ResNet-19 of width 1, {count} images, all {program.T} steps", box=None
    )
    for name in ("", "seconds an image", "spikes that differ"):
        table.add_column(name)
    table.add_row("Lava, fixed_pt, CPU", f"{lava:.3f}", "")
    table.add_row("simulator, 2 threads", f"{np.median(times):.5f}", str(differ))
    console = Console(width=100)
    console.print(table)
    steps = float(one.hardware_steps.mean())
    console.print(
        f"{lava / np.median(times):,.0f} times as fast; "
        f"start of Lava and its first image ({steps:.0f} hardware steps): {first:.1f} s"
    )


if __name__ == "__main__":
    main()
