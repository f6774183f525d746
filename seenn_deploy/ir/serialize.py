"""Nodes and projections as JSON values, their arrays apart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields, replace
from math import prod
from typing import Any, cast

import numpy as np

from seenn_deploy._typing import Array, Shape
from seenn_deploy.errors import ModelError
from seenn_deploy.exits.base import to_json
from seenn_deploy.io.images.preparation import Preparation
from seenn_deploy.ir import kinds, schema
from seenn_deploy.ir.graph import Node, Projection, Source, SpikingGraph
from seenn_deploy.ir.maps import LinearMap, Synapses
from seenn_deploy.ir.own import OwnInput, OwnLayer
from seenn_deploy.ir.provenance import Provenance

# They change no logit: outside the fingerprint.
_OF_THE_INPUT = ("input_range", "normalization", "preparation")
_BEFORE = ("real_range",)  # what nothing needs after compilation


def _packed(array: Array) -> Array:
    """Lay an array out in C order; ``ascontiguousarray`` alone gives scalars a dimension."""
    return np.ascontiguousarray(array).reshape(array.shape)


def node_to_dict(node: Node, arrays: dict[str, Array]) -> dict[str, Any]:
    """A node as JSON values; its arrays are put into `arrays`."""
    named = [f.name for f in fields(cast(Any, node)) if f.name not in _OF_THE_INPUT + _BEFORE]
    values = {name: getattr(node, name) for name in named}
    return {"kind": node.kind} | _put_arrays(values, node.name, arrays)


_ELSEWHERE = ("bias", *_OF_THE_INPUT)  # fields that are not among a node's or edge's values
_ARRAYS = ("weight", "bias")  # also where numpy made a scalar of one


def _put_arrays(values: dict[str, Any], key: str, arrays: dict[str, Array]) -> dict[str, Any]:
    """Put the arrays among `values` into `arrays`, and return the rest."""
    found = {k: v for k, v in values.items() if isinstance(v, np.ndarray) or k in _ARRAYS}
    arrays |= {f"{key}/{name}": _packed(np.asarray(value)) for name, value in found.items()}
    return {name: value for name, value in values.items() if name not in found}


def _take(cls: type[Any], stored: dict[str, Any], key: str, arrays: dict[str, Array]) -> Any:
    """An object of `cls` from JSON values and the arrays under `key`."""
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in stored.items()}
    names = (f.name for f in fields(cls))
    found = {name: arrays[f"{key}/{name}"] for name in names if f"{key}/{name}" in arrays}
    schema.check_values(cls, stored, key, frozenset((*found, *_ELSEWHERE)))
    for name, array in found.items():
        # NaN never reaches a threshold: the network would run, silent, and be wrong.
        if array.dtype.kind == "f" and not np.all(np.isfinite(array)):
            raise ModelError(f"{key}/{name}: holds NaN or infinity")
    return cls(**values, **found)


def node_from_dict(stored: dict[str, Any], arrays: dict[str, Array]) -> Node:
    """The inverse of `node_to_dict`."""
    values = dict(stored)
    kind = values.pop("kind")
    if kind in ("population", "maximum", "readout") and f"{values['name']}/bias" not in arrays:
        raise KeyError(f"{values['name']}/bias")  # the default would be another network
    node: Node = _take(kinds.find("ir/nodes", kind, Node), values, values["name"], arrays)
    if not node.shape or min(node.shape) < 1:
        raise ModelError(f"{node.name}: has shape {node.shape}; each size must be at least 1")
    if isinstance(node, Source) and not node.scale > 0:
        raise ModelError(f"{node.name}: scale = {node.scale:g}; it must be positive")
    return node


def input_to_dict(source: Source) -> dict[str, Any]:
    """Return what a source says about input values, which is stored beside the nodes."""
    return {
        "input_range": to_json(source.input_range),
        "normalization": to_json(source.normalization),
        "preparation": source.preparation and asdict(source.preparation),
    }


def with_input(nodes: Iterable[Node], stored: Mapping[str, Any]) -> list[Node]:
    """Nodes as `node_from_dict` reads them, the source with what `input_to_dict` stored.

    Earlier versions stored the normalisation among what was assumed alone.
    """
    low, high = stored["input_range"]
    limits = (-np.inf if low is None else low, np.inf if high is None else high)
    assumed = Provenance.of(stored["provenance"]).assumed
    earlier = (assumed["mean"], assumed["std"]) if assumed.get("mean") is not None else None
    found = stored.get("normalization", earlier)
    normalization = found and (tuple(found[0]), tuple(found[1]))
    before = stored.get("preparation")
    preparation = before and Preparation(tuple(before["crop"]), before["resize"])
    said: dict[str, Any] = {
        "input_range": limits,
        "normalization": normalization,
        "preparation": preparation,
    }
    return [replace(n, **said) if isinstance(n, Source) else n for n in nodes]


def edge_to_dict(edge: Projection, number: int, arrays: dict[str, Array]) -> dict[str, Any]:
    """The `number`-th projection of a graph as JSON values; its arrays are put into `arrays`."""
    synapses: Any = edge.synapses
    key = f"{number}:{edge.pre}->{edge.post}"
    values = {f.name: getattr(synapses, f.name) for f in fields(synapses) if f.name != "bias"}
    return {
        "pre": edge.pre,
        "post": edge.post,
        "key": key,
        "kind": synapses.kind,
        "delay": edge.delay,
        "dense_macs": edge.dense_macs,
        "lag": edge.lag,
        **_put_arrays(values, key, arrays),
    }


def edge_from_dict(stored: dict[str, Any], arrays: dict[str, Array]) -> Projection:
    """The inverse of `edge_to_dict`."""
    values = dict(stored)
    ends = {k: values.pop(k) for k in ("pre", "post", "delay", "dense_macs")}
    # Programs of before there was feedback have no lag.
    ends["lag"] = values.pop("lag", 0)
    key, cls = values.pop("key"), kinds.find("ir/maps", values.pop("kind"), Synapses)
    synapses: Synapses = _take(cls, values, key, arrays)
    synapses.check()
    return Projection(maps=(synapses,), **ends)


def own_to_dict(edge: Projection, number: int, arrays: dict[str, Array]) -> Any:
    """The trained layers of the `number`-th projection, which change no logit, as JSON values."""
    if edge.own is None:
        return None
    return [
        _own_layer(layer, f"own/{number}.{i}", arrays)
        for i, layer in enumerate(edge.own)
        if isinstance(layer, OwnLayer)
    ]


def _own_layer(layer: OwnLayer, key: str, arrays: dict[str, Array]) -> dict[str, Any]:
    arrays[f"{key}/fan_out"] = _packed(layer.fan_out)
    inputs = []
    for i, given in enumerate(layer.inputs):
        maps = []
        for k, step in enumerate(given.maps):
            values = {f.name: getattr(step, f.name) for f in fields(cast(Any, step))}
            # Of a program of integers these are floats all the same, hence other names of arrays.
            values = {name: v for name, v in values.items() if v is not None}
            found = {n: v for n, v in values.items() if isinstance(v, np.ndarray)}
            arrays |= {f"{key}.{i}.{k}/own-{n}": _packed(v) for n, v in found.items()}
            rest = {n: v for n, v in values.items() if n not in found}
            maps.append({"kind": step.kind, "arrays": list(found), **rest})
        inputs.append({"pre": given.pre, "lag": given.lag, "maps": maps})
    return {"key": key, "in_shape": list(layer.in_shape), "inputs": inputs}


def with_own(
    edge: Projection, stored: Any, arrays: dict[str, Array], shapes: Mapping[str, Shape]
) -> Projection:
    """A projection with the layers that `own_to_dict` stored; `shapes` are those of all nodes."""
    if stored is None:
        return edge
    return replace(edge, own=tuple(_own_from_dict(layer, arrays, shapes) for layer in stored))


def _own_from_dict(
    stored: dict[str, Any], arrays: dict[str, Array], shapes: Mapping[str, Shape]
) -> OwnLayer:
    key, inputs, in_shape = stored["key"], [], tuple(stored["in_shape"])
    for i, given in enumerate(stored["inputs"]):
        maps = tuple(
            _own_map(values, f"{key}.{i}.{k}/own-", arrays)
            for k, values in enumerate(given["maps"])
        )
        shape = shapes[given["pre"]]
        for step in maps:
            shape = step.out_shape(shape)
        if prod(shape) != prod(in_shape):
            raise ModelError(f"{key}: takes {in_shape}, {given['pre']} sends {shape}")
        inputs.append(OwnInput(given["pre"], given["lag"], maps))
    fan_out = arrays[f"{key}/fan_out"]
    if fan_out.dtype.kind != "i" or fan_out.shape not in (in_shape, (1, *in_shape[1:])):
        raise ModelError(f"{key}: its fan-outs, {fan_out.dtype} {fan_out.shape}, fit no {in_shape}")
    return OwnLayer(tuple(inputs), fan_out, in_shape)


def _own_map(stored: dict[str, Any], key: str, arrays: dict[str, Array]) -> LinearMap:
    values = {n: v for n, v in stored.items() if n not in ("kind", "arrays")}
    found = {name: arrays[key + name] for name in stored["arrays"]}
    cls: Any = kinds.find("ir/maps", stored["kind"], LinearMap)
    schema.check_values(cls, values, key, frozenset((*found, "bias")))
    made: LinearMap = cls(
        **{n: tuple(v) if isinstance(v, list) else v for n, v in values.items()}, **found
    )
    made.check()
    return made


def arrays_of(graph: SpikingGraph) -> dict[str, Array]:
    """Every array of a compiled graph, by the name that the sidecar knows it by."""
    arrays: dict[str, Array] = {}
    structure(graph, arrays)
    return arrays


def edge_keys(graph: SpikingGraph) -> list[str]:
    """The beginning of the names of each projection's arrays."""
    return [edge_to_dict(e, i, {})["key"] for i, e in enumerate(graph.projections)]


def structure(graph: SpikingGraph, arrays: dict[str, Array]) -> dict[str, Any]:
    """Nodes and projections as JSON holds them; `arrays` receives their arrays by name."""
    return {
        "nodes": [node_to_dict(n, arrays) for n in graph.order],
        "projections": [edge_to_dict(e, i, arrays) for i, e in enumerate(graph.projections)],
    }
