"""Memory of a run over tar shards of ImageNet-size JPEGs: flat, however many images there are.

    python benchmarks/stream.py [--images 1000,10000,50000] [--workers 2] [--keep FOLDER]

Ten shards of 100 images of 500x375 pixels are made once; more images are more names of the same
shards. The network is tiny, so that reading, resize and crop (256, then 224x224) are most of the
work. Every run is a process of its own; the figures are the peaks of resident memory that Linux
keeps (VmHWM), of the run into a folder, and after that of its summary.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

import numpy as np
from distributed import Client, LocalCluster
from PIL import Image
from rich.console import Console
from rich.table import Table

import seenn_deploy as sd
from seenn_deploy import ir

SHARDS, EACH = 10, 100


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", default="1000,10000,50000")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--keep", type=Path, help="folder for the shards, to use them again")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        folder, images, workers = options.one
        print(json.dumps(measured(Path(folder), int(images), int(workers))))
        return
    table = Table("images", "on", "run, MB", "a worker, MB", "summary, MB", "s", "images/s")
    with tempfile.TemporaryDirectory() as made:
        folder = options.keep or Path(made)
        make_shards(folder)
        for workers in (0, options.workers):
            for images in options.images.split(","):
                told = json.loads(own_process(folder, images, workers))
                table.add_row(
                    f"{int(images):,}", f"{workers} workers" if workers else "2 threads",
                    f"{told['run']:.0f}", f"{told['worker']:.0f}" if workers else "",
                    f"{told['summary']:.0f}", f"{told['s']:.0f}", f"{int(images) / told['s']:.0f}",
                )  # fmt: skip
                Console().print(table)


def own_process(folder: Path, images: str, workers: int) -> str:
    """Measure in a fresh process, whose peak is of this run alone."""
    command = [sys.executable, __file__, "--one", str(folder), images, str(workers)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stdout.splitlines()[-1]


def make_shards(folder: Path) -> None:
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    for k in range(SHARDS):
        path = folder / f"source-{k}.tar"
        if path.exists():
            continue
        with tarfile.open(path, "w") as archive:
            for i in range(EACH):
                # Smooth noise with fine noise above it: 64 kB, as a photograph may have.
                coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8))
                pixels = np.asarray(coarse.resize((500, 375))).astype(np.int16)
                pixels += rng.integers(-24, 25, pixels.shape, np.int16)
                file = io.BytesIO()
                Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=85)
                add(archive, f"{k}{i:03}.jpg", file.getvalue())
                add(archive, f"{k}{i:03}.cls", str(i % 10).encode())


def add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    archive.addfile(info, io.BytesIO(content))


def network() -> sd.Program:
    """Patches of 16x16 pixels, four neurons for each, ten classes."""
    rng = np.random.default_rng(0)
    patches = ir.Conv2d(rng.normal(0, 0.05, (4, 3, 16, 16)).astype(np.float32), stride=(16, 16))
    classes = ir.Dense(rng.normal(0, 0.1, (10, 784)).astype(np.float32))
    nodes = [
        ir.Source("image", (3, 224, 224), input_range=(0.0, 1.0)),
        ir.Population("patches", (4, 14, 14)),
        ir.Readout("classes", (10,)),
    ]
    edges = [
        ir.Projection("image", "patches", (patches,)),
        ir.Projection("patches", "classes", (classes,)),
    ]
    return sd.compile(ir.SpikingGraph(nodes, edges, 2), resize=256, crop=224)


def measured(folder: Path, images: int, workers: int) -> dict[str, float]:
    """Run so many images, and return peaks in MB and the seconds of the run."""
    program = network()
    with tempfile.TemporaryDirectory() as place:
        shards = Path(place) / "shards"
        shards.mkdir()
        for k in range(images // EACH):
            (shards / f"val-{k:04}.tar").symlink_to((folder / f"source-{k % SHARDS}.tar").resolve())
        found = {"worker": 0.0}
        start = time.perf_counter()
        if workers:
            with (
                LocalCluster(
                    n_workers=workers, threads_per_worker=1, dashboard_address=":0"
                ) as cluster,
                Client(cluster) as client,
            ):
                start = time.perf_counter()
                run = sd.simulate(program, shards, out=Path(place) / "run", client=client)
                found["worker"] = max(client.run(peak).values())
        else:
            run = sd.simulate(program, shards, out=Path(place) / "run", threads=2)
        found |= {"s": time.perf_counter() - start, "run": peak()}
        run.summary()
        return found | {"summary": peak()}


def peak() -> float:
    """The most resident memory that this process has had, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1e3 for line in lines if line.startswith("VmHWM"))


if __name__ == "__main__":
    main()
