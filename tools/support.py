"""docs/support.md, made from the code: what is read, and what every target takes of it.

    python tools/support.py            # writes the page anew
    python tools/support.py --print    # prints it

Which layers, nodes and operators are read comes from the tables that the frontends go by. What the
targets take is asked of them: `sd.check` is given a small network with one feature after the other.
"""

from __future__ import annotations

import inspect
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import seenn_deploy as sd
from seenn_deploy import exits, ir, plugins
from seenn_deploy.frontends import onnx
from seenn_deploy.frontends.nir.linear import LINEAR
from seenn_deploy.frontends.nir.neurons import INTEGRATORS, SPIKING
from seenn_deploy.frontends.torch.operations import OPERATIONS
from seenn_deploy.ir.program import schedules_of, target_names
from seenn_deploy.ir.schedule import SCHEDULES, STAGED

PAGE = Path(__file__).parent.parent / "docs" / "support.md"
ADAPTERS = "frontends/torch/adapters"
T = 4


def page() -> str:
    """The whole page."""
    parts = [
        "# What is supported",
        "Made by `python tools/support.py` from the tables that the code goes by, and by asking "
        "each target; a test holds it\nto be current. What is refused, and why, is in "
        "[limits](limits.md); `seenn check` says it of your network.",
        "## Checkpoints",
        "`.pth`, `.pt` and `.safetensors`, recognised from keys and shapes.",
        _table(("network", "frontend"), _checkpoints()),
        "## Torch modules",
        "[Torch modules](torch.md) says what is understood of each.",
        _table(("adapter", "spiking layers"), _adapters()),
        "Between them, these operators of torch (`aten`), and whatever depends on no input:",
        _listed({name.partition(".")[0] for name in OPERATIONS}),
        "## NIR",
        "[NIR in detail](nir.md) says what each node becomes.",
        _listed([*SPIKING, *INTEGRATORS, *(k for k in LINEAR if k != "Relay"), "NIRGraph"]),
        "## ONNX",
        "ANNs for `seenn convert`: every Relu and Clip becomes a neuron.",
        _listed(onnx._OPERATORS),
        "## Neurons and connections by target",
        "*rounded* is what int8 does to every network. What a target can only approximate, or "
        "refuses, stands behind it.",
        _features(_graphs()),
        "## Exit rules by target",
        _features(_rules()),
        _table(("rule", "schedules", "`sweep`", "`calibrate`"), _tuned()),
        "## Schedules by target",
        _table(("target", "schedules, its default first"), _schedules()),
        "## Data",
        "Arrays, `.npz`, `.npy`, packed JPEGs, folders of images, event frames, event recordings: "
        "[your own\ndata](guides/own-data.md), [events](guides/events.md).",
        "## Python and packages",
        "Python 3.10 to 3.13 on Linux; numpy 1.24 or later, numba 0.59 or later. Torch 2.1 or "
        "later for checkpoints and\nmodules. Lava 0.10.0 in an interpreter of its own: Python "
        "3.10, or 3.11 with a shim. `constraints.txt` has the\nversions that were tested together.",
    ]
    return "\n\n".join(parts) + "\n"


def _table(headings: Sequence[str], rows: Iterator[Sequence[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _listed(names: Any) -> str:
    """Names in the code's spelling, in lines of at most 120 characters."""
    lines = [""]
    for name in sorted(names, key=str.lower):
        if len(lines[-1]) + len(name) + 4 > 118:
            lines.append("")
        lines[-1] += f"`{name}`, "
    return "\n".join(line.rstrip() for line in lines).removesuffix(",") + "."


# --- what is read --------------------------------------------------------------------------------


def _checkpoints() -> Iterator[Sequence[str]]:
    for name in plugins.names("frontends"):
        module = plugins.load("frontends", name, main="read") if name != "base" else None
        if hasattr(module, "NETWORKS"):
            yield module.NETWORKS, f"`{name}`"


def _adapters() -> Iterator[Sequence[str]]:
    for name in plugins.names(ADAPTERS, without=("base",)):
        known = plugins.load(ADAPTERS, name).KNOWN
        yield f"`{name}`", ", ".join(f"`{layer}`" for layer in known)


# --- what the targets take -----------------------------------------------------------------------


def _graphs() -> Iterator[tuple[str, ir.SpikingGraph]]:
    """A network, and the same with one thing more at a time."""
    yield "IF, LIF, hard reset", _net()
    yield "soft reset", _net(reset="soft")
    yield "`>=` instead of `>`", _net(comparison=">=")
    yield "an initial potential", _net(v_init=0.25)
    yield "synaptic current (`tau_syn`)", _net(tau_syn=0.5)
    by_channel = np.linspace(0.25, 0.75, 4, dtype=np.float32).reshape(4, 1, 1)
    yield "leaks that differ by channel", _net(tau=by_channel)
    yield "thresholds that differ by channel", _net(v_threshold=by_channel)
    yield "leaky readout", _with(readout={"tau": 0.5})
    yield "event frames and recordings", _with(source={"coding": "events", "counts_events": True})
    yield "sums of spikes (SEW-ResNet)", _summed()
    yield (
        "convolutions with groups, dilation, stride",
        _with(maps=(ir.Conv2d(_weights(4, 2, 2, 2), (2, 2), (1, 1), (2, 2), groups=2),)),
    )
    yield "average pools", _with(maps=(ir.AvgPool2d((2, 2)), ir.Conv2d(_weights(4, 4, 2, 2))))
    yield "lists of synapses", _with(maps=(_sparse(),))
    yield "delays in timesteps (`lag`)", _with(lag=2)
    yield "recurrent connections of a layer", _loop("b", "b")
    yield "feedback to an earlier layer", _loop("b", "a")


def _weights(*shape: int) -> Any:
    return np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)


def _net(**neuron: Any) -> ir.SpikingGraph:
    net = _with()
    nodes = [replace(n, **neuron) if isinstance(n, ir.Population) else n for n in net.order]
    return net.replace(nodes)


def _with(
    source: dict[str, Any] | None = None,
    readout: dict[str, Any] | None = None,
    maps: tuple[ir.LinearMap, ...] = (),
    lag: int = 0,
) -> ir.SpikingGraph:
    maps = maps or (ir.Conv2d(_weights(4, 4, 3, 3), padding=(1, 1)),)
    inner = shape = (4, 6, 6)
    for step in maps:
        inner = step.out_shape(inner)
    nodes: list[ir.Node] = [
        ir.Source("input", (2, 6, 6), **({"input_range": (0.0, 1.0)} | (source or {}))),
        ir.Population("a", shape),
        ir.Population("b", inner),
        ir.Readout("logits", (3,), **(readout or {})),
    ]
    edges = [
        ir.Projection("input", "a", (ir.Conv2d(_weights(4, 2, 3, 3), padding=(1, 1)),)),
        ir.Projection("a", "b", maps, lag=lag),
        ir.Projection("b", "logits", (ir.Dense(_weights(3, int(np.prod(inner)))),)),
    ]
    return ir.SpikingGraph(nodes, edges, T)


def _summed() -> ir.SpikingGraph:
    net = _with()
    *edges, last = net.projections
    added = [ir.Projection(name, "sum", (ir.Identity(),)) for name in ("a", "b")]
    nodes = [*net.order[:-1], ir.Sum("sum", (4, 6, 6)), net.readout]
    return net.replace(nodes, [*edges, *added, replace(last, pre="sum")])


def _sparse() -> ir.Sparse:
    neurons = np.arange(4 * 6 * 6)
    return ir.Sparse.of(neurons, neurons, _weights(len(neurons)), len(neurons), (4, 6, 6))


def _loop(pre: str, post: str) -> ir.SpikingGraph:
    net = _with()
    back = ir.Projection(pre, post, (ir.Conv2d(_weights(4, 4, 1, 1)),), lag=1)
    return net.replace(projections=[*net.projections, back])


def _rules() -> Iterator[tuple[str, ir.SpikingGraph]]:
    net = _with()
    for name in exits.names():
        rule = _rule(name)
        yield f"`{name}`", ir.SpikingGraph(net.order, net.projections, T, exit_rule=rule)


def _rule(name: str) -> exits.ExitRule:
    """A rule with its own defaults; some need what only data or a file can say."""
    made = exits.rule_class(name)
    if name == "policy":
        return made(onnx=str(_policy()))
    if all(
        p.default is not inspect.Parameter.empty
        for p in inspect.signature(made).parameters.values()
    ):
        return made()
    logits, labels = np.zeros((1, T, 3)), np.zeros(1, np.int64)
    return made.calibrate(logits, labels, 0.9)


def _policy() -> Path:
    """A network that chooses one of T timesteps for an image."""
    from onnx import TensorProto, checker, helper, numpy_helper, save

    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes, "policy",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2, 6, 6])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, T])],
        [numpy_helper.from_array(_weights(2, T), "w")],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    checker.check_model(model)
    save(model, path := Path(tempfile.mkdtemp()) / "policy.onnx")
    return path


def _features(graphs: Iterator[tuple[str, ir.SpikingGraph]]) -> str:
    """A table of what each column of a check says of each graph."""
    reports = {name: sd.check(graph) for name, graph in graphs}
    columns = list(next(iter(reports.values())).columns)
    rows = ([name, *(_cell(report, c) for c in columns)] for name, report in reports.items())
    return _table(["", *columns], rows)


def _cell(report: Any, column: str) -> str:
    found = report.columns[column]
    if found.refusals:
        return f"no: {found.refusals[0].what.partition('; ')[0]}"
    near = dict.fromkeys(
        f"{f.what}: {f.by}" if f.by else f.what
        for f in found.findings
        if f.status == "approximated" and f.what != "8-bit weights"
    )
    rounded = "rounded" if "int8" in column else "yes"
    return f"approx.: {'; '.join(near)}" if near else rounded


def _tuned() -> Iterator[Sequence[str]]:
    for name in exits.names():
        rule = exits.rule_class(name)
        found = "yes" if rule.parameter else "-"
        before = "all but staged" if rule.known_before else "all but pipelined and staged"
        followed = "all but pipelined" if rule.known_after_first else before
        yield f"`{name}`", followed, found, found


def _schedules() -> Iterator[Sequence[str]]:
    yield "simulator", ", ".join((*SCHEDULES, STAGED))
    for target in target_names():
        yield f"`{target}`", ", ".join(schedules_of(target)) or "that of its program"


if __name__ == "__main__":
    if "--print" in sys.argv[1:]:
        print(page(), end="")
    else:
        PAGE.write_text(page(), encoding="utf-8")
