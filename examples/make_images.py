"""Make ``cifar10_200.npz``: the first images of a file of encoded images, as plain pixels.

python examples/make_images.py SOURCE.npz [OUT.npz] [COUNT]

SOURCE holds `jpeg` (encoded images after one another), `offsets` (N + 1) and `labels` (N).
OUT gets `x` uint8 (COUNT, H, W, C) and `y` int64 (COUNT,).
"""

from __future__ import annotations

import io
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image


def main(
    source: str,
    out: str = str(Path(__file__).with_name("cifar10_200.npz")),
    count: str = "200",
) -> None:
    """Decode the first `count` images of `source` into `out`."""
    with np.load(source, allow_pickle=False) as stored:
        jpeg, offsets, labels = stored["jpeg"], stored["offsets"], stored["labels"][: int(count)]
    ends = offsets[: len(labels) + 1]
    files = [jpeg[i:j].tobytes() for i, j in pairwise(ends)]
    x = np.stack([np.asarray(Image.open(io.BytesIO(file)).convert("RGB")) for file in files])
    np.savez_compressed(out, x=x, y=labels.astype(np.int64))
    print(f"{out}: x {x.dtype} {x.shape}, y int64 {labels.shape}")


if __name__ == "__main__":
    if not 2 <= len(sys.argv) <= 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
