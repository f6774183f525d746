"""NIR's linear nodes: for each kind, the value that it makes of the value that it receives.

Each function takes the delays in timesteps, the node and a value. A value without terms asks for
the shape alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import TypeAlias

import numpy as np

from seenn_deploy._typing import Array, Pair, Shape
from seenn_deploy.errors import ModelError
from seenn_deploy.frontends.nir.values import Current, grid_of
from seenn_deploy.io.nir.file import NirNode, as_shape
from seenn_deploy.ir.maps import AvgPool2d, Conv2d, Dense

Steps: TypeAlias = Mapping[str, Array]


def fitting(values: Array, shape: Shape) -> Array:
    """Return a single number as it is, and anything else as one number per neuron."""
    return values.reshape(()) if values.size == 1 else np.asarray(np.broadcast_to(values, shape))


def finite(node: NirNode, name: str) -> Array:
    """Return a parameter that must be an array of finite numbers, as float32 or float64.

    Raises
    ------
    ModelError
        When it is anything else.
    """
    found = node.values.get(name)
    if not (
        isinstance(found, np.ndarray) and found.dtype.kind in "fiu" and np.all(np.isfinite(found))
    ):
        raise ModelError(f"{name} holds NaN, infinity or no numbers")
    # float32 weights stay as they are, bit for bit.
    return found if found.dtype == np.float32 else found.astype(np.float64)


def _matrix(_: Steps, node: NirNode, value: Current) -> Current:
    weight = finite(node, "weight")
    if weight.ndim != 2 or value.shape != weight.shape[1:]:
        hint = "; Flatten counts from 0, without the batch" if len(value.shape) > 1 else ""
        hint = "; leave the batch out of the Input" if value.shape[:-1] == (1,) else hint
        raise ModelError(f"weights {weight.shape} do not take shape {value.shape}{hint}")
    after = value.through(Dense(weight), weight.shape[:1])
    if node.kind == "Linear":
        return after
    bias = finite(node, "bias").ravel()
    if len(bias) != len(weight):
        raise ModelError(f"a bias of {len(bias)} for {len(weight)} neurons")
    return after.biased(bias)


def _scale(_: Steps, node: NirNode, value: Current) -> Current:
    """Multiply by one number, by one per channel, (C,) or (C, 1, 1), or by one per neuron."""
    scale, shape = finite(node, "scale").astype(np.float64), value.shape
    if scale.ndim == 1 < len(shape) and scale.size == shape[0]:
        if scale.size == shape[-1]:
            raise ModelError(
                f"scales shape {scale.shape}, receives {shape}: is it by channel or by column? "
                f"give it as {(scale.size, *[1] * (len(shape) - 1))}"
            )
        scale = scale.reshape(-1, *[1] * (len(shape) - 1))
    if scale.size != 1 and (
        scale.ndim != len(shape)
        or any(a not in (1, b) for a, b in zip(scale.shape, shape, strict=True))
    ):
        raise ModelError(f"scales shape {scale.shape}, receives {shape}")
    return value.scaled(fitting(scale, shape))


def _conv(_: Steps, node: NirNode, value: Current) -> Current:
    weight, flat = finite(node, "weight"), node.kind == "Conv1d"
    if weight.ndim != (3 if flat else 4):
        raise ModelError(f"weights of shape {weight.shape}")
    declared = node.values.get("input_shape")
    if declared is not None and as_shape(declared) != value.shape[1:]:
        raise ModelError(f"takes size {as_shape(declared)}, receives shape {value.shape}")
    if len(value.shape) != (2 if flat else 3):
        raise ModelError(f"cannot take shape {value.shape}")
    size = 1 if flat else 2
    stride, dilation = (_sizes(node, name, size, 1) for name in ("stride", "dilation"))
    weight = _with_odd_kernel(node, weight, stride, dilation)
    padding = _padding(node, weight.shape[2:], stride, dilation)
    groups = int(np.ravel(node.values["groups"])[0])
    if groups < 1 or len(weight) % groups:
        raise ModelError(f"{groups} groups of {len(weight)} channels")
    if flat:
        weight = weight[:, :, None]
        stride, padding, dilation = (1, *stride), (0, *padding), (1, *dilation)
    conv = Conv2d(weight, _pair(stride), _pair(padding), _pair(dilation), groups)
    shape = conv.out_shape(grid_of(value.shape))
    # What only scales channels goes into the weights beside it, and makes no synapses.
    factors = _factors(conv)
    if factors is None:
        after = value.through(conv, (shape[0], shape[2]) if flat else shape)
    else:
        after = value.scaled(factors.reshape(-1, *[1] * (len(value.shape) - 1)))
    bias = node.values.get("bias")
    if bias is None or not np.any(bias):
        return after
    bias = finite(node, "bias").ravel()
    if len(bias) not in (1, len(weight)):
        raise ModelError(f"a bias of {len(bias)} for {len(weight)} channels")
    return after.biased(np.broadcast_to(bias, len(weight)))


def _factors(conv: Conv2d) -> Array | None:
    """Return the factors per channel of a convolution that only scales channels, else None."""
    diagonal = np.diagonal(conv.weight[:, :, 0, 0])
    alone = conv.weight.shape[2:] == conv.stride == (1, 1) and conv.padding == (0, 0)
    square = conv.groups == 1 and conv.weight.shape[0] == conv.weight.shape[1]
    if not (alone and square and np.array_equal(conv.weight[:, :, 0, 0], np.diag(diagonal))):
        return None
    return diagonal.astype(np.float64)


def _with_odd_kernel(node: NirNode, weight: Array, stride: Shape, dilation: Shape) -> Array:
    """Begin an even kernel of padding 'same' with zeros, which makes its padding symmetric.

    torch puts the odd zero behind: what the first tap of the odd kernel sees counts for nothing.
    """
    if not (isinstance(node.values["padding"], str) and node.values["padding"] == "same"):
        return weight
    if set(stride) != {1} or any(d > 1 for d in dilation):
        return weight
    extra = [(1 - k % 2, 0) for k in weight.shape[2:]]
    return np.pad(weight, [(0, 0), (0, 0), *extra])


def _padding(node: NirNode, kernel: Shape, stride: Shape, dilation: Shape) -> Shape:
    given = node.values["padding"]
    if not isinstance(given, str):
        return _sizes(node, "padding", len(kernel), 0)
    if given == "valid":
        return (0,) * len(kernel)
    reach = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    if given != "same" or set(stride) != {1} or any(r % 2 for r in reach):
        raise ModelError(f"padding {given!r} is asymmetric here; pad both sides alike")
    return tuple(r // 2 for r in reach)


def _sizes(node: NirNode, name: str, size: int, least: int) -> Shape:
    found = np.ravel(node.values[name])
    found = np.repeat(found, size) if len(found) == 1 else found
    if found.dtype.kind not in "iu" and not np.all(found == np.floor(found)):
        raise ModelError(f"{name} = {found.tolist()}: whole numbers are needed")
    if len(found) != size or found.min() < least or found.max() > 1 << 20:
        raise ModelError(f"{name} = {found.tolist()}: {size} numbers from {least} on are needed")
    return as_shape(found)


def _pair(values: Shape) -> Pair:
    return values[0], values[1]


def _pool(_: Steps, node: NirNode, value: Current) -> Current:
    kernel, stride = (_pair(_sizes(node, name, 2, 1)) for name in ("kernel_size", "stride"))
    padding = _pair(_sizes(node, "padding", 2, 0))
    if len(value.shape) != 3:
        raise ModelError(f"pools (C, H, W), receives shape {value.shape}")
    step: AvgPool2d | Conv2d = AvgPool2d(kernel)
    if stride != kernel or padding != (0, 0):
        channels = value.shape[0]
        weight = np.full((channels, 1, *kernel), 1 / prod(kernel))
        step = Conv2d(weight, stride, padding, groups=channels)
    after = value.through(step, step.out_shape(value.shape))
    # A sum is the average times the size of its window.
    return after.scaled(np.asarray(float(prod(kernel)))) if node.kind == "SumPool2d" else after


def _flatten(_: Steps, node: NirNode, value: Current) -> Current:
    rank = len(value.shape)
    start, end = (int(np.ravel(node.values[name])[0]) for name in ("start_dim", "end_dim"))
    start, end = (d + rank if d < 0 else d for d in (start, end))
    if not 0 <= start <= end < rank:
        raise ModelError(f"flattens dimensions {start} to {end} of shape {value.shape}")
    joined = prod(value.shape[start : end + 1])
    return value.flattened((*value.shape[:start], joined, *value.shape[end + 1 :]))


def _delay(delays: Steps, node: NirNode, value: Current) -> Current:
    steps, given = delays[node.name], np.shape(node.values["delay"])
    if prod(given) != 1 and given != value.shape:
        raise ModelError(f"delays shape {given}, receives {value.shape}")
    if value.bias is not None and np.any(steps):
        raise ModelError("delays a bias; put the Delay before the layer that has it")
    return value.delayed_each(steps) if steps.ndim else value.delayed(int(steps))


def _relay(_: Steps, __: NirNode, value: Current) -> Current:
    return value


LINEAR: dict[str, Callable[[Steps, NirNode, Current], Current]] = {
    "Affine": _matrix,
    "AvgPool2d": _pool,
    "Conv1d": _conv,
    "Conv2d": _conv,
    "Delay": _delay,
    "Flatten": _flatten,
    "Linear": _matrix,
    "Relay": _relay,
    "Scale": _scale,
    "SumPool2d": _pool,
}
LINEAR_TEXT = {
    "AvgPool2d": "folded into synapses",
    "SumPool2d": "folded into synapses",
    "Flatten": "another shape, in C order",
    "Scale": "goes into the weights",
}
