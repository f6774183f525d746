"""What nengo-loihi says of two layers: blocks as JSON. It runs in a Python that has nengo-loihi.

    python _nengo_blocks.py '{"senders": [4, 8, 8], "targets": [8, 3, 6]}'

256 neurons in four channels of 8x8, a convolution to eight channels of 6x6, ten neurons behind all
of those; `senders` and `targets` are the shapes of the first two layers' blocks.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys

import nengo
import nengo_loihi
import numpy as np

A, B, C = (4, 8, 8), (8, 6, 6), 10


def main() -> None:
    """Print the blocks."""
    asked = json.loads(sys.argv[1])
    with nengo.Network(seed=0) as net:
        nengo_loihi.add_params(net)
        kinds = net.config[nengo.Ensemble]
        kinds.neuron_type = nengo_loihi.neurons.LoihiLIF()
        kinds.gain, kinds.bias = nengo.dists.Choice([1.0]), nengo.dists.Choice([0.0])
        a, b, c = (nengo.Ensemble(int(np.prod(n)), 1) for n in (A, B, C))
        draw = nengo.dists.Uniform(-1, 1)
        conv = nengo.Convolution(B[0], A, channels_last=False, kernel_size=(3, 3), init=draw)
        link = nengo.Connection(a.neurons, b.neurons, transform=conv)
        net.config[link].pop_type = 32  # with pop16 1.1.0 has no such blocks
        nengo.Connection(b.neurons, c.neurons, transform=np.ones((C, int(np.prod(B)))))
        for layer, block, shape in ((a, asked["senders"], A), (b, asked["targets"], B)):
            net.config[layer].block_shape = nengo_loihi.BlockShape(tuple(block), shape)
    with contextlib.redirect_stdout(io.StringIO()), nengo_loihi.Simulator(net, target="sim") as sim:
        found = [
            {k: int(v[0]) for k, v in block.utilization().items()} for block in sim.model.blocks
        ]
    print(json.dumps(found))


if __name__ == "__main__":
    main()
