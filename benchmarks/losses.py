"""Training losses at equal cost: accuracy by t, and SEENN-I's steps, of one small network.

python benchmarks/losses.py train.npz test.npz [--epochs 8] [--seeds 1] [--losses tet,gap]

Images are shrunk to 16x16, and a ResNet-8 of full width with T = 4 is trained on the first of
them. A loss whose batch costs more gets fewer epochs: mixed passes 3 times, of which 2 are 5/8 as
long, and rcs computes potentials twice.
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import seenn_deploy as sd
from seenn_deploy.training import losses
from seenn_deploy.training.data import Normalization, load
from seenn_deploy.training.tasks import accumulated

T, SIZE = 4, 16
COST = {"mixed": 1 + 2 * (T + 1) / (2 * T), "rcs": 1.4}


def main() -> None:
    """Print a line for each loss."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("train", type=Path)
    parser.add_argument("test", type=Path)
    parser.add_argument("--epochs", type=float, default=8.0)
    parser.add_argument("--train-images", type=int, default=10_000)
    parser.add_argument("--test-images", type=int, default=5_000)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--losses", default=",".join(losses.names()))
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        train = shrunk(args.train, args.train_images, Path(folder, "train.npz"))
        test = shrunk(args.test, args.test_images, Path(folder, "test.npz"))
        for name in args.losses.split(","):
            for seed in range(args.seeds):
                found = trained(name, train, test, args.epochs, seed, Path(folder, f"{name}{seed}"))
                print(json.dumps(found), flush=True)


def shrunk(path: Path, limit: int, out: Path) -> Path:
    """Write the first images of a data set of JPEGs, at 16x16."""
    with np.load(path) as stored:
        edges = stored["offsets"][: limit + 1]
        files, y = stored["jpeg"][: edges[-1]], stored["labels"][:limit]
    pieces = (files[a:b].tobytes() for a, b in pairwise(edges))
    images = [Image.open(io.BytesIO(piece)).resize((SIZE, SIZE), Image.BOX) for piece in pieces]
    np.savez(out, x=np.stack([np.asarray(image) for image in images]), y=y)
    return out


def trained(
    name: str, train: Path, test: Path, epochs: float, seed: int, out: Path
) -> dict[str, object]:
    """Train with one loss; return accuracy by t, and SEENN-I's at confidences."""
    network = sd.training.Architecture("resnet8", width=1.0, T=T)
    passes = max(1, round(epochs / COST.get(name, 1.0)))
    recipe = sd.training.Recipe(epochs=passes, batch_size=100, lr=0.1, seed=seed, warmup=0.05)
    started = time.process_time()
    sd.training.train_snn(train, out, network, recipe, loss=name)
    seconds = time.process_time() - started
    held_out = load(test, T)
    net = network.build(held_out.kind, held_out.classes, seed)
    net.load_state_dict(torch.load(out / "model.pth", weights_only=True))
    norm = Normalization.of(held_out.kind)
    z = accumulated(net, lambda x: net(norm.apply(x)), held_out).numpy()
    y = held_out.labels.numpy()
    by_t = (z.argmax(axis=2) == y[:, None]).mean(axis=0)
    return {
        "loss": name, "seed": seed, "epochs": passes, "cpu_s": round(seconds),
        "accuracy_by_step": [round(100 * float(a), 2) for a in by_t],
        "seenn_1": early(z, y),
    }  # fmt: skip


def early(z: np.ndarray, y: np.ndarray) -> dict[str, object]:
    """Return the fewest mean steps with which confidence is as good as T, to 0.2 points."""
    full, found = (z[:, -1].argmax(axis=1) == y).mean(), None
    for alpha in 1 - np.logspace(0, -5, 101)[1:]:
        k = sd.exits.Confidence(float(alpha)).exit_steps(z)
        right = (z[np.arange(len(z)), k - 1].argmax(axis=1) == y).mean()
        if right >= full - 0.002 and (found is None or k.mean() < found["steps"]):
            found = {"steps": round(float(k.mean()), 3), "accuracy": round(100 * float(right), 2)}
    return found or {"steps": float(T), "accuracy": round(100 * float(full), 2)}


if __name__ == "__main__":
    main()
