"""The torch engine: images per second beside plain PyTorch on the same device, and beside kernels.

ResNet-19 of width 8 (128-256-512 channels, random weights calibrated on the images) and the trained
width-1 checkpoint, all T = 4 timesteps of every image. Plain PyTorch has its batch norms folded and
channels last, and counts nothing; on a GPU it also runs with TF32, which the engine may not use.
The counts of both engines in int8 have to be equal to the last operation. Rounds are paired.

    python benchmarks/torch_engine.py [--device cuda] [--images 2048] [--batch 256] [--rounds 3]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import seenn_deploy as sd  # noqa: E402
from benchmarks import _seenn_torch  # noqa: E402
from benchmarks.network import EXAMPLE, T, normalized, random_network, seconds  # noqa: E402
from seenn_deploy.ir.inputs import for_program  # noqa: E402

DATA = ROOT / "examples" / "cifar10_200.npz"


@torch.inference_mode()
def plain(net: _seenn_torch.ResNet19, x: torch.Tensor, batch: int, tf32: bool) -> np.ndarray:
    """Logits after T timesteps, nothing counted."""
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = tf32
    found = []
    for part in x.split(batch):
        net.reset()
        z = net.step(part)
        for _ in range(1, T):
            z = z + net.step(part)
        found.append(z.cpu().numpy())
    return np.concatenate(found)


def compare(path: Path, images: np.ndarray, args: argparse.Namespace, table: Table) -> None:
    """Rows of one network."""
    graph = sd.import_model(path, T=T)
    programs = {"float32": sd.compile(graph), "int8": sd.compile(graph, precision="int8")}
    device = {"device": args.device, "slots": args.batch}
    net = _seenn_torch.fused(_seenn_torch.load(path, T))
    net = net.to(args.device, memory_format=torch.channels_last)
    x = normalized(images).to(args.device, memory_format=torch.channels_last)
    calls: dict[str, Callable[[], object]] = {}
    for name, program in programs.items():
        run = partial(sd.simulate, program, images, full_trace=True, threads=args.threads)
        calls[f"torch engine, {name}"] = partial(run, **device)
        calls[f"kernels, {name}"] = run
    for tf32 in (False, True) if args.device.startswith("cuda") else (False,):
        calls[f"PyTorch, float32{', TF32' * tf32}"] = partial(plain, net, x, args.batch, tf32)
    found = {label: call() for label, call in calls.items()}  # everything is compiled now
    ours, theirs = found["torch engine, int8"], found["kernels, int8"]
    for (name, a), (_, b) in zip(ours.counts.items(), theirs.counts.items(), strict=True):
        assert np.array_equal(a, b), name
    times = {label: [] for label in calls}
    for _ in range(args.rounds):
        for label, call in calls.items():
            times[label].append(seconds(call))
    base = np.array(times["PyTorch, float32"])
    for label, measured in times.items():
        rate, ratio = len(images) / np.median(measured), np.median(np.array(measured) / base)
        table.add_row(path.stem, label, f"{rate:.1f}", f"{ratio:.2f}")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    gpu = torch.cuda.is_available()
    parser.add_argument("--device", default="cuda" if gpu else "cpu")
    parser.add_argument("--images", type=int, default=2048 if gpu else 64)
    parser.add_argument("--batch", type=int, default=256 if gpu else 32)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--data", type=Path, default=DATA)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    images = for_program(sd.compile(sd.import_model(EXAMPLE, T=T)), args.data)
    x = np.resize(images.take(0, len(images)), (args.images, 3, 32, 32))  # repeated, if few
    title = f"{args.device}, batch {args.batch}, T = {T}, {args.rounds} paired rounds"
    table = Table("network", "", "images / s", "time / PyTorch's", title=title, box=None)
    with tempfile.TemporaryDirectory() as folder:
        wide = Path(folder) / "width8.pth"
        random_network(8, x[:64], wide)
        compare(wide, x, args, table)
    compare(EXAMPLE, x, args, table)
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
