"""What a policy network takes of a chip whose spikes carry values: a unit per operation.

Its results are whole numbers, which go from neuron to neuron as the values of graded spikes; the
image enters as biases, as it does in the spiking network. The factors of operations are part of
what their neurons compute. On a chip whose spikes carry no values, the host computes the policy.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from seenn_deploy._typing import Shape
from seenn_deploy.compiler.mapping.units import Link, Unit, pixels
from seenn_deploy.exits.policy_network.integer import IntegerOperation, IntegerPolicy
from seenn_deploy.ir.maps import Conv2d, Dense, Identity, Synapses


def policy_units(policy: IntegerPolicy) -> tuple[Unit, ...]:
    """List the operations of a policy network, which run before a sample's first timestep."""
    names = [f"policy{i}.{of.kind}" for i, of in enumerate(policy.operations, start=1)]
    found = []
    for number, operation in enumerate(policy.operations, start=1):
        shapes = [pixels(policy.shapes[i]) for i in operation.of]
        links = tuple(
            Link(names[i - 1], shape, _SYNAPSES[operation.kind](operation, shape))
            for i, shape in zip(operation.of, shapes, strict=True)
            if i  # 0 is the image
        )
        name = names[number - 1]
        found.append(Unit(name, name, pixels(policy.shapes[number]), links))
    return tuple(found)


def _conv2d(operation: IntegerOperation, _: Shape) -> Synapses:
    of = operation.options
    stride, padding = (of["stride"],) * 2, (of["padding"],) * 2
    return Conv2d(operation.arrays["weight"], stride, padding, (1, 1), of["groups"])


def _dense(operation: IntegerOperation, _: Shape) -> Synapses:
    return Dense(operation.arrays["weight"])


def _average(operation: IntegerOperation, shape: Shape) -> Synapses:
    channels, *size = shape
    window = operation.options["kernel"]
    kernel = (window, window) if window else (size[0], size[1])
    return Conv2d(np.ones((channels, 1, *kernel), np.int8), kernel, groups=channels)


def _one_to_one(_: IntegerOperation, __: Shape) -> Synapses:
    return Identity()


_SYNAPSES: dict[str, Callable[[IntegerOperation, Shape], Synapses]] = {
    "conv2d": _conv2d,
    "dense": _dense,
    "affine": _one_to_one,
    "add": _one_to_one,
    "average": _average,
}
