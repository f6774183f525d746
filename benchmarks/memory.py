"""Peak memory by network size: importing with the self-check, compiling, simulating.

ResNet-19 of widths 1 to 8 on 32x32 images, and ResNet-34 on 224x224 images with 1,000 classes,
random weights, T = 4. Each network has a process of its own; the peak of a step is the most
resident memory while it runs, all of Python and PyTorch included, which `start` tells alone. The
last column is what `simulate` foretells of its own share before it begins. Linux only.

    python benchmarks/memory.py [--images 8]
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

NETWORKS = [("resnet19", width, 32, 10) for width in (1, 2, 4, 8)] + [("resnet34", 8, 224, 1000)]
STATUS = Path("/proc/self/status")


def resident(name: str) -> float:
    """A line of the process's status, in MiB: VmRSS is what it holds, VmHWM the most it held."""
    lines = STATUS.read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{name}:"))


def forget_peak() -> None:
    """Begin anew: what was freed goes back to the system, and the peak is what is held now."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    STATUS.with_name("clear_refs").write_text("5")


def step(work: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    """The result of one step, with its seconds and its peak in MiB."""
    forget_peak()
    start = time.perf_counter()
    result = work()
    return result, {"seconds": time.perf_counter() - start, "peak": resident("VmHWM")}


def one(model: str, width: float, size: int, classes: int, images: int) -> dict[str, Any]:
    """Figures of one network, taken in this process."""
    import torch

    import seenn_deploy as sd
    from seenn_deploy.simulator import memory
    from seenn_deploy.training.models import build

    torch.manual_seed(0)
    # The public widths are factors on the paper's channels; its ResNets are "width 8" here.
    net = build(model, classes, 3, width / 8, 4, size).eval()
    samples = torch.rand(images, 3, size, size)
    forget_peak()
    found: dict[str, Any] = {"start": resident("VmRSS")}
    found["parameters"] = sum(p.numel() for p in net.parameters())
    graph, found["import"] = step(lambda: sd.import_model(net, samples[:1]))
    program, found["compile"] = step(lambda: sd.compile(graph, sd.exits.Fixed()))
    array = samples.numpy()
    found["neurons"] = sum(int(np.prod(node.shape)) for node in graph.populations)
    found["forecast"] = memory.forecast(program, memory.Extent(images, 2)).total / 2**20
    before = resident("VmRSS")
    _, found["simulate"] = step(lambda: sd.simulate(program, array, threads=2))
    found["own"] = found["simulate"]["peak"] - before
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, default=8, help="images to simulate")
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        model, width, size, classes = args.one
        print(json.dumps(one(model, float(width), int(size), int(classes), args.images)))
        return
    table = Table(title=f"peak MiB (seconds); {args.images} images, 2 threads", box=None)
    for heading in ("network", "parameters", "neurons", "start", "import", "compile", "simulate",
                    "its own", "foretold"):  # fmt: skip
        table.add_column(heading, justify="left" if heading == "network" else "right")
    for network in NETWORKS:
        given = [sys.executable, __file__, "--images", str(args.images), "--one"]
        out = subprocess.run([*given, *map(str, network)], check=True, capture_output=True)
        found = json.loads(out.stdout.splitlines()[-1])
        steps = (found[name] for name in ("import", "compile", "simulate"))
        table.add_row(
            f"{network[0]}, width {network[1]}, {network[2]}x{network[2]}",
            f"{found['parameters'] / 1e6:.2f} M", f"{found['neurons'] / 1e6:.2f} M",
            f"{found['start']:.0f}", *(f"{s['peak']:.0f} ({s['seconds']:.1f})" for s in steps),
            f"{found['own']:.0f}", f"{found['forecast']:.0f}",
        )  # fmt: skip
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
