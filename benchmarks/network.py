"""A whole network: images per second of the simulator and of PyTorch, same images, same exits.

ResNet-19 of width 8 (128-256-512 channels, random weights, batch-norm statistics calibrated on the
images) and the trained width-1 checkpoint, T = 4, both cores for everyone. PyTorch runs step by
step in float32 and bfloat16, each as it is and compiled by ``torch.compile``, at batch 1, 16 and
64; batch norms are folded into the convolutions and tensors have channels last. At batch 1 it stops
at a sample's exit, in a batch when the last of its samples exits, and it counts nothing. The
simulator counts everything. Rounds are paired; the median of their ratios is printed.

    python benchmarks/network.py [--data cifar10/test.npz] [--rounds 3]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import seenn_deploy as sd  # noqa: E402
from benchmarks import _seenn_torch  # noqa: E402
from seenn_deploy.ir.inputs import for_program  # noqa: E402

EXAMPLE = ROOT / "examples" / "seenn_resnet19_w1_T4_c10.pth"
ALPHA, T = 0.9, 4
BATCHES = (1, 16, 64)


def seconds(function: Callable[[], object]) -> float:
    """Time of one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def normalized(images: np.ndarray) -> torch.Tensor:
    """As the torch network takes them."""
    mean, std = (
        torch.tensor(v)[:, None, None]
        for v in (_seenn_torch.CIFAR10_MEAN, _seenn_torch.CIFAR10_STD)
    )
    return (torch.from_numpy(images) - mean) / std


def random_network(width: int, images: np.ndarray, path: Path) -> None:
    """A checkpoint of 16, 32 and 64 times `width` channels, whose batch norms fit the images."""
    torch.manual_seed(0)
    net = _seenn_torch.ResNet19((16 * width, 32 * width, 64 * width), 10, 1)
    for name, parameter in net.named_parameters():
        if name.endswith("bn2.weight"):  # the shortcut adds its spikes to this current
            torch.nn.init.constant_(parameter, 0.8)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():
        net.train()(normalized(images))
    torch.save({_seenn_name(k): v for k, v in net.state_dict().items()}, path)


def _seenn_name(key: str) -> str:
    """A tensor's name in SEENN's state_dict; the opposite of ``_seenn_torch.load``."""
    parts = key.split(".")
    if parts[0] == "blocks":
        number = int(parts[1])
        stage, block = next((s + 1, number - f) for s, f in ((2, 6), (1, 3), (0, 0)) if number >= f)
        head, parts = f"layer{stage}.{block}.", parts[2:]
    else:
        head = ""
    if parts[0] == "conv1" and not head:
        return key
    if parts[0] == "downsample":
        inner = "bn." if parts[1] == "2" else "module."
        return f"{head}downsample.{parts[1]}.{inner}{parts[2]}"
    inner = "bn." if parts[0].startswith("bn") else "module."
    return f"{head}{parts[0]}.{inner}{parts[1]}"


@dataclass(frozen=True)
class Peer:
    """One way of running the network in PyTorch."""

    kind: torch.dtype
    compiled: bool
    batch: int

    def __str__(self) -> str:
        kind = str(self.kind).removeprefix("torch.")
        return f"PyTorch, {kind}{', compiled' * self.compiled}, batch {self.batch}"

    def prepare(self, net: _seenn_torch.ResNet19, x: torch.Tensor) -> Callable[[], np.ndarray]:
        """Return the function that gives the exit step of every image."""
        fused = _seenn_torch.fused(net).to(self.kind, memory_format=torch.channels_last)
        inputs = x.to(self.kind, memory_format=torch.channels_last)
        # One graph for the first step, whose potentials are None, and one for the others.
        step = torch.compile(fused.step, dynamic=False) if self.compiled else fused.step
        return lambda: torch_exits(fused, step, inputs, self.batch)


PEERS = tuple(Peer(*p) for p in product((torch.float32, torch.bfloat16), (False, True), BATCHES))


def torch_exits(
    net: _seenn_torch.ResNet19, step: Callable[..., torch.Tensor], x: torch.Tensor, batch: int
) -> np.ndarray:
    """Exit step of every image; a batch goes on until its last sample has stopped."""
    exits = np.zeros(len(x), np.int64)
    with torch.inference_mode():
        for start in range(0, len(x), batch):
            part = x[start : start + batch]
            net.reset()
            z = torch.zeros(len(part), 10)
            mine = exits[start : start + batch]
            for t in range(1, T + 1):
                z = z + step(part).float()
                stops = (z.softmax(1).max(1).values > ALPHA).numpy() | (t == T)
                mine[(mine == 0) & stops] = t
                if mine.all():
                    break
    return exits


def compare(name: str, path: Path, images: np.ndarray, rounds: int, table: Table) -> None:
    """Rows of one network."""
    net, x = _seenn_torch.load(path, T), normalized(images)
    graph = sd.import_model(path, T=T)
    program = sd.compile(graph, sd.exits.Confidence(ALPHA))
    integer = sd.compile(graph, sd.exits.Confidence(ALPHA), precision="int8")
    calls: dict[str, Callable[[], Any]] = {
        "simulator, float32": lambda: sd.simulate(program, images),
        "simulator, int8": lambda: sd.simulate(integer, images),
        # Parts of another size would be compiled once more.
        **{str(p): p.prepare(net, x) for p in PEERS if len(x) % p.batch == 0},
    }
    found = {label: call() for label, call in calls.items()}  # everything is compiled now
    run = found["simulator, float32"]
    times = {label: [0.0] * rounds for label in calls}
    for round_ in range(rounds):
        for label, call in calls.items():
            times[label][round_] = seconds(call)
    ours = np.array(times["simulator, float32"])
    for label, measured in times.items():
        ratio = float(np.median(np.array(measured) / ours))
        exits = found[label]
        other = np.count_nonzero(exits != run.exit_step) if isinstance(exits, np.ndarray) else ""
        table.add_row(
            name, label, f"{len(x) / np.median(measured):.1f}", f"{ratio:.2f}", str(other)
        )
        name = ""
    describe(program, run)


def describe(program: sd.Program, run: sd.RunResult) -> None:
    """Firing rates, accumulates and exits."""
    sizes = np.array([np.prod(layer.shape) for layer in program.graph.layers])
    steps = run.exit_step.sum()
    rates = run.counts.spikes.sum(axis=(0, 2)) / (sizes * steps)
    rates_text = " ".join(f"{100 * r:.0f}" for r in rates[:-1])
    ac = run.counts.ac.sum() / len(run.exit_step)
    print(
        f"   firing rates %: {rates_text}\n   {ac / 1e6:.1f} M accumulates and "
        f"{run.exit_step.mean():.2f} steps per image"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=ROOT / "examples" / "cifar10_200.npz")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--wide", type=int, default=64, help="images for width 8")
    parser.add_argument("--narrow", type=int, default=192, help="images for width 1")
    args = parser.parse_args()
    torch.set_num_threads(2)
    torch._dynamo.config.recompile_limit = 4 * len(PEERS)  # every way compiles the same method
    program = sd.compile(sd.import_model(EXAMPLE, T=T), sd.exits.Fixed())
    images = for_program(program, args.data).take(0, max(args.wide, args.narrow))
    title = f"T = {T}, confidence {ALPHA}, 2 threads, median of {args.rounds} paired rounds"
    table = Table(title=title, box=None)
    for heading in ("network", "", "images / s", "time / simulator's", "other exits"):
        table.add_column(heading, justify="left" if heading in ("network", "") else "right")
    with tempfile.TemporaryDirectory() as folder:
        wide = Path(folder) / "width8.pth"
        random_network(8, images[: args.wide], wide)
        print("ResNet-19, width 8")
        compare("ResNet-19, width 8, random", wide, images[: args.wide], args.rounds, table)
    print("ResNet-19, width 1")
    compare("ResNet-19, width 1, trained", EXAMPLE, images[: args.narrow], args.rounds, table)
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
