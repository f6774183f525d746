"""NIR graphs, step by step and node by node, in float64: slow, obvious, no code of the product."""

from __future__ import annotations

from typing import Any

import numpy as np


def run(
    graph: Any, x: np.ndarray, dt: float, exact: bool = False, soft: bool = False
) -> np.ndarray:
    """What arrives at the node 'output' in each timestep, for inputs (T, ..)."""
    state: dict[str, Any] = {name: {} for name in graph.nodes}
    said: dict[str, np.ndarray] = {}
    out = []
    for frame in x:
        before, said = said, {"input": np.asarray(frame, np.float64)}
        out.append(_value(graph, "output", said, before, state, (dt, exact, soft), []))
    return np.stack(out)


def _value(
    graph: Any, name: str, said: Any, before: Any, state: Any, rules: Any, above: list[str]
) -> Any:
    if name not in said:
        total: Any = 0.0
        for pre, post in graph.edges:
            if post == name and pre in (*above, name):  # closes a loop
                total = total + before.get(pre, np.zeros(_size(graph.nodes[pre])))
            elif post == name:
                total = total + _value(graph, pre, said, before, state, rules, [*above, name])
        said[name] = _step(graph.nodes[name], total, state[name], *rules)
    return said[name]


def _size(node: Any) -> list[int]:
    return [int(n) for n in node.output_type["output"]]


def _step(  # noqa: PLR0911
    node: Any, x: Any, s: Any, dt: float, exact: bool, soft: bool
) -> Any:
    share = (lambda tau: 1 - np.exp(-dt / tau)) if exact else (lambda tau: dt / tau)
    match type(node).__name__:
        case "Affine":
            return node.weight @ x + node.bias
        case "Linear":
            return node.weight @ x
        case "Scale":
            return node.scale * x
        case "Flatten":
            return np.reshape(x, -1)
        case "Delay":
            s.setdefault("line", []).append(x)
            line, lags = s["line"], np.round(np.broadcast_to(node.delay, x.shape) / dt)
            early = [np.where(lags == lag, past, 0) for lag, past in enumerate(reversed(line))]
            return sum(early)
        case "Conv2d":
            return _conv(
                x, node.weight, node.stride, node.padding, node.dilation, node.groups, node.bias
            )
        case "Conv1d":
            return _conv(
                x[:, None], node.weight[:, :, None], (1, node.stride), (0, node.padding),
                (1, node.dilation), node.groups, node.bias,
            )[:, 0]  # fmt: skip
        case "SumPool2d" | "AvgPool2d" as kind:
            k = [int(v) for v in node.kernel_size]
            ones = np.ones((len(x), 1, *k)) / (1 if kind == "SumPool2d" else k[0] * k[1])
            return _conv(x, ones, node.stride, node.padding, (1, 1), len(x), np.zeros(len(x)))
        case "Threshold":
            return (x > node.threshold) * 1.0
        case "I":
            s["v"] = s.get("v", 0.0) + dt * node.r * x
            return s["v"]
        case "LI":
            s["v"] = s.get("v", 0.0) + share(node.tau) * (
                node.v_leak - s.get("v", 0.0) + node.r * x
            )
            return s["v"]
        case "CubaLI":
            s["i"] = s.get("i", 0.0) + share(node.tau_syn) * (node.w_in * x - s.get("i", 0.0))
            s["v"] = s.get("v", 0.0) + share(node.tau_mem) * (
                node.v_leak - s.get("v", 0.0) + node.r * s["i"]
            )
            return s["v"]
        case "IF":
            v = s.get("v", 0.0) + dt * node.r * x
        case "LIF":
            v = s.get("v", 0.0) + share(node.tau) * (node.v_leak - s.get("v", 0.0) + node.r * x)
        case "CubaLIF":
            s["i"] = s.get("i", 0.0) + share(node.tau_syn) * (node.w_in * x - s.get("i", 0.0))
            v = s.get("v", 0.0)
            v = v + share(node.tau_mem) * (node.v_leak - v + node.r * s["i"])
        case _:
            return x
    spikes = v > node.v_threshold
    s["v"] = v - spikes * node.v_threshold if soft else np.where(spikes, node.v_reset, v)
    return spikes * 1.0


def _conv(x: Any, w: Any, stride: Any, padding: Any, dilation: Any, groups: Any, bias: Any) -> Any:
    groups, (p, q) = int(groups), (int(n) for n in padding)
    x = np.pad(x, ((0, 0), (p, p), (q, q)))
    c_out, c_in, k_h, k_w = w.shape
    (s, t), (d, e) = stride, dilation
    height = (x.shape[1] - d * (k_h - 1) - 1) // s + 1
    width = (x.shape[2] - e * (k_w - 1) - 1) // t + 1
    out = np.zeros((c_out, height, width))
    for o in range(c_out):
        first = o // (c_out // groups) * c_in
        for y in range(height):
            for z in range(width):
                field = x[first : first + c_in, y * s : y * s + d * (k_h - 1) + 1 : d,
                          z * t : z * t + e * (k_w - 1) + 1 : e]  # fmt: skip
                out[o, y, z] = np.sum(field * w[o]) + bias[o]
    return out
