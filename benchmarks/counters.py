"""One network, one set of images, three counters: NeuroBench, SpikingJelly and the exact counts.

The trained width-1 ResNet-19 of examples/ runs all T steps on CIFAR-10 images, as a plain torch
module for the two tools and as a program for us. Each tool counts for itself; every reason for a
difference is then computed apart, from the tensors that the torch module saw, and what no reason
explains is printed. Times are medians of paired rounds, all on the same number of threads.

    make bench-tools    # into .venv: the bench extra, and SpikingJelly without its dependencies
    python benchmarks/counters.py [--images 100] [--rounds 3] [--batch 50]
"""

from __future__ import annotations

import argparse
import os
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import _seenn_torch
import numpy as np
import torch
from _seenn_torch import Block, Lif, ResNet19
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional

import seenn_deploy as sd
from seenn_deploy.ir.program import Program

EXAMPLES = Path(__file__).parents[1] / "examples"
CHECKPOINT = EXAMPLES / "seenn_resnet19_w1_T4_c10.pth"
T = 4
THREADS = len(os.sched_getaffinity(0))


@dataclass(frozen=True)
class Count:
    """Operations of all images together."""

    ac: float
    mac: float

    def __sub__(self, other: Count) -> Count:
        return Count(self.ac - other.ac, self.mac - other.mac)


# --- the counters ------------------------------------------------------------------------------


def ours(program: Program, images: Tensor) -> Count:
    """Exact counts."""
    counts = sd.simulate(program, images.numpy()).charged
    return Count(int(counts.ac.sum()), int(counts.mac.sum()))


def neurobench(net: nn.Module, images: Tensor, batch: int) -> Count:
    """NeuroBench's effective synaptic operations."""
    found = synaptic_operations(net, images, batch)
    return Count(found["Effective_ACs"], found["Effective_MACs"])


def synaptic_operations(net: nn.Module, images: Tensor, batch: int) -> dict[str, int]:
    """NeuroBench's workload metric, which gives means over images, for all images together."""
    from neurobench.benchmarks import Benchmark
    from neurobench.metrics.workload import SynapticOperations
    from neurobench.models import TorchModel
    from torch.utils.data import DataLoader, TensorDataset

    data = DataLoader(TensorDataset(images, torch.zeros(len(images))), batch_size=batch)
    bench = Benchmark(TorchModel(net), data, [], [], [[], [SynapticOperations]])
    try:
        found = bench.run(quiet=True)["SynapticOperations"]
    finally:
        bench.workload_metric_manager.cleanup_hooks(bench.model)
    return {name: round(value * len(images)) for name, value in found.items()}


def spikingjelly(net: ResNet19, images: Tensor, batch: int) -> Count:
    """SpikingJelly's AC and MAC counters, which exclude each other."""
    from spikingjelly.activation_based.op_counter import (
        ACCounter,
        DispatchCounterMode,
        MACCounter,
    )

    ac, mac = ACCounter(), MACCounter()
    with DispatchCounterMode([ac, mac]):
        for start in range(0, len(images), batch):
            net(images[start : start + batch])
    return Count(ac.get_total(), mac.get_total())


def spikingjelly_synops(net: ResNet19, images: Tensor, batch: int) -> Count:
    """SpikingJelly's counter of synaptic operations, convolutions and products alone."""
    from spikingjelly.activation_based.op_counter import DispatchCounterMode, SynOpCounter

    synops = SynOpCounter()
    with DispatchCounterMode([synops]):
        for start in range(0, len(images), batch):
            net(images[start : start + batch])
    return Count(synops.get_total(), 0)


TOOLS: dict[str, Callable[[ResNet19, Tensor, int], Count]] = {
    "NeuroBench 2.3.0": neurobench,
    "SpikingJelly 2.0.0 AC, MAC": spikingjelly,
    "SpikingJelly 2.0.0 SynOp": spikingjelly_synops,
}


# --- what the torch module saw -----------------------------------------------------------------


def observe(net: ResNet19, images: Tensor, batch: int) -> Counter[str]:
    """Totals over all images and steps from which every reason is computed."""
    seen: Counter[str] = Counter()
    hooks = [
        module.register_forward_hook(lambda m, x, y, name=name: _note(seen, name, m, x[0], y))
        for name, module in net.named_modules()
    ]
    for start in range(0, len(images), batch):
        net(images[start : start + batch])
    for hook in hooks:
        hook.remove()
    seen["folded events"] += seen["spikes into the last pool"] * net.fc1.out_features
    return seen


def _note(seen: Counter[str], name: str, module: nn.Module, x: Tensor, y: Tensor) -> None:
    if isinstance(module, nn.Conv2d | nn.Linear):
        where = "layer 1" if name == "conv1" else "pooled" if _behind_pool(name) else "spiking"
        seen[f"{where} events"] += events(module, x)
        seen[f"{where} ones"] += events(module, x == 1)
        seen[f"{where} existing"] += events(module, torch.ones_like(x))
        seen[f"{where} dense"] += y.numel() * module.weight[0].numel()
        seen["logits"] += y.numel() if isinstance(module, nn.Linear) else 0
    elif isinstance(module, nn.BatchNorm2d):
        seen["norm elements"] += x.numel()
        seen["norm channels"] += x.shape[1]
    elif isinstance(module, nn.AvgPool2d | nn.AdaptiveAvgPool2d):
        seen["pool adds"] += x.numel() - y.numel()
        if isinstance(module, nn.AdaptiveAvgPool2d):
            seen["spikes into the last pool"] += int(x.count_nonzero())
    elif isinstance(module, Lif):
        seen["neurons"] += y.numel()
    elif isinstance(module, Block):
        seen["residual elements"] += y.numel()
        spikes = int(x.count_nonzero())
        if module.downsample is None:
            seen["identity events"] += spikes
        else:
            seen["folded events"] += spikes * y.shape[1]


def _behind_pool(name: str) -> bool:
    return "downsample" in name or name == "fc1"


def events(layer: nn.Conv2d | nn.Linear, x: Tensor) -> int:
    """Nonzero inputs times the synapses that each meets, in float64: exact."""
    nonzero = (x != 0).double()
    if isinstance(layer, nn.Linear):
        return int(nonzero.sum()) * layer.out_features
    ones = torch.ones(1, *layer.weight.shape[1:], dtype=torch.float64)
    met = functional.conv2d(nonzero, ones, None, layer.stride, layer.padding)
    return int(met.sum()) * layer.out_channels


def spike_driven(seen: Counter[str]) -> int:
    """Exact ACs of the spikes that torch computed."""
    return seen["spiking events"] + seen["folded events"] + seen["identity events"]


# --- reasons -----------------------------------------------------------------------------------


def common_reasons(seen: Counter[str], exact: Count) -> dict[str, Count]:
    """What holds for both tools."""
    on_torch = Count(spike_driven(seen), seen["layer 1 events"] // T)
    return {
        "other spikes: torch rounds otherwise in batches": on_torch - exact,
        "spikes into folded pools: ACs for us": Count(-seen["folded events"], 0),
        "spikes into identity shortcuts: ACs for us": Count(-seen["identity events"], 0),
    }


def neurobench_reasons(seen: Counter[str]) -> dict[str, Count]:
    """Synapse layers alone, element by element, the kind chosen by the whole tensor."""
    repeated = seen["layer 1 events"] - seen["layer 1 events"] // T
    graded = seen["pooled events"] - seen["pooled ones"]
    return {
        f"layer 1 counted at each of {T} steps, exact: once": Count(0, repeated),
        "averages behind pools are graded: MACs": Count(0, graded),
        ".. and so are averages of 1, by their tensor": Count(0, seen["pooled ones"]),
    }


def spikingjelly_reasons(seen: Counter[str]) -> dict[str, Count]:
    """Every torch operator; an input with one graded value is a dense product."""
    padding = seen["layer 1 dense"] - seen["layer 1 existing"]
    zeros = seen["layer 1 existing"] - seen["layer 1 events"]
    empty = seen["pooled dense"] - seen["pooled events"]
    norm = seen["norm elements"]
    return neurobench_reasons(seen) | {
        ".. and zero averages count too": Count(0, empty),
        "layer 1: padding counted as synapses": Count(0, padding),
        "layer 1: zero pixels counted": Count(0, zeros),
        "batch norm: one MAC, one AC per element": Count(norm, norm),
        "batch norm: one AC per channel and call": Count(seen["norm channels"], 0),
        "residual add: one AC per neuron": Count(seen["residual elements"], 0),
        "LIF: one AC per neuron (v/2 + current)": Count(seen["neurons"], 0),
        "average pools: adds of a window": Count(seen["pool adds"], 0),
        "logits summed over steps": Count(seen["logits"] * (T - 1) // T, 0),
    }


def synop_reasons(seen: Counter[str]) -> dict[str, Count]:
    """Products with a binary input alone: inputs behind pools are no more counted than pixels."""
    return {"layer 1: an analog input counts nothing": Count(0, -seen["layer 1 events"] // T)}


REASONS = dict(zip(TOOLS, (neurobench_reasons, spikingjelly_reasons, synop_reasons), strict=True))


# --- tables ------------------------------------------------------------------------------------


def counts_table(found: dict[str, Count], ms: dict[str, list[float]], n: int, batch: int) -> Table:
    """Tool, counts, difference to the exact ones, time."""
    table = Table(title=f"per image, T = {T}, {THREADS} threads", title_justify="left")
    for name in ("counter", "ACs", "MACs", "ACs off by", "MACs off by"):
        table.add_column(name, justify="left" if name == "counter" else "right")
    for size in (1, batch):
        table.add_column(f"ms, batch {size}", justify="right")
        table.add_column("ours faster", justify="right")
    exact = found["exact (seenn-deploy)"]
    for tool, count in found.items():
        pairs = (count.ac, exact.ac), (count.mac, exact.mac)
        off = [f"{100 * (a / b - 1):+.1f} %" for a, b in pairs]
        times: list[str] = []
        for size in (1, batch):
            key = f"{tool} {size}"
            ratio = median(t / o for t, o in zip(ms[key], ms["ours"], strict=True))
            times += [f"{median(ms[key]):.2f}", f"{ratio:.1f}x"]
        table.add_row(tool, f"{count.ac / n:,.0f}", f"{count.mac / n:,.0f}", *off, *times)
    return table


def reasons_table(tool: str, reasons: dict[str, Count], difference: Count, n: int) -> Table:
    """What explains the difference to the exact counts, and what is left."""
    table = Table(title=f"{tool}: why it differs, operations per image", title_justify="left")
    table.add_column("reason", no_wrap=True)
    table.add_column("ACs", justify="right")
    table.add_column("MACs", justify="right")
    for text, count in reasons.items():
        table.add_row(text, f"{count.ac / n:+,.2f}", f"{count.mac / n:+,.2f}")
    explained = Count(sum(c.ac for c in reasons.values()), sum(c.mac for c in reasons.values()))
    left = difference - explained
    table.add_row("all reasons", f"{explained.ac / n:+,.2f}", f"{explained.mac / n:+,.2f}")
    table.add_row("measured", f"{difference.ac / n:+,.2f}", f"{difference.mac / n:+,.2f}")
    table.add_row("unexplained", f"{left.ac / n:+,.2f}", f"{left.mac / n:+,.2f}", style="bold")
    return table


def rounding_line(seen: Counter[str], alone: Counter[str], exact: Count, n: int, batch: int) -> str:
    """How far spikes differ between torch and us, and between torch and itself."""
    ours_off = abs(exact.ac - spike_driven(seen)) / n
    torch_off = abs(spike_driven(alone) - spike_driven(seen)) / n
    return (
        f"Spikes differ by rounding: {ours_off:,.0f} ACs per image between torch and us, "
        f"{torch_off:,.0f} between torch at batch 1 and torch at batch {batch}.\n"
    )


def milliseconds(function: Callable[[], object], images: int) -> float:
    """Time of one call, per image."""
    start = time.perf_counter()
    function()
    return 1e3 * (time.perf_counter() - start) / images


def measure(
    net: ResNet19, program: Program, images: Tensor, batch: int, rounds: int
) -> dict[str, list[float]]:
    """Milliseconds per image, a list of rounds for us and for each tool and batch size."""
    ms: dict[str, list[float]] = {"ours": []}
    for _ in range(rounds):
        ms["ours"].append(milliseconds(lambda: ours(program, images), len(images)))
        for size in (1, batch):
            ms.setdefault(f"exact (seenn-deploy) {size}", []).append(ms["ours"][-1])
            for tool, count in TOOLS.items():
                call = milliseconds(lambda c=count, s=size: c(net, images, s), len(images))
                ms.setdefault(f"{tool} {size}", []).append(call)
    return ms


def read_images(n: int) -> Tensor:
    """Normalised images (n, 3, 32, 32)."""
    with np.load(EXAMPLES / "cifar10_200.npz") as stored:
        x = stored["x"][:n].astype(np.float32) / 255
    x = (x - np.float32(_seenn_torch.CIFAR10_MEAN)) / np.float32(_seenn_torch.CIFAR10_STD)
    return torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=50)
    args = parser.parse_args()
    torch.set_num_threads(THREADS)
    console, images = Console(width=140), read_images(args.images)
    net = _seenn_torch.load(CHECKPOINT, T)
    program = sd.compile(sd.import_model(CHECKPOINT, T=T, normalize=False), sd.exits.Fixed())
    exact = ours(program, images)
    found = {tool: count(net, images, args.batch) for tool, count in TOOLS.items()}
    ms = measure(net, program, images, args.batch, args.rounds)
    n = len(images)
    console.print(counts_table({"exact (seenn-deploy)": exact} | found, ms, n, args.batch))
    seen = observe(net, images, args.batch)
    console.print(rounding_line(seen, observe(net, images, 1), exact, n, args.batch))
    for tool, count in found.items():
        reasons = common_reasons(seen, exact) | REASONS[tool](seen)
        console.print(reasons_table(tool, reasons, count - exact, n))


if __name__ == "__main__":
    main()
