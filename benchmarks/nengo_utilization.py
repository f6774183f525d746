"""What a core's parts take: our placement beside nengo-loihi's `utilization()`.

    python -m venv /tmp/nengo && /tmp/nengo/bin/pip install "numpy<1.24" nengo nengo-loihi scipy
    python benchmarks/nengo_utilization.py --python /tmp/nengo/bin/python

The network is one that both can express: neurons, a convolution, and a dense layer. It is placed on
cores of loihi1, whole and cut; nengo-loihi gets the same boxes as its blocks.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import seenn_deploy as sd  # noqa: E402
from seenn_deploy import ir  # noqa: E402
from tests.targets.sanafe import networks  # noqa: E402

RESOURCES = {"compartments": "neurons", "in-axons": "input_axons", "out-axons": "output_axons",
             "synapses": "synapse_bits"}  # fmt: skip


def program() -> sd.Program:
    """The network of ``_nengo_blocks.py``, with an input that is none of it."""
    rng = np.random.default_rng(0)
    conv = ir.Conv2d(rng.integers(-100, 100, (8, 4, 3, 3)).astype(np.int8))
    dense = 2 * rng.integers(-50, 50, (10, 288)).astype(np.int16)
    nodes = [
        ir.Source("input", (4, 8, 8)),
        ir.Population("a", (4, 8, 8)),
        ir.Population("b", (8, 6, 6)),
        ir.Population("c", (10,)),
        ir.Readout("logits", (10,)),
    ]
    one = ir.Identity(np.asarray(64, np.int16))
    maps = (
        ("input", "a", one),
        ("a", "b", conv),
        ("b", "c", ir.Dense(dense)),
        ("c", "logits", one),
    )
    graph = ir.SpikingGraph(nodes, [ir.Projection(p, q, (m,)) for p, q, m in maps], 4)
    return networks.program(graph, sd.exits.Fixed(), "pipelined")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--python", help="a Python that has nengo-loihi; without it nothing is run")
    python = parser.parse_args().python
    if python is None:
        print("give --python, a Python that has nengo-loihi; see the head of this file")
        return
    table = Table(title="nengo-loihi, and placed here", box=None)
    for name in ("neurons, axons of a core", "block", *RESOURCES):
        table.add_column(name)
    for neurons, axons in ((1024, 4096), (1024, 100), (144, 4096), (144, 50)):
        with tempfile.TemporaryDirectory() as folder:
            chip = networks.small_chip(Path(folder), neurons, input_axons=axons)
            placement = sd.map_to_chip(program(), chip)
        tiles = {unit: [t for t in placement.tiles if t.unit == unit] for unit in "abc"}
        for name, block, tile in _blocks(python, tiles):
            pairs = [f"{block[k]:,}, {tile.takes(v):,}" for k, v in RESOURCES.items()]
            table.add_row(f"{neurons}, {axons}", f"{name}, axons of {tile.axons}s", *pairs)
    Console(width=140).print(table)


def _blocks(python: str, tiles: dict[str, list[Any]]) -> list[tuple[str, Any, Any]]:
    shapes = [[stop - first for first, stop in tiles[u][0].box.ranges] for u in "ab"]
    asked = {"senders": shapes[0], "targets": shapes[1]}
    script = str(Path(__file__).with_name("_nengo_blocks.py"))
    done = subprocess.run(
        [python, script, json.dumps(asked)], stdout=subprocess.PIPE, text=True, check=True
    )
    placed = [(unit, tile) for unit in "abc" for tile in tiles[unit]]
    return [(u, b, t) for (u, t), b in zip(placed, json.loads(done.stdout), strict=True)]


if __name__ == "__main__":
    main()
