"""The integer policy network in C: :func:`lowered`; its arithmetic is ``policy_network.integer``.

It runs before the first timestep, so its values share the memory of the layers' buffers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from seenn_deploy._typing import Array
from seenn_deploy.exits.policy_network.integer import IntegerOperation, IntegerPolicy
from seenn_deploy.targets.c import text
from seenn_deploy.targets.c.layout import Grid
from seenn_deploy.targets.c.nodes import input_type
from seenn_deploy.targets.c.source import Policy, Source, Stopping


@dataclass(frozen=True)
class _Value:
    """The image or a result as C has it: its pointer, type, layout, and what is added to it."""

    at: str
    ctype: str
    grid: Grid
    base: int = 0

    @property
    def token(self) -> str:
        """Its type in the names of functions; what is added to the image makes others of them."""
        return "image" if self.at == "frame" else self.ctype

    @property
    def plus(self) -> str:
        """What C adds to each number."""
        return " + how->base" if self.at == "frame" else ""


@dataclass(frozen=True)
class Part:
    """An operation as the owner of tables and memory, by its name."""

    name: str


def lowered(source: Source, policy: IntegerPolicy) -> Stopping:
    """The exit rule that the network is; its tables and memory go into `source`."""
    ctype, base = input_type(source.ranges.input)
    values = [_Value("frame", ctype, Grid(policy.shape), base)]
    parts = [Part(name) for name in source.precede(len(policy.operations), "policy")]
    calls = []
    source.use("policy_rescaled.c")
    for number, (part, operation) in enumerate(zip(parts, policy.operations, strict=True), 1):
        made = _made(source, policy, part, number)
        given = [values[i] for i in operation.of]
        calls.append(_CALLS[operation.kind](source, part, operation, given, made))
        values.append(made)
    choices = source.table(parts[-1], "choices", "uint32", np.array(policy.choices))
    source.members += [
        "    uint32_t until; /* timesteps that the policy network chose */",
        "    int32_t scores[NET_CHOICES]; /* what it said of each choice */",
    ]
    source.policy = Policy(tuple(part.name for part in parts), len(policy.choices))
    body = "".join(f"    {call}\n" for call in calls)
    return Stopping(text.runtime("policy.c", calls=body, choices=choices))


def _made(source: Source, policy: IntegerPolicy, part: Part, number: int) -> _Value:
    """Memory for the result of an operation; scores live on in the state."""
    grid = Grid(policy.shapes[number])
    if number == len(policy.operations):
        return _Value("net->scores", "int32", grid)
    low, high = policy.range_of(number)
    ctype = "uint8" if low >= 0 and high <= np.iinfo(np.uint8).max else text.narrowest(low, high)
    readers = [i for i, o in enumerate(policy.operations, start=1) if number in o.of]
    last = source.number[part.name] + max(readers, default=number) - number
    return _Value(source.buffer(part, "result", ctype, grid.size, last), ctype, grid)


def _conv2d(
    source: Source, part: Part, operation: IntegerOperation, given: list[_Value], made: _Value
) -> str:
    weight, (before,), options = operation.arrays["weight"], given, operation.options
    fields: dict[str, object] = {
        "channels": before.grid.channels, "height": before.grid.height,
        "width": before.grid.width, "group_channels": weight.shape[1],
        "group_outs": len(weight) // options["groups"], "out_channels": len(weight),
        "out_height": made.grid.height, "out_width": made.grid.width,
        "kernel_y": weight.shape[2], "kernel_x": weight.shape[3], "stride": options["stride"],
        "padding": options["padding"],
    }  # fmt: skip
    return _weighted(source, part, operation, weight.transpose(0, 2, 3, 1), fields, before, made)


def _dense(
    source: Source, part: Part, operation: IntegerOperation, given: list[_Value], made: _Value
) -> str:
    """A linear layer is a convolution over one pixel."""
    (before,), rows = given, operation.arrays["weight"]
    outs, size = rows.shape
    weight = np.empty_like(rows)
    weight[:, before.grid.places] = rows
    fields: dict[str, object] = {
        "channels": size, "height": 1, "width": 1, "group_channels": size, "group_outs": outs,
        "out_channels": outs, "out_height": 1, "out_width": 1, "kernel_y": 1, "kernel_x": 1,
        "stride": 1, "padding": 0,
    }  # fmt: skip
    return _weighted(source, part, operation, weight, fields, before, made)


def _weighted(
    source: Source,
    part: Part,
    operation: IntegerOperation,
    weight: Array,
    fields: dict[str, object],
    before: _Value,
    made: _Value,
) -> str:
    tables = [
        source.table(part, "weight", "int8", weight),
        source.table(part, "bias", "int32", operation.arrays["bias"]),
        source.table(part, "factor", "int32", operation.arrays["factor"]),
    ]
    how = source.record(
        part, "conv", "net_policy_conv_t", fields | {"base": before.base} | _limits(operation)
    )
    name = _kernel(source, "conv", before, made)
    return f"{name}(&{how}, {', '.join(tables)}, {before.at}, {made.at});"


def _affine(
    source: Source, part: Part, operation: IntegerOperation, given: list[_Value], made: _Value
) -> str:
    (before,), shape = given, (made.grid.channels,)
    tables = [
        source.table(part, key, "int32", np.broadcast_to(operation.arrays[key], shape))
        for key in ("factor", "offset")
    ]
    how = source.record(
        part, "affine", "net_policy_affine_t",
        {"pixels": made.grid.pixels, "channels": made.grid.channels, "base": before.base,
         **_limits(operation)},
    )  # fmt: skip
    name = _kernel(source, "affine", before, made)
    return f"{name}(&{how}, {', '.join(tables)}, {before.at}, {made.at});"


def _add(
    source: Source, part: Part, operation: IntegerOperation, given: list[_Value], made: _Value
) -> str:
    first, second = operation.arrays["factor"].tolist()
    a, b = given
    how = source.record(
        part, "add", "net_policy_add_t",
        {"count": made.grid.size, "first": first, "second": second, "base": a.base or b.base,
         **_limits(operation)},
    )  # fmt: skip
    source.use(
        "policy_add.c", token_a=a.token, token_b=b.token, a=a.ctype, b=b.ctype, y=made.ctype,
        plus_a=a.plus, plus_b=b.plus,
    )  # fmt: skip
    return f"net_policy_add_{a.token}_{b.token}_{made.ctype}(&{how}, {a.at}, {b.at}, {made.at});"


def _average(
    source: Source, part: Part, operation: IntegerOperation, given: list[_Value], made: _Value
) -> str:
    (before,), kernel = given, operation.options["kernel"]
    grid = before.grid
    how = source.record(
        part, "average", "net_policy_average_t",
        {"channels": grid.channels, "width": grid.width, "out_height": made.grid.height,
         "out_width": made.grid.width, "window_y": kernel or grid.height,
         "window_x": kernel or grid.width, "factor": int(operation.arrays["factor"][0]),
         "base": before.base, **_limits(operation)},
    )  # fmt: skip
    name = _kernel(source, "average", before, made)
    return f"{name}(&{how}, {before.at}, {made.at});"


def _kernel(source: Source, kind: str, before: _Value, made: _Value) -> str:
    """Take in the function of an operation for these types, and return its name."""
    source.use(
        f"policy_{kind}.c", token=before.token, x=before.ctype, y=made.ctype, plus=before.plus
    )
    return f"net_policy_{kind}_{before.token}_{made.ctype}"


def _limits(operation: IntegerOperation) -> dict[str, object]:
    return {key: operation.options[key] for key in ("shift", "low", "high")}


_CALLS: dict[str, Callable[[Source, Part, IntegerOperation, list[_Value], _Value], str]] = {
    "conv2d": _conv2d,
    "dense": _dense,
    "affine": _affine,
    "add": _add,
    "average": _average,
}
