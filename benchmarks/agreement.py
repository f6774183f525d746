"""How well the simulator agrees with PyTorch: logits, predictions, exits, every spike.

    python benchmarks/agreement.py                               # the 200 shipped images
    python benchmarks/agreement.py cifar10 1000   # test images of a CIFAR-10 folder

The reference is a step-by-step torch forward written from the equations (tests/reference.py). A
neuron that float32 rounding puts on the other side of its threshold is a tie; each one is proven
in float64 and counted (tests/agreement.py).
"""

from __future__ import annotations

import argparse
import io
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import track

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from seenn_deploy.compiler.pipeline import compile  # noqa: E402
from seenn_deploy.exits.confidence import Confidence  # noqa: E402
from seenn_deploy.frontends.import_model import import_model  # noqa: E402
from tests import reference  # noqa: E402
from tests.agreement import Agreement, compare  # noqa: E402

CHECKPOINT = ROOT / "examples" / "seenn_resnet19_w1_T4_c10.pth"
ALPHA = 0.9
BATCH = 25  # recorded spikes and float64 potentials of a batch are kept


def main() -> int:
    """Compare and print a table; 1 where a difference is not a proven tie."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("cifar10", nargs="?", type=Path, help="folder with test.npz")
    arguments.add_argument("samples", nargs="?", type=int, default=1000)
    given = arguments.parse_args()
    images = shipped() if given.cifar10 is None else cifar10(given.cifar10, given.samples)
    program = compile(import_model(CHECKPOINT, T=4), exit_rule=Confidence(ALPHA))
    state = reference.load(str(CHECKPOINT))
    found = Agreement()
    console = Console(stderr=True)
    for start in track(range(0, len(images), BATCH), "comparing", console=console, transient=True):
        batch = images[start : start + BATCH].transpose(0, 3, 1, 2).astype(np.float32)
        found.add(
            compare(
                program,
                reference.resnet,
                state,
                batch / np.float32(255),
                alpha=ALPHA,
                mean=reference.CIFAR10_MEAN,
                std=reference.CIFAR10_STD,
            )
        )
    print(f"{CHECKPOINT.name}, T = {program.T}, confidence {ALPHA}, against torch float32\n")
    print(found.table())
    return int(found.unproven > 0 or found.unexplained > 0 or found.worst_logit > 1e-3)


def shipped() -> np.ndarray:
    """The 200 images in examples/, uint8 (N, H, W, C)."""
    with np.load(ROOT / "examples" / "cifar10_200.npz") as data:
        return np.asarray(data["x"])


def cifar10(folder: Path, samples: int) -> np.ndarray:
    """The first test images of a folder of JPEGs in an npz."""
    with np.load(folder / "test.npz") as data:
        jpeg, offsets = data["jpeg"], data["offsets"]
    files = (jpeg[a:b].tobytes() for a, b in pairwise(offsets[: samples + 1]))
    return np.stack([np.asarray(Image.open(io.BytesIO(file))) for file in files])


if __name__ == "__main__":
    sys.exit(main())
