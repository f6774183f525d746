"""A spiking transformer: images per second of the simulator and of PyTorch, all timesteps.

SpikingJelly's Spikformer-4-256 (4 blocks, 256 channels, 8 heads) on 32x32 images, T = 4, random
weights. Batch norms are calibrated on the images so that neurons fire about as often as in the
trained network in examples/ (15 to 18 %); densities are printed. PyTorch runs SpikingJelly's module
in float32 and bfloat16 at batch 1, 16 and 64, with `--compiled` by ``torch.compile`` as well, and
counts nothing; the simulator counts everything. 2 threads for everyone; rounds are paired, medians
of their ratios are printed.

    make bench-tools && python benchmarks/transformer.py [--images 64] [--rounds 3]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from spikingjelly.activation_based import functional
from spikingjelly.activation_based.model.spikformer import Spikformer

import seenn_deploy as sd
from seenn_deploy.training.data import load

DATA = Path(__file__).resolve().parents[1] / "examples" / "cifar10_200.npz"
T, CURRENT = 4, 2.0  # CURRENT: standard deviation of currents, in thresholds
BATCHES = (1, 16, 64)


def network(images: torch.Tensor) -> Spikformer:
    """Random weights, with batch norms that fit the images."""
    torch.manual_seed(0)
    net = Spikformer(
        T=T, img_size_h=32, img_size_w=32, patch_size=4, num_classes=10, embed_dims=256,
        num_heads=8, depths=4,
    )  # fmt: skip
    for part in net.modules():
        if isinstance(part, torch.nn.modules.batchnorm._BatchNorm):
            part.momentum = None
            torch.nn.init.constant_(part.weight, CURRENT)
    with torch.no_grad():
        net.train()(images)
    functional.reset_net(net)
    return net.eval().requires_grad_(False)


def peer(
    images: torch.Tensor, kind: torch.dtype, compiled: bool, batch: int
) -> Callable[[], np.ndarray]:
    """Return the function that gives the logits of every image, summed over timesteps."""
    net = network(images[:16]).to(kind)
    call = torch.compile(net, dynamic=False) if compiled else net
    inputs = images.to(kind)

    def run() -> np.ndarray:
        parts = []
        with torch.inference_mode():
            for part in inputs.split(batch):
                functional.reset_net(net)
                parts.append(call(part).float().sum(0))
        return torch.cat(parts).numpy()

    return run


def seconds(function: Callable[[], object]) -> float:
    """Time of one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--compiled", action="store_true", help="PyTorch compiled, too: minutes")
    args = parser.parse_args()
    torch.set_num_threads(2)
    torch._dynamo.config.recompile_limit = 64
    images = load(DATA, T).samples[: args.images].float() / 255
    graph = sd.import_model(network(images[:16]), images[:1], T=T)
    programs = {p: sd.compile(graph, sd.exits.Fixed(), precision=p) for p in ("float32", "int8")}
    array = images.numpy()
    calls: dict[str, Callable[[], Any]] = {
        f"simulator, {name}": lambda p=p: sd.simulate(p, array) for name, p in programs.items()
    }
    ways = (False, True) if args.compiled else (False,)
    for compiled, kind, batch in product(ways, (torch.float32, torch.bfloat16), BATCHES):
        name = f"PyTorch, {str(kind).removeprefix('torch.')}{', compiled' * compiled}, {batch}"
        if len(images) % batch == 0:
            calls[name] = peer(images, kind, compiled, batch)
    results = {name: call() for name, call in calls.items()}  # everything is compiled now
    run = results["simulator, float32"]
    times = {name: [0.0] * args.rounds for name in calls}
    for number in range(args.rounds):
        for name, call in calls.items():
            times[name][number] = seconds(call)
    table = Table(title=f"Spikformer-4-256, T = {T}, {len(images)} images, 2 threads", box=None)
    for heading in ("", "images / s", "time / simulator's", "other classes"):
        table.add_column(heading, justify="right" if heading else "left")
    ours, classes = np.array(times["simulator, float32"]), run.logits[:, -1].argmax(1)
    for name, measured in times.items():
        found = results[name]
        theirs = found if isinstance(found, np.ndarray) else found.logits[:, -1]
        table.add_row(
            name, f"{len(images) / np.median(measured):.1f}",
            f"{np.median(np.array(measured) / ours):.2f}",
            str(np.count_nonzero(theirs.argmax(1) != classes)),
        )  # fmt: skip
    Console(width=100).print(table)
    describe(programs["float32"], run)


def describe(program: sd.Program, run: sd.RunResult) -> None:
    """Densities by kind of layer, and operations."""
    rates: dict[str, list[float]] = {}
    for number, layer in enumerate(program.graph.layers[:-1]):
        size = np.prod(layer.shape) * T * len(run.exit_step)
        rates.setdefault(layer.kind, []).append(run.counts.spikes[:, number].sum() / size)
    for kind, found in rates.items():
        print(f"density of {kind}s, %: " + " ".join(f"{100 * rate:.0f}" for rate in found))
    ac, mac = (count.sum() / len(run.exit_step) / 1e6 for count in (run.counts.ac, run.counts.mac))
    print(f"per image: {ac:.0f} M accumulates, {mac:.0f} M multiply-accumulates")


if __name__ == "__main__":
    main()
